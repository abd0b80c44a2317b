"""Blocking requests whose keys move to another server while they wait.

Plain Python. Such a request is taken off its server, and its client asks it again at the server that has the keys now.
The server must not pop an element for a request that nobody waits for any more. So it is asked to end the wait, with
CLIENT UNBLOCK from another connection: either the request has not been served, and then it gets an error, or its reply
is on its way to the client. Where that is not possible the proxy closes its side of the connection, on which the server
drops the request; a server that serves the request in the same moment then drops the reply, too.

Several clients that wait for a key are asked again in the order in which they have waited.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from twemproxy.protocol.plan import Server

UNBLOCK_TIME = 1_000_000
"""Microseconds until the proxy closes its side of a connection whose request has not been taken off by then."""

RETRY_INTERVAL = 5_000
"""Microseconds until a server that has not read the request yet is asked again to end its wait."""


class Connection(Protocol):
    """The part of ``upstream.server_connection.ServerConnection`` that is used here."""

    candidate: Any

    def ask(self, request: bytes, done: Callable[[bytes, bool], None]) -> None:
        """Send a request of the proxy's own."""

    def abandon(self) -> None:
        """Close the connection."""

    def finish(self) -> bool:
        """Close the proxy's side of the connection; False while there are unsent bytes."""

    def is_stale(self) -> bool:
        """Whether the server has another address now, or is removed."""

    def has_sent(self) -> bool:
        """Whether the server may have the whole of a request that has no reply yet."""


class Request(Protocol):
    """The part of ``downstream.blocked_request.BlockedRequest`` that is used here."""

    def ask_again(self) -> None:
        """The server does not have the request any more: ask it again."""

    def end_with(self, reply: bytes) -> None:
        """Reply to the client with a reply that was held back."""


class Wait:
    """A blocking request at a server. ``moving``: it is being taken off. ``unblocked``: the server has ended the wait.

    ``until``: when the next way to take it off is tried, in microseconds. ``held``: the error of the unblocked request.
    """

    __slots__ = ("_owner", "connection", "held", "keys", "moving", "request", "server", "unblocked", "until")

    def __init__(self, owner: "Waits", server: Server, connection: Connection, keys: Sequence[bytes], request: Request):
        self._owner = owner
        self.server = server
        self.connection = connection
        self.keys = keys
        self.request = request
        self.moving = self.unblocked = False
        self.until = 0
        self.held = b""

    def takes(self, reply: bytes) -> bool:
        """Whether this reply is not for the client, because it is the error of a request that is being taken off."""
        return self._owner.takes(self, reply)

    def is_lost(self) -> bool:
        """The connection has ended without a reply: whether the request is asked again."""
        return self._owner.lost(self)

    def end(self) -> None:
        """The request has its reply, or does not need one any more."""
        self._owner.end(self)


class Waits:
    """The blocking requests of a pool, in the order in which they were asked."""

    def __init__(self, pool: Any) -> None:
        """``pool``: a ``upstream.server_pool.ServerPool``."""
        self._pool = pool
        self._waits: dict[Wait, None] = {}
        self._queues: dict[tuple[Server, bytes], deque[Wait]] = {}
        self._free: set[Wait] = set()
        self._later: dict[Wait, None] = {}
        self._unblockers: dict[tuple[Server, Any], list[Any]] = {}
        self._asked: dict[Connection, int] = {}
        self._timer = pool.timer(self._look_again)

    def begin(self, server: Server, connection: Connection, keys: Sequence[bytes], request: Request) -> Wait:
        """A request for these keys, at least one, is sent to a server."""
        wait = Wait(self, server, connection, keys, request)
        self._waits[wait] = None
        return wait

    def end(self, wait: Wait) -> None:
        """See ``Wait.end``."""
        self._waits.pop(wait, None)
        self._later.pop(wait, None)
        self._free.discard(wait)
        queue = self._queues.get((wait.server, wait.keys[0]))
        if queue and wait in queue:
            queue.remove(wait)
            if not queue:
                del self._queues[wait.server, wait.keys[0]]
            self._ask_freed(queue)

    def may_be_unblocked(self, connection: Connection) -> bool:
        """Whether the server may still get a request of the proxy to end a wait on this connection, whatever it is."""
        return connection in self._asked

    def forget(self, connection: Connection) -> None:
        """A connection is closed."""
        self._asked.pop(connection, None)

    def check(self) -> None:
        """Keys may have moved, or servers have left their addresses: take off the requests that are misplaced."""
        for wait in list(self._waits):
            if not wait.moving and self._is_misplaced(wait):
                self._take_off(wait)

    def _is_misplaced(self, wait: Wait) -> bool:
        if wait.server.removed or wait.connection.is_stale():
            return True
        pool = self._pool
        if pool.is_random() or not pool.is_open():
            return False
        return pool.server_of_all(wait.keys) is not wait.server

    def _take_off(self, wait: Wait) -> None:
        wait.moving = True
        self._queues.setdefault((wait.server, wait.keys[0]), deque()).append(wait)
        if not wait.connection.has_sent():
            wait.connection.abandon()
            self._freed(wait)
            return
        wait.until = self._pool.now() + UNBLOCK_TIME
        self._unblock(wait)

    def _unblock(self, wait: Wait) -> None:
        """Ask the server to end the wait."""
        handshake = self._pool.codec.handshake
        identity = self._pool.private.connection_id(wait.connection)
        if not identity and handshake.connection_id():
            # The reply with the id is on its way, and the request may be served before it arrives.
            self._look_later(wait)
            return
        request = handshake.unblock(identity)
        if not request:
            self._half_close(wait)
            return
        place = (wait.server, wait.connection.candidate)
        if place not in self._unblockers:
            self._unblockers[place] = [self._pool.open_beside(wait.connection, UNBLOCK_TIME), 0]
        self._unblockers[place][1] += 1
        self._asked[wait.connection] = self._asked.get(wait.connection, 0) + 1
        self._unblockers[place][0].ask(request, partial(self._unblock_answered, wait, place))

    def _unblock_answered(self, wait: Wait, place: tuple[Server, Any], reply: bytes, answered: bool) -> None:
        if answered and wait.connection in self._asked:
            self._asked[wait.connection] -= 1
            if not self._asked[wait.connection]:
                del self._asked[wait.connection]
        entry = self._unblockers[place]
        entry[1] -= 1
        if not entry[1]:
            del self._unblockers[place]
            entry[0].abandon()
            self._pool.drop(entry[0])
        if wait not in self._waits or wait in self._free:
            return
        wait.unblocked = answered and reply == b":1\r\n"
        if wait.held:
            if answered and not wait.unblocked:
                # A client has ended the wait with CLIENT UNBLOCK.
                wait.request.end_with(wait.held)
            else:
                self._freed(wait)
        elif answered and reply in (b":0\r\n", b":1\r\n"):
            # After :0 its reply is on its way, or the server has not read the request yet.
            self._look_later(wait)
        else:
            self._half_close(wait)

    def _look_later(self, wait: Wait) -> None:
        """The request cannot be taken off yet."""
        self._later[wait] = None
        self._timer.arm_by(self._pool.now() + RETRY_INTERVAL)

    def _look_again(self) -> None:
        """Go on with the requests that were not taken off at once."""
        waits, self._later = self._later, {}
        for wait in waits:
            if self._pool.now() >= wait.until:
                self._half_close(wait)
            elif wait.unblocked:
                self._later[wait] = None
            else:
                self._unblock(wait)
        if self._later:
            self._timer.arm_by(self._pool.now() + RETRY_INTERVAL)

    def _half_close(self, wait: Wait) -> None:
        """Close the proxy's side of the connection; the client asks again when the connection has ended."""
        if wait.connection.finish():
            return
        if not wait.connection.has_sent():
            wait.connection.abandon()
            self._freed(wait)
            return
        self._look_later(wait)

    def takes(self, wait: Wait, reply: bytes) -> bool:
        """See ``Wait.takes``."""
        if not wait.moving or not self._pool.codec.handshake.is_unblocked(reply):
            return False
        wait.held = reply
        if wait.unblocked:
            self._freed(wait)
        return True

    def lost(self, wait: Wait) -> bool:
        """See ``Wait.is_lost``."""
        if wait.moving:
            self._freed(wait)
        return wait.moving

    def _freed(self, wait: Wait) -> None:
        """The server does not have the request any more."""
        self._later.pop(wait, None)
        self._free.add(wait)
        self._ask_freed(self._queues[wait.server, wait.keys[0]])

    def _ask_freed(self, queue: deque[Wait]) -> None:
        """Have the requests at the head of a queue asked again."""
        while queue and queue[0] in self._free:
            wait = queue.popleft()
            self._free.discard(wait)
            self._waits.pop(wait, None)
            if not queue:
                self._queues.pop((wait.server, wait.keys[0]), None)
            wait.request.ask_again()
