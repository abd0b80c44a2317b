from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport EventLoop
from twemproxy.protocol.codec cimport Codec
from twemproxy.proxy.limits cimport ClientLimits
from twemproxy.proxy.rotation cimport Rotation
from twemproxy.proxy.server_connection cimport ServerConnection
from twemproxy.stats.counters cimport Counter


cdef class Server:
    cdef readonly list connections
    cdef readonly list others
    cdef readonly list everything


cdef class ServerPool:
    cdef EventLoop loop
    cdef readonly object config
    cdef readonly Codec codec
    cdef Rotation rotation
    cdef readonly list servers
    cdef int n_servers
    cdef bint guarded
    cdef int64_t idle_limit
    cdef ClientLimits limits
    cdef bint tolerates_missing
    cdef readonly bytes refused
    cdef Counter* counters
    cdef Counter* process_counters
    cdef object log
    cdef public object find_clients
    cdef set extra
    cdef readonly object private
    cdef readonly object subscriptions
    cdef object health_checks
    cdef object refreshing
    cdef set usable
    cdef dict asking
    cdef dict verdicts
    cdef dict refused_until
    cdef double started

    cdef int server_of_key(self, unsigned char* buf) noexcept
    cdef int any_server(self) except -1
    cdef ServerConnection connection(self, int server, unsigned int client, int profile)
    cdef list open_profile(self, int server, int profile)
    cdef int64_t expire(self) except? -2
