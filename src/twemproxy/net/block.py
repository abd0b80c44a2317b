"""Memory for bytes on their way through: counted blocks and the pool they come from.

Compiled-only, one pool per worker. Every read goes into one shared block; whoever wants to keep bytes of it
longer than the call either copies them (small) or holds the block (large). A block whose last holder lets go
returns to the pool, newest first, so the memory in use stays the memory in the cache.
"""

import cython
from cython.cimports.libc.stdlib import free, malloc, realloc
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.libc.heap import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, malloc_trim, mallopt

# Bounds of one read, and so of what one connection can do in one turn of the loop.
SMALLEST_READ = cython.declare(cython.const[cython.Py_ssize_t], 32 * 1024)
LARGEST_READ = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024)
# A tail grows by doubling up to this much at a time, whatever length the peer announced.
GROWTH_LIMIT = cython.declare(cython.const[cython.Py_ssize_t], 1024 * 1024)
# Below this a copy is cheaper than keeping the block it came in; measured with benchmarks/run.py.
COPY_LIMIT = cython.declare(cython.const[cython.Py_ssize_t], 4096)
# Blocks above the largest class come from and return to malloc directly.
UNPOOLED = cython.declare(cython.const[cython.int], 3)

SMALL = cython.declare(cython.const[cython.Py_ssize_t], 4096 - 64)
MEDIUM = cython.declare(cython.const[cython.Py_ssize_t], 16384 - 64)
# Free blocks kept per class.
KEEP = cython.declare(cython.int[3])
KEEP[0] = 256
KEEP[1] = 64
KEEP[2] = 32


@cython.final
@cython.cclass
class BlockPool:
    """Gives and takes back blocks; also owns the shared read block and the stash for small kept bytes.

    ``allocated``: bytes of all blocks, and whatever else owners of blocks have and count here. ``read_most``: bytes
    that a read into the shared block takes at most, ``growth``: by which what is kept of one grows at most; both are
    lower for a while when memory is scarce.
    """

    def __cinit__(self, read_size: cython.Py_ssize_t) -> None:
        """``read_size``: bytes that one read should take at most, a hint."""
        self.read_size = min(max(read_size, SMALLEST_READ), LARGEST_READ)
        self.class_capacity[0] = SMALL
        self.class_capacity[1] = MEDIUM
        self.class_capacity[2] = self.read_size
        self.read_most = self.read_size
        self.growth = GROWTH_LIMIT
        # Fixed thresholds: glibc's moving ones would keep bursts of large blocks in the heap for good.
        mallopt(M_MMAP_THRESHOLD, 256 * 1024)
        mallopt(M_TRIM_THRESHOLD, 1024 * 1024)

    def __dealloc__(self) -> None:
        self.trim()

    @cython.cfunc
    @cython.exceptval(check=False)
    def unused(self) -> cython.Py_ssize_t:
        """How many of the allocated bytes are free blocks."""
        size_class: cython.int
        total: cython.Py_ssize_t = 0
        for size_class in range(UNPOOLED):
            total += self.n_free[size_class] * self.class_capacity[size_class]
        return total

    @cython.cfunc
    def take(self, capacity: cython.Py_ssize_t) -> cython.pointer[Block]:
        """A block for at least ``capacity`` bytes, held once; MemoryError when there is none."""
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
        block = cython.cast(cython.pointer[Block], malloc(cython.sizeof(Block) + capacity))
        if block is cython.NULL:
            raise MemoryError(f"no memory for a block of {capacity} bytes")
        block.holders = 1
        block.capacity = capacity
        block.size_class = size_class
        self.allocated += capacity
        return block

    @cython.cfunc
    def grow(self, block: cython.pointer[Block], capacity: cython.Py_ssize_t) -> cython.pointer[Block]:
        """The same bytes in a block of at least ``capacity``; ``block`` must have one holder and is gone after."""
        larger: cython.pointer[Block]
        if block.size_class == UNPOOLED:
            larger = cython.cast(cython.pointer[Block], realloc(block, cython.sizeof(Block) + capacity))
            if larger is cython.NULL:
                raise MemoryError(f"no memory for a block of {capacity} bytes")
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
        """Let go of a block once."""
        block.holders -= 1
        if block.holders > 0:
            return
        if block.size_class < UNPOOLED and self.n_free[block.size_class] < KEEP[block.size_class]:
            block.next_free = self.free_blocks[block.size_class]
            self.free_blocks[block.size_class] = block
            self.n_free[block.size_class] += 1
            return
        self.allocated -= block.capacity
        self.returned += block.capacity
        free(block)

    @cython.cfunc
    def reading(self) -> cython.pointer[Block]:
        """The shared read block; bytes may be put at ``read_start`` and behind, at least a quarter of the read size."""
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
        """Bytes up to ``end`` of the read block were dealt with; some may be held."""
        self.read_start = end

    @cython.cfunc
    def stash(
        self,
        data: cython.pointer[cython.const[cython.uchar]],
        length: cython.Py_ssize_t,
        kept: cython.pointer[cython.p_uchar],
    ) -> cython.pointer[Block]:
        """Copy bytes aside, packed with others; gives the block, now held, and where in it they are."""
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
        """Give memory nobody uses back to the system; returns how many bytes had been released since last time."""
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
                self.allocated -= block.capacity
                self.returned += block.capacity
                free(block)
            self.n_free[size_class] = 0
        freed = self.returned
        self.returned = 0
        if freed > 0:
            malloc_trim(0)
        return freed
