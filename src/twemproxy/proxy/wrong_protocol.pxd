from twemproxy.protocol.foreign cimport Foreign
from twemproxy.proxy.client cimport ClientConnection


cdef bint is_recognized(ClientConnection client, unsigned char* buf, Py_ssize_t start, Py_ssize_t end) except -1
cdef int hang_up(ClientConnection client, Foreign foreign) except -1
