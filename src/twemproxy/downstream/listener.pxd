from twemproxy.net.acceptor cimport Acceptor
from twemproxy.net.event_loop cimport ChannelTimer
from twemproxy.downstream.admission cimport Admission
from twemproxy.upstream.server_pool cimport ServerPool


cdef class Listener(Acceptor):
    cdef ServerPool pool
    cdef Admission admission
    cdef bint failing
    cdef ChannelTimer timer

    cdef int accept_waiting(self) except -1
    cdef int close(self) except -1
    cdef int turn_away(self, int fd) except -1
