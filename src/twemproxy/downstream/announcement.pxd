from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport EventLoop
from twemproxy.net.timers cimport Timer


cdef class Announcement:
    cdef EventLoop loop
    cdef object find_clients
    cdef object number
    cdef int64_t ends_at
    cdef set told
    cdef Timer timer

    cpdef int look(self) except -1
