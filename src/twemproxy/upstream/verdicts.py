"""Each worker takes over what others have found out about servers, before it reads anything in a turn.

Compiled-only. ``upstream.health`` says how a worker makes its verdicts known. A worker reads one word per turn, and the
words of all servers when this one has changed. It also reads them when INTERVAL has passed, because a worker may be
killed after it has changed the word of a server and before it has said so.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.net.event_loop import Action, EventLoop
from cython.cimports.twemproxy.stats.counters import WorkerTables, shared_value
from cython.cimports.twemproxy.stats.positions import HEALTH_CHANGES

# Microseconds.
INTERVAL = cython.declare(cython.const[int64_t], 1_000_000)


@cython.final
@cython.cclass
class Verdicts(Action):
    """The action of ``EventLoop.at_turn``. ``pools``: those that take verdicts over; the owner sets them."""

    def __init__(self, loop: EventLoop, tables: WorkerTables) -> None:
        """``tables``: must exist as long as this object."""
        self.loop = loop
        self.changes = tables.shared_at(HEALTH_CHANGES)
        self.seen = shared_value(self.changes)
        self.look_at = loop.now + INTERVAL
        self.pools = []

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_deferred(self) -> cython.int:
        changes: Counter = shared_value(self.changes)
        if changes == self.seen and self.loop.now < self.look_at:
            return 0
        self.seen = changes
        self.look_at = self.loop.now + INTERVAL
        for pool in self.pools:
            pool.take_verdicts_over()
        return 0
