"""Health of a pool's servers: ejection and return, with the states of ``upstream.health_states``.

Compiled-only. The keys of an ejected server belong to the other servers, unless ``on_server_down`` lets it keep them.
``upstream.health_checks`` probes ejected servers. A state changes at the end of the turn in which its reason was found,
so the requests that are read in a turn are routed by the same table, unless other settings arrive in it.
"""

import time

import cython
from cython.cimports.twemproxy.hashing.ring import RingBuilder
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool
from cython.cimports.twemproxy.stats.positions import SERVER_EJECTED_AT, SERVER_EJECTS
from cython.cimports.twemproxy.upstream.health_states import EJECTED, LIVE, REMOVED
from cython.cimports.twemproxy.upstream.route_table import RouteTable
from cython.cimports.twemproxy.upstream.server import Server

NOTICE = cython.declare(cython.const[cython.int], 5)


@cython.final
@cython.cclass
class Health:
    """The health of one pool's servers. ``routes``: the route table that follows from it.

    ``placed``: a bool for each server, whether the ring has it.

    The owner sets ``on_ejected(server)``, which is called after an ejection and returns the microseconds until the next
    health check, and ``on_routes(routes)``, which is called with each new route table.
    """

    def __init__(self, pool: ConfiguredPool, loop: EventLoop, rings: RingBuilder, servers: tuple, logger) -> None:
        """``servers``: all live. ``rings``: builds the rings of these servers."""
        self.pool = pool
        self.loop = loop
        self.logger = logger
        self.begin(servers, rings)

    def begin(self, servers: tuple, rings: RingBuilder) -> None:
        """Begin with these servers, and with the route table of a pool in which all are live."""
        place: cython.int
        server: Server
        self.rings = rings
        self.servers = servers
        self.placed = [True] * len(servers)
        self.routes = RouteTable(servers, servers, rings.build(self.placed), True)
        for place in range(len(servers)):
            server = servers[place]
            server.position = place
            server.loop = self.loop
            server.on_verdict = self.change_state

    def replace_servers(self, servers: tuple, rings: RingBuilder) -> None:
        """The pool has these servers now; those that it had before keep their states.

        ``apply_settings`` makes the route table.
        """
        server: Server
        stay: set = set(servers)
        for server in self.servers:
            if server not in stay:
                server.become(REMOVED)
                server.down = False
        self.begin(servers, rings)

    def remove_servers(self) -> None:
        """The pool ends: its servers get no more requests."""
        server: Server
        for server in self.servers:
            server.become(REMOVED)
            server.down = False

    @cython.cfunc
    @cython.exceptval(check=False)
    def keeps_keys(self) -> cython.bint:
        """Whether an ejected server keeps its keys. With a random ring a server has no keys of its own."""
        return self.pool.settings.keeps_keys and not self.routes.ring.is_random

    def change_state(self, server: Server) -> None:
        """Eject a live server, or put an ejected one back; one that was removed in this turn stays removed."""
        if server.state == LIVE:
            self.eject(server)
        elif server.state == EJECTED:
            self.put_back(server)

    def reinstate(self, server: Server) -> None:
        """Reinstate an ejected server at the end of the turn."""
        self.loop.defer(server)

    def eject(self, server: Server) -> None:
        """Eject a live server, and count that."""
        server.counters[SERVER_EJECTED_AT] = time.time_ns() // 1000
        self.pool_counters[SERVER_EJECTS] += 1
        self.begin_ejected(server)

    def begin_ejected(self, server: Server) -> None:
        """A live server is ejected from now on."""
        server.become(EJECTED)
        server.down = self.keeps_keys()
        wait = self.on_ejected(server)
        if self.loop.verbosity >= NOTICE:
            self.logger.ejected(server.name, wait)
        self.update_routes()

    def put_back(self, server: Server) -> None:
        """Reinstate an ejected server."""
        server.become(LIVE)
        server.down = False
        if self.loop.verbosity >= NOTICE:
            self.logger.reinstated(server.name)
        self.update_routes()

    def apply_settings(self) -> None:
        """The pool has other settings: whether ejected servers keep their keys may have changed."""
        server: Server
        for server in self.servers:
            server.down = server.state == EJECTED and self.keeps_keys()
        self.update_routes()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def update_routes(self) -> cython.int:
        """Make the route table of the present states."""
        ring = self.routes.ring
        live: tuple = tuple([server for server in self.servers if server.live])
        placed: list = [server.live for server in self.servers]
        if self.keeps_keys():
            placed = [True] * len(placed)
        # A ring needs a server. A table without any is not open, so its ring is not used.
        if any(placed) and placed != self.placed:
            ring = self.rings.build(placed)
            self.placed = placed
        self.routes = RouteTable(self.servers, live, ring, any(placed))
        self.on_routes(self.routes)
        return 0
