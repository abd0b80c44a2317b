"""Servers whose every byte the test decides, for behaviour that a real server does not show on demand."""

import re
import select
import socket
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.connection import Connection
from harness.memcache import GREETING
from harness.ports import free_port
from harness.proxy import ServedPools
from harness.resp import NULL, bulk, command
from harness.waiting import DEADLINE

MOST_IN_SLICE = 32
"""The number of requests of one client after which the proxy sends a fence, see ``upstream.fenced``."""
SMALL_REST = 3 << 20
"""The proxy takes further requests for a server while its queue has fewer bytes than this."""


class ScriptedServer:
    """A listening socket; the test accepts its connections and plays the server on them.

    The test sends, splits or holds back bytes, or sends a RST, with the methods of ``Connection``.
    """

    def __init__(self, path: Path | None = None, *, listening: bool = True, backlog: int = 512) -> None:
        """``path``: a unix socket instead of TCP. ``listening``: if False, refuse connections until ``listen``."""
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
        """Start to accept connections."""
        self._listener.listen(self._backlog)

    def refuse(self) -> None:
        """Refuse connections from now on; the address stays in use, and accepted connections stay open."""
        self._listener.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Close every connection and return to the initial state: listening, without connections."""
        for connection in self._accepted:
            connection.close()
        self._accepted.clear()
        self.listen()
        while self.has_connection():
            self._listener.accept()[0].close()

    def fill_up(self) -> ExitStack:
        """Connect until the kernel accepts no more connections for this server; they end with the context."""
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
        """The next connection; AssertionError if none arrives before the deadline."""
        assert self.has_connection(DEADLINE), f"no connection to {self.address}"
        connection = Connection(self._listener.accept()[0])
        self._accepted.append(connection)
        return connection

    def accept_scripts(self) -> "FencedPeer":
        """The next connection, which must be for clients that run scripts, after its handshake."""
        assert self.has_connection(DEADLINE), f"no connection to {self.address}"
        peer = FencedPeer(self._listener.accept()[0])
        self._accepted.append(peer)
        name, token = peer.request()
        assert name == b"ECHO"
        peer.send(bulk(token))
        return peer

    def answer(self, reply: bytes) -> Connection:
        """Accept a connection, read one request from it, send the reply, and return the connection."""
        connection = self.accept()
        connection.request()
        connection.send(reply)
        return connection

    def has_connection(self, seconds: float = 0) -> bool:
        """Whether a connection waits to be accepted, or arrives within ``seconds``."""
        return bool(select.select([self._listener], [], [], seconds)[0])


def take_most(peer: Connection, proxy: ServedPools) -> None:
    """Read a large request of ``x`` until the proxy's queue is short enough to take further requests for the server."""
    while not 0 < proxy.server_stats()["in_queue_bytes"] < SMALL_REST:
        peer.read_until(b"x" * 65536)


class FencedPeer(Connection):
    """A connection of the proxy for clients that run scripts, with fences between requests; see ``upstream.fenced``.

    ``fences``: the replies to fences that were read and not answered. ``answers_urgent``: answer urgent fences, which
    the proxy sends when a slice is late, as soon as they are read.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.fences: list[bytes] = []
        self.answers_urgent = False

    def request(self) -> list[bytes]:
        while True:
            words = super().request()
            if not (self.answers_urgent and len(words) == 1 and re.fullmatch(rb"[0-9a-f]{16}", words[0])):
                return words
            self.send(b"-ERR unknown command '%s', with args beginning with: \r\n" % words[0])

    def read_fence(self) -> None:
        """Read the next request, which must be a fence."""
        name, token = self.request()
        assert name == b"echo"
        assert re.fullmatch(rb"[0-9a-f]{16}", token)
        self.fences.append(b"$16\r\n%s\r\n" % token)

    def widen_window(self, client: Connection) -> None:
        """Let small replies widen the client's window from 16 requests to its maximum."""
        for size in (16, 64, 256):
            client.send(command("GET", "k") * size)
            replies = b""
            for _ in range(max(size // MOST_IN_SLICE, 1)):
                for _ in range(min(size, MOST_IN_SLICE)):
                    assert self.request() == [b"GET", b"k"]
                self.read_fence()
                replies += NULL * min(size, MOST_IN_SLICE) + self.fences.pop(0)
            self.send(replies)
            client.expect(NULL * size)

    def answer(self, reply: bytes) -> None:
        """Read the next fence, and answer the requests before it and the fence."""
        if not self.fences:
            self.read_fence()
        self.send(reply + self.fences.pop(0))


class ScriptedMemcached(ScriptedServer):
    """A scripted server of memcached's text protocol; the proxy asks for the version on each connection first."""

    version = "1.6.18"
    """The version that the server reports, until ``reset``."""

    def reset(self) -> None:
        self.version = ScriptedMemcached.version
        super().reset()

    def accept(self) -> Connection:
        """The next connection, after its handshake."""
        connection = self.accept_ungreeted()
        connection.expect(GREETING)
        connection.send(f"VERSION {self.version}\r\n".encode())
        return connection

    def accept_ungreeted(self) -> Connection:
        """The next connection, before its handshake."""
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
