"""The requests on a server connection, from the moment they are queued until their replies are there.

Compiled-only. They leave in the order they were queued and are answered in that order. Their bytes are in the
connection's send queue; here is kept whose they are, how far they got and until when they may take. What every request
takes stands in the header.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython.cimports.cpython.ref import Py_DECREF
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.twemproxy.net.block import BlockPool
from cython.cimports.twemproxy.net.event_loop import NEVER
from cython.cimports.twemproxy.net.send_queue import SendQueue
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.proxy.sink import Sink

# Bytes of the largest read that is kept to be sent once more.
LARGEST_COPY = cython.declare(cython.const[cython.Py_ssize_t], 64 * 1024)


@cython.final
@cython.cclass
class InFlight:
    """Requests ``head`` to ``written`` await their replies, those up to ``tail`` still have to be written.

    ``sent_of_next`` bytes of the first of those have been written already; it is negative while the end of one that
    was answered before all of it was written is still on its way. The first ``overdue`` requests have failed already.
    ``request_bytes`` is the length of all. Positions wrap at 2^32.
    """

    def __dealloc__(self) -> None:
        self.clear()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def grow(self) -> cython.int:
        capacity: cython.uint = max(2 * self.capacity, 64)
        position: cython.uint = self.head
        requests: cython.pointer[Request]
        requests = cython.cast(cython.pointer[Request], malloc(capacity * cython.sizeof(Request)))
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
    def keep_read(self, out: SendQueue, codec: Codec) -> cython.int:
        """Copy the request just added, if it may be sent to a server that has perhaps answered it already."""
        request: cython.pointer[Request] = cython.address(self.requests[(self.tail - 1) & (self.capacity - 1)])
        copy: cython.p_uchar
        if not 0 < request.length <= LARGEST_COPY:
            return 0
        copy = cython.cast(cython.p_uchar, malloc(request.length))
        if copy is cython.NULL:
            raise MemoryError("no memory for a copy of a request")
        out.copy_last(copy, request.length)
        if codec.is_repeatable(copy, 0, request.length):
            request.copy = copy
        else:
            free(copy)
        return 0

    # --- progress --------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def note_sent(self, sent: cython.Py_ssize_t, out: SendQueue) -> cython.void:
        """So many bytes more have left ``out``."""
        request: cython.pointer[Request]
        if out.pending == 0:
            self.written = self.tail
            self.sent_of_next = 0
            return
        self.sent_of_next += sent
        while self.written != self.tail:
            request = cython.address(self.requests[self.written & (self.capacity - 1)])
            if self.sent_of_next < request.length:
                break
            self.sent_of_next -= request.length
            self.written += 1

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_begun(self) -> cython.bint:
        """Whether the oldest is still being written."""
        return self.head == self.written and self.head != self.tail and self.sent_of_next > 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def take_as_written(self) -> cython.void:
        """The oldest, which is still being written, has been answered already; its rest follows nevertheless."""
        self.sent_of_next -= oldest(self).length
        self.written += 1

    # --- deadlines -------------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def next_deadline(self) -> int64_t:
        """When the oldest that has not failed yet is overdue, or NEVER."""
        if self.head + self.overdue == self.tail:
            return NEVER
        return self.requests[(self.head + self.overdue) & (self.capacity - 1)].deadline

    @cython.cfunc
    @cython.exceptval(check=False)
    def set_deadline(self, deadline: int64_t) -> cython.void:
        """For all requests."""
        position: cython.uint = self.head
        while position != self.tail:
            self.requests[position & (self.capacity - 1)].deadline = deadline
            position += 1

    @cython.cfunc
    def take_overdue(self, now: int64_t) -> list:
        """(sink, position, expected) of every request that has become overdue; the caller lets them fail."""
        request: cython.pointer[Request]
        failed: list = []
        while self.next_deadline() <= now:
            request = cython.address(self.requests[(self.head + self.overdue) & (self.capacity - 1)])
            self.overdue += 1
            failed.append(_released(request))
        return failed

    @cython.cfunc
    @cython.exceptval(check=False)
    def drop_unsent(self, out: SendQueue, blocks: BlockPool) -> cython.void:
        """Do not send overdue requests any more, if nothing of the first of them was sent."""
        request: cython.pointer[Request]
        if self.sent_of_next != 0:
            return
        while self.written - self.head < self.overdue:
            request = cython.address(self.requests[self.written & (self.capacity - 1)])
            out.retire(blocks, request.length)
            self.request_bytes -= request.length
            request.length = 0
            request.fate = DROPPED
            self.written += 1
        self.skip_dropped()

    @cython.cfunc
    @cython.exceptval(check=False)
    def skip_dropped(self) -> cython.void:
        """Go on to the first request that the server owes a reply."""
        while self.overdue > 0 and oldest(self).fate == DROPPED:
            self.head += 1
            self.overdue -= 1

    @cython.cfunc
    @cython.exceptval(check=False)
    def pass_over(self) -> cython.void:
        """The reply to the oldest has come, but too late."""
        self.overdue -= 1
        forget_oldest(self)
        self.skip_dropped()

    # --- failing ---------------------------------------------------------------------------------------------

    @cython.cfunc
    def take_failed(self, out: SendQueue, blocks: BlockPool, again: cython.bint) -> list:
        """Their connection is lost: (sink, position, expected) of every request that fails with it, oldest first.

        With ``again`` those stay, to be sent on another connection, that have not been on two yet, and of which nothing
        was written or a copy is kept. A read that was written stays only if its client wrote nothing behind it:
        it must not see what that has perhaps changed.
        """
        request: cython.pointer[Request]
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
            if request.sink is cython.NULL:
                free(request.copy)
                continue
            owner = id(cython.cast(Sink, request.sink).owner())
            if again and request.copy is not cython.NULL and owner not in writers:
                place -= 1
                self.requests[place & (self.capacity - 1)] = request[0]
                continue
            if request.copy is cython.NULL:
                writers.add(owner)
            failed.append(_released(request))
        failed.reverse()
        self.head = self.written = place
        self.overdue = 0
        self.sent_of_next = 0
        self.put_again(out, blocks, unsent)
        return failed

    @cython.cfunc
    def take_unsent(self, out: SendQueue, blocks: BlockPool) -> list:
        """(sink, position, expected, bytes) of every request of which nothing was written, oldest first.

        They are not sent any more; the caller answers them.
        """
        request: cython.pointer[Request]
        unsent: list = []
        first: cython.uint = self.written
        data: bytes
        if self.sent_of_next > 0:
            first += 1
        while self.tail != first:
            request = cython.address(self.requests[(self.tail - 1) & (self.capacity - 1)])
            data = PyBytes_FromStringAndSize(cython.NULL, request.length)
            out.copy_last(cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), request.length)
            out.drop_last(blocks, request.length)
            self.request_bytes -= request.length
            self.tail -= 1
            if request.sink is cython.NULL:
                self.overdue -= 1
            else:
                unsent.append((*_released(request), data))
        unsent.reverse()
        return unsent

    @cython.cfunc
    @cython.exceptval(check=False)
    def first_unsent(self, out: SendQueue, blocks: BlockPool) -> cython.uint:
        """The first request that another connection may have because nothing of it was written.

        ``out`` then begins with it.
        """
        request: cython.pointer[Request]
        position: cython.uint = self.written
        if self.sent_of_next < 0:
            out.retire(blocks, -self.sent_of_next)
        elif self.sent_of_next > 0:
            request = cython.address(self.requests[position & (self.capacity - 1)])
            out.retire(blocks, request.length - self.sent_of_next)
            position += 1
        while position != self.tail:
            request = cython.address(self.requests[position & (self.capacity - 1)])
            if request.fate == FRESH and request.sink is not cython.NULL:
                break
            out.retire(blocks, request.length)
            position += 1
        return position

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_again(self, out: SendQueue, blocks: BlockPool, unsent: cython.uint) -> cython.int:
        """Put the requests up to ``unsent`` in front of those in ``out``; all have one more connection."""
        request: cython.pointer[Request]
        behind: SendQueue
        position: cython.uint = self.head
        self.request_bytes = 0
        if position != unsent:
            behind = SendQueue()
            behind.take_over(out)
            while position != unsent:
                request = cython.address(self.requests[position & (self.capacity - 1)])
                out.append(blocks, request.copy, request.length)
                position += 1
            out.take_over(behind)
        position = self.head
        while position != self.tail:
            request = cython.address(self.requests[position & (self.capacity - 1)])
            request.fate = RESENT
            free(request.copy)
            request.copy = cython.NULL
            self.request_bytes += request.length
            position += 1
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def clear(self) -> cython.void:
        """Forget all requests, and give back the memory for them."""
        request: cython.pointer[Request]
        while self.head != self.tail:
            request = oldest(self)
            free(request.copy)
            if request.sink is not cython.NULL:
                Py_DECREF(cython.cast(object, request.sink))
            self.head += 1
        free(self.requests)
        self.requests = cython.NULL
        self.capacity = 0
        self.written = self.tail
        self.overdue = 0
        self.sent_of_next = 0
        self.request_bytes = 0


@cython.cfunc
def _released(request: cython.pointer[Request]) -> tuple:
    """(sink, position, expected); the ring keeps nothing of the request's but its place."""
    sink: Sink = cython.cast(Sink, request.sink)
    request.sink = cython.NULL
    Py_DECREF(sink)
    free(request.copy)
    request.copy = cython.NULL
    return sink, request.position, request.expected
