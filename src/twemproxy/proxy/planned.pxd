from twemproxy.net.block cimport Block
from twemproxy.proxy.client cimport ClientConnection

cdef bint follow(ClientConnection client, object plan, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
cdef bint queue_request(ClientConnection client, Block* block, Py_ssize_t start, Py_ssize_t end) except -1
