"""One connection to a server, shared by all clients of its pool.

Compiled-only. Requests leave in the order they were queued and replies are matched to them first in, first
out. The connection opens itself with the first request, and again with the first after it failed:

    CLOSED -> (RESOLVING ->) CONNECTING -> (GREETING ->) READY, and from each of them back to CLOSED

While it is not READY requests gather; nothing of them is written before the greeting (AUTH, SELECT) went well.
When it fails every request on it gets an error.
"""

import errno as errno_names

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.cpython.ref import Py_DECREF, Py_INCREF, PyObject
from cython.cimports.libc.errno import EINVAL, EPIPE, ETIMEDOUT
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.twemproxy.libc.epoll import EPOLLIN, EPOLLOUT
from cython.cimports.twemproxy.libc.socket import (
    MSG_NOSIGNAL,
    SHUT_WR,
    SO_ERROR,
    SOL_SOCKET,
    getsockopt,
    send,
    shutdown,
    socklen_t,
)
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.event_loop import NEVER, EventLoop
from cython.cimports.twemproxy.net.stream import LOW_WATER, Stream
from cython.cimports.twemproxy.protocol.codec import COMPLETE, MUTED, NEED_MORE, QUIET, Codec, Frame
from cython.cimports.twemproxy.proxy.errand import Errand
from cython.cimports.twemproxy.proxy.rotation import ServerHealth
from cython.cimports.twemproxy.proxy.sink import Sink
from cython.cimports.twemproxy.stats.counters import (
    CURR_CONNECTIONS,
    IN_QUEUE,
    REQUEST_BYTES,
    REQUESTS,
    RESPONSE_BYTES,
    RESPONSES,
    SERVER_CONNECTIONS,
    SERVER_EOF,
    SERVER_ERR,
    SERVER_TIMEDOUT,
    TOTAL_CONNECTIONS,
)

# How long a server has to answer, in milliseconds, once it knows that nothing more is sent.
LAST_WORDS = cython.declare(cython.const[int64_t], 2000)
# A ring larger than this is given back as soon as it is empty.
KEEP_REQUESTS = cython.declare(cython.const[cython.uint], 1024)
INFO = cython.declare(cython.const[cython.int], 6)
# What a server offers while nothing is known of it.
EVERYTHING = cython.declare(cython.const[cython.int], -1)


@cython.final
@cython.cclass
class ServerConnection(Stream):
    """Requests ``head`` to ``written`` await their replies, those up to ``tail`` still have to be written.

    ``sent_of_next`` bytes of the first of those have been written already; it is negative while the end of one that
    was answered before all of it was written is still on its way. ``offers``: see ``Codec.offer``; ``demanded``: what
    requests ask for that were queued before it was known. ``patience``: how long it may take to become READY.
    """

    def __init__(
        self, loop: EventLoop, codec: Codec, health: ServerHealth, upstream, timeout: int, profile: int
    ) -> None:
        """``upstream``: a ``proxy.upstream.Upstream``; ``timeout``: in milliseconds, 0 for none.

        ``profile``: see ``Codec.session``. ``on_settled(ready, refused)``, when set, is told whenever the connection
        has become READY, or failed, then with whether the server did not like the greeting. ``listener(message)``,
        when set, gets what comes without a request being there that it could answer.
        """
        self.loop = loop
        self.codec = codec
        self.health = health
        self.upstream = upstream
        self.timeout = self.patience = timeout
        self.profile = profile
        self.counters = health.counters
        self.state = CLOSED
        self.offers = EVERYTHING

    def __dealloc__(self) -> None:
        while self.head != self.tail:
            Py_DECREF(cython.cast(object, self.requests[self.head & (self.capacity - 1)].sink))
            self.head += 1
        free(self.requests)

    # --- requests --------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def lacks(self, demand: cython.int) -> cython.bint:
        """Whether the server is known not to offer all of ``demand``."""
        return self.state == READY and self.offers & demand != demand

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def is_ready(self) -> cython.bint:
        return self.state == READY

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_opening(self) -> cython.bint:
        """Whether it is on its way to READY."""
        return self.state == RESOLVING or self.state == CONNECTING or self.state == GREETING

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def send_request(
        self,
        sink: Sink,
        position: cython.uint,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Queue the request that the codec just framed, which stands in ``block`` from ``start`` to ``end``."""
        codec: Codec = self.codec
        data: cython.p_uchar = block_bytes(block)
        if self.state != READY:
            self.demanded |= codec.demand
        if codec.cut_end == codec.cut_start:
            self.out.append_held(self.loop.blocks, block, data + start, end - start)
            return self.enqueue(sink, position, end - start, codec.expected)
        self.out.append_held(self.loop.blocks, block, data + start, codec.cut_start - start)
        self.out.append_held(self.loop.blocks, block, data + codec.cut_end, end - codec.cut_end)
        return self.enqueue(sink, position, end - start - (codec.cut_end - codec.cut_start), codec.expected)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def enqueue(
        self, sink: Sink, position: cython.uint, length: cython.Py_ssize_t, expected: cython.uchar
    ) -> cython.int:
        """Note that the last ``length`` bytes appended to ``out`` are a request of ``sink``'s.

        ``expected``: see Codec; the request of a sink that is not a client's is neither QUIET nor MUTED.
        """
        request: cython.pointer[InFlight]
        if self.tail - self.head == self.capacity:
            self.grow()
        request = cython.address(self.requests[self.tail & (self.capacity - 1)])
        Py_INCREF(sink)
        request.sink = cython.cast(cython.pointer[PyObject], sink)
        request.position = position
        request.expected = expected
        request.length = length
        request.deadline = NEVER
        if self.timeout > 0:
            request.deadline = self.loop.now + self.timeout
            if request.deadline < self.loop.wake_at:
                self.loop.wake_at = request.deadline
        self.tail += 1
        self.request_bytes += length
        self.counters[REQUESTS] += 1
        self.counters[REQUEST_BYTES] += length
        if self.state == READY:
            return self.loop.want_flush(self)
        if self.state == CLOSED:
            return self.open()
        return self.publish_gauges()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def grow(self) -> cython.int:
        capacity: cython.uint = max(2 * self.capacity, 16)
        position: cython.uint = self.head
        requests: cython.pointer[InFlight]
        requests = cython.cast(cython.pointer[InFlight], malloc(capacity * cython.sizeof(InFlight)))
        if requests is cython.NULL:
            raise MemoryError("no memory for a server connection's requests")
        while position != self.tail:
            requests[position & (capacity - 1)] = self.requests[position & (self.capacity - 1)]
            position += 1
        free(self.requests)
        self.requests = requests
        self.capacity = capacity
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def flush(self) -> cython.int:
        if self.state != READY:
            return 0
        return Stream.flush(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_flushed(self, sent: cython.Py_ssize_t) -> cython.int:
        request: cython.pointer[InFlight]
        if self.out.pending == 0:
            self.written = self.tail
            self.sent_of_next = 0
        else:
            self.sent_of_next += sent
            while self.written != self.tail:
                request = cython.address(self.requests[self.written & (self.capacity - 1)])
                if self.sent_of_next < request.length:
                    break
                self.sent_of_next -= request.length
                self.written += 1
        if self.waiting is not None and self.out.pending <= LOW_WATER:
            self.wake_waiting()
        return self.publish_gauges()

    # --- for rare work in Python -------------------------------------------------------------------------------

    def ask(self, request: bytes, done) -> None:
        """Queue a request of the proxy's own, answered as one of the greeting; ``done``: see Errand."""
        self.out.append(
            self.loop.blocks,
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(request)),
            PyBytes_GET_SIZE(request),
        )
        self.enqueue(Errand(done), 0, PyBytes_GET_SIZE(request), self.codec.greeting_expected)

    def write(self, data: bytes) -> None:
        """Send bytes the answers to which, if any, are for ``listener``."""
        self.out.append(self.loop.blocks, cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), PyBytes_GET_SIZE(data))
        if self.state == READY:
            self.loop.want_flush(self)
        elif self.state == CLOSED:
            self.open()

    def become_probe(self, timeout: int) -> None:
        """Ask how the server is: failures count for nothing and are no warnings. ``timeout``: in milliseconds."""
        self.excused = True
        self.timeout = self.patience = timeout

    def finish(self) -> bool:
        """Let the server know that there is nothing more to come, but take what it still has to say.

        A server that has nothing to say by then ends the connection, and its requests are answered with nothing; it has
        LAST_WORDS for that. False, and nothing is done, while not all has been sent.
        """
        position: cython.uint = self.head
        if self.state != READY or self.out.pending > 0:
            return False
        self.excused = self.finished = True
        shutdown(self.fd, SHUT_WR)
        while position != self.tail:
            self.requests[position & (self.capacity - 1)].deadline = self.loop.now + LAST_WORDS
            position += 1
        self.loop.wake_at = min(self.loop.wake_at, self.loop.now + LAST_WORDS)
        return True

    def set_timeout(self, timeout: int) -> None:
        """How long requests from now on may wait, in milliseconds, 0 for ever."""
        self.timeout = timeout

    def is_idle(self) -> bool:
        """Whether it is READY for other requests and has none on it."""
        return self.state == READY and self.head == self.tail and self.out.pending == 0 and not self.finished

    # --- replies ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consume(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        codec: Codec = self.codec
        buf: cython.p_uchar = block_bytes(block)
        frame: Frame
        stop: cython.Py_ssize_t
        self.needed = 0
        while start < end:
            codec.resume_at = self.resume_at
            codec.resume_left = self.resume_left
            self.resume_at = 0
            codec.expected = codec.greeting_expected
            if self.state == READY and self.head != self.tail:
                codec.expected = self.requests[self.head & (self.capacity - 1)].expected
            frame = codec.frame_reply(buf, start, end)
            if frame == NEED_MORE:
                self.resume_at = codec.resume_at
                self.resume_left = codec.resume_left
                self.needed = codec.needed
                break
            if frame != COMPLETE:
                self.fail(EINVAL, "its reply breaks the protocol")
                return end
            stop = codec.end
            if codec.is_unasked(buf, start, stop):
                pass
            elif self.state == GREETING:
                self.greeted(PyBytes_FromStringAndSize(cython.cast(cython.p_char, buf + start), stop - start))
            elif self.head != self.written:
                self.reply_arrived(block, buf + start, stop - start)
            elif self.head != self.tail and self.sent_of_next > 0 and codec.is_error(buf, start, stop):
                # It has seen enough of a request that is still being written, and takes the rest as read.
                self.sent_of_next -= self.requests[self.head & (self.capacity - 1)].length
                self.written += 1
                self.reply_arrived(block, buf + start, stop - start)
            elif self.listener is not None:
                self.listener(PyBytes_FromStringAndSize(cython.cast(cython.p_char, buf + start), stop - start))
            else:
                self.fail(EINVAL, "it sent a reply that nobody asked for")
            if self.fd < 0:
                return end
            start = stop
        self.publish_gauges()
        return start

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def reply_arrived(
        self, block: cython.pointer[Block], data: cython.p_uchar, length: cython.Py_ssize_t
    ) -> cython.int:
        """The oldest written request has its reply."""
        request: cython.pointer[InFlight] = cython.address(self.requests[self.head & (self.capacity - 1)])
        sink: Sink = cython.cast(Sink, request.sink)
        position: cython.uint = request.position
        expected: cython.uchar = request.expected
        Py_DECREF(sink)
        self.head += 1
        self.request_bytes -= request.length
        self.counters[RESPONSES] += 1
        self.counters[RESPONSE_BYTES] += length
        if self.health.rotation.ejects:
            if self.codec.is_transient_error(data, 0, length):
                self.health.failed()
            else:
                self.health.failures = 0
        if self.head == self.tail and self.capacity > KEEP_REQUESTS:
            free(self.requests)
            self.requests = cython.NULL
            self.capacity = 0
        if expected & (QUIET | MUTED) and (expected & MUTED or self.codec.is_nominal(data, 0, length)):
            length = 0
        if sink.deliver(position, block, data, length) == 1:
            return self.fail(EINVAL, "its reply does not fit the request")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def publish_gauges(self) -> cython.int:
        """Bring this connection's part of the server's gauges up to date."""
        i: cython.int
        now = cython.declare(cython.Py_ssize_t[4])
        now[0] = self.tail - self.written
        now[1] = self.out.pending
        now[2] = self.written - self.head
        now[3] = max(self.request_bytes - self.out.pending, 0)
        for i in range(4):
            self.counters[IN_QUEUE + i] += now[i] - self.gauges[i]
            self.gauges[i] = now[i]
        return 0

    # --- opening ---------------------------------------------------------------------------------------------

    def preconnect(self) -> None:
        """Open the connection before the first request needs it."""
        if self.state == CLOSED:
            self.open()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def open(self) -> cython.int:
        candidates: list = self.upstream.candidates()
        self.open_by = NEVER
        if self.patience > 0:
            self.open_by = self.loop.now + self.patience
            self.loop.wake_at = min(self.loop.wake_at, self.open_by)
        if candidates is None:
            self.state = RESOLVING
            self.publish_gauges()
            self.upstream.resolve(self.resolved)
            return 0
        self.candidates = candidates
        return self.connect_next(0)

    def resolved(self, candidates: list, reason: str) -> None:
        """The addresses of the server's host, in order of preference; none and why when there are none."""
        if self.state != RESOLVING:
            return
        if candidates:
            self.candidates = candidates
            self.connect_next(0)
        else:
            self.fail(errno_names.EHOSTDOWN, reason)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def connect_next(self, error: cython.int) -> cython.int:
        """Try the next address; when none is left the connection fails with ``error``, the last one's."""
        fd: cython.int
        while self.candidates:
            fd, error = self.upstream.connect(self.candidates.pop(0))
            if fd < 0:
                continue
            if error == 0:
                self.open_stream(fd, EPOLLIN)
                return self.connected()
            self.state = CONNECTING
            self.open_stream(fd, EPOLLOUT)
            return self.publish_gauges()
        return self.fail(error, "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_writable(self) -> cython.int:
        error: cython.int = 0
        size: socklen_t = cython.sizeof(cython.int)
        getsockopt(self.fd, SOL_SOCKET, SO_ERROR, cython.address(error), cython.address(size))
        if error == 0:
            self.established = True
            self.loop.watch(self, EPOLLIN)
            return self.connected()
        if self.candidates:
            # What waits to be sent stays: only the socket is given up.
            self.loop.forget(self)
            self.upstream.close(self.fd)
            self.fd = -1
            return self.connect_next(error)
        return self.fail(error, "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def connected(self) -> cython.int:
        """The socket is connected: greet the server, if there is something to say."""
        hello: bytes
        self.state = GREETING
        self.candidates = []
        self.counters[SERVER_CONNECTIONS] += 1
        self.process_counters[TOTAL_CONNECTIONS] += 1
        self.process_counters[CURR_CONNECTIONS] += 1
        if self.loop.verbosity >= INFO:
            self.upstream.log_connected()
        self.greeting = self.upstream.greeting(self.profile)
        if not self.greeting:
            return self.ready()
        self.offers = 0
        hello = b"".join([request for _, request in self.greeting])
        if send(self.fd, PyBytes_AS_STRING(hello), PyBytes_GET_SIZE(hello), MSG_NOSIGNAL) != len(hello):
            return self.fail(EPIPE, "")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def greeted(self, reply: bytes) -> cython.int:
        """The reply to one step of the greeting."""
        step: str = self.greeting.pop(0)[0]
        problem: str = self.codec.handshake_problem(step, reply)
        if problem:
            declined: cython.bint = self.codec.declines_profile(step)
            if declined and self.on_settled is not None:
                self.on_settled(False, True)
            # A server that does not speak what another profile wants is as good as before for the default one.
            return self.refuse_greeting(f"{step} failed: {problem}", not declined)
        self.offers |= self.codec.offer(step, reply)
        if self.greeting:
            return 0
        if self.offers & self.demanded != self.demanded:
            # The server is as good as before for all other requests.
            return self.refuse_greeting(self.codec.unmet(), False)
        return self.ready()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def refuse_greeting(self, reason: str, blame: cython.bint) -> cython.int:
        """Fail because of what the server said to the greeting, and let the clients know."""
        return self.fail_with(EINVAL, reason, self.upstream.explanation(reason), blame)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def ready(self) -> cython.int:
        self.state = READY
        self.publish_gauges()
        if self.on_settled is not None:
            self.on_settled(True, False)
        if self.out.pending > 0:
            return self.loop.want_flush(self)
        return 0

    # --- failing ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_end(self) -> cython.int:
        # A server may end a connection that nobody uses.
        idle: cython.bint = self.state == READY and self.head == self.tail
        return self.fail_with(0, "", self.upstream.error_reply(0), not idle)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_broken(self, error: cython.int) -> cython.int:
        return self.fail(error, "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_defect(self) -> cython.int:
        return self.fail(EINVAL, "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, error: cython.int, reason: str) -> cython.int:
        """Close the connection; every request on it gets an error.

        ``error`` is the errno, 0 when the server ended the connection; ``reason`` says more to the log.
        """
        return self.fail_with(error, reason, self.upstream.error_reply(error), True)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail_with(self, error: cython.int, reason: str, reply: bytes, blame: cython.bint) -> cython.int:
        """As ``fail``, with this error reply; ``blame``: whether it counts as a failure of the server's."""
        request: cython.pointer[InFlight]
        sink: Sink
        position: cython.uint
        expected: cython.uchar
        if error == 0:
            self.counters[SERVER_EOF] += 1
        elif error == ETIMEDOUT:
            self.counters[SERVER_TIMEDOUT] += 1
        else:
            self.counters[SERVER_ERR] += 1
        if self.loop.verbosity >= (INFO if self.excused else self.upstream.failure_level(error, self.tail - self.head)):
            self.upstream.log_failed(error, reason, self.tail - self.head)
        self.shut()
        while self.head != self.tail:
            request = cython.address(self.requests[self.head & (self.capacity - 1)])
            sink = cython.cast(Sink, request.sink)
            position = request.position
            expected = request.expected
            Py_DECREF(sink)
            self.head += 1
            sink.fail(position, b"" if expected & MUTED or self.finished else reply)
        self.forget_requests()
        if self.on_settled is not None:
            self.on_settled(False, False)
        if blame and not self.excused:
            # Last, because keys may then move, and nothing may be sent here in the midst of this.
            return self.health.failed()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shut(self) -> cython.int:
        """Close the socket, whatever is on its way."""
        if self.state == GREETING or self.state == READY:
            self.counters[SERVER_CONNECTIONS] -= 1
            self.process_counters[CURR_CONNECTIONS] -= 1
        self.close_stream()
        self.out.clear(self.loop.blocks)
        self.state = CLOSED
        self.candidates = []
        self.offers = EVERYTHING
        self.demanded = 0
        self.resume_at = 0
        self.needed = 0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget_requests(self) -> cython.int:
        """There are none any more."""
        while self.head != self.tail:
            Py_DECREF(cython.cast(object, self.requests[self.head & (self.capacity - 1)].sink))
            self.head += 1
        self.written = self.tail
        self.sent_of_next = 0
        self.request_bytes = 0
        self.wake_waiting()
        return self.publish_gauges()

    def give_up(self, error: int, reason: str) -> None:
        """As ``fail``."""
        self.fail(error, reason)

    def abandon(self) -> None:
        """Close the connection, which is nobody's fault; nobody hears of the requests on it any more."""
        self.on_settled = self.listener = None
        self.shut()
        self.forget_requests()

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def expire(self) -> int64_t:
        """Fail when the oldest request, or the opening, is overdue; returns the next deadline, or NEVER."""
        deadline: int64_t = NEVER
        if self.is_opening():
            deadline = self.open_by
        if self.head != self.tail:
            deadline = min(deadline, self.requests[self.head & (self.capacity - 1)].deadline)
        if deadline <= self.loop.now:
            self.fail(ETIMEDOUT, "")
            return NEVER
        return deadline
