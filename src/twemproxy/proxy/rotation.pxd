from twemproxy.hashing.ring cimport Ring, RingBuilder
from twemproxy.net.event_loop cimport EventLoop
from twemproxy.proxy.pool_settings cimport ConfiguredPool
from twemproxy.stats.counters cimport Counter


cdef class ServerHealth:
    cdef Rotation rotation
    cdef readonly str name
    cdef readonly bint live
    cdef bint down
    cdef int index
    cdef int failures
    cdef Counter* counters

    cdef int failed(self) except -1


cdef class Rotation:
    cdef ConfiguredPool pool
    cdef EventLoop loop
    cdef RingBuilder rings
    cdef Ring ring
    cdef list placed
    cdef readonly list members
    cdef readonly int n_live
    cdef Counter* pool_counters
    cdef object logger
    cdef public object on_ejected
    cdef public object on_rebuilt

    cdef bint keeps_keys(self) noexcept
    cdef bint is_open(self) noexcept
    cdef int eject(self, ServerHealth member) except -1
    cdef int rebuild(self) except -1
