from libc.stdint cimport int64_t

from twemproxy.net.event_loop cimport EventLoop
from twemproxy.protocol.codec cimport Codec
from twemproxy.protocol.request cimport Cursor, Item, Request
from twemproxy.proxy.pool_settings cimport ConfiguredPool
from twemproxy.proxy.rotation cimport Rotation
from twemproxy.proxy.server_connection cimport ServerConnection
from twemproxy.stats.counters cimport Counter, CounterTable


cdef class Server:
    cdef readonly list connections
    cdef readonly dict others
    cdef readonly list everything
    cdef int recent_profile
    cdef list recent


cdef class ServerPool(ConfiguredPool):
    cdef EventLoop loop
    cdef readonly Codec codec
    cdef Request request
    cdef Cursor cursor
    cdef Item item
    cdef Rotation rotation
    cdef readonly list servers
    cdef int n_servers
    cdef readonly bytes refused
    cdef CounterTable table
    cdef Counter* counters
    cdef Counter* process_counters
    cdef object log
    cdef public object find_clients
    cdef set extra
    cdef readonly object private
    cdef readonly object subscriptions
    cdef readonly object poll
    cdef list upstreams
    cdef object health_checks
    cdef object refreshing
    cdef readonly object profiles
    cdef double started

    cdef int server_of_key(self, unsigned char* buf, Py_ssize_t start, Request request) noexcept
    cdef int server_of_found(self, unsigned char* buf, Py_ssize_t start, Request request, Item item) except? -2
    cdef int any_server(self) except -1
    cdef ServerConnection connection(self, int server, unsigned int client, int profile)
    cdef list connections_of(self, int server, int profile)
    cdef int64_t expire(self) except? -2
