from twemproxy.downstream.client cimport ClientConnection
from twemproxy.net.event_loop cimport EventLoop
from twemproxy.net.timers cimport Timer


cdef class HandOver:
    cdef EventLoop loop
    cdef object give
    cdef int window
    cdef set staying
    cdef dict ready
    cdef Timer timer

    cpdef int look_at(self, ClientConnection client) except -1
    cdef bint may_pause(self, ClientConnection client) except -1
    cdef bint is_acknowledged(self) noexcept
    cpdef int forget(self, ClientConnection client) except -1
