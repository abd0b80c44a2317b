"""The statistics of the proxy. Each request reads the counters of the workers anew from shared memory."""

import socket
import time

from twemproxy import __version__
from twemproxy.config.pools import Config
from twemproxy.stats import snapshot
from twemproxy.stats.layout import CounterLayout


class Statistics:
    """The counters of all workers, for one configuration."""

    def __init__(self, config: Config) -> None:
        self.layout = CounterLayout([len(pool.servers) for pool in config.pools])
        self.tables: list[memoryview[int]] = []
        """The counter table of each worker, as unsigned 64-bit words."""
        self._names = [
            snapshot.PoolNames(pool.name, tuple(server.name for server in pool.servers)) for pool in config.pools
        ]
        self._source = socket.gethostname()
        self._started = time.monotonic()

    def take(self) -> snapshot.Snapshot:
        """Return the current values of all counters."""
        return snapshot.take(self.tables, self.layout, self._names)

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
