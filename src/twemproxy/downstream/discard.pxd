from twemproxy.protocol.request cimport Request
from twemproxy.downstream.client_stream cimport ClientStream

cdef int linger(ClientStream client) except -1
cdef int refuse_rest(ClientStream client, str problem) except -1
cdef int refuse_large(ClientStream client, Request request) except -1
cdef int refuse_unfinished(ClientStream client, Request request, bytes reply) except -1
cdef Py_ssize_t discard(ClientStream client, unsigned char* buf, Py_ssize_t start, Py_ssize_t end) except -1
