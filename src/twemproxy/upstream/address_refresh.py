"""Looks up the names of a pool's servers periodically, so that connections follow a server that moves.

Plain Python: ``dns_refresh`` is rarely less than a second. The first look-up is at start, each further one
``dns_refresh`` after the last answer, or a little sooner, so that many proxies do not look up at the same time.
``ServerPool.leave_stale_address`` applies a new answer to connections.
"""

import random
from functools import partial
from typing import Any

from twemproxy.protocol.plan import Server
from twemproxy.upstream.addresses import Addresses

JITTER = 0.1
"""Largest fraction by which an interval is shorter."""


class AddressRefresh:
    """For the servers of one pool; if ``dns_refresh`` is 0, names are looked up at start only."""

    def __init__(self, pool: Any) -> None:
        """``pool``: a ``upstream.server_pool.ServerPool``."""
        self._pool = pool
        self._addresses: list[Addresses] = []
        self._timers: dict[Addresses, Any] = {}
        for server in pool.servers:
            of_server: Addresses = server.endpoint.addresses
            if not of_server.named:
                continue
            self._addresses.append(of_server)
            self._timers[of_server] = pool.timer(of_server.refresh)
            of_server.on_answered = partial(self._answered, of_server)
            of_server.on_changed = partial(self._changed, server)
            self._schedule(of_server, 0)

    def apply_settings(self) -> None:
        """The pool has other settings: look names up now, and then as ``dns_refresh`` says."""
        for of_server in self._addresses:
            of_server.apply_settings()
            if self._pool.settings.dns_refresh:
                self._schedule(of_server, 0)
            else:
                self._timers[of_server].cancel()

    def _answered(self, of_server: Addresses) -> None:
        if interval := self._pool.settings.dns_refresh:
            self._schedule(of_server, interval)

    def _changed(self, server: Server) -> None:
        if self._pool.settings.dns_refresh:
            self._pool.leave_stale_address(server)

    def _schedule(self, of_server: Addresses, wait: int) -> None:
        self._timers[of_server].arm(self._pool.now() + int(wait * random.uniform(1 - JITTER, 1)))
