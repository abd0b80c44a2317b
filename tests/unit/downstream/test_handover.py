"""Clients are handed over from one data plane to another, between two of their requests."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from harness.connection import Connection
from harness.resp import NULL, OK, array, bulk, command
from harness.scripted_server import ScriptedServer
from harness.servers import MemcachedServer, RedisServer
from harness.waiting import wait_until
from unit.in_process import InProcess


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


class Pair:
    """Two data planes with the same pool; clients of the ``old`` one are handed over to the ``new`` one."""

    def __init__(self, held: ExitStack, **pool: object) -> None:
        self.old = InProcess(**pool)
        self.new = held.enter_context(InProcess(**pool))
        held.enter_context(self.old)
        self.given: list[dict[str, Any]] = []
        self.room = 1 << 20
        self.handover: Any = None

    def begin(self, *, unsent: bool = False) -> None:
        """Begin the hand-over; ``unsent``: not everything has been sent to the other process yet."""

        def begin() -> Any:
            handover = self.old.data_plane.hand_over(self._give)
            handover.unsent = unsent
            return handover

        self.handover = self.old.call(begin)

    def _give(self, fd: int, pool: Any, state: dict[str, Any]) -> bool:
        """What travels between two processes: a duplicate of the descriptor, and the bytes of a message."""
        if len(self.given) >= self.room:
            return False
        copy = os.dup(fd)
        message = msgspec.msgpack.encode(state)
        received = msgspec.msgpack.decode(message)
        self.given.append(received)

        def adopt() -> None:
            [target] = self.new.data_plane.pools
            self.new.data_plane.adopt(target, copy, received)

        self.new.call(adopt)
        return True

    def clients(self) -> tuple[int, int]:
        """How many clients the two have."""
        return tuple(len(each.call(each.data_plane.clients)) for each in (self.old, self.new))  # type: ignore[return-value]

    def wait(self, old: int, new: int) -> None:
        """Wait until the two have so many clients."""
        wait_until(lambda: self.clients() == (old, new), f"{old} clients stay, {new} have moved")


@pytest.fixture
def pair(server: RedisServer) -> Iterator[Pair]:
    server.ask("FLUSHALL")
    with ExitStack() as held:
        yield Pair(held, redis=True, timeout=10000, servers=[f"{server.address}:1 one"], allow_commands="client|kill")


def test_idle_clients_move_and_notice_nothing(pair: Pair) -> None:
    clients = [pair.old.client() for _ in range(100)]
    for number, client in enumerate(clients):
        assert client.ask("SET", f"k{number}", number) == OK
    pair.begin()
    pair.wait(0, 100)
    for number, client in enumerate(clients):
        assert client.ask("GET", f"k{number}") == bulk(str(number))
    assert [state["unread"] for state in pair.given] == [b""] * 100


def test_a_client_that_has_sent_nothing_moves(pair: Pair) -> None:
    client = pair.old.client()
    wait_until(lambda: pair.clients() == (1, 0), "the client is connected")
    pair.begin()
    pair.wait(0, 1)
    assert client.ask("PING") == b"+PONG\r\n"


def test_the_session_moves(pair: Pair) -> None:
    client = pair.old.client()
    assert client.ask("CLIENT", "SETNAME", "me") == OK
    assert client.ask("CLIENT", "SETINFO", "LIB-NAME", "mine") == OK
    assert client.ask("SELECT", 3) == OK
    assert client.ask("SET", "k", "in 3") == OK
    client.ask("HELLO", 3)
    number = client.ask("CLIENT", "ID")
    pair.begin()
    pair.wait(0, 1)
    assert client.ask("CLIENT", "GETNAME") == bulk("me")
    assert client.ask("GET", "k") == bulk("in 3")
    assert client.ask("GET", "missing") == b"_\r\n"
    assert client.ask("CLIENT", "ID") == number
    assert b"lib-name=mine" in client.ask("CLIENT", "INFO")


def test_a_client_that_wants_no_replies(pair: Pair) -> None:
    client = pair.old.client()
    client.send(command("CLIENT", "REPLY", "OFF") + command("SET", "k", "silent"))
    wait_until(lambda: pair.old.client().ask("GET", "k") == bulk("silent"), "the request was executed")
    pair.begin()
    wait_until(lambda: pair.clients()[0] == 0, "all clients have moved")
    client.send(command("SET", "k", "still silent") + command("CLIENT", "REPLY", "ON"))
    client.expect(OK)
    assert client.ask("GET", "k") == bulk("still silent")


def test_half_a_request_moves(pair: Pair) -> None:
    client = pair.old.client()
    whole = command("SET", "k", "v" * 1000)
    client.send(command("PING") + whole[:500])
    client.expect(b"+PONG\r\n")
    pair.begin()
    pair.wait(0, 1)
    assert pair.given[0]["unread"] == whole[:500]
    client.send(whole[500:])
    client.expect(OK)


def test_a_large_request_is_completed_first(pair: Pair) -> None:
    client = pair.old.client()
    whole = command("SET", "k", "v" * 5_000_000)
    client.send(whole[:2_000_000])
    client.wait_consumed()
    pair.begin()
    assert pair.clients() == (1, 0)
    client.send(whole[2_000_000:])
    client.expect(OK)
    pair.wait(0, 1)
    assert client.ask("STRLEN", "k") == b":5000000\r\n"


def test_requests_in_flight_are_answered_first() -> None:
    with ScriptedServer() as scripted, ExitStack() as held:
        pair = Pair(held, redis=True, servers=[f"{scripted.address}:1 one"])
        client = pair.old.client()
        client.send(command("GET", "a"))
        peer = scripted.accept()
        peer.request()
        pair.begin()
        # This request is not read any more before the client has moved.
        client.send(command("GET", "b"))
        assert pair.clients() == (1, 0)
        peer.send(bulk("1"))
        client.expect(bulk("1"))
        pair.wait(0, 1)
        other = scripted.accept()
        assert other.request() == [b"GET", b"b"]
        other.send(bulk("2"))
        client.expect(bulk("2"))


Begin = Callable[[Connection], None]


def watch(client: Connection) -> None:
    assert client.ask("WATCH", "k") == OK


def multi(client: Connection) -> None:
    assert client.ask("MULTI") == OK
    assert client.ask("SET", "k", "1") == b"+QUEUED\r\n"


def subscribe(client: Connection) -> None:
    client.send(command("SUBSCRIBE", "c"))
    client.expect(array(bulk("subscribe"), bulk("c"), b":1\r\n"))


@pytest.mark.parametrize(
    ("begin", "end", "reply"),
    [
        (watch, ["UNWATCH"], OK),
        (multi, ["EXEC"], array(OK)),
        (subscribe, ["UNSUBSCRIBE", "c"], array(bulk("unsubscribe"), bulk("c"), b":0\r\n")),
    ],
)
def test_a_client_that_keeps_something_moves_when_it_has_let_go(
    pair: Pair, begin: Begin, end: list[str], reply: bytes
) -> None:
    client = pair.old.client()
    begin(client)
    pair.begin()
    assert pair.clients() == (1, 0)
    client.send(command(*end))
    client.expect(reply)
    pair.wait(0, 1)
    assert client.ask("PING") == b"+PONG\r\n"


def test_a_blocked_client_moves_after_its_reply(pair: Pair, server: RedisServer) -> None:
    client = pair.old.client()
    client.send(command("BLPOP", "list", 0))
    wait_until(lambda: b"blocked_clients:1" in server.ask("INFO", "clients"), "the client is blocked")
    pair.begin()
    assert pair.clients() == (1, 0)
    server.ask("RPUSH", "list", "element")
    client.expect(array(bulk("list"), bulk("element")))
    pair.wait(0, 1)
    assert client.ask("GET", "missing") == NULL


def test_no_more_clients_than_there_is_room_for(pair: Pair) -> None:
    clients = [pair.old.client() for _ in range(100)]
    wait_until(lambda: pair.clients() == (100, 0), "all are connected")
    pair.room = 64
    pair.begin()
    pair.wait(36, 64)
    assert all(client.ask("PING") == b"+PONG\r\n" for client in clients), "those that stay are served, too"
    pair.room = 100
    pair.old.call(lambda: pair.handover.go_on())
    pair.wait(0, 100)


def test_it_ends_when_the_other_process_has_its_last_client(pair: Pair) -> None:
    assert pair.old.client().ask("PING") == b"+PONG\r\n"
    pair.begin(unsent=True)
    wait_until(lambda: len(pair.new.call(pair.new.data_plane.clients)) == 1, "the client has moved")
    # A turn later it still runs, because the client might be on its way.
    pair.old.call(lambda: None)
    assert not pair.old.has_ended()

    def sent() -> None:
        pair.handover.unsent = False

    pair.old.later(sent)
    wait_until(pair.old.has_ended, "everything is sent")


def test_the_other_process_takes_no_client(pair: Pair) -> None:
    client = pair.old.client()
    assert client.ask("PING") == b"+PONG\r\n"
    pair.handover = pair.old.call(lambda: pair.old.data_plane.hand_over(lambda *_: False))
    assert client.ask("PING") == b"+PONG\r\n"
    assert pair.clients() == (1, 0)


def test_memcached() -> None:
    with MemcachedServer() as server, ExitStack() as held:
        pair = Pair(held, servers=[f"{server.address}:1 one"])
        client = pair.old.client()
        assert client.ask_text(b"set a 0 0 1\r\n1\r\n") == b"STORED\r\n"
        client.send(b"set b 0 0 3\r\nab")
        client.wait_consumed()
        pair.begin()
        pair.wait(0, 1)
        client.send(b"c\r\nget a b\r\n")
        client.expect(b"STORED\r\nVALUE a 0 1\r\n1\r\nVALUE b 0 3\r\nabc\r\nEND\r\n")


def test_counters(pair: Pair) -> None:
    client = pair.old.client()
    assert client.ask("SET", "a", "1") == OK

    def figures(proxy: InProcess) -> dict[str, int]:
        return proxy.call(lambda: dict(proxy.data_plane.pools[0].statistics()))  # type: ignore[no-any-return]

    before = figures(pair.new)["total_connections"]
    pair.begin()
    pair.wait(0, 1)
    assert figures(pair.old)["client_connections"] == 0
    assert (figures(pair.old)["client_eof"], figures(pair.old)["client_err"]) == (0, 0)
    assert figures(pair.new)["client_connections"] == 1
    assert figures(pair.new)["total_connections"] == before
