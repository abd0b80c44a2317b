from twemproxy.net.block cimport Block
from twemproxy.protocol.request cimport Request
from twemproxy.downstream.client_stream cimport ClientStream
from twemproxy.downstream.reply_queue cimport ClientRequest, ReplyQueue
from twemproxy.upstream.server cimport Server
from twemproxy.upstream.pubsub cimport Subscriptions
from twemproxy.upstream.topics cimport Published
from twemproxy.upstream.server_pool cimport ServerPool


cdef class PublishRequest(ClientRequest):
    cdef ServerPool pool
    cdef Server server
    cdef str kind
    cdef bytes name
    cdef Published published
    cdef unsigned int routes
    cdef bint is_on_its_way

    cdef void arrived(self) noexcept


cdef bint publish(ClientStream client, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
