"""The servers behind the contenders: real servers without persistence, filled before the measurement."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import wire
from benchmarks.cases import KEY_SPACES, Contents, Topology, key_name
from benchmarks.dialects import DIALECTS, Dialect
from benchmarks.machine import Programs
from benchmarks.processes import answering

FILL_BATCH = 500
"""The number of keys in one write while filling."""


class Backends(NamedTuple):
    """The running servers."""

    topology: Topology
    ports: list[int]

    @property
    def dialect(self) -> Dialect:
        """The dialect of the servers."""
        return DIALECTS[self.topology.protocol]


@contextmanager
def backends(
    programs: Programs, topology: Topology, contents: Collection[Contents], folder: Path
) -> Iterator[Backends]:
    """Servers that each hold every key, so that a request finds its values wherever a proxy sends it."""
    servers = Backends(topology, [])
    dialect = servers.dialect

    def command(port: int) -> Sequence[str]:
        return dialect.server_command(programs.found[dialect.server], port, folder)

    with ExitStack() as stack:
        for position in range(topology.servers):
            log = folder / f"server-{position}.log"
            _, port = stack.enter_context(answering(command, *dialect.probe, log))
            servers.ports.append(port)
            for each in sorted(contents):
                fill(dialect, port, each)
        yield servers


def fill(dialect: Dialect, port: int, contents: Contents) -> None:
    """Store a value of that type and size under every key of its key space."""
    kind, value_size = contents
    value = b"x" * value_size
    with wire.connect(port) as connection:
        for exchange in dialect.preparation:
            wire.ask(connection, *exchange)
        for first in range(0, KEY_SPACES[value_size], FILL_BATCH):
            numbers = range(first, min(first + FILL_BATCH, KEY_SPACES[value_size]))
            keys = [key_name(value_size, number, kind) for number in numbers]
            wire.ask(connection, *dialect.storing(keys, value, kind))
