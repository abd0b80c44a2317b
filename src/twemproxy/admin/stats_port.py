"""The statistics port: each reader, that is, each client of the port, gets one document and the end of the stream.

A reader that sends the request line ``GET /stats.json`` gets the document with all figures: in an HTTP response if the
line ends in ``HTTP/1.0`` or ``HTTP/1.1``, otherwise the document alone. Any other reader gets nutcracker's document,
without a request.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from twemproxy import log
from twemproxy.admin.pausing import PAUSE_INTERVAL, let_wait

REQUEST_TIME: Final = 0.05
"""Seconds that a reader has to send a request line. After this time, it gets nutcracker's document."""
SEND_TIMEOUT: Final = 10.0
"""Seconds that a reader has to receive the document. After this time, the connection is closed."""
LINGER: Final = 1.0
"""Seconds that a reader with the document has to close its side. Its input is dropped during this time."""
MOST_READERS: Final = 256
"""Most readers at a time. For one more, the oldest reader that has its document is closed, or else the oldest."""
MOST_UNSENT: Final = 16 << 20
"""Most unsent bytes of documents. Above this, the oldest readers with unsent bytes are closed, but not the newest."""
WARNING_INTERVAL: Final = 60.0
"""Least time in seconds between two log lines about readers that these limits close early."""

_FULL_DOCUMENT: Final = b"GET /stats.json"
_OVER_HTTP: Final = (_FULL_DOCUMENT + b" HTTP/1.0", _FULL_DOCUMENT + b" HTTP/1.1")
_REQUEST_LINES: Final = (_FULL_DOCUMENT, *_OVER_HTTP)
_NOT_ASKED: Final = b""
_RESET: Final = struct.pack("ii", 1, 0)

_logger = log.get_logger(__name__)


def request_line(data: bytes) -> bytes | None:
    """Return which line of ``_REQUEST_LINES`` a reader has sent, b"" for any other line, None for an incomplete line.

    ``data``: all bytes that the reader has sent so far.
    """
    line, newline, _ = data.partition(b"\n")
    line = line.removesuffix(b"\r")
    if newline:
        return line if line in _REQUEST_LINES else _NOT_ASKED
    return None if any(known.startswith(line) for known in _REQUEST_LINES) else _NOT_ASKED


def http_response(body: bytes) -> bytes:
    """Return the HTTP response with the full document as its body."""
    head = (
        "HTTP/1.1 200 OK\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        "cache-control: no-store\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body


class _Reader(asyncio.Protocol):
    """The connection of one reader.

    After the document, the proxy shuts down its side of the connection, but closes it only after the reader's side. If
    it was closed with unread input, the kernel would reset the connection, and the reader could lose the document.
    """

    def __init__(self, port: "StatsPort") -> None:
        self._port = port
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._has_ended = False
        self._is_served = False
        self.request: bytes | None = None
        """The result of ``request_line``."""
        self.unsent = 0
        """Bytes of the document that the kernel has not accepted yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)
        self._call_later(REQUEST_TIME, lambda: self._take_request(_NOT_ASKED))
        self._port.admit(self)

    def data_received(self, data: bytes) -> None:
        if self.request is None:
            self._received += data
            self._take_request(request_line(self._received))

    def eof_received(self) -> bool:
        self._has_ended = True
        if self.request is None:
            self._take_request(_NOT_ASKED)
        return not self._is_served

    def send(self, document: bytes) -> None:
        """Send the document and the end of the stream."""
        self._transport.write(document)
        self.unsent = self._transport.get_write_buffer_size()
        if self.unsent == 0:
            self.resume_writing()
        self._transport.write_eof()

    def resume_writing(self) -> None:
        self._is_served = True
        self._port.served(self)
        if self._has_ended:
            self._transport.close()
        else:
            self._call_later(LINGER, self.drop)

    def connection_lost(self, error: Exception | None) -> None:
        self._port.forget(self)
        if self._timer is not None:
            self._timer.cancel()

    def drop(self) -> None:
        """Close the connection; reset it if the document is incomplete, so that the reader notices it."""
        self._port.forget(self)
        if not self._is_served:
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _take_request(self, request: bytes | None) -> None:
        self.request = request
        if request is not None:
            self._received = b""
            self._call_later(SEND_TIMEOUT, self.drop)
            self._port.serve(self)

    def _call_later(self, seconds: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, action)


class StatsPort:
    """Serves the statistics documents.

    In one turn of the event loop, readers with the same request share one document. The number of unsent bytes is
    limited.
    """

    def __init__(self, document: Callable[[bool], bytes]) -> None:
        """Serve no readers yet. ``document(full)``: returns the current document, full or nutcracker's."""
        self._document = document
        self._waiting: dict[_Reader, None] = {}
        self._served: dict[_Reader, None] = {}
        self._due: list[_Reader] = []
        self._unsent = 0
        self._warn_at = 0.0
        self._server: asyncio.Server | None = None
        self._listening: socket.socket | None = None

    async def open(self, listening: socket.socket) -> None:
        """Serve readers on this listening socket, which the caller closes after ``close``."""
        self._listening = listening
        await self.resume()

    async def pause(self, seconds: float) -> None:
        """Let new readers wait, and return when the present ones have their documents, after ``seconds`` at most."""
        if self._server is not None:
            await let_wait(self._server)
        self._stop_accepting()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._waiting:
                    await asyncio.sleep(PAUSE_INTERVAL)

    async def resume(self) -> None:
        """Serve readers again, unless the port is closed."""
        if self._listening is not None:
            loop = asyncio.get_running_loop()
            # asyncio accepts up to ``backlog`` connections in one turn, and closes the socket with the server.
            self._server = await loop.create_server(
                lambda: _Reader(self), sock=self._listening.dup(), backlog=MOST_READERS
            )

    def close(self) -> None:
        """Stop accepting readers, and close all connections."""
        self._listening = None
        self._stop_accepting()
        for reader in (*self._waiting, *self._served):
            reader.drop()

    def _stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # --- for readers -----------------------------------------------------------------------------------------

    def admit(self, reader: _Reader) -> None:
        """Add a new reader; above MOST_READERS, close another one."""
        if len(self._waiting) + len(self._served) >= MOST_READERS:
            if self._served:
                next(iter(self._served)).drop()
            else:
                self._drop_unserved(next(iter(self._waiting)), f"{MOST_READERS} readers at a time")
        self._waiting[reader] = None

    def serve(self, reader: _Reader) -> None:
        """Send the reader its document, together with all other readers whose requests arrive in this turn."""
        self._due.append(reader)
        if len(self._due) == 1:
            asyncio.get_running_loop().call_soon(self._serve_due)

    def served(self, reader: _Reader) -> None:
        """Note that the kernel has accepted the whole document of a reader."""
        if reader in self._waiting:
            self.forget(reader)
            self._served[reader] = None

    def forget(self, reader: _Reader) -> None:
        """Remove a reader that is closed or about to be closed."""
        self._waiting.pop(reader, None)
        self._served.pop(reader, None)
        self._unsent -= reader.unsent
        reader.unsent = 0

    def _serve_due(self) -> None:
        documents: dict[bytes, bytes] = {}
        due, self._due = self._due, []
        for reader in due:
            if reader in self._waiting:
                request = reader.request or _NOT_ASKED
                if request not in documents:
                    documents[request] = self._make(request)
                reader.send(documents[request])
                self._unsent += reader.unsent
        slow = [reader for reader in self._waiting if reader.unsent > 0]
        for reader in slow[:-1]:
            if self._unsent <= MOST_UNSENT:
                break
            self._drop_unserved(reader, f"{self._unsent} unread bytes")

    def _make(self, request: bytes) -> bytes:
        document = self._document(request != _NOT_ASKED)
        return http_response(document) if request in _OVER_HTTP else document

    def _drop_unserved(self, reader: _Reader, why: str) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._warn_at:
            self._warn_at = now + WARNING_INTERVAL
            _logger.warning(
                "statistics: %(reason)s; the oldest reader is closed before it has received its document",
                {"reason": why},
            )
        reader.drop()
