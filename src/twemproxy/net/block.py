"""Memory for traffic: reference-counted blocks, and the pool they come from.

Compiled-only, one pool per worker. All reads go into one shared block; bytes that are kept after the call are copied if
they are few, otherwise the block is held. A block that is no longer held returns to the pool. The pool gives out the
newest one first, because its memory is likely in the processor's cache.

Giving a large block back to the system takes about 0.1 ms per MB. So a turn of the loop gives back some MB only; the
blocks that are left shrink from their ends in later turns.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cython.cimports.libc.stdlib import free, malloc, realloc
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.libc.heap import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, malloc_trim, mallopt

# Bounds of the size of one read, and so of the work for one connection in one turn.
SMALLEST_READ = cython.declare(cython.const[cython.Py_ssize_t], 32 * 1024)
LARGEST_READ = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024)
# A tail grows by doubling, by up to this many bytes at a time, whatever length the peer announced.
GROWTH_LIMIT = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024)
# Below this size a copy is cheaper than holding the block; measured with benchmarks/run.py.
COPY_LIMIT = cython.declare(cython.const[cython.Py_ssize_t], 4096)
# Most bytes of unpooled blocks that one turn of the loop gives back, plus as many as it takes from the system.
GIVEN_BACK = cython.declare(cython.const[cython.Py_ssize_t], 4 * 1024 * 1024)
# Size class of blocks that are larger than the largest class: they come from malloc and return to it directly.
UNPOOLED = cython.declare(cython.const[cython.int], 3)

SMALL = cython.declare(cython.const[cython.Py_ssize_t], 4096 - 64)
MEDIUM = cython.declare(cython.const[cython.Py_ssize_t], 16384 - 64)
# Free blocks that are kept, by size class.
KEEP = cython.declare(cython.int[3])
KEEP[0] = 256
KEEP[1] = 64
KEEP[2] = 32


@cython.cfunc
def enlarge_ring(
    ring: cython.p_void,
    size: cython.size_t,
    capacity: cython.uint,
    larger: cython.uint,
    head: cython.uint,
    tail: cython.uint,
) -> cython.p_void:
    """Move a ring of records to a larger one, which is returned; the former one is freed.

    A ring has a power of two of records of ``size`` bytes. Positions count up and wrap at 2**32; those from ``head`` up
    to ``tail`` are in use. Raises MemoryError; then nothing has changed.
    """
    records: cython.p_char = cython.cast(cython.p_char, malloc(larger * size))
    if records is cython.NULL:
        raise MemoryError("no memory for a longer queue")
    while head != tail:
        memcpy(
            records + (head & (larger - 1)) * size,
            cython.cast(cython.p_char, ring) + (head & (capacity - 1)) * size,
            size,
        )
        head += 1
    free(ring)
    return records


@cython.final
@cython.cclass
class BlockPool:
    """The pool of blocks; it also has the shared block for reads, and the stash for small pieces that are kept.

    ``allocated``: bytes of all blocks, and of other memory that owners of blocks count here. ``dropped``: bytes of
    blocks that are no longer held and that ``return_unused`` returns to the system. ``read_most``: most bytes of a read
    into the shared block. ``growth``: most bytes by which the kept part of a read grows. Both are lowered for a while
    when memory is scarce. ``subscription_bytes``: bytes of subscriptions, which stay for longer than traffic; their
    owners count them, and should not exceed ``most_subscription_bytes``.
    """

    def __cinit__(self, read_size: cython.Py_ssize_t) -> None:
        """``read_size``: suggested bytes per read, kept within SMALLEST_READ and LARGEST_READ."""
        self.read_size = min(max(read_size, SMALLEST_READ), LARGEST_READ)
        self.class_capacity[0] = SMALL
        self.class_capacity[1] = MEDIUM
        self.class_capacity[2] = self.read_size
        self.read_most = self.read_size
        self.growth = GROWTH_LIMIT
        self.allowance = GIVEN_BACK
        # Fixed thresholds: glibc's dynamic ones would keep bursts of large blocks in the heap for good.
        mallopt(M_MMAP_THRESHOLD, 256 * 1024)
        mallopt(M_TRIM_THRESHOLD, 1024 * 1024)

    def __dealloc__(self) -> None:
        self.trim()

    @cython.cfunc
    @cython.exceptval(check=False)
    def unused(self) -> cython.Py_ssize_t:
        """Bytes of free blocks, which are a part of ``allocated``."""
        size_class: cython.int
        total: cython.Py_ssize_t = 0
        for size_class in range(UNPOOLED):
            total += self.n_free[size_class] * self.class_capacity[size_class]
        return total

    @cython.cfunc
    def take(self, capacity: cython.Py_ssize_t) -> cython.pointer[Block]:
        """A block of at least ``capacity`` bytes, held once; MemoryError without memory."""
        block: cython.pointer[Block]
        size_class: cython.int = 0
        while size_class < UNPOOLED and self.class_capacity[size_class] < capacity:
            size_class += 1
        if size_class < UNPOOLED:
            capacity = self.class_capacity[size_class]
            block = self.free_blocks[size_class]
            if block is not cython.NULL:
                self.free_blocks[size_class] = block.next_free
                self.n_free[size_class] -= 1
                block.holders = 1
                return block
        block = self.obtain(cython.NULL, capacity, capacity)
        block.holders = 1
        block.capacity = capacity
        block.size_class = size_class
        self.allocated += capacity
        return block

    @cython.cfunc
    def obtain(
        self, block: cython.pointer[Block], capacity: cython.Py_ssize_t, more: cython.Py_ssize_t
    ) -> cython.pointer[Block]:
        """Memory for a block, ``more`` bytes more than ``block`` has; MemoryError when there is none."""
        obtained: cython.pointer[Block]
        # So memory does not grow while some waits to be given back.
        self.shrink_dropped(more)
        obtained = cython.cast(cython.pointer[Block], realloc(block, cython.sizeof(Block) + capacity))
        if obtained is cython.NULL and self.dropped > 0:
            self.shrink_dropped(self.dropped)
            obtained = cython.cast(cython.pointer[Block], realloc(block, cython.sizeof(Block) + capacity))
        if obtained is cython.NULL:
            raise MemoryError(f"no memory for a block of {capacity} bytes")
        return obtained

    @cython.cfunc
    def grow(self, block: cython.pointer[Block], capacity: cython.Py_ssize_t) -> cython.pointer[Block]:
        """Move the bytes to a block of at least ``capacity``; ``block`` must have one holder, and is released."""
        larger: cython.pointer[Block]
        if block.size_class == UNPOOLED:
            larger = self.obtain(block, capacity, capacity - block.capacity)
            self.allocated += capacity - larger.capacity
            larger.capacity = capacity
            return larger
        larger = self.take(capacity)
        memcpy(block_bytes(larger), block_bytes(block), block.capacity)
        self.release(block)
        return larger

    @cython.cfunc
    @cython.exceptval(check=False)
    def release(self, block: cython.pointer[Block]) -> cython.void:
        """Release one hold on a block."""
        block.holders -= 1
        if block.holders > 0:
            return
        if block.size_class < UNPOOLED and self.n_free[block.size_class] < KEEP[block.size_class]:
            block.next_free = self.free_blocks[block.size_class]
            self.free_blocks[block.size_class] = block
            self.n_free[block.size_class] += 1
            return
        if block.size_class == UNPOOLED:
            if block.capacity > self.allowance:
                block.next_free = self.dropped_blocks
                self.dropped_blocks = block
                self.dropped += block.capacity
                return
            self.allowance -= block.capacity
        self.free_block(block)

    @cython.cfunc
    @cython.exceptval(check=False)
    def free_block(self, block: cython.pointer[Block]) -> cython.void:
        self.allocated -= block.capacity
        self.returned += block.capacity
        free(block)

    @cython.cfunc
    @cython.exceptval(check=False)
    def shrink_dropped(self, most: cython.Py_ssize_t) -> cython.void:
        """Give back up to ``most`` bytes of the dropped blocks."""
        block: cython.pointer[Block]
        shorter: cython.pointer[Block]
        while self.dropped_blocks is not cython.NULL and most > 0:
            block = self.dropped_blocks
            if block.capacity > most:
                shorter = cython.cast(
                    cython.pointer[Block], realloc(block, cython.sizeof(Block) + block.capacity - most)
                )
                if shorter is cython.NULL:
                    return
                self.dropped_blocks = shorter
                shorter.capacity -= most
                self.dropped -= most
                self.allocated -= most
                self.returned += most
                return
            most -= block.capacity
            self.dropped_blocks = block.next_free
            self.dropped -= block.capacity
            self.free_block(block)

    @cython.cfunc
    @cython.exceptval(check=False)
    def return_unused(self) -> cython.void:
        """Give back what a turn may, and begin the next one."""
        self.shrink_dropped(self.allowance)
        self.allowance = GIVEN_BACK

    @cython.cfunc
    def reading(self) -> cython.pointer[Block]:
        """The shared block for reads, with room for at least a quarter of the read size from ``read_start`` on."""
        if self.read_block is cython.NULL:
            self.read_block = self.take(self.read_size)
            self.read_start = 0
        elif self.read_block.holders == 1:
            self.read_start = 0
        elif self.read_block.capacity - self.read_start < self.read_size // 4:
            self.release(self.read_block)
            self.read_block = cython.NULL
            self.read_block = self.take(self.read_size)
            self.read_start = 0
        return self.read_block

    @cython.cfunc
    @cython.exceptval(check=False)
    def read_done(self, end: cython.Py_ssize_t) -> cython.void:
        """Bytes up to ``end`` of the shared block are used; the next read starts there."""
        self.read_start = end

    @cython.cfunc
    def stash(
        self,
        data: cython.pointer[cython.const[cython.uchar]],
        length: cython.Py_ssize_t,
        kept: cython.pointer[cython.p_uchar],
    ) -> cython.pointer[Block]:
        """Copy bytes into a block with other small pieces; returns the block, held, and in ``kept`` their address."""
        block: cython.pointer[Block] = self.stash_block
        if block is not cython.NULL and block.holders == 1:
            self.stash_start = 0
        if block is cython.NULL or block.capacity - self.stash_start < length:
            if block is not cython.NULL:
                self.stash_block = cython.NULL
                self.release(block)
            block = self.take(max(length, self.class_capacity[1]))
            self.stash_block = block
            self.stash_start = 0
        kept[0] = block_bytes(block) + self.stash_start
        memcpy(kept[0], data, length)
        self.stash_start += length
        block.holders += 1
        return block

    @cython.ccall
    @cython.exceptval(check=False)
    def trim(self) -> cython.Py_ssize_t:
        """Return unused memory to the system; returns the bytes released since the last call."""
        size_class: cython.int
        block: cython.pointer[Block]
        freed: cython.Py_ssize_t
        if self.read_block is not cython.NULL:
            block = self.read_block
            self.read_block = cython.NULL
            self.release(block)
        if self.stash_block is not cython.NULL:
            block = self.stash_block
            self.stash_block = cython.NULL
            self.release(block)
        for size_class in range(UNPOOLED):
            while self.free_blocks[size_class] is not cython.NULL:
                block = self.free_blocks[size_class]
                self.free_blocks[size_class] = block.next_free
                self.free_block(block)
            self.n_free[size_class] = 0
        self.shrink_dropped(self.dropped)
        freed = self.returned
        self.returned = 0
        if freed > 0:
            malloc_trim(0)
        return freed

    # --- for tests: addresses as numbers ---------------------------------------------------------------------------

    def take_block(self, data: bytes) -> int:
        """``take`` a block for ``data``, and fill it."""
        block: cython.pointer[Block] = self.take(len(data))
        memcpy(block_bytes(block), PyBytes_AS_STRING(data), len(data))
        return cython.cast(cython.size_t, block)

    def grow_block(self, address, data: bytes, old) -> int:
        """``grow`` a block that has ``old`` bytes, and put ``data`` after them."""
        block: cython.pointer[Block] = cython.cast(cython.pointer[Block], cython.cast(cython.size_t, address))
        block = self.grow(block, old + len(data))
        memcpy(block_bytes(block) + cython.cast(cython.Py_ssize_t, old), PyBytes_AS_STRING(data), len(data))
        return cython.cast(cython.size_t, block)

    def put_aside(self, data: bytes) -> tuple:
        """``stash``; returns the addresses of the block and of the bytes."""
        kept: cython.p_uchar
        block: cython.pointer[Block] = self.stash(
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(data)), len(data), cython.address(kept)
        )
        return cython.cast(cython.size_t, block), cython.cast(cython.size_t, kept)

    def read(self, data: bytes) -> tuple:
        """Put ``data`` into the shared block and hold it; returns the addresses of the block and of the bytes."""
        block: cython.pointer[Block] = self.reading()
        place: cython.p_uchar = block_bytes(block) + self.read_start
        if block.capacity - self.read_start < len(data):
            raise ValueError("a read has more room than that")
        memcpy(place, PyBytes_AS_STRING(data), len(data))
        block.holders += 1
        self.read_done(self.read_start + len(data))
        return cython.cast(cython.size_t, block), cython.cast(cython.size_t, place)

    def let_go(self, address) -> None:
        """``release`` a block."""
        self.release(cython.cast(cython.pointer[Block], cython.cast(cython.size_t, address)))

    def bytes_of(self, address, at, length) -> bytes:
        """``length`` bytes of a block from ``at`` on; without a block, from the address ``at`` on."""
        place: cython.p_uchar = cython.cast(cython.p_uchar, cython.cast(cython.size_t, at))
        if address:
            place = block_bytes(cython.cast(cython.pointer[Block], cython.cast(cython.size_t, address)))
            place += cython.cast(cython.Py_ssize_t, at)
        return PyBytes_FromStringAndSize(cython.cast(cython.p_char, place), length)

    def end_turn(self) -> None:
        """``return_unused``."""
        self.return_unused()

    def unused_bytes(self) -> int:
        """``unused``."""
        return self.unused()
