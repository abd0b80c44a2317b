"""The line of statistics in the log: one per stats interval (option -i), at log levels from DEBUG (7) on."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from twemproxy import log
from twemproxy.stats.snapshot import Snapshot

LEVEL: Final = 7
"""DEBUG, the lowest log level at which the line is written."""

_logger = log.get_logger(__name__)


class _Totals(NamedTuple):
    requests: int
    responses: int
    errors: int
    ejects: int


class StatsLog:
    """Writes the lines. Below LEVEL it has no timer, and thus no cost."""

    def __init__(self, interval: int, take: Callable[[], Snapshot]) -> None:
        """Start no timer yet. ``interval``: milliseconds, 0 for no lines. ``take``: returns the current counters."""
        self._interval = interval / 1000
        self._take = take
        self._last = _Totals(0, 0, 0, 0)
        self._timer: asyncio.TimerHandle | None = None

    def follow_level(self) -> None:
        """Start or stop the timer, according to the current log level."""
        if self._interval == 0 or log.current_level() < LEVEL:
            self.stop()
        elif self._timer is None:
            self._last, _ = _totals(self._take())
            self._wait()

    def stop(self) -> None:
        """Stop the timer: no more lines are written."""
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
            "%(clients)d client and %(server_connections)d server connections; since the last line"
            " %(requests)d requests, %(responses)d responses, %(errors)d errors, %(ejects)d ejects",
            {"clients": clients, "server_connections": servers} | dict(zip(_Totals._fields, since, strict=True)),
        )


def _totals(snapshot: Snapshot) -> tuple[_Totals, tuple[int, int]]:
    """Return the sums of counters that only grow, and (open client connections, open server connections)."""
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
