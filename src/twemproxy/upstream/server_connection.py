"""One connection to a server, with its requests.

Compiled-only. Requests are sent in the order they were queued, and replies are matched to them in that order. The
connection opens at the end of a turn with the first request (see ``upstream.server_stream``), and after a failure with
the next one. Requests wait until it is READY; none of their bytes is written before the handshake has succeeded.

Requests on a shared connection are independent of each other. A request that is overdue fails alone: its late reply is
dropped, and it is not sent if none of its bytes was. After one ``timeout`` of silence the server is sent nothing until
it sends something, and after a second one the connection fails. When the connection fails, requests of which no byte
was written are sent once more on a new connection, and with ``retry_reads`` so are reads. On a connection that one
client has for itself, requests depend on each other, so the first overdue request fails all of them.

Shared connections where clients can shape the server's replies are those of ``upstream.fenced``.

A connection to a former address of its server is DRAINING until all written requests have replies. Then the connection
opens to a current address and sends the requests that were queued in the meantime.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.cpython.ref import Py_DECREF
from cython.cimports.libc.errno import EHOSTDOWN, EINVAL, EMSGSIZE, ETIMEDOUT
from cython.cimports.libc.stdint import int64_t, uint32_t
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.net.poller import READABLE
from cython.cimports.twemproxy.net.stream import LOW_WATER, Stream
from cython.cimports.twemproxy.net.timers import NEVER
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import (
    COMPLETE,
    NEED_MORE,
    NOREPLY,
    QUIET,
    RESP3,
    Cursor,
    Frame,
    Request,
)
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool
from cython.cimports.twemproxy.proxy.reply_handler import ReplyHandler
from cython.cimports.twemproxy.stats.positions import (
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
from cython.cimports.twemproxy.upstream.connection_states import (
    CLOSED,
    CONNECTING,
    DRAINING,
    HALF_CLOSED,
    HANDSHAKE,
    READY,
    RESOLVING,
)
from cython.cimports.twemproxy.upstream.health_states import REMOVED
from cython.cimports.twemproxy.upstream.internal_request import InternalRequest
from cython.cimports.twemproxy.upstream.measuring import measure
from cython.cimports.twemproxy.upstream.pipeline import Entry, Pipeline, add, forget_oldest, make_place, oldest, show
from cython.cimports.twemproxy.upstream.roles import PRIVATE, SHARED, Role, policy_of
from cython.cimports.twemproxy.upstream.server import Server
from cython.cimports.twemproxy.upstream.server_stream import ServerStream

from twemproxy.upstream.endpoint import is_our_fault

# Microseconds that a server has for pending replies after the proxy has closed its side of the connection.
HALF_CLOSE_TIMEOUT = cython.declare(cython.const[int64_t], 2_000_000)
# Microseconds that a server has for pending replies at an address that it has left, in a pool without ``timeout``.
DRAIN_TIMEOUT = cython.declare(cython.const[int64_t], 5_000_000)
# Reads before a server counts as late, because its reply may lie unread: together more than a socket buffers.
MOST_UNREAD = cython.declare(cython.const[cython.int], 64)
# Largest late reply, in bytes: the connection fails when the reply to a request that has failed is longer.
LARGEST_LATE_REPLY = cython.declare(cython.const[cython.Py_ssize_t], 64 * 1024 * 1024)
INFO = cython.declare(cython.const[cython.int], 6)
REPLY_DROPPED = "out of memory: '--max-memory' leaves no room for the reply"


@cython.cclass
class ServerConnection(ServerStream):
    """A server connection.

    ``policy``: what follows from its role, see ``upstream.roles``.

    ``limited``: it opens only if it gets a place, see ``Server.take_place``; ``has_place``: it has one. ``private``: it
    is for one client at a time.

    ``writes_suspended``: nothing is sent until the server sends something. ``reply_began_at``: when the incomplete
    reply began to arrive, in microseconds, NEVER without one. ``counted_until``: overdue requests with an earlier
    deadline do not count as another failure of the server. ``tainted``: clients may decide the text of replies, so
    replies do not show the server's health; ``fenced``: it is a FencedConnection. ``was_cut``: it has failed in the
    middle of a reply. ``retry_bytes``: bytes of retried requests in progress, see ``downstream.retryable``.
    """

    def __init__(
        self, pool: ConfiguredPool, loop: EventLoop, codec: Codec, server: Server, profile: int, role: Role
    ) -> None:
        """The parameters: see ServerStream.
        ``may_open()``, when set, returns why the connection may not be opened now, "" if it may.

        ``listener(message)``, when set, gets each message that is not the reply to a request; it returns why the
        connection must fail for this message, otherwise "".
        """
        ServerStream.__init__(self, pool, loop, codec, server, profile)
        self.policy = policy_of(role)
        self.limited = self.policy.limited and not (role == SHARED and profile == 0)
        self.private = role == PRIVATE
        self.requests = Pipeline()
        self.requests.server = server.name
        self.reply_began_at = NEVER
        self.tainted = codec.is_tainted(profile)

    # --- requests --------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def send_request(
        self,
        handler: ReplyHandler,
        position: cython.uint,
        request: Request,
        expected: cython.uchar,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.int:
        """Queue the request in ``block`` from ``start`` to ``end``; ``expected``: see ``enqueue``."""
        data: cython.p_uchar = block_bytes(block) + start
        before: cython.Py_ssize_t
        length: cython.Py_ssize_t = end - start - (request.strip_end - request.strip_start)
        self.begin_request(handler)
        before = self.out.pending
        make_place(self.requests)
        try:
            if request.strip_end == request.strip_start:
                self.out.append_held(self.loop.blocks, block, data, length)
            else:
                self.out.append_held(self.loop.blocks, block, data, request.strip_start)
                self.out.append_held(self.loop.blocks, block, data + request.strip_end, end - start - request.strip_end)
        finally:
            if self.out.pending != before + length:
                self.out.drop_since(self.loop.blocks, before)
        self.enqueue(handler, position, length, expected, request.required_features)
        return show(self.requests, data, end - start, block.capacity - start)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def send_bytes(
        self, handler: ReplyHandler, position: cython.uint, request: bytes, expected: cython.uchar
    ) -> cython.int:
        """Queue a request that the proxy has made; ``expected``: see ``enqueue``."""
        data: cython.p_uchar = cython.cast(cython.p_uchar, PyBytes_AS_STRING(request))
        self.begin_request(handler)
        make_place(self.requests)
        self.out.append(self.loop.blocks, data, PyBytes_GET_SIZE(request))
        self.enqueue(handler, position, PyBytes_GET_SIZE(request), expected, 0)
        return show(self.requests, data, PyBytes_GET_SIZE(request), PyBytes_GET_SIZE(request))

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def begin_request(self, handler: ReplyHandler) -> cython.int:
        """Prepare to append a request of ``handler`` to ``out``; ``enqueue`` records it afterwards."""
        return self.fence_before(handler.owner()) if self.fenced else 0

    # --- of fenced connections ---------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fence_before(self, owner: object) -> cython.int:
        """Put a fence before the next request, which is of ``owner``, if it needs one."""
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_stuck(self) -> cython.bint:
        """Whether a script may run on the connection, so that the server does not read it."""
        return False

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_last_slice(self) -> cython.int:
        """Put a fence after the last request, unless it has one."""
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget_unsent_fences(self) -> cython.int:
        """Remove the fences that ``Pipeline.take_unsent`` has removed from the pipeline."""
        return 0

    # --- queueing ----------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def enqueue(
        self,
        handler: ReplyHandler,
        position: cython.uint,
        length: cython.Py_ssize_t,
        expected: cython.uchar,
        required_features: cython.uchar,
    ) -> cython.int:
        """Record the last ``length`` bytes of ``out`` as a request of ``handler``.

        Call ``begin_request`` and ``make_place`` before the bytes are appended: a request without an entry would shift
        all later replies.

        ``expected`` and ``required_features``: see ``protocol.request``. A request whose handler is not a client's
        reply queue is neither QUIET nor NOREPLY.
        """
        deadline: int64_t = NEVER
        down: cython.bint = self.is_down()
        timeout: int64_t = self.timeout()
        if timeout > 0:
            deadline = self.loop.now + timeout
            if deadline < self.timer.at:
                self.timer.arm(deadline)
        add(self.requests, handler, position, length, expected, required_features, deadline)
        if self.policy.independent and self.pool.settings.retry_reads:
            self.requests.keep_read(self.out, self.codec)
        if not down:
            self.counters[REQUESTS] += 1
            self.counters[REQUEST_BYTES] += length
        if self.state == READY or down:
            return self.loop.want_flush(self)
        if self.state == CLOSED:
            self.loop.defer(self)
        return self.publish_gauges()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def flush(self) -> cython.int:
        if self.is_down():
            self.answer_unsent()
        if self.state == DRAINING:
            return self.reconnect()
        if self.state == CLOSED and self.requests.head != self.requests.tail:
            # The server was down when they were queued, and is not any more.
            return self.loop.defer(self)
        if not self.may_send():
            return self.update_interest()
        if self.fenced:
            self.end_last_slice()
        return Stream.flush(self)

    @cython.cfunc
    @cython.exceptval(check=False)
    def may_send(self) -> cython.bint:
        return self.state == READY and not self.writes_suspended and not self.abandoned

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_flushed(self, sent: cython.Py_ssize_t) -> cython.int:
        if self.requests.sent_of_next > 0:
            # The server is still reading a request.
            self.heard_at = self.loop.now
        self.requests.note_sent(sent, self.out, self.loop.clock.read_real())
        if self.waiting is not None and self.out.pending <= LOW_WATER:
            self.wake_waiting()
        if self.drain_requested and self.may_drain():
            return self.start_drain()
        return self.publish_gauges()

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def timeout(self) -> int64_t:
        """The timeout of a request, in microseconds, 0 for none."""
        return self.pool.settings.timeout if self.own_timeout < 0 else self.own_timeout

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def is_down(self) -> cython.bint:
        """Whether the proxy replies in the server's place instead of sending."""
        return self.server.down and self.policy.stands_in

    @cython.cfunc
    @cython.exceptval(check=False)
    def counts_failures(self) -> cython.bint:
        """Whether a failure counts against the server.

        It does not when the proxy has half-closed the connection, or the server has left its address.
        """
        return self.policy.counts and self.state != HALF_CLOSED and not self.is_stale()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_unsent(self) -> cython.int:
        """Reply to unwritten requests in the server's place; see ``on_server_down``.

        This runs at the end of the turn, when all requests of the turn have been read. Requests of a private connection
        depend on each other, so with the first one that the server does not get, all fail and the connection ends: a
        transaction must not run in part, nor be left open for the next client.
        """
        handler: ReplyHandler
        position: cython.uint
        expected: cython.uchar
        request: bytes
        reply: bytes
        unsent: list
        if self.requests.n_unsent() == 0:
            return 0
        if not self.policy.independent:
            return self.end_with(self.endpoint.down_reply())
        unsent = self.requests.take_unsent(self.out, self.loop.blocks)
        self.forget_unsent_fences()
        for handler, position, expected, request, *_ in unsent:
            reply = self.endpoint.missing_reply(request, expected & RESP3 != 0)
            if not reply:
                self.tell_failed([(handler, position, expected)], self.endpoint.down_reply())
                continue
            if self.codec.is_unwanted(reply, expected):
                reply = b""
            handler.deliver(
                position,
                cython.NULL,
                cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)),
                PyBytes_GET_SIZE(reply),
            )
        self.wake_waiting()
        return self.publish_gauges()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_deferred(self) -> cython.int:
        """Open the connection, if it is closed and still needed; close it, if it is abandoned."""
        needed: cython.bint = self.opens_soon
        if self.predecessors is not None and self.state == CLOSED and not self.abandoned and not self.is_down():
            return 0
        self.opens_soon = False
        if self.abandoned:
            self.timer.cancel()
            self.shut()
            return self.publish_gauges()
        if self.state != CLOSED:
            return 0
        if self.requests.head != self.requests.tail:
            if self.is_down():
                return self.loop.want_flush(self)
            needed = True
        return self.open() if needed else 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def open(self) -> cython.int:
        reason: str = (self.may_open() if self.may_open is not None else "") or self.take_place()
        return self.end_with(self.endpoint.explanation(reason)) if reason else ServerStream.open(self)

    def take_place(self) -> str:
        """See ``Server.take_place``; when the connection closes it gives its place back."""
        if self.has_place or not self.limited:
            return ""
        reason: str = self.server.take_place(self.profile, self.private)
        self.has_place = not reason
        return reason

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_with(self, reply: bytes) -> cython.int:
        """Close the connection for a reason that is not the server's; all requests fail with this error."""
        failed: list
        self.shut()
        failed = self.take_failed(False)
        self.tell_failed(failed, reply)
        self.wake_waiting()
        if self.on_status is not None:
            self.on_status(False, False)
        return self.publish_gauges()

    # --- for rare work in Python -------------------------------------------------------------------------------

    def ask(self, request: bytes, done, kind: int = 0) -> None:
        """Queue a request of the proxy's own; ``done``: see InternalRequest.

        ``kind``: ``Request.expected`` for its reply, 0 for the value that handshake replies have.
        """
        expected: cython.uchar = self.codec.handshake_expected
        if kind != 0:
            expected = kind
        self.send_bytes(InternalRequest(done), 0, request, expected)

    def write(self, data: bytes) -> None:
        """Send bytes; replies to them, if any, go to ``listener``."""
        self.out.append(self.loop.blocks, cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), PyBytes_GET_SIZE(data))
        if self.state == READY:
            self.loop.want_flush(self)
        elif self.state == CLOSED:
            self.open_soon()

    def taint(self) -> None:
        """From now on a client may decide the text of replies."""
        self.tainted = True

    def is_tainted(self) -> bool:
        """Whether a client may have decided the text of replies."""
        return self.tainted

    def has_sent(self) -> bool:
        """Whether the server may have the whole of a request that has no reply yet."""
        return self.requests.head != self.requests.written

    def finish(self) -> bool:
        """Close the proxy's side of the connection; the server may still send replies.

        The server has HALF_CLOSE_TIMEOUT for pending replies. Requests without a reply by then, or when the server
        closes, complete with an empty reply. Returns False and does nothing while there are unsent bytes.
        """
        if self.state != READY or self.has_unsent():
            return False
        self.become(HALF_CLOSED)
        self.shut_write()
        self.requests.limit_deadlines(self.loop.now + HALF_CLOSE_TIMEOUT, self.requests.tail)
        self.timer.arm_by(self.loop.now + HALF_CLOSE_TIMEOUT)
        return True

    def is_busy(self, profile: int) -> bool:
        """Whether it is a connection of this profile and has requests."""
        return self.profile == profile and self.requests.head != self.requests.tail

    def apply_settings(self) -> None:
        """The pool has other settings: requests in progress have no more time than later ones."""
        if self.own_timeout < 0 and self.timeout() > 0:
            self.requests.limit_deadlines(self.loop.now + self.timeout(), self.requests.tail)
        elif self.writes_suspended and self.timeout() == 0:
            # Without a timeout a silent server is waited for, and gets what has been queued.
            self.writes_suspended = False
            self.loop.want_flush(self)
        # The time of the next deadline may have changed.
        self.timer.arm(self.loop.now)

    def set_timeout(self, timeout: int) -> None:
        """Set the timeout of later requests, in microseconds: 0 for none, -1 for that of the pool."""
        self.own_timeout = timeout

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def is_unused(self) -> cython.bint:
        """Whether the connection is READY and has no requests."""
        return self.state == READY and self.requests.head == self.requests.tail

    def is_idle(self) -> bool:
        """Whether the connection is READY and not abandoned, and has no requests and no unsent bytes."""
        return self.is_unused() and self.out.pending == 0 and not self.abandoned

    def is_closed(self) -> bool:
        """Whether the connection is closed, stays so, and has no requests."""
        return self.state == CLOSED and self.requests.head == self.requests.tail and not self.opens_soon

    def is_open(self) -> bool:
        """Whether the connection is in any state but CLOSED."""
        return self.state != CLOSED

    def close_idle(self) -> None:
        """Close an idle connection; the next request opens it again."""
        self.shut()
        self.publish_gauges()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_ready(self, events: uint32_t) -> cython.int:
        if self.writes_suspended and events & READABLE:
            self.writes_suspended = False
            self.timer.arm_by(self.loop.now + self.timeout())
            self.loop.want_flush(self)
        return Stream.on_ready(self, events)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def receive(self) -> cython.int:
        Stream.receive(self)
        if self.requests.overdue > 0 and self.tail_end - self.tail_start > LARGEST_LATE_REPLY:
            return self.end_reply()
        return 0

    # --- replies ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consume(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        codec: Codec = self.codec
        requests: Pipeline = self.requests
        cursor: Cursor = self.cursor
        buf: cython.p_uchar = block_bytes(block)
        expected: cython.uchar
        frame: Frame
        stop: cython.Py_ssize_t
        reason: str
        self.needed = 0
        if self.abandoned:
            return end
        while start < end:
            expected = codec.handshake_expected
            if self.state >= READY and requests.head != requests.tail:
                expected = oldest(requests).expected
            frame = codec.frame_reply(buf, start, end, expected, cursor)
            if frame == NEED_MORE:
                self.needed = cursor.needed
                self.reply_began_at = min(self.reply_began_at, self.loop.now)
                if requests.overdue > 0:
                    self.timer.arm_by(self.reply_ends_by())
                break
            if frame != COMPLETE:
                self.fail(EINVAL, "its reply breaks the protocol")
                return end
            stop = start + cursor.length
            self.reply_began_at = NEVER
            if codec.is_push(buf, start, stop):
                pass
            elif self.state == HANDSHAKE:
                self.on_handshake_reply(
                    PyBytes_FromStringAndSize(cython.cast(cython.p_char, buf + start), stop - start)
                )
            elif requests.head != requests.written:
                self.reply_arrived(block, buf + start, stop - start)
            elif requests.is_begun() and codec.is_error(buf, start, stop):
                # The server has replied with an error before all of the request was written; it ignores the rest.
                requests.take_as_written()
                self.reply_arrived(block, buf + start, stop - start)
            elif self.listener is not None:
                reason = self.listener(PyBytes_FromStringAndSize(cython.cast(cython.p_char, buf + start), stop - start))
                if reason:
                    self.fail(EINVAL, reason)
            else:
                self.fail(EINVAL, "it sent a reply without a request")
            if self.fd < 0 or self.abandoned:
                # The reply has failed the connection, or the one who asked for the reply has abandoned it.
                return end
            start = stop
        return self.consumed(start)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consumed(self, start: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Everything before ``start`` is processed; returns ``start``."""
        if self.state == DRAINING:
            self.loop.want_flush(self)
        self.publish_gauges()
        return start

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def reply_arrived(
        self, block: cython.pointer[Block], data: cython.p_uchar, length: cython.Py_ssize_t
    ) -> cython.int:
        """Process the reply to the oldest written request."""
        request: cython.pointer[Entry] = oldest(self.requests)
        handler: ReplyHandler
        position: cython.uint = request.position
        expected: cython.uchar = request.expected
        fits: cython.bint = True
        self.counters[RESPONSES] += 1
        self.counters[RESPONSE_BYTES] += length
        if request.handler is cython.NULL:
            self.requests.drop_late_reply()
            return 0
        measure(self.pool, self.codec, self.server, request, length, self.loop.real)
        handler = cython.cast(ReplyHandler, request.handler)
        Py_DECREF(handler)
        forget_oldest(self.requests)
        if self.pool.settings.auto_eject_hosts and not self.tainted and self.state != DRAINING:
            if self.codec.is_transient_error(data, 0, length):
                self.server.failed()
            else:
                self.server.failures = 0
        if expected & (QUIET | NOREPLY) and (
            expected & NOREPLY or self.codec.is_suppressible(data, 0, length, expected)
        ):
            length = 0
        try:
            fits = handler.deliver(position, block, data, length) != 1
        except Exception as defect:
            # The connection itself works: only the client that waits for the reply is closed.
            self.loop.on_defect(defect)
            handler.close_owner()
        if not fits and not self.fenced:
            return self.fail(EINVAL, "its reply does not fit the request")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def publish_gauges(self) -> cython.int:
        """Update this connection's part of the server's gauges."""
        i: cython.int
        requests: Pipeline = self.requests
        now = cython.declare(cython.Py_ssize_t[4])
        now[0] = requests.tail - requests.written
        now[1] = self.out.pending
        # Until the unsent fences are subtracted, there may be more fences than requests.
        now[2] = cython.cast(cython.Py_ssize_t, requests.written - requests.head) - requests.fences
        if requests.fences > 0 and now[0] > 0:
            now[0] -= requests.unsent_fences()
            now[2] += requests.unsent_fences()
        now[3] = max(requests.request_bytes - self.out.pending, 0)
        if self.followers is not None and requests.head == requests.tail:
            self.release_followers()
        for i in range(4):
            self.counters[IN_QUEUE + i] += now[i] - self.gauges[i]
            self.gauges[i] = now[i]
        return 0

    # --- deadlines -------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_timer(self) -> cython.int:
        return self.timer.arm_by(self.check_deadlines())

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def check_deadlines(self) -> int64_t:
        """Fail what is overdue; returns the time of the next deadline in microseconds, or NEVER."""
        silent_by: int64_t = NEVER
        if self.is_due():
            self.read_unread()
        if self.is_opening() and self.open_by <= self.loop.now:
            self.opening_overdue()
        if self.requests.next_deadline() <= self.loop.now:
            self.requests_overdue()
        if self.requests.overdue > 0 and self.state >= READY and self.timeout() > 0:
            silent_by = self.silent_by()
            if silent_by <= self.loop.now:
                # The overdue requests have already counted as a failure of the server.
                self.fail_with(
                    ETIMEDOUT,
                    "it has sent nothing within a second 'timeout'",
                    self.endpoint.error_reply(ETIMEDOUT),
                    False,
                    True,
                )
                silent_by = NEVER
            elif self.reply_began_at != NEVER:
                silent_by = min(silent_by, self.reply_ends_by())
                if silent_by <= self.loop.now:
                    self.end_reply()
                    silent_by = NEVER
            if self.state == READY and not self.writes_suspended:
                silent_by = min(silent_by, self.suspend_writes())
        if self.is_opening():
            silent_by = self.open_by
        return min(silent_by, self.requests.next_deadline())

    @cython.cfunc
    @cython.exceptval(check=False)
    def suspend_writes(self) -> int64_t:
        """Send nothing more to a server that has been silent for a ``timeout``, unless it has half of a request.

        Returns when that will be so in microseconds, or NEVER.
        """
        silent_at: int64_t = self.heard_at + self.timeout()
        if silent_at > self.loop.now:
            return silent_at
        self.writes_suspended = self.requests.sent_of_next == 0
        return NEVER

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_due(self) -> cython.bint:
        """Whether a deadline of this connection has passed."""
        if self.is_opening():
            return self.open_by <= self.loop.now
        return self.requests.next_deadline() <= self.loop.now or (
            self.requests.overdue > 0
            and self.state >= READY
            and min(self.silent_by(), self.reply_ends_by()) <= self.loop.now
        )

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def read_unread(self) -> cython.int:
        """Read the bytes that have already arrived: the proxy may have been too slow, not the server."""
        if self.state == CONNECTING:
            if self.transport.can_establish():
                self.set_open_by()
                return self.establish()
            return 0
        for _ in range(MOST_UNREAD):
            if not self.established or self.transport.peek() <= 0:
                return 0
            self.on_ready(READABLE)
        return 0

    def take_unread(self) -> None:
        """As ``read_unread``."""
        self.read_unread()

    @cython.cfunc
    @cython.exceptval(check=False)
    def reply_ends_by(self) -> int64_t:
        """When the incomplete reply fails the connection: one ``timeout`` after it began and after it was due."""
        if self.reply_began_at == NEVER or self.timeout() == 0 or self.requests.head == self.requests.tail:
            return NEVER
        return max(self.reply_began_at, oldest(self.requests).deadline) + self.timeout()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_reply(self) -> cython.int:
        """Fail the connection because an overdue reply does not end."""
        reason: str = "an overdue reply is still incomplete"
        return self.fail_with(ETIMEDOUT, reason, self.endpoint.error_reply(ETIMEDOUT), False, True)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shed(self, held: cython.Py_ssize_t) -> cython.int:
        return self.fail_with(EMSGSIZE, REPLY_DROPPED, self.endpoint.explanation(REPLY_DROPPED), False, True)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def opening_overdue(self) -> cython.int:
        """The server did not accept the connection in time: try the next address, if there is one."""
        if self.state != CONNECTING or not self.candidates:
            return self.fail(ETIMEDOUT, "the connection was not established in time")
        self.close_socket()
        self.set_open_by()
        return self.connect_next(ETIMEDOUT)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def requests_overdue(self) -> cython.int:
        """Fail the requests that are overdue."""
        counts_as_failure: cython.bint
        if not self.policy.independent or self.state == DRAINING:
            return self.fail(ETIMEDOUT, "")
        # Requests that were in progress together count as one failure.
        counts_as_failure = self.requests.next_deadline() >= self.counted_until
        self.fail_overdue(self.endpoint.error_reply(ETIMEDOUT))
        if counts_as_failure:
            self.counted_until = self.loop.now + self.timeout()
            return self.server.failed()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail_overdue(self, reply: bytes) -> cython.int:
        """Fail only the overdue requests; the connection stays open."""
        failed: list = self.requests.take_overdue(self.loop.now)
        if self.state == READY:
            self.suspend_writes()
        self.drop_unsent()
        self.counters[SERVER_TIMEDOUT] += len(failed)
        if self.loop.verbosity >= INFO:
            self.endpoint.log_overdue(len(failed))
        self.tell_failed(failed, reply)
        if self.waiting is not None and self.out.pending <= LOW_WATER:
            self.wake_waiting()
        return self.publish_gauges()

    @cython.cfunc
    @cython.exceptval(check=False)
    def owes(self) -> cython.bint:
        """Whether a request waits for a reply, or the connection is opening."""
        return self.requests.head + self.requests.overdue != self.requests.tail or self.is_opening()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail_for_stop(self, reason: str) -> cython.int:
        """Fail all requests with ``reason``; this does not count as a failure of the server."""
        reply: bytes = self.endpoint.explanation(reason)
        if self.is_opening() or not self.policy.independent:
            return self.fail_with(ETIMEDOUT, reason, reply, False, False)
        self.requests.limit_deadlines(self.loop.now, self.requests.tail)
        self.fail_overdue(reply)
        return self.timer.arm_by(self.loop.now)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def refuse_unsupported(self) -> cython.int:
        failed: list = self.requests.take_unsupported(self.features, self.out, self.loop.blocks)
        if failed:
            self.tell_failed(failed, self.endpoint.explanation(self.codec.handshake.missing_feature_text()))
            self.wake_waiting()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def tell_failed(self, failed: list, reply: bytes) -> cython.int:
        """Call ``fail`` of the handlers; ``failed``: (handler, position, expected) of each request, see Pipeline."""
        handler: ReplyHandler
        position: cython.uint
        expected: cython.uchar
        for handler, position, expected in failed:
            try:
                handler.fail(position, b"" if expected & NOREPLY else reply)
            except Exception as defect:
                self.loop.on_defect(defect)
                handler.close_owner()
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def silent_by(self) -> int64_t:
        """When an overdue reply fails the connection: after a second ``timeout`` of silence."""
        return max(self.heard_at + self.timeout(), oldest(self.requests).deadline) + self.timeout()

    # --- drain -----------------------------------------------------------------------------------------------

    def leave_address(self) -> None:
        """If the connection is stale, move to a current address of the server, or end if it is removed.

        A written request fails only if its reply comes too late, see ``start_drain``. The connection is a shared one.
        """
        self.candidates = [each for each in self.candidates if self.endpoint.addresses.has(each)]
        if not self.is_stale() or self.state == DRAINING:
            return
        if self.state == READY:
            self.drain_soon()
        elif self.server.state != REMOVED and not self.retired:
            self.shut()
            self.open_soon()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def ready(self) -> cython.int:
        ServerStream.ready(self)
        if self.state == READY and self.policy.independent and self.is_stale():
            return self.drain_soon()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drain_soon(self) -> cython.int:
        """Start to drain as soon as no request is partly written."""
        self.drain_requested = True
        if self.writes_suspended and not self.fenced:
            # Nothing is partly written.
            return self.start_drain()
        return self.loop.want_flush(self)

    @cython.cfunc
    @cython.exceptval(check=False)
    def may_drain(self) -> cython.bint:
        """Whether the connection may drain: it gets no request after those that are written.

        The fences of written requests must be written, too, so a fenced connection first writes all that is queued.
        """
        return self.out.pending == 0 or (not self.fenced and self.requests.sent_of_next == 0)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def start_drain(self) -> cython.int:
        """Start to drain: requests that are not written wait for the next connection.

        Without a ``timeout``, the server has DRAIN_TIMEOUT for the replies.
        """
        self.drain_requested = False
        self.become(DRAINING)
        if self.timeout() == 0:
            self.requests.limit_deadlines(self.loop.now + DRAIN_TIMEOUT, self.requests.written)
            self.timer.arm_by(self.loop.now + DRAIN_TIMEOUT)
        self.update_interest()
        return self.reconnect()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def reconnect(self) -> cython.int:
        """If no written request is left, close the connection, and open it again for the requests that wait."""
        if self.requests.head == self.requests.written:
            self.shut()
            if self.requests.head != self.requests.tail:
                self.loop.defer(self)
        return self.publish_gauges()

    # --- failing ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_end(self) -> cython.int:
        # A server may close an unused connection.
        return self.fail_with(0, "", self.endpoint.error_reply(0), not self.is_unused(), True)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_broken(self, error: cython.int) -> cython.int:
        return self.fail(error, "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_defect(self) -> cython.int:
        self.fail(EINVAL, "")
        # If the exception escaped from ``on_timer``, the timer is not armed for the requests that are left.
        return self.timer.arm_by(self.requests.next_deadline())

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, error: cython.int, reason: str) -> cython.int:
        ours: cython.bint = is_our_fault(error)
        nonsense: cython.bint = error == EINVAL and self.state == HANDSHAKE
        if error == EHOSTDOWN and self.state == RESOLVING:
            return self.fail_with(error, reason, self.endpoint.unresolved_reply(reason), True, False)
        return self.fail_with(error, reason, self.endpoint.error_reply(error), not ours, not ours and not nonsense)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def refuse(self, reason: str, counts_as_failure: cython.bint) -> cython.int:
        return self.fail_with(EINVAL, reason, self.endpoint.explanation(reason), counts_as_failure, False)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail_with(
        self, error: cython.int, reason: str, reply: bytes, counts_as_failure: cython.bint, again: cython.bint
    ) -> cython.int:
        """Close the connection; its requests fail with this error, except those that are sent once more.

        ``counts_as_failure``: whether this is a failure of the server. ``again``: whether another connection may
        succeed.
        """
        failed: list
        level: cython.int
        requests: Pipeline = self.requests
        resent: cython.uint
        if self.abandoned:
            return 0
        counts: cython.bint = self.counts_failures()
        self.was_cut = self.reply_began_at != NEVER
        if self.tainted and self.state >= READY:
            # A client may have decided the bytes that the server sent, complete or not.
            counts_as_failure = (
                counts_as_failure and error != EINVAL and error != EMSGSIZE and self.reply_began_at == NEVER
            )
        if error == 0:
            self.counters[SERVER_EOF] += 1
        elif error == ETIMEDOUT:
            self.counters[SERVER_TIMEDOUT] += 1
        else:
            self.counters[SERVER_ERR] += 1
        if self.state == HALF_CLOSED and not self.was_cut:
            # The client that would get it has hung up, or the request is asked again.
            reply = b""
        level = INFO if not counts else self.endpoint.failure_level(error, requests.tail - requests.head)
        # Before any handler that gets the failure can open the connection again.
        self.endpoint.addresses.doubt()
        self.shut()
        failed = self.take_failed(again and self.policy.independent)
        resent = requests.tail - requests.head - requests.fences
        self.counters[REQUESTS_RESENT] += resent
        if self.loop.verbosity >= level:
            self.endpoint.log_failed(level, error, reason, len(failed), resent)
        self.tell_failed(failed, reply)
        self.wake_waiting()
        if self.on_status is not None:
            self.on_status(False, False)
        if counts_as_failure and counts and (failed or not resent):
            # If all requests are sent again, the next connection shows the server's health.
            self.server.failed()
        if resent > 0:
            self.loop.defer(self)
        return self.publish_gauges()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop_unsent(self) -> cython.int:
        """See ``Pipeline.drop_unsent``."""
        self.requests.drop_unsent(self.out, self.loop.blocks)
        return 0

    @cython.cfunc
    def take_failed(self, again: cython.bint) -> list:
        """As ``Pipeline.take_failed``."""
        return self.requests.take_failed(self.out, self.loop.blocks, again)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shut(self) -> cython.int:
        self.cursor.restart()
        self.needed = 0
        self.reply_began_at = NEVER
        self.writes_suspended = False
        self.drain_requested = False
        if self.has_place:
            self.has_place = False
            self.server.give_place(self.private)
        return ServerStream.shut(self)

    def give_up(self, error: int, reason: str) -> None:
        """As ``fail``."""
        self.fail(error, reason)

    def abandon(self) -> None:
        """Drop the requests without calling their handlers, and close the connection for good, without a failure.

        It is closed at the end of the turn: its input may be what is being parsed now.
        """
        self.on_status = self.listener = None
        self.abandoned = True
        self.timer.cancel()
        self.out.clear(self.loop.blocks)
        self.requests.clear()
        self.retry_bytes = 0
        self.wake_waiting()
        self.publish_gauges()
        self.loop.defer(self)
