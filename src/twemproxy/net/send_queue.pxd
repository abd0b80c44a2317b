from twemproxy.net.block cimport Block, BlockPool
from twemproxy.net.transport cimport Result, Transport


cdef struct Segment:
    Block* block
    unsigned char* data
    Py_ssize_t length


cdef class SendQueue:
    cdef Segment* segments
    cdef int first
    cdef int count
    cdef int capacity
    cdef readonly Py_ssize_t pending
    cdef unsigned char* room
    cdef unsigned char* room_end

    cdef int make_segments(self, int more) except -1
    cdef int add_segment(self, Block* block, unsigned char* data, Py_ssize_t length) except -1
    cdef int append_blocks(self, BlockPool blocks, const unsigned char* data, Py_ssize_t length) except -1
    cdef int append(self, BlockPool blocks, const unsigned char* data, Py_ssize_t length) except -1
    cdef int append_held(self, BlockPool blocks, Block* block, unsigned char* data, Py_ssize_t length) except -1
    cdef int copy_last(self, unsigned char* target, Py_ssize_t length) except -1
    cdef int drop_last(self, BlockPool blocks, Py_ssize_t length) except -1
    cdef int drop_since(self, BlockPool blocks, Py_ssize_t pending) except -1
    cdef int move_first(self, BlockPool blocks, SendQueue other, Py_ssize_t length) except -1
    cdef int take_over(self, SendQueue other) except -1
    cdef Py_ssize_t behind_first(self) noexcept
    cdef Result flush(self, BlockPool blocks, Transport transport, Py_ssize_t* sent) noexcept
    cdef void retire(self, BlockPool blocks, Py_ssize_t sent) noexcept
    cdef void clear(self, BlockPool blocks) noexcept
