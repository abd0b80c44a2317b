"""Looks up the names of a pool's servers periodically, so that connections follow a server that moves.

Plain Python: ``dns_refresh`` is rarely less than a second. The first look-up is at start, each further one
``dns_refresh`` after the last answer, or a little sooner, so that many proxies do not look up at the same time.
``ServerPool.addresses_changed`` applies a new answer to connections.
"""

import random
from functools import partial
from typing import Any, Protocol

JITTER = 0.1
"""Largest fraction by which an interval is shorter."""


class Server(Protocol):
    """The part of ``upstream.server.Server`` that is used here."""

    endpoint: Any


class AddressRefresh:
    """For the servers of one pool; if ``dns_refresh`` is 0, names are looked up at start only."""

    def __init__(self, pool: Any) -> None:
        """``pool``: a ``upstream.server_pool.ServerPool``."""
        self._pool = pool
        self._timers: dict[Server, Any] = {}
        self.reconcile()

    def reconcile(self) -> None:
        """Look the names of the pool's present servers up, and no others."""
        named = {server: server.endpoint.addresses for server in self._pool.servers if server.endpoint.addresses.named}
        for server in self._timers.keys() - named.keys():
            self._timers.pop(server).cancel()
        for server, addresses in named.items():
            if server not in self._timers:
                self._timers[server] = self._pool.timer(addresses.refresh)
                addresses.on_answered = partial(self._answered, server)
                addresses.on_changed = partial(self._changed, server)
                self._schedule(server, 0)

    def stop(self) -> None:
        """Look up no names any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def apply_settings(self) -> None:
        """The pool has other settings: look names up now, and then as ``dns_refresh`` says."""
        for server, timer in self._timers.items():
            server.endpoint.addresses.apply_settings()
            if self._pool.settings.dns_refresh:
                self._schedule(server, 0)
            else:
                timer.cancel()

    def _answered(self, server: Server) -> None:
        interval = self._pool.settings.dns_refresh
        if interval and server in self._timers:
            self._schedule(server, interval)

    def _changed(self, server: Server) -> None:
        if self._pool.settings.dns_refresh:
            self._pool.addresses_changed(server)

    def _schedule(self, server: Server, wait: int) -> None:
        self._timers[server].arm(self._pool.now() + int(wait * random.uniform(1 - JITTER, 1)))
