"""The statistics of the proxy. Each request reads the counters of the workers anew from shared memory."""

import socket
import time
from collections.abc import Mapping

from twemproxy import __version__
from twemproxy.config.pools import Config, PoolConfig
from twemproxy.ipc.messages import PoolSlots
from twemproxy.stats import snapshot
from twemproxy.stats.slots import CounterSlots


class Statistics:
    """The counters of all workers, for one configuration."""

    def __init__(self, config: Config) -> None:
        self.tables: list[memoryview[int]] = []
        """The counter table of each worker, as unsigned 64-bit words."""
        self.show(config)
        self.slots = CounterSlots(self._names)
        self._source = socket.gethostname()
        self._started = time.monotonic()

    def show(self, config: Config) -> None:
        """Show the pools and servers of this configuration, which have slots, from now on."""
        self._names = [
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

    def slots_of(self, pool: PoolConfig, name: str = "") -> PoolSlots:
        """The slots of a pool and its servers, allocated by the first call. ``name``: under which, if not its own."""
        name = name or pool.name
        servers = tuple(self.slots.of_server(name, server.name) for server in pool.servers)
        return PoolSlots(self.slots.of_pool(name), servers)

    def take(self) -> snapshot.Snapshot:
        """Return the current values of all counters."""
        return snapshot.take(self.tables, self.slots, self._names)

    def document(self, facts: snapshot.ConfigFacts | None) -> bytes:
        """Return a document of the statistics port with current values: nutcracker's, the full one with ``facts``."""
        return snapshot.render(
            self.take(),
            source=self._source,
            version=__version__,
            uptime=int(time.monotonic() - self._started),
            timestamp=int(time.time()),
            facts=facts,
        )
