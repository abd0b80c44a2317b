"""The order of one client's replies.

Compiled-only. Requests of a client go to many servers and replies come back in any order; they leave in the
order of the requests. A reply whose turn it is goes straight to the client's send queue, another waits in the
slot of its request.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.net.block import COPY_LIMIT, Block
from cython.cimports.twemproxy.net.stream import Stream
from cython.cimports.twemproxy.proxy.sink import Sink
from cython.cimports.twemproxy.stats.counters import FORWARD_ERROR

# A slot array larger than this is given back as soon as the queue is empty.
KEEP_SLOTS = cython.declare(cython.const[cython.uint], 4)
PIPELINE_SLOTS = cython.declare(cython.const[cython.uint], 64)


@cython.final
@cython.cclass
class ReplyQueue(Sink):
    """Positions ``head`` to ``tail`` (exclusive) are requests whose replies have not left yet; they wrap at 2^32.

    ``kept`` is how many bytes wait in blocks for their turn. ``window`` is how many requests may be on their way
    together: what comes back must be taken from the servers even when the client does not take it from us, so
    large replies make the window small. ``typical`` follows their sizes, up at once and down slowly. ``widest`` is the
    window for replies of up to ``small`` bytes.
    """

    def __init__(self, widest: int, first: int, window_bytes: int) -> None:
        """``first``: the window while the size of replies is not known; ``window_bytes``: of replies on their way."""
        self.widest = widest
        self.window_bytes = window_bytes
        self.small = window_bytes // widest
        self.window = min(first, widest)

    def __dealloc__(self) -> None:
        free(self.slots)

    @cython.cfunc
    @cython.exceptval(0xFFFFFFFF, check=True)
    def reserve(self) -> cython.uint:
        """A place in the order for the next request; returns its position."""
        slot: cython.pointer[Slot]
        if self.tail - self.head == self.capacity:
            self.grow()
        slot = cython.address(self.slots[self.tail & (self.capacity - 1)])
        slot.state = AWAITED
        self.tail += 1
        return self.tail - 1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def grow(self) -> cython.int:
        # From few to many at once: a client that pipelines does it with every batch.
        capacity: cython.uint = max(2 * self.capacity, PIPELINE_SLOTS) if self.capacity > 0 else KEEP_SLOTS
        position: cython.uint = self.head
        slots: cython.pointer[Slot]
        slots = cython.cast(cython.pointer[Slot], malloc(capacity * cython.sizeof(Slot)))
        if slots is cython.NULL:
            raise MemoryError("no memory for a reply queue")
        while position != self.tail:
            slots[position & (capacity - 1)] = self.slots[position & (self.capacity - 1)]
            position += 1
        free(self.slots)
        self.slots = slots
        if capacity > KEEP_SLOTS:
            # What every client has all the time is not traffic.
            if self.capacity <= KEEP_SLOTS:
                self.capacity = 0
            self.stream.loop.blocks.allocated += (capacity - self.capacity) * cython.sizeof(Slot)
        self.capacity = capacity
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def deliver(
        self,
        position: cython.uint,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        slot: cython.pointer[Slot]
        stream: Stream = self.stream
        if stream is None:
            return 0
        self.adjust_window(length)
        if position == self.head:
            stream.out.append_held(stream.loop.blocks, block, data, length)
            self.head += 1
            self.advance()
            return stream.loop.want_flush(stream)
        slot = cython.address(self.slots[position & (self.capacity - 1)])
        slot.length = cython.cast(cython.uint, length)
        if length <= cython.cast(cython.Py_ssize_t, cython.sizeof(slot.bytes)):
            memcpy(slot.bytes, data, length)
            slot.state = SMALL
            return 0
        if block is cython.NULL or length < COPY_LIMIT:
            slot.block = stream.loop.blocks.stash(data, length, cython.address(slot.data))
        else:
            block.holders += 1
            slot.block = block
            slot.data = data
        slot.state = HELD
        self.kept += length
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def adjust_window(self, length: cython.Py_ssize_t) -> cython.void:
        """Learn from the size of a reply."""
        if length > self.typical:
            self.typical = length
        else:
            self.typical -= (self.typical - length) >> 3
        if self.typical <= self.small:
            self.window = self.widest
        else:
            self.window = max(cython.cast(cython.uint, self.window_bytes // self.typical), 1)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, position: cython.uint, reply: bytes) -> cython.int:
        if self.stream is None:
            return 0
        self.pool_counters[FORWARD_ERROR] += 1
        return self.deliver(
            position,
            cython.NULL,
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)),
            PyBytes_GET_SIZE(reply),
        )

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def advance(self) -> cython.int:
        """Let the replies leave whose turn has come."""
        slot: cython.pointer[Slot]
        stream: Stream = self.stream
        while self.head != self.tail:
            slot = cython.address(self.slots[self.head & (self.capacity - 1)])
            if slot.state == AWAITED:
                return 0
            if slot.state == SMALL:
                stream.out.append(stream.loop.blocks, slot.bytes, slot.length)
            else:
                stream.out.append_held(stream.loop.blocks, slot.block, slot.data, slot.length)
                stream.loop.blocks.release(slot.block)
                self.kept -= slot.length
            self.head += 1
        if self.capacity > KEEP_SLOTS:
            self.free_slots()
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def free_slots(self) -> cython.void:
        if self.capacity > KEEP_SLOTS:
            self.stream.loop.blocks.allocated -= self.capacity * cython.sizeof(Slot)
        free(self.slots)
        self.slots = cython.NULL
        self.capacity = 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def close(self) -> cython.void:
        """The client is gone: replies that still come are dropped."""
        slot: cython.pointer[Slot]
        while self.head != self.tail:
            slot = cython.address(self.slots[self.head & (self.capacity - 1)])
            if slot.state == HELD:
                self.stream.loop.blocks.release(slot.block)
            self.head += 1
        self.kept = 0
        if self.stream is not None:
            self.free_slots()
        self.stream = None
