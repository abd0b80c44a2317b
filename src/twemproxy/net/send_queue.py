"""Bytes a connection still owes its peer, sent with one system call per turn.

Compiled-only. Small pieces are copied one behind the other into blocks of the queue's own; large ones stay in
the block they were read into, which the queue holds until the kernel took the last byte.
"""

import cython
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.posix.uio import iovec
from cython.cimports.twemproxy.libc.socket import MSG_NOSIGNAL, msghdr, send, sendmsg
from cython.cimports.twemproxy.net.block import COPY_LIMIT, MEDIUM, SMALL, Block, BlockPool, block_bytes

# As many segments as one sendmsg(2) takes from us; IOV_MAX is 1024.
MAX_SEGMENTS = cython.declare(cython.const[cython.int], 256)
# A segment array larger than this is given back as soon as the queue is empty.
KEEP_SEGMENTS = cython.declare(cython.const[cython.int], 4)


@cython.final
@cython.cclass
class SendQueue:
    """FIFO of bytes. ``pending`` is how many there are."""

    def __dealloc__(self) -> None:
        free(self.segments)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add_segment(self, block: cython.pointer[Block], data: cython.p_uchar, length: cython.Py_ssize_t) -> cython.int:
        """Put a segment last; the queue takes over one hold on ``block``."""
        segment: cython.pointer[Segment]
        grown: cython.pointer[Segment]
        capacity: cython.int
        if self.first + self.count == self.capacity:
            if self.first > 0 and self.count <= self.capacity // 2:
                memcpy(self.segments, self.segments + self.first, self.count * cython.sizeof(Segment))
            else:
                capacity = max(2 * self.count, 2)
                grown = cython.cast(cython.pointer[Segment], malloc(capacity * cython.sizeof(Segment)))
                if grown is cython.NULL:
                    raise MemoryError("no memory for the segments of a send queue")
                if self.count > 0:
                    memcpy(grown, self.segments + self.first, self.count * cython.sizeof(Segment))
                free(self.segments)
                self.segments = grown
                self.capacity = capacity
            self.first = 0
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
        """Copy ``length`` bytes to the end."""
        block: cython.pointer[Block]
        part: cython.Py_ssize_t
        while length > 0:
            part = self.room_end - self.room
            if part == 0:
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
        """Put bytes that stand in ``block`` last, by reference when that is cheaper than a copy."""
        if length < COPY_LIMIT or block is cython.NULL:
            return self.append(blocks, data, length)
        self.add_segment(block, data, length)
        block.holders += 1
        self.pending += length
        # What comes next may not be written behind the held bytes: they are not ours.
        self.room = cython.NULL
        self.room_end = cython.NULL
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def copy_last(self, target: cython.p_uchar, length: cython.Py_ssize_t) -> cython.int:
        """Copy the last ``length`` bytes to ``target``; there must be so many."""
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
        """Forget the last ``length`` bytes; there must be so many."""
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
        # What comes next begins a block of its own.
        self.room = cython.NULL
        self.room_end = cython.NULL
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_over(self, other: SendQueue) -> cython.int:
        """Put all that is in ``other`` last, and leave that empty; nothing is copied."""
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
        """How many bytes wait behind the piece that is being sent: behind a large reply, which is one piece."""
        if self.count == 0:
            return 0
        return self.pending - self.segments[self.first].length

    @cython.cfunc
    @cython.exceptval(check=False)
    def flush(self, blocks: BlockPool, fd: cython.int, sent: cython.pointer[cython.Py_ssize_t]) -> Flushed:
        """Send what the socket takes; ``sent`` becomes how much that was. After BROKEN see errno."""
        vector = cython.declare(iovec[256])
        message = cython.declare(msghdr)
        segment: cython.pointer[Segment]
        n: cython.int
        offered: cython.Py_ssize_t
        accepted: cython.Py_ssize_t
        sent[0] = 0
        while self.count > 0:
            if self.count == 1:
                segment = cython.address(self.segments[self.first])
                offered = segment.length
                accepted = send(fd, segment.data, offered, MSG_NOSIGNAL)
            else:
                n = 0
                offered = 0
                while n < self.count and n < MAX_SEGMENTS:
                    segment = cython.address(self.segments[self.first + n])
                    vector[n].iov_base = segment.data
                    vector[n].iov_len = segment.length
                    offered += segment.length
                    n += 1
                memset(cython.address(message), 0, cython.sizeof(msghdr))
                message.msg_iov = vector
                message.msg_iovlen = n
                accepted = sendmsg(fd, cython.address(message), MSG_NOSIGNAL)
            if accepted < 0:
                if errno == EINTR:
                    continue
                return BLOCKED if errno == EAGAIN else BROKEN
            sent[0] += accepted
            self.retire(blocks, accepted)
            if accepted < offered:
                return BLOCKED
        return DRAINED

    @cython.cfunc
    @cython.exceptval(check=False)
    def retire(self, blocks: BlockPool, sent: cython.Py_ssize_t) -> cython.void:
        """Forget the first ``sent`` bytes."""
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
        """Forget everything."""
        self.retire(blocks, self.pending)
