from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport EventLoop
from twemproxy.proxy.limits cimport ClientCount
from twemproxy.proxy.memory_limit cimport MemoryLimit
from twemproxy.stats.counters cimport Counter


cdef class Reactor:
    cdef readonly EventLoop loop
    cdef readonly list pools
    cdef list listeners
    cdef ClientCount everyone
    cdef MemoryLimit memory
    cdef Counter* process_counters
    cdef int64_t trim_at
    cdef int64_t cut_off_at
    cdef int64_t idle_look_at
    cdef int64_t smallest_idle_limit
    cdef bint draining

    cdef int sweep(self) except -1
