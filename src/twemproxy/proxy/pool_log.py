"""What a pool tells the log. Plain Python: compiled code calls it only when the level asks for it."""

import socket
from collections.abc import Callable

from twemproxy.log import get_logger

_logger = get_logger(__name__)


def peer_of(descriptor: int) -> str:
    """The address of a socket's peer, for messages."""
    return _address(descriptor, socket.socket.getpeername)


def local_end_of(descriptor: int) -> str:
    """The address of a socket's own end, for messages."""
    return _address(descriptor, socket.socket.getsockname)


def _address(descriptor: int, get: Callable[[socket.socket], object]) -> str:
    try:
        with socket.socket(fileno=descriptor) as connection:
            try:
                name = get(connection)
            finally:
                connection.detach()
    except OSError:
        return "unknown"
    if isinstance(name, tuple):
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    return str(name) or "unix"


class PoolLog:
    """The events of one pool."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ejected(self, server: str, milliseconds: int) -> None:
        """At NOTICE: a server was taken out."""
        _logger.log(25, "%s: server '%s' ejected, it is probed in %d ms", self.name, server, milliseconds)

    def readmitted(self, server: str) -> None:
        """At NOTICE: a server is back."""
        _logger.log(25, "%s: server '%s' is back, it answers probes", self.name, server)

    def client_opened(self, descriptor: int) -> None:
        """At INFO: a client connected."""
        _logger.info("%s: client %d connected from %s", self.name, descriptor, peer_of(descriptor))

    def client_closed(self, descriptor: int, why: str) -> None:
        """At INFO: a client left, or was made to."""
        _logger.info("%s: client %d closed: %s", self.name, descriptor, why)

    def client_takes_nothing(self, descriptor: int, untaken: int, limit: int) -> None:
        """At WARN: a client is closed because so many bytes wait for it."""
        _logger.warning(
            "%s: client %d from %s is closed: %d bytes wait for it, 'client_output_limit' is %d",
            *(self.name, descriptor, peer_of(descriptor), untaken, limit),
        )

    def client_holds_most(self, descriptor: int, held: int, limit: int) -> None:
        """At WARN: there is so much memory in use that a client loses what it has of it."""
        _logger.warning(
            "%s: client %d from %s loses the %d bytes held for it: '--max-memory' is %d, and twice as much is held",
            *(self.name, descriptor, peer_of(descriptor), held, limit),
        )

    def client_refused(self, limit: str) -> None:
        """At WARN: a client was turned away."""
        _logger.warning("%s: client refused: %s", self.name, limit)

    def accept_failed(self, reason: str) -> None:
        """At WARN: no client can be accepted, nor turned away, for a while."""
        _logger.warning("%s: accept failed: %s: clients wait", self.name, reason)
