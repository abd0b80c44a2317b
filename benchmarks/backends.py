"""The servers behind the contenders: real ones, without persistence, filled before the measurement."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import wire
from benchmarks.cases import KEY_SPACES, Topology, key_name
from benchmarks.dialects import DIALECTS, Dialect
from benchmarks.machine import Programs
from benchmarks.processes import running, wait_until_answers

FILL_BATCH = 500
"""Keys in one write while filling."""


class Backends(NamedTuple):
    """Servers that run."""

    topology: Topology
    ports: list[int]

    @property
    def dialect(self) -> Dialect:
        """What they speak."""
        return DIALECTS[self.topology.protocol]


@contextmanager
def backends(programs: Programs, topology: Topology, value_sizes: Collection[int], folder: Path) -> Iterator[Backends]:
    """Servers that each hold every key, so that a request finds its values wherever a proxy sends it."""
    servers = Backends(topology, wire.free_ports(topology.servers))
    dialect = servers.dialect
    with ExitStack() as stack:
        for position, port in enumerate(servers.ports):
            log = folder / f"server-{position}.log"
            command = dialect.server_command(programs.found[dialect.server], port, folder)
            process = stack.enter_context(running(command, log))
            wait_until_answers(process, port, log, *dialect.probe)
            for size in sorted(value_sizes):
                fill(dialect, port, size)
        yield servers


def fill(dialect: Dialect, port: int, value_size: int) -> None:
    """Store a value of that size under every key of its key space."""
    value = b"x" * value_size
    with wire.connect(port) as connection:
        for first in range(0, KEY_SPACES[value_size], FILL_BATCH):
            numbers = range(first, min(first + FILL_BATCH, KEY_SPACES[value_size]))
            wire.ask(connection, *dialect.storing([key_name(value_size, number) for number in numbers], value))
