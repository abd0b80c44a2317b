"""The position of each counter in a worker's shared memory, for one configuration."""

from collections.abc import Iterator, Sequence

from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS, Metric


class CounterLayout:
    """Positions in 64-bit words: counters of the process, then of each pool, each followed by those of its servers.

    Worker and supervisor compute the layout from the same configuration, so that they share numbers only.
    """

    def __init__(self, server_counts: Sequence[int]) -> None:
        """Compute the positions. ``server_counts``: the number of servers of each pool, in pool order."""
        position = len(PROCESS_METRICS)
        self.pools: list[int] = []
        """Position of the first counter of each pool."""
        self.servers: list[list[int]] = []
        """Position of the first counter of each server, per pool."""
        for count in server_counts:
            self.pools.append(position)
            position += len(POOL_METRICS)
            self.servers.append([position + i * len(SERVER_METRICS) for i in range(count)])
            position += count * len(SERVER_METRICS)
        self.length = position
        """Number of words in the table."""

    @property
    def size(self) -> int:
        """Size of the table in bytes."""
        return self.length * 8

    def gauges(self) -> Iterator[int]:
        """Yield the positions of all gauges, which describe the present and are invalid when their writer has died."""
        scopes: list[tuple[int, Sequence[Metric]]] = [(0, PROCESS_METRICS)]
        scopes += [(position, POOL_METRICS) for position in self.pools]
        scopes += [(position, SERVER_METRICS) for positions in self.servers for position in positions]
        for position, metrics in scopes:
            yield from (offset for offset, metric in enumerate(metrics, position) if metric.kind == "gauge")
