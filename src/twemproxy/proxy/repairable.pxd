from twemproxy.net.block cimport Block
from twemproxy.proxy.reply_queue cimport ReplyQueue
from twemproxy.proxy.server_connection cimport ServerConnection
from twemproxy.proxy.sink cimport Sink


cdef class RepairableRequest(Sink):
    cdef ServerConnection connection
    cdef ReplyQueue replies
    cdef unsigned int position
    cdef unsigned char expected
    cdef bytes request

cdef int send_repairable(
    ServerConnection connection, ReplyQueue replies, Block* block, Py_ssize_t start, Py_ssize_t end
) except -1
