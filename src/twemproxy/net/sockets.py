"""Calls on sockets that are made once per connection: connecting, keepalive, addresses.

Plain Python.
"""

import errno
import socket
from collections.abc import Callable
from typing import Any

from twemproxy.net.transport import PlainTransport

KeepAlive = tuple[int, int, int]
"""Of TCP keepalive: seconds of silence before the first probe, seconds between probes, probes without an answer after
which the connection fails; 0 for the system's value."""

_OPTIONS = (
    (socket.TCP_KEEPIDLE, 32767),
    (socket.TCP_KEEPINTVL, 32767),
    (socket.TCP_KEEPCNT, 127),
)
"""The options for the numbers of KeepAlive, and the largest values that the kernel accepts, see tcp(7)."""


def keep_alive(descriptor: int, keepalive: KeepAlive) -> None:
    """Have the kernel detect a peer that has vanished; ``descriptor``: of a TCP socket, which the caller keeps."""
    connection = socket.socket(fileno=descriptor)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for (option, largest), value in zip(_OPTIONS, keepalive, strict=True):
            if value:
                connection.setsockopt(socket.IPPROTO_TCP, option, min(value, largest))
    finally:
        connection.detach()


def connect(family: int, address: Any, keepalive: KeepAlive | None) -> tuple[PlainTransport | None, int]:
    """Begin to connect to a socket address of this family; returns the transport, or None and the errno."""
    try:
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        return None, error.errno or errno.EINVAL
    with connection:
        try:
            if family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if keepalive is not None:
                    keep_alive(connection.fileno(), keepalive)
            result = connection.connect_ex(address)
        except OSError as error:
            result = error.errno or errno.EINVAL
        if result not in (0, errno.EINPROGRESS):
            return None, result
        return PlainTransport(connection.detach(), result == errno.EINPROGRESS), 0


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
    except (OSError, ValueError):  # ValueError: a closed connection has the descriptor -1
        return "unknown"
    if isinstance(name, tuple):
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    return str(name) or "unix"
