"""One client connection: takes requests apart, sends them on their way, and keeps the replies in order.

Compiled-only.
"""

import os

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.libc.epoll import EPOLLIN
from cython.cimports.twemproxy.libc.socket import SHUT_WR, recv, shutdown
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.event_loop import NEVER
from cython.cimports.twemproxy.net.stream import HIGH_WATER, LOW_WATER, Stream
from cython.cimports.twemproxy.protocol.codec import (
    COMPLETE,
    MUTED,
    NEED_MORE,
    PLANNED,
    REWRITE,
    SKIP,
    TO_ALL,
    TO_ANY,
    TO_EACH,
    TO_KEY,
    TO_NOBODY,
    TO_ONLY,
    TO_SAME,
    Codec,
    Frame,
    Route,
)
from cython.cimports.twemproxy.proxy.fragment import dispatch_split, dispatch_to_all
from cython.cimports.twemproxy.proxy.limits import ClientCount
from cython.cimports.twemproxy.proxy.memory_limit import THRIFTY_WINDOW
from cython.cimports.twemproxy.proxy.oversize import pass_over, refuse_large, refuse_unfinished
from cython.cimports.twemproxy.proxy.planned import follow, queue_request
from cython.cimports.twemproxy.proxy.repairable import send_repairable
from cython.cimports.twemproxy.proxy.reply_queue import ReplyQueue
from cython.cimports.twemproxy.proxy.server_connection import ServerConnection
from cython.cimports.twemproxy.proxy.server_pool import ServerPool
from cython.cimports.twemproxy.proxy.shared_message import SharedMessage
from cython.cimports.twemproxy.stats.counters import (
    CLIENT_CONNECTIONS,
    CLIENT_EOF,
    CLIENT_ERR,
    CURR_CONNECTIONS,
    TOTAL_CONNECTIONS,
)

from twemproxy.protocol.plan import PASS
from twemproxy.proxy.pool_log import local_end_of, peer_of
from twemproxy.proxy.private_connections import Reservations

# Bytes of replies that one client has not taken, beyond which it is not read from, and below which it is again.
REPLIES_HIGH = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024)
REPLIES_LOW = cython.declare(cython.const[cython.Py_ssize_t], 256 * 1024)
# Input of a client that is being closed, read and dropped so that the last reply is not lost to a reset.
LAST_INPUT = cython.declare(cython.const[cython.int], 64)
WARN = cython.declare(cython.const[cython.int], 4)
INFO = cython.declare(cython.const[cython.int], 6)
# A session's ``replies`` when it wants none to its next request.
SKIP_NEXT = cython.declare(cython.const[cython.int], 2)


@cython.final
@cython.cclass
class ClientConnection(Stream):
    """``closing``: what still comes is ignored, and the connection ends with the last reply.

    ``swallow``, ``swallow_arguments``: as in ``Codec``, what is left of it. ``profile``, ``wishes``, ``skipping``: what
    its session says about its requests: see ``Codec.session``, ``Codec.expected``, and whether the next one gets no
    reply.

    ``attended``: every request is planned, but for those that go to the server ``queues_to``, -1 for none, which has
    begun a transaction on a private connection. ``leaving``: private connections are given back with the last reply,
    and nothing is read before; ``watches_hangup``: that may take for ever. ``awaits_memory``: see
    ``proxy.memory_limit``.
    """

    def __init__(self, fd: int, number: int, pool: ServerPool, everyone: ClientCount) -> None:
        """``fd``: a connected non-blocking socket, owned from here on; ``number`` tells clients apart."""
        self.loop = pool.loop
        self.pool = pool
        self.everyone = everyone
        self.limits = pool.limits
        self.id = number
        self.attended = pool.guarded
        self.queues_to = -1
        memory = everyone.memory
        self.replies = ReplyQueue(pool.config.max_pipeline, memory.first_window, memory.window_bytes)
        self.replies.stream = self
        self.replies.pool_counters = pool.counters
        self.open_stream(fd, EPOLLIN)
        self.opened_at = self.used_at = self.loop.now
        everyone.open += 1
        pool.counters[CLIENT_CONNECTIONS] += 1
        pool.process_counters[TOTAL_CONNECTIONS] += 1
        pool.process_counters[CURR_CONNECTIONS] += 1
        if self.loop.verbosity >= INFO:
            pool.log.client_opened(fd)

    # --- requests --------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def must_pause(self) -> cython.bint:
        """Whether the client has as much on its way as it may have."""
        on_their_way: cython.uint = self.replies.tail - self.replies.head
        return (
            on_their_way >= self.replies.window
            or (on_their_way >= THRIFTY_WINDOW and self.everyone.memory.is_thrifty())
            or self.out.pending + self.replies.kept > REPLIES_HIGH
            or self.leaving
        )

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def receive(self) -> cython.int:
        if self.loop.blocks.allocated > self.everyone.memory.thrifty_from:
            return self.everyone.memory.receive(self)
        return Stream.receive(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consume(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        codec: Codec = self.pool.codec
        buf: cython.p_uchar = block_bytes(block)
        frame: Frame
        stop: cython.Py_ssize_t
        self.needed = 0
        self.used_at = self.loop.now
        while start < end:
            if self.closing:
                return end
            if self.swallow != 0:
                start = pass_over(self, buf, start, end)
                if self.swallow != 0:
                    return start
                continue
            if self.must_pause():
                self.pause()
                return start
            codec.resume_at = self.resume_at
            codec.resume_left = self.resume_left
            self.resume_at = 0
            frame = codec.frame_request(buf, start, end)
            stop = codec.end
            if frame == COMPLETE:
                if stop - start > self.limits.largest_request:
                    refuse_large(self)
                elif not self.take_request(block, start, stop):
                    return start
            elif frame == NEED_MORE:
                self.resume_at = codec.resume_at
                self.resume_left = codec.resume_left
                self.needed = codec.needed
                if self.needed <= self.limits.largest_request or codec.pass_over(buf, start, end) == NEED_MORE:
                    return start
                refuse_unfinished(self, codec.large_refusal(self.limits.largest_request))
                stop = codec.end
            elif frame == REWRITE:
                if stop - start > self.limits.largest_request:
                    refuse_large(self)
                elif not self.rewrite(block, start, stop):
                    return start
            elif frame != SKIP:
                self.break_off(codec.malformation())
                return end
            start = stop
        return end

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_request(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """Deal with the complete request just framed; False when it has to wait, and nothing was done."""
        codec: Codec = self.pool.codec
        codec.expected |= self.wishes
        if self.attended or codec.route == PLANNED:
            if self.queues_to >= 0 and codec.route == TO_KEY and queue_request(self, block, start, end):
                return True
            return self.take_planned(block, start, end)
        if not self.route_request(block, start, end):
            return False
        if self.skipping:
            self.session.replies = 0
            self.take_wishes()
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def route_request(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """As ``take_request``, for a request the ``expected`` of which is final."""
        codec: Codec = self.pool.codec
        buf: cython.p_uchar = block_bytes(block)
        route: Route = codec.route
        full: ServerConnection
        request: bytes
        if route == TO_KEY:
            if self.pool.rotation.is_open():
                return self.forward(self.pool.server_of_key(buf), block, start, end)
        elif route == TO_EACH:
            full = dispatch_split(self.pool, self.replies, self.id, self.profile, block, start, end)
            return full is None or self.wait_for(full)
        elif route == TO_ALL:
            full = dispatch_to_all(self.pool, self.replies, self.id, self.profile, block, start, end)
            return full is None or self.wait_for(full)
        elif route == TO_SAME:
            if self.pool.rotation.is_open():
                return self.forward_together(block, start, end)
        elif route == TO_ANY or (route == TO_ONLY and self.pool.n_servers == 1):
            if self.pool.rotation.is_open():
                return self.forward(self.pool.any_server(), block, start, end)
        else:
            request = PyBytes_FromStringAndSize(cython.cast(cython.p_char, buf + start), end - start)
            if route == TO_NOBODY:
                self.swallow = codec.swallow
                self.answer_here(codec.refusal(request))
            else:
                self.answer_here(codec.only_refusal(request, self.pool.n_servers))
            return True
        self.replies.fail(self.replies.reserve(), b"" if codec.expected & MUTED else self.pool.refused)
        return True

    @cython.cfunc
    @cython.inline
    @cython.exceptval(-1, check=False)
    def forward(
        self,
        server: cython.int,
        block: cython.pointer[Block],
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
    ) -> cython.bint:
        """Send a whole request to a server; False when that can take no more at present."""
        codec: Codec = self.pool.codec
        connection: ServerConnection = self.pool.connection(server, self.id, self.profile)
        if connection.out.pending > HIGH_WATER:
            return self.wait_for(connection)
        if codec.demand != 0 and connection.lacks(codec.demand):
            self.answer_here(connection.upstream.explanation(codec.unmet()))
            return True
        if codec.repairable:
            send_repairable(connection, self.replies, block, start, end)
            return True
        connection.send_request(self.replies, self.replies.reserve(), block, start, end)
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forward_together(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """As ``forward``, to the server that has all of the request's keys; an error when there is none."""
        codec: Codec = self.pool.codec
        server: cython.int
        try:
            keys = codec.keys(
                PyBytes_FromStringAndSize(cython.cast(cython.p_char, block_bytes(block) + start), end - start),
                self.pool.n_servers,
            )
        except ValueError as reason:
            self.answer_here(codec.keys_refusal(str(reason)))
            return True
        server = self.pool.server_of_all(keys)
        if server < 0:
            self.answer_here(codec.keys_refusal())
            return True
        return self.forward(server, block, start, end)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def wait_for(self, full: ServerConnection) -> cython.bint:
        """Read no more until ``full`` has room again; returns False."""
        self.blocked_on = full
        full.wait_for_room(self)
        self.pause()
        return False

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def rewrite(self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
        """Deal with a request that must be brought into another form first; 0 when it has to wait."""
        codec: Codec = self.pool.codec
        taken: cython.bint = True
        copy: cython.pointer[Block]
        request: bytes
        try:
            request = codec.rewrite(
                PyBytes_FromStringAndSize(cython.cast(cython.p_char, block_bytes(block) + start), end - start)
            )
        except ValueError as problem:
            self.break_off(codec.malformation(str(problem)))
            return 1
        if request:
            copy = self.loop.blocks.take(PyBytes_GET_SIZE(request))
            memcpy(block_bytes(copy), PyBytes_AS_STRING(request), PyBytes_GET_SIZE(request))
            codec.resume_at = 0
            if codec.frame_request(block_bytes(copy), 0, PyBytes_GET_SIZE(request)) == COMPLETE:
                taken = self.take_request(copy, 0, PyBytes_GET_SIZE(request))
            self.loop.blocks.release(copy)
        return taken

    # --- planned requests ------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_planned(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.bint:
        """As ``take_request``, as the codec plans it."""
        taken: cython.bint
        codec: Codec = self.pool.codec
        session = self.begin_session()
        plan = codec.plan(
            PyBytes_FromStringAndSize(cython.cast(cython.p_char, block_bytes(block) + start), end - start), session
        )
        if plan is None:
            self.pause()
            return False
        taken = self.route_request(block, start, end) if plan is PASS else follow(self, plan, block, start, end)
        if taken:
            session.taken()
            self.attended = session.attended
            self.queues_to = session.queues_to
            self.take_wishes()
        return taken

    # --- private connections ---------------------------------------------------------------------------------

    def reservations(self):
        """The client's private connections, of which it may have none."""
        if self.reserved is None:
            self.reserved = Reservations(self, self.pool.private)
        return self.reserved

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def leave_private(self) -> cython.int:
        """Give private connections back with the last reply, and notice when a client leaves that waits patiently."""
        self.leaving = True
        self.watches_hangup = self.reserved.is_patient()
        return self.update_interest()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def give_back(self) -> cython.int:
        """All replies from private connections have come: give those back that are not kept."""
        self.leaving = False
        self.reserved.give_back(True)
        if self.watches_hangup:
            self.watches_hangup = False
            return self.update_interest()
        return 0

    def leave(self) -> None:
        """Close: the client has gone while it waited."""
        self.close(CLIENT_EOF, "it left while it waited")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_hangup(self) -> cython.int:
        # What a server has for it already is not lost; one that has nothing yet forgets that it waits.
        if not self.reserved.finish():
            self.leave()
            return 0
        self.watches_hangup = False
        return self.update_interest()

    # --- messages that answer nothing ------------------------------------------------------------------------

    def push(self, message: bytes, shared):
        """Send a message between replies, unless the connection is to end.

        ``shared``: what this gave for the client before that got the same message, None for the first.
        """
        copy: SharedMessage = shared
        if self.fd < 0 or self.closing:
            return copy
        if copy is None:
            copy = SharedMessage(self.loop.blocks, message)
        copy.append_to(self.out, self.session.message_beginning)
        self.loop.want_flush(self)
        return copy

    def wake(self) -> None:
        """Look again at what the client is waiting with."""
        self.loop.want_flush(self)

    # --- replies of the proxy's own ----------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_wishes(self) -> cython.int:
        """Do from now on what the session says about requests and replies."""
        self.profile = self.session.profile
        self.skipping = self.session.replies == SKIP_NEXT
        self.wishes = (MUTED if self.session.replies != 0 else 0) | cython.cast(cython.uchar, self.session.expected)
        return 0

    @cython.cfunc
    def begin_session(self):
        """The client's session, made when it is first needed."""
        if self.session is None:
            self.session = self.pool.codec.session(self.pool, self)
        return self.session

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def answer_here(self, reply: bytes) -> cython.int:
        """Answer the request just framed with this error, unless its client wants no reply."""
        return self.reply(b"" if self.pool.codec.expected & MUTED else reply)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def reply(self, reply: bytes) -> cython.int:
        """Answer the request just framed with these bytes, in its place."""
        return self.replies.deliver(
            self.replies.reserve(),
            cython.NULL,
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)),
            PyBytes_GET_SIZE(reply),
        )

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def break_off(self, reply: bytes) -> cython.int:
        """Answer with a last error and end the connection once all replies have left."""
        self.reply(reply)
        self.closing = True
        self.broken_off = True
        return 0

    # --- the end ---------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_flushed(self, sent: cython.Py_ssize_t) -> cython.int:
        if sent > 0:
            self.used_at = self.loop.now
        if self.out.pending > self.limits.output and self.leaves_lying():
            return self.close(CLIENT_ERR, "it does not take what there is for it")
        if self.leaving and self.replies.head == self.replies.tail:
            self.give_back()
        if self.paused and not self.closing and not self.awaits_memory:
            if (
                self.replies.tail - self.replies.head > self.everyone.memory.window(self.replies.window) // 2
                or self.out.pending + self.replies.kept > REPLIES_LOW
            ):
                return 0
            if self.blocked_on is not None:
                if self.blocked_on.out.pending > LOW_WATER:
                    # Woken together with others, which filled it again.
                    return self.blocked_on.wait_for_room(self)
                self.blocked_on = None
            self.resume()
            if self.paused:
                return 0
        if self.ended or self.closing:
            return self.close_if_done()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def leaves_lying(self) -> cython.bint:
        """Whether it has left more untaken than it may, which the log is told then."""
        untaken: cython.Py_ssize_t = self.out.behind_first()
        limit: cython.Py_ssize_t = self.limits.messages if self.is_subscribed() else self.limits.replies
        if untaken <= limit:
            return False
        if self.loop.verbosity >= WARN:
            self.pool.log.client_takes_nothing(self.fd, untaken, limit)
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def is_subscribed(self) -> cython.bint:
        return self.session is not None and self.session.subscribed

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_end(self) -> cython.int:
        self.update_interest()
        return self.close_if_done()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_broken(self, error: cython.int) -> cython.int:
        return self.close(CLIENT_ERR, os.strerror(error) if self.loop.verbosity >= INFO else "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_defect(self) -> cython.int:
        return self.close(CLIENT_ERR, "an error inside the proxy")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_if_done(self) -> cython.int:
        """Close once the last reply has left."""
        if self.replies.head == self.replies.tail and self.out.pending == 0 and self.fd >= 0:
            if self.broken_off:
                return self.close(CLIENT_ERR, "it broke the protocol")
            return self.close(CLIENT_EOF, "it ended the connection" if self.ended else "the last reply is sent")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close(self, counter: cython.int, why: str) -> cython.int:
        """Close now; requests on their way are answered to nobody."""
        dropped = cython.declare(cython.uchar[4096])
        if self.fd < 0:
            return 0
        if self.closing and not self.ended:
            # Unread input would make the kernel reset the connection and the peer lose the last reply.
            shutdown(self.fd, SHUT_WR)
            for _ in range(LAST_INPUT):
                if recv(self.fd, dropped, cython.sizeof(dropped), 0) <= 0:
                    break
        if self.loop.verbosity >= INFO:
            self.pool.log.client_closed(self.fd, why)
        self.pool.counters[counter] += 1
        self.pool.counters[CLIENT_CONNECTIONS] -= 1
        self.pool.process_counters[CURR_CONNECTIONS] -= 1
        self.everyone.open -= 1
        self.everyone.memory.forget(self)
        self.blocked_on = None
        self.close_stream()
        self.replies.close()
        if self.session is not None:
            self.session.ended()
        if self.reserved is not None:
            self.reserved.give_back(False)
        return 0

    @cython.ccall
    def drain(self):
        """Take what was already sent to us, then nothing more, and close with the last reply."""
        if self.watches_hangup:
            self.close(CLIENT_ERR, "the proxy stops")
        if not self.paused and not self.ended and self.fd >= 0:
            self.receive()
        if self.fd >= 0:
            self.closing = True
            self.loop.want_flush(self)

    def cut_off(self, why: str = "the proxy stops") -> None:
        """Close now, whatever is on its way."""
        self.close(CLIENT_ERR, why)

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def expire(self) -> int64_t:
        """Close when it has been idle for too long; returns the moment when it will have been, or NEVER.

        Who waits is not idle, unless there is something that it does not take.
        """
        limit: int64_t = self.pool.idle_limit
        if limit == 0:
            return NEVER
        if self.out.pending == 0 and (self.replies.head != self.replies.tail or self.is_subscribed()):
            self.used_at = self.loop.now
        if self.used_at + limit > self.loop.now:
            return self.used_at + limit
        self.close(CLIENT_EOF, "it was idle for too long")
        return NEVER

    # --- for the control plane -------------------------------------------------------------------------------

    def number(self) -> int:
        """Tells the clients of a pool apart; grows with every one."""
        return self.id

    def awaits_replies(self) -> bool:
        """Whether requests of its are on their way."""
        return self.replies.head != self.replies.tail

    def is_blocked(self) -> bool:
        """Whether it waits for something that may take for ever."""
        return self.watches_hangup

    def description(self) -> dict:
        """What is known of the connection: addresses, descriptor, seconds open and idle, bytes waiting to be sent."""
        return {
            "addr": peer_of(self.fd),
            "laddr": local_end_of(self.fd),
            "fd": self.fd,
            "age": (self.loop.now - self.opened_at) // 1000,
            "idle": (self.loop.now - self.used_at) // 1000,
            "oll": self.replies.tail - self.replies.head,
            "omem": self.out.pending + self.replies.kept,
        }
