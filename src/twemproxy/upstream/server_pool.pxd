cimport cython
from twemproxy.net.event_loop cimport EventLoop
from twemproxy.protocol.codec cimport Codec
from twemproxy.protocol.request cimport Cursor, Item, Request
from twemproxy.upstream.health cimport Health
from twemproxy.proxy.pool_settings cimport ConfiguredPool
from twemproxy.upstream.roles cimport Role
from twemproxy.upstream.route_table cimport RouteTable
from twemproxy.upstream.server cimport Server
from twemproxy.upstream.server_connection cimport ServerConnection
from twemproxy.stats.counters cimport Counter, WorkerTables


@cython.no_gc_clear
cdef class ServerPool(ConfiguredPool):
    cdef EventLoop loop
    cdef readonly Codec codec
    cdef Request request
    cdef Cursor cursor
    cdef Item item
    cdef Health health
    cdef readonly RouteTable routes
    cdef readonly bytes refused
    cdef WorkerTables tables
    cdef Counter* counters
    cdef Counter* process_counters
    cdef object log
    cdef public object find_clients
    cdef public object find_facts
    cdef set unshared
    cdef list removed
    cdef readonly Py_ssize_t slot
    cdef Counter* clients_accepted
    cdef public ServerPool successor
    cdef readonly object private
    cdef readonly object subscriptions
    cdef readonly object poll
    cdef readonly object others
    cdef object health_checks
    cdef object refreshing
    cdef readonly object profiles
    cdef object resolver
    cdef double started

    cdef unsigned int number_client(self) noexcept
    cdef int flush_shared(self, Server server) except -1
    cdef ServerConnection open_unshared(self, Server server, int profile, Role role)
    cdef ServerConnection connection(self, Server server, unsigned int client, int profile)
    cpdef list connections_of(self, Server server, int profile)
