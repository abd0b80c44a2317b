"""The sockets and the part of the redis protocol that the benchmark uses itself."""

import socket
from collections.abc import Iterable

HOST = "127.0.0.1"

Address = int | str
"""A TCP port of this machine, or the path of a unix socket."""


def encode(arguments: Iterable[bytes]) -> bytes:
    """A request: an array of bulk strings."""
    parts = list(arguments)
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes; fewer if the peer closes the connection."""
    data = bytearray(size)
    view = memoryview(data)
    filled = 0
    while filled < size:
        count = connection.recv_into(view[filled:])
        if not count:
            break
        filled += count
    return bytes(data[:filled])


def connect(address: Address, timeout: float = 30.0) -> socket.socket:
    """A connection to an address of this machine, every operation limited to ``timeout`` seconds."""
    if isinstance(address, str):
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(timeout)
        local.connect(address)
        return local
    connection = socket.create_connection((HOST, address), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, request: bytes, expected: bytes) -> None:
    """Send a request and read its reply; other bytes than the expected ones raise ``ConnectionError``."""
    connection.sendall(request)
    got = receive(connection, len(expected))
    if got != expected:
        raise ConnectionError(f"the reply to {request[:60]!r} begins {got[:60]!r}, not {expected[:60]!r}")
