"""The statistics as the outside sees them: fresh at every look, the workers' counters are shared memory."""

import socket
import time

from twemproxy import __version__
from twemproxy.config.pools import Config
from twemproxy.stats import snapshot
from twemproxy.stats.layout import CounterLayout


class Statistics:
    """All workers' counters of a configuration."""

    def __init__(self, config: Config) -> None:
        self.layout = CounterLayout([len(pool.servers) for pool in config.pools])
        self.tables: list[memoryview[int]] = []
        """Each worker's table, as unsigned 64-bit words."""
        self._names = [
            snapshot.PoolNames(pool.name, tuple(server.name for server in pool.servers)) for pool in config.pools
        ]
        self._source = socket.gethostname()
        self._started = time.monotonic()

    def take(self) -> snapshot.Snapshot:
        """The counters as they are now."""
        return snapshot.take(self.tables, self.layout, self._names)

    def document(self, full: bool) -> bytes:
        """A document of the statistics port as of now: the ``full`` one, or nutcracker's."""
        return snapshot.render(
            self.take(),
            source=self._source,
            version=__version__,
            uptime=int(time.monotonic() - self._started),
            timestamp=int(time.time()),
            full=full,
        )
