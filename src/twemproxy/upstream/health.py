"""Health of a pool's servers: ejection and return, with the states of ``upstream.health_states``.

Compiled-only. The keys of an ejected server belong to the other servers, unless ``on_server_down`` lets it keep them.
``upstream.health_checks`` probes ejected servers. A state changes at the end of the turn in which its reason was found,
so the requests that are read in a turn are routed by the same table, unless other settings arrive in it.

The supervisor may eject a server by hand, and put it back: the word ``verdicts`` has the bit BY_HAND in the meantime.
Then health checks do not put the server back. When the bit goes and the number stays odd, the server is probed at once.

All workers have the same verdicts. Each server has the word ``verdicts`` in the table that they share. A worker that
has found out that a server's state has to change replaces the word by the next number, then it adds 1 to the word
``health_changes``. If the word has changed in the meantime, another worker was faster, and its verdict counts. All
workers take it over in their next turn, see ``upstream.verdicts``.
"""

import time

import cython
from cython.cimports.twemproxy.hashing.ring import RingBuilder
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool
from cython.cimports.twemproxy.stats.counters import add_shared, replace_shared, shared_value
from cython.cimports.twemproxy.stats.positions import SERVER_EJECTED_AT, SERVER_EJECTS
from cython.cimports.twemproxy.upstream.health_states import EJECTED, LIVE, REMOVED, HealthState
from cython.cimports.twemproxy.upstream.route_table import RouteTable
from cython.cimports.twemproxy.upstream.server import Server

from twemproxy.stats.slots import BY_HAND

HELD = cython.declare(Counter, BY_HAND)
NOTICE = cython.declare(cython.const[cython.int], 5)
INFO = cython.declare(cython.const[cython.int], 6)


@cython.final
@cython.cclass
class Health:
    """The health of one pool's servers. ``routes``: the route table that follows from it.

    ``placed``: a bool for each server, whether the ring has it.

    The owner sets ``pool_counters``, ``changes``, which is the word ``health_changes``, and what is called:
    ``on_ejected(server)`` after an ejection by this worker, it returns the microseconds until the next health check;
    ``on_ejected_elsewhere(server, begins)`` after an ejection by another worker, ``begins``: before the pool has begun;
    ``on_reinstated(server)`` after a return; ``on_routes(routes)`` with each new route table;
    ``on_changed(name, ejected, why)`` after a verdict of this worker about the server of this name, if it is not None.
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
        """Eject a live server, or put an ejected one back, if no other worker was faster; one that was removed in this
        turn stays removed, and one that was ejected by hand stays ejected.
        """
        known: Counter
        if not server.verdict_due or server.state == REMOVED:
            return
        server.verdict_due = False
        if server.known_verdicts & HELD:
            return
        if not replace_shared(server.verdicts, server.known_verdicts, server.known_verdicts + 1):
            known = server.known_verdicts
            if self.follow(server, False):
                self.update_routes()
            elif server.known_verdicts == known:
                # The supervisor has changed the word for a moment, see ``Statistics.end_verdicts``.
                server.defer_verdict()
            return
        server.known_verdicts += 1
        add_shared(self.changes, 1)
        if server.state == LIVE:
            self.eject(server)
        else:
            self.put_back(server)

    def reinstate(self, server: Server) -> None:
        """Reinstate an ejected server at the end of the turn."""
        server.defer_verdict()

    def eject(self, server: Server) -> None:
        """Eject a live server by a verdict of this worker, and count that."""
        server.counters[SERVER_EJECTED_AT] = time.time_ns() // 1000
        self.pool_counters[SERVER_EJECTS] += 1
        why: str = f"{server.failures} failures in a row, the last one: {server.last_failure()}"
        server.become(EJECTED)
        server.down = self.keeps_keys()
        wait = self.on_ejected(server)
        if self.loop.verbosity >= NOTICE:
            self.logger.ejected(server.name, wait)
        if self.on_changed is not None:
            self.on_changed(server.name, True, why)
        self.update_routes()

    def put_back(self, server: Server) -> None:
        """Reinstate an ejected server by a verdict of this worker."""
        server.become(LIVE)
        server.down = False
        self.on_reinstated(server)
        if self.loop.verbosity >= NOTICE:
            self.logger.reinstated(server.name)
        if self.on_changed is not None:
            self.on_changed(server.name, False, "it answers probes")
        self.update_routes()

    def take_over(self, begins: bool) -> None:
        """Take over the verdicts of other workers. ``begins``: the pool begins to serve clients."""
        server: Server
        changed: cython.bint = False
        for server in self.servers:
            if self.follow(server, begins):
                changed = True
        if changed:
            self.update_routes()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def follow(self, server: Server, begins: cython.bint) -> cython.bint:
        """Take over the last verdict about a server; returns whether its state has changed. ``begins``: as above."""
        verdicts: Counter = shared_value(server.verdicts)
        before: HealthState = server.state
        is_released: cython.bint = (server.known_verdicts & HELD) != 0 and (verdicts & HELD) == 0
        if verdicts == server.known_verdicts or before == REMOVED:
            return False
        server.known_verdicts = verdicts
        server.failures = 0
        server.verdict_due = False
        if verdicts % 2 == 1:
            if before == LIVE:
                server.become(EJECTED)
                server.down = self.keeps_keys()
            self.on_ejected_elsewhere(server, begins or is_released)
        else:
            if before == EJECTED:
                server.become(LIVE)
                server.down = False
            self.on_reinstated(server)
        if server.state != before and self.loop.verbosity >= INFO:
            if server.state == EJECTED:
                self.logger.ejected_elsewhere(server.name)
            else:
                self.logger.reinstated_elsewhere(server.name)
        return server.state != before

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
