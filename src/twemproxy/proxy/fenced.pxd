from libc.stdint cimport int64_t

from twemproxy.net.block cimport Block
from twemproxy.proxy.server_connection cimport ServerConnection


cdef int separate(ServerConnection connection, object owner) except -1
cdef bint is_stuck(ServerConnection connection) noexcept
cdef int put_fence(ServerConnection connection, bint urgent) except -1
cdef Py_ssize_t consume_fenced(ServerConnection connection, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
cdef int64_t look_after_fence(ServerConnection connection) except? -2
cdef list take_failed_fenced(ServerConnection connection, bint again)
cdef int drop_unsent_fenced(ServerConnection connection) except -1
cdef int forget_unsent_fences(ServerConnection connection) except -1
