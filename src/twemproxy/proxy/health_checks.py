"""Whether servers are well, asked with requests of the proxy's own: of ejected ones, and on wish of all others.

Plain Python: a few requests per second at most. An ejected server comes back when it has answered ``probe_successes``
probes in a row, one every ``server_retry_timeout``; no client's request has to find that out. One that is soon ejected
again waits longer for its first probe each time. Moments are scattered a little, so that many proxies do not ask a
server at the same time.
"""

import random
from collections.abc import Callable
from typing import Any, Protocol

from twemproxy.proxy.upstream import OUR_FAULTS, error_text

PROBE_TIMEOUT = 5_000
"""How long a probe may take where the pool's ``timeout`` is 0, in milliseconds."""

SCATTER = 0.1
"""Largest part by which an interval is shorter or longer."""

SOON = 10
"""A server that is ejected within so many retry timeouts after its return flaps."""

MOST_DOUBLINGS = 5
"""The wait of a server that flaps doubles so many times."""


class Connection(Protocol):
    """What is asked of a server connection here, see ``proxy.server_connection``."""

    def ask(self, request: bytes, done: Callable[[bytes, bool], None]) -> None:
        """Send a request of the proxy's own."""

    def abandon(self) -> None:
        """Close it."""

    def become_probe(self, timeout: int) -> None:
        """Its failures count for nothing and are no warnings."""


class _Server:
    """What is known of one server. ``due``: when it is asked next, None while it is being asked, or need not be."""

    __slots__ = ("due", "ejected", "index", "readmitted_at", "strikes", "successes")

    def __init__(self, index: int) -> None:
        self.index = index
        self.ejected = False
        self.due: int | None = None
        self.readmitted_at: int | None = None
        self.strikes = self.successes = 0


class HealthChecks:
    """Those of one pool."""

    def __init__(self, pool: Any) -> None:
        """``pool``: a ``proxy.server_pool.ServerPool``."""
        config = pool.config
        self._pool = pool
        self._retry_timeout: int = config.server_retry_timeout
        self._needed: int = config.probe_successes
        self._interval: int = config.health_check_interval
        self._timeout: int = config.timeout or PROBE_TIMEOUT
        self._our_faults = tuple(pool.error(error_text(error)) for error in OUR_FAULTS)
        self._servers = [_Server(index) for index in range(len(config.servers))]
        if self._interval:
            for server in self._servers:
                self._schedule(server, self._interval)

    def ejected(self, index: int) -> int:
        """A server was taken out; gives in how many milliseconds it is asked at the earliest."""
        server = self._servers[index]
        now = self._pool.now()
        flaps = server.readmitted_at is not None and now - server.readmitted_at < SOON * self._retry_timeout
        server.strikes = min(server.strikes + 1, MOST_DOUBLINGS) if flaps else 0
        server.ejected = True
        server.successes = 0
        wait: int = self._retry_timeout << server.strikes
        self._schedule(server, wait)
        return wait

    def expire(self, now: int) -> int | None:
        """Ask the servers whose time has come; gives the next moment, if there is one."""
        for server in self._servers:
            if server.due is not None and server.due <= now:
                self._probe(server)
        return min((server.due for server in self._servers if server.due is not None), default=None)

    def _schedule(self, server: _Server, wait: int) -> None:
        server.due = self._pool.now() + int(wait * random.uniform(1 - SCATTER, 1 + SCATTER))
        self._pool.look_by(server.due)

    def _probe(self, server: _Server) -> None:
        server.due = None
        connection: Connection = self._pool.open_extra(server.index, 0)
        connection.become_probe(self._timeout)
        was_ejected = server.ejected

        def done(reply: bytes, answered: bool) -> None:
            connection.abandon()
            self._pool.drop_extra(connection)
            # A server that was ejected meanwhile has its own next moment.
            if server.ejected != was_ejected:
                return
            if not answered and reply in self._our_faults:
                self._schedule(server, self._retry_timeout if server.ejected else self._interval)
            else:
                self._judge(server, answered and self._pool.codec.is_well(reply))

        connection.ask(self._pool.codec.probe(), done)

    def _judge(self, server: _Server, well: bool) -> None:
        """A probe is over."""
        if not server.ejected:
            self._schedule(server, self._interval)
            if not well:
                self._pool.count_failure(server.index)
            return
        server.successes = server.successes + 1 if well else 0
        if server.successes < self._needed:
            self._schedule(server, self._retry_timeout)
            return
        server.ejected = False
        server.readmitted_at = self._pool.now()
        if self._interval:
            self._schedule(server, self._interval)
        self._pool.readmit(server.index)
