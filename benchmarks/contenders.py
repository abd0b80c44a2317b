"""The proxies that are compared, each in front of the same servers."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import wire
from benchmarks.backends import Backends
from benchmarks.cases import Case
from benchmarks.dialects import MAX_CLIENTS, SPARE_FILES, exchange_of
from benchmarks.machine import Programs
from benchmarks.processes import answering, file_limit
from harness.ports import free_port
from twemproxy.demo.processes import Process, StartError

OURS = "ours"
BEFORE = "before"
"""Another build of our proxy."""
NUTCRACKER = "nutcracker"
PREDIXY = "predixy"
HAPROXY = "haproxy"
FLOOR = "floor"
"""The program of ``floor.c``: what the clients alone cost."""

NUTCRACKER_POOL = """\
{name}:
  listen: {listen}
  hash: fnv1a_64
  distribution: ketama
{protocol}  auto_eject_hosts: false
  server_connections: 1
  servers:
{servers}"""

PREDIXY_CONFIG = """\
Bind {host}:{port}
WorkerThreads 1
ClientTimeout 0
Authority {{
    Auth {{
        Mode admin
    }}
}}
StandaloneServerPool {{
    Hash crc16
    Distribution modula
    RefreshMethod fixed
{servers}}}
"""

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
  bind unix@{path}
  default_backend servers
backend servers
  server server0 {host}:{server_port}
"""


class Contender(NamedTuple):
    """A running proxy."""

    name: str
    port: int
    process: Process
    path: str
    """Its unix socket; empty without one."""

    def address(self, case: Case) -> wire.Address:
        """Where the clients of a case connect."""
        return self.path if case.unix_socket else self.port


def nutcracker_command(program: Sequence[str], port: int, path: Path, servers: Backends, folder: Path) -> list[str]:
    """The command line of nutcracker, or of anything that takes its options; writes its configuration."""
    config = folder / "nutcracker.yml"
    lines = [f"   - {wire.HOST}:{server}:1 server{number}\n" for number, server in enumerate(servers.ports)]
    pools = {"pool": f"{wire.HOST}:{port}", "sidecar": str(path)}
    config.write_text(
        "".join(
            NUTCRACKER_POOL.format(
                name=name, listen=listen, protocol=servers.dialect.pool_directives, servers="".join(lines)
            )
            for name, listen in pools.items()
        )
    )
    return [
        *program,
        *("-c", str(config)),
        *("-s", str(free_port())),
        *("-a", wire.HOST),
        *("-o", str(folder / OWN_LOG)),
        *("-p", str(folder / "nutcracker.pid")),
    ]


def predixy_command(program: Sequence[str], port: int, path: Path, servers: Backends, folder: Path) -> list[str]:
    """The command line of predixy, which has one listening socket; writes its configuration."""
    config = folder / "predixy.conf"
    groups = [f"    Group g{server} {{\n        + {wire.HOST}:{server}\n    }}\n" for server in servers.ports]
    config.write_text(PREDIXY_CONFIG.format(host=wire.HOST, port=port, servers="".join(groups)))
    return [*program, str(config)]


def haproxy_command(program: Sequence[str], port: int, path: Path, servers: Backends, folder: Path) -> list[str]:
    """The command line of haproxy as a plain relay to the first server; writes its configuration."""
    config = folder / "haproxy.cfg"
    # haproxy does not start if its maxconn needs more files than the limit: two per client.
    maxconn = min(MAX_CLIENTS, (file_limit() - SPARE_FILES) // 2)
    config.write_text(
        HAPROXY_CONFIG.format(host=wire.HOST, port=port, path=path, server_port=servers.ports[0], maxconn=maxconn)
    )
    return [*program, "-db", "-f", str(config)]


COMMANDS: dict[str, Callable[[Sequence[str], int, Path, Backends, Path], list[str]]] = {
    OURS: nutcracker_command,
    BEFORE: nutcracker_command,
    NUTCRACKER: nutcracker_command,
    PREDIXY: predixy_command,
    HAPROXY: haproxy_command,
}
"""How each contender is started that serves all cases of a topology, in the order of the report."""

OWN_LOG = "log"
"""The file that nutcracker writes itself, in its folder."""

COMPILER = "cc"
"""The program that makes the floor."""


def serves(name: str, case: Case) -> bool:
    """Whether a case is for a contender.

    haproxy passes bytes on without knowing keys, predixy has one listening socket, and the floor has one reply, without
    the names of keys.
    """
    if name == FLOOR:
        return case.operation != "get"
    if name == PREDIXY:
        return not case.unix_socket
    return name != HAPROXY or not case.splits


def command_of(name: str, programs: Programs) -> Sequence[str]:
    """The command line of a contender without its options; empty if it cannot be started."""
    if name == OURS:
        return programs.ours
    if name == BEFORE:
        return programs.before
    if name == FLOOR:
        name = COMPILER
    return [programs.found[name]] if name in programs.found else []


def available(programs: Programs) -> list[str]:
    """The names of the contenders that can be started."""
    return [name for name in (*COMMANDS, FLOOR) if command_of(name, programs)]


@contextmanager
def contender(name: str, programs: Programs, servers: Backends, folder: Path) -> Iterator[Contender]:
    """One proxy in front of these servers, ready for clients."""
    program = command_of(name, programs)
    place = folder / name
    place.mkdir()
    path = place / "socket"

    def command(port: int) -> Sequence[str]:
        return COMMANDS[name](program, port, path, servers, place)

    with answering(command, *servers.dialect.probe, place / f"{name}.log", place / OWN_LOG) as (process, port):
        yield Contender(name, port, process, str(path))


@contextmanager
def floor(programs: Programs, case: Case, folder: Path) -> Iterator[Contender]:
    """The floor for one case, answering its requests; it is compiled once per folder."""
    program, reply, log, path = (folder / f"floor{suffix}" for suffix in ("", ".reply", ".log", ".socket"))
    if not program.exists():
        source = Path(__file__).with_name("floor.c")
        command = [*command_of(FLOOR, programs), "-O2", "-o", str(program), str(source)]
        compiled = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if compiled.returncode:
            raise StartError(f"the floor cannot be compiled: {compiled.stderr}".rstrip())
    exchange = exchange_of(case)
    reply.write_bytes(exchange.reply)
    path.unlink(missing_ok=True)

    def command_line(port: int) -> Sequence[str]:
        return [str(program), str(port), str(path), str(len(exchange.request)), str(reply)]

    with answering(command_line, *exchange, log) as (process, port):
        yield Contender(FLOOR, port, process, str(path))


@contextmanager
def all_contenders(
    names: Sequence[str], programs: Programs, servers: Backends, folder: Path
) -> Iterator[list[Contender]]:
    """Every named proxy for the protocol of these servers at once, in front of them."""
    wanted = [name for name in names if name in COMMANDS and (name != PREDIXY or servers.topology.protocol == "redis")]
    with ExitStack() as stack:
        yield [stack.enter_context(contender(name, programs, servers, folder)) for name in wanted]
