"""The control socket: a unix socket for the owner of the proxy, over which sub-commands see and change it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec

from twemproxy import log
from twemproxy.admin.pausing import PAUSE_INTERVAL, let_wait
from twemproxy.ipc.control import LONGEST_REQUEST, Answer, Refused, Request, encode, request_decoder

REQUEST_TIME: Final = 10.0
"""Seconds that a sub-command has to send its request, and to read the answer."""

_logger = log.get_logger(__name__)


class ControlSocket:
    """Answers one request of each connection, as long as it is open."""

    def __init__(self, answer: Callable[[Request, int], Awaitable[Answer]]) -> None:
        """``answer``: returns the answer to a request; it also gets the descriptor of the connection."""
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._listening: socket.socket | None = None

    async def open(self, listening: socket.socket) -> None:
        """Answer on this listening socket, which the caller closes after ``close``."""
        self._listening = listening
        await self.resume()

    async def pause(self, seconds: float, connection: int) -> None:
        """Let new connections wait, and return when all have answers but the one with this descriptor.

        It returns after ``seconds`` at most.
        """
        if self._server is not None:
            await let_wait(self._server)
        self._stop_accepting()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(each.get_extra_info("socket").fileno() != connection for each in self._connections):
                    await asyncio.sleep(PAUSE_INTERVAL)

    async def resume(self) -> None:
        """Accept connections again, unless the control socket is closed."""
        if self._listening is not None:
            # asyncio closes the socket with the server.
            self._server = await asyncio.start_unix_server(
                self._serve, sock=self._listening.dup(), limit=LONGEST_REQUEST
            )

    def close(self) -> None:
        """Stop accepting connections, and close those that have no answer yet."""
        self._listening = None
        self._stop_accepting()
        for writer in self._connections:
            writer.close()

    def _stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            async with asyncio.timeout(REQUEST_TIME):
                line = await reader.readline()
            connection: socket.socket = writer.get_extra_info("socket")
            writer.write(encode(await self._answer_line(line, connection.fileno())))
            async with asyncio.timeout(REQUEST_TIME):
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            # It has closed the connection, sent too much, or is too slow.
            pass
        finally:
            self._connections.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer_line(self, line: bytes, connection: int) -> Answer:
        try:
            request = request_decoder.decode(line)
        except msgspec.DecodeError as error:
            return Refused((f"the request is not valid: {error}",))
        try:
            return await self._answer(request, connection)
        except Exception as defect:
            _logger.error("error inside the proxy, a sub-command gets no answer", exc_info=defect)
            return Refused((f"error inside the proxy, see its log: {defect}",))
