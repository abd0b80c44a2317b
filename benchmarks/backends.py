"""The servers behind the contenders: real ones, without persistence, filled before the measurement."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import wire
from benchmarks.cases import KEY_SPACES, Topology, key_prefix
from benchmarks.processes import running, wait_until_answers

PING = wire.encode([b"PING"])
PONG = b"+PONG\r\n"

FILL_BATCH = 500
"""Requests in one write while filling."""

MAX_CLIENTS = 6000
"""More than the idle clients of the memory measurement, which a relay passes on one to one."""


class Backends(NamedTuple):
    """Servers that run."""

    topology: Topology
    ports: list[int]


@contextmanager
def backends(redis_server: str, topology: Topology, value_sizes: Collection[int], folder: Path) -> Iterator[Backends]:
    """Servers that each hold every key, so that a request finds its values wherever a proxy sends it."""
    ports = wire.free_ports(topology.servers)
    with ExitStack() as stack:
        for position, port in enumerate(ports):
            log = folder / f"server-{position}.log"
            process = stack.enter_context(running(redis_command(redis_server, port, folder), log))
            wait_until_answers(process, port, log, PING, PONG)
            for size in sorted(value_sizes):
                fill(port, size)
        yield Backends(topology, ports)


def redis_command(redis_server: str, port: int, folder: Path) -> list[str]:
    """The command line of a redis server on the loopback that keeps nothing on disk."""
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
    return [redis_server, *(word for pair in options.items() for word in pair)]


def fill(port: int, value_size: int) -> None:
    """Store a value of that size under every key of its key space."""
    value = b"x" * value_size
    prefix = key_prefix(value_size)
    with wire.connect(port) as connection:
        for first in range(0, KEY_SPACES[value_size], FILL_BATCH):
            numbers = range(first, min(first + FILL_BATCH, KEY_SPACES[value_size]))
            batch = [
                b"MSET",
                *(word for number in numbers for word in (b"%s%012d" % (prefix, number), value)),
            ]
            wire.ask(connection, wire.encode(batch), b"+OK\r\n")
