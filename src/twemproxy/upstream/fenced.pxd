from libc.stdint cimport int64_t

from twemproxy.net.block cimport Block
from twemproxy.upstream.fences cimport Fences
from twemproxy.upstream.server_connection cimport ServerConnection


cdef class FencedConnection(ServerConnection):
    cdef Fences fences

    cdef int put_fence(self, bint urgent) except -1
    cdef int64_t look_after_fence(self) except? -2
    cdef Py_ssize_t consume_slices(self, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
    cdef Py_ssize_t skip_push(self, unsigned char* buf, Py_ssize_t start, Py_ssize_t end) except? -1
    cdef Py_ssize_t take_slice(self, Block* block, Py_ssize_t start, Py_ssize_t end) except? -2
    cdef bint frame_slice(self, unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept
    cdef Py_ssize_t fence_at(self, unsigned char* buf, Py_ssize_t at, Py_ssize_t end) noexcept
    cdef Py_ssize_t find_fence(self, unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept
    cdef int deliver_slice(self, Block* block, Py_ssize_t start) except -1
    cdef int fail_slice(self, bytes reply) except -1
    cdef int end_slice(self) except -1
    cdef int put_back(self, list unsent) except -1
