from twemproxy.hashing.ring cimport Ring
from twemproxy.protocol.codec cimport Codec
from twemproxy.protocol.request cimport Item, Request
from twemproxy.upstream.server cimport Server


cdef class RouteTable:
    cdef readonly tuple servers
    cdef int n_servers
    cdef readonly tuple live
    cdef Ring ring
    cdef readonly bint is_open

    cdef int place_of(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end) noexcept
    cdef Server server_of(self, const unsigned char* buf, Py_ssize_t start, Py_ssize_t end)
    cdef Server server_of_key(self, unsigned char* buf, Py_ssize_t start, Request request)
    cdef Server server_of_found(self, Codec codec, unsigned char* buf, Py_ssize_t start, Request request, Item item)
    cdef Server any_server(self)
