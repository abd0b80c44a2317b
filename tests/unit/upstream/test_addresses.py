"""The addresses of a server while its name is looked up, changes, or cannot be looked up."""

import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from twemproxy.config.pools import Address, ListenConfig, PoolConfig, ServerConfig
from twemproxy.ipc.messages import Resolved
from twemproxy.log import get_logger
from twemproxy.upstream.address_refresh import JITTER, AddressRefresh
from twemproxy.upstream.addresses import PATIENCE, Addresses, Candidate
from unit.fakes import FakePool

NAME = "redis-1.example"
ONE, OTHER = "192.0.2.1", "192.0.2.2"
# In milliseconds, as in the configuration, and in microseconds.
REFRESH_MS = 10_000
REFRESH = 1000 * REFRESH_MS
TICK = 1000


def at(*ips: str) -> list[Candidate]:
    return [(socket.AF_INET, (ip, 6379)) for ip in ips]


class Server:
    """A server with these addresses, and its endpoint."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self.endpoint = self


class Pool(FakePool):
    """A pool with these servers and its own clock; ``answer`` is the reply of its name server."""

    def __init__(self, *hosts: str, refresh: int = 0, timeout: int = 0) -> None:
        listen = ListenConfig("127.0.0.1:1", Address("127.0.0.1", 1))
        servers = tuple(ServerConfig(name=host, pname=f"{host}:1", address=place(host), weight=1) for host in hosts)
        super().__init__(PoolConfig("p", listen, servers, dns_refresh=refresh, timeout=timeout))
        self.questions: list[tuple[str, Callable[[Resolved], None]]] = []
        self.followed: list[Any] = []
        self.addresses = [Addresses(self, server, self.resolve) for server in servers]
        self.servers = [Server(each) for each in self.addresses]
        self.refreshing = AddressRefresh(self)

    def resolve(self, host: str, port: int, callback: Callable[[Resolved], None]) -> None:
        assert port == 6379
        self.questions.append((host, callback))

    def addresses_changed(self, server: Any) -> None:
        self.followed.append(server)

    def answer(self, *ips: str) -> None:
        """Answer the oldest question; without addresses the answer is an error."""
        host, callback = self.questions.pop(0)
        callback(Resolved(host, 6379, tuple((socket.AF_INET, ip, 0, 0) for ip in ips), "" if ips else "no such name"))

    def until_question(self) -> int:
        """Let time pass until a name is looked up; returns how long that took."""
        return self.wait_for(lambda: self.questions)


class Heard(list[tuple[list[Candidate], str]]):
    """The answers that a connection gets."""

    def __call__(self, candidates: list[Candidate], reason: str) -> None:
        self.append((candidates, reason))


def place(host: str) -> Address:
    return Address(path=host) if host.startswith("/") else Address(host, 6379)


def known(pool: Pool, *ips: str) -> Addresses:
    """The addresses of the only server after one lookup with this answer."""
    [addresses] = pool.addresses
    addresses.resolve(Heard())
    pool.answer(*ips)
    return addresses


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The logged messages with their levels."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.levelname} {record.getMessage()}")

    logger, handler = get_logger("twemproxy.upstream.addresses"), Lines()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.mark.parametrize(
    ("host", "candidate"),
    [
        ("127.0.0.1", (socket.AF_INET, ("127.0.0.1", 6379))),
        ("::1", (socket.AF_INET6, ("::1", 6379, 0, 0))),
        ("/run/redis.sock", (socket.AF_UNIX, "/run/redis.sock")),
    ],
)
def test_what_is_no_name_is_not_looked_up(host: str, candidate: Candidate) -> None:
    pool = Pool(host, refresh=REFRESH_MS)
    [addresses] = pool.addresses
    for _ in range(2):
        found = addresses.candidates()
        assert found == [candidate]
        found.clear()
        addresses.doubt()
    assert not addresses.named
    assert addresses.has(candidate)
    pool.wait(2 * REFRESH)
    assert pool.questions == []


def test_addresses_are_in_the_order_of_the_answer() -> None:
    pool, heard = Pool(NAME), Heard()
    [addresses] = pool.addresses
    assert addresses.candidates() is None
    addresses.resolve(heard)
    assert heard == []
    host, callback = pool.questions.pop()
    found = ((socket.AF_INET6, "::1", 0, 2), (socket.AF_INET, ONE, 0, 0))
    callback(Resolved(host, 6379, found))
    assert host == NAME
    assert heard == [([(socket.AF_INET6, ("::1", 6379, 0, 2)), *at(ONE)], "")]


def test_one_question_serves_all_who_ask_meanwhile() -> None:
    pool, first, second = Pool(NAME), Heard(), Heard()
    [addresses] = pool.addresses
    addresses.resolve(first)
    addresses.resolve(second)
    assert len(pool.questions) == 1
    pool.answer(ONE)
    assert first == second == [(at(ONE), "")]
    addresses.resolve(first)
    pool.answer(OTHER)
    assert (len(first), len(second)) == (2, 1)


def test_a_name_without_addresses() -> None:
    pool, heard = Pool(NAME), Heard()
    pool.addresses[0].resolve(heard)
    pool.answer()
    assert heard == [([], "no such name")]
    assert pool.addresses[0].candidates() is None


def test_without_refresh_every_opening_looks_the_name_up() -> None:
    pool = Pool(NAME)
    addresses = known(pool, ONE)
    assert addresses.candidates() is None
    heard = Heard()
    addresses.resolve(heard)
    pool.answer(OTHER)
    assert heard == [(at(OTHER), "")]


def test_refreshed_addresses_are_used_until_a_connection_fails() -> None:
    pool = Pool(NAME, refresh=REFRESH_MS)
    addresses = known(pool, ONE, OTHER)
    for _ in range(2):
        found = addresses.candidates()
        assert found == at(ONE, OTHER)
        found.clear()
    addresses.doubt()
    assert addresses.candidates() is None
    addresses.resolve(Heard())
    pool.answer(ONE)
    assert addresses.candidates() == at(ONE)


@pytest.mark.parametrize("refresh", [0, REFRESH_MS])
def test_last_addresses_are_used_while_the_name_server_fails(refresh: int) -> None:
    pool = Pool(NAME, refresh=refresh)
    addresses = known(pool, ONE)
    heard = Heard()
    addresses.resolve(heard)
    pool.answer()
    assert heard == [(at(ONE), "no such name")]
    # No client waits for the next failure; without refresh, the use of the old addresses starts a lookup.
    assert addresses.candidates() == at(ONE)
    assert len(pool.questions) == (0 if refresh else 1)
    addresses.doubt()
    assert addresses.candidates() is None


@pytest.mark.parametrize(("timeout", "patience"), [(0, PATIENCE), (400, 200_000), (60_000, PATIENCE)])
def test_last_addresses_are_used_while_the_name_server_is_silent(timeout: int, patience: int) -> None:
    pool = Pool(NAME, timeout=timeout)
    addresses = known(pool, ONE)
    heard = Heard()
    addresses.resolve(heard)
    pool.wait(patience - 1)
    assert heard == []
    assert addresses.candidates() is None
    pool.wait(1)
    assert heard == [(at(ONE), "")]
    addresses.doubt()
    assert addresses.candidates() == at(ONE)
    pool.answer(OTHER)
    assert len(heard) == 1
    assert addresses.candidates() is None


def test_who_asks_while_a_refresh_is_under_way_does_not_wait_longer() -> None:
    pool, heard = Pool(NAME, refresh=REFRESH_MS), Heard()
    addresses = known(pool, ONE)
    addresses.refresh()
    pool.wait(PATIENCE - 1)
    addresses.doubt()
    assert addresses.candidates() is None
    addresses.resolve(heard)
    pool.wait(1)
    assert heard == [(at(ONE), "")]


def test_without_an_address_there_is_only_the_answer() -> None:
    pool, heard = Pool(NAME), Heard()
    pool.addresses[0].resolve(heard)
    pool.wait(10 * PATIENCE)
    assert heard == []
    pool.answer(ONE)
    assert heard == [(at(ONE), "")]


def test_names_are_looked_up_at_start_and_again_and_again() -> None:
    pool = Pool("127.0.0.1", NAME, refresh=REFRESH_MS)
    assert pool.until_question() == 0
    for answer in [(ONE,), (), (ONE,), (OTHER,)]:
        # The next lookup is not due before this lookup is answered, however long that takes.
        pool.wait(2 * REFRESH)
        assert len(pool.questions) == 1
        pool.answer(*answer)
        assert REFRESH * (1 - JITTER) <= pool.until_question() <= REFRESH + TICK
    assert pool.followed == [pool.servers[1]]


def test_an_opening_that_asks_puts_the_next_question_off() -> None:
    pool = Pool(NAME, refresh=REFRESH_MS)
    pool.until_question()
    pool.answer(ONE)
    pool.wait(REFRESH // 2)
    pool.addresses[0].resolve(Heard())
    pool.answer(ONE)
    assert pool.until_question() >= REFRESH * (1 - JITTER)


def test_connections_are_told_of_a_change_of_the_set() -> None:
    pool = Pool(NAME, refresh=REFRESH_MS)
    addresses = known(pool, ONE, OTHER)
    for answer, changes in [((OTHER, ONE), 0), ((), 0), ((OTHER,), 1), ((OTHER, ONE), 2)]:
        addresses.refresh()
        pool.answer(*answer)
        assert len(pool.followed) == changes
    assert addresses.has(at(ONE)[0])
    addresses.refresh()
    pool.answer(OTHER)
    assert not addresses.has(at(ONE)[0])


def test_without_refresh_names_are_looked_up_at_start_all_the_same() -> None:
    """Thus a name that cannot be looked up is logged before a client needs it."""
    pool = Pool("127.0.0.1", NAME)
    pool.wait(0)
    assert len(pool.questions) == 1
    pool.answer(ONE)
    pool.wait(24 * 3600 * 1_000_000)
    assert pool.questions == []


def test_without_refresh_connections_are_told_of_nothing() -> None:
    pool = Pool(NAME)
    known(pool, ONE)
    known(pool, OTHER)
    assert pool.followed == []


def test_beginning_and_end_of_trouble_are_logged_once(logged: list[str]) -> None:
    pool = Pool(NAME)
    addresses = known(pool)
    for answer in [(), (ONE,), (ONE,), (), (), (ONE,), (OTHER,), (OTHER,)]:
        addresses.refresh()
        pool.answer(*answer)
    assert [line.partition(" p: ")[2] for line in logged] == [
        f"looking up the name of server '{NAME}:1' fails, it has no address: no such name",
        f"the name of server '{NAME}:1' can be looked up again: {ONE}",
        f"looking up the name of server '{NAME}:1' fails, its last known addresses stay in use: no such name",
        f"the name of server '{NAME}:1' can be looked up again: {ONE}",
        f"server '{NAME}:1' has other addresses now: {OTHER}",
    ]
    assert [line.split()[0] == "WARNING" for line in logged] == [True, False, True, False, False]
