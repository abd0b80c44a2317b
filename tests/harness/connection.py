"""One end of a connection, driven by the test: a client of the proxy, or a server of the proxy."""

import fcntl
import select
import socket
import struct
import termios
import time
from types import TracebackType
from typing import Self

from harness import memcache, resp
from harness.tcp_peers import has_read_all
from harness.waiting import DEADLINE, wait_until

_CHUNK = 1 << 18


class Connection:
    """A connected stream socket. Every operation raises AssertionError after the deadline."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.received = bytearray()
        """Bytes that have arrived and have not been read by the test."""
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send all of the data and collect incoming bytes meanwhile, so that neither side can block the other.

        If the other end closes, the rest is not sent; reading returns the bytes that the other end sent before.
        """
        view = memoryview(data)
        while view:
            readable, _, _ = self._wait(read=not self._ended, write=True)
            if readable:
                self._receive()
            try:
                view = view[self.sock.send(view[:_CHUNK]) :]
            except BlockingIOError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                return

    def send_until_stalled(self, data: bytes, patience: float = 1.0) -> int:
        """Send without reading until all data is sent or the other end accepts nothing for ``patience`` seconds.

        Returns the number of bytes sent.
        """
        view = memoryview(data)
        while view and select.select([], [self.sock], [], patience)[1]:
            view = view[self.sock.send(view[:_CHUNK]) :]
        return len(data) - len(view)

    def send_pieces(self, *pieces: bytes) -> None:
        """Send the pieces in order, each one after the other end has read the previous piece."""
        for piece in pieces:
            self.send(piece)
            self.wait_consumed()

    def ask(self, *arguments: bytes | str | int) -> bytes:
        """Send one command and return its reply."""
        self.send(resp.command(*arguments))
        return self.reply()

    def reply(self) -> bytes:
        """The next message, as raw bytes."""
        while True:
            end = resp.message_end(self.received) if self.received else None
            if end is not None:
                return self._take(end)
            wanted = self._bulk_length()
            self._receive_more("a reply")
            while len(self.received) < wanted:
                self._receive_more("the rest of a bulk string")

    def replies(self, count: int) -> list[bytes]:
        """The next ``count`` messages."""
        return [self.reply() for _ in range(count)]

    def request(self) -> list[bytes]:
        """The arguments of the next request (for a connection that plays a server)."""
        return resp.arguments(self.reply())

    def ask_text(self, request: bytes) -> bytes:
        """Send one request of memcached's text protocol and return its reply."""
        self.send(request)
        return self.text_reply()

    def text_reply(self) -> bytes:
        """The next reply of memcached's text protocol, as raw bytes."""
        while (end := memcache.reply_end(self.received)) is None:
            self._receive_more("a reply")
        return self._take(end)

    def text_request(self) -> bytes:
        """The next request of memcached's text protocol (for a connection that plays a server)."""
        while (end := memcache.request_end(self.received)) is None:
            self._receive_more("a request")
        return self._take(end)

    def expect(self, data: bytes) -> None:
        """Check that the next bytes are exactly ``data``."""
        compared = 0
        while len(self.received) < len(data) and data.startswith(self.received[compared:], compared):
            compared = len(self.received)
            self._receive_more(f"{data[compared : compared + 200]!r}")
        came = self._take(len(data))
        assert came == data, _difference(came, data)

    def read_until(self, end: bytes) -> bytes:
        """Read up to and including ``end``, which must be the last bytes received."""
        while not self.received.endswith(end):
            self._receive_more(f"{end!r}")
        return self._take(len(self.received))

    def expect_closed(self) -> None:
        """Check that the other end closes the connection, orderly or not, without sending anything more."""
        rest = self.read_to_end()
        assert rest == b"", f"came {rest[:500]!r} instead of the end"

    def read_to_end(self) -> bytes:
        """Read up to the end of the stream."""
        end = time.monotonic() + DEADLINE
        while not self._ended:
            assert time.monotonic() < end, f"the connection was not closed; came {bytes(self.received)[:500]!r}"
            if self._wait(read=True, write=False)[0]:
                self._receive()
        return self._take(len(self.received))

    def collect(self) -> bytes:
        """The bytes that have arrived so far, without waiting."""
        self.has_received()
        return self._take(len(self.received))

    def has_received(self) -> bool:
        """Whether any bytes have arrived, without waiting; the bytes stay for the next read."""
        while not self._ended and select.select([self.sock], [], [], 0)[0]:
            self._receive()
        return len(self.received) > 0

    def has_ended(self) -> bool:
        """Whether the other end has closed the connection; drops the bytes that have arrived so far."""
        self.collect()
        return self._ended

    def wait_consumed(self) -> None:
        """Wait until the process at the other end has read everything sent."""
        wait_until(self._consumed, "the other end has read what was sent")

    def half_close(self) -> None:
        """Send a FIN; the connection can still be read."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close; harmless when closed already."""
        self.sock.close()

    def _take(self, count: int) -> bytes:
        taken = bytes(memoryview(self.received)[:count])
        del self.received[:count]
        return taken

    def _bulk_length(self) -> int:
        """The total length of the first message if it begins with a complete bulk header; otherwise 0."""
        if self.received[:1] != b"$" or b"\r\n" not in self.received[:32]:
            return 0
        line_end = self.received.index(b"\r\n")
        return line_end + 4 + int(self.received[1:line_end])

    def _receive_more(self, what: str) -> None:
        assert not self._ended, f"the connection ended; expected {what}, came {bytes(self.received)[:500]!r}"
        self._wait(read=True, write=False)
        self._receive()

    def _receive(self) -> None:
        try:
            data = self.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self._ended = not data
        self.received += data

    def _wait(self, *, read: bool, write: bool) -> tuple[list[int], list[int], list[int]]:
        descriptor = self.sock.fileno()
        poll = select.poll()
        poll.register(descriptor, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        events = poll.poll(DEADLINE * 1000)
        assert events, f"nothing happened for {DEADLINE:.0f} s; came so far: {bytes(self.received)[:500]!r}"
        happened = events[0][1]
        readable = read and happened & ~select.POLLOUT
        return [descriptor] if readable else [], [descriptor], []

    def _consumed(self) -> bool:
        if self.sock.family == socket.AF_UNIX:
            # A unix socket counts bytes until they are read.
            return not struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0" * 4))[0]
        return has_read_all(self.sock)


def _difference(came: bytes, expected: bytes) -> str:
    same = next((i for i, pair in enumerate(zip(came, expected, strict=False)) if pair[0] != pair[1]), len(came))
    start = max(same - 60, 0)
    return f"at byte {same} came {came[start : same + 200]!r}, expected {expected[start : same + 200]!r}"


def connect(host: str, port: int) -> Connection:
    """A TCP connection."""
    return Connection(socket.create_connection((host, port), timeout=DEADLINE))


def accepts_at(path: str) -> bool:
    """Whether a unix socket at the path accepts a connection, which is closed at once."""
    try:
        connect_unix(path).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def connect_unix(path: str) -> Connection:
    """A connection to a unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(DEADLINE)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return Connection(sock)
