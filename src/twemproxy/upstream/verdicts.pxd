from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport Action, EventLoop
from twemproxy.stats.counters cimport Counter


cdef class Verdicts(Action):
    cdef EventLoop loop
    cdef Counter* changes
    cdef Counter seen
    cdef int64_t look_at
    cdef public list pools
