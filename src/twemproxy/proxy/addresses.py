"""Where one server can be reached: what its name was last known to stand for.

Plain Python: asked when a connection opens. Names are looked up elsewhere (``Resolver``), and what was found is kept: a
name server that fails, or does not answer, costs nobody an address that was known before.
"""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twemproxy.config.pools import PoolConfig, ServerConfig
from twemproxy.log import NOTICE, get_logger
from twemproxy.worker.messages import Resolved

PATIENCE = 1_000
"""How long a look-up keeps a connection waiting while there is an address it can try, in milliseconds.

At most half of the pool's ``timeout``, so that there is time left to connect.
"""

Candidate = tuple[int, Any]
"""An address family and a socket address of it."""

Found = Callable[[list[Candidate], str], None]
"""Gets the addresses in order of preference, or none and why."""

_logger = get_logger(__name__)


class Resolver(Protocol):
    """Looks host names up off the loop."""

    def __call__(self, host: str, port: int, callback: Callable[[Resolved], None]) -> None:
        """``callback`` gets the answer, later."""


class Clock(Protocol):
    """The time of the event loop, in milliseconds; see ``proxy.server_pool``."""

    def now(self) -> int:
        """The time of this turn."""

    def look_by(self, moment: int) -> None:
        """Have ``Addresses.expire`` called at this moment at the latest."""


class Addresses:
    """Those of one server. ``named``: whether they are those of a name.

    ``on_answered()``, when set, is told that a look-up is over, and ``on_changed()`` that one of the addresses known
    before is gone, or another one has come.
    """

    def __init__(self, pool: PoolConfig, server: ServerConfig, resolver: Resolver, clock: Clock) -> None:
        self._server = server
        self._pool_name = pool.name
        self._refreshed = pool.dns_refresh > 0
        self._resolver = resolver
        self._clock = clock
        self._patience = min(PATIENCE, pool.timeout // 2) if pool.timeout else PATIENCE
        self._known = self._without_look_up()
        self.named = not self._known
        self._waiting: list[Found] = []
        self._asked_at: int | None = None
        self._failing = self._doubted = False
        self.on_answered: Callable[[], None] | None = None
        self.on_changed: Callable[[], None] | None = None

    def _without_look_up(self) -> list[Candidate]:
        """The addresses when no name has to be looked up for them."""
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

    def candidates(self) -> list[Candidate] | None:
        """The addresses to try in turn, or None when the name must be looked up first.

        The known ones will do while they are refreshed and have not been found wanting, and while a look-up would only
        take time.
        """
        if self.named and not self._is_known_well_enough():
            return None
        return list(self._known)

    def _is_known_well_enough(self) -> bool:
        if not self._known:
            return False
        if self._asked_at is not None and self._clock.now() >= self._asked_at + self._patience:
            return True
        if self._doubted or not (self._refreshed or self._failing):
            return False
        if not self._refreshed:
            # Nobody else would notice that names can be looked up again.
            self.refresh()
        return True

    def has(self, candidate: Candidate) -> bool:
        """Whether the server may still be there."""
        return not self.named or candidate in self._known

    def doubt(self) -> None:
        """A connection has ended, or could not be made: the server may be elsewhere by now."""
        self._doubted = True

    def resolve(self, callback: Found) -> None:
        """Look the name up.

        When that fails, or takes long, ``callback`` gets the addresses known before, if there are any.
        """
        self._waiting.append(callback)
        self.refresh()
        if self._known and self._asked_at is not None:
            self._clock.look_by(self._asked_at + self._patience)

    def expire(self, now: int) -> int | None:
        """Have those wait no longer who can do with what is known; gives the moment to look again, if there is one."""
        if self._asked_at is None or not (self._waiting and self._known):
            return None
        if now < self._asked_at + self._patience:
            return self._asked_at + self._patience
        self._tell("")
        return None

    def refresh(self) -> None:
        """Have the name looked up, unless it is being."""
        if self._asked_at is None:
            self._asked_at = self._clock.now()
            self._resolver(self._server.address.host, self._server.address.port, self._answered)

    def _answered(self, answer: Resolved) -> None:
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
        """Once at WARN when look-ups begin to fail, at NOTICE when they succeed again or have another result."""
        where = ", ".join(ip for _, ip, _, _ in answer.addresses)
        name = self._server.pname
        if not answer.addresses:
            if not self._failing:
                use = "its last known addresses stay in use" if self._known else "it has no address"
                _logger.warning(
                    "%s: looking up the name of server '%s' fails, %s: %s", self._pool_name, name, use, answer.error
                )
        elif self._failing:
            _logger.log(NOTICE, "%s: the name of server '%s' can be looked up again: %s", self._pool_name, name, where)
        elif changed:
            _logger.log(NOTICE, "%s: server '%s' has other addresses now: %s", self._pool_name, name, where)
