from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport EventLoop
from twemproxy.proxy.client cimport ClientConnection
from twemproxy.proxy.server_connection cimport ServerConnection


cdef class Drain:
    cdef EventLoop loop
    cdef list pools
    cdef int64_t patience
    cdef int64_t interval
    cdef int64_t look_at
    cdef dict owing
    cdef dict silences
    cdef dict stalls
    cdef bint is_closing

    cdef bint is_settled(self) noexcept
    cdef int close_clients(self, list clients) except -1
    cdef int look(self, list clients) except -1
    cdef int look_at_server(self, ServerConnection connection) except -1
    cdef int look_at_client(self, ClientConnection client) except -1
    cdef bint has_what_is_due(self, ClientConnection client) except -1
