"""Clients that want to know are told once to connect again, between two replies."""

from collections.abc import Iterator
from typing import Any

import pytest

from harness.connection import Connection
from harness.resp import OK, array, bulk, command
from harness.servers import MemcachedServer, RedisServer
from harness.waiting import wait_until
from unit.in_process import InProcess

PONG = b"+PONG\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[InProcess]:
    with InProcess(redis=True, timeout=10000, servers=[f"{server.address}:1 one"]) as made:
        yield made


def asking(proxy: InProcess) -> Connection:
    """A client that wants to be told."""
    client = proxy.client()
    assert client.ask("HELLO", 3).startswith(b"%7")
    assert client.ask("CLIENT", "MAINT_NOTIFICATIONS", "ON") == OK
    return client


def moving(number: int, seconds: int) -> bytes:
    """The message."""
    return b">4\r\n$6\r\nMOVING\r\n:%d\r\n:%d\r\n_\r\n" % (number, seconds)


def announce(proxy: InProcess, number: int, seconds: float) -> None:
    proxy.call(lambda: proxy.data_plane.announce(number, seconds))


def unread(proxy: InProcess) -> int:
    """Bytes of replies that clients have not read."""
    return proxy.call(lambda: sum(client.description()["omem"] for client in proxy.data_plane.clients()))  # type: ignore[no-any-return]


def is_silent(client: Connection) -> bool:
    """Whether nothing but the reply to a request arrives."""
    return client.ask("PING") == PONG and not client.received


def test_each_client_that_asked_is_told_once(proxy: InProcess) -> None:
    first, second = asking(proxy), asking(proxy)
    plain, version_2 = proxy.client(), proxy.client()
    assert plain.ask("HELLO", 3).startswith(b"%7")
    assert version_2.ask("PING") == PONG
    announce(proxy, 5, 30)
    for client in (first, second):
        client.expect(moving(5, 30))
    proxy.advance(1000)
    proxy.advance(1000)
    assert all(map(is_silent, (first, second, plain, version_2)))


def test_later_clients_are_told_while_there_is_time(proxy: InProcess) -> None:
    first = asking(proxy)
    announce(proxy, 5, 4)
    first.expect(moving(5, 4))
    later = asking(proxy)
    proxy.advance(1100)
    later.expect(moving(5, 2))
    latest = asking(proxy)
    proxy.advance(1100)
    proxy.advance(1100)
    assert is_silent(first) and is_silent(latest)


def test_in_a_subscription_and_while_blocked(proxy: InProcess, server: RedisServer) -> None:
    subscriber, blocked = asking(proxy), asking(proxy)
    subscriber.send(command("SUBSCRIBE", "c"))
    assert subscriber.reply().startswith(b">3")
    blocked.send(command("BLPOP", "list", 0))
    wait_until(lambda: b"blocked_clients:1" in server.ask("INFO", "clients"), "the client is blocked")
    announce(proxy, 5, 30)
    subscriber.expect(moving(5, 30))
    blocked.expect(moving(5, 30))
    assert server.ask("RPUSH", "list", "x") == b":1\r\n"
    blocked.expect(array(bulk("list"), bulk("x")))


def test_a_reply_in_parts_comes_whole(proxy: InProcess) -> None:
    client = asking(proxy)
    one = client.ask("COMMAND", "INFO", "get").removeprefix(b"*1\r\n")
    client.send(command("COMMAND", "INFO", *["get"] * 100_000) + command("PING"))
    # The reply has 30 MB. The proxy goes on with it when the client reads.
    wait_until(lambda: unread(proxy) > 1_000_000, "the client is in the middle of a reply")
    announce(proxy, 5, 30)
    client.expect(b"*100000\r\n" + one * 100_000 + moving(5, 30) + PONG)


def test_clients_that_stay_in_a_hand_over(proxy: InProcess) -> None:
    subscriber, brief, idle = asking(proxy), asking(proxy), asking(proxy)
    subscriber.send(command("SUBSCRIBE", "c"))
    assert subscriber.reply().startswith(b">3")
    assert brief.ask("WATCH", "k") == OK
    given: list[Any] = []

    def give(fd: int, pool: Any, state: dict[str, Any]) -> bool:
        given.append(state)
        return True

    proxy.call(lambda: proxy.data_plane.hand_over(give, 9, 10))
    wait_until(lambda: len(given) == 1, "the idle client was given away")
    idle.expect_closed()
    brief.send(command("UNWATCH"))
    brief.expect(OK)
    wait_until(lambda: len(given) == 2, "the client without a transaction was given away")
    brief.expect_closed()
    assert not subscriber.received
    proxy.advance(2100)
    subscriber.expect(moving(9, 7))
    proxy.advance(2100)
    subscriber.send(command("PING"))
    subscriber.expect(PONG)


def test_memcached() -> None:
    with MemcachedServer() as server, InProcess(servers=[f"{server.address}:1 one"]) as proxy:
        client = proxy.client()
        assert client.ask_text(b"set a 0 0 1\r\nx\r\n") == b"STORED\r\n"
        announce(proxy, 5, 30)
        assert client.ask_text(b"get a\r\n") == b"VALUE a 0 1\r\nx\r\nEND\r\n"
