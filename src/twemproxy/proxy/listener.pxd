from libc.stdint cimport int64_t

from twemproxy.net.acceptor cimport Acceptor
from twemproxy.proxy.admission cimport Admission
from twemproxy.proxy.server_pool cimport ServerPool


cdef class Listener(Acceptor):
    cdef ServerPool pool
    cdef Admission admission
    cdef unsigned int next_number
    cdef bint failing
    cdef int64_t rests_until

    cdef int close(self) except -1
    cdef int turn_away(self, int fd) except -1
    cdef int64_t expire(self) except? -2
