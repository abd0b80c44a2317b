"""Fenced connections: clients shape the replies there, and each client still gets its own replies and no others.

Compiled-only.

A script writes the line of its error or status reply, and some servers allow line ends in that line. The bytes after
such a line end look like the next reply, so on these connections the end of a reply cannot be found by parsing.
Therefore a *fence* is sent between the requests of different clients: a request with an unguessable token, whose reply
contains the same token. The bytes between the replies to two fences are a *slice*. A slice belongs to the client whose
requests were sent between the two fences, whatever it contains. If a slice is exactly one reply per request, the
replies are delivered. Otherwise all requests of the slice get an error. In both cases the next slice begins after the
fence.

A server that is busy with a script rejects fences too. If bytes have arrived that do not end in the reply to the fence,
and no more arrive for URGENT_AFTER, an *urgent* fence is sent. Every server answers an urgent fence, with an error that
repeats the token. All requests before this fence get an error.

A server does not read the connection on which a script runs. So while a connection is stuck, requests of other clients
go to private connections, on which the server answers that it is busy.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.cpython.ref import Py_DECREF
from cython.cimports.libc.errno import EINVAL
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.string import memchr, memcmp
from cython.cimports.twemproxy.libc.search import memmem
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.net.timers import NEVER
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import COMPLETE, NEED_MORE, Cursor, Frame
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool
from cython.cimports.twemproxy.proxy.reply_handler import ReplyHandler
from cython.cimports.twemproxy.upstream.connection_states import READY
from cython.cimports.twemproxy.upstream.fences import MOST_IN_SLICE, Fence, Fences
from cython.cimports.twemproxy.upstream.pipeline import (
    FENCE,
    RESENT,
    Entry,
    Pipeline,
    add,
    add_fence,
    forget_oldest,
    make_place,
    newest,
    oldest,
)
from cython.cimports.twemproxy.upstream.roles import Role
from cython.cimports.twemproxy.upstream.server import Server
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection

# Microseconds without input after which an urgent fence is sent if the reply to a fence is missing.
URGENT_AFTER = cython.declare(cython.const[int64_t], 200_000)
# Microseconds without a reply after which clients use other connections.
STUCK_AFTER = cython.declare(cython.const[int64_t], 1_000_000)
# Length of a token; upper limit of the length of a reply to a fence.
TOKEN = cython.declare(cython.const[cython.Py_ssize_t], 16)
LONGEST_REPLY = cython.declare(cython.const[cython.Py_ssize_t], 128)
MISSING = cython.declare(cython.const[cython.Py_ssize_t], -1)


@cython.cfunc
@cython.exceptval(check=False)
def find_line(
    buf: cython.p_uchar, at: cython.Py_ssize_t, end: cython.Py_ssize_t, token: cython.p_uchar
) -> cython.Py_ssize_t:
    """The position after the line with a token, 0 if the line is not complete between ``at`` and ``end``."""
    found: cython.p_uchar = cython.cast(cython.p_uchar, memmem(buf + at, end - at, token, TOKEN))
    if found is not cython.NULL:
        found = cython.cast(cython.p_uchar, memchr(found, ord(b"\n"), buf + end - found))
    return 0 if found is cython.NULL else found - buf + 1


@cython.cfunc
@cython.exceptval(check=False)
def forget(requests: Pipeline) -> cython.void:
    """Remove the oldest request."""
    if requests.overdue > 0:
        requests.overdue -= 1
    forget_oldest(requests)


@cython.final
@cython.cclass
class FencedConnection(ServerConnection):
    """A shared server connection on which clients may decide the text of replies."""

    def __init__(
        self, pool: ConfiguredPool, loop: EventLoop, codec: Codec, server: Server, profile: int, role: Role
    ) -> None:
        """The parameters: see ServerStream."""
        ServerConnection.__init__(self, pool, loop, codec, server, profile, role)
        self.fenced = True
        self.fences = Fences()

    # --- sending -------------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fence_before(self, owner: object) -> cython.int:
        """Prepare to append a request of ``owner`` to ``out``: put a fence before it if it needs one."""
        fences: Fences = self.fences
        if self.requests.head == self.requests.tail:
            fences.asked_at = self.loop.now
        if fences.unfenced > 0 and (fences.owner is not owner or fences.unfenced >= MOST_IN_SLICE):
            self.put_fence(False)
        fences.owner = owner
        fences.unfenced += 1
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_stuck(self) -> cython.bint:
        """Whether a fenced connection has waited for replies for STUCK_AFTER: a script may run on it.

        redis reads nothing from the connection that runs a script, and answers requests on others with BUSY.
        """
        since: int64_t = max(self.heard_at, self.fences.asked_at)
        return self.requests.head != self.requests.tail and since + STUCK_AFTER <= self.loop.now

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_fence(self, urgent: cython.bint) -> cython.int:
        """Append a fence to the queued requests."""
        requests: Pipeline = self.requests
        length: cython.Py_ssize_t
        deadline: int64_t = NEVER
        if requests.head != requests.tail:
            deadline = newest(requests).deadline
        elif self.timeout() > 0:
            # Deadlines are in order, so without one the fence would keep later requests from being overdue.
            deadline = self.loop.now + self.timeout()
        make_place(requests)
        length = self.fences.put(self.out, self.loop.blocks, self.codec, urgent)
        return add_fence(requests, length, deadline)

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def look_after_fence(self) -> int64_t:
        """Send an urgent fence if it is time; returns when to check again, in microseconds, or NEVER."""
        due: int64_t = self.heard_at + URGENT_AFTER
        if not self.fences.stuck or self.fences.urgent() is not cython.NULL:
            return NEVER
        if due > self.loop.now:
            return due
        self.put_fence(True)
        self.loop.want_flush(self)
        return self.requests.next_deadline()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_last_slice(self) -> cython.int:
        return self.put_fence(False) if self.fences.unfenced > 0 else 0

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def check_deadlines(self) -> int64_t:
        next_look: int64_t = ServerConnection.check_deadlines(self)
        return min(next_look, self.look_after_fence()) if self.state >= READY else next_look

    # --- reading -------------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consume(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        if self.state < READY:
            return ServerConnection.consume(self, block, start, end)
        return self.consumed(self.consume_slices(block, start, end))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def consume_slices(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """As ``Stream.consume``; a slice stays unparsed until the reply to its fence has arrived."""
        fences: Fences = self.fences
        requests: Pipeline = self.requests
        buf: cython.p_uchar = block_bytes(block)
        stop: cython.Py_ssize_t
        began_at: int64_t = self.reply_began_at
        # Not the length of the rest: the fence may be inside the value whose length a client has announced.
        self.needed = 0
        while start < end:
            if requests.head == requests.tail:
                stop = self.skip_push(buf, start, end)
            else:
                stop = self.take_slice(block, start, end)
            if self.fd < 0:
                return end
            if stop == MISSING:
                if fences.broken and fences.searched > 0:
                    # Only the fence of a broken slice is still needed.
                    start += fences.searched
                    fences.searched = 0
                break
            start = stop
            began_at = NEVER
        fences.stuck = start < end and (fences.broken or fences.at < end - start)
        self.reply_began_at = NEVER
        if start < end:
            self.reply_began_at = min(began_at, self.loop.now)
            if requests.overdue > 0:
                self.timer.arm_by(self.reply_ends_by())
        if fences.stuck:
            self.timer.arm_by(self.loop.now + URGENT_AFTER)
        return start

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def skip_push(self, buf: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """The position after a message that is not a reply to a request, MISSING if it is incomplete."""
        codec: Codec = self.codec
        cursor: Cursor = Cursor()
        frame: Frame = codec.frame_reply(buf, start, end, 0, cursor)
        if frame == NEED_MORE:
            return MISSING
        if frame == COMPLETE and codec.is_push(buf, start, start + cursor.length):
            return start + cursor.length
        self.fail(EINVAL, "it sent a reply without a request")
        return end

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def take_slice(
        self, block: cython.pointer[Block], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.Py_ssize_t:
        """Process the slice at ``start``; returns the position after its fence, or MISSING."""
        fences: Fences = self.fences
        codec: Codec = self.codec
        buf: cython.p_uchar = block_bytes(block)
        stop: cython.Py_ssize_t = 0
        if not fences.broken and self.frame_slice(buf, start, end):
            stop = self.fence_at(buf, start + fences.at, end)
            if stop > 0:
                self.deliver_slice(block, start)
                return stop
            fences.broken = stop < 0
        stop = self.find_fence(buf, start, end)
        if stop > 0:
            self.fail_slice(codec.unfit_reply())
            return stop
        if fences.urgent() is not cython.NULL:
            stop = find_line(buf, start + fences.searched, end, fences.urgent().token)
            if stop > 0:
                while not fences.oldest().urgent:
                    self.fail_slice(codec.unfenced_reply())
                self.fail_slice(codec.unfenced_reply())
                return stop
        fences.searched = max(fences.searched, end - start - LONGEST_REPLY)
        return MISSING

    @cython.cfunc
    @cython.exceptval(check=False)
    def frame_slice(self, buf: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.bint:
        """Find the replies of the slice at ``start``; returns whether all are there.

        Sets ``broken`` if one cannot be parsed.
        """
        codec: Codec = self.codec
        fences: Fences = self.fences
        requests: Pipeline = self.requests
        request: cython.pointer[Entry]
        position: cython.uint = requests.head
        n: cython.int = 0
        frame: Frame
        cursor: Cursor = self.cursor
        at: cython.Py_ssize_t
        while position != requests.tail:
            request = cython.address(requests.requests[position & (requests.capacity - 1)])
            if request.state == FENCE:
                return True
            if n < fences.framed:
                n += 1
                position += 1
                continue
            if n == MOST_IN_SLICE or start + fences.at >= end:
                return False
            at = start + fences.at
            frame = codec.frame_reply(buf, at, end, request.expected, cursor)
            if frame != COMPLETE:
                fences.broken = frame != NEED_MORE
                return False
            if not codec.is_push(buf, at, at + cursor.length):
                fences.starts[n] = fences.at
                fences.ends[n] = fences.at + cursor.length
                fences.framed += 1
            fences.at += cursor.length
        return False

    @cython.cfunc
    @cython.exceptval(check=False)
    def fence_at(self, buf: cython.p_uchar, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Compare the bytes at ``at`` with the reply to the oldest fence.

        Returns the position after it, 0 if the bytes are its beginning, -1 if they differ.
        """
        reply = cython.declare(cython.uchar[64])
        fence: cython.pointer[Fence] = self.fences.oldest()
        length: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        if fence.urgent:
            if memchr(buf + at, ord(b"\n"), end - at) is cython.NULL:
                return 0 if end - at < LONGEST_REPLY else -1
            stop = find_line(buf, at, end, fence.token)
            return stop if stop > 0 and memchr(buf + at, ord(b"\n"), stop - 1 - at) is cython.NULL else -1
        length = self.codec.put_fence_reply(reply, fence.token)
        if memcmp(buf + at, reply, min(length, end - at)) != 0:
            return -1
        return at + length if end - at >= length else 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def find_fence(self, buf: cython.p_uchar, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Search the slice at ``start`` for the reply to the oldest fence.

        Returns the position after it, 0 without it.
        """
        reply = cython.declare(cython.uchar[64])
        fences: Fences = self.fences
        fence: cython.pointer[Fence] = fences.oldest()
        at: cython.Py_ssize_t = start + fences.searched
        length: cython.Py_ssize_t
        found: cython.p_uchar
        if fence is cython.NULL:
            return 0
        if fence.urgent:
            return find_line(buf, at, end, fence.token)
        length = self.codec.put_fence_reply(reply, fence.token)
        found = cython.cast(cython.p_uchar, memmem(buf + at, end - at, reply, length))
        return 0 if found is cython.NULL else found - buf + length

    # --- replying ------------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver_slice(self, block: cython.pointer[Block], start: cython.Py_ssize_t) -> cython.int:
        """Deliver the replies of the slice at ``start`` to its requests."""
        fences: Fences = self.fences
        requests: Pipeline = self.requests
        data: cython.p_uchar = block_bytes(block) + start
        n: cython.int = 0
        while oldest(requests).state != FENCE:
            n += 1
            self.reply_arrived(block, data + fences.starts[n - 1], fences.ends[n - 1] - fences.starts[n - 1])
        # A reply to a fence shows that the server is healthy; the text of the slice may be a client's.
        self.server.failures = 0
        return self.end_slice()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail_slice(self, reply: bytes) -> cython.int:
        """Fail all requests before the oldest fence with this error."""
        requests: Pipeline = self.requests
        failed: list = []
        handler: ReplyHandler
        while oldest(requests).state != FENCE:
            if oldest(requests).handler is not cython.NULL:
                handler = cython.cast(ReplyHandler, oldest(requests).handler)
                Py_DECREF(handler)
                failed.append((handler, oldest(requests).position, oldest(requests).expected))
            forget(requests)
        self.end_slice()
        return self.tell_failed(failed, reply)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_slice(self) -> cython.int:
        """Remove the oldest fence."""
        self.fences.head += 1
        self.fences.begin_slice()
        self.cursor.restart()
        self.requests.fences -= 1
        forget(self.requests)
        return 0

    # --- failing -------------------------------------------------------------------------------------------------

    @cython.cfunc
    def take_failed(self, again: cython.bint) -> list:
        """As ``Pipeline.take_failed``; requests that are sent once more get new fences."""
        requests: Pipeline = self.requests
        failed: list
        unsent: list = requests.take_unsent(self.out, self.loop.blocks)
        failed = requests.take_failed(self.out, self.loop.blocks, again)
        kept: list = requests.take_unsent(self.out, self.loop.blocks)
        for handler, position, expected, data, deadline, fresh, read_at in unsent:
            if again and fresh:
                kept.append((handler, position, expected, data, deadline, False, read_at))
            else:
                failed.append((handler, position, expected))
        self.fences.keep(0, True)
        self.put_back(kept)
        return failed

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop_unsent(self) -> cython.int:
        """As ``Pipeline.drop_unsent``."""
        requests: Pipeline = self.requests
        if requests.sent_of_next != 0:
            return 0
        unsent: list = requests.take_unsent(self.out, self.loop.blocks)
        self.forget_unsent_fences()
        return self.put_back(unsent)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget_unsent_fences(self) -> cython.int:
        """Remove the fences that ``Pipeline.take_unsent`` has removed from the pipeline."""
        requests: Pipeline = self.requests
        self.fences.keep(requests.fences, requests.head == requests.tail or newest(requests).state == FENCE)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_back(self, unsent: list) -> cython.int:
        """Queue the requests that ``Pipeline.take_unsent`` returned again, with fences between them."""
        handler: ReplyHandler
        position: cython.uint
        expected: cython.uchar
        data: bytes
        deadline: int64_t
        fresh: cython.bint
        read_at: int64_t
        for handler, position, expected, data, deadline, fresh, read_at in unsent:
            self.fence_before(handler.owner())
            make_place(self.requests)
            self.out.append(
                self.loop.blocks, cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), PyBytes_GET_SIZE(data)
            )
            add(self.requests, handler, position, PyBytes_GET_SIZE(data), expected, 0, deadline)
            newest(self.requests).read_at = read_at
            if not fresh:
                newest(self.requests).state = RESENT
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shut(self) -> cython.int:
        self.fences.begin_slice()
        return ServerConnection.shut(self)

    def abandon(self) -> None:
        self.fences.keep(0, True)
        ServerConnection.abandon(self)
