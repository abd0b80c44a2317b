"""The differences between the protocols: requests, correct replies, servers, and directives of a pool."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import wire
from benchmarks.cases import Case, Kind, Operation, Protocol, key_name
from benchmarks.processes import file_limit

SPARE_FILES = 100
"""Files that a server or relay has open in addition to its connections."""

MAX_CLIENTS = 6000
"""More than the idle clients of the memory measurement; a relay has a server connection for each of them."""

MEMCACHED_CLIENTS = 8192

MEMCACHED_MEGABYTES = 512
"""Many times the size of the keys, so that nothing is evicted."""


class Exchange(NamedTuple):
    """The bytes to send, and the bytes with which the reply must begin."""

    request: bytes
    reply: bytes


class Dialect(ABC):
    """One protocol, as the benchmark uses it."""

    server: str
    """The program of the servers."""
    probe: Exchange
    """A request, and the reply of a server or proxy that is ready."""
    pool_directives: str
    """Lines of nutcracker's configuration that select the protocol for a pool."""
    preparation: tuple[Exchange, ...] = ()
    """Commands for every server before it is filled."""

    @abstractmethod
    def server_command(self, program: str, port: int, folder: Path) -> list[str]:
        """The command line of a server on loopback that stores nothing on disk."""

    @abstractmethod
    def storing(self, keys: Sequence[bytes], value: bytes, kind: Kind = "string") -> Exchange:
        """One write that stores the value under every one of the keys, as a string or in a set or list of its own."""

    @abstractmethod
    def request(self, case: Case, keys: Sequence[bytes]) -> bytes:
        """The request of the case for these keys."""

    @abstractmethod
    def reply(self, case: Case, keys: Sequence[bytes]) -> bytes:
        """The exact reply to this request from a server that holds every key."""


SAME_KEY_TWICE: tuple[Operation, ...] = ("RENAME", "SUNION", "LMOVE")
"""Commands whose two keys are the same: LMOVE then turns a list round, and RENAME leaves all as it is."""

SCRIPT = b"return redis.call('get', KEYS[1])"
DIGEST = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()


class Redis(Dialect):
    """RESP 2."""

    server = "redis-server"
    probe = Exchange(wire.encode([b"PING"]), b"+PONG\r\n")
    pool_directives = "  redis: true\n"
    preparation = (Exchange(wire.encode([b"SCRIPT", b"LOAD", SCRIPT]), b"$40\r\n%s\r\n" % DIGEST),)

    def server_command(self, program: str, port: int, folder: Path) -> list[str]:
        options = {
            "--bind": wire.HOST,
            "--port": str(port),
            "--save": "",
            "--appendonly": "no",
            "--daemonize": "no",
            "--dir": str(folder),
            "--maxclients": str(MAX_CLIENTS),
            "--loglevel": "warning",
        }
        return [program, *(word for pair in options.items() for word in pair)]

    def storing(self, keys: Sequence[bytes], value: bytes, kind: Kind = "string") -> Exchange:
        if kind == "string":
            return Exchange(wire.encode([b"MSET", *(word for key in keys for word in (key, value))]), b"+OK\r\n")
        command = b"SADD" if kind == "set" else b"RPUSH"
        return Exchange(b"".join(wire.encode([command, key, value]) for key in keys), b":1\r\n" * len(keys))

    def arguments(self, case: Case, keys: Sequence[bytes]) -> list[bytes]:
        """The words of the case's request for those keys."""
        match case.operation:
            case "EVAL":
                return [b"EVAL", SCRIPT, b"%d" % len(keys), *keys]
            case "EVALSHA":
                return [b"EVALSHA", DIGEST, b"%d" % len(keys), *keys]
            case "RENAME" | "SUNION":
                return [case.operation.encode(), *keys, *keys]
            case "LMOVE":
                return [b"LMOVE", *keys, *keys, b"LEFT", b"RIGHT"]
        if not case.stores:
            return [case.operation.encode(), *keys]
        return [case.operation.encode(), *(word for key in keys for word in (key, case.value))]

    def request(self, case: Case, keys: Sequence[bytes]) -> bytes:
        return wire.encode(self.arguments(case, keys))

    def reply(self, case: Case, keys: Sequence[bytes]) -> bytes:
        if case.stores or case.operation == "RENAME":
            return b"+OK\r\n"
        values = b"$%d\r\n%s\r\n" % (case.value_size, case.value) * len(keys)
        return b"*%d\r\n%s" % (len(keys), values) if case.operation in ("MGET", "SUNION") else values


class Memcached(Dialect):
    """The text protocol of memcached."""

    server = "memcached"
    probe = Exchange(b"version\r\n", b"VERSION ")
    pool_directives = ""

    def server_command(self, program: str, port: int, folder: Path) -> list[str]:
        options = {
            "-l": wire.HOST,
            "-p": str(port),
            "-U": "0",
            "-m": str(MEMCACHED_MEGABYTES),
            "-c": str(min(MEMCACHED_CLIENTS, file_limit() - SPARE_FILES)),
            "-t": "1",
            "-u": "root",
        }
        return [program, *(word for pair in options.items() for word in pair)]

    def storing(self, keys: Sequence[bytes], value: bytes, kind: Kind = "string") -> Exchange:
        assert kind == "string", "memcached has no other values"
        writes = (b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value) for key in keys)
        return Exchange(b"".join(writes), b"STORED\r\n" * len(keys))

    def request(self, case: Case, keys: Sequence[bytes]) -> bytes:
        return self.storing(keys, case.value).request if case.stores else b"get %s\r\n" % b" ".join(keys)

    def reply(self, case: Case, keys: Sequence[bytes]) -> bytes:
        if case.stores:
            return self.storing(keys, case.value).reply
        values = (b"VALUE %s 0 %d\r\n%s\r\n" % (key, case.value_size, case.value) for key in keys)
        return b"".join(values) + b"END\r\n"


REDIS = Redis()

DIALECTS: dict[Protocol, Dialect] = {"redis": REDIS, "memcached": Memcached()}


def dialect_of(case: Case) -> Dialect:
    """The dialect of the case's servers."""
    return DIALECTS[case.topology.protocol]


def exchange_of(case: Case) -> Exchange:
    """The case's request for the first keys of its key space, and the right reply; all others are as long."""
    keys = [key_name(case.value_size, number, case.kind) for number in range(case.keys)]
    return Exchange(dialect_of(case).request(case, keys), dialect_of(case).reply(case, keys))
