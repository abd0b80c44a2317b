"""Health checks with requests of the proxy's own: of ejected servers, and of all servers if configured.

Plain Python: a few requests per second at most. An ejected server returns after ``probe_successes`` successful probes
in a row, one every ``server_retry_timeout``; no client's request is used as a probe. A server that is soon ejected
again waits longer for its first probe each time. Intervals vary a little, so that many proxies do not probe a server at
the same time.

One worker at a time checks a server; the others stand by. A worker begins a check by adding 1 to a word that all
workers share. If another worker has done so since this one has set its timer, this one stands by: its timer is set for
MORE_INTERVALS and the timeout of a check later than that of the worker that checks. So a worker that stands by takes
over when the other one has ended or hangs. The worker that ejects a server probes it.
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


MORE_INTERVALS = 1
"""So many intervals later than the worker that checks a server, the other ones look whether it still does."""


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
    """The checks of one server. ``timer``: armed for the next one, except while the server is checked.

    ``seen``: how many checks all workers had begun when the timer was armed. ``stands_by``: another worker checks.
    ``verdicts``: how often the server was ejected and reinstated since the checks have begun.
    """

    __slots__ = ("ejected", "reinstated_at", "seen", "server", "stands_by", "strikes", "successes", "timer", "verdicts")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ejected = self.stands_by = False
        self.timer: Any = None
        self.reinstated_at: int | None = None
        self.strikes = self.successes = self.seen = self.verdicts = 0


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
        """This worker has ejected a server; returns the microseconds until its first probe, which JITTER varies."""
        checks = self._checks[server]
        checks.stands_by = False
        wait = self._begin_ejected(checks)
        self._schedule(checks, wait)
        return wait

    def ejected_elsewhere(self, server: Server, begins: bool) -> None:
        """Another worker has ejected a server. ``begins``: before the pool has begun; then it is probed at once."""
        checks = self._checks[server]
        checks.stands_by = not begins
        wait = self._begin_ejected(checks)
        self._schedule(checks, 0 if begins else wait)

    def _begin_ejected(self, checks: _Checks) -> int:
        """A server was ejected; returns the microseconds that its first probe should wait."""
        now = self._pool.now()
        retry_timeout: int = self._pool.settings.retry_timeout
        flaps = checks.reinstated_at is not None and now - checks.reinstated_at < SOON * retry_timeout
        checks.strikes = min(checks.strikes + 1, MOST_DOUBLINGS) if flaps else 0
        checks.ejected = True
        checks.verdicts += 1
        checks.successes = 0
        return retry_timeout << checks.strikes

    def reinstated(self, server: Server) -> None:
        """A server was reinstated, by this worker or by another one."""
        checks = self._checks[server]
        checks.ejected = False
        checks.verdicts += 1
        checks.reinstated_at = self._pool.now()
        checks.timer.cancel()
        self._schedule_check(checks)

    def _schedule_check(self, checks: _Checks) -> None:
        """Have a live server checked after the interval, if there is one."""
        if interval := self._pool.settings.check_interval:
            self._schedule(checks, interval)

    def _schedule(self, checks: _Checks, wait: int) -> None:
        """Have a server checked after ``wait`` microseconds; later if another worker does that."""
        checks.seen = self._pool.checks_of(checks.server)
        if checks.stands_by:
            settings = self._pool.settings
            wait += MORE_INTERVALS * (settings.retry_timeout if checks.ejected else settings.check_interval)
            wait += self._timeout()
        checks.timer.arm(self._pool.now() + int(wait * random.uniform(1 - JITTER, 1 + JITTER)))

    def _timeout(self) -> int:
        """How long a check may take, in microseconds."""
        timeout: int = self._pool.settings.timeout
        return timeout or PROBE_TIMEOUT

    def _probe(self, checks: _Checks) -> None:
        checks.stands_by = not self._pool.begin_check(checks.server, checks.seen)
        if checks.stands_by:
            checks.successes = 0
            self._schedule_next(checks)
            return
        connection: Connection = self._pool.open_probe(checks.server, self._timeout())
        verdicts = checks.verdicts

        def done(reply: bytes, answered: bool) -> None:
            connection.abandon()
            self._pool.drop(connection)
            # A server that was ejected in the meantime has its own time for the next probe.
            if checks.verdicts != verdicts or self._checks.get(checks.server) is not checks:
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
        else:
            self._pool.reinstate(checks.server)
