from twemproxy.net.block cimport Block
from twemproxy.protocol.request cimport Request
from twemproxy.proxy.client cimport ClientConnection

cdef bint follow(ClientConnection client, object plan, Request request, unsigned char expected, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
cdef bint go_on(ClientConnection client) except -1
cdef int drop_steps(ClientConnection client) except -1
cdef bint queue_request(ClientConnection client, Request request, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
