from twemproxy.net.block cimport Block
from twemproxy.protocol.request cimport Request
from twemproxy.proxy.client_stream cimport ClientStream
from twemproxy.proxy.reply_queue cimport ClientRequest, ReplyQueue
from twemproxy.proxy.server cimport Server
from twemproxy.proxy.server_pool cimport ServerPool


cdef class PublishRequest(ClientRequest):
    cdef ServerPool pool
    cdef Server server
    cdef str kind
    cdef bytes name

cdef bint publish(ClientStream client, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
