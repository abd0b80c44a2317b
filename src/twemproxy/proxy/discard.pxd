from twemproxy.protocol.request cimport Request
from twemproxy.proxy.client cimport ClientConnection

cdef int linger(ClientConnection client) except -1
cdef int refuse_rest(ClientConnection client, str problem) except -1
cdef int refuse_large(ClientConnection client, Request request) except -1
cdef int refuse_unfinished(ClientConnection client, Request request, bytes reply) except -1
cdef Py_ssize_t discard(ClientConnection client, unsigned char* buf, Py_ssize_t start, Py_ssize_t end) except -1
