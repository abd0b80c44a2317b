from twemproxy.net.acceptor cimport Acceptor
from twemproxy.net.event_loop cimport Action, EventLoop
from twemproxy.net.timers cimport Timer
from twemproxy.stats.counters cimport Counter, CounterTable, WorkerTables


cdef class Peer:
    cdef int number
    cdef CounterTable table
    cdef double given
    cdef Counter requests
    cdef Counter clients


cdef class Placement(Action):
    cdef EventLoop loop
    cdef WorkerTables tables
    cdef Peer own
    cdef dict peers
    cdef dict passing
    cdef object send
    cdef public object on_published
    cdef Timer timer
    cdef Counter requests_before
    cdef Counter accepted
    cdef bint is_ahead
    cdef bint are_short
    cdef Counter accepted_before

    cdef int look(self) except -1
    cdef double work(self, Peer peer, double per_client) noexcept
    cdef double work_per_client(self) except -1
    cdef int choose(self) except -1
    cdef Peer least_of(self, peers, double per_client)
    cdef int pass_on(self, Acceptor acceptor, int slot, int fd, int number) except -1


cdef Counter recent(Counter before, Counter more) noexcept
