"""A server as its connections see it: addresses, handshake, error replies, log messages.

Plain Python: called when a connection opens or fails, never per request.
"""

import errno
import os
from typing import Protocol

from twemproxy.config.pools import PoolConfig, ServerConfig
from twemproxy.log import get_logger
from twemproxy.protocol.handshake import Handshake
from twemproxy.upstream.addresses import Addresses, Pool, Resolver

_logger = get_logger(__name__)

_WARN, _INFO = 4, 6
"""Levels of nutcracker's scale, as in the worker's verbosity."""


class Codec(Protocol):
    """The part of a codec that is used here."""

    @property
    def handshake(self) -> Handshake:
        """The handshake of new connections."""

    def error(self, text: str) -> bytes:
        """An error reply."""

    def missing_reply(self, data: bytes, resp3: bool) -> bytes:
        """The reply of a server without the keys of a plain read; empty for other requests."""


OUR_FAULTS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of connecting that are not the server's: no descriptors or no memory left."""


def is_our_fault(error: int) -> bool:
    """Whether an errno is not caused by the server."""
    return error in OUR_FAULTS


def error_text(error: int) -> str:
    """The text for clients for an errno; 0 is an end of stream."""
    if is_our_fault(error):
        return f"the proxy cannot connect to the server: {os.strerror(error)}"
    return os.strerror(error) if error else "unknown"


class Endpoint:
    """One server of a pool, as its connections see it."""

    def __init__(self, pool: Pool, server: ServerConfig, codec: Codec, resolver: Resolver) -> None:
        self._pool = pool
        self.server = server
        self.addresses = Addresses(pool, server, resolver)
        self.connects = 0
        """Number of connections to the server that were opened."""
        self._codec = codec
        self._errors: dict[int, bytes] = {}

    def reconfigure(self, server: ServerConfig) -> bool:
        """The server has this configuration now; returns whether it is at another address."""
        self.server = server
        return self.addresses.reconfigure(server)

    @property
    def pool(self) -> PoolConfig:
        """The present settings of the pool."""
        return self._pool.config

    def handshake(self, profile: int) -> list[tuple[str, bytes]]:
        """(step, request) of the handshake of a connection of this profile."""
        return self._codec.handshake.steps(self.pool, profile)

    def error_reply(self, error: int) -> bytes:
        """The error reply for requests that fail with a connection, by errno."""
        if error not in self._errors:
            self._errors[error] = self._codec.error(error_text(error))
        return self._errors[error]

    def explanation(self, reason: str) -> bytes:
        """An error reply with a reason, for failures that an errno does not describe."""
        return self._codec.error(f"{reason} (server {self.server.pname} of pool {self.pool.name})")

    def down_reply(self) -> bytes:
        """The error reply for requests to the server while it is ejected and keeps its keys."""
        return self._codec.error(
            f"server {self.server.name} of pool {self.pool.name} is ejected "
            f"(on_server_down: {self.pool.on_server_down}), it gets requests again when it answers probes"
        )

    def missing_reply(self, request: bytes, resp3: bool) -> bytes:
        """The reply of a server without the keys of a read; empty if the request has to fail."""
        return self._codec.missing_reply(request, resp3) if self.pool.on_server_down == "miss" else b""

    def unresolved_reply(self, reason: str) -> bytes:
        """The error reply while the server's name has no address."""
        return self.explanation(f"{error_text(errno.EHOSTDOWN)}: {reason}")

    def failure_level(self, error: int, requests: int) -> int:
        """The log level of a failure: INFO for the end of an idle connection, otherwise WARN."""
        return _INFO if error == 0 and not requests else _WARN

    def log_connected(self) -> None:
        """At INFO: a connection was opened."""
        _logger.info("%(pool)s: connected to server '%(server_address)s'", self._fields())

    def log_failed(self, level: int, error: int, reason: str, failed: int, resent: int) -> None:
        """At ``level``: a connection has failed, and ``failed`` requests; ``resent`` are sent on another connection."""
        if error == 0:
            what = "closed by the server"
        else:
            what = f"{error_text(error)}: {reason}" if reason else error_text(error)
        again = f", {resent} are sent again" if resent else ""
        log = _logger.info if level == _INFO else _logger.warning
        log(
            f"%(pool)s: connection to server '%(server_address)s' ended, %(failed)d requests failed{again}: %(reason)s",
            self._fields() | {"failed": failed, "resent": resent, "reason": what},
        )

    def log_overdue(self, requests: int) -> None:
        """At INFO: ``requests`` requests are overdue."""
        _logger.info(
            "%(pool)s: server '%(server_address)s' did not answer %(requests)d requests in time",
            self._fields() | {"requests": requests},
        )

    def _fields(self) -> dict[str, object]:
        """The fields of a line of the log about the server."""
        return {"pool": self.pool.name, "server": self.server.name, "server_address": self.server.pname}
