"""Which servers of a pool take part in the continuum: ejection and return.

Compiled-only. A server's states, with ``auto_eject_hosts``:

    live     -> ejected   when ``server_failure_limit`` connections or checks failed in a row, with no reply between;
                          its keys then belong to the servers that are left, unless ``on_server_down`` lets it keep
                          them
    ejected  -> live      when ``proxy.health_checks`` finds it well

Without ``auto_eject_hosts`` every server is always live and nothing is counted. Source: nutcracker's behaviour, listed
in docs/differences.md where ours differs.
"""

import time

import cython
from cython.cimports.twemproxy.hashing.continuum import Continuum
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.stats.counters import SERVER_EJECTED_AT, SERVER_EJECTS

NOTICE = cython.declare(cython.const[cython.int], 5)


@cython.final
@cython.cclass
class ServerHealth:
    """What is known of one server's health.

    ``down``: it is ejected and keeps its keys; requests for it are not sent, but answered by the proxy.
    """

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def failed(self) -> cython.int:
        """One of the server's connections failed, or it said that it cannot serve."""
        if not self.rotation.ejects:
            return 0
        self.failures += 1
        if self.failures >= self.rotation.failure_limit and self.live:
            self.rotation.eject(self)
        return 0


@cython.final
@cython.cclass
class Rotation:
    """The servers of one pool, in index order, and the continuum of the live ones.

    ``on_ejected(index)``, which the owner sets, is told of an ejection and gives the milliseconds until the server is
    tried again; ``on_rebuilt()`` is told when keys may have changed their servers.
    """

    def __init__(self, loop: EventLoop, continuum: Continuum, names, ejects, failure_limit, keeps_keys, logger) -> None:
        """``failure_limit`` 0 works as 1; ``keeps_keys``: whether keys of ejected servers stay theirs."""
        member: ServerHealth
        self.loop = loop
        self.continuum = continuum
        self.ejects = ejects
        self.failure_limit = max(failure_limit, 1)
        # Where keys say nothing about servers there is nothing to keep.
        self.keeps_keys = keeps_keys and not continuum.draws
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
    @cython.inline
    @cython.exceptval(check=False)
    def is_open(self) -> cython.bint:
        """Whether a request can be routed now."""
        return self.n_live > 0 or self.keeps_keys

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def eject(self, member: ServerHealth) -> cython.int:
        """Take a server out."""
        member.live = False
        member.down = self.keeps_keys
        member.failures = 0
        member.counters[SERVER_EJECTED_AT] = time.time_ns() // 1000
        self.pool_counters[SERVER_EJECTS] += 1
        wait = self.on_ejected(member.index)
        if self.loop.verbosity >= NOTICE:
            self.logger.ejected(member.name, wait)
        return self.rebuild()

    def readmit(self, index: int) -> None:
        """Bring an ejected server back."""
        member: ServerHealth = self.members[index]
        member.live = True
        member.down = False
        member.failures = 0
        if self.loop.verbosity >= NOTICE:
            self.logger.readmitted(member.name)
        self.rebuild()

    def count_failure(self, index: int) -> None:
        """A check of a live server failed."""
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
        if not self.keeps_keys:
            self.continuum.rebuild(live)
        self.on_rebuilt()
        return 0
