"""Subscriptions when servers fail: which clients get an error, are closed, or keep their subscriptions."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.subscribing import (
    channels,
    confirmation,
    message,
    number_of,
    pattern_message,
    publish,
    subscribe,
    switch,
    wait_for_number,
    wait_for_silence,
)
from harness.waiting import wait_until

LOST = error("ERR no connection to server 's00' for subscriptions")
LONG, SHORT = 3600_000, 700
"""Milliseconds of a server_retry_timeout that does not pass during a test, and of one that does."""
[ON_FIRST, ON_SECOND] = channels(2)
[ALSO_ON_FIRST] = keys_of(0, 2, prefix="also")


@pytest.fixture
def mortal(configured: Configure, servers: list[RedisServer]) -> Iterator[tuple[ServedPools, RedisServer, RedisServer]]:
    """A pool of two servers, of which a test may kill the first."""
    with RedisServer() as first, configured(redis_pool(first, servers[1], timeout=2000)) as proxy:
        yield proxy, first, servers[1]
    wait_for_silence(servers[1])


@pytest.fixture(scope="module")
def shared_scripted(
    configured: Configure, running_servers: list[RedisServer]
) -> Iterator[tuple[ServedPools, ScriptedServer]]:
    with ScriptedServer() as first, configured(redis_pool(first, running_servers[1])) as proxy:
        yield proxy, first


@pytest.fixture
def scripted(shared_scripted: tuple[ServedPools, ScriptedServer]) -> Iterator[tuple[ServedPools, ScriptedServer]]:
    """A pool of a scripted server, which has no connections, and a real one; other tests use the pool, too."""
    proxy, first = shared_scripted
    yield proxy, first
    proxy.close_clients()
    first.reset()
    proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the server connections are closed")


def test_who_may_have_missed_something_is_cut_off(mortal: tuple[ServedPools, RedisServer, RedisServer]) -> None:
    proxy, first, second = mortal
    gone = [
        subscribe(proxy.client(), ON_FIRST),
        subscribe(switch(proxy.client(), 3), ON_SECOND, ON_FIRST, version=3),
        subscribe(proxy.client(), "*", kind="psubscribe"),
        subscribe(proxy.client(), "__keyspace@0__:x"),
        subscribe(proxy.client(), ON_FIRST, kind="ssubscribe"),
    ]
    stays, publisher = subscribe(proxy.client(), ON_SECOND), proxy.client()
    first.kill()
    for client in gone:
        client.expect_closed()
    publish(publisher, ON_SECOND, "x")
    stays.expect(message(ON_SECOND, "x"))
    wait_for_number(second, ON_SECOND, 1)
    assert second.ask("PUBSUB", "NUMPAT") == integer(0)
    for _ in range(2):
        assert publisher.ask("SUBSCRIBE", ON_FIRST) == LOST
        assert publisher.ask("SUBSCRIBE", ON_SECOND, ON_FIRST) == LOST
        assert publisher.ask("PSUBSCRIBE", "*") == LOST
        assert publisher.ask("PING") == b"+PONG\r\n"
    assert number_of(second, ON_SECOND) == 1
    first.start()
    again = subscribe(proxy.client(), ON_FIRST)
    publish(publisher, ON_FIRST, "y")
    again.expect(message(ON_FIRST, "y"))
    subscribe(publisher, "*", kind="psubscribe")


def test_a_server_that_hangs(mortal: tuple[ServedPools, RedisServer, RedisServer]) -> None:
    """A client that subscribes gets an error after the timeout; other clients are not delayed."""
    proxy, first, _ = mortal
    client, other, publisher = proxy.client(), proxy.client(), proxy.client()
    with first.paused():
        client.send(command("SUBSCRIBE", ON_FIRST) + command("PING"))
        client.wait_consumed()
        subscribe(other, ON_SECOND)
        publish(publisher, ON_SECOND, "x")
        other.expect(message(ON_SECOND, "x"))
        client.expect(LOST + b"+PONG\r\n")
        assert proxy.server_stats("s00")["server_timedout"] == 1
    subscribe(client, ON_FIRST)
    publish(publisher, ON_FIRST, "y")
    client.expect(message(ON_FIRST, "y"))


def test_a_server_that_hangs_and_goes_on(mortal: tuple[ServedPools, RedisServer, RedisServer]) -> None:
    proxy, first, _ = mortal
    clients = [proxy.client() for _ in range(10)]
    with first.paused():
        for client in clients:
            client.send(command("SUBSCRIBE", ON_FIRST, ON_SECOND))
        # The event loop reads them in the order of sending.
        clients[-1].wait_consumed()
        assert [client.collect() for client in clients] == [b""] * 10
    for client in clients:
        client.expect(confirmation("subscribe", ON_FIRST, 1) + confirmation("subscribe", ON_SECOND, 2))
    assert number_of(first, ON_FIRST) == 1


def test_who_leaves_while_it_waits(mortal: tuple[ServedPools, RedisServer, RedisServer]) -> None:
    proxy, first, second = mortal
    stays = proxy.client()
    with first.paused():
        for end in (Connection.close, Connection.reset):
            client = proxy.client()
            client.send(command("SUBSCRIBE", ON_FIRST, ON_SECOND))
            client.wait_consumed()
            end(client)
        stays.send(command("SUBSCRIBE", ALSO_ON_FIRST))
        stays.wait_consumed()
    stays.expect(confirmation("subscribe", ALSO_ON_FIRST, 1))
    wait_for_number(first, ON_FIRST, 0)
    wait_for_silence(second)


@pytest.mark.parametrize("said", [error("ERR unknown command 'ssubscribe'"), error("NOPERM no")])
def test_only_who_asked_gets_the_error(scripted: tuple[ServedPools, ScriptedServer], said: bytes) -> None:
    proxy, server = scripted
    client, other = proxy.client(), proxy.client()
    other.send(command("SUBSCRIBE", ON_FIRST))
    peer = server.accept()
    assert peer.request() == [b"subscribe", ON_FIRST.encode()]
    peer.send(confirmation("subscribe", ON_FIRST, 1))
    other.expect(confirmation("subscribe", ON_FIRST, 1))
    for _ in range(2):
        client.send(command("SSUBSCRIBE", ON_SECOND, ALSO_ON_FIRST))
        assert peer.request() == [b"ssubscribe", ALSO_ON_FIRST.encode()]
        peer.send(said)
        client.expect(said)
        assert peer.request() == [b"sunsubscribe", ALSO_ON_FIRST.encode()]
        peer.send(said)
    peer.send(message(ON_FIRST, "x"))
    other.expect(message(ON_FIRST, "x"))
    assert client.ask("PING") == b"+PONG\r\n"


def test_a_server_that_lets_nobody_in(scripted: tuple[ServedPools, ScriptedServer]) -> None:
    proxy, server = scripted
    client = proxy.client()
    client.send(command("SUBSCRIBE", ON_FIRST))
    peer = server.accept()
    peer.request()
    peer.send(error("ERR max number of clients reached"))
    peer.close()
    client.expect(error("ERR max number of clients reached"))
    assert client.ask("PING") == b"+PONG\r\n"


GARBAGE = {
    "another reply": OK,
    "a number": integer(1),
    "another word": array(bulk("foo"), bulk("bar")),
    "an end": confirmation("unsubscribe", ON_FIRST, 0),
    "another channel": confirmation("subscribe", "other", 1),
    "no reply": b"hello\r\n",
    "a wrong length": b"*3\r\n$x\r\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("asking", [False, True])
def test_garbage_costs_the_connection(
    scripted: tuple[ServedPools, ScriptedServer], garbage: bytes, asking: bool
) -> None:
    proxy, server = scripted
    before = proxy.server_stats("s00")["server_err"]
    client, elsewhere, asker = proxy.client(), subscribe(proxy.client(), ON_SECOND), proxy.client()
    client.send(command("SUBSCRIBE", ON_FIRST))
    peer = server.accept()
    peer.request()
    peer.send(confirmation("subscribe", ON_FIRST, 1))
    client.expect(confirmation("subscribe", ON_FIRST, 1))
    if asking:
        asker.send(command("SUBSCRIBE", ALSO_ON_FIRST))
        peer.request()
    peer.send(garbage)
    client.expect_closed()
    peer.expect_closed()
    if asking:
        asker.expect(LOST)
    publish(asker, ON_SECOND, "x")
    elsewhere.expect(message(ON_SECOND, "x"))
    assert proxy.server_stats("s00")["server_err"] == before + 1


def test_messages_cut_anywhere(scripted: tuple[ServedPools, ScriptedServer]) -> None:
    """Messages without a subscriber, and pushes of version 3, have no effect."""
    proxy, server = scripted
    client = proxy.client()
    client.send(command("SUBSCRIBE", ON_FIRST))
    peer = server.accept()
    peer.request()
    stream = confirmation("subscribe", ON_FIRST, 1)
    peer.send_pieces(*(stream[place : place + 5] for place in range(0, len(stream), 5)))
    client.expect(stream)
    stream = (
        message("other", "x") + b">2\r\n+a\r\n+b\r\n" + message(ON_FIRST, "\r\n*3\r\n") + pattern_message("*", "a", "b")
    )
    peer.send_pieces(*(stream[place : place + 11] for place in range(0, len(stream), 11)))
    client.expect(message(ON_FIRST, "\r\n*3\r\n"))
    assert client.ask("PING") == array(bulk("pong"), bulk(""))


def test_servers_on_unix_sockets_that_are_down(
    configured: Configure, servers: list[RedisServer], tmp_path: Path
) -> None:
    """Connections to missing unix sockets fail at once."""
    pool = redis_pool(str(tmp_path / "nobody"), servers[1].path, servers[2].path)
    with configured(pool) as proxy:
        [first, second, _] = channels(3)
        other, client = subscribe(proxy.client(), second), proxy.client()
        for _ in range(3):
            assert client.ask("PSUBSCRIBE", "*") == LOST
            assert client.ask("SUBSCRIBE", second, first) == LOST
            assert client.ask("SSUBSCRIBE", first) == LOST
        wait_until(lambda: [server.ask("PUBSUB", "NUMPAT") for server in servers] == [integer(0)] * 3, "no pattern")
        publish(client, second, "x")
        other.expect(message(second, "x"))
        other.close()
        wait_for_silence(*servers)


# --- ejection ------------------------------------------------------------------------------------------------------


def test_channels_move_and_come_back(configured: Configure, servers: list[RedisServer]) -> None:
    """A request times out and ejects the server, so channels move before their server connection is lost."""
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": SHORT, "timeout": 300}
    with RedisServer() as first, configured(redis_pool(first, servers[1], **directives)) as proxy:
        client, client3, other = proxy.client(), switch(proxy.client(), 3), subscribe(proxy.client(), ON_SECOND)
        publisher = proxy.client()
        subscribe(client, ON_FIRST)
        subscribe(client3, ON_FIRST, version=3)

        def both_hear(text: str) -> None:
            """Wait for both messages: a message that has not left its server is lost when the channel moves."""
            publish(publisher, ON_FIRST, text)
            client.expect(message(ON_FIRST, text))
            client3.expect(message(ON_FIRST, text, 3))

        both_hear("before")
        with first.paused():
            publisher.send(command("GET", ON_FIRST))
            assert publisher.reply() == error("ERR Connection timed out")
            wait_for_number(servers[1], ON_FIRST, 1)
            both_hear("moved")
        wait_until(lambda: publisher.ask("GET", ON_FIRST) == NULL and number_of(first, ON_FIRST) == 1, "it is up")
        wait_for_number(servers[1], ON_FIRST, 0)
        both_hear("back")
        assert other.ask("PING") == array(bulk("pong"), bulk(""))


def test_a_lost_connection_ejects(configured: Configure, servers: list[RedisServer]) -> None:
    """The connection for subscriptions is lost: its clients are closed, and the channel is on another server."""
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": LONG}
    with ScriptedServer() as first, configured(redis_pool(first, servers[1], **directives)) as proxy:
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
        proxy.wait_stats(lambda stats: stats["server_ejects"] == 1, "the ejection")
        assert proxy.server_stats("s00")["server_connections"] == 0


def test_an_ejected_server_gets_the_rest_of_a_subscription(configured: Configure, servers: list[RedisServer]) -> None:
    """The proxy answers requests in the place of an ejected server, but a subscription is no request."""
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": LONG}
    with (
        ScriptedServer() as first,
        configured(redis_pool(first, servers[1], on_server_down="error", **directives)) as proxy,
        proxy.client() as other,
    ):
        subscribers = {letter: proxy.client() for letter in "abc"}
        names = {letter: keys_of(0, 2, 3, prefix=letter * 1_000_000) for letter in subscribers}
        for letter, subscriber in subscribers.items():
            subscriber.send(command("SUBSCRIBE", *names[letter]))
        peer = first.accept()
        assert not first.has_connection()
        other.send(command("GET", ON_FIRST))
        failing = first.accept()
        assert failing.request() == [b"GET", ON_FIRST.encode()]
        failing.reset()
        other.expect(error("ERR Connection reset by peer"))
        assert other.ask("GET", ON_FIRST).startswith(
            f"-ERR server s00 of pool {proxy.served_name()} is ejected".encode()
        )
        for _ in subscribers:
            for topic in peer.request()[1:]:
                peer.send(confirmation("subscribe", topic, 1))
        for letter, subscriber in subscribers.items():
            for number, name in enumerate(names[letter], 1):
                subscriber.expect(confirmation("subscribe", name, number))


def test_a_killed_server_ejects(configured: Configure, servers: list[RedisServer]) -> None:
    directives = {"auto_eject_hosts": True, "server_failure_limit": 2, "server_retry_timeout": SHORT}
    with RedisServer() as first, configured(redis_pool(first, servers[1], **directives)) as proxy:
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
            wait_until(lambda: client.ask("SET", ON_FIRST, "x") == OK and number_of(first, ON_FIRST) == 1, "it is up")
            publish(client, ON_FIRST, "y")
            publisher.expect(message(ON_FIRST, "y"))
            publish(client, ON_SECOND, "z")
            other.expect(message(ON_SECOND, "z"))


def test_patterns_while_a_server_is_ejected(configured: Configure, servers: list[RedisServer]) -> None:
    """Patterns are subscribed at the remaining servers, and at the ejected server when it is up again."""
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": SHORT}
    with RedisServer() as first, configured(redis_pool(first, servers[1], **directives)) as proxy:
        publisher = proxy.client()
        first.kill()
        assert publisher.ask("GET", ON_FIRST) == error("ERR Connection refused")
        client = subscribe(proxy.client(), "*", kind="psubscribe")
        notified = subscribe(proxy.client(), "__keyspace@0__:x")
        publish(publisher, ON_FIRST, "moved")
        first.start()
        wait_until(
            lambda: publisher.ask("GET", ON_FIRST) == NULL and first.ask("PUBSUB", "NUMPAT") == integer(1), "it is up"
        )
        publish(publisher, ON_FIRST, "back")
        publish(first.connect(), ON_FIRST, "directly")
        for text in ("moved", "back", "directly"):
            client.expect(pattern_message("*", ON_FIRST, text))
        wait_for_number(first, "__keyspace@0__:x", 1)
        publish(first.connect(), "__keyspace@0__:x", "set")
        notified.expect(message("__keyspace@0__:x", "set"))


# --- storms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_storms_end_in_the_right_state(configured: Configure, servers: list[RedisServer], version: int) -> None:
    """Many clients subscribe, disconnect and reconnect at random; in the end each client has its subscriptions."""
    source = random.Random(version)
    names = [*channels(3, "storm"), "storm:x"]
    with configured(redis_pool(*servers)) as proxy, ExitStack() as stack:
        clients = [stack.enter_context(switch(proxy.client(), version)) for _ in range(40)]
        has: list[set[str]] = [set() for _ in clients]
        answers = [0] * len(clients)
        for _ in range(1500):
            number = source.randrange(len(clients))
            if source.random() < 0.03:
                clients[number].close()
                clients[number] = stack.enter_context(switch(proxy.client(), version))
                has[number], answers[number] = set(), 0
                continue
            chosen = source.sample(names, source.choice([1, 1, 2]))
            subscribes = source.random() < 0.5
            clients[number].send(command("SUBSCRIBE" if subscribes else "UNSUBSCRIBE", *chosen))
            has[number] = has[number] | set(chosen) if subscribes else has[number] - set(chosen)
            answers[number] += len(chosen)
        for client, count in zip(clients, answers, strict=True):
            client.replies(count)
        publisher = proxy.client()
        for name in names:
            expected = sum(name in mine for mine in has)
            assert publisher.ask("PUBSUB", "NUMSUB", name) == array(bulk(name), integer(expected))
            assert sum(number_of(server, name) for server in servers) == 1
            publish(publisher, name, "x")
            for client, mine in zip(clients, has, strict=True):
                if name in mine:
                    client.expect(message(name, "x", version))
        for client in clients:
            pong = client.ask("PING", "the end")
            assert pong in (bulk("the end"), array(bulk("pong"), bulk("the end")))
        for client in clients:
            client.close()
        wait_for_silence(*servers)
