from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport EventLoop
from twemproxy.net.stream cimport Stream
from twemproxy.protocol.codec cimport Codec
from twemproxy.proxy.rotation cimport ServerHealth
from twemproxy.stats.counters cimport Counter

cdef enum State:
    CLOSED
    RESOLVING
    CONNECTING
    GREETING
    READY
    LEAVING


cdef class ServerStream(Stream):
    cdef Codec codec
    cdef ServerHealth health
    cdef readonly State state
    cdef readonly object upstream
    cdef list candidates
    cdef object candidate
    cdef list greeting
    cdef int profile
    cdef public object on_settled
    cdef int64_t patience
    cdef int64_t open_by
    cdef int offers
    cdef int demanded
    cdef Counter* counters
    cdef Counter* process_counters

    cdef bint lacks(self, int demand) noexcept
    cdef bint is_opening(self) noexcept
    cdef bint is_ready(self) noexcept
    cdef int open(self) except -1
    cdef void set_open_by(self) noexcept
    cdef int connect_next(self, int error) except -1
    cdef int connected(self) except -1
    cdef int greeted(self, bytes reply) except -1
    cdef int ready(self) except -1
    cdef int shut(self) except -1
    cdef int fail(self, int error, str reason) except -1
    cdef int refuse(self, str reason, bint blame) except -1
    cdef int publish_gauges(self) except -1
