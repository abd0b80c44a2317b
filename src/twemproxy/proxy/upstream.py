"""What a server connection needs to know of its server besides bytes: addresses, greeting, messages.

Plain Python: called when a connection opens or fails, never per request.
"""

import errno
import os
import socket
from typing import Protocol

from twemproxy.config.pools import PoolConfig, ServerConfig
from twemproxy.log import get_logger
from twemproxy.proxy.addresses import Addresses, Candidate, Clock, Resolver
from twemproxy.proxy.keepalive import keep_alive

_logger = get_logger(__name__)

_WARN, _INFO = 4, 6
"""Levels of nutcracker's scale, which the worker's verbosity is on."""


class Greeter(Protocol):
    """The part of a codec that is used here."""

    def handshake(self, settings: PoolConfig, profile: int) -> list[tuple[str, bytes]]:
        """The requests a new connection begins with."""

    def error(self, text: str) -> bytes:
        """An error reply."""

    def missing_reply(self, request: bytes, resp3: bool) -> bytes:
        """What a server without the keys of a plain read answers; empty for other requests."""


OUR_FAULTS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What connecting can fail with that says nothing about the server: there are no descriptors or no memory left."""


def is_our_fault(error: int) -> bool:
    """Whether an errno says nothing about the server."""
    return error in OUR_FAULTS


def error_text(error: int) -> str:
    """The reason clients read for an errno; 0 is an end of stream."""
    if is_our_fault(error):
        return f"the proxy cannot connect to the server: {os.strerror(error)}"
    return os.strerror(error) if error else "unknown"


class Upstream:
    """One server of a pool, as its connections see it."""

    def __init__(
        self, pool: PoolConfig, server: ServerConfig, codec: Greeter, resolver: Resolver, clock: Clock
    ) -> None:
        self.pool = pool
        self.server = server
        self.addresses = Addresses(pool, server, resolver, clock)
        self._codec = codec
        self._errors: dict[int, bytes] = {}

    def connect(self, candidate: Candidate) -> tuple[int, int]:
        """Begin to connect: (descriptor, 0 or EINPROGRESS), or (-1, errno) when that failed at once."""
        family, address = candidate
        try:
            connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            return -1, error.errno or errno.EINVAL
        try:
            if family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                keep_alive(connection.fileno(), self.pool)
            result = connection.connect_ex(address)
        except OSError as error:
            result = error.errno or errno.EINVAL
        if result not in (0, errno.EINPROGRESS):
            connection.close()
            return -1, result
        return connection.detach(), result

    def greeting(self, profile: int) -> list[tuple[str, bytes]]:
        """What a connection of this profile says first."""
        return self._codec.handshake(self.pool, profile)

    def error_reply(self, error: int) -> bytes:
        """What clients get for requests that fail with a connection, by errno."""
        if error not in self._errors:
            self._errors[error] = self._codec.error(error_text(error))
        return self._errors[error]

    def explanation(self, reason: str) -> bytes:
        """What clients get when more can be said than what an errno means."""
        return self._codec.error(f"{reason} (server {self.server.pname} of pool {self.pool.name})")

    def down_reply(self) -> bytes:
        """What clients get for requests to the server while it is ejected and keeps its keys."""
        return self._codec.error(
            f"server {self.server.name} of pool {self.pool.name} is ejected "
            f"(on_server_down: {self.pool.on_server_down}), it gets requests again when it answers probes"
        )

    def missing_reply(self, request: bytes, resp3: bool) -> bytes:
        """What a server without the keys of a read would answer; empty when the request has to fail."""
        return self._codec.missing_reply(request, resp3) if self.pool.on_server_down == "miss" else b""

    def unresolved_reply(self, reason: str) -> bytes:
        """What clients get while the server's name has no address."""
        return self.explanation(f"{error_text(errno.EHOSTDOWN)}: {reason}")

    def failure_level(self, error: int, requests: int) -> int:
        """The log level of a failure: the end of an idle connection is no warning."""
        return _INFO if error == 0 and not requests else _WARN

    def log_connected(self) -> None:
        """At INFO."""
        _logger.info("%s: connected to server '%s'", self.pool.name, self.server.pname)

    def log_failed(self, level: int, error: int, reason: str, failed: int, resent: int) -> None:
        """At ``level``: with so many requests failed, and so many that are sent again on another connection."""
        if error == 0:
            what = "closed by the server"
        else:
            what = f"{error_text(error)}: {reason}" if reason else error_text(error)
        again = f", {resent} are sent again" if resent else ""
        log = _logger.info if level == _INFO else _logger.warning
        log(
            "%s: connection to server '%s' ended, %d requests failed%s: %s",
            *(self.pool.name, self.server.pname, failed, again, what),
        )

    def log_overdue(self, requests: int) -> None:
        """At INFO: so many requests have waited for too long."""
        _logger.info("%s: server '%s' did not answer %d requests in time", self.pool.name, self.server.pname, requests)
