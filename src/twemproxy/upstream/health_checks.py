"""Health checks with requests of the proxy's own: of ejected servers, and of all servers if configured.

Plain Python: a few requests per second at most. An ejected server returns after ``probe_successes`` successful probes
in a row, one every ``server_retry_timeout``; no client's request is used as a probe. A server that is soon ejected
again waits longer for its first probe each time. Intervals vary a little, so that many proxies do not probe a server at
the same time.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twemproxy.upstream.endpoint import OUR_FAULTS, error_text

PROBE_TIMEOUT = 5_000_000
"""Timeout of a probe if the pool's ``timeout`` is 0, in microseconds."""

JITTER = 0.1
"""Largest fraction by which an interval is shorter or longer."""

SOON = 10
"""A server flaps if it is ejected within SOON retry timeouts after its return."""

MOST_DOUBLINGS = 5
"""How many times the wait of a server that flaps may double."""


class Connection(Protocol):
    """The part of ``upstream.server_connection.ServerConnection`` that is used here."""

    def ask(self, request: bytes, done: Callable[[bytes, bool], None]) -> None:
        """Send a request of the proxy's own."""

    def abandon(self) -> None:
        """Close the connection."""


class Server(Protocol):
    """The part of ``upstream.server.Server`` that is used here."""

    def count_failure(self) -> None:
        """Count a failed check of a live server."""


class _Checks:
    """The checks of one server. ``timer``: armed for the next one, except while the server is checked."""

    __slots__ = ("ejected", "reinstated_at", "server", "strikes", "successes", "timer")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ejected = False
        self.timer: Any = None
        self.reinstated_at: int | None = None
        self.strikes = self.successes = 0


class HealthChecks:
    """The health checks of one pool."""

    def __init__(self, pool: Any) -> None:
        """``pool``: a ``upstream.server_pool.ServerPool``."""
        self._pool = pool
        self._our_faults = tuple(pool.error(error_text(error)) for error in OUR_FAULTS)
        self._checks: dict[Server, _Checks] = {}
        self.reconcile()

    def reconcile(self) -> None:
        """Check the pool's present servers, and no others."""
        servers = dict.fromkeys(self._pool.servers)
        for server in self._checks.keys() - servers.keys():
            self._checks.pop(server).timer.cancel()
        for server in servers:
            if server not in self._checks:
                self._begin(server)

    def stop(self) -> None:
        """Check no servers any more."""
        for checks in self._checks.values():
            checks.timer.cancel()
        self._checks.clear()

    def _begin(self, server: Server) -> _Checks:
        """Begin to check a live server."""
        checks = self._checks[server] = _Checks(server)
        checks.timer = self._pool.timer(partial(self._probe, checks))
        self._schedule_check(checks)
        return checks

    def apply_settings(self) -> None:
        """The pool has other settings: check live servers as ``health_check_interval`` says."""
        for checks in self._checks.values():
            if not checks.ejected:
                checks.timer.cancel()
                self._schedule_check(checks)

    def moved(self, server: Server) -> None:
        """A server is at another address: what was found at the former one does not count."""
        before = self._checks.pop(server)
        before.timer.cancel()
        checks = self._begin(server)
        if before.ejected:
            checks.ejected = True
            self._schedule(checks, 0)

    def ejected(self, server: Server) -> int:
        """A server was ejected; returns the microseconds until its first probe, which JITTER varies."""
        checks = self._checks[server]
        now = self._pool.now()
        retry_timeout: int = self._pool.settings.retry_timeout
        flaps = checks.reinstated_at is not None and now - checks.reinstated_at < SOON * retry_timeout
        checks.strikes = min(checks.strikes + 1, MOST_DOUBLINGS) if flaps else 0
        checks.ejected = True
        checks.successes = 0
        wait = retry_timeout << checks.strikes
        self._schedule(checks, wait)
        return wait

    def _schedule_check(self, checks: _Checks) -> None:
        """Have a live server checked after the interval, if there is one."""
        if interval := self._pool.settings.check_interval:
            self._schedule(checks, interval)

    def _schedule(self, checks: _Checks, wait: int) -> None:
        checks.timer.arm(self._pool.now() + int(wait * random.uniform(1 - JITTER, 1 + JITTER)))

    def _probe(self, checks: _Checks) -> None:
        connection: Connection = self._pool.open_probe(checks.server, self._pool.settings.timeout or PROBE_TIMEOUT)
        was_ejected = checks.ejected

        def done(reply: bytes, answered: bool) -> None:
            connection.abandon()
            self._pool.drop(connection)
            # A server that was ejected in the meantime has its own time for the next probe.
            if checks.ejected != was_ejected or self._checks.get(checks.server) is not checks:
                return
            if not answered and reply in self._our_faults:
                self._schedule_next(checks)
            else:
                self._judge(checks, answered and self._pool.codec.handshake.is_well(reply))

        connection.ask(self._pool.codec.handshake.probe(), done)

    def _schedule_next(self, checks: _Checks) -> None:
        """Have a server checked or probed once more."""
        if checks.ejected:
            self._schedule(checks, self._pool.settings.retry_timeout)
        else:
            self._schedule_check(checks)

    def _judge(self, checks: _Checks, well: bool) -> None:
        """Process the result of a probe."""
        if not checks.ejected:
            self._schedule_check(checks)
            if not well:
                checks.server.count_failure()
            return
        checks.successes = checks.successes + 1 if well else 0
        if checks.successes < self._pool.config.probe_successes:
            self._schedule_next(checks)
            return
        checks.ejected = False
        checks.reinstated_at = self._pool.now()
        self._schedule_check(checks)
        self._pool.reinstate(checks.server)
