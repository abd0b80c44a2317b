from libc.stdint cimport int64_t

from twemproxy.hashing.continuum cimport Continuum
from twemproxy.net.event_loop cimport EventLoop
from twemproxy.stats.counters cimport Counter


cdef class ServerHealth:
    cdef Rotation rotation
    cdef readonly str name
    cdef readonly bint live
    cdef int failures
    cdef int64_t next_retry
    cdef Counter* counters

    cdef int failed(self) except -1


cdef class Rotation:
    cdef EventLoop loop
    cdef Continuum continuum
    cdef readonly list members
    cdef readonly int n_live
    cdef bint ejects
    cdef int failure_limit
    cdef int64_t retry_timeout
    cdef int64_t next_rebuild
    cdef Counter* pool_counters
    cdef object logger
    cdef public object on_rebuilt

    cdef bint is_open(self) except -1
    cdef int eject(self, ServerHealth member) except -1
    cdef int readmit(self) except -1
    cdef int rebuild(self) except -1
