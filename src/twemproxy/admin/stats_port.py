"""The statistics port: each reader, that is, each client of the port, gets one answer and the end of the stream.

A reader whose request line is one of HTTP for one of the pages (``GET /metrics HTTP/1.1``) gets an HTTP response. A
reader that sends the line ``GET /stats.json`` gets the document with all figures. Any other reader gets nutcracker's
document, without a request.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final, cast

from twemproxy import log
from twemproxy.admin import http
from twemproxy.admin.http import Body, Request, Response, size_of
from twemproxy.admin.pausing import PAUSE_INTERVAL, let_wait

REQUEST_TIME: Final = 0.2
"""Seconds that a reader has to send a request line. After this time, it gets nutcracker's document."""
HEADERS_TIME: Final = 1.0
"""Seconds that a reader with the request line of a page has to send the headers. After this time, it gets an error."""
MOST_HEADERS: Final = 8192
"""Bytes of headers."""
SLICE: Final = 1 << 17
"""Most bytes of an answer that are sent in one step."""
SEND_TIMEOUT: Final = 10.0
"""Seconds that a reader has to receive the answer. After this time, the connection is closed."""
LINGER: Final = 1.0
"""Seconds that a reader with the answer has to close its side. Its input is dropped during this time."""
MOST_READERS: Final = 256
"""Most readers at a time. For one more, the oldest reader that has its answer is closed, or else the oldest."""
MOST_UNSENT: Final = 16 << 20
"""Most bytes of answers that are kept for readers which have not received them. Above this, the oldest of these readers
are closed, but not the newest."""
WARNING_INTERVAL: Final = 60.0
"""Least time in seconds between two log lines about readers that these limits close early."""

ROOT: Final = "/"
"""The path that leads browsers to DASHBOARD, if there is such a page. Others get nutcracker's document there."""
DASHBOARD: Final = "/ui"

Asked = Request | bool
"""What a reader asks for: a page, or a document without HTTP, True for the full one."""

Pages = Mapping[str, Callable[[Request], Awaitable[Response]]]
"""The pages by their paths."""

_FULL_DOCUMENT: Final = b"GET /stats.json"
_RESET: Final = struct.pack("ii", 1, 0)

_TO_DASHBOARD: Final = http.text(302, f"see {DASHBOARD}")._replace(headers=(("location", DASHBOARD),))
_TOO_LARGE: Final = http.text(431, f"a request may have {MOST_HEADERS} bytes of headers")
_TOO_SLOW: Final = http.text(408, f"the headers of a request have to arrive within {HEADERS_TIME:.0f} s")
_DEFECT: Final = http.text(500, "error inside the proxy, see its log")

_logger = log.get_logger(__name__)


class _Reader(asyncio.Protocol):
    """The connection of one reader.

    After the answer, the proxy shuts down its side of the connection, but closes it only after the reader's side. If
    it was closed with unread input, the kernel would reset the connection, and the reader could lose the answer.
    """

    def __init__(self, port: "StatsPort") -> None:
        self._port = port
        self._received = b""
        self._headers = 0
        self._method = self._path = ""
        self._timer: asyncio.TimerHandle | None = None
        self._has_ended = False
        self._is_served = False
        self._has_asked = False
        self._to_send: Iterator[memoryview] = iter(())
        self.answer: Body | None = None
        """What is kept until the kernel has accepted all of it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)
        self._call_later(REQUEST_TIME, lambda: self._ask(False))
        self._port.admit(self)

    def data_received(self, data: bytes) -> None:
        if not self._has_asked:
            self._received += data
            self._parse()

    def eof_received(self) -> bool:
        self._has_ended = True
        if not self._has_asked:
            self._ask(http.parse(self._path, self._received[self._headers :]) if self._path else False)
        return not self._is_served

    def _parse(self) -> None:
        """Look at what has arrived, and ask for the answer if that is enough to know which one."""
        if not self._path:
            line, newline, _ = self._received.partition(b"\n")
            line = line.removesuffix(b"\r")
            if not newline:
                if not self._port.may_become_request(line):
                    self._ask(False)
                return
            if line not in self._port.request_lines:
                self._ask(line == _FULL_DOCUMENT)
                return
            self._method, self._path = self._port.request_lines[line]
            self._headers = self._received.index(b"\n") + 1
            if self._path != ROOT:
                self._call_later(HEADERS_TIME, lambda: self._refuse(_TOO_SLOW))
        end = http.end_of_headers(self._received, self._headers)
        if max(end, len(self._received) if end < 0 else 0) > self._headers + MOST_HEADERS:
            self._refuse(_TOO_LARGE)
        elif end >= 0:
            self._ask(http.parse(self._path, self._received[self._headers : end]))

    def _ask(self, asked: Asked) -> None:
        """Have the port answer."""
        if isinstance(asked, Request) and asked.path == ROOT:
            if asked.accepts("text/html"):
                self._refuse(_TO_DASHBOARD)
                return
            asked = False
        self._begin_answer()
        self._port.serve(self, asked)

    def _refuse(self, response: Response) -> None:
        """Send a response that does not depend on anything else."""
        if self._path == ROOT and response is not _TO_DASHBOARD:
            self._ask(False)
            return
        self._begin_answer()
        self.respond(response)

    def _begin_answer(self) -> None:
        self._has_asked = True
        self._received = b""
        self._call_later(SEND_TIMEOUT, self.drop)

    def respond(self, response: Response) -> None:
        """Send an HTTP response, without its body if only its head was asked for."""
        self.send(() if self._method == "HEAD" else response.body, http.head_of(response))

    def send(self, answer: Body, head: bytes = b"") -> None:
        """Send an answer and the end of the stream. ``head``: precedes it."""
        self.answer = answer
        first = b"".join([head, *answer[:1]])
        self._to_send = http.slices((first, *answer[1:]), SLICE)
        self._port.send_soon(self)

    def send_slice(self) -> None:
        """Send a slice of the answer. The next one follows when the kernel has accepted this one, in another step."""
        if self._transport.is_closing():
            return
        part = next(self._to_send, None)
        if part is None:
            self._answered()
            return
        self._transport.write(part)
        if self._transport.get_write_buffer_size() == 0:
            self._port.send_soon(self)

    def resume_writing(self) -> None:
        self._port.send_soon(self)

    def _answered(self) -> None:
        """The kernel has accepted all of the answer."""
        self.answer = None
        self._is_served = True
        self._port.served(self)
        # A reader that has reset the connection may not be known to have left yet.
        with suppress(OSError):
            self._transport.write_eof()
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

    def _call_later(self, seconds: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, action)


class StatsPort:
    """Serves the documents and the pages.

    Readers with the same request share one answer if they ask before it is being made. The size of all answers that
    have not been received is limited.
    """

    def __init__(self, document: Callable[[bool], Awaitable[Body]], pages: Pages) -> None:
        """Serve no readers yet. ``document(full)``: returns the current document, full or nutcracker's."""
        self._document = document
        self._pages = pages
        paths = [*pages, ROOT] if DASHBOARD in pages else list(pages)
        self.request_lines = http.request_lines(paths)
        """Those of the pages: the method and the path of each."""
        self._beginnings = (*self.request_lines, _FULL_DOCUMENT)
        self._waiting: dict[_Reader, None] = {}
        self._served: dict[_Reader, None] = {}
        self._due: dict[Asked, list[_Reader]] = {}
        self._answers: dict[Asked, asyncio.Task[None]] = {}
        self._sending: dict[_Reader, None] = {}
        self._warn_at = 0.0
        self._server: asyncio.Server | None = None
        self._listening: socket.socket | None = None

    async def open(self, listening: socket.socket) -> None:
        """Serve readers on this listening socket, which the caller closes after ``close``."""
        self._listening = listening
        await self.resume()

    async def pause(self, seconds: float) -> None:
        """Let new readers wait, and return when the present ones have their answers, after ``seconds`` at most."""
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
        for answer in self._answers.values():
            answer.cancel()
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

    def may_become_request(self, line: bytes) -> bool:
        """Whether this is the beginning of a request line that gets another answer than nutcracker's document."""
        return any(known.startswith(line) for known in self._beginnings)

    def serve(self, reader: _Reader, asked: Asked) -> None:
        """Send the reader what it asks for."""
        self._due.setdefault(asked, []).append(reader)
        if asked not in self._answers:
            self._answers[asked] = asyncio.create_task(self._answer(asked))

    def send_soon(self, reader: _Reader) -> None:
        """Have a reader send a slice of its answer, in a turn of the loop of its own.

        The last one goes on until the kernel takes no more, so that the answers of many readers are not all late.
        """
        if not self._sending:
            asyncio.get_running_loop().call_soon(self._send)
        self._sending[reader] = None

    def _send(self) -> None:
        reader, _ = self._sending.popitem()
        if self._sending:
            asyncio.get_running_loop().call_soon(self._send)
        reader.send_slice()

    def served(self, reader: _Reader) -> None:
        """Note that the kernel has accepted the whole answer of a reader."""
        if reader in self._waiting:
            self.forget(reader)
            self._served[reader] = None

    def forget(self, reader: _Reader) -> None:
        """Remove a reader that is closed or about to be closed."""
        self._waiting.pop(reader, None)
        self._served.pop(reader, None)

    async def _answer(self, asked: Asked) -> None:
        """Answer all readers that ask for this, also those that begin to ask while others are answered."""
        try:
            while readers := self._due.pop(asked, []):
                answer = await self._make(asked)
                for reader in readers:
                    if reader in self._waiting:
                        if answer is None:
                            reader.drop()
                        elif isinstance(answer, Response):
                            reader.respond(answer)
                        else:
                            reader.send(answer)
                self._drop_slow()
        finally:
            del self._answers[asked]

    async def _make(self, asked: Asked) -> Body | Response | None:
        """A document or a response; None if a document cannot be made."""
        try:
            if not isinstance(asked, Request):
                return await self._document(asked)
            response = await self._pages[asked.path](asked)
            return await http.compressed(response) if http.may_compress(asked, response) else response
        except Exception as defect:
            _logger.error("error inside the proxy, a reader of the statistics gets no answer", exc_info=defect)
            return _DEFECT if isinstance(asked, Request) else None

    def _drop_slow(self) -> None:
        """Drop the oldest readers that have not received their answers, if these answers are too large."""
        slow = [reader for reader in self._waiting if reader.answer is not None]
        for place, reader in enumerate(slow[:-1]):
            # Readers share answers.
            kept = {id(each.answer): each.answer for each in slow[place:] if each.answer is not None}
            unsent = sum(map(size_of, kept.values()))
            if unsent <= MOST_UNSENT or len(kept) == 1:
                break
            self._drop_unserved(reader, f"{unsent} unread bytes")

    def _drop_unserved(self, reader: _Reader, why: str) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._warn_at:
            self._warn_at = now + WARNING_INTERVAL
            _logger.warning(
                "statistics: %(reason)s; the oldest reader is closed before it has received its answer",
                {"reason": why},
            )
        reader.drop()
