"""The requests on a server connection, from queueing to reply.

Compiled-only. Requests are sent in the order they were queued, and get their replies in that order. The bytes are in
the connection's send queue; the pipeline records the handler, progress and deadline of each. The part that runs for
every request is inlined, in ``pipeline.pxd``.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython.cimports.cpython.ref import Py_DECREF
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.twemproxy.net.block import BlockPool, enlarge_ring
from cython.cimports.twemproxy.net.send_queue import SendQueue
from cython.cimports.twemproxy.net.timers import NEVER
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.proxy.reply_handler import ReplyHandler
from cython.cimports.twemproxy.upstream.pipeline import Entry, add, forget_oldest, make_place, oldest

# Bytes of the largest read of which a copy is kept for sending it once more.
LARGEST_COPY = cython.declare(cython.const[cython.Py_ssize_t], 64 * 1024)


@cython.final
@cython.cclass
class Pipeline:
    """Requests from ``head`` up to ``written`` wait for replies; those from ``written`` up to ``tail`` are not written.

    ``sent_of_next``: bytes of the first unwritten request that were sent. It is negative while the rest of a request
    that got its reply early is still to be sent. The first ``overdue`` requests have failed. ``request_bytes``: the
    length of all requests. ``fences``: number of fences among them, see ``upstream.fenced``. ``server``: the name of
    the server, None for none. Positions wrap at 2^32.
    """

    def __dealloc__(self) -> None:
        self.clear()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def grow(self) -> cython.int:
        capacity: cython.uint = max(2 * self.capacity, 64)
        self.requests = cython.cast(
            cython.pointer[Entry],
            enlarge_ring(self.requests, cython.sizeof(Entry), self.capacity, capacity, self.head, self.tail),
        )
        self.capacity = capacity
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def keep_read(self, out: SendQueue, codec: Codec) -> cython.int:
        """Copy the request just added, if it may be repeated although the server may have run it already.

        Without memory for the copy, the request is not repeatable.
        """
        request: cython.pointer[Entry] = cython.address(self.requests[(self.tail - 1) & (self.capacity - 1)])
        copy: cython.p_uchar
        if not 0 < request.length <= LARGEST_COPY:
            return 0
        copy = cython.cast(cython.p_uchar, malloc(request.length))
        if copy is cython.NULL:
            return 0
        out.copy_last(copy, request.length)
        if codec.is_repeatable(copy, 0, request.length):
            request.copy = copy
        else:
            free(copy)
        return 0

    # --- progress --------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def note_sent(self, sent: cython.Py_ssize_t, out: SendQueue, now: int64_t) -> cython.void:
        """Record that ``sent`` more bytes of ``out`` were sent; ``now``: in microseconds of ``EventLoop.real``."""
        request: cython.pointer[Entry]
        if out.pending == 0:
            while self.written != self.tail:
                self.requests[self.written & (self.capacity - 1)].sent_at = now
                self.written += 1
            self.sent_of_next = 0
            return
        self.sent_of_next += sent
        while self.written != self.tail:
            request = cython.address(self.requests[self.written & (self.capacity - 1)])
            if self.sent_of_next < request.length:
                break
            self.sent_of_next -= request.length
            request.sent_at = now
            self.written += 1

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_begun(self) -> cython.bint:
        """Whether the oldest request is partly written."""
        return self.head == self.written and self.head != self.tail and self.sent_of_next > 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def take_as_written(self) -> cython.void:
        """The oldest request got its reply while it is partly written; its remaining bytes are sent nevertheless."""
        oldest(self).sent_at = 0
        self.sent_of_next -= oldest(self).length
        self.written += 1

    # --- deadlines -------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def next_deadline(self) -> int64_t:
        """The deadline of the oldest request that has not failed, or NEVER."""
        if self.head + self.overdue == self.tail:
            return NEVER
        return self.requests[(self.head + self.overdue) & (self.capacity - 1)].deadline

    @cython.cfunc
    @cython.exceptval(check=False)
    def limit_deadlines(self, latest: int64_t, end: cython.uint) -> cython.void:
        """Give the requests up to the position ``end`` that have a later deadline this one.

        Deadlines never decrease from one request to the next.
        """
        request: cython.pointer[Entry]
        position: cython.uint = self.head
        while position != end:
            request = cython.address(self.requests[position & (self.capacity - 1)])
            request.deadline = min(request.deadline, latest)
            position += 1

    @cython.cfunc
    def take_overdue(self, now: int64_t) -> list:
        """(handler, position, expected) of each request that has become overdue; the caller calls ``fail``."""
        request: cython.pointer[Entry]
        failed: list = []
        while self.next_deadline() <= now:
            request = cython.address(self.requests[(self.head + self.overdue) & (self.capacity - 1)])
            self.overdue += 1
            if request.state != FENCE:
                failed.append(self.released(request))
        return failed

    @cython.cfunc
    @cython.exceptval(check=False)
    def drop_unsent(self, out: SendQueue, blocks: BlockPool) -> cython.void:
        """Drop unsent overdue requests, unless the first of them is partly sent."""
        request: cython.pointer[Entry]
        if self.sent_of_next != 0:
            return
        while self.written - self.head < self.overdue:
            request = cython.address(self.requests[self.written & (self.capacity - 1)])
            out.retire(blocks, request.length)
            self.request_bytes -= request.length
            request.length = 0
            request.state = DROPPED
            self.written += 1
        self.skip_dropped()

    @cython.cfunc
    @cython.exceptval(check=False)
    def skip_dropped(self) -> cython.void:
        """Remove dropped requests from the front: the server owes no reply to them."""
        while self.overdue > 0 and oldest(self).state == DROPPED:
            self.head += 1
            self.overdue -= 1

    @cython.cfunc
    @cython.exceptval(check=False)
    def drop_late_reply(self) -> cython.void:
        """The reply to the oldest request has arrived after its deadline: remove the request."""
        self.overdue -= 1
        forget_oldest(self)
        self.skip_dropped()

    # --- failing ---------------------------------------------------------------------------------------------

    @cython.cfunc
    def take_failed(self, out: SendQueue, blocks: BlockPool, again: cython.bint) -> list:
        """After the connection is lost: (handler, position, expected) of each request that fails, oldest first.

        With ``again``, some requests stay for the next connection: those that have been on one connection only, and of
        which nothing was written or a copy is kept. A written read stays only if its client sent no later request
        without a copy that was written, because a repeated read must not see the effects of later requests.
        """
        request: cython.pointer[Entry]
        failed: list = []
        writers: set = set()
        unsent: cython.uint = self.tail
        place: cython.uint
        position: cython.uint
        if again:
            unsent = self.first_unsent(out, blocks)
        else:
            out.clear(blocks)
        place = position = unsent
        while position != self.head:
            position -= 1
            request = cython.address(self.requests[position & (self.capacity - 1)])
            if request.handler is cython.NULL:
                free(request.copy)
                continue
            owner = id(cython.cast(ReplyHandler, request.handler).owner())
            if again and request.copy is not cython.NULL and owner not in writers:
                place -= 1
                self.requests[place & (self.capacity - 1)] = request[0]
                continue
            if request.copy is cython.NULL:
                writers.add(owner)
            failed.append(self.released(request))
        failed.reverse()
        self.head = self.written = place
        self.overdue = 0
        self.fences = 0
        self.sent_of_next = 0
        try:
            self.put_again(out, blocks, unsent)
        except MemoryError:
            # The contents of `out` can no longer be matched to requests.
            out.clear(blocks)
            while self.head != self.tail:
                failed.append(self.released(oldest(self)))
                self.head += 1
            self.clear()
        return failed

    @cython.cfunc
    @cython.exceptval(check=False)
    def n_unsent(self) -> cython.uint:
        """How many requests are unwritten, without a partly written one and without fences."""
        n: cython.uint = self.tail - self.written
        if n == 0:
            return 0
        if self.sent_of_next > 0 and self.requests[self.written & (self.capacity - 1)].state != FENCE:
            n -= 1
        return n - self.unsent_fences() if self.fences > 0 else n

    @cython.cfunc
    @cython.exceptval(check=False)
    def unsent_fences(self) -> cython.uint:
        """How many fences are unwritten."""
        n: cython.uint = 0
        position: cython.uint = self.written
        while position != self.tail:
            if self.requests[position & (self.capacity - 1)].state == FENCE:
                n += 1
            position += 1
        return n

    @cython.cfunc
    def take_unsent(self, out: SendQueue, blocks: BlockPool) -> list:
        """(handler, position, expected, bytes, deadline, fresh, read_at) of each request of which nothing was written.

        Oldest first. These requests and the fences between them are removed. ``fresh``: the request has been on no
        other connection.
        """
        request: cython.pointer[Entry]
        unsent: list = []
        read_at: int64_t
        first: cython.uint = self.written
        data: bytes
        if self.sent_of_next > 0 and self.tail != first:
            first += 1
        while self.tail != first:
            request = cython.address(self.requests[(self.tail - 1) & (self.capacity - 1)])
            data = PyBytes_FromStringAndSize(cython.NULL, request.length)
            out.copy_last(cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), request.length)
            out.drop_last(blocks, request.length)
            self.request_bytes -= request.length
            self.tail -= 1
            if request.state == FENCE:
                self.fences -= 1
            elif request.handler is not cython.NULL:
                read_at = request.read_at
                unsent.append((*self.released(request), data, request.deadline, request.state == FRESH, read_at))
        self.overdue = min(self.overdue, self.tail - self.head)
        unsent.reverse()
        return unsent

    @cython.cfunc
    def take_unsupported(self, features: cython.int, out: SendQueue, blocks: BlockPool) -> list:
        """(handler, position, expected) of each request that needs a feature not in ``features``, oldest first.

        These requests are removed; nothing may have been written yet. ``features``: see ``Handshake.features``.
        """
        request: cython.pointer[Entry]
        failed: list = []
        kept: SendQueue = SendQueue()
        place: cython.uint = self.head
        position: cython.uint = self.head
        while position != self.tail:
            request = cython.address(self.requests[position & (self.capacity - 1)])
            position += 1
            if request.handler is not cython.NULL and request.required_features & ~features:
                self.request_bytes -= request.length
                out.retire(blocks, request.length)
                failed.append(self.released(request))
                continue
            out.move_first(blocks, kept, request.length)
            self.requests[place & (self.capacity - 1)] = request[0]
            place += 1
        out.take_over(kept)
        self.tail = place
        return failed

    @cython.cfunc
    @cython.exceptval(check=False)
    def first_unsent(self, out: SendQueue, blocks: BlockPool) -> cython.uint:
        """The position of the first request that may go to another connection because nothing of it was written.

        ``out`` then begins with this request.
        """
        request: cython.pointer[Entry]
        position: cython.uint = self.written
        if self.sent_of_next < 0:
            out.retire(blocks, -self.sent_of_next)
        elif self.sent_of_next > 0:
            request = cython.address(self.requests[position & (self.capacity - 1)])
            out.retire(blocks, request.length - self.sent_of_next)
            position += 1
        while position != self.tail:
            request = cython.address(self.requests[position & (self.capacity - 1)])
            if request.state == FRESH and request.handler is not cython.NULL:
                break
            out.retire(blocks, request.length)
            position += 1
        return position

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_again(self, out: SendQueue, blocks: BlockPool, unsent: cython.uint) -> cython.int:
        """Put the requests before ``unsent`` in front of those in ``out``; all requests become RESENT.

        After a MemoryError ``out`` has some of them.
        """
        request: cython.pointer[Entry]
        after: SendQueue
        position: cython.uint = self.head
        self.request_bytes = 0
        if position != unsent:
            after = SendQueue()
            after.take_over(out)
            try:
                while position != unsent:
                    request = cython.address(self.requests[position & (self.capacity - 1)])
                    out.append(blocks, request.copy, request.length)
                    position += 1
                out.take_over(after)
            finally:
                after.clear(blocks)
        position = self.head
        while position != self.tail:
            request = cython.address(self.requests[position & (self.capacity - 1)])
            request.state = RESENT
            free(request.copy)
            request.copy = cython.NULL
            self.request_bytes += request.length
            position += 1
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def clear(self) -> cython.void:
        """Remove all requests and free their memory."""
        request: cython.pointer[Entry]
        while self.head != self.tail:
            request = oldest(self)
            free(request.copy)
            if request.handler is not cython.NULL:
                Py_DECREF(cython.cast(object, request.handler))
            self.head += 1
        self.free_ring()
        self.written = self.tail
        self.overdue = 0
        self.fences = 0
        self.sent_of_next = 0
        self.request_bytes = 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def free_ring(self) -> cython.void:
        """Free the memory of an empty pipeline; ``sent_of_next`` stays, because a request may be partly sent."""
        free(self.requests)
        self.requests = cython.NULL
        self.capacity = 0

    @cython.cfunc
    def released(self, request: cython.pointer[Entry]) -> tuple:
        """(handler, position, expected) of a request; its entry keeps neither handler nor copy."""
        handler: ReplyHandler = cython.cast(ReplyHandler, request.handler)
        if request.read_at < 0:
            handler.note_server(request.position, self.server, request.sent_at, False)
        request.handler = cython.NULL
        Py_DECREF(handler)
        free(request.copy)
        request.copy = cython.NULL
        return handler, request.position, request.expected

    # --- for tests: the same with ``bytes`` ------------------------------------------------------------------------

    def queue(
        self,
        handler: ReplyHandler,
        position,
        request: bytes,
        deadline,
        out: SendQueue,
        blocks: BlockPool,
        codec,
        required_features=0,
    ) -> None:
        """Append a request to ``out`` and record it; with a ``codec`` keep a copy of a read."""
        make_place(self)
        out.append(blocks, cython.cast(cython.p_uchar, PyBytes_AS_STRING(request)), len(request))
        add(self, handler, position, len(request), 0, required_features, deadline)
        if codec is not None:
            self.keep_read(out, codec)

    def send(self, count, out: SendQueue, blocks: BlockPool) -> None:
        """Send the first ``count`` bytes of ``out``."""
        out.retire(blocks, count)
        self.note_sent(count, out, 0)

    def answer(self, early):
        """The position of the request that got a reply, None if overdue; ``early``: the request is partly written."""
        request: cython.pointer[Entry] = oldest(self)
        position = request.position
        if early:
            self.take_as_written()
        if request.handler is cython.NULL:
            self.drop_late_reply()
            return None
        Py_DECREF(cython.cast(ReplyHandler, request.handler))
        forget_oldest(self)
        return position

    def expire(self, now, out: SendQueue, blocks: BlockPool) -> list:
        """``take_overdue``, then ``drop_unsent``."""
        overdue = self.take_overdue(now)
        self.drop_unsent(out, blocks)
        return overdue

    def lose_connection(self, out: SendQueue, blocks: BlockPool, again) -> list:
        """``take_failed``."""
        return self.take_failed(out, blocks, again)

    def take_back(self, out: SendQueue, blocks: BlockPool) -> list:
        """``take_unsent``."""
        return [taken[:4] for taken in self.take_unsent(out, blocks)]

    def greet(self, features, out: SendQueue, blocks: BlockPool) -> list:
        """``take_unsupported``."""
        return self.take_unsupported(features, out, blocks)

    def figures(self) -> tuple:
        """(requests, written requests without a reply, whether the oldest is partly written, bytes, next deadline)."""
        return (
            self.tail - self.head,
            self.written - self.head,
            self.is_begun(),
            self.request_bytes,
            self.next_deadline(),
        )
