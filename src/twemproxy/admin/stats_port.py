"""The statistics port: whoever connects gets the document and the end of the stream, without asking."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

from twemproxy import log

SEND_TIMEOUT: Final = 10.0
"""Seconds a reader has to take the document."""
LINGER: Final = 1.0
"""Seconds a reader that has it may take to close; what it sends, an HTTP request say, is thrown away."""
MOST_READERS: Final = 256
"""Readers at a time; one more is turned away."""

_RESET: Final = struct.pack("ii", 1, 0)

_logger = log.get_logger(__name__)


class _Reader(asyncio.Protocol):
    """One connection.

    Our side is shut down behind the document, but closed only after the other side: closing with input unread
    would reset the connection and could take the document away from its reader.
    """

    def __init__(self, document: Callable[[], bytes], readers: set["_Reader"]) -> None:
        self._document = document
        self._readers = readers
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._readers) >= MOST_READERS:
            _logger.warning("statistics: %d readers at a time, one more is turned away", MOST_READERS)
            self.drop()
            return
        self._readers.add(self)
        self._transport.set_write_buffer_limits(0)
        self._call_later(SEND_TIMEOUT, self.drop)
        self._transport.write(self._document())
        if self._transport.get_write_buffer_size() == 0:
            self.resume_writing()
        self._transport.write_eof()

    def resume_writing(self) -> None:
        self._call_later(LINGER, self._transport.abort)

    def connection_lost(self, error: Exception | None) -> None:
        self._readers.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def drop(self) -> None:
        """Reset the connection: its reader must not take what it has for the whole document."""
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _call_later(self, seconds: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, action)


class StatsPort:
    """Serves the statistics document."""

    def __init__(self, document: Callable[[], bytes]) -> None:
        """``document``: makes the document, called once per reader."""
        self._document = document
        self._readers: set[_Reader] = set()
        self._server: asyncio.Server | None = None

    async def open(self, listening: socket.socket) -> None:
        """Serve readers of this listening socket, which is the port's from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Reader(self._document, self._readers), sock=listening, backlog=socket.SOMAXCONN
        )

    def close(self) -> None:
        """Accept nobody any more and drop who is being served."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for reader in list(self._readers):
            reader.drop()
