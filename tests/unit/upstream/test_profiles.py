"""Shared server connections of other databases and of RESP3: how many, for how long, and for which clients."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from twemproxy.upstream.private_connections import IDLE_TIME
from twemproxy.upstream.profiles import MOST_PROFILES, Profiles
from unit.fakes import FakeClient, FakeConnection, FakePool, FakeServer

# In milliseconds.
RETRY = 30_000


class Connection(FakeConnection):
    """``state``: closed, opening or ready; ``problem``: why it may not be opened, empty if it may."""

    def __init__(self, pool: "Pool") -> None:
        super().__init__()
        self.pool = pool
        self.state = "closed"
        self.heard_at = 0
        self.may_open: Callable[[], str] | None = None
        self.problem = ""

    def preconnect(self) -> None:
        assert self.may_open is not None
        if self.state != "closed":
            return
        self.problem = self.may_open()
        if self.problem or self.pool.unreachable:
            self.settle(False, False)
        elif self.pool.defect:
            raise MemoryError
        else:
            self.state = "opening"

    def settle(self, ready: bool, refused: bool = False) -> None:
        self.state = "ready" if ready else "closed"
        self.heard_at = self.pool.time
        assert self.on_status is not None
        self.on_status(ready, refused)

    def is_closed(self) -> bool:
        return self.state == "closed" and not self.busy

    def is_open(self) -> bool:
        return self.state != "closed"

    def is_idle(self) -> bool:
        return self.state == "ready" and not self.busy

    def close_idle(self) -> None:
        assert self.is_idle()
        self.state = "closed"


class Server(FakeServer):
    """A server without connections at first."""

    def __init__(self, position: int) -> None:
        self.of_profiles: dict[int, list[Connection]] = {}

    def drop_connections(self, profile: int) -> None:
        del self.of_profiles[profile]


class Pool(FakePool):
    """``unreachable``: connections fail at once; ``defect``: opening a connection raises MemoryError."""

    def __init__(self, servers: int) -> None:
        super().__init__(SimpleNamespace(server_connections=1, server_retry_timeout=RETRY))
        self.servers = [Server(position) for position in range(servers)]
        self.unreachable = self.defect = False
        self.profiles: Any = Profiles(self)

    def connections_of(self, server: Server, profile: int) -> list[Connection]:
        connections = server.of_profiles
        if profile not in connections:
            connections[profile] = [Connection(self)]
            self.profiles.adopt(server, profile, connections[profile])
        return connections[profile]

    def connection(self, profile: int, server: int = 0) -> Connection:
        """The existing connection of a profile."""
        found: Connection = self.servers[server].of_profiles[profile][0]
        return found

    def use(self, profile: int, server: int = 0) -> Connection:
        """The connection of a profile, opened if possible."""
        [connection] = self.connections_of(self.servers[server], profile)
        connection.preconnect()
        if connection.state == "opening":
            connection.settle(True)
        return connection


def ask(pool: Pool, profile: int, client: FakeClient) -> Any:
    return pool.profiles.can_use(profile, client)


def test_the_first_yes_or_no_speaks_for_the_pool() -> None:
    for ready, verdict in ((True, True), (False, False)):
        pool, client, other = Pool(3), FakeClient(), FakeClient()
        assert ask(pool, 4, client) is None
        assert ask(pool, 4, other) is None
        pool.connection(4, 1).settle(ready, not ready)
        assert (client.woken, other.woken) == (1, 1)
        assert ask(pool, 4, client) is verdict


def test_other_servers_are_asked_again() -> None:
    pool, client = Pool(1), FakeClient()
    assert ask(pool, 4, client) is None
    pool.connection(4).settle(True)
    assert ask(pool, 4, client) is True
    pool.profiles.forget()
    assert ask(pool, 4, client) is None


def test_a_server_that_fails_at_once_does_not_speak_for_those_not_asked_yet() -> None:
    pool, client = Pool(2), FakeClient()
    first = pool.connections_of(pool.servers[0], 1)[0]
    pool.unreachable = True
    first.preconnect()
    pool.unreachable = False
    pool.servers[0].of_profiles[1] = [first]
    first.state = "closed"
    first.preconnect = lambda: first.settle(False)  # type: ignore[method-assign]
    assert ask(pool, 1, client) is None
    assert client.woken == 0
    pool.connection(1, 1).settle(False, True)
    assert ask(pool, 1, client) is False


def test_when_none_can_be_reached_requests_will_say_why() -> None:
    pool, client = Pool(2), FakeClient()
    pool.unreachable = True
    assert ask(pool, 6, client) is True
    assert all(not server.of_profiles for server in pool.servers)
    pool.unreachable = False
    assert ask(pool, 6, client) is None
    pool.connection(6).settle(True)
    assert ask(pool, 6, client) is True


def test_a_defect_leaves_no_question_behind() -> None:
    pool, client, other = Pool(2), FakeClient(), FakeClient()
    pool.defect = True
    with pytest.raises(MemoryError):
        ask(pool, 6, client)
    pool.defect = False
    assert ask(pool, 6, other) is None
    pool.connection(6, 1).settle(True)
    assert ask(pool, 6, other) is True


def test_the_one_that_was_idle_for_longest_makes_room() -> None:
    pool = Pool(1)
    for profile in range(1, MOST_PROFILES + 1):
        pool.time += 1
        pool.use(profile)
    pool.connection(1).busy = True
    pool.connection(2).heard_at = pool.time
    assert pool.use(100).state == "ready"
    assert sorted(pool.servers[0].of_profiles) == [1, 2, *range(4, MOST_PROFILES + 1), 100]


def test_when_all_are_busy_there_is_an_error() -> None:
    pool = Pool(1)
    for profile in range(1, MOST_PROFILES + 1):
        pool.use(profile).busy = True
    connection = pool.use(100)
    assert connection.state == "closed"
    assert str(MOST_PROFILES) in connection.problem
    assert 100 not in pool.servers[0].of_profiles


def test_many_databases_leave_few_connections() -> None:
    pool = Pool(2)
    for profile in range(2, 20_000, 2):
        pool.time += 1
        assert ask(pool, profile, FakeClient()) is None
        for server in range(2):
            pool.connection(profile, server).settle(True)
        assert all(len(server.of_profiles) <= MOST_PROFILES for server in pool.servers)


def test_connections_that_no_client_uses_are_closed_after_a_while() -> None:
    pool = Pool(1)
    used, unused, busy = (pool.use(profile) for profile in (2, 4, 6))
    pool.profiles.changed(0, 2)
    pool.profiles.changed(0, 4)
    busy.busy = True
    pool.wait(IDLE_TIME - 1)
    pool.profiles.changed(4, 0)
    assert unused.state == "ready"
    pool.wait(1)
    assert (used.state, unused.state, busy.state) == ("ready", "closed", "ready")
    assert sorted(pool.servers[0].of_profiles) == [2, 6]
    busy.busy = False
    busy.heard_at = pool.time
    pool.wait(IDLE_TIME)
    assert sorted(pool.servers[0].of_profiles) == [2]
