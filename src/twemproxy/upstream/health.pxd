from twemproxy.hashing.ring cimport RingBuilder
from twemproxy.net.event_loop cimport EventLoop
from twemproxy.proxy.pool_settings cimport ConfiguredPool
from twemproxy.upstream.route_table cimport RouteTable
from twemproxy.upstream.server cimport Server
from twemproxy.stats.counters cimport Counter


cdef class Health:
    cdef ConfiguredPool pool
    cdef EventLoop loop
    cdef RingBuilder rings
    cdef tuple servers
    cdef readonly RouteTable routes
    cdef list placed
    cdef Counter* pool_counters
    cdef Counter* changes
    cdef object logger
    cdef public object on_ejected
    cdef public object on_ejected_elsewhere
    cdef public object on_reinstated
    cdef public object on_routes
    cdef public object on_changed

    cdef bint keeps_keys(self) noexcept
    cdef bint follow(self, Server server, bint begins) except -1
    cdef int update_routes(self) except -1
