from twemproxy.proxy.client cimport ClientConnection

cdef int refuse_large(ClientConnection client) except -1
cdef int refuse_unfinished(ClientConnection client, bytes reply) except -1
cdef Py_ssize_t pass_over(ClientConnection client, unsigned char* buf, Py_ssize_t start, Py_ssize_t end) except -1
