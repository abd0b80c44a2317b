"""The sockets and the part of the redis protocol that the benchmark uses itself."""

import random
import socket
from collections.abc import Iterable

HOST = "127.0.0.1"

Address = int | str
"""A TCP port of this machine, or the path of a unix socket."""

PORT_RANGE = range(12000, 32000)
"""Below the ports that Linux assigns to outgoing connections, so that none of these takes a chosen port."""


def free_ports(count: int) -> list[int]:
    """Different TCP ports on which no program listens at present."""
    found: list[int] = []
    for port in random.sample(PORT_RANGE, len(PORT_RANGE)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} free ports in {PORT_RANGE}")


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
