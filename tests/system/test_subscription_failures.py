"""Subscriptions when servers fail: who is told, who is cut off, who goes on, and that nothing is left over."""

from collections.abc import Iterator

import pytest

from harness.proxy import Proxy, keys_of, redis_pool
from harness.resp import OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.subscribing import (
    channels,
    confirmation,
    message,
    number_of,
    publish,
    subscribe,
    switch,
    wait_for_number,
    wait_for_silence,
)
from harness.waiting import wait_until

LOST = error("ERR no connection to server 's00' for subscriptions")
LONG, SHORT = 3600_000, 700
"""A server_retry_timeout, in milliseconds, that does not pass during a test, and one that does."""
[ON_FIRST, ON_SECOND] = channels(2)
[ALSO_ON_FIRST] = keys_of(0, 2, prefix="also")


@pytest.fixture
def mortal(servers: list[RedisServer]) -> Iterator[tuple[Proxy, RedisServer, RedisServer]]:
    """A pool of a server that a test may kill, and one that it may not."""
    with RedisServer() as first, Proxy(redis_pool(first, servers[1], timeout=2000)) as proxy:
        yield proxy, first, servers[1]
    wait_for_silence(servers[1])


@pytest.fixture(scope="module")
def shared_scripted(running_servers: list[RedisServer]) -> Iterator[tuple[Proxy, ScriptedServer]]:
    with ScriptedServer() as first, Proxy(redis_pool(first, running_servers[1])) as proxy:
        yield proxy, first


@pytest.fixture
def scripted(shared_scripted: tuple[Proxy, ScriptedServer]) -> Iterator[tuple[Proxy, ScriptedServer]]:
    """A pool of a scripted server and a real one, which other tests use too; nobody is connected to the first."""
    proxy, first = shared_scripted
    yield proxy, first
    proxy.close_clients()
    first.reset()
    proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the server connections are closed")


GARBAGE = {
    "another reply": OK,
    "a number": integer(1),
    "another word": array(bulk("foo"), bulk("bar")),
    "an end": confirmation("unsubscribe", ON_FIRST, 0),
    "another channel": confirmation("subscribe", "other", 1),
    "no reply": b"hello\r\n",
    "a wrong length": b"*3\r\n$x\r\n",
}


# --- ejection ------------------------------------------------------------------------------------------------------


def test_channels_move_and_come_back(servers: list[RedisServer]) -> None:
    """Requests find out that a server is away, so its channels have moved before their connection is missed."""
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": SHORT, "timeout": 300}
    with RedisServer() as first, Proxy(redis_pool(first, servers[1], **directives)) as proxy:
        client, client3, other = proxy.client(), switch(proxy.client(), 3), subscribe(proxy.client(), ON_SECOND)
        publisher = proxy.client()
        subscribe(client, ON_FIRST)
        subscribe(client3, ON_FIRST, version=3)
        publish(publisher, ON_FIRST, "before")
        with first.paused():
            publisher.send(command("GET", ON_FIRST))
            assert publisher.reply() == error("ERR Connection timed out")
            wait_for_number(servers[1], ON_FIRST, 1)
            publish(publisher, ON_FIRST, "moved")
        wait_until(
            lambda: publisher.ask("GET", ON_FIRST) == b"$-1\r\n" and number_of(first, ON_FIRST) == 1, "it is back"
        )
        wait_for_number(servers[1], ON_FIRST, 0)
        publish(publisher, ON_FIRST, "back")
        for text in ("before", "moved", "back"):
            client.expect(message(ON_FIRST, text))
            client3.expect(message(ON_FIRST, text, 3))
        assert other.ask("PING") == array(bulk("pong"), bulk(""))


def test_a_lost_connection_ejects(servers: list[RedisServer]) -> None:
    """That of the subscriptions itself is lost: its clients are cut off, and find their channels elsewhere."""
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": LONG}
    with ScriptedServer() as first, Proxy(redis_pool(first, servers[1], **directives)) as proxy:
        client, other = proxy.client(), subscribe(proxy.client(), ON_SECOND)
        client.send(command("SUBSCRIBE", ON_FIRST))
        peer = first.accept()
        peer.request()
        peer.send(confirmation("subscribe", ON_FIRST, 1))
        client.expect(confirmation("subscribe", ON_FIRST, 1))
        peer.reset()
        client.expect_closed()
        again = subscribe(proxy.client(), ON_FIRST)
        publisher = proxy.client()
        for name, subscriber in ((ON_FIRST, again), (ON_SECOND, other)):
            publish(publisher, name, "x")
            subscriber.expect(message(name, "x"))
        assert not first.has_connection()
        assert proxy.pool_stats()["server_ejects"] == 1
        assert proxy.server_stats("s00")["server_connections"] == 0


def test_a_killed_server_ejects(servers: list[RedisServer]) -> None:
    directives = {"auto_eject_hosts": True, "server_failure_limit": 2, "server_retry_timeout": SHORT}
    with RedisServer() as first, Proxy(redis_pool(first, servers[1], **directives)) as proxy:
        client, other, publisher = subscribe(proxy.client(), ON_FIRST), proxy.client(), proxy.client()
        subscribe(other, ON_SECOND)
        first.kill()
        client.expect_closed()
        answers = []

        def is_subscribed() -> bool:
            answers.append(publisher.ask("SUBSCRIBE", ON_FIRST))
            return answers[-1] == confirmation("subscribe", ON_FIRST, 1)

        wait_until(is_subscribed, "the channel has moved")
        assert set(answers[:-1]) <= {LOST}
        with proxy.client() as client:
            publish(client, ON_FIRST, "x")
            publisher.expect(message(ON_FIRST, "x"))
            first.start()
            wait_until(lambda: client.ask("SET", ON_FIRST, "x") == OK and number_of(first, ON_FIRST) == 1, "it is back")
            publish(client, ON_FIRST, "y")
            publisher.expect(message(ON_FIRST, "y"))
            publish(client, ON_SECOND, "z")
            other.expect(message(ON_SECOND, "z"))
