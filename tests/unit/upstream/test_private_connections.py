"""Which client has which private server connection, how many there may be, and how long they are kept."""

from typing import Any

import pytest

from twemproxy.config.pools import Address, ListenConfig, PoolConfig
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.session import SCRIPTS_PROFILE
from twemproxy.upstream.private_connections import IDLE_TIME, KEPT_TIME, PrivateConnections, Reservations
from unit.fakes import FakeClient, FakeConnection, FakePool, FakeServer, fake_servers

MULTI = b"*1\r\n$5\r\nMULTI\r\n"
PING = b"*1\r\n$4\r\nPING\r\n"
REFUSAL = b"-ERR refused\r\n"
OF_POOL = -1
"""The timeout of a connection that has the timeout of its pool."""
A, B, C, D, E = fake_servers(5)


class Connection(FakeConnection):
    """A server connection; the test is its server."""

    def answer(self, *replies: bytes) -> None:
        """Let the server answer the oldest requests with these replies."""
        for reply in replies:
            self.asked.pop(0)[1](reply, True)

    def fail(self) -> None:
        """Let the connection fail, and all its requests."""
        for _, done in self.asked:
            done(b"-ERR Connection refused\r\n", False)
        self.asked.clear()
        assert self.on_status is not None
        self.on_status(False, False)


class Pool(FakePool):
    def __init__(self, limit: int) -> None:
        config = PoolConfig(
            name="p",
            listen=ListenConfig("127.0.0.1:1", Address("127.0.0.1", 1)),
            servers=(),
            blocking_connections=limit,
            databases=16,
        )
        super().__init__(config, RedisCodec())
        self.no_place = ""

    def open_private(self, server: FakeServer, profile: int) -> Any:
        connection = Connection(server, profile)
        connection.no_place = self.no_place
        return self._opened(connection)


class House:
    """A pool's private connections."""

    def __init__(self, limit: int = 2) -> None:
        self.pool = Pool(limit)
        self.private = PrivateConnections(self.pool)

    def client(self, address: str = "10.0.0.1") -> tuple[FakeClient, Reservations]:
        """A new client and its reservations."""
        client = FakeClient(address=address)
        client.reserved = Reservations(client, self.private)
        return client, client.reserved

    def idle(self, server: FakeServer = A, profile: int = 0) -> Connection:
        """A connection that was used and then released."""
        _, reservations = self.client()
        assert reservations.reserve(server, profile) is True
        connection = reservations.use(server)
        reservations.release(True)
        assert isinstance(connection, Connection)
        return connection

    def open(self) -> list[Connection]:
        """The open connections."""
        return [connection for connection in self.pool.opened if not connection.closed]


@pytest.fixture
def house() -> House:
    return House()


# --- reserving -------------------------------------------------------------------------------------------------------


def test_one_connection_for_all_requests(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 3, kept=True) is True
    first = reservations.use(A)
    assert reservations.reserve(A, 3) is True
    assert reservations.use(A) is first
    assert [(connection.server, connection.profile) for connection in house.pool.opened] == [(0, 3)]
    assert house.private.in_use == 1


def test_nothing_overtakes_what_is_on_its_way(house: House) -> None:
    client, reservations = house.client()
    client.waiting = True
    assert reservations.reserve(A, 0) is False
    assert house.pool.opened == []
    client.waiting = False
    assert reservations.reserve(A, 0) is True
    reservations.use(A)
    # Earlier requests are now on the private connection, so the order is kept.
    client.waiting = True
    assert reservations.awaits_replies()
    assert reservations.reserve(A, 0) is True
    client.waiting = False
    assert not reservations.awaits_replies()
    client.waiting = True
    assert not reservations.awaits_replies()
    assert reservations.reserve(A, 0) is False


def test_what_gets_it_ready_is_answered_first(house: House) -> None:
    client, reservations = house.client()
    before = (MULTI, PING)
    assert reservations.reserve(A, 0, before, kept=True) is False
    assert reservations.reserve(A, 0, before, kept=True) is False
    [connection] = house.pool.opened
    assert [request for request, _ in connection.asked] == [MULTI, PING]
    connection.answer(b"+OK\r\n")
    assert (client.woken, reservations.reserve(A, 0, before, kept=True)) == (0, False)
    connection.answer(b"+QUEUED\r\n")
    assert (client.woken, reservations.reserve(A, 0, before, kept=True)) == (1, True)
    assert connection.asked == []


@pytest.mark.parametrize("replies", [(REFUSAL, b"+PONG\r\n"), (b"+OK\r\n", REFUSAL), (REFUSAL, b"-ERR another\r\n")])
def test_the_first_error_is_the_problem(house: House, replies: tuple[bytes, ...]) -> None:
    client, reservations = house.client()
    assert reservations.reserve(A, 0, (MULTI, PING)) is False
    [connection] = house.pool.opened
    connection.answer(*replies)
    assert reservations.reserve(A, 0, (MULTI, PING)) == REFUSAL
    assert client.woken == 1
    reservations.release(True)
    assert connection.closed
    assert house.private.in_use == 0


def test_a_failure_while_it_gets_ready(house: House) -> None:
    client, reservations = house.client()
    assert reservations.reserve(A, 0, (MULTI,)) is False
    house.pool.opened[0].fail()
    assert reservations.reserve(A, 0, (MULTI,)) == b"-ERR Connection refused\r\n"
    assert client.woken > 0


def test_a_failure_later(house: House) -> None:
    client, reservations = house.client()
    assert reservations.reserve(A, 0, kept=True) is True
    house.pool.opened[0].fail()
    assert client.woken == 1
    problem = reservations.reserve(A, 0, (MULTI,), kept=True)
    assert problem == b"-ERR the server connection of the transaction or blocking command failed\r\n"
    # The failed connection gets no requests, and no other connection is opened in its place.
    assert house.pool.opened[0].asked == []
    assert len(house.pool.opened) == 1
    reservations.release(True)
    assert reservations.reserve(A, 0, (MULTI,), kept=True) == problem
    reservations.release(False)
    assert reservations.reserve(A, 0) is True
    assert len(house.pool.opened) == 2


def test_no_room(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 0, kept=True) is True
    house.pool.opened[0].full = True
    assert reservations.reserve(A, 0, kept=True) is False
    house.pool.opened[0].full = False
    assert reservations.reserve(A, 0, kept=True) is True


# --- requests without a timeout --------------------------------------------------------------------------------------


def test_only_what_is_patient_waits_for_ever(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 0) is True
    [connection] = house.pool.opened
    assert (connection.timeout, reservations.is_patient()) == (OF_POOL, False)
    assert reservations.reserve(A, 0, patient=True) is True
    assert (connection.timeout, reservations.is_patient()) == (0, True)
    reservations.release(True)
    assert (connection.timeout, reservations.is_patient()) == (OF_POOL, False)
    assert not connection.closed


def test_one_that_is_kept_is_patient_once(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 0, kept=True) is True
    assert reservations.reserve(A, 0, patient=True) is True
    [connection] = house.pool.opened
    reservations.release(True)
    assert (connection.timeout, reservations.is_patient()) == (OF_POOL, False)
    assert house.private.in_use == 1


def test_getting_ready_does_not_take_for_ever(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 0, (PING,), patient=True) is False
    [connection] = house.pool.opened
    assert (connection.timeout, reservations.is_patient()) == (OF_POOL, False)
    connection.answer(b"+PONG\r\n")
    assert reservations.reserve(A, 0, (PING,), patient=True) is True
    assert (connection.timeout, reservations.is_patient()) == (0, True)


# --- release ---------------------------------------------------------------------------------------------------------


def test_what_is_kept_stays(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 0, kept=True) is True
    assert reservations.reserve(B, 0) is True
    kept, other = house.pool.opened
    reservations.release(True)
    assert house.private.in_use == 1
    assert reservations.use(A) is kept
    reservations.keep_no_longer()
    assert house.private.in_use == 1
    reservations.release(True)
    assert house.private.in_use == 0
    assert house.open() == [kept, other]


def test_what_is_kept_is_got_ready_again(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 0, kept=True) is True
    [connection] = house.pool.opened
    for _ in range(2):
        assert reservations.reserve(A, 0, (PING,), patient=True) is False
        connection.answer(b"+PONG\r\n")
        assert reservations.reserve(A, 0, (PING,), patient=True) is True
        reservations.release(True)


def test_a_client_that_goes_takes_its_connections_with_it(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 0, kept=True) is True
    assert reservations.reserve(B, 0) is True
    reservations.release(False)
    assert house.open() == []
    assert house.pool.dropped == house.pool.opened
    assert house.private.in_use == 0
    reservations.release(False)
    assert house.private.in_use == 0


def test_one_that_is_in_use_is_closed(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 0) is True
    house.pool.opened[0].busy = True
    reservations.release(True)
    assert house.open() == []


# --- the next client -------------------------------------------------------------------------------------------------


def test_the_next_client_gets_it(house: House) -> None:
    connection = house.idle()
    client, reservations = house.client()
    assert reservations.reserve(A, 0) is True
    used: Any = reservations.use(A)
    assert used is connection
    connection.fail()
    assert client.woken == 1


def test_not_for_another_server_or_profile() -> None:
    house = House(limit=10)
    connections = [house.idle(A, 0), house.idle(B, 0), house.idle(A, 1)]
    assert len(set(connections)) == 3
    assert [house.idle(A, 1), house.idle(B, 0), house.idle(A, 0)] == connections[::-1]


def test_an_idle_one_that_ends_is_forgotten(house: House) -> None:
    connection = house.idle()
    connection.fail()
    assert connection.closed
    assert house.pool.dropped == [connection]
    other = house.idle()
    assert other is not connection
    house.pool.wait(IDLE_TIME)
    assert house.pool.dropped == [connection, other]


def test_idle_ones_whose_server_is_elsewhere_are_closed(house: House) -> None:
    stays, leaves = house.idle(A), house.idle(B)
    leaves.misplaced = True
    house.private.close_stale()
    assert (stays.closed, leaves.closed) == (False, True)
    assert house.pool.dropped == [leaves]
    assert house.idle(A) is stays
    assert house.idle(B) is not leaves


def test_one_whose_server_is_elsewhere_is_not_kept(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 0) is True
    connection = house.pool.opened[0]
    connection.misplaced = True
    house.private.close_stale()
    assert not connection.closed
    reservations.release(True)
    assert connection.closed
    assert house.private.in_use == 0


def test_an_idle_one_is_closed_after_a_while() -> None:
    house = House(limit=10)
    first = house.idle(A)
    house.pool.wait(4_000_000)
    second = house.idle(B)
    house.pool.wait(IDLE_TIME - 4_000_001)
    assert house.open() == [first, second]
    house.pool.wait(1)
    assert house.open() == [second]
    house.pool.wait(3_999_999)
    assert house.open() == [second]
    house.pool.wait(1)
    assert house.open() == []
    assert house.pool.dropped == [first, second]


def test_one_that_was_used_again_has_its_time_again(house: House) -> None:
    connection = house.idle()
    house.pool.wait(IDLE_TIME - 1000)
    assert house.idle() is connection
    house.pool.wait(IDLE_TIME - 1)
    assert not connection.closed
    house.pool.wait(1)
    assert connection.closed


def test_one_in_use_does_not_expire(house: House) -> None:
    _, reservations = house.client()
    assert reservations.reserve(A, 0) is True
    house.pool.wait(10 * IDLE_TIME)
    assert len(house.open()) == 1


# --- the limit -------------------------------------------------------------------------------------------------------


def test_the_cap(house: House) -> None:
    clients = [house.client()[1] for _ in range(3)]
    assert [client.reserve(A, 0) for client in clients[:2]] == [True, True]
    full = (
        b"-ERR all 2 private server connections of pool p are in use: 'blocking_connections' in its configuration"
        b" allows more\r\n"
    )
    assert clients[2].reserve(A, 0) == full
    clients[0].release(True)
    assert clients[2].reserve(A, 0) is True
    assert len(house.pool.opened) == 2
    clients[1].release(False)
    assert clients[0].reserve(A, 0) is True
    assert len(house.open()) == house.private.in_use == 2


def test_idle_ones_make_room(house: House) -> None:
    oldest, newest = house.idle(A), house.idle(B)
    _, reservations = house.client()
    assert reservations.reserve(C, 0) is True
    assert (oldest.closed, newest.closed) == (True, False)
    assert reservations.reserve(D, 0) is True
    assert newest.closed
    assert len(house.open()) == 2
    assert isinstance(reservations.reserve(E, 0), bytes)


def test_those_of_other_workers_count() -> None:
    house = House(limit=4)
    clients = [house.client(f"10.0.0.{number}")[1] for number in range(3)]
    idle = house.idle(B)
    assert clients[0].reserve(A, 0) is True
    house.pool.private_of_others = 2
    assert clients[1].reserve(A, 0) is True
    assert isinstance(clients[2].reserve(B, 0), bytes)
    assert house.pool.private == house.private.in_use == 2
    house.pool.private_of_others = 1
    assert clients[2].reserve(B, 0) is True
    taken: Any = clients[2].use(B)
    assert taken is idle
    clients[0].release(True)
    assert house.pool.private == house.private.in_use == 2


def test_the_share_of_an_address_is_relative_to_what_all_workers_have_left() -> None:
    house = House(8)
    clients = [house.client()[1] for _ in range(3)]
    house.pool.private_of_others = 6
    assert [client.reserve(A, 0) for client in clients[:2]] == [True, True]
    clients[0].release(False)
    house.pool.private_of_others = 4
    assert [client.reserve(A, 0) for client in (clients[0], clients[2])] == [True, True]
    refusal = clients[1].reserve(B, 0)
    assert isinstance(refusal, bytes)
    assert b"use 3 of the 8 private server connections" in refusal
    assert house.pool.private == 3


def test_an_idle_one_gives_its_place_to_another() -> None:
    house = House(3)
    oldest, other, newest = house.idle(A, 0), house.idle(B, 0), house.idle(A, 1)
    assert [house.private.close_one(A) for _ in range(3)] == [True, True, False]
    assert (oldest.closed, other.closed, newest.closed) == (True, False, True)


def test_one_without_a_place_is_not_reserved(house: House) -> None:
    house.pool.no_place = "all are in use"
    _, reservations = house.client()
    assert reservations.reserve(A, 0, kept=True) == b"-ERR all are in use (server s00 of pool p)\r\n"
    assert house.pool.extra == []
    assert house.pool.private == house.private.in_use == 0
    house.pool.no_place = ""
    assert reservations.reserve(A, 0, kept=True) is True


def test_none_is_kept_while_other_workers_need_its_place(house: House) -> None:
    house.pool.crowded = True
    assert house.idle(A).closed
    house.pool.crowded = False
    assert not house.idle(A).closed


def test_too_many_for_one_client(house: House) -> None:
    """The client can still release the connections that it has."""
    _, reservations = house.client()
    assert [reservations.reserve(server, 0, (PING,)) for server in (A, B)] == [False, False]
    assert isinstance(reservations.reserve(C, 0, (PING,)), bytes)
    reservations.release(True)
    assert house.private.in_use == 0
    assert house.open() == []


def test_none_allowed() -> None:
    house = House(limit=0)
    assert isinstance(house.client()[1].reserve(A, 0), bytes)
    assert house.pool.opened == []
    assert house.pool.private == 0


def test_a_client_that_sends_nothing_more_finishes_what_is_patient(house: House) -> None:
    client, reservations = house.client()
    assert reservations.reserve(A, 0, patient=True) is True
    assert reservations.reserve(B, 0, kept=True) is True
    assert reservations.finish()
    assert [connection.finished for connection in house.pool.opened] == [True, False]
    house.pool.opened[0].fail()
    assert client.has_left
    house.pool.opened[0].can_finish = False
    assert not reservations.finish()


def test_one_address_cannot_have_all() -> None:
    house = House(8)
    clients = [house.client() for _ in range(7)]
    for _, reservations in clients[:6]:
        assert reservations.reserve(A, 0) is True
    refusal = (
        b"-ERR the clients of 10.0.0.1 use 6 of the 8 private server connections of pool p, the most for one address:"
        b" 'blocking_connections' in its configuration allows more\r\n"
    )
    assert clients[6][1].reserve(A, 0) == refusal
    _, other = house.client("10.0.0.2")
    assert other.reserve(A, 0) is True
    clients[0][1].release(False)
    assert clients[6][1].reserve(A, 0) is True
    assert house.private.in_use == 7


def test_an_address_that_is_lost_meanwhile_counts_as_before(house: House) -> None:
    """A socket that was reset has no peer address any more; that can happen at any moment."""
    client, reservations = house.client()
    answers = iter(["10.0.0.1"])
    client.address = lambda: next(answers, "a unix socket")  # type: ignore[method-assign]
    assert reservations.reserve(A, 0) is True
    reservations.release(False)
    assert house.private.in_use == 0
    _, other = house.client("a unix socket")
    assert other.reserve(A, 0) is True
    other.release(False)


def test_several_addresses_leave_something_for_the_next() -> None:
    """Each address gets three quarters of the connections that earlier addresses have left."""
    house = House(1000)
    got = []
    for number in range(5):
        before = house.private.in_use
        while house.client(f"10.0.0.{number}")[1].reserve(A, 0) is True:
            pass
        got.append(house.private.in_use - before)
    assert got == [750, 188, 47, 12, 3]


def test_a_client_that_is_silent_for_long_does_not_keep_one(house: House) -> None:
    client, reservations = house.client()
    assert reservations.reserve(A, 0, kept=True) is True
    reservations.use(A)
    [connection] = house.pool.opened
    house.pool.wait(KEPT_TIME - 1000)
    reservations.use(A)
    house.pool.wait(KEPT_TIME - 1)
    assert not connection.closed
    client.waiting = True
    house.pool.wait(1)
    client.waiting = False
    house.pool.wait(KEPT_TIME - 1)
    assert not connection.closed
    house.pool.wait(1)
    assert (connection.closed, client.lapses, house.private.in_use) == (True, 1, 0)


def test_what_is_no_longer_kept_does_not_lapse(house: House) -> None:
    client, reservations = house.client()
    assert reservations.reserve(A, 0, kept=True) is True
    reservations.use(A)
    reservations.keep_no_longer()
    house.pool.wait(KEPT_TIME)
    assert (client.lapses, house.private.in_use) == (0, 1)


# --- after a script --------------------------------------------------------------------------------------------------


def fence_reply(connection: Connection) -> bytes:
    """The correct reply to the fence that was sent on this connection."""
    [(request, _)] = connection.asked
    assert request.startswith(b"*2\r\n$4\r\necho\r\n$16\r\n")
    return request.removeprefix(b"*2\r\n$4\r\necho\r\n")


@pytest.mark.parametrize("by_profile", [True, False])
def test_the_next_client_gets_a_connection_on_which_nothing_is_left_of_a_script(by_profile: bool) -> None:
    house = House()
    profile = SCRIPTS_PROFILE if by_profile else 0
    _, reservations = house.client()
    assert reservations.reserve(A, profile) is True
    connection = house.pool.opened[0]
    reservations.use(A)
    if not by_profile:
        reservations.taint()
    reservations.release(True)
    assert house.private.in_use == 1
    _, second = house.client()
    assert second.reserve(A, profile) is True
    assert len(house.pool.opened) == 2, "it is not known yet whether something is left"
    connection.answer(fence_reply(connection))
    assert house.private.in_use == 1
    _, third = house.client()
    assert third.reserve(A, profile) is True
    assert len(house.pool.opened) == 2


@pytest.mark.parametrize("left", [b"$6\r\nFORGED\r\n", b"-BUSY\r\n", None])
def test_what_a_script_has_left_closes_the_connection(left: bytes | None) -> None:
    house = House()
    connection = house.idle(profile=SCRIPTS_PROFILE)
    if left is None:
        for _, done in connection.asked:
            done(b"-ERR Connection refused\r\n", False)
    else:
        connection.answer(left)
    assert house.pool.dropped == [connection]
    assert house.private.in_use == 0


def test_one_whose_server_is_elsewhere_by_the_time_it_is_examined_is_not_kept() -> None:
    house = House()
    connection = house.idle(profile=SCRIPTS_PROFILE)
    connection.misplaced = True
    house.private.close_stale()
    assert not connection.closed
    connection.answer(fence_reply(connection))
    assert house.pool.dropped == [connection]
    assert house.private.in_use == 0
