from twemproxy.protocol.foreign cimport Foreign
from twemproxy.downstream.client_stream cimport ClientStream


cdef bint is_recognized(ClientStream client, unsigned char* buf, Py_ssize_t start, Py_ssize_t end) except -1
cdef int hang_up(ClientStream client, Foreign foreign) except -1
