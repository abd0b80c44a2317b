"""The addresses of one server: the last known result of looking up its name.

Plain Python: used when a connection opens. A ``Resolver`` looks names up, and results are kept: while a name server
fails or is silent, the last known addresses stay in use.
"""

import ipaddress
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twemproxy.config.pools import Address, PoolConfig, ServerConfig
from twemproxy.ipc.messages import Resolved
from twemproxy.log import NOTICE, get_logger

PATIENCE = 1_000_000
"""Microseconds that a connection waits for a look-up if there is a known address.

At most half of the pool's ``timeout``, so that there is time left to connect.
"""

Candidate = tuple[int, Any]
"""An address family and a socket address of this family."""

Found = Callable[[list[Candidate], str], None]
"""Gets the addresses in order of preference, or none and the reason."""

_logger = get_logger(__name__)


class Resolver(Protocol):
    """Looks up host names outside the event loop."""

    def __call__(self, host: str, port: int, callback: Callable[[Resolved], None]) -> None:
        """Look up a name; ``callback`` gets the answer later."""


class Settings(Protocol):
    """The part of ``proxy.pool_settings.PoolSettings`` that is used here; times are in microseconds, 0 for none."""

    timeout: int
    dns_refresh: int


class Timer(Protocol):
    """The part of ``net.timers.CallbackTimer`` that is used here."""

    def arm(self, at: int) -> int:
        """Fire at the time ``at``, in microseconds."""

    def cancel(self) -> int:
        """Do not fire."""


class Pool(Protocol):
    """The part of ``upstream.server_pool.ServerPool`` that is used here."""

    @property
    def config(self) -> PoolConfig:
        """The present settings of the pool."""

    @property
    def settings(self) -> Settings:
        """The same, as far as they are numbers."""

    def now(self) -> int:
        """The time of this turn, in microseconds."""

    def timer(self, callback: Callable[[], None]) -> Timer:
        """A new timer that calls ``callback``."""


class Addresses:
    """The addresses of one server. ``named``: whether they come from a name.

    ``on_answered()``, when set, is called after each look-up, and ``on_changed()`` after a look-up with a result that
    differs from the known addresses.
    """

    def __init__(self, pool: Pool, server: ServerConfig, resolver: Resolver) -> None:
        self._pool = pool
        self._server = server
        self._resolver = resolver
        self._known = self._without_look_up()
        self.named = not self._known
        self._waiting: list[Found] = []
        self._timer = pool.timer(self._end_waits)
        self._asked_at: int | None = None
        self._failing = self._doubted = False
        self.on_answered: Callable[[], None] | None = None
        self.on_changed: Callable[[], None] | None = None

    def _without_look_up(self) -> list[Candidate]:
        """The addresses of a server that has no name to look up; otherwise empty."""
        address = self._server.address
        if address.path:
            return [(socket.AF_UNIX, address.path)]
        try:
            ip = ipaddress.ip_address(address.host)
        except ValueError:
            return []
        if ip.version == 4:
            return [(socket.AF_INET, (address.host, address.port))]
        return [(socket.AF_INET6, (address.host, address.port, 0, 0))]

    @property
    def _is_refreshed(self) -> bool:
        """Whether ``upstream.address_refresh`` looks the name up periodically."""
        return self._pool.settings.dns_refresh > 0

    @property
    def _patience(self) -> int:
        """Microseconds for which a connection waits for a look-up if addresses are known."""
        timeout = self._pool.settings.timeout
        return min(PATIENCE, timeout // 2) if timeout else PATIENCE

    def candidates(self) -> list[Candidate] | None:
        """The addresses to try in turn, or None if the name must be looked up first.

        Known addresses are used if they are refreshed, or look-ups fail, and no connection has failed since the last
        look-up; and if a look-up takes longer than PATIENCE.
        """
        if self.named and not self._is_known_well_enough():
            return None
        return list(self._known)

    def _is_known_well_enough(self) -> bool:
        if not self._known:
            return False
        if self._asked_at is not None and self._pool.now() >= self._asked_at + self._patience:
            return True
        if self._doubted or not (self._is_refreshed or self._failing):
            return False
        if not self._is_refreshed:
            # Nothing else would find out that look-ups succeed again.
            self.refresh()
        return True

    def has(self, candidate: Candidate) -> bool:
        """Whether the server may still have this address."""
        return candidate in self._known

    def reconfigure(self, server: ServerConfig) -> bool:
        """The server has this configuration now; returns whether it is at another address.

        The result of a look-up for its former address is dropped.
        """
        moved = server.address != self._server.address
        self._server = server
        if not moved:
            return False
        self._known = self._without_look_up()
        self.named = not self._known
        self._asked_at = None
        self._failing = self._doubted = False
        self._timer.cancel()
        if self._waiting and self.named:
            self.refresh()
        else:
            self._tell("")
        return True

    def doubt(self) -> None:
        """A connection has failed: the server may have another address now."""
        self._doubted = True

    def resolve(self, callback: Found) -> None:
        """Look the name up.

        If that fails or takes long, ``callback`` gets the last known addresses, if there are any.
        """
        self._waiting.append(callback)
        self.refresh()
        if self._known and self._asked_at is not None:
            self._timer.arm(self._asked_at + self._patience)

    def apply_settings(self) -> None:
        """The pool has other settings: a connection may have waited for long enough."""
        self._end_waits()

    def _end_waits(self) -> None:
        """Pass the known addresses to callbacks that have waited for long enough."""
        if self._asked_at is None or not (self._waiting and self._known):
            return
        if self._pool.now() < self._asked_at + self._patience:
            self._timer.arm(self._asked_at + self._patience)
        else:
            self._tell("")

    def refresh(self) -> None:
        """Look the name up, unless a look-up is in progress."""
        if self._asked_at is None:
            self._asked_at = self._pool.now()
            address = self._server.address
            self._resolver(address.host, address.port, partial(self._answered, address))

    def _answered(self, address: Address, answer: Resolved) -> None:
        """The result of a look-up for ``address``."""
        if address != self._server.address:
            return
        before = self._known
        self._asked_at = None
        if answer.addresses:
            self._known = [
                (family, (ip, answer.port) if family == socket.AF_INET else (ip, answer.port, flow, scope))
                for family, ip, flow, scope in answer.addresses
            ]
        self._doubted = False
        changed = bool(before) and set(before) != set(self._known)
        self._log(answer, changed)
        self._failing = not answer.addresses
        self._tell(answer.error)
        if changed and self.on_changed is not None:
            self.on_changed()
        if self.on_answered is not None:
            self.on_answered()

    def _tell(self, error: str) -> None:
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback(list(self._known), error)

    def _log(self, answer: Resolved, changed: bool) -> None:
        """Log at WARN when look-ups begin to fail, at NOTICE when they succeed again or have another result."""
        where = ", ".join(ip for _, ip, _, _ in answer.addresses)
        server = self._server
        fields = {"pool": self._pool.config.name, "server": server.name, "server_address": server.pname}
        if not answer.addresses:
            if not self._failing:
                use = "its last known addresses stay in use" if self._known else "it has no address"
                _logger.warning(
                    "%(pool)s: looking up the name of server '%(server_address)s' fails, %(action)s: %(reason)s",
                    fields | {"action": use, "reason": answer.error},
                )
        elif self._failing:
            _logger.log(
                NOTICE,
                "%(pool)s: the name of server '%(server_address)s' can be looked up again: %(addresses)s",
                fields | {"addresses": where},
            )
        elif changed:
            _logger.log(
                NOTICE,
                "%(pool)s: server '%(server_address)s' has other addresses now: %(addresses)s",
                fields | {"addresses": where},
            )
