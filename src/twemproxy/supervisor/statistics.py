"""The statistics of the proxy. Each request reads the counters of the workers anew from shared memory."""

import socket
import time
from collections.abc import Callable, Mapping

from twemproxy import __version__
from twemproxy.config.pools import Config, PoolConfig
from twemproxy.ipc.messages import PoolSlots
from twemproxy.stats import document, snapshot
from twemproxy.stats.report import Events
from twemproxy.stats.slots import BY_HAND, HEALTH_CHANGES, VERDICTS, CounterSlots, Places
from twemproxy.supervisor.counter_memory import CounterMemory
from twemproxy.supervisor.ended_counters import EndedCounters
from twemproxy.supervisor.inheritance import Inheritance
from twemproxy.supervisor.pace import Pace, gather


class Statistics:
    """The counters of all workers, for one configuration."""

    def __init__(self, config: Config) -> None:
        self.memories: list[CounterMemory] = []
        """The counters of the worker processes."""
        self._shared: CounterMemory | None = None
        self.show(config)
        self.slots = CounterSlots(self.names)
        self.source = socket.gethostname()
        """The name of the machine."""
        self.started = time.monotonic()
        """When the proxy was started, by the system's steady clock."""
        self.ended = EndedCounters()
        self.events = Events()
        """What has happened."""

    def show(self, config: Config) -> None:
        """Show the pools and servers of this configuration, which have slots, from now on."""
        self.names = [
            snapshot.PoolNames(pool.name, tuple(server.name for server in pool.servers)) for pool in config.pools
        ]

    def allocate(self, config: Config, former_names: Mapping[str, str] | None = None) -> tuple[PoolSlots, ...]:
        """The slots of all pools of a configuration, in order.

        ``former_names``: see ``config.changes``; a pool that is renamed has the slots of its former name, until
        ``rename``. Raises ``stats.slots.SlotsFull``.
        """
        former = former_names or {}
        return tuple(self.slots_of(pool, former.get(pool.name, pool.name)) for pool in config.pools)

    def rename(self, former_names: Mapping[str, str]) -> None:
        """Pools have other names now; their counters go on."""
        self.slots.rename(former_names)

    def end_verdicts(self) -> None:
        """Servers that are not shown are in no pool of the workers: if they are added again, they are live at first."""
        shown = {(pool, server) for pool, servers in self.names for server in servers}
        for pool, server, slot in self.slots.servers():
            word = slot + VERDICTS
            if (pool, server) not in shown and self.shared[word] % 2 == 1:
                # Clients that a removed pool still has may have it ejected again at the same time, which does no harm.
                self.shared[word] = (self.shared[word] & ~BY_HAND) + 1

    def set_verdict(self, pool: str, server: str, change: Callable[[int], int]) -> bool:
        """Change the verdict on a server for all workers, before they read their next requests.

        ``change``: returns the new word for the present one, see ``stats.catalogue.SERVER_SHARED``; it may be called
        more than once. Returns whether the word has changed.
        """
        word = self.slots.of_server(pool, server) + VERDICTS
        while (value := change(present := self.shared[word])) != present:
            if self.shared.replace(word, present, value):
                self.shared.add(HEALTH_CHANGES, 1)
                return True
        return False

    def slots_of(self, pool: PoolConfig, name: str = "") -> PoolSlots:
        """The slots of a pool and its servers, allocated by the first call. ``name``: under which, if not its own."""
        name = name or pool.name
        servers = tuple(self.slots.of_server(name, server.name) for server in pool.servers)
        return PoolSlots(self.slots.of_pool(name), servers)

    def take_over(self, inheritance: Inheritance) -> Places | None:
        """Go on with the counters of another version; returns where they are in its memory, None if at the same places.

        Raises OSError without memory.
        """
        self.started = inheritance.started
        self.events.take_over(inheritance.events)
        places = self.slots.take_over(inheritance.layout)
        self.ended.take_over(inheritance.ended, inheritance.ended_histograms, places, self.slots)
        if places is None:
            self._shared = CounterMemory(inheritance.shared)
        else:
            former = CounterMemory(inheritance.shared, places.shared)
            self.shared.copy(former, places.shared)
            former.close()
        return places

    @property
    def shared(self) -> CounterMemory:
        """The table that all workers write. The first call raises OSError without memory."""
        if self._shared is None:
            self._shared = CounterMemory.allocate(self.slots.size)
        return self._shared

    def new_memory(self) -> CounterMemory:
        """Memory for the counters of another process, which are in the sums from now on. Raises OSError."""
        return self.add(CounterMemory.allocate(self.slots.size))

    def add(self, memory: CounterMemory) -> CounterMemory:
        """Have the counters of a process in the sums; returns them."""
        self.memories.append(memory)
        return memory

    def drop(self, memory: CounterMemory) -> None:
        """Forget the counters of a process that has served nobody."""
        self.memories.remove(memory)
        memory.close()

    def keep(self, memory: CounterMemory) -> None:
        """The process of these counters has ended; those that only grow stay in the sums."""
        self.ended.keep(memory, self.slots)
        self.drop(memory)

    def clear_gauges(self, memory: CounterMemory) -> None:
        """The process of these counters has died: gauges describe the present."""
        for position, kind in self.slots.kinds():
            if kind in ("gauge", "peak"):
                memory.clear(position)

    def count(self, name: str, n: int) -> None:
        """Add to a counter of ``stats.catalogue.PROCESS_METRICS`` what this process, which has no table, has done."""
        self.ended.count(snapshot.PROCESS.places[name], n, self.slots)

    def tables(self) -> list[snapshot.Table]:
        """The counters that are added up: those of the processes that have ended, and of each that runs."""
        return [*self.memories] if self.ended.compiled is None else [self.ended, *self.memories]

    def take(self) -> snapshot.Snapshot:
        """Return the current values of all counters."""
        return snapshot.take(self.tables(), self.slots, self.names, self.shared)

    def uptime(self) -> float:
        """Seconds since the start of the proxy."""
        return time.monotonic() - self.started

    async def document(self, facts: document.ConfigFacts | None) -> tuple[bytes, ...]:
        """Return a document of the statistics port with current values, in pieces.

        It is nutcracker's, or the full one with ``facts``.
        """
        pieces = document.render(
            self.tables,
            self.shared,
            snapshot.find(self.slots, self.names),
            source=self.source,
            version=__version__,
            uptime=int(self.uptime()),
            timestamp=int(time.time()),
            facts=facts,
        )
        return await gather(pieces, Pace())
