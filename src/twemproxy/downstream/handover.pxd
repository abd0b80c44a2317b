from twemproxy.downstream.client cimport ClientConnection
from twemproxy.net.event_loop cimport EventLoop
from twemproxy.net.timers cimport Timer


cdef class HandOver:
    cdef EventLoop loop
    cdef object give
    cdef set staying
    cdef dict ready
    cdef bint waits
    cdef public bint unsent
    cdef Timer timer

    cpdef int look_at(self, ClientConnection client) except -1
    cdef bint may_pause(self, ClientConnection client) except -1
    cdef int wait_for_room(self, ClientConnection client) except -1
    cpdef int forget(self, ClientConnection client) except -1
