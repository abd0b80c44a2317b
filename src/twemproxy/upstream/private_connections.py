"""Private connections: server connections that one client has for itself, to block on or for a transaction.

Plain Python: such requests are rare. The clients of a pool have up to ``blocking_connections`` of them, in all workers
together. A client reserves one and gives it back when the server keeps no state of the client; then it is kept for
IDLE_TIME for another client of this worker. It does not count then: it is closed when this worker would have too many.
"""

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from twemproxy.protocol.plan import Server
from twemproxy.upstream.waits import Request, Wait, Waits

IDLE_TIME = 10_000_000
"""Microseconds that an idle connection is kept for another client."""

KEPT_TIME = 60_000_000
"""Microseconds that a client may be silent while it keeps a connection, after WATCH or in a transaction."""

SHARE = 3
"""The clients of one address get, in each worker, up to SHARE times as many connections as all workers have left.

With one worker the first address can get three quarters of all connections, a second address three quarters of the
rest, and so on. With n workers and an address whose clients are on all of them it is SHARE * n of SHARE * n + 1 parts.
"""

INHERITED = -1
"""The timeout of a connection that is the pool's."""

SHARE_USED = (
    "the clients of {address} use {used} of the {limit} private server connections of pool {pool}, the most for one"
    " address: 'blocking_connections' in its configuration allows more"
)

TOO_MANY = (
    "all {limit} private server connections of pool {pool} are in use: 'blocking_connections' in its configuration"
    " allows more"
)

NO_PLACE = "{reason} (server {server} of pool {pool})"


class Connection(Protocol):
    """The part of ``upstream.server_connection.ServerConnection`` that is used here."""

    candidate: Any
    on_status: Callable[[bool, bool], None] | None

    def ask(self, request: bytes, done: Callable[[bytes, bool], None]) -> None:
        """Send a request of the proxy's own."""

    def abandon(self) -> None:
        """Close the connection."""

    def set_timeout(self, timeout: int) -> None:
        """Set the timeout of later requests, in microseconds, 0 for none."""

    def finish(self) -> bool:
        """Close the proxy's side of the connection; False while there are unsent bytes."""

    def is_idle(self) -> bool:
        """Whether another client can use it."""

    def is_stale(self) -> bool:
        """Whether the server has another address now."""

    def has_sent(self) -> bool:
        """Whether the server may have the whole of a request that has no reply yet."""

    def close_idle(self) -> None:
        """Close an idle connection at once."""

    def take_place(self) -> str:
        """Take the place that the connection needs; returns why there is none, otherwise ""."""

    def taint(self) -> None:
        """From now on a client may decide the text of replies."""

    def is_tainted(self) -> bool:
        """Whether a client may have decided the text of replies."""

    def has_room(self, stream: "Client") -> bool:
        """Whether the send queue has room; if not, the client is woken when there is room."""


class Client(Protocol):
    """The part of ``downstream.client.ClientConnection`` that is used here."""

    def awaits_replies(self) -> bool:
        """Whether requests of the client have no reply yet."""

    def reservations(self) -> "Reservations":
        """The client's private connections."""

    def wake(self) -> None:
        """Have the client's next request planned again."""

    def address(self) -> str:
        """The client's address without the port."""

    def lapse(self) -> None:
        """The client's private connection was given up."""

    def close_after_hangup(self) -> None:
        """Close the client, which has hung up, at the end of the turn."""


class Reserved:
    """A private connection while a client has it.

    ``address``: under which it is counted. ``prepared``: the requests that prepared it. ``kept``: the client keeps it
    after its next reply. ``patient``: its current request may take for ever. ``finished``: the client has hung up; if
    the connection fails, the client is closed. ``problem``: the error reply if something went wrong, otherwise empty.
    ``used_at``: when it was last used, in microseconds. ``timer``: armed while it is kept, None before that.
    ``wait``: its request, if that waits for keys.
    """

    __slots__ = (
        "_unanswered",
        "address",
        "client",
        "connection",
        "finished",
        "kept",
        "patient",
        "prepared",
        "problem",
        "profile",
        "server",
        "timer",
        "used_at",
        "wait",
    )

    def __init__(self, client: Client, address: str, connection: Connection, server: Server, profile: int) -> None:
        self.client = client
        self.address = address
        self.connection = connection
        self.server = server
        self.profile = profile
        self.used_at = 0
        self.timer: Any = None
        self.wait: Wait | None = None
        self.kept = self.patient = self.finished = False
        self.prepared: Sequence[bytes] = ()
        self.problem = b""
        self._unanswered = 0

    def prepare(self, requests: Sequence[bytes]) -> None:
        """Send requests that prepare the connection; an error reply to one of them becomes ``problem``."""
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
        """Whether all preparing requests have replies."""
        return not self._unanswered


class Reservations:
    """The private connections of one client, up to one per server.

    ``asks_again``: while it is True, the request that is planned is one that waits for a reply already.
    """

    def __init__(self, client: Client, connections: "PrivateConnections") -> None:
        self._client = client
        self._connections = connections
        self._by_server: dict[Server, Reserved] = {}
        self._used = False
        self.asks_again = False

    def reserve(
        self,
        server: Server,
        profile: int,
        before: Sequence[bytes] = (),
        *,
        patient: bool = False,
        kept: bool = False,
        selects: bool = True,
    ) -> bytes | bool:
        """Reserve a connection of this profile to a server, after the requests ``before`` have succeeded on it.

        ``patient``: the next request may take for ever. ``kept``: the client keeps the connection after its next reply.
        ``selects``: an existing connection selects the profile's database, if it has another one.
        Returns True when the connection is ready; False before that, and the client is woken when it is ready; an error
        reply when there is no connection, or it is lost.
        """
        if not self._used and not self.asks_again and self._client.awaits_replies():
            # Earlier requests must be complete before a request goes to another connection.
            return False
        reserved = self._by_server.get(server)
        if reserved is None:
            taken = self._connections.take(self._client, server, profile)
            if isinstance(taken, bytes):
                return taken
            reserved = self._by_server[server] = taken
        reserved.used_at = self._connections.now()
        if kept and not reserved.kept:
            reserved.kept = True
            self._connections.keep(reserved)
        wanted = self._connections.with_database(reserved.profile, profile) if selects else reserved.profile
        needed = before if wanted == reserved.profile else (self._connections.select(wanted), *before)
        if not reserved.problem and reserved.prepared != needed:
            reserved.prepare(needed)
        if reserved.problem:
            return reserved.problem
        if not (reserved.is_ready() and reserved.connection.has_room(self._client)):
            return False
        if wanted != reserved.profile:
            reserved.profile = wanted
            reserved.prepared = before
        if patient and not reserved.patient:
            # Only now, because the preparing requests keep their timeout.
            reserved.patient = True
            reserved.connection.set_timeout(0)
        return True

    def use(self, server: Server) -> Connection:
        """The reserved connection to a server, for the next request."""
        self._used = True
        reserved = self._by_server[server]
        reserved.used_at = self._connections.now()
        return reserved.connection

    def wait(self, server: Server, keys: Sequence[bytes], request: Request) -> Wait:
        """The next request on the reserved connection to a server waits for these keys, at least one."""
        reserved = self._by_server[server]
        reserved.wait = self._connections.wait(server, reserved.connection, keys, request)
        return reserved.wait

    def leave_misplaced(self) -> None:
        """Give back the connections whose requests were taken off their servers; one that is kept stays if it can."""
        for server, reserved in list(self._by_server.items()):
            if reserved.wait is None:
                continue
            connection = reserved.connection
            reserved.wait = None
            if reserved.kept and connection.is_idle() and not connection.is_stale():
                reserved.patient = False
                connection.set_timeout(INHERITED)
                continue
            del self._by_server[server]
            self._connections.release(reserved, not reserved.problem)
            if reserved.kept:
                self._client.lapse()

    def lapse(self, reserved: Reserved) -> bool:
        """Give up a connection that is kept; False, and nothing is done, if the client waits for a reply."""
        if self._client.awaits_replies():
            return False
        del self._by_server[reserved.server]
        self._connections.release(reserved, False)
        self._client.lapse()
        return True

    def awaits_replies(self) -> bool:
        """Whether the last request went to a private connection and has no reply yet."""
        self._used = self._used and self._client.awaits_replies()
        return self._used and not self.asks_again

    def is_stale(self, server: Server) -> bool:
        """Whether the connection to a server leads to an address that the server has left."""
        reserved = self._by_server.get(server)
        return reserved is not None and reserved.connection.is_stale()

    def blocked_at(self) -> tuple[Server, bytes] | None:
        """The server with the request that may take for ever, and the reply to ``Handshake.connection_id`` there.

        None if there is no such request, if several servers have one, or if the reply is not known.
        """
        places = [reserved for reserved in self._by_server.values() if reserved.patient]
        found = self._connections.connection_id(places[0].connection) if len(places) == 1 else b""
        return (places[0].server, found) if found else None

    def all(self) -> list[Reserved]:
        """All connections that the client has."""
        return list(self._by_server.values())

    def has_any(self) -> bool:
        """Whether the client has a connection."""
        return bool(self._by_server)

    def is_patient(self) -> bool:
        """Whether a request may take for ever."""
        return any(reserved.patient for reserved in self._by_server.values())

    def finish(self) -> bool:
        """The client has hung up: close the proxy's side of connections with patient requests; False if that failed."""
        patient = [reserved for reserved in self._by_server.values() if reserved.patient]
        for reserved in patient:
            reserved.finished = True
        return all(reserved.connection.finish() for reserved in patient)

    def taint(self) -> None:
        """From now on the client may decide the text of replies on its connections."""
        for reserved in self._by_server.values():
            reserved.connection.taint()

    def keep_no_longer(self) -> None:
        """The client keeps no connection after the next reply."""
        for reserved in self._by_server.values():
            reserved.kept = False

    def release(self, answered: bool) -> None:
        """Give back the connections that the client does not keep; all of them if not ``answered``.

        ``answered``: the client has all its replies.
        """
        self._used = False
        for server, reserved in list(self._by_server.items()):
            if answered and reserved.kept:
                reserved.patient = False
                reserved.wait = None
                reserved.prepared = ()
                reserved.connection.set_timeout(INHERITED)
            else:
                del self._by_server[server]
                self._connections.release(reserved, answered and not reserved.problem)


class PrivateConnections:
    """The private connections of one pool in this worker: ``in_use`` of them are reserved, the others are idle."""

    def __init__(self, pool: Any) -> None:
        """``pool``: a ``upstream.server_pool.ServerPool``."""
        self._pool = pool
        self._idle: list[tuple[int, Server, int, Connection]] = []
        self._idle_timer = pool.timer(self._close_idle)
        self._ids: dict[Connection, bytes] = {}
        self._by_address: dict[str, int] = {}
        self._waits = Waits(pool)
        self.check_waits = self._waits.check
        self.in_use = 0

    @property
    def _limit(self) -> int:
        limit: int = self._pool.config.blocking_connections
        return limit

    def now(self) -> int:
        """The time of the event loop, in microseconds."""
        now: int = self._pool.now()
        return now

    def _count(self, change: int) -> int:
        """Count ``change`` more connections that are reserved; returns how many there are in all workers."""
        self.in_use += change
        in_use: int = self._pool.count_private(change)
        return in_use

    def take(self, client: Client, server: Server, profile: int) -> Reserved | bytes:
        """A connection of this profile to a server for a client; an error reply if the client may have none."""
        address = client.address()
        used = self._by_address.get(address, 0)
        # The connection counts before the sum is made: of two workers that take the last one, one sees both.
        left = self._limit + 1 - self._count(1)
        if left <= 0:
            self._count(-1)
            return self._refusal(TOO_MANY)
        if used >= SHARE * left:
            self._count(-1)
            return self._refusal(SHARE_USED, used=used, address=address)
        for i in range(len(self._idle) - 1, -1, -1):
            if self._idle[i][1:3] == (server, profile):
                connection = self._idle.pop(i)[3]
                break
        else:
            if self._idle and self.in_use + len(self._idle) > self._limit:
                self._close(self._idle.pop(0)[3])
            connection = self._pool.open_private(server, profile)
            if reason := connection.take_place():
                self._count(-1)
                self._close(connection)
                return self._refusal(NO_PLACE, reason=reason, server=server.name)
            if self._pool.codec.handshake.may_unblock():
                self._ask_id(connection)
        self._by_address[address] = used + 1
        # A socket that has been reset does not know its peer's address any more, so the address is asked for only once.
        reserved = Reserved(client, address, connection, server, profile)
        connection.on_status = lambda ready, _: None if ready else self._lost(reserved)
        return reserved

    def with_database(self, profile: int, other: int) -> int:
        """See ``Handshake.with_database``."""
        if profile == other:
            return profile
        found: int = self._pool.codec.handshake.with_database(self._pool.config, profile, other)
        return found

    def select(self, profile: int) -> bytes:
        """See ``Handshake.select``."""
        request: bytes = self._pool.codec.handshake.select(self._pool.config, profile)
        return request

    def release(self, reserved: Reserved, clean: bool) -> None:
        """A client gives its connection back. ``clean``: the server keeps no state of the client."""
        connection = reserved.connection
        reserved.timer = None
        self._by_address[reserved.address] -= 1
        if not self._by_address[reserved.address]:
            del self._by_address[reserved.address]
        if not (clean and connection.is_idle()) or connection.is_stale() or self._waits.may_be_unblocked(connection):
            self._count(-1)
            self._close(connection)
            return
        connection.set_timeout(INHERITED)
        if connection.is_tainted():
            self._examine(reserved)
        else:
            self._keep(reserved)

    def wait(self, server: Server, connection: Connection, keys: Sequence[bytes], request: Request) -> Wait:
        """See ``Reservations.wait``."""
        if connection not in self._ids:
            self._ask_id(connection)
        return self._waits.begin(server, connection, keys, request)

    def _ask_id(self, connection: Connection) -> None:
        """Ask the server for the id of the connection, if the protocol has a request for that."""
        self._ids[connection] = b""
        request = self._pool.codec.handshake.connection_id()

        def done(reply: bytes, answered: bool) -> None:
            if answered and connection in self._ids:
                self._ids[connection] = reply

        if request:
            connection.ask(request, done)

    def connection_id(self, connection: Connection) -> bytes:
        """The reply to ``Handshake.connection_id`` on a connection, empty if it is not known."""
        return self._ids.get(connection, b"")

    def _examine(self, reserved: Reserved) -> None:
        """Keep the connection if the next reply is the one to a fence: then no bytes for the last client are left."""
        request, right, _ = self._pool.codec.fence(secrets.token_hex(8).encode())

        def done(reply: bytes, answered: bool) -> None:
            if answered and reply == right:
                self._keep(reserved)
            else:
                self._count(-1)
                self._close(reserved.connection)

        reserved.connection.on_status = None
        reserved.connection.ask(request, done)

    def _keep(self, reserved: Reserved) -> None:
        """Keep the connection for another client, unless its address is stale by now."""
        connection = reserved.connection
        self._count(-1)
        kept_for = self._pool.time_to_keep(reserved.server, IDLE_TIME)
        if connection.is_stale() or not kept_for:
            self._close(connection)
            return
        connection.on_status = lambda ready, _: None if ready else self._forget(connection)
        self._idle.append((self._pool.now() + kept_for, reserved.server, reserved.profile, connection))
        self._idle_timer.arm_by(self._idle[0][0])

    def _refusal(self, text: str, **fields: object) -> bytes:
        reply: bytes = self._pool.error(text.format(limit=self._limit, pool=self._pool.config.name, **fields))
        return reply

    def keep(self, reserved: Reserved) -> None:
        """A client keeps this connection after its next reply, until the client has been silent for KEPT_TIME."""
        if reserved.timer is None:
            reserved.timer = self._pool.timer(partial(self._check_silence, reserved))
        reserved.timer.arm_by(self.now() + KEPT_TIME)

    def _close_idle(self) -> None:
        """Close connections that were idle for IDLE_TIME."""
        while self._idle and self._idle[0][0] <= self.now():
            self._close(self._idle.pop(0)[3])
        if self._idle:
            self._idle_timer.arm(self._idle[0][0])

    def close_one(self, server: Server) -> bool:
        """Close the connection to a server that has been idle for longest; returns False if there is none."""
        for entry in self._idle:
            if entry[1] is server:
                self._idle.remove(entry)
                # At once: its place is needed now.
                entry[3].on_status = None
                entry[3].close_idle()
                self._close(entry[3])
                return True
        return False

    def _check_silence(self, reserved: Reserved) -> None:
        """Close a connection that is kept if its client was silent for KEPT_TIME."""
        if not reserved.kept:
            return
        if reserved.used_at + KEPT_TIME > self.now():
            reserved.timer.arm(reserved.used_at + KEPT_TIME)
        elif not reserved.client.reservations().lapse(reserved):
            reserved.timer.arm(self.now() + KEPT_TIME)

    def close_stale(self) -> None:
        """Close idle connections whose servers have other addresses now; reserved ones are closed when given back."""
        misplaced = [entry for entry in self._idle if entry[3].is_stale()]
        self._idle = [entry for entry in self._idle if entry not in misplaced]
        for entry in misplaced:
            self._close(entry[3])

    def _lost(self, reserved: Reserved) -> None:
        """A reserved connection has failed, and its requests have got their errors or are asked again."""
        if reserved.wait is not None and reserved.wait.moving:
            return
        if reserved.finished:
            reserved.client.close_after_hangup()
            return
        if not reserved.problem:
            reserved.problem = self._pool.error("the server connection of the transaction or blocking command failed")
        reserved.client.wake()

    def _forget(self, connection: Connection) -> None:
        """An idle connection has failed."""
        self._idle = [entry for entry in self._idle if entry[3] is not connection]
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        connection.abandon()
        self._ids.pop(connection, None)
        self._waits.forget(connection)
        self._pool.drop(connection)
