"""A supervisor in a process of its own, with scripted workers, and connections to these workers."""

import json
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.ports import free_port
from harness.proxy import environment
from harness.waiting import wait_until
from twemproxy.demo.processes import Process, accepts

GRACE = 30.0
"""Seconds after which a supervisor that has to end counts as hanging."""
WORKER = Path(__file__).with_name("scripted_worker.py")

_LAUNCH = """
import json, sys
from twemproxy.config.options import Options
from twemproxy.supervisor.supervisor import run
from twemproxy.supervisor.early_worker import WorkerProgram
options, command = json.loads(sys.argv[1])
program = WorkerProgram(command[0], tuple(command))
sys.exit(run(Options(**options), program=program))
"""


def configure(folder: Path, *listens: str) -> None:
    """Write nutcracker.yml with one pool for each of ``listens``, named pool0, pool1 and so on."""
    pools = [
        f"pool{index}:\n  listen: {listen}\n  redis: true\n  servers:\n    - 127.0.0.1:1:1 s0\n"
        for index, listen in enumerate(listens)
    ]
    (folder / "nutcracker.yml").write_text("".join(pools))


class Supervised:
    """A supervisor that runs in a folder, with its own configuration, log file and ports unless they are given."""

    def __init__(
        self, folder: Path, *, mode: str = "serve", workers: int = 1, preamble: str = "", **options: Any
    ) -> None:
        """``mode``: the mode of the scripted worker; ``preamble``: Python code that the process runs first."""
        self.folder = folder
        self.port = free_port()
        self.stats_port = free_port()
        self._clients: list[Client] = []
        self._says_when_ready = options.get("log_level", 5) >= 5
        self._in_background = bool(options.get("daemonize"))
        if not (folder / "nutcracker.yml").exists():
            configure(folder, f"127.0.0.1:{self.port}")
        self.log_path = folder / "nutcracker.log"
        defaults = {
            "conf_file": "nutcracker.yml",
            "log_path": "nutcracker.log",
            "stats_addr": "127.0.0.1",
            "stats_port": self.stats_port,
        }
        command = [sys.executable, str(WORKER), mode]
        arguments = [{**defaults, "workers": workers, **options}, command]
        self.process = Process(
            [sys.executable, "-c", preamble + _LAUNCH, json.dumps(arguments)],
            folder / "supervisor.output",
            folder=folder,
            environment=environment(),
        )

    @property
    def log(self) -> str:
        """The contents of the log file."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    def wait_log(self, text: str) -> None:
        """Wait for a text in the log file; AssertionError if the supervisor ends without it."""
        wait_until(lambda: text in self.log or self._ended(), f"'{text}' is logged")
        assert text in self.log, self.log + str(self.end())

    def wait_ready(self) -> None:
        """Wait until the workers serve. The supervisor must log at level NOTICE or have a TCP port."""
        if self._says_when_ready:
            self.wait_log("ready: ")
        else:
            wait_until(lambda: accepts(self.port), "it accepts")
            self.ask("pid")

    def ask(self, *commands: str) -> list[str]:
        """Send commands to a worker on a new connection; returns the replies."""
        with self.client() as client:
            return [client.ask(command) for command in commands]

    def client(self, path: Path | None = None) -> "Client":
        """A new connection to the first pool, or to a unix socket; ``close_clients`` closes it."""
        if path:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(path))
        else:
            connection = socket.create_connection(("127.0.0.1", self.port), GRACE)
        self._clients.append(Client(connection))
        return self._clients[-1]

    def close_clients(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()

    def stats(self) -> dict[str, Any]:
        """The document of the statistics port."""
        with socket.create_connection(("127.0.0.1", self.stats_port), GRACE) as connection:
            text = read_to_end(connection)
        document = json.loads(text)
        assert isinstance(document, dict)
        return document

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns the exit status and the output. After GRACE seconds it is an AssertionError."""
        ended = False
        try:
            ended = self.process.wait_ended(GRACE)
        finally:
            # A supervisor in the background may not have left the group yet.
            if not (ended and self._in_background):
                self.process.kill_group()
        assert ended, f"the supervisor did not end:\n{self.process.output()}{self.log}"
        return self.process.returncode, self.process.output()

    def _ended(self) -> bool:
        return self.process.poll() is not None and not self._in_background


class Client:
    """A connection to a scripted worker."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._lines = connection.makefile("rb")

    def send(self, command: str) -> None:
        self.connection.sendall(command.encode() + b"\n")

    def reply(self) -> str:
        """The next line; empty at the end of the stream, or if the connection is reset."""
        try:
            return self._lines.readline().decode().rstrip("\n")
        except ConnectionResetError:
            return ""

    def ask(self, command: str) -> str:
        self.send(command)
        return self.reply()

    def close(self) -> None:
        """Close the connection; it may be closed already."""
        self._lines.close()
        self.connection.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_to_end(connection: socket.socket) -> bytes:
    """All bytes until the other side ends the stream."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@contextmanager
def supervised(folder: Path, **arguments: Any) -> Iterator[Supervised]:
    """A running supervisor, which ends with the context; see ``Supervised``."""
    supervisor = Supervised(folder, **arguments)
    try:
        supervisor.wait_ready()
        yield supervisor
    finally:
        supervisor.close_clients()
        supervisor.process.terminate()
        supervisor.end()


def mode_of(path: Path) -> int:
    """The permission bits of a file."""
    return path.stat().st_mode & 0o777
