from twemproxy.net.event_loop cimport Action, EventLoop
from twemproxy.upstream.health_states cimport HealthState
from twemproxy.proxy.pool_settings cimport ConfiguredPool
from twemproxy.stats.counters cimport Counter, WorkerTables


cdef class Server(Action):
    cdef ConfiguredPool pool
    cdef readonly str name
    cdef readonly int position
    cdef readonly object endpoint
    cdef Counter* counters
    cdef WorkerTables tables
    cdef Py_ssize_t slot
    cdef object make_room
    cdef readonly HealthState state
    cdef bint down
    cdef Counter* verdicts
    cdef Counter known_verdicts
    cdef Counter* health_checks
    cdef bint verdict_due
    cdef readonly int failures
    cdef int kind_of_failure
    cdef Counter errors_before
    cdef Counter ends_before
    cdef Counter timeouts_before
    cdef EventLoop loop
    cdef object on_verdict
    cdef readonly list connections
    cdef readonly dict of_profiles
    cdef readonly list shared
    cdef int recent_profile
    cdef list recent

    cdef int become(self, HealthState state) except -1
    cdef int failed(self) except -1
    cdef int find_kind_of_failure(self) noexcept
    cdef int defer_verdict(self) except -1
    cdef list connections_of(self, int profile)
    cdef Py_ssize_t places(self) noexcept
    cdef str take_place(self, int profile, bint private)
    cdef bint count_one(self, int gauge, Py_ssize_t most, int profile, bint private) except -1
    cdef void give_place(self, bint private) noexcept
