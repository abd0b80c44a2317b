"""Which servers get more than their part: of the keys, by the ring, and of the requests, by the counters.

The supervisor reads counters that the workers write anyway, so the workers have no work with it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple

from twemproxy import log
from twemproxy.config.fingerprint import pool_fingerprint
from twemproxy.config.key_space import MOST_SKEW, shares_by_weight, shares_of
from twemproxy.config.pools import Config, PoolConfig
from twemproxy.stats import snapshot
from twemproxy.supervisor.pace import Pace
from twemproxy.supervisor.statistics import Statistics
from twemproxy.supervisor.threads import in_thread

STEPS: Final = 10
"""Intervals over which the requests of a server are compared with those of the others."""
LEAST_INTERVAL: Final = 0.1
"""Seconds. A shorter interval counts as this."""
END_SKEW: Final = 1.5
"""A server that got more than MOST_SKEW times its share is skewed until it gets at most this many times."""
ENOUGH_REQUESTS: Final = 1000
"""Fewer requests of a pool than this, within STEPS intervals, say nothing about shares."""
ENOUGH_OF_SERVER: Final = 100
"""A server with fewer requests than this does not become skewed: chance alone can double a small number."""
SILENCE: Final = 3600.0
"""Seconds between two warnings about the same server."""

_logger = log.get_logger(__name__)


class Load(NamedTuple):
    """How many requests a server gets, compared with its share of the keys."""

    excess: float | None
    """How many times its share of the pool's requests it got over STEPS intervals, the last ones with enough requests.

    None if that is not known: there were always few requests, or it is ejected.
    """
    is_skewed: bool
    """Whether that is much more than once."""


_UNKNOWN: Final = Load(None, False)


class _Server:
    """What is known about a server."""

    def __init__(self) -> None:
        self.load = _UNKNOWN
        self.warned_at: float | None = None
        self.is_announced = False
        """Whether the log has a warning about the present skew."""


class _Pool:
    """What is known about a pool while each key stays on its server."""

    def __init__(self, fingerprint: str, shares: dict[str, float]) -> None:
        self.fingerprint = fingerprint
        """The ring fingerprint."""
        self.ejected: frozenset[str] = frozenset()
        self.shares = shares
        """Of the keys, while these servers are ejected; empty if not computed yet."""
        self.samples: deque[dict[str, int]] = deque(maxlen=STEPS + 1)
        """The requests of each server since the start, at the ends of the last intervals."""


class Skew:
    """Compares the servers of each pool, and logs a warning about those that have more than their part."""

    def __init__(self, statistics: Statistics, config: Callable[[], Config]) -> None:
        """``config``: returns the configuration in use."""
        self._statistics = statistics
        self._config = config
        self._seen: Config | None = None
        self._pools: dict[str, _Pool] = {}
        self._servers: dict[tuple[str, str], _Server] = {}
        self._changed = asyncio.Event()

    def of(self, pool: str, server: str) -> Load:
        """The load of a server over the last intervals."""
        found = self._servers.get((pool, server))
        return _UNKNOWN if found is None else found.load

    def follow(self) -> None:
        """The configuration has changed."""
        self._changed.set()

    async def watch(self, wait_ready: Callable[[], Awaitable[None]], interval: float) -> None:
        """Compare the servers every ``interval`` seconds. With 0 only the shares of the keys are looked at.

        ``wait_ready``: returns when all workers accept clients; nothing is done before.
        """
        await wait_ready()
        step = max(interval, LEAST_INTERVAL) if interval else None
        due = time.monotonic()
        while True:
            self._changed.clear()
            await self.compare_keys()
            if step is not None and (now := time.monotonic()) >= due:
                await self.compare_requests(now)
                due = now + step
            with suppress(TimeoutError):
                async with asyncio.timeout(None if step is None else due - time.monotonic()):
                    await self._changed.wait()

    async def compare_keys(self) -> None:
        """Warn of servers with too large a share of the keys in pools that are new, or have changed."""
        config = self._config()
        if config is self._seen:
            return
        former, self._pools, self._seen = self._pools, {}, config
        for pool in config.pools:
            fingerprint, known = pool_fingerprint(pool), former.get(pool.name)
            if known is not None and known.fingerprint == fingerprint:
                if known.ejected:
                    known.shares = {}  # on_server_down may be another one
                self._pools[pool.name] = known
                continue
            found = await in_thread(shares_by_weight, pool)
            self._pools[pool.name] = _Pool(fingerprint, {server.name: server.share for server in found})
            largest = max(found, key=lambda server: server.excess, default=None)
            if largest is not None and largest.excess > MOST_SKEW:
                _logger.warning(
                    "%(pool)s: server '%(server)s' has %(excess)g times its share of the keys by weight: %(action)s",
                    {
                        "pool": pool.name,
                        "server": largest.name,
                        "excess": round(largest.excess, 1),
                        "share": round(largest.share, 4),
                        "action": "nutcracker check says why",
                    },
                )
        present = {(pool.name, server.name) for pool in config.pools for server in pool.servers}
        self._servers = {key: self._servers.get(key) or _Server() for key in present}

    async def compare_requests(self, now: float) -> None:
        """An interval has ended, ``now`` on the system's steady clock: compare the requests of the last ones."""
        pace = Pace()
        places = {place.name: place for place in snapshot.find(self._statistics.slots, self._statistics.names)}
        for config in self._config().pools:
            pool, place = self._pools.get(config.name), places.get(config.name)
            if pool is None or place is None:
                continue  # a reload has just added it
            slots = tuple([slot for _, slot in place.servers])
            rows = snapshot.take_rows(self._statistics.tables(), slots, snapshot.SERVER)
            names = [name for name, _ in place.servers]
            requests = dict(zip(names, rows.column("requests"), strict=True))
            ejected = {name for name, slot in place.servers if snapshot.is_ejected(slot, self._statistics.shared)}
            await pace.rest()
            if ejected != pool.ejected:
                pool.ejected, pool.shares = frozenset(ejected), {}
                pool.samples.clear()
            pool.samples.append(requests)
            if len(pool.samples) == STEPS + 1:
                await self._judge(config, pool, now)

    async def _judge(self, config: PoolConfig, pool: _Pool, now: float) -> None:
        first, last = pool.samples[0], pool.samples[-1]
        growth = {name: count - first.get(name, count) for name, count in last.items()}
        total = sum(growth.values())
        if total >= ENOUGH_REQUESTS and not pool.shares:
            pool.shares = await in_thread(_live_shares, config, pool.ejected)
        for name, count in growth.items():
            server = self._servers.get((config.name, name))
            share = pool.shares.get(name, 0.0)
            if server is None:
                continue
            if name in pool.ejected:
                server.load = _UNKNOWN
            elif total >= ENOUGH_REQUESTS and share:
                self._found(config.name, name, server, count / total, share, count >= ENOUGH_OF_SERVER, now)

    def _found(
        self, pool: str, name: str, server: _Server, traffic: float, share: float, is_enough: bool, now: float
    ) -> None:
        """A server got ``traffic`` of the requests with ``share`` of the keys."""
        excess = traffic / share
        was_skewed = server.load.is_skewed
        is_skewed = excess > END_SKEW if was_skewed else is_enough and excess > MOST_SKEW
        server.load = Load(excess, is_skewed)
        if is_skewed and (server.warned_at is None or now - server.warned_at >= SILENCE):
            server.warned_at, server.is_announced = now, True
            level, action = log.WARN, "nutcracker hotkeys shows the keys with the most requests"
        elif not is_skewed and server.is_announced:
            server.is_announced = False
            level, action = log.NOTICE, "that is not much more than its share any more"
        else:
            return
        _logger.log(
            level,
            "%(pool)s: server '%(server)s' gets %(excess)g times its share of the requests: %(action)s",
            {
                "pool": pool,
                "server": name,
                "excess": round(excess, 1),
                "traffic": round(traffic, 4),
                "share": round(share, 4),
                "action": action,
            },
        )


def _live_shares(pool: PoolConfig, ejected: frozenset[str]) -> dict[str, float]:
    """The share of each live server in the requests that are sent to servers, by the keys; empty without live ones."""
    names = [server.name for server in pool.servers]
    if ejected.issuperset(names):
        return {}
    shares = dict(zip(names, shares_of(pool, ejected if pool.on_server_down == "rehash" else ()), strict=True))
    live = sum(share for name, share in shares.items() if name not in ejected)
    return {name: share / live for name, share in shares.items() if name not in ejected} if live else {}
