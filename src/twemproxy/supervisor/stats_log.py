"""A line of statistics in the log every stats interval (option -i), at level DEBUG and above."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from twemproxy import log
from twemproxy.stats.snapshot import Snapshot

LEVEL: Final = 7
"""DEBUG: from this level on the line is written."""

_logger = log.get_logger(__name__)


class _Totals(NamedTuple):
    requests: int
    responses: int
    errors: int
    ejects: int


class StatsLog:
    """Costs nothing, not even a timer, while the level is below LEVEL."""

    def __init__(self, interval: int, take: Callable[[], Snapshot]) -> None:
        """``interval``: milliseconds, 0 for no line ever."""
        self._interval = interval / 1000
        self._take = take
        self._last = _Totals(0, 0, 0, 0)
        self._timer: asyncio.TimerHandle | None = None

    def follow_level(self) -> None:
        """Start or stop, as the log level in force wants it."""
        if self._interval == 0 or log.current_level() < LEVEL:
            self.stop()
        elif self._timer is None:
            self._last, _ = _totals(self._take())
            self._wait()

    def stop(self) -> None:
        """Write no more lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._write)

    def _write(self) -> None:
        self._wait()
        totals, (clients, servers) = _totals(self._take())
        since = [total - last for total, last in zip(totals, self._last, strict=True)]
        self._last = totals
        _logger.debug(
            "%d client and %d server connections; since the last line %d requests, %d responses, %d errors, %d ejects",
            *(clients, servers, *since),
        )


def _totals(snapshot: Snapshot) -> tuple[_Totals, tuple[int, int]]:
    """What only grows, and (client connections, server connections) open now."""
    pools = [pool.values for pool in snapshot.pools]
    servers = [server.values for pool in snapshot.pools for server in pool.servers]
    totals = _Totals(
        sum(values["requests"] for values in servers),
        sum(values["responses"] for values in servers),
        sum(values["forward_error"] for values in pools),
        sum(values["server_ejects"] for values in pools),
    )
    clients = sum(values["client_connections"] for values in pools)
    return totals, (clients, sum(values["server_connections"] for values in servers))
