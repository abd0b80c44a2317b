"""Server connections that one client has for itself while it needs one: to block on, or for a transaction.

Plain Python: such requests are rare. A pool has at most ``blocking_connections`` of them. A client reserves one, and
gives it back when the server holds nothing of it any more; then it waits some seconds for the next client.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

IDLE_TIME = 10_000
"""How long a connection is kept for the next client, in milliseconds."""

TOO_MANY = (
    "all {limit} private server connections of pool {pool} are in use: 'blocking_connections' in its configuration"
    " allows more"
)


class Connection(Protocol):
    """What is asked of a server connection here, see ``proxy.server_connection``."""

    on_settled: Callable[[bool, bool], None] | None

    def ask(self, request: bytes, done: Callable[[bytes, bool], None]) -> None:
        """Send a request of the proxy's own."""

    def abandon(self) -> None:
        """Close it."""

    def set_timeout(self, timeout: int) -> None:
        """How long requests from now on may wait."""

    def finish(self) -> bool:
        """Send nothing more, but take what the server has to say; False when that cannot be done."""

    def is_idle(self) -> bool:
        """Whether it can serve somebody else."""

    def is_misplaced(self) -> bool:
        """Whether its server is elsewhere by now."""

    def has_room(self, client: "Client") -> bool:
        """Whether it can take more; if not, a client that waits is woken once it can."""


class Client(Protocol):
    """What is asked of a client here."""

    def awaits_replies(self) -> bool:
        """Whether requests of its are on their way."""

    def wake(self) -> None:
        """Have its next request planned again."""

    def leave(self) -> None:
        """It has gone, and nothing it has sent is to be done any more."""


class Reserved:
    """A private connection while a client has it.

    ``prepared``: the requests that were sent to get it ready. ``kept``: it stays the client's beyond its next reply.
    ``patient``: what is on it now may take for ever. ``finished``: its client sends nothing more, and when the server
    has nothing to say either, the client is gone. ``problem``: the error reply that says what went wrong; empty
    while nothing has.
    """

    __slots__ = (
        "_unanswered",
        "client",
        "connection",
        "finished",
        "kept",
        "patient",
        "prepared",
        "problem",
        "profile",
        "server",
    )

    def __init__(self, client: Client, connection: Connection, server: int, profile: int) -> None:
        self.client = client
        self.connection = connection
        self.server = server
        self.profile = profile
        self.kept = self.patient = self.finished = False
        self.prepared: Sequence[bytes] = ()
        self.problem = b""
        self._unanswered = 0

    def prepare(self, requests: Sequence[bytes]) -> None:
        """Send these; they must be answered well."""
        self.prepared = requests
        for request in requests:
            self._unanswered += 1
            self.connection.ask(request, self._answered)

    def _answered(self, reply: bytes, answered: bool) -> None:
        self._unanswered -= 1
        if not self.problem and (not answered or reply.startswith(b"-")):
            self.problem = reply
        if not self._unanswered:
            self.client.wake()

    def is_ready(self) -> bool:
        """Whether everything sent to prepare it has been answered."""
        return not self._unanswered


class Reservations:
    """The private connections of one client, at most one to a server."""

    def __init__(self, client: Client, connections: "PrivateConnections") -> None:
        self._client = client
        self._connections = connections
        self._by_server: dict[int, Reserved] = {}
        self._used = False

    def reserve(
        self, server: int, profile: int, before: Sequence[bytes] = (), *, patient: bool = False, kept: bool = False
    ) -> bytes | bool:
        """Have a connection of this profile to a server, which has answered the requests ``before`` well.

        ``patient``: what is sent next may take for ever. ``kept``: it is not given back with the next last reply.
        False while it is not ready, the client is woken when it is; an error reply when it cannot be had, or is lost.
        """
        if not self._used and self._client.awaits_replies():
            # What was sent before must be done before anything travels on another connection.
            return False
        reserved = self._by_server.get(server)
        if reserved is None:
            taken = self._connections.take(self._client, server, profile)
            if isinstance(taken, bytes):
                return taken
            reserved = self._by_server[server] = taken
        reserved.kept = reserved.kept or kept
        if not reserved.problem and reserved.prepared != before:
            reserved.prepare(before)
        if reserved.problem:
            return reserved.problem
        if not (reserved.is_ready() and reserved.connection.has_room(self._client)):
            return False
        if patient and not reserved.patient:
            # Not before: what gets it ready does not take for ever.
            reserved.patient = True
            reserved.connection.set_timeout(0)
        return True

    def use(self, server: int) -> Connection:
        """The reserved connection to a server, for the next request."""
        self._used = True
        return self._by_server[server].connection

    def awaits_replies(self) -> bool:
        """Whether what was sent last went to a private connection, and is not answered."""
        self._used = self._used and self._client.awaits_replies()
        return self._used

    def is_patient(self) -> bool:
        """Whether something may take for ever."""
        return any(reserved.patient for reserved in self._by_server.values())

    def finish(self) -> bool:
        """The client sends nothing more: let servers know what is waited for. False when that cannot be done."""
        patient = [reserved for reserved in self._by_server.values() if reserved.patient]
        for reserved in patient:
            reserved.finished = True
        return all(reserved.connection.finish() for reserved in patient)

    def keep_no_longer(self) -> None:
        """Those that are kept are given back with the next last reply."""
        for reserved in self._by_server.values():
            reserved.kept = False

    def give_back(self, answered: bool) -> None:
        """All replies have come: give those back that are not kept. Or the client needs none any more: all of them."""
        self._used = False
        for server, reserved in list(self._by_server.items()):
            if answered and reserved.kept:
                reserved.patient = False
                reserved.prepared = ()
                reserved.connection.set_timeout(self._connections.timeout)
            else:
                del self._by_server[server]
                self._connections.give_back(reserved, answered and not reserved.problem)


class PrivateConnections:
    """Those of one pool: ``in_use`` of them reserved, the others idle."""

    def __init__(self, pool: Any) -> None:
        """``pool``: a ``proxy.server_pool.ServerPool``."""
        self._pool = pool
        self._limit: int = pool.config.blocking_connections
        self.timeout: int = pool.config.timeout
        self._idle: list[tuple[int, int, int, Connection]] = []
        self.in_use = 0

    def take(self, client: Client, server: int, profile: int) -> Reserved | bytes:
        """A connection of this profile to a server for a client; an error reply when it cannot have one."""
        for i in range(len(self._idle) - 1, -1, -1):
            if self._idle[i][1:3] == (server, profile):
                connection = self._idle.pop(i)[3]
                break
        else:
            if self.in_use + len(self._idle) >= self._limit:
                if not self._idle:
                    reply: bytes = self._pool.error(TOO_MANY.format(limit=self._limit, pool=self._pool.config.name))
                    return reply
                self._close(self._idle.pop(0)[3])
            connection = self._pool.open_extra(server, profile)
        self.in_use += 1
        reserved = Reserved(client, connection, server, profile)
        connection.on_settled = lambda ready, _: None if ready else self._lost(reserved)
        return reserved

    def give_back(self, reserved: Reserved, clean: bool) -> None:
        """The client needs it no longer. ``clean``: the server holds nothing of that client."""
        connection = reserved.connection
        self.in_use -= 1
        if not (clean and connection.is_idle()) or connection.is_misplaced():
            self._close(connection)
            return
        connection.set_timeout(self.timeout)
        connection.on_settled = lambda ready, _: None if ready else self._forget(connection)
        self._idle.append((self._pool.now() + IDLE_TIME, reserved.server, reserved.profile, connection))
        self._pool.look_by(self._idle[0][0])

    def expire(self, now: int) -> int | None:
        """Close those that nobody has wanted for IDLE_TIME; gives the moment to look again, if there is one."""
        while self._idle and self._idle[0][0] <= now:
            self._close(self._idle.pop(0)[3])
        return self._idle[0][0] if self._idle else None

    def follow_servers(self) -> None:
        """Close idle ones the servers of which are elsewhere by now; reserved ones are closed when given back."""
        misplaced = [entry for entry in self._idle if entry[3].is_misplaced()]
        self._idle = [entry for entry in self._idle if entry not in misplaced]
        for entry in misplaced:
            self._close(entry[3])

    def _lost(self, reserved: Reserved) -> None:
        """A reserved connection has failed; its requests have got their errors."""
        if reserved.finished:
            reserved.client.leave()
            return
        if not reserved.problem:
            reserved.problem = self._pool.error("the server connection of the transaction or blocking command failed")
        reserved.client.wake()

    def _forget(self, connection: Connection) -> None:
        """An idle connection has ended."""
        self._idle = [entry for entry in self._idle if entry[3] is not connection]
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        connection.abandon()
        self._pool.drop_extra(connection)
