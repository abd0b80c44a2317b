from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport EventLoop
from twemproxy.downstream.reply_queue cimport ClientRequest, ReplyQueue
from twemproxy.upstream.server_connection cimport ServerConnection


cdef class BlockedRequest(ClientRequest):
    cdef EventLoop loop
    cdef object blocking
    cdef int64_t since
    cdef Py_ssize_t size
    cdef object wait
    cdef ServerConnection connection
    cdef bint is_misplaced

    cdef int begin(self, ReplyQueue replies, unsigned char expected, object blocking, int64_t since) except -1
    cdef int place(self, object wait, ServerConnection connection) except -1
    cdef bint is_moving(self) noexcept
    cdef int end(self) except -1
