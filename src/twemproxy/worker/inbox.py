"""What this worker reads from its inbox, and writes to the inboxes of workers, see ``ipc.inbox``. Plain Python."""

import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from twemproxy import log
from twemproxy.ipc import descriptors
from twemproxy.ipc.inbox import PACKET_SIZE, Assembler, Message, packets
from twemproxy.net.event_loop import CallbackChannel

PACKETS_A_TURN: Final = 64
"""Most packets that are read per turn of the event loop, so that clients do not wait."""

MOST_UNSENT: Final = 64
"""Packets of messages that may be missed which wait for room in an inbox; further ones are left out."""

_logger = log.get_logger(__name__)


class Outbox:
    """The way to the inbox of one worker."""

    def __init__(self, loop: Any, descriptor: int) -> None:
        """``loop``: a ``net.event_loop.EventLoop``. ``descriptor``: the writing end of the inbox, owned from now on."""
        self._loop = loop
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._unsent: deque[bytes] = deque()
        self._channel = CallbackChannel(descriptor, self._flush)
        self.on_room: Callable[[], None] | None = None
        """Called when there is room again after something did not fit."""

    def is_empty(self) -> bool:
        """Whether everything is sent."""
        return not self._unsent

    def is_full(self) -> bool:
        """Whether the worker does not read its messages as fast as they come."""
        return len(self._unsent) > MOST_UNSENT

    def send(self, message: Message, carried: Sequence[int] = ()) -> bool:
        """Send a message with descriptors, which the caller may close then.

        Returns False if nothing is sent. A message without descriptors is always sent, at the latest when the inbox has
        room.
        """
        if carried and self._unsent:
            return False
        first, *others = packets(message, os.getpid())
        if carried:
            try:
                socket.send_fds(self._socket, [first], list(carried))
            except BlockingIOError:
                self._loop.watch_writes(self._channel)
                return False
            except OSError as error:
                _logger.warning("a client cannot be passed to another worker: %(reason)s", {"reason": error.strerror})
                return False
        else:
            self._unsent.append(first)
        self._unsent += others
        if self._unsent:
            self._flush()
        return True

    def _flush(self) -> None:
        while self._unsent:
            try:
                self._socket.send(self._unsent[0])
            except BlockingIOError:
                self._loop.watch_writes(self._channel)
                return
            except OSError as error:
                _logger.error("a message to another worker is lost: %(reason)s", {"reason": error.strerror})
            self._unsent.popleft()
        self._loop.forget_channel(self._channel)
        if self.on_room is not None:
            self.on_room()

    def close(self) -> None:
        """Send nothing more."""
        self._unsent.clear()
        self._loop.forget_channel(self._channel)
        self._socket.close()


class Inbox:
    """The inbox of this worker."""

    def __init__(self, loop: Any, descriptor: int, on_message: Callable[[Message, list[int]], None]) -> None:
        """``loop``: a ``net.event_loop.EventLoop``. ``descriptor``: the reading end, owned from now on.

        ``on_message``: gets each message with its descriptors, while the inbox is open. A descriptor that the system
        has dropped is ``ipc.descriptors.LOST``.
        """
        self._loop = loop
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._on_message = on_message
        self._assembler = Assembler()
        self._channel = CallbackChannel(descriptor, self._receive)

    def open(self) -> None:
        """Read messages from now on."""
        self._loop.watch_reads(self._channel)

    def close(self) -> None:
        """Read no more messages: another process of the worker does."""
        self._loop.forget_channel(self._channel)
        self._socket.close()

    def _receive(self) -> None:
        for _ in range(PACKETS_A_TURN):
            try:
                packet, carried = descriptors.receive(self._socket, PACKET_SIZE)
            except BlockingIOError:
                return
            if not packet:
                # The supervisor is gone, as this worker is about to notice.
                self.close()
                return
            try:
                found = self._assembler.add(packet, carried)
            except msgspec.DecodeError as error:
                _logger.error("a message of another worker is invalid: %(reason)s", {"reason": error})
                continue
            if found is not None:
                self._on_message(*found)
            if self._socket.fileno() < 0:
                return
