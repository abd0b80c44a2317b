"""The statistics port: a reader gets one document and the end of the stream.

A reader that sends the request line ``GET /stats.json`` gets every figure: as the body of an HTTP response if the line
ends in ``HTTP/1.0`` or ``HTTP/1.1``, otherwise the body alone. Any other reader gets nutcracker's document, without
asking for it.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

from twemproxy import log

REQUEST_TIME: Final = 0.05
"""Seconds a reader has to send its request line; one that sends none gets nutcracker's document then."""
SEND_TIMEOUT: Final = 10.0
"""Seconds a reader has to take the document."""
LINGER: Final = 1.0
"""Seconds a reader that has the document may take to close; what it sends meanwhile is thrown away."""
MOST_READERS: Final = 256
"""Readers at a time. When one more comes, the oldest goes, first of those that have their document."""
MOST_UNSENT: Final = 16 << 20
"""Bytes of documents that readers have not taken; beyond it the oldest of those readers go, all but one."""
WARNING_INTERVAL: Final = 60.0
"""Seconds between two lines in the log about readers that had to go."""

_FULL_DOCUMENT: Final = b"GET /stats.json"
_OVER_HTTP: Final = (_FULL_DOCUMENT + b" HTTP/1.0", _FULL_DOCUMENT + b" HTTP/1.1")
_REQUEST_LINES: Final = (_FULL_DOCUMENT, *_OVER_HTTP)
_NOT_ASKED: Final = b""
_RESET: Final = struct.pack("ii", 1, 0)

_logger = log.get_logger(__name__)


def request_line(data: bytes) -> bytes | None:
    """Which line of ``_REQUEST_LINES`` a reader has sent, b"" if it is none of them, None while it may become one.

    ``data``: all that the reader has sent so far.
    """
    line, newline, _ = data.partition(b"\n")
    line = line.removesuffix(b"\r")
    if newline:
        return line if line in _REQUEST_LINES else _NOT_ASKED
    return None if any(known.startswith(line) for known in _REQUEST_LINES) else _NOT_ASKED


def http_response(body: bytes) -> bytes:
    """The whole response to a request for the full document."""
    head = (
        "HTTP/1.1 200 OK\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        "cache-control: no-store\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body


class _Reader(asyncio.Protocol):
    """One connection.

    Our side is shut down after the document, but closed only after the other side: closing with input unread
    would reset the connection and could take the document away from its reader.
    """

    def __init__(self, port: "StatsPort") -> None:
        self._port = port
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._has_ended = False
        self._is_served = False
        self.request: bytes | None = None
        """As ``request_line`` gives it."""
        self.unsent = 0
        """Bytes of the document that the kernel has not taken."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)
        self._call_later(REQUEST_TIME, lambda: self._settle(_NOT_ASKED))
        self._port.admit(self)

    def data_received(self, data: bytes) -> None:
        if self.request is None:
            self._received += data
            self._settle(request_line(self._received))

    def eof_received(self) -> bool:
        self._has_ended = True
        if self.request is None:
            self._settle(_NOT_ASKED)
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
        """Close the connection; reset it if the reader could take what it has for the whole document."""
        self._port.forget(self)
        if not self._is_served:
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _settle(self, request: bytes | None) -> None:
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

    However many readers come at a time, each document is made once per turn of the event loop, and what readers do not
    take is bounded.
    """

    def __init__(self, document: Callable[[bool], bytes]) -> None:
        """``document``: makes a document as of now; True for every figure, False for nutcracker's."""
        self._document = document
        self._waiting: dict[_Reader, None] = {}
        self._served: dict[_Reader, None] = {}
        self._due: list[_Reader] = []
        self._unsent = 0
        self._warn_at = 0.0
        self._server: asyncio.Server | None = None

    async def open(self, listening: socket.socket) -> None:
        """Serve readers of this listening socket, which is the port's from now on."""
        loop = asyncio.get_running_loop()
        # asyncio accepts as many in one turn as the backlog has.
        self._server = await loop.create_server(lambda: _Reader(self), sock=listening, backlog=MOST_READERS)

    def close(self) -> None:
        """Accept no more readers and drop those that are being served."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for reader in (*self._waiting, *self._served):
            reader.drop()

    # --- for readers -----------------------------------------------------------------------------------------

    def admit(self, reader: _Reader) -> None:
        """A reader is there; another one may have to go for it."""
        if len(self._waiting) + len(self._served) >= MOST_READERS:
            if self._served:
                next(iter(self._served)).drop()
            else:
                self._drop_unserved(next(iter(self._waiting)), f"{MOST_READERS} readers at a time")
        self._waiting[reader] = None

    def serve(self, reader: _Reader) -> None:
        """Send the reader the document it wants, together with all others that want theirs in this turn."""
        self._due.append(reader)
        if len(self._due) == 1:
            asyncio.get_running_loop().call_soon(self._serve_due)

    def served(self, reader: _Reader) -> None:
        """The kernel has all of the reader's document."""
        if reader in self._waiting:
            self.forget(reader)
            self._served[reader] = None

    def forget(self, reader: _Reader) -> None:
        """The reader is gone, or about to go."""
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
            _logger.warning("statistics: %s; the oldest reader is closed before it has its document", why)
        reader.drop()
