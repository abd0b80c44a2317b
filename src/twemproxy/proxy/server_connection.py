"""One connection to a server with the requests on it.

Compiled-only. Requests leave in the order they were queued and replies are matched to them first in, first
out. The connection opens itself with the first request (see ``proxy.server_stream``), and again with the first after it
failed. While it is not READY requests gather; nothing of them is written before the greeting went well.

A connection that clients share takes requests that have nothing to do with each other. One that is overdue fails alone:
its reply is passed over when it comes, and its bytes are not sent any more if none of them was. A server that has said
nothing for a whole ``timeout`` is sent nothing more until it does, and loses the connection after a second one. When
the connection fails, requests of which no byte was written are sent once more on a fresh one. On a connection
that one client has for itself requests build on each other: there the first that is overdue fails all.

A connection whose server has another address is LEAVING until everything written has been answered, and takes what has
gathered to the new one.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.cpython.ref import Py_DECREF
from cython.cimports.libc.errno import EHOSTDOWN, EINVAL, ETIMEDOUT
from cython.cimports.libc.stdint import int64_t, uint32_t
from cython.cimports.twemproxy.libc.epoll import EPOLLIN
from cython.cimports.twemproxy.libc.socket import SHUT_WR, shutdown
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.event_loop import NEVER, EventLoop
from cython.cimports.twemproxy.net.stream import LOW_WATER, Stream
from cython.cimports.twemproxy.protocol.codec import COMPLETE, MUTED, NEED_MORE, QUIET, RESP3, Codec, Frame
from cython.cimports.twemproxy.proxy.errand import Errand
from cython.cimports.twemproxy.proxy.in_flight import InFlight, Request, add, forget_oldest, oldest
from cython.cimports.twemproxy.proxy.rotation import ServerHealth
from cython.cimports.twemproxy.proxy.server_stream import (
    CLOSED,
    CONNECTING,
    GREETING,
    LEAVING,
    READY,
    RESOLVING,
    ServerStream,
)
from cython.cimports.twemproxy.proxy.sink import Sink
from cython.cimports.twemproxy.stats.counters import (
    IN_QUEUE,
    REQUEST_BYTES,
    REQUESTS,
    REQUESTS_RESENT,
    RESPONSE_BYTES,
    RESPONSES,
    SERVER_EOF,
    SERVER_ERR,
    SERVER_TIMEDOUT,
)

from twemproxy.proxy.upstream import is_our_fault

# How long a server has to answer, in milliseconds, once it knows that nothing more is sent.
LAST_WORDS = cython.declare(cython.const[int64_t], 2000)
INFO = cython.declare(cython.const[cython.int], 6)


@cython.final
@cython.cclass
class ServerConnection(ServerStream):
    """``shared``: requests have nothing to do with each other; on such a connection ``retries_reads`` may be set.

    ``held``: the server is sent nothing until it says something. ``blamed_until``: requests that were due before then
    tell nothing new about the server when they are overdue.
    """

    def __init__(
        self, loop: EventLoop, codec: Codec, health: ServerHealth, upstream, timeout: int, profile: int, shared: bool
    ) -> None:
        """``timeout``: in milliseconds, 0 for none; for the others see ServerStream.

        ``listener(message)``, when set, gets what comes without a request being there that it could answer.
        """
        ServerStream.__init__(self, loop, codec, health, upstream, profile)
        self.timeout = timeout
        self.patience = upstream.pool.connect_timeout or timeout
        self.shared = shared
        self.retries_reads = shared and upstream.pool.retry_reads
        self.requests = InFlight()

    # --- requests --------------------------------------------------------------------------------------------

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
        deadline: int64_t = NEVER
        down: cython.bint = self.is_down()
        if self.timeout > 0:
            deadline = self.loop.now + self.timeout
            if deadline < self.loop.wake_at:
                self.loop.wake_at = deadline
        add(self.requests, sink, position, length, expected, deadline)
        if self.retries_reads:
            self.requests.keep_read(self.out, self.codec)
        if not down:
            self.counters[REQUESTS] += 1
            self.counters[REQUEST_BYTES] += length
        if self.state == READY or down:
            return self.loop.want_flush(self)
        if self.state == CLOSED:
            return self.open()
        return self.publish_gauges()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def flush(self) -> cython.int:
        if self.is_down():
            self.answer_unsent()
        if self.state == LEAVING:
            return self.move_on()
        if self.state != READY or self.held:
            return 0
        return Stream.flush(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_flushed(self, sent: cython.Py_ssize_t) -> cython.int:
        if self.requests.sent_of_next > 0:
            # It reads on in the midst of a request.
            self.heard_at = self.loop.now
        self.requests.note_sent(sent, self.out)
        if self.waiting is not None and self.out.pending <= LOW_WATER:
            self.wake_waiting()
        if self.leaves and self.out.pending == 0:
            return self.leave()
        return self.publish_gauges()

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def is_down(self) -> cython.bint:
        """Whether the server is not to be sent anything, and the proxy answers in its place; not so for a probe."""
        return self.health.down and not self.excused

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_unsent(self) -> cython.int:
        """Answer what was not written yet in the server's place; see ``on_server_down``.

        This is done when the turn's requests have all been read: the codec that reads them is needed here too.
        """
        sink: Sink
        position: cython.uint
        expected: cython.uchar
        request: bytes
        reply: bytes
        for sink, position, expected, request in self.requests.take_unsent(self.out, self.loop.blocks):
            self.codec.expected = expected
            reply = self.upstream.missing_reply(request, expected & RESP3 != 0) if self.shared else b""
            if not reply:
                self.tell_failed([(sink, position, expected)], self.upstream.down_reply())
                continue
            if self.codec.is_unwanted(reply):
                reply = b""
            sink.deliver(
                position,
                cython.NULL,
                cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)),
                PyBytes_GET_SIZE(reply),
            )
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
        if self.state != READY or self.out.pending > 0:
            return False
        self.excused = self.finished = True
        shutdown(self.fd, SHUT_WR)
        self.requests.set_deadline(self.loop.now + LAST_WORDS)
        self.loop.wake_at = min(self.loop.wake_at, self.loop.now + LAST_WORDS)
        return True

    def set_timeout(self, timeout: int) -> None:
        """How long requests from now on may wait, in milliseconds, 0 for ever."""
        self.timeout = timeout

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def is_unused(self) -> cython.bint:
        """Whether it is READY and has no request on it."""
        return self.state == READY and self.requests.head == self.requests.tail

    def is_idle(self) -> bool:
        """Whether it is READY for other requests and has none on it."""
        return self.is_unused() and self.out.pending == 0 and not self.finished

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_ready(self, events: uint32_t) -> cython.int:
        if self.held and events & EPOLLIN:
            self.held = False
            self.loop.want_flush(self)
        return Stream.on_ready(self, events)

    # --- replies ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consume(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        codec: Codec = self.codec
        requests: InFlight = self.requests
        buf: cython.p_uchar = block_bytes(block)
        frame: Frame
        stop: cython.Py_ssize_t
        self.needed = 0
        while start < end:
            codec.resume_at = self.resume_at
            codec.resume_left = self.resume_left
            self.resume_at = 0
            codec.expected = codec.greeting_expected
            if self.state >= READY and requests.head != requests.tail:
                codec.expected = oldest(requests).expected
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
            elif requests.head != requests.written:
                self.reply_arrived(block, buf + start, stop - start)
            elif requests.is_begun() and codec.is_error(buf, start, stop):
                # It has seen enough of a request that is still being written, and takes the rest as read.
                requests.take_as_written()
                self.reply_arrived(block, buf + start, stop - start)
            elif self.listener is not None:
                self.listener(PyBytes_FromStringAndSize(cython.cast(cython.p_char, buf + start), stop - start))
            else:
                self.fail(EINVAL, "it sent a reply that nobody asked for")
            if self.fd < 0:
                return end
            start = stop
        if self.state == LEAVING:
            self.loop.want_flush(self)
        self.publish_gauges()
        return start

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def reply_arrived(
        self, block: cython.pointer[Block], data: cython.p_uchar, length: cython.Py_ssize_t
    ) -> cython.int:
        """The oldest written request has its reply."""
        request: cython.pointer[Request] = oldest(self.requests)
        sink: Sink
        position: cython.uint = request.position
        expected: cython.uchar = request.expected
        self.counters[RESPONSES] += 1
        self.counters[RESPONSE_BYTES] += length
        if request.sink is cython.NULL:
            self.requests.pass_over()
            return 0
        sink = cython.cast(Sink, request.sink)
        Py_DECREF(sink)
        forget_oldest(self.requests)
        if self.health.rotation.ejects:
            if self.codec.is_transient_error(data, 0, length):
                self.health.failed()
            else:
                self.health.failures = 0
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
        requests: InFlight = self.requests
        now = cython.declare(cython.Py_ssize_t[4])
        now[0] = requests.tail - requests.written
        now[1] = self.out.pending
        now[2] = requests.written - requests.head
        now[3] = max(requests.request_bytes - self.out.pending, 0)
        for i in range(4):
            self.counters[IN_QUEUE + i] += now[i] - self.gauges[i]
            self.gauges[i] = now[i]
        return 0

    # --- deadlines -------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def expire(self) -> int64_t:
        """Fail what is overdue; returns the moment to look again, or NEVER."""
        silent_by: int64_t = NEVER
        if self.is_opening() and self.open_by <= self.loop.now:
            self.opening_overdue()
        if self.requests.next_deadline() <= self.loop.now:
            self.requests_overdue()
        if self.requests.overdue > 0 and self.state >= READY:
            silent_by = self.silent_by()
            if silent_by <= self.loop.now:
                # Whoever was overdue has blamed it for its silence already.
                self.fail_with(
                    ETIMEDOUT, "it has said nothing for too long", self.upstream.error_reply(ETIMEDOUT), False, True
                )
                silent_by = NEVER
        if self.is_opening():
            silent_by = self.open_by
        return min(silent_by, self.requests.next_deadline())

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def opening_overdue(self) -> cython.int:
        """An address has had its time: try the next one, if there is one."""
        if self.state != CONNECTING or not self.candidates:
            return self.fail(ETIMEDOUT, "it could not be connected to in time")
        self.close_socket()
        self.set_open_by()
        return self.connect_next(ETIMEDOUT)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def requests_overdue(self) -> cython.int:
        """The oldest request that has not failed yet has waited for too long, and maybe others with it."""
        blame: cython.bint
        failed: list
        if not self.shared:
            return self.fail(ETIMEDOUT, "")
        # Requests that were on their way together say no more about the server than one.
        blame = self.requests.next_deadline() >= self.blamed_until
        failed = self.requests.take_overdue(self.loop.now)
        if self.state == READY and self.requests.sent_of_next == 0:
            self.held = self.loop.now - self.heard_at >= self.timeout
        self.requests.drop_unsent(self.out, self.loop.blocks)
        self.counters[SERVER_TIMEDOUT] += len(failed)
        if self.loop.verbosity >= INFO:
            self.upstream.log_overdue(len(failed))
        self.tell_failed(failed, self.upstream.error_reply(ETIMEDOUT))
        if self.waiting is not None and self.out.pending <= LOW_WATER:
            self.wake_waiting()
        self.publish_gauges()
        if blame:
            self.blamed_until = self.loop.now + self.timeout
            return self.health.failed()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def tell_failed(self, failed: list, reply: bytes) -> cython.int:
        """``failed``: see InFlight."""
        sink: Sink
        position: cython.uint
        expected: cython.uchar
        for sink, position, expected in failed:
            sink.fail(position, b"" if expected & MUTED or self.finished else reply)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def silent_by(self) -> int64_t:
        """When the server will have said nothing for a second ``timeout``, although a reply is overdue."""
        return max(self.heard_at + self.timeout, oldest(self.requests).deadline) + self.timeout

    # --- moving ----------------------------------------------------------------------------------------------

    def follow_server(self) -> None:
        """If it is misplaced, move to an address that the server has now; no request fails for that."""
        if not self.is_misplaced() or self.state == LEAVING:
            return
        if self.state == READY:
            self.leaves = True
            self.loop.want_flush(self)
        else:
            self.shut()
            self.open()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def leave(self) -> cython.int:
        """All requests are written whole: from now on they gather, until the replies to these have come."""
        self.leaves = False
        self.demanded = 0
        self.state = LEAVING
        return self.move_on()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def move_on(self) -> cython.int:
        """Once it owes nobody a reply, close the connection, and open it elsewhere if requests have gathered."""
        if self.requests.head == self.requests.written:
            self.shut()
            if self.requests.head != self.requests.tail:
                return self.open()
        return self.publish_gauges()

    # --- failing ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_end(self) -> cython.int:
        # A server may end a connection that nobody uses.
        return self.fail_with(0, "", self.upstream.error_reply(0), not self.is_unused(), True)

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
        ours: cython.bint = is_our_fault(error)
        nonsense: cython.bint = error == EINVAL and self.state == GREETING
        if error == EHOSTDOWN and self.state == RESOLVING:
            return self.fail_with(error, reason, self.upstream.unresolved_reply(reason), True, False)
        return self.fail_with(error, reason, self.upstream.error_reply(error), not ours, not ours and not nonsense)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def refuse(self, reason: str, blame: cython.bint) -> cython.int:
        return self.fail_with(EINVAL, reason, self.upstream.explanation(reason), blame, False)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail_with(
        self, error: cython.int, reason: str, reply: bytes, blame: cython.bint, again: cython.bint
    ) -> cython.int:
        """Close the connection; its requests get this error, but for those that are sent once more.

        ``blame``: whether it counts as a failure of the server's. ``again``: whether another connection may do better.
        """
        failed: list
        level: cython.int
        requests: InFlight = self.requests
        resent: cython.uint
        if error == 0:
            self.counters[SERVER_EOF] += 1
        elif error == ETIMEDOUT:
            self.counters[SERVER_TIMEDOUT] += 1
        else:
            self.counters[SERVER_ERR] += 1
        level = INFO if self.excused else self.upstream.failure_level(error, requests.tail - requests.head)
        # Before anybody who hears of it can have the connection opened again.
        self.upstream.addresses.doubt()
        self.shut()
        failed = requests.take_failed(self.out, self.loop.blocks, again and self.shared)
        resent = requests.tail - requests.head
        self.counters[REQUESTS_RESENT] += resent
        if resent == 0:
            self.demanded = 0
        if self.loop.verbosity >= level:
            self.upstream.log_failed(level, error, reason, len(failed), resent)
        self.tell_failed(failed, reply)
        self.wake_waiting()
        if self.on_settled is not None:
            self.on_settled(False, False)
        if resent > 0 and self.is_down():
            self.loop.want_flush(self)
        elif resent > 0 and requests.head != requests.tail and self.state == CLOSED:
            self.open()
        self.publish_gauges()
        if blame and not self.excused and (failed or not resent):
            # When all are sent again, the next connection tells whether it is well. This comes last, because keys may
            # move then, and nothing may be sent here in the midst of it.
            return self.health.failed()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shut(self) -> cython.int:
        self.resume_at = 0
        self.needed = 0
        self.held = False
        self.leaves = False
        return ServerStream.shut(self)

    def give_up(self, error: int, reason: str) -> None:
        """As ``fail``."""
        self.fail(error, reason)

    def abandon(self) -> None:
        """Close the connection, which is nobody's fault; nobody hears of the requests on it any more."""
        self.on_settled = self.listener = None
        self.shut()
        self.out.clear(self.loop.blocks)
        self.requests.clear()
        self.wake_waiting()
        self.publish_gauges()
