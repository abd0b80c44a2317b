"""The two ends of a hand-over: a worker that gives its clients, and one that takes them. Plain Python."""

import os
import socket
from collections import deque
from contextlib import suppress
from typing import Any, Final

from twemproxy import log
from twemproxy.ipc import descriptors
from twemproxy.ipc.handover import HANDED, Handed
from twemproxy.ipc.messages import MessageStream, encode
from twemproxy.net.event_loop import CallbackChannel

SEND_TIME: Final = 1.0
"""Seconds for which the giving worker waits, at most, until the other one reads."""
_TAKEN: Final = b"."
_RECEIVE_SIZE: Final = 65536

_logger = log.get_logger(__name__)


class Giver:
    """Hands the clients of a data plane over."""

    def __init__(self, data_plane: Any, descriptor: int, number: int, timeout: float) -> None:
        """Begin. ``data_plane``: a ``worker.data_plane.DataPlane``. ``descriptor``: a socket to the taking worker.

        ``number``, ``timeout``: as in ``ipc.messages.HandOver``.
        """
        self._loop = data_plane.loop
        self._socket = socket.socket(fileno=descriptor)
        self._socket.settimeout(SEND_TIME)
        self._channel = CallbackChannel(descriptor, self._on_readable)
        self._loop.watch_reads(self._channel)
        self._handover = data_plane.hand_over(self._give, number, timeout)

    def _give(self, fd: int, pool: Any, state: dict[str, Any]) -> bool:
        """Send a client; False if the taking worker is gone."""
        try:
            data, _ = descriptors.send(self._socket, encode(Handed(pool.config.name, state)), [fd])
            self._socket.sendall(data)
        except OSError as error:
            _logger.warning("the hand-over ends, the other worker does not take clients: %s", error)
            return False
        return True

    def _on_readable(self) -> None:
        try:
            taken = self._socket.recv(_RECEIVE_SIZE)
        except OSError:
            taken = b""
        if taken:
            self._handover.acknowledged(len(taken))
        else:
            self._loop.forget_channel(self._channel)
            self._handover.stop()


class Taker:
    """Takes clients over into a data plane."""

    def __init__(self, data_plane: Any, descriptor: int) -> None:
        """Begin. ``data_plane``: a ``worker.data_plane.DataPlane``. ``descriptor``: a socket to the giving worker."""
        self._data_plane = data_plane
        # A reload that comes in the meantime may give another pool the name.
        self._pools = {pool.config.name: pool for pool in data_plane.pools}
        self._socket = socket.socket(fileno=descriptor)
        self._stream = MessageStream(HANDED)
        self._descriptors: deque[int] = deque()
        self._channel = CallbackChannel(descriptor, self._on_readable)
        data_plane.loop.watch_reads(self._channel)

    def _on_readable(self) -> None:
        try:
            data, received = descriptors.receive(self._socket, _RECEIVE_SIZE)
        except OSError:
            data, received = b"", []
        self._descriptors += received
        if not data:
            self._end()
            return
        for message in self._stream.feed(data):
            self._take(message, self._descriptors.popleft())
            # The giving worker ends when it has given its last client.
            with suppress(OSError):
                self._socket.send(_TAKEN)

    def _take(self, message: Handed, fd: int) -> None:
        if fd == descriptors.LOST:
            _logger.warning("a client of the pool '%s' is closed: the worker can open no more files", message.pool)
            return
        pool = self._pools[message.pool]
        if pool not in self._data_plane.pools:
            _logger.warning("a client of the pool '%s' is closed, which is not served any more", message.pool)
            os.close(fd)
        else:
            self._data_plane.adopt(pool, fd, message.state)

    def _end(self) -> None:
        """All clients have come, or the giving worker is gone."""
        self._data_plane.await_clients(0)
        self._data_plane.loop.forget_channel(self._channel)
        self._socket.close()
        while self._descriptors:
            if (descriptor := self._descriptors.popleft()) != descriptors.LOST:
                os.close(descriptor)
