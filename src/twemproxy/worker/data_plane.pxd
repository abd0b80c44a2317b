from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport EventLoop
from twemproxy.net.timers cimport Timer
from twemproxy.downstream.announcement cimport Announcement
from twemproxy.downstream.drain cimport Drain
from twemproxy.downstream.handover cimport HandOver
from twemproxy.downstream.admission cimport Admission
from twemproxy.downstream.placement cimport Placement
from twemproxy.proxy.access_log cimport AccessSink
from twemproxy.proxy.memory_limit cimport MemoryLimit
from twemproxy.stats.counters cimport Counter, WorkerTables
from twemproxy.upstream.verdicts cimport Verdicts


cdef class DataPlane:
    cdef readonly EventLoop loop
    cdef readonly list pools
    cdef readonly list retired
    cdef public dict facts
    cdef object others_of
    cdef object on_health_changed
    cdef AccessSink access_sink
    cdef dict listeners
    cdef Admission admission
    cdef MemoryLimit memory
    cdef WorkerTables tables
    cdef readonly Placement placement
    cdef Verdicts verdicts
    cdef bint accepts
    cdef Counter* process_counters
    cdef Timer trimming
    cdef Timer cutting_off
    cdef Timer ending
    cdef Timer beating
    cdef int beats
    cdef int64_t longest_before
    cdef bint draining
    cdef HandOver handing_over
    cdef HandOver moving
    cdef Drain drain_state
    cdef Announcement announcement


    cdef bint may_end(self) noexcept
