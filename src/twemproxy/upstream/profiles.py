"""Shared server connections of profiles other than 0: other databases, RESP3, clients that run scripts.

Plain Python: called when a client changes its profile, and when such a connection opens or fails, never per request.
Connections open when they are needed. A server has up to MOST_PROFILES times ``server_connections`` of them open; to
open another one, the one that has been idle for longest is closed. Connections of a profile that no client uses are
closed after IDLE_TIME.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twemproxy.upstream.private_connections import IDLE_TIME

MOST_PROFILES = 64
"""Enough for 16 databases in both versions of the protocol, with and without scripts."""

TOO_MANY = "all {limit} connections to it for other databases, RESP3 and scripts are busy, try again"


class Connection(Protocol):
    """The part of ``upstream.server_connection.ServerConnection`` that is used here."""

    heard_at: int
    on_status: Callable[[bool, bool], None] | None
    may_open: Callable[[], str] | None

    def preconnect(self) -> None:
        """Open the connection, if it is closed."""

    def is_closed(self) -> bool:
        """Whether the connection is closed and has no requests."""

    def is_open(self) -> bool:
        """Whether the connection is open or opening."""

    def is_idle(self) -> bool:
        """Whether the connection is ready and has no requests."""

    def close_idle(self) -> None:
        """Close the connection; the next request opens it again."""


class Server(Protocol):
    """The part of ``upstream.server.Server`` that is used here."""

    of_profiles: dict[int, list[Connection]]

    def drop_connections(self, profile: int) -> None:
        """Remove the connections of a profile; they are closed."""


class Client(Protocol):
    """The part of ``downstream.client.ClientConnection`` that is used here."""

    fd: int

    def wake(self) -> None:
        """Have the client's next request planned again."""


class _Question:
    """A test whether servers accept a profile; ``clients`` wait for it, ``servers`` have no result yet."""

    __slots__ = ("clients", "servers")

    def __init__(self, client: Client, servers: Iterable[Server]) -> None:
        self.clients: dict[Client, None] = {client: None}
        self.servers = set(servers)


class Profiles:
    """The profiles of one pool."""

    def __init__(self, pool: Any) -> None:
        """``pool``: a ``upstream.server_pool.ServerPool``."""
        self._pool = pool
        self._users: dict[int, int] = {}
        self._usable = {0}
        self._questions: dict[int, _Question] = {}
        self._verdicts: dict[Client, tuple[int, bool]] = {}
        self._refused_until: dict[int, int] = {}
        self._timer = pool.timer(self._close_unused)

    # --- whether servers accept a profile ------------------------------------------------------------------------

    def can_use(self, profile: int, client: Client) -> bool | None:
        """Whether servers accept connections of this profile; None while this is tested.

        The client is woken after the test. The first server that accepts or refuses decides for the pool. If no server
        can be reached the result is True, and requests will get the errors. A refusal is valid for
        ``server_retry_timeout``.
        """
        # A result is valid for one call: next, the client may ask about another profile.
        about, verdict = self._verdicts.pop(client, (0, None))
        if profile in self._usable:
            return True
        if self._pool.now() < self._refused_until.get(profile, 0):
            return False
        if verdict is not None and about == profile:
            return verdict
        if profile in self._questions:
            self._questions[profile].clients[client] = None
            return None
        self._verdicts.clear()
        servers = self._pool.servers
        # Record the test before it starts: the connections report to it.
        question = self._questions[profile] = _Question(client, servers)
        try:
            for server in servers:
                self._pool.connections_of(server, profile)[0].preconnect()
        except BaseException:
            if self._questions.get(profile) is question:
                self._answer(profile, True)
            raise
        return self._verdicts.pop(client, (0, None))[1]

    def _status_changed(self, server: Server, profile: int, ready: bool, refused: bool) -> None:
        """The first connection of this profile to a server has become ready or has failed."""
        if not ready:
            self._drop_if_closed(server, profile)
        question = self._questions.get(profile)
        if ready:
            self._usable.add(profile)
        elif refused:
            self._refused_until[profile] = self._pool.now() + self._pool.settings.retry_timeout
        elif question:
            question.servers.discard(server)
            if question.servers:
                return
        if question:
            self._answer(profile, not refused)

    def _answer(self, profile: int, usable: bool) -> None:
        for client in self._questions.pop(profile).clients:
            if client.fd >= 0:
                self._verdicts[client] = (profile, usable)
                client.wake()

    def forget(self) -> None:
        """The pool has other servers, which may accept other profiles."""
        self._usable = {0}
        self._refused_until.clear()

    # --- connections -----------------------------------------------------------------------------------------------

    def adopt(self, server: Server, profile: int, connections: list[Connection]) -> None:
        """Set up new connections, which are closed."""
        connections[0].on_status = lambda ready, refused: self._status_changed(server, profile, ready, refused)
        for connection in connections:
            connection.may_open = lambda: self._make_room(server, profile)
        self._timer.arm_by(self._pool.now() + IDLE_TIME)

    def _make_room(self, server: Server, wanted: int) -> str:
        """Make room for one more connection to a server; returns the error text if there is none, otherwise ""."""
        in_use = sum(each.is_open() for connections in server.of_profiles.values() for each in connections)
        if in_use < MOST_PROFILES * self._pool.config.server_connections:
            return ""
        if not self.close_one(server, wanted):
            return TOO_MANY.format(limit=MOST_PROFILES * self._pool.config.server_connections)
        return ""

    def close_one(self, server: Server, wanted: int) -> bool:
        """Close the idle connections to a server of the profile that has been idle for longest.

        Returns False if there are none but of the ``wanted`` profile.
        """
        idle = [
            (each.heard_at, profile)
            for profile, connections in server.of_profiles.items()
            for each in connections
            if profile != wanted and each.is_idle()
        ]
        if not idle:
            return False
        _, profile = min(idle)
        for connection in server.of_profiles[profile]:
            if connection.is_idle():
                connection.close_idle()
        self._drop_if_closed(server, profile)
        return True

    def _drop_if_closed(self, server: Server, profile: int) -> None:
        connections = server.of_profiles.get(profile)
        if connections and all(connection.is_closed() for connection in connections):
            server.drop_connections(profile)

    # --- clients of a profile ----------------------------------------------------------------------------------------

    def changed(self, before: int, after: int) -> None:
        """A client has changed its profile; ``after`` is 0 when it closes."""
        if before:
            self._users[before] -= 1
            if not self._users[before]:
                del self._users[before]
                self._timer.arm_by(self._pool.now() + IDLE_TIME)
        if after:
            self._users[after] = self._users.get(after, 0) + 1

    def _close_unused(self) -> None:
        """Close idle connections of unused profiles."""
        now = self._pool.now()
        for server in self._pool.servers:
            for profile, connections in list(server.of_profiles.items()):
                if profile in self._users:
                    continue
                for connection in connections:
                    if connection.is_idle() and connection.heard_at + IDLE_TIME <= now:
                        connection.close_idle()
                self._drop_if_closed(server, profile)
            left = [
                each.heard_at for key, group in server.of_profiles.items() if key not in self._users for each in group
            ]
            if left:
                self._timer.arm_by(max(min(left) + IDLE_TIME, now + IDLE_TIME // 10))
