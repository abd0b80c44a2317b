from twemproxy.net.block cimport Block
from twemproxy.protocol.request cimport Request
from twemproxy.downstream.reply_queue cimport ClientRequest, ReplyQueue
from twemproxy.upstream.server_connection cimport ServerConnection


cdef class RetryableRequest(ClientRequest):
    cdef ServerConnection connection
    cdef bint remembers_script
    cdef bytes data
    cdef Py_ssize_t retry_bytes

    cdef bint is_retried(self, bytes reply) except -1

cdef int send_retryable(
    ServerConnection connection, Request request, ReplyQueue replies, Block* block, Py_ssize_t start, Py_ssize_t end
) except -1
