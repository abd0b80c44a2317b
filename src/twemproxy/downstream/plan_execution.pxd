from twemproxy.net.block cimport Block
from twemproxy.protocol.request cimport Request
from twemproxy.downstream.client_stream cimport ClientStream
from twemproxy.upstream.server_connection cimport ServerConnection

cdef bint execute(ClientStream client, object plan, Request request, unsigned char expected, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
cdef bint go_on(ClientStream client) except -1
cdef bint queue_request(ClientStream client, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
cdef int send_blocked(ClientStream client, object plan, ServerConnection connection, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
cdef int ask_again(ClientStream client) except -1
