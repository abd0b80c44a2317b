from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport EventLoop
from twemproxy.net.timers cimport Timer
from twemproxy.downstream.client cimport ClientConnection
from twemproxy.upstream.server_connection cimport ServerConnection


cdef class Drain:
    cdef EventLoop loop
    cdef list pools
    cdef int64_t patience
    cdef int64_t interval
    cdef Timer timer
    cdef object find_clients
    cdef object on_quiesced
    cdef dict owing
    cdef dict silences
    cdef dict stalls
    cdef bint is_closing

    cdef int close_clients(self) except -1
    cpdef int check(self) except -1
    cdef int look_at_server(self, ServerConnection connection) except -1
    cdef int look_at_client(self, ClientConnection client) except -1
    cdef bint has_what_is_due(self, ClientConnection client) except -1
