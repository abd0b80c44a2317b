"""The slow log of a pool in one worker: its latest requests that took ``slowlog_ms`` or longer.

Plain Python: slow requests are rare, or the proxy is so busy that only some of them are kept.

A request is noted when its reply arrives, if it is slow by then. The time until the reply is written to the client is
added when that is known. Requests that are slow only because their replies were written late are noted without
arguments, one of each write: their arguments are not in memory any more.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

LENGTH: Final = 256
"""Requests that are kept."""
MOST_PER_SECOND: Final = 100
"""Requests that are noted per second. The others are counted only."""
SECOND: Final = 1_000_000


class SlowRequest:
    """A slow request. Times are in microseconds."""

    def __init__(self, command: str, arguments: list[bytes], server: str, client: str) -> None:
        """``command``: its name, empty for an unknown command.

        ``arguments``: with the name, empty if they are not known; the last one ends in "..." if something is left out.
        ``server``: the name of the server, empty if it is not known. ``client``: the client's address.
        """
        self.at = time.time()
        """When the request was noted, in seconds since the epoch."""
        self.command = command
        self.arguments = arguments
        self.server = server
        self.client = client
        self.waiting = 0
        """See ``stats.catalogue``; the same for ``server_time`` and ``writing``."""
        self.server_time = 0
        self.writing = 0
        self.replied_at = 0
        """When the reply arrived, by the clock of the event loop."""

    @property
    def whole(self) -> int:
        """From reading the request to writing the reply."""
        return self.waiting + self.server_time + self.writing


class SlowLog:
    """The slow log."""

    def __init__(self) -> None:
        self.requests: deque[SlowRequest] = deque(maxlen=LENGTH)
        """The latest ones, oldest first."""
        self.unwritten: dict[Any, list[SlowRequest]] = {}
        """Those whose replies are not written yet, by the reply queue of their client."""
        self.name_of: Callable[[int], str] = str
        """The name of a command by its row; the owner sets it."""
        self._second = 0
        self._in_second = 0

    def has_room(self, now: int) -> bool:
        """Whether one more may be noted now; it counts as noted. ``now``: in microseconds."""
        if now - self._second >= SECOND:
            self._second = now
            self._in_second = 0
        self._in_second += 1
        return self._in_second <= MOST_PER_SECOND

    def note(
        self,
        replies: Any,
        command: int,
        arguments: list[bytes],
        server: str,
        waiting: int,
        server_time: int,
        now: int,
    ) -> None:
        """Note a request whose reply has arrived now. ``replies``: the reply queue of its client, or another object.

        ``command``: its row. The other parameters: see SlowRequest.
        """
        client = replies.client_address() if hasattr(replies, "client_address") else ""
        noted = self._add(command, arguments, server, client)
        noted.waiting = waiting
        noted.server_time = server_time
        noted.replied_at = now
        if client:
            self.unwritten.setdefault(replies, []).append(noted)

    def note_written(self, replies: Any, now: int) -> None:
        """All replies of this queue are written now."""
        for noted in self.unwritten.pop(replies, ()):
            noted.writing = now - noted.replied_at

    def note_late(self, command: int, client: str, before: int, writing: int) -> None:
        """Note a request whose reply was written late. ``before``: its time until the reply arrived."""
        noted = self._add(command, [], "", client)
        noted.server_time = before
        noted.writing = writing

    def forget(self, replies: Any) -> None:
        """The client is closed."""
        self.unwritten.pop(replies, None)

    def clear(self) -> None:
        """Drop all requests."""
        self.requests.clear()

    def _add(self, command: int, arguments: list[bytes], server: str, client: str) -> SlowRequest:
        noted = SlowRequest(self.name_of(command), arguments, server, client)
        self.requests.append(noted)
        return noted
