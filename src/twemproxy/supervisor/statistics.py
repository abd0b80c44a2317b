"""The statistics of the proxy. Each request reads the counters of the workers anew from shared memory."""

import socket
import time

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
        self._names = [
            snapshot.PoolNames(pool.name, tuple(server.name for server in pool.servers)) for pool in config.pools
        ]
        self.slots = CounterSlots(self._names)
        self._source = socket.gethostname()
        self._started = time.monotonic()

    def slots_of(self, pool: PoolConfig) -> PoolSlots:
        """The slots of a pool and its servers, allocated by the first call."""
        servers = tuple(self.slots.of_server(pool.name, server.name) for server in pool.servers)
        return PoolSlots(self.slots.of_pool(pool.name), servers)

    def take(self) -> snapshot.Snapshot:
        """Return the current values of all counters."""
        return snapshot.take(self.tables, self.slots, self._names)

    def document(self, full: bool) -> bytes:
        """Return a document of the statistics port with current values: the ``full`` document or nutcracker's."""
        return snapshot.render(
            self.take(),
            source=self._source,
            version=__version__,
            uptime=int(time.monotonic() - self._started),
            timestamp=int(time.time()),
            full=full,
        )
