"""How the proxies of a fleet differ, by the documents of their statistics ports."""

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from twemproxy.commands.frame import CommandError
from twemproxy.config.numbers import parse_number
from twemproxy.config.quoting import quoted, quoted_if_needed

_TIMEOUT: Final = 5
"""Seconds for connecting, and for each read."""
_LARGEST_DOCUMENT: Final = 256 << 20
_AT_A_TIME: Final = 32
_PORT_MAXIMUM: Final = 65535
_REQUEST: Final = b"GET /stats.json\n"


class Pool(msgspec.Struct, frozen=True):
    """A pool of a running proxy."""

    ring_fingerprint: str
    """Empty if the proxy does not show it."""
    servers: tuple[str, ...]
    """Names."""


class Proxy(msgspec.Struct, frozen=True):
    """A running proxy."""

    address: str
    """As it was given."""
    error: str = ""
    """Why its statistics cannot be read; empty if they can."""
    config_fingerprint: str = ""
    """Empty if the proxy does not show it."""
    pools: dict[str, Pool] = {}
    """By name."""


class Difference(msgspec.Struct, frozen=True):
    """Something in which proxies differ: each proxy that was read has one of several values."""

    subject: str
    """What differs, for people, for instance ``ring fingerprint of pool "alpha"``."""
    values: dict[str, tuple[str, ...]]
    """The addresses of proxies by their value, the value of most proxies first."""

    def __str__(self) -> str:
        parts = (f"{value} at {', '.join(addresses)}" for value, addresses in self.values.items())
        return f"{self.subject}: {'; '.join(parts)}"


class Comparison(msgspec.Struct, frozen=True):
    """The proxies of a fleet, and how they differ."""

    proxies: tuple[Proxy, ...]
    differences: tuple[Difference, ...]

    def lines(self) -> list[str]:
        """Return the result for people."""
        lines = [f"{proxy.address}: {proxy.error}" for proxy in self.proxies if proxy.error]
        lines += [str(difference) for difference in self.differences]
        read = sum(not proxy.error for proxy in self.proxies)
        if read and not self.differences:
            lines.append(f"{read} {'proxy is read' if read == 1 else 'proxies are alike'}")
        return lines


def parse_addresses(text: str, option: str = "--fleet") -> list[str]:
    """Return the addresses in a list with commas: ``host:port`` or the path of a unix socket. Raises CommandError.

    ``option``: the name of the option that has the list, for the error.
    """
    addresses = [part.strip() for part in text.split(",")]
    for address in addresses:
        port = parse_number(address.rpartition(":")[2])
        if not address.startswith("/") and (":" not in address or port is None or not 1 <= port <= _PORT_MAXIMUM):
            raise CommandError(f"{option} needs addresses as host:port, or paths of unix sockets: {quoted(address)}")
    return addresses


def compare(addresses: Sequence[str]) -> Comparison:
    """Read the statistics of the proxies at these addresses, and return how they differ."""
    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        proxies = tuple(threads.map(_read_proxy, addresses))
    return Comparison(proxies, tuple(_differences([proxy for proxy in proxies if not proxy.error])))


def _read_proxy(address: str) -> Proxy:
    try:
        return _proxy_of(address, msgspec.json.decode(read_document(address)))
    except msgspec.DecodeError:
        return Proxy(address, "does not reply with the statistics of a proxy")
    except OSError as error:
        reason = "no reply in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
        return Proxy(address, f"the statistics cannot be read: {reason}")


def read_document(address: str, request: bytes = _REQUEST) -> bytes:
    """Return what a statistics port replies. ``request``: empty for nutcracker's document. Raises OSError."""
    with _connect(address) as connection:
        if request:
            connection.sendall(request)
        document = bytearray()
        while data := connection.recv(1 << 16):
            document += data
            if len(document) > _LARGEST_DOCUMENT:
                raise OSError("the document is too large")
        return bytes(document)


def _connect(address: str) -> socket.socket:
    if not address.startswith("/"):
        host, _, port = address.rpartition(":")
        # As bytes, the name bypasses Python's IDNA codec, which refuses names that the resolver may accept.
        name: Any = os.fsencode(host.removeprefix("[").removesuffix("]"))
        return socket.create_connection((name, int(port)), _TIMEOUT)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(_TIMEOUT)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _proxy_of(address: str, document: Any) -> Proxy:
    """Return what the full document of a statistics port says: members that are objects are pools, or servers."""
    if not isinstance(document, dict) or "service" not in document:
        return Proxy(address, "does not reply with the statistics of a proxy")
    pools = {
        name: Pool(
            ring_fingerprint=str(pool.get("ring_fingerprint", "")),
            servers=tuple(server for server, value in pool.items() if isinstance(value, dict)),
        )
        for name, pool in document.items()
        if isinstance(pool, dict)
    }
    return Proxy(address, "", str(document.get("config_fingerprint", "")), pools)


def _differences(proxies: Sequence[Proxy]) -> Iterator[Difference]:
    fingerprints = {proxy.address: _shown(proxy.config_fingerprint) for proxy in proxies}
    yield from _difference("configuration fingerprint", fingerprints)
    for name in _union(proxy.pools for proxy in proxies):
        title = f"pool {quoted(name)}"
        yield from _difference(title, {proxy.address: _presence(name in proxy.pools) for proxy in proxies})
        pools = {proxy.address: proxy.pools[name] for proxy in proxies if name in proxy.pools}
        fingerprints = {address: _shown(pool.ring_fingerprint) for address, pool in pools.items()}
        yield from _difference(f"ring fingerprint of {title}", fingerprints)
        for server in _union(pool.servers for pool in pools.values()):
            presence = {address: _presence(server in pool.servers) for address, pool in pools.items()}
            yield from _difference(f"server {quoted(server)} of {title}", presence)


def _difference(subject: str, values: dict[str, str]) -> Iterator[Difference]:
    """Yield a difference if the values, by address, are not all equal."""
    addresses: dict[str, list[str]] = {}
    for address, value in values.items():
        addresses.setdefault(value, []).append(address)
    if len(addresses) > 1:
        most_first = sorted(addresses.items(), key=lambda item: -len(item[1]))
        yield Difference(subject, {value: tuple(found) for value, found in most_first})


def _shown(fingerprint: str) -> str:
    return quoted_if_needed(fingerprint) if fingerprint else "none (another version)"


def _presence(is_there: bool) -> str:
    return "present" if is_there else "missing"


def _union(groups: Iterable[Iterable[str]]) -> list[str]:
    """Return each text of the groups once, in the order of its first place."""
    return list(dict.fromkeys(text for group in groups for text in group))
