# A block is a reference-counted piece of memory; its bytes follow the header. To keep a pointer into it, hold a count.
cdef struct Block:
    Py_ssize_t holders
    Py_ssize_t capacity
    int size_class
    Block* next_free

cdef const Py_ssize_t COPY_LIMIT
cdef const Py_ssize_t GROWTH_LIMIT
cdef const Py_ssize_t SMALL
cdef const Py_ssize_t MEDIUM


cdef inline unsigned char* block_bytes(Block* block) noexcept nogil:
    return <unsigned char*> (block + 1)


cdef void* enlarge_ring(void* ring, size_t size, unsigned int capacity, unsigned int larger, unsigned int head, unsigned int tail)


cdef class BlockPool:
    cdef Block* free_blocks[3]
    cdef int n_free[3]
    cdef Py_ssize_t class_capacity[3]
    cdef readonly Py_ssize_t read_size
    cdef Py_ssize_t read_most
    cdef Py_ssize_t growth
    cdef Block* read_block
    cdef Py_ssize_t read_start
    cdef Block* stash_block
    cdef Py_ssize_t stash_start
    cdef readonly Py_ssize_t allocated
    cdef readonly Py_ssize_t returned
    cdef Block* dropped_blocks
    cdef readonly Py_ssize_t dropped
    cdef Py_ssize_t allowance
    cdef Py_ssize_t subscription_bytes
    cdef Py_ssize_t most_subscription_bytes

    cdef Py_ssize_t unused(self) noexcept
    cdef Block* take(self, Py_ssize_t capacity)
    cdef Block* obtain(self, Block* block, Py_ssize_t capacity, Py_ssize_t more)
    cdef Block* grow(self, Block* block, Py_ssize_t capacity)
    cdef void release(self, Block* block) noexcept
    cdef void free_block(self, Block* block) noexcept
    cdef void shrink_dropped(self, Py_ssize_t most) noexcept
    cdef void return_unused(self) noexcept
    cdef Block* reading(self)
    cdef void read_done(self, Py_ssize_t end) noexcept
    cdef Block* stash(self, const unsigned char* data, Py_ssize_t length, unsigned char** kept)
    cpdef Py_ssize_t trim(self) noexcept
