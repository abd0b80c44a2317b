"""The proxy under test as a process: its configuration from plain data, its statistics and its log.

The program is the one that ``make build`` makes, or the command in the environment variable ``TWEMPROXY_UNDER_TEST``.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from harness.connection import Connection, connect, connect_unix
from harness.ports import free_port
from harness.proc import anonymous_memory, is_listening, is_listening_on_path, peak_memory, process_tree
from harness.waiting import wait_until
from twemproxy.demo.processes import Process, start

CRASHED = re.compile(r"\] ALERT .*|Traceback \(most recent call last\)(?s:.*)")
"""What a proxy writes when a part of it has crashed."""
_TAKEN_OVER = "has taken over from version"
_GRACE = 15.0
"""Seconds after which a proxy that was told to stop counts as hanging."""

PoolDirectives = Mapping[str, object]


class HasAddress(Protocol):
    """Anything with the address of a server: ``host:port`` or the path of a unix socket."""

    @property
    def address(self) -> str: ...


PROGRAM = Path(__file__).parents[2] / "build" / "bin" / "nutcracker"


def under_test() -> list[str]:
    """The command under test."""
    override = os.environ.get("TWEMPROXY_UNDER_TEST")
    return shlex.split(override) if override else [str(PROGRAM)]


def python_under_test() -> list[str]:
    """The Python of the command under test, for a test that replaces part of the package."""
    command = under_test()
    if command == [str(PROGRAM)]:
        return [sys.executable]
    assert command[-2:] == ["-m", "twemproxy"], "only parts of this package can be replaced"
    return command[:-2]


def environment() -> dict[str, str]:
    """The environment for a process in another directory: relative entries of PYTHONPATH are made absolute."""
    entries = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entries)}


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end and return its exit status and standard error."""
    return subprocess.run(
        [*under_test(), *arguments],
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_GRACE,
    )


def redis_pool(*servers: HasAddress | str, **directives: object) -> dict[str, object]:
    """A redis pool with the server names and the key distribution of ``memcached_pool``."""
    return {"redis": True, **memcached_pool(*servers, **directives)}


def memcached_pool(*servers: HasAddress | str, **directives: object) -> dict[str, object]:
    """A memcached pool whose servers are named s00, s01, ..., so that sorting by name keeps their positions.

    Keys go to the server ``crc32(key) mod number of servers`` (see ``owner``) unless ``directives`` say otherwise.
    """
    addresses = [server if isinstance(server, str) else server.address for server in servers]
    return {
        "hash": "crc32a",
        "distribution": "modula",
        **directives,
        "servers": [f"{address}:1 s{index:02d}" for index, address in enumerate(addresses)],
    }


def owner(key: str, servers: int) -> int:
    """Index of the server to which a pool of ``redis_pool`` or ``memcached_pool`` sends the key."""
    return zlib.crc32(key.encode()) % servers


def keys_of(index: int, servers: int, count: int = 1, prefix: str = "k") -> list[str]:
    """The first ``count`` of the keys ``<prefix>0``, ``<prefix>1``, ... that belong to the server ``index``."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        key = f"{prefix}{number}"
        if owner(key, servers) == index:
            found.append(key)
        number += 1
    return found


def to_yaml(pools: Mapping[str, PoolDirectives]) -> str:
    """The configuration file for these pools."""
    lines: list[str] = []
    for pool, directives in pools.items():
        lines.append(f"{pool}:")
        for name, value in directives.items():
            if isinstance(value, Sequence) and not isinstance(value, str):
                lines += [f"  {name}:", *(f"    - {entry}" for entry in value)]
            else:
                lines.append(f"  {name}: {str(value).lower() if isinstance(value, bool) else value}")
    return "\n".join(lines) + "\n"


def pools_by_name(pools: Mapping[str, PoolDirectives] | PoolDirectives) -> dict[str, PoolDirectives]:
    """The directives of each pool. ``pools``: this already, or the directives of a single pool named alpha."""
    if "servers" in pools:
        return {"alpha": pools}
    return {name: value for name, value in pools.items() if isinstance(value, Mapping)}


class ServedPools:
    """Pools that a running proxy serves: their clients, and what the statistics port and the log say about them."""

    process: Process
    """The first process of the proxy."""
    directory: Path
    """A directory that is removed with the proxy."""
    stats_port: int
    listens: dict[str, str]
    """The ``listen`` of each pool."""

    def __init__(self, pools: Mapping[str, PoolDirectives] | PoolDirectives) -> None:
        """``pools``: pools by name, or the directives of a single pool named alpha; ``listen`` may be left out."""
        self.pools = pools_by_name(pools)
        self._connections: list[Connection] = []

    def log(self) -> str:
        """The contents of the log so far."""
        raise NotImplementedError

    def served_name(self, pool: str = "") -> str:
        """The name under which the proxy serves a pool, by default the first pool."""
        return pool or next(iter(self.listens))

    def client(self, pool: str = "") -> Connection:
        """A new connection to a pool, by default the first pool; the connection is closed with the proxy."""
        listen = self.listens[pool or next(iter(self.listens))]
        if listen.startswith("/"):
            connection = connect_unix(listen.split(" ")[0])
        else:
            host, _, port = listen.rpartition(":")
            connection = connect(host, int(port))
        self._connections.append(connection)
        return connection

    def close_clients(self) -> None:
        """Close every connection that ``client`` has returned."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def port(self, pool: str = "") -> int:
        """TCP port of a pool, by default the first pool."""
        return int(self.listens[pool or next(iter(self.listens))].rpartition(":")[2])

    def stats_text(self, request: bytes = b"") -> str:
        """The response of the statistics port to this request."""
        with connect("127.0.0.1", self.stats_port) as connection:
            if request:
                connection.send(request)
            return connection.read_to_end().decode()

    def stats(self) -> dict[str, Any]:
        """The full document of the statistics port."""
        document = json.loads(self.stats_text(b"GET /stats.json\n"))
        assert isinstance(document, dict)
        return document

    def pool_stats(self, pool: str = "") -> dict[str, Any]:
        """The document's part for a pool, by default the first pool."""
        part = self.stats()[self.served_name(pool)]
        assert isinstance(part, dict)
        return part

    def server_stats(self, server: str = "s00", pool: str = "") -> dict[str, int]:
        """The document's part for a server of a pool, by default of the first pool."""
        part = self.pool_stats(pool)[server]
        assert isinstance(part, dict)
        return part

    def wait_stats(self, condition: Callable[[dict[str, Any]], bool], what: str, pool: str = "") -> None:
        """Poll the statistics port until the part for the pool fulfils the condition."""
        wait_until(lambda: condition(self.pool_stats(pool)), what)

    def processes(self) -> list[int]:
        """The process ids of the proxy: its first process and every descendant."""
        return process_tree(self.process.pid)


class Proxy(ServedPools):
    """A running proxy. Leaving the context stops the proxy; it is an error if the proxy had ended unexpectedly."""

    def __init__(
        self, pools: Mapping[str, PoolDirectives] | PoolDirectives, *options: str, command: Sequence[str] = ()
    ) -> None:
        """``pools``: as for ``ServedPools``.

        ``options``: additional command-line options; they come last, so they override those of the harness.
        ``command``: another proxy to run instead of the one under test.
        """
        super().__init__(pools)
        self.command = command or under_test()
        self.options = options
        self.directory = Path(tempfile.mkdtemp(prefix="proxy-"))
        self.stats_port = 0
        self.listens = {}
        self._expected_end = False
        self.expects_crash = False
        """Set by a test that makes a worker crash; otherwise a crash in the log is a failure."""
        try:
            self.process = start(self._launch, self._is_ready)
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    @property
    def log_path(self) -> Path:
        """The path of the proxy's log file."""
        return self.directory / "nutcracker.log"

    @property
    def stderr_path(self) -> Path:
        """The path of the file with the proxy's standard error."""
        return self.directory / "nutcracker.stderr"

    @property
    def control_socket(self) -> Path:
        """The path of the control socket."""
        return self.directory / "control.sock"

    @property
    def configuration(self) -> Path:
        """The path of the configuration file."""
        return self.directory / "nutcracker.yml"

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def output(self) -> str:
        """The log and standard error, to explain a failure."""
        return self.process.output()

    def memory(self) -> int:
        """Bytes of resident memory without shared files, for all processes of the proxy together."""
        return sum(map(anonymous_memory, self.processes()))

    def peak_memory(self) -> int:
        """The sum of the peaks of ``memory`` of each process."""
        return sum(map(peak_memory, self.processes()))

    def write_configuration(self, pools: Mapping[str, PoolDirectives] | PoolDirectives) -> None:
        """Write another configuration file; ``pools``: as in the constructor.

        A pool without ``listen`` keeps its address, a new one gets a free port.
        """
        if "servers" in pools:
            pools = {next(iter(self.pools)): pools}
        self.pools = {name: value for name, value in pools.items() if isinstance(value, Mapping)}
        self.listens = {
            name: str(directives.get("listen") or self.listens.get(name) or f"127.0.0.1:{free_port()}")
            for name, directives in self.pools.items()
        }
        complete = {name: {"listen": self.listens[name], **pool} for name, pool in self.pools.items()}
        self.configuration.write_text(to_yaml(complete))

    def reload(self, pools: Mapping[str, PoolDirectives] | PoolDirectives | None = None) -> dict[str, Any]:
        """Reload the configuration, first written as by ``write_configuration`` if ``pools`` are given.

        Returns the full statistics afterwards, which have the verdict.
        """
        if pools is not None:
            self.write_configuration(pools)
        before = self._verdicts()
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: self._verdicts() > before, "the reload has ended")
        return self.stats()

    def serve(self, pools: Mapping[str, PoolDirectives]) -> None:
        """Write another configuration file as by ``write_configuration``, and return when the proxy serves it.

        AssertionError with the reasons if the proxy refuses it.
        """
        self.write_configuration(pools)
        with connect_unix(str(self.control_socket)) as connection:
            connection.send(b'{"type":"reload"}\n')
            answer = json.loads(connection.read_to_end())
        assert answer["type"] == "reloaded", f"the reload is refused: {answer}"

    def upgrade(self) -> None:
        """Upgrade to the program that is installed now, and wait until the new workers accept clients."""
        before = self.log().count(_TAKEN_OVER)
        self.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: self.log().count(_TAKEN_OVER) > before, "the other version has taken over")

    def _verdicts(self) -> int:
        return len(re.findall(r"reload: generation|reload failed", self.log()))

    def terminate(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait for the end and return the exit status (negative: killed by that signal)."""
        self.process.send_signal(sign)
        return self.wait()

    def wait(self) -> int:
        """Wait for an expected end and return the exit status."""
        self._expected_end = True
        return self.process.wait(_GRACE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        died = self.process.poll()
        self.close_clients()
        try:
            self._stop()
        finally:
            output = self.output()
            shutil.rmtree(self.directory, ignore_errors=True)
        if kind is not None:
            print(f"--- what the proxy said ---\n{output}")
        elif died is not None and not self._expected_end:
            raise AssertionError(f"the proxy had died with status {died}:\n{output}")
        elif (crash := CRASHED.search(output)) and not self.expects_crash:
            raise AssertionError(f"a part of the proxy had crashed: {crash[0]}")

    def _stop(self) -> None:
        # The second signal ends a drain that waits for a server which never replies.
        if not self.process.stop(_GRACE, again=0.3):
            raise AssertionError(f"the proxy did not stop:\n{self.output()}")

    def _launch(self, _: int) -> Process:
        self.log_path.unlink(missing_ok=True)
        self.stats_port = free_port()
        self.listens = {
            name: str(directives.get("listen") or f"127.0.0.1:{free_port()}") for name, directives in self.pools.items()
        }
        complete = {name: {"listen": self.listens[name], **pool} for name, pool in self.pools.items()}
        self.configuration.write_text(to_yaml(complete))
        # Another proxy does not have the option.
        control = ["-C", str(self.control_socket)] if self.command == under_test() else []
        command = [
            *[*self.command, "-c", str(self.configuration), "-o", str(self.log_path)],
            *["-a", "127.0.0.1", "-s", str(self.stats_port), *control, *self.options],
        ]
        return Process(command, self.stderr_path, self.log_path, folder=self.directory, environment=environment())

    def _is_ready(self) -> bool:
        return all(
            is_listening_on_path(listen.split(" ")[0])
            if listen.startswith("/")
            else is_listening(int(listen.rpartition(":")[2]))
            for listen in self.listens.values()
        )
