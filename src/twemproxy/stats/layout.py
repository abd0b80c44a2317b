"""The position of each counter of a configuration in a worker's shared memory."""

from collections.abc import Iterator, Sequence

from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS, Metric


class CounterLayout:
    """Positions, in 64-bit words: the process's counters, then each pool's, followed by those of its servers.

    Worker and supervisor compute it from the same configuration, so nothing but numbers is shared.
    """

    def __init__(self, server_counts: Sequence[int]) -> None:
        """``server_counts``: how many servers each pool has, in pool order."""
        position = len(PROCESS_METRICS)
        self.pools: list[int] = []
        """Position of each pool's first counter."""
        self.servers: list[list[int]] = []
        """Position of each server's first counter, per pool."""
        for count in server_counts:
            self.pools.append(position)
            position += len(POOL_METRICS)
            self.servers.append([position + i * len(SERVER_METRICS) for i in range(count)])
            position += count * len(SERVER_METRICS)
        self.length = position
        """Words in the table."""

    @property
    def size(self) -> int:
        """Bytes in the table."""
        return self.length * 8

    def gauges(self) -> Iterator[int]:
        """Positions of all gauges: what describes the present and is void when its writer has died."""
        scopes: list[tuple[int, Sequence[Metric]]] = [(0, PROCESS_METRICS)]
        scopes += [(position, POOL_METRICS) for position in self.pools]
        scopes += [(position, SERVER_METRICS) for positions in self.servers for position in positions]
        for position, metrics in scopes:
            yield from (offset for offset, metric in enumerate(metrics, position) if metric.kind == "gauge")
