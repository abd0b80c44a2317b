from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport EventLoop
from twemproxy.proxy.drain cimport Drain
from twemproxy.proxy.admission cimport Admission
from twemproxy.proxy.memory_limit cimport MemoryLimit
from twemproxy.stats.counters cimport Counter


cdef class DataPlane:
    cdef readonly EventLoop loop
    cdef readonly list pools
    cdef list listeners
    cdef Admission admission
    cdef MemoryLimit memory
    cdef Counter* process_counters
    cdef int64_t trim_at
    cdef int64_t cut_off_at
    cdef int64_t idle_look_at
    cdef bint draining
    cdef Drain drain_state
    cdef object on_settled

    cdef int look_at_idle_clients(self) except -1
    cdef int64_t smallest_idle_limit(self) noexcept
    cdef int look_at_drain(self) except -1
    cdef int sweep(self) except -1
