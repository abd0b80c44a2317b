from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport Channel, EventLoop
from twemproxy.proxy.admission cimport Admission
from twemproxy.proxy.server_pool cimport ServerPool


cdef class Listener(Channel):
    cdef EventLoop loop
    cdef ServerPool pool
    cdef Admission admission
    cdef unsigned int next_number
    cdef bint tcp
    cdef bint failing
    cdef int64_t rests_until

    cdef int close(self) except -1
    cdef int accepted(self, int fd) except -1
    cdef int shed(self) except -1
    cdef int rest(self, int error) except -1
    cdef int64_t expire(self) except? -2
