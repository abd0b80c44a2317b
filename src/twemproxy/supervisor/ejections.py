"""Ejections by hand: ``nutcracker eject`` and ``readmit``."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from twemproxy import log
from twemproxy.config.pools import Config, PoolConfig
from twemproxy.ipc.control import Ejection
from twemproxy.stats.slots import BY_HAND
from twemproxy.supervisor.statistics import Statistics

LONGEST_TIME: Final = 366 * 86400
"""Most seconds of an ejection that has an end."""

_logger = log.get_logger(__name__)


class Ejections:
    """The servers that are ejected by hand. All workers follow before they read their next requests.

    Health checks do not put such a server back. When its time ends, it is as any ejected server: with
    ``auto_eject_hosts`` it returns after it answers probes, otherwise at once.
    """

    def __init__(
        self, statistics: Statistics, config: Callable[[], Config], inherited: Iterable[Ejection] = ()
    ) -> None:
        """``statistics``: has the verdicts. ``config``: returns the configuration in use. ``inherited``: the ejections
        of another version of the program. A loop of asyncio must run.
        """
        self._statistics = statistics
        self._config = config
        self._found: dict[tuple[str, str], Ejection] = {}
        self._timers: dict[tuple[str, str], asyncio.TimerHandle] = {}
        for ejection in inherited:
            self._keep(ejection)

    def all(self) -> tuple[Ejection, ...]:
        """All ejections by hand that have not ended."""
        return tuple(self._found.values())

    def of(self, pool: str, server: str) -> Ejection | None:
        """The ejection of a server by hand, None if there is none."""
        return self._found.get((pool, server))

    def eject(self, pool: str, server: str, reason: str, seconds: float) -> Ejection:
        """Eject a server of the configuration, or give its ejection another reason and end.

        ``seconds``: until the end, 0 for none; at most LONGEST_TIME.
        """
        now = time.time()
        before = self.of(pool, server)
        since = now if before is None else before.since
        ejection = Ejection(pool, server, reason, since, now + seconds if seconds else 0)
        self._statistics.set_verdict(pool, server, lambda word: (word + 1 - word % 2) | BY_HAND)
        self._keep(ejection)
        end = f"for {seconds:g} s" if seconds else "until it is readmitted"
        log.always(
            f"pool %(pool)s: server '%(server)s' is ejected by hand {end}: %(reason)s",
            {
                "pool": pool,
                "server": server,
                "reason": reason or "no reason is given",
                "milliseconds": round(seconds * 1000),
            },
        )
        return ejection

    def readmit(self, pool: str, server: str) -> bool:
        """Put an ejected server of the configuration back, whatever has ejected it; returns whether it was ejected."""
        self._drop((pool, server))
        if not self._statistics.set_verdict(pool, server, lambda word: (word & ~BY_HAND) + word % 2):
            return False
        log.always("pool %(pool)s: server '%(server)s' is readmitted by hand", {"pool": pool, "server": server})
        return True

    def follow(self, former_names: Mapping[str, str]) -> None:
        """The configuration has changed. ``former_names``: of its pools, see ``config.changes``; the ejections of
        servers that are gone end.
        """
        present = {
            (former_names.get(pool.name, pool.name), server.name): pool.name
            for pool in self._config().pools
            for server in pool.servers
        }
        found = list(self._found.items())
        for key, _ in found:
            self._drop(key)
        for key, ejection in found:
            if key in present:
                self._keep(msgspec.structs.replace(ejection, pool=present[key]))

    def _keep(self, ejection: Ejection) -> None:
        key = (ejection.pool, ejection.server)
        self._drop(key)
        self._found[key] = ejection
        if ejection.until:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(max(ejection.until - time.time(), 0), self._end, key)

    def _drop(self, key: tuple[str, str]) -> None:
        self._found.pop(key, None)
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

    def _end(self, key: tuple[str, str]) -> None:
        """The time of an ejection has passed."""
        self._drop(key)
        pool = next((pool for pool in self._config().pools if pool.name == key[0]), None)
        probed = pool is not None and pool.auto_eject_hosts
        self._statistics.set_verdict(*key, lambda word: (word & ~BY_HAND) + (0 if probed else word % 2))
        how = "it returns after it answers probes" if probed else "it is back"
        log.always(
            "pool %(pool)s: the time of the ejection of server '%(server)s' by hand has passed: %(action)s",
            {"pool": key[0], "server": key[1], "action": how},
        )


def refusal(pool: PoolConfig, server: str, ejected: Iterable[str]) -> str:
    """Return why a server cannot be ejected by hand, empty if it can. ``ejected``: the servers that are ejected now."""
    if pool.on_server_down == "rehash" and {*ejected, server} >= {each.name for each in pool.servers}:
        return f"it is the last live server of pool '{pool.name}': no server would have the keys"
    return ""
