"""Which versions the servers of a configuration run, asked over connections of our own."""

import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from twemproxy.config.pools import Address, Config, PoolConfig

_TIMEOUT: Final = 5.0
"""Seconds for connecting, and for each read."""
_AT_A_TIME: Final = 64
_MOST: Final = 1 << 20
"""Bytes of an answer."""
_VERSION: Final = re.compile(rb"(?:^|\n)(valkey|redis)_version:(\S+)")


class ServerVersion(msgspec.Struct, frozen=True):
    """What a server has answered."""

    pool: str
    server: str
    """The name of the server."""
    address: str
    version: str
    """As ``redis 7.0.15``; empty after an error."""
    error: str
    """Why there is no version; empty if there is one."""


def versions(config: Config) -> list[ServerVersion]:
    """Ask all servers of all pools for their versions."""
    pairs = [(pool, server) for pool in config.pools for server in pool.servers]
    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        found = threads.map(lambda pair: _ask(pair[0], pair[1].address), pairs)
        return [
            ServerVersion(pool.name, server.name, server.pname.rpartition(":")[0], version, error)
            for (pool, server), (version, error) in zip(pairs, found, strict=True)
        ]


def _ask(pool: PoolConfig, address: Address) -> tuple[str, str]:
    """Return the version of a server, or why there is none."""
    try:
        with _connect(address) as connection:
            return _ask_redis(connection, pool) if pool.redis else _ask_memcached(connection)
    except OSError as error:
        return "", "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)


def _connect(address: Address) -> socket.socket:
    if not address.path:
        # As bytes, the name bypasses Python's IDNA codec, which refuses names that the resolver may accept.
        host: Any = address.host.encode()
        return socket.create_connection((host, address.port), _TIMEOUT)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_TIMEOUT)
        connection.connect(address.path)
    except BaseException:
        connection.close()
        raise
    return connection


def _ask_redis(connection: socket.socket, pool: PoolConfig) -> tuple[str, str]:
    if pool.redis_auth:
        # A server without a password refuses AUTH, and serves nevertheless, as the proxy accepts.
        connection.sendall(_request(b"AUTH", pool.redis_auth.encode()))
        _read_to(connection, b"\r\n")
    connection.sendall(_request(b"INFO", b"server"))
    head = _read_to(connection, b"\r\n")
    if not head.startswith(b"$"):
        return "", _shown(head.removeprefix(b"-")) if head.startswith(b"-") else "it does not speak redis's protocol"
    line, _, body = head.partition(b"\r\n")
    length = int(line[1:]) if line[1:].isdigit() and int(line[1:]) < _MOST else 0
    while len(body) < length and (data := connection.recv(1 << 16)):
        body += data
    found = {name.decode(): version.decode(errors="replace") for name, version in _VERSION.findall(body)}
    for name in ("valkey", "redis"):
        if name in found:
            return f"{name} {found[name]}", ""
    return "", "INFO server has no version"


def _ask_memcached(connection: socket.socket) -> tuple[str, str]:
    connection.sendall(b"version\r\n")
    reply = _read_to(connection, b"\r\n").strip()
    if not reply.startswith(b"VERSION "):
        return "", "it does not speak memcached's protocol"
    return f"memcached {_shown(reply.removeprefix(b'VERSION '))}", ""


def _request(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _read_to(connection: socket.socket, end: bytes) -> bytes:
    """Return what arrives until the first ``end``, and what has arrived with it. Raises OSError."""
    received = b""
    while end not in received:
        data = connection.recv(1 << 16)
        if not data or len(received) > _MOST:
            raise OSError("the connection was closed without an answer")
        received += data
    return received


def _shown(text: bytes) -> str:
    return text.split(b"\r\n")[0].decode(errors="replace")[:200]


def lacking(found: Sequence[ServerVersion]) -> list[str]:
    """Return the servers whose version lacks something, as lines for people."""
    lines = []
    for one in found:
        name, _, version = one.version.partition(" ")
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
        if name == "memcached" and numbers and numbers < (1, 6, 10):
            lines.append(f"server '{one.server}' is {one.version}: meta commands need memcached 1.6.10")
    return lines
