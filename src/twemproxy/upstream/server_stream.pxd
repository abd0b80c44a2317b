from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport ChannelTimer, EventLoop
from twemproxy.proxy.memory_limit cimport LimitedStream
from twemproxy.protocol.codec cimport Codec
from twemproxy.protocol.request cimport Cursor
from twemproxy.upstream.connection_states cimport ConnectionState
from twemproxy.proxy.pool_settings cimport ConfiguredPool
from twemproxy.upstream.server cimport Server
from twemproxy.stats.counters cimport Counter


cdef class ServerStream(LimitedStream):
    cdef Codec codec
    cdef Cursor cursor
    cdef readonly Server server
    cdef readonly ConnectionState state
    cdef readonly object endpoint
    cdef list candidates
    cdef readonly object candidate
    cdef object only_candidate
    cdef list handshake
    cdef int profile
    cdef public object on_status
    cdef ConfiguredPool pool
    cdef ChannelTimer timer
    cdef int64_t own_timeout
    cdef int64_t own_open_timeout
    cdef int64_t open_by
    cdef int features
    cdef bint opens_soon
    cdef bint abandoned
    cdef public bint retired
    cdef set predecessors
    cdef list followers
    cdef Counter* counters
    cdef Counter* process_counters

    cdef bint lacks_features(self, int required_features) noexcept
    cdef bint is_opening(self) noexcept
    cdef bint is_ready(self) noexcept
    cdef int become(self, ConnectionState state) except -1
    cdef int open_soon(self) except -1
    cdef int open(self) except -1
    cdef int set_open_by(self) except -1
    cdef int connect_next(self, int error) except -1
    cdef int on_handshake_reply(self, bytes reply) except -1
    cdef int refuse_unsupported(self) except -1
    cdef int ready(self) except -1
    cdef int shut(self) except -1
    cdef int fail(self, int error, str reason) except -1
    cdef int refuse(self, str reason, bint counts_as_failure) except -1
    cdef int publish_gauges(self) except -1
    cdef int release_followers(self) except -1
