"""A server whose every byte the test decides, for what a real server will not do on demand."""

import select
import socket
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.connection import Connection
from harness.memcache import GREETING
from harness.ports import free_port
from harness.proxy import Proxy
from harness.waiting import DEADLINE

SMALL_REST = 3 << 20
"""Bytes in a server's queue with which the proxy still takes requests for it."""


class ScriptedServer:
    """A listening socket; the test accepts its connections and plays the server on them.

    Bytes are sent, split, held back or replaced by a RST simply by what the test calls on a ``Connection``.
    """

    def __init__(self, path: Path | None = None, *, listening: bool = True, backlog: int = 512) -> None:
        """``path``: a unix socket instead of TCP. ``listening``: False to refuse connections until ``listen``."""
        self._backlog = backlog
        if path is not None:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self.address = str(path)
        else:
            self._listener = _bound_listener()
            self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepted: list[Connection] = []
        if listening:
            self.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for connection in self._accepted:
            connection.close()

    def listen(self) -> None:
        """Let connections in."""
        self._listener.listen(self._backlog)

    def refuse(self) -> None:
        """Refuse connections from now on; the address stays taken. Accepted connections live on."""
        self._listener.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close every connection and be as new: listening, and nobody connected."""
        for connection in self._accepted:
            connection.close()
        self._accepted.clear()
        self.listen()
        while self.has_connection():
            self._listener.accept()[0].close()

    def fill_up(self) -> ExitStack:
        """Connect until the kernel takes no more connections for this server; they end with the context."""
        host, _, port = self.address.rpartition(":")
        connections = ExitStack()
        while True:
            sock = connections.enter_context(socket.socket())
            sock.settimeout(0.3)
            try:
                sock.connect((host, int(port)))
            except TimeoutError:
                return connections

    def accept(self) -> Connection:
        """The next connection; AssertionError when none comes before the deadline."""
        assert self.has_connection(DEADLINE), f"nobody connected to {self.address}"
        connection = Connection(self._listener.accept()[0])
        self._accepted.append(connection)
        return connection

    def answer(self, reply: bytes) -> Connection:
        """Accept a connection, take one request from it, send the reply, and give the connection."""
        connection = self.accept()
        connection.request()
        connection.send(reply)
        return connection

    def has_connection(self, seconds: float = 0) -> bool:
        """Whether a connection waits to be accepted, or comes within so many seconds."""
        return bool(select.select([self._listener], [], [], seconds)[0])


def take_most(peer: Connection, proxy: Proxy) -> None:
    """Read of a large request of ``x`` until so little of it waits in the proxy that others can be queued behind it."""
    while not 0 < proxy.server_stats()["in_queue_bytes"] < SMALL_REST:
        peer.read_until(b"x" * 65536)


class ScriptedMemcached(ScriptedServer):
    """A scripted server of memcached's text protocol; its connections begin with the proxy asking for its version."""

    version = "1.6.18"
    """What it says it is, until ``reset``."""

    def reset(self) -> None:
        self.version = ScriptedMemcached.version
        super().reset()

    def accept(self) -> Connection:
        """The next connection, whose greeting is over."""
        connection = self.accept_ungreeted()
        connection.expect(GREETING)
        connection.send(f"VERSION {self.version}\r\n".encode())
        return connection

    def accept_ungreeted(self) -> Connection:
        """The next connection with nothing taken from it."""
        return super().accept()

    def answer(self, reply: bytes) -> Connection:
        connection = self.accept()
        connection.text_request()
        connection.send(reply)
        return connection


def _bound_listener() -> socket.socket:
    while True:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", free_port()))
        except OSError:
            listener.close()
            continue
        return listener
