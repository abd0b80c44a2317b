"""Looks the names of a pool's servers up again and again, so that connections follow a server that moves.

Plain Python: ``dns_refresh`` is rarely less than a second. The first look-up is at start, the next one ``dns_refresh``
after the last answer, or a little sooner, so that many proxies do not ask at the same time. What a new answer means to
connections is ``ServerPool.follow_server``.
"""

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

from twemproxy.proxy.addresses import Addresses

SCATTER = 0.1
"""Largest part by which an interval is shorter."""


class AddressRefresh:
    """For the servers of one pool; with a ``dns_refresh`` of 0 names are looked up at start only."""

    def __init__(self, pool: Any, addresses: Sequence[Addresses]) -> None:
        """``pool``: a ``proxy.server_pool.ServerPool``; ``addresses``: of each server, by index."""
        self._pool = pool
        self._interval: int = pool.config.dns_refresh
        self._addresses = [of_server for of_server in addresses if of_server.named]
        self._due: dict[Addresses, int] = {}
        for index, of_server in enumerate(addresses):
            if not of_server.named:
                continue
            if self._interval:
                of_server.on_answered = partial(self._schedule, of_server, self._interval)
                of_server.on_changed = partial(pool.follow_server, index)
            self._schedule(of_server, 0)

    def expire(self, now: int) -> int | None:
        """Have the names looked up whose time has come; gives the moment to look again, if there is one."""
        for of_server in [of_server for of_server, due in self._due.items() if due <= now]:
            del self._due[of_server]
            of_server.refresh()
        moments = [*self._due.values(), *(of_server.expire(now) for of_server in self._addresses)]
        return min((moment for moment in moments if moment is not None), default=None)

    def _schedule(self, of_server: Addresses, wait: int) -> None:
        self._due[of_server] = self._pool.now() + int(wait * random.uniform(1 - SCATTER, 1))
        self._pool.look_by(self._due[of_server])
