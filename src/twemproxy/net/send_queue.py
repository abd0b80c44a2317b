"""The unsent output of a connection, sent with one system call per turn.

Compiled-only. Small pieces are copied one after the other into blocks of the queue; large ones stay in the block into
which they were read, and the queue holds this block until its last byte is sent.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memcpy, memmove
from cython.cimports.posix.uio import iovec
from cython.cimports.twemproxy.net.block import COPY_LIMIT, MEDIUM, SMALL, Block, BlockPool, block_bytes
from cython.cimports.twemproxy.net.transport import DONE, WANT_WRITE, Result, Transport

# Segments per sendmsg(2); IOV_MAX is 1024.
MAX_SEGMENTS = cython.declare(cython.const[cython.int], 256)
# A segment array larger than this is freed when the queue is empty.
KEEP_SEGMENTS = cython.declare(cython.const[cython.int], 4)


@cython.final
@cython.cclass
class SendQueue:
    """A FIFO of bytes. ``pending``: its length in bytes."""

    def __dealloc__(self) -> None:
        free(self.segments)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def make_segments(self, more: cython.int) -> cython.int:
        """Make room for ``more`` segments; MemoryError without memory."""
        grown: cython.pointer[Segment]
        capacity: cython.int
        if self.first + self.count + more <= self.capacity:
            return 0
        if self.first > 0 and self.count <= self.capacity // 2 and self.count + more <= self.capacity:
            memmove(self.segments, self.segments + self.first, self.count * cython.sizeof(Segment))
        else:
            capacity = max(2 * self.count, self.count + more)
            grown = cython.cast(cython.pointer[Segment], malloc(capacity * cython.sizeof(Segment)))
            if grown is cython.NULL:
                raise MemoryError("no memory for the segments of a send queue")
            if self.count > 0:
                memcpy(grown, self.segments + self.first, self.count * cython.sizeof(Segment))
            free(self.segments)
            self.segments = grown
            self.capacity = capacity
        self.first = 0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add_segment(self, block: cython.pointer[Block], data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.int:
        """Append a segment; the queue takes over one hold on ``block``."""
        segment: cython.pointer[Segment]
        if self.first + self.count == self.capacity:
            self.make_segments(1)
        segment = cython.address(self.segments[self.first + self.count])
        segment.block = block
        segment.data = data
        segment.length = length
        self.count += 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def append(
        self,
        blocks: BlockPool,
        data: cython.pointer[cython.const[cython.uchar]],
        length: cython.Py_ssize_t,
    ) -> cython.int:
        """Append a copy of ``length`` bytes; after a MemoryError nothing is appended."""
        if length > self.room_end - self.room:
            return self.append_blocks(blocks, data, length)
        if length > 0:
            memcpy(self.room, data, length)
            self.room += length
            self.segments[self.first + self.count - 1].length += length
            self.pending += length
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def append_blocks(
        self,
        blocks: BlockPool,
        data: cython.pointer[cython.const[cython.uchar]],
        length: cython.Py_ssize_t,
    ) -> cython.int:
        """As ``append``, for more bytes than the last block has room for."""
        block: cython.pointer[Block]
        part: cython.Py_ssize_t
        before: cython.Py_ssize_t = self.pending
        try:
            while length > 0:
                part = self.room_end - self.room
                if part == 0:
                    self.make_segments(1)
                    block = blocks.take(max(min(length, blocks.read_size), SMALL if self.count == 0 else MEDIUM))
                    self.room = block_bytes(block)
                    self.room_end = self.room + block.capacity
                    self.add_segment(block, self.room, 0)
                    continue
                if part > length:
                    part = length
                memcpy(self.room, data, part)
                self.room += part
                self.segments[self.first + self.count - 1].length += part
                self.pending += part
                data += part
                length -= part
        finally:
            if length > 0:
                self.drop_since(blocks, before)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def append_held(
        self,
        blocks: BlockPool,
        block: cython.pointer[Block],
        data: cython.p_uchar,
        length: cython.Py_ssize_t,
    ) -> cython.int:
        """Append bytes of ``block``, by reference if that is cheaper than a copy."""
        if length < COPY_LIMIT or block is cython.NULL:
            return self.append(blocks, data, length)
        self.add_segment(block, data, length)
        block.holders += 1
        self.pending += length
        # Later bytes must not be written into the held block.
        self.room = cython.NULL
        self.room_end = cython.NULL
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def copy_last(self, target: cython.p_uchar, length: cython.Py_ssize_t) -> cython.int:
        """Copy the last ``length`` bytes to ``target``; ValueError if there are fewer."""
        n: cython.int = self.first + self.count
        part: cython.Py_ssize_t
        if length > self.pending:
            raise ValueError(f"{length} bytes asked of a send queue of {self.pending}")
        while length > 0:
            n -= 1
            part = min(self.segments[n].length, length)
            length -= part
            memcpy(target + length, self.segments[n].data + self.segments[n].length - part, part)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop_last(self, blocks: BlockPool, length: cython.Py_ssize_t) -> cython.int:
        """Drop the last ``length`` bytes; ValueError if there are fewer."""
        segment: cython.pointer[Segment]
        part: cython.Py_ssize_t
        if length > self.pending:
            raise ValueError(f"{length} bytes to drop of a send queue of {self.pending}")
        self.pending -= length
        while length > 0:
            segment = cython.address(self.segments[self.first + self.count - 1])
            part = min(segment.length, length)
            segment.length -= part
            length -= part
            if segment.length == 0:
                blocks.release(segment.block)
                self.count -= 1
        if self.count == 0:
            self.first = 0
        # Later bytes go into a new block.
        self.room = cython.NULL
        self.room_end = cython.NULL
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop_since(self, blocks: BlockPool, pending: cython.Py_ssize_t) -> cython.int:
        """Drop the bytes that were appended since ``pending`` was the given value."""
        return self.drop_last(blocks, self.pending - pending)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def move_first(self, blocks: BlockPool, other: SendQueue, length: cython.Py_ssize_t) -> cython.int:
        """Move the first ``length`` bytes to the end of another queue; there must be as many."""
        segment: cython.pointer[Segment]
        part: cython.Py_ssize_t
        while length > 0:
            segment = cython.address(self.segments[self.first])
            part = min(segment.length, length)
            other.append_held(blocks, segment.block, segment.data, part)
            self.retire(blocks, part)
            length -= part
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_over(self, other: SendQueue) -> cython.int:
        """Append all bytes of ``other``, which is empty afterwards, without a copy.

        After a MemoryError both are unchanged.
        """
        self.make_segments(other.count)
        while other.count > 0:
            self.add_segment(
                other.segments[other.first].block,
                other.segments[other.first].data,
                other.segments[other.first].length,
            )
            self.pending += other.segments[other.first].length
            self.room = other.room
            self.room_end = other.room_end
            other.first += 1
            other.count -= 1
        other.pending = 0
        other.first = 0
        other.room = cython.NULL
        other.room_end = cython.NULL
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def behind_first(self) -> cython.Py_ssize_t:
        """Bytes after the first segment, which is being sent: a large reply is one segment."""
        if self.count == 0:
            return 0
        return self.pending - self.segments[self.first].length

    @cython.cfunc
    @cython.exceptval(check=False)
    def flush(self, blocks: BlockPool, transport: Transport, sent: cython.pointer[cython.Py_ssize_t]) -> Result:
        """Send as much as the transport accepts; ``sent``: set to the bytes sent. DONE: all bytes."""
        vector = cython.declare(iovec[256])
        segment: cython.pointer[Segment]
        n: cython.int
        offered: cython.Py_ssize_t
        accepted: cython.Py_ssize_t
        sent[0] = 0
        while self.count > 0:
            if self.count == 1:
                segment = cython.address(self.segments[self.first])
                offered = segment.length
                accepted = transport.send(segment.data, offered)
            else:
                n = 0
                offered = 0
                while n < self.count and n < MAX_SEGMENTS:
                    segment = cython.address(self.segments[self.first + n])
                    vector[n].iov_base = segment.data
                    vector[n].iov_len = segment.length
                    offered += segment.length
                    n += 1
                accepted = transport.send_vector(vector, n)
            if accepted < 0:
                return cython.cast(Result, accepted)
            sent[0] += accepted
            self.retire(blocks, accepted)
            if accepted < offered:
                return WANT_WRITE
        return DONE

    @cython.cfunc
    @cython.exceptval(check=False)
    def retire(self, blocks: BlockPool, sent: cython.Py_ssize_t) -> cython.void:
        """Remove the first ``sent`` bytes."""
        segment: cython.pointer[Segment]
        self.pending -= sent
        while self.count > 0:
            segment = cython.address(self.segments[self.first])
            if sent < segment.length:
                segment.data += sent
                segment.length -= sent
                return
            sent -= segment.length
            blocks.release(segment.block)
            self.first += 1
            self.count -= 1
        self.first = 0
        self.room = cython.NULL
        self.room_end = cython.NULL
        if self.capacity > KEEP_SEGMENTS:
            free(self.segments)
            self.segments = cython.NULL
            self.capacity = 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def clear(self, blocks: BlockPool) -> cython.void:
        """Remove all bytes."""
        self.retire(blocks, self.pending)

    # --- for tests: the same with ``bytes`` ------------------------------------------------------------------------

    def put(self, blocks: BlockPool, data: bytes, held) -> None:
        """``append``; or ``append_held``, from a block with these bytes."""
        block: cython.pointer[Block]
        if not held:
            self.append(blocks, cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), len(data))
            return
        block = blocks.take(len(data))
        memcpy(block_bytes(block), PyBytes_AS_STRING(data), len(data))
        self.append_held(blocks, block, block_bytes(block), len(data))
        blocks.release(block)

    def content(self) -> bytes:
        """All bytes, in order."""
        i: cython.int
        pieces = []
        for i in range(self.first, self.first + self.count):
            pieces.append(
                PyBytes_FromStringAndSize(cython.cast(cython.p_char, self.segments[i].data), self.segments[i].length)
            )
        return b"".join(pieces)

    def leave(self, blocks: BlockPool, count) -> None:
        """``retire``."""
        self.retire(blocks, count)

    def take_back(self, blocks: BlockPool, count) -> bytes:
        """``copy_last``, then ``drop_last``."""
        data = bytes(count)
        self.copy_last(cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), count)
        self.drop_last(blocks, count)
        return data

    def join(self, other: SendQueue) -> None:
        """``take_over``."""
        self.take_over(other)

    def empty(self, blocks: BlockPool) -> None:
        """``clear``."""
        self.clear(blocks)
