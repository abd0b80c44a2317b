from twemproxy.hashing.ring cimport Ring
from twemproxy.upstream.server cimport Server


cdef class RouteTable:
    cdef readonly tuple servers
    cdef int n_servers
    cdef readonly tuple live
    cdef Ring ring
    cdef readonly bint is_open

    cdef Server server_of(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end)
    cdef Server any_server(self)
