"""What differs between the protocols: requests, their right replies, the servers that speak it, a pool's directives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import wire
from benchmarks.cases import Case, Protocol
from benchmarks.processes import file_limit

SPARE_FILES = 100
"""Files that a server or relay has open beside its connections."""

MAX_CLIENTS = 6000
"""More than the idle clients of the memory measurement, which a relay passes on one to one."""

MEMCACHED_CLIENTS = 8192

MEMCACHED_MEGABYTES = 512
"""Many times what the keys need: nothing is evicted."""


class Exchange(NamedTuple):
    """What is sent, and the bytes with which the answer has to begin."""

    request: bytes
    reply: bytes


class Dialect(ABC):
    """One protocol, as the benchmark speaks it."""

    server: str
    """The program of its servers."""
    probe: Exchange
    """What a server or proxy answers that is ready."""
    pool_directives: str
    """Lines of nutcracker's configuration that make a pool speak it."""

    @abstractmethod
    def server_command(self, program: str, port: int, folder: Path) -> list[str]:
        """The command line of a server on the loopback that keeps nothing on disk."""

    @abstractmethod
    def storing(self, keys: Sequence[bytes], value: bytes) -> Exchange:
        """One write that stores the value under every one of the keys."""

    @abstractmethod
    def request(self, case: Case, keys: Sequence[bytes]) -> bytes:
        """The case's request for those keys."""

    @abstractmethod
    def reply(self, case: Case, keys: Sequence[bytes]) -> bytes:
        """What a server that holds every key answers to that request, byte for byte."""


class Redis(Dialect):
    """RESP 2."""

    server = "redis-server"
    probe = Exchange(wire.encode([b"PING"]), b"+PONG\r\n")
    pool_directives = "  redis: true\n"

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

    def storing(self, keys: Sequence[bytes], value: bytes) -> Exchange:
        return Exchange(wire.encode([b"MSET", *(word for key in keys for word in (key, value))]), b"+OK\r\n")

    def arguments(self, case: Case, keys: Sequence[bytes]) -> list[bytes]:
        """The words of the case's request for those keys."""
        if not case.stores:
            return [case.operation.encode(), *keys]
        return [case.operation.encode(), *(word for key in keys for word in (key, case.value))]

    def request(self, case: Case, keys: Sequence[bytes]) -> bytes:
        return wire.encode(self.arguments(case, keys))

    def reply(self, case: Case, keys: Sequence[bytes]) -> bytes:
        if case.stores:
            return b"+OK\r\n"
        values = b"$%d\r\n%s\r\n" % (case.value_size, case.value) * len(keys)
        return values if case.operation == "GET" else b"*%d\r\n%s" % (len(keys), values)


class Memcached(Dialect):
    """The text protocol."""

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

    def storing(self, keys: Sequence[bytes], value: bytes) -> Exchange:
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
    """The dialect that the case's servers speak."""
    return DIALECTS[case.topology.protocol]
