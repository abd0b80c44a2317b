from twemproxy.net.acceptor cimport Acceptor
from twemproxy.net.event_loop cimport ChannelTimer
from twemproxy.downstream.admission cimport Admission
from twemproxy.downstream.placement cimport Placement
from twemproxy.upstream.server_pool cimport ServerPool


cdef class Listener(Acceptor):
    cdef ServerPool pool
    cdef Admission admission
    cdef Placement placement
    cdef unsigned int seen
    cdef bint failing
    cdef ChannelTimer timer

    cdef int accept_waiting(self) except -1
    cdef int close(self) except -1
    cdef int listen(self) except -1
    cdef bint has_too_many(self) except -1
    cdef int turn_away(self, int fd) except -1
