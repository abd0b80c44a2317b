"""Health of a pool's servers: ejection and return.

Compiled-only. A server's states, with ``auto_eject_hosts``:

    live     -> ejected   after ``server_failure_limit`` failures of connections or checks without a reply in between;
                          its keys then belong to the other servers, unless ``on_server_down`` lets it keep them
    ejected  -> live      after a successful check of ``proxy.health_checks``

Without ``auto_eject_hosts`` every server is always live, and failures are not counted. Source: nutcracker's behaviour;
docs/differences.md lists the differences.
"""

import time

import cython
from cython.cimports.twemproxy.hashing.ring import RingBuilder
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool, PoolSettings
from cython.cimports.twemproxy.stats.counters import SERVER_EJECTED_AT, SERVER_EJECTS

NOTICE = cython.declare(cython.const[cython.int], 5)


@cython.final
@cython.cclass
class ServerHealth:
    """The health of one server.

    ``down``: it is ejected and keeps its keys; the proxy replies to requests for it.
    """

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def failed(self) -> cython.int:
        """Count a failure: a connection failed, or the server replied that it cannot serve."""
        settings: PoolSettings = self.rotation.pool.settings
        if not settings.auto_eject_hosts:
            return 0
        self.failures += 1
        if self.failures >= settings.server_failure_limit and self.live:
            self.rotation.eject(self)
        return 0


@cython.final
@cython.cclass
class Rotation:
    """The servers of one pool, in index order, and the ring of the live ones, which is replaced when they change.

    ``placed``: a bool for each server, whether the ring has it.

    The owner sets ``on_ejected(index)``, which is called after an ejection and returns the milliseconds until the next
    health check, and ``on_rebuilt()``, which is called when keys may have moved to other servers.
    """

    def __init__(self, pool: ConfiguredPool, loop: EventLoop, rings: RingBuilder, names, logger) -> None:
        """``names``: those of the servers. ``rings``: builds the rings of these servers."""
        member: ServerHealth
        self.pool = pool
        self.loop = loop
        self.rings = rings
        self.placed = [True] * len(names)
        self.ring = rings.build(self.placed)
        self.logger = logger
        self.members = []
        for name in names:
            member = ServerHealth()
            member.rotation = self
            member.index = len(self.members)
            member.name = name
            member.live = True
            self.members.append(member)
        self.n_live = len(self.members)

    @cython.cfunc
    @cython.exceptval(check=False)
    def keeps_keys(self) -> cython.bint:
        """Whether an ejected server keeps its keys. With a random ring a server has no keys of its own."""
        return self.pool.settings.keeps_keys and not self.ring.is_random

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def is_open(self) -> cython.bint:
        """Whether requests can be routed now."""
        return self.n_live > 0 or self.keeps_keys()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def eject(self, member: ServerHealth) -> cython.int:
        """Eject a server."""
        member.live = False
        member.down = self.keeps_keys()
        member.failures = 0
        member.counters[SERVER_EJECTED_AT] = time.time_ns() // 1000
        self.pool_counters[SERVER_EJECTS] += 1
        wait = self.on_ejected(member.index)
        if self.loop.verbosity >= NOTICE:
            self.logger.ejected(member.name, wait)
        return self.rebuild()

    def readmit(self, index: int) -> None:
        """Reinstate an ejected server."""
        member: ServerHealth = self.members[index]
        member.live = True
        member.down = False
        member.failures = 0
        if self.loop.verbosity >= NOTICE:
            self.logger.readmitted(member.name)
        self.rebuild()

    def apply_settings(self) -> None:
        """The pool has other settings: whether ejected servers keep their keys may have changed."""
        member: ServerHealth
        for member in self.members:
            member.down = not member.live and self.keeps_keys()
        self.rebuild()

    def count_failure(self, index: int) -> None:
        """Count a failed check of a live server."""
        member: ServerHealth = self.members[index]
        member.failed()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def rebuild(self) -> cython.int:
        member: ServerHealth
        live: list = []
        for member in self.members:
            live.append(member.live)
        self.n_live = sum(live)
        if self.keeps_keys():
            live = [True] * len(live)
        # Without a live server no request is routed, see ``is_open``.
        if any(live) and live != self.placed:
            self.ring = self.rings.build(live)
            self.placed = live
        self.on_rebuilt()
        return 0
