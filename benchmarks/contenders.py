"""The proxies that are compared, each started in front of the same servers."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import wire
from benchmarks.backends import Backends
from benchmarks.dialects import MAX_CLIENTS, SPARE_FILES
from benchmarks.machine import Programs
from benchmarks.processes import file_limit, running, wait_until_answers

OURS = "ours"
NUTCRACKER = "nutcracker"
HAPROXY = "haproxy"

NUTCRACKER_CONFIG = """\
pool:
  listen: {host}:{port}
  hash: fnv1a_64
  distribution: ketama
{protocol}  auto_eject_hosts: false
  server_connections: 1
  servers:
{servers}"""

HAPROXY_CONFIG = """\
global
  nbthread 1
  maxconn {maxconn}
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend clients
  bind {host}:{port}
  default_backend servers
backend servers
  server server0 {host}:{server_port}
"""


class Contender(NamedTuple):
    """A proxy that runs."""

    name: str
    port: int
    process: subprocess.Popen[bytes]


def nutcracker_command(program: Sequence[str], port: int, servers: Backends, folder: Path) -> list[str]:
    """The command line of nutcracker, or of anything that takes its options; writes its configuration."""
    config = folder / "nutcracker.yml"
    lines = [f"   - {wire.HOST}:{server}:1 server{number}\n" for number, server in enumerate(servers.ports)]
    protocol = servers.dialect.pool_directives
    config.write_text(NUTCRACKER_CONFIG.format(host=wire.HOST, port=port, protocol=protocol, servers="".join(lines)))
    (stats_port,) = wire.free_ports(1)
    return [
        *program,
        *("-c", str(config)),
        *("-s", str(stats_port)),
        *("-a", wire.HOST),
        *("-o", str(folder / "nutcracker.log")),
        *("-p", str(folder / "nutcracker.pid")),
    ]


def haproxy_command(program: Sequence[str], port: int, servers: Backends, folder: Path) -> list[str]:
    """The command line of haproxy as a plain relay to the first server; writes its configuration."""
    config = folder / "haproxy.cfg"
    # It does not start if its maxconn needs more files than the limit: two per client.
    maxconn = min(MAX_CLIENTS, (file_limit() - SPARE_FILES) // 2)
    config.write_text(HAPROXY_CONFIG.format(host=wire.HOST, port=port, server_port=servers.ports[0], maxconn=maxconn))
    return [*program, "-db", "-f", str(config)]


COMMANDS: dict[str, Callable[[Sequence[str], int, Backends, Path], list[str]]] = {
    OURS: nutcracker_command,
    NUTCRACKER: nutcracker_command,
    HAPROXY: haproxy_command,
}
"""How each contender is started, in the order of the report."""

RELAYS = (HAPROXY,)
"""Contenders that pass a client's bytes on to one server and know nothing of keys."""


def available(programs: Programs) -> list[str]:
    """The names of the contenders that can be started."""
    return [name for name in COMMANDS if name == OURS or name in programs.found]


@contextmanager
def contender(name: str, programs: Programs, servers: Backends, folder: Path) -> Iterator[Contender]:
    """One proxy in front of those servers, answering."""
    program = programs.ours if name == OURS else [programs.found[name]]
    place = folder / name
    place.mkdir()
    (port,) = wire.free_ports(1)
    log = place / f"{name}.log"
    with running(COMMANDS[name](program, port, servers, place), log) as process:
        wait_until_answers(process, port, log, *servers.dialect.probe)
        yield Contender(name, port, process)


@contextmanager
def all_contenders(
    names: Sequence[str], programs: Programs, servers: Backends, folder: Path
) -> Iterator[list[Contender]]:
    """Every named proxy at once, in front of the same servers."""
    with ExitStack() as stack:
        yield [stack.enter_context(contender(name, programs, servers, folder)) for name in names]
