"""Subscriptions: the messages that subscribers get, with topics on any servers, and the order of messages."""

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import OK, arguments, array, bulk, command, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.subscribing import (
    channels,
    confirmation,
    message,
    publish,
    subscribe,
    switch,
)

BIG = random.Random(7).randbytes(1024 * 1024)
[ON_FIRST, ON_SECOND, ON_THIRD] = CHANNELS = channels(3)
BINARY = bytes(range(256))

SCRIPTS = {
    "several at once": ["SUBSCRIBE a b c", "PUBLISH b hello", "UNSUBSCRIBE b c", "PUBLISH b x", "PUBLISH a y"],
    "again": ["SUBSCRIBE a a", "SUBSCRIBE a", "PUBLISH a once", "UNSUBSCRIBE a", "UNSUBSCRIBE a", "PUBLISH a x"],
    "end of all": ["SUBSCRIBE a", "UNSUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE p*", "PUNSUBSCRIBE", "PUNSUBSCRIBE"],
    "end of nothing": ["UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "UNSUBSCRIBE x y", "PUNSUBSCRIBE x", "GET x"],
    "end of channels only": ["PSUBSCRIBE a*", "SUBSCRIBE a", "UNSUBSCRIBE", "PUBLISH a x", "UNSUBSCRIBE"],
    "end of patterns only": ["PSUBSCRIBE a*", "SUBSCRIBE a", "PUNSUBSCRIBE", "PUBLISH a x", "PUNSUBSCRIBE"],
    "both match": ["SUBSCRIBE abc", "PSUBSCRIBE a*", "PUBLISH abc x", "PUBLISH abd y", "UNSUBSCRIBE", "PUBLISH abc z"],
    "odd patterns": ["PSUBSCRIBE h[ae]llo h\\*? h?", "PUBLISH hello 1", "PUBLISH h*o 2", "PUBLISH h 3", "PUBLISH hx 4"],
    "shards": ["SSUBSCRIBE a b", "SUBSCRIBE a", "SPUBLISH a 1", "PUBLISH a 2", "SUNSUBSCRIBE b", "SPUBLISH b 3"],
    "end of all shards": ["SSUBSCRIBE a", "UNSUBSCRIBE", "SUNSUBSCRIBE", "SUNSUBSCRIBE", "SPUBLISH a 1", "GET x"],
    "mistakes": ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "SUBSCRIBE a", "SUBSCRIBE", "PUBLISH", "PUBLISH a x"],
    "pings": ["SUBSCRIBE a", "PING", "PING text", "PING two words", "UNSUBSCRIBE a", "PING", "PING text"],
    "reset": ["SUBSCRIBE a", "PSUBSCRIBE a*", "SSUBSCRIBE a", "RESET", "PUBLISH a x", "GET x", "SUBSCRIBE a"],
}
"""The commands of a subscriber, and PUBLISH and SPUBLISH, which another client sends."""
REFUSED = ["GET x", "get", "NOSUCH x", "MULTI", "EXEC", "HELLO 3", "AUTH x", "SELECT 0", "CLIENT ID", "PUBLISH a"]
REFUSED += ["MGET a b", "PUBSUB NUMPAT", "PUBSUB", "BLPOP a 0", "CONFIG GET x", "INFO", "TIME", "RESET x"]
ODD_NAMES = [b"", b"\r\n", b"\x00", BINARY, b"$3\r\nabc\r\n", "\u00e4".encode(), b"x" * 100_000]


class Pair:
    """A subscriber and a publisher."""

    def __init__(self, subscriber: Connection, publisher: Connection, version: int) -> None:
        self.subscriber = switch(subscriber, version)
        self.version = version
        self.publisher = publisher

    def step(self, *words: bytes | str) -> None:
        """Send a command from one of the two clients; a publisher's command is complete when this returns."""
        if words[0] in ("PUBLISH", "SPUBLISH") and len(words) == 3:
            publish(self.publisher, words[1], words[2], str(words[0]))
        else:
            self.subscriber.send(command(*words))

    def barrier(self) -> list[bytes]:
        """All messages up to now, if the publisher and the subscriber use the same server."""
        self.subscriber.send(command("PING", "the barrier"))
        found = []
        while b"the barrier" not in (reply := self.subscriber.reply()):
            found.append(reply)
        return found


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def version(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def twins(proxy: ServedPools, reference: RedisServer, version: int) -> Iterator[tuple[Pair, Pair]]:
    """A pair of clients at a server, and a pair of clients at the proxy."""
    with ExitStack() as stack:
        connections = [reference.connect(), reference.connect(), proxy.client(), proxy.client()]
        for connection in connections:
            stack.enter_context(connection)
        yield Pair(connections[0], connections[1], version), Pair(connections[2], connections[3], version)


def compare(twins: tuple[Pair, Pair], *words: bytes | str) -> None:
    """The subscriber at the proxy gets the same messages as the subscriber at the server."""
    direct, proxied = twins
    direct.step(*words)
    proxied.step(*words)
    expected = direct.barrier()
    came = proxied.subscriber.replies(len(expected))
    if len(words) == 1:
        # Confirmations for all topics have no defined order of names, so names and numbers are compared separately.
        assert sorted(reply.split(b":")[0] for reply in came) == sorted(reply.split(b":")[0] for reply in expected)
        came, expected = ([reply.rsplit(b":", 1)[-1] for reply in replies] for replies in (came, expected))
    assert came == expected, words


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_subscribers_get_what_redis_says(twins: tuple[Pair, Pair], script: list[str]) -> None:
    for line in script:
        compare(twins, *line.split(" "))
    assert twins[1].barrier() == []


def test_names_and_messages_are_any_bytes(twins: tuple[Pair, Pair]) -> None:
    compare(twins, "SUBSCRIBE", *ODD_NAMES)
    for name in ODD_NAMES:
        compare(twins, "PUBLISH", name, b"")
        compare(twins, "PUBLISH", name, BINARY)
    compare(twins, "UNSUBSCRIBE", *ODD_NAMES)
    compare(twins, "PSUBSCRIBE", b"", b"\x00*", b"?\n")
    compare(twins, "PUBLISH", b"", b"-ERR forged\r\n")
    compare(twins, "PUBLISH", b"\x00\xff", b"*3\r\n$7\r\nmessage\r\n")
    compare(twins, "PUBLISH", b"\r\n", b"\r\n")


def test_big_messages_come_whole(twins: tuple[Pair, Pair]) -> None:
    compare(twins, "SUBSCRIBE", ON_SECOND, ON_THIRD)
    compare(twins, "PUBLISH", ON_SECOND, BIG)
    compare(twins, "PUBLISH", ON_THIRD, BIG[::-1])


def test_many_topics_in_one_command(twins: tuple[Pair, Pair]) -> None:
    names = [f"many:{number}" for number in range(5000)]
    compare(twins, "SUBSCRIBE", *names)
    compare(twins, "PUBLISH", names[-1], "x")
    compare(twins, "UNSUBSCRIBE")


@pytest.mark.parametrize("version", [2])
def test_in_version_2_subscribers_may_do_little(twins: tuple[Pair, Pair]) -> None:
    compare(twins, "SSUBSCRIBE", "shard")
    for line in REFUSED:
        for pair in twins:
            pair.subscriber.send(command(*line.split(" ")))
        assert twins[1].subscriber.reply() == twins[0].subscriber.reply(), line


def test_confirmations_are_no_replies(twins: tuple[Pair, Pair]) -> None:
    """Clients that want no replies still get confirmations and messages."""
    for pair in twins:
        pair.subscriber.send(command("CLIENT", "REPLY", "SKIP") + command("SUBSCRIBE", ON_FIRST))
        pair.subscriber.expect(confirmation("subscribe", ON_FIRST, 1, pair.version))
    compare(twins, "PUBLISH", ON_FIRST, "x")
    for pair in twins:
        pair.subscriber.send(command("UNSUBSCRIBE", ON_FIRST) + command("CLIENT", "REPLY", "OFF") + command("PING"))
        pair.subscriber.send(command("SUBSCRIBE", ON_SECOND, ON_THIRD) + command("SUBSCRIBE"))
        pair.subscriber.expect(confirmation("unsubscribe", ON_FIRST, 0, pair.version))
        pair.subscriber.expect(confirmation("subscribe", ON_SECOND, 1, pair.version))
        pair.subscriber.expect(confirmation("subscribe", ON_THIRD, 2, pair.version))
        publish(pair.publisher, ON_THIRD, "x")
        pair.subscriber.expect(message(ON_THIRD, "x", pair.version))
        pair.subscriber.send(command("UNSUBSCRIBE", ON_SECOND))
        pair.subscriber.expect(confirmation("unsubscribe", ON_SECOND, 1, pair.version))


def test_in_version_2_subscribers_leave_with_quit(twins: tuple[Pair, Pair]) -> None:
    for pair in twins:
        pair.subscriber.send(command("SUBSCRIBE", ON_FIRST) + command("QUIT") + command("PING"))
    assert twins[1].subscriber.read_to_end() == twins[0].subscriber.read_to_end()


def test_in_version_3_subscribers_may_do_anything(proxy: ServedPools) -> None:
    with proxy.client() as client, proxy.client() as publisher:
        subscribe(switch(client, 3), *CHANNELS, version=3)
        for key in CHANNELS:
            assert client.ask("SET", key, "value") == OK
            publish(publisher, key, "text")
            client.expect(message(key, "text", 3))
            assert client.ask("GET", key) == bulk("value")
        assert client.ask("MGET", *CHANNELS) == array(*[bulk("value")] * 3)
        assert client.ask("MULTI") == OK
        assert client.ask("GET", ON_FIRST) == b"+QUEUED\r\n"
        publish(publisher, ON_SECOND, "in a transaction")
        client.expect(message(ON_SECOND, "in a transaction", 3))
        assert client.ask("EXEC") == array(bulk("value"))
        client.send(command("PUBLISH", ON_THIRD, "to myself"))
        assert {client.reply(), client.reply()} == {message(ON_THIRD, "to myself", 3), integer(1)}


def test_messages_come_while_a_client_blocks(proxy: ServedPools) -> None:
    with proxy.client() as client, proxy.client() as other:
        subscribe(switch(client, 3), ON_FIRST, version=3)
        client.send(command("BLPOP", ON_SECOND, 0) + command("PING"))
        for number in range(10):
            publish(other, ON_FIRST, str(number))
            client.expect(message(ON_FIRST, str(number), 3))
        assert other.ask("RPUSH", ON_SECOND, "item") == integer(1)
        client.expect(array(bulk(ON_SECOND), bulk("item")) + b"+PONG\r\n")


def test_subscribing_in_a_transaction_is_refused(proxy: ServedPools, version: int) -> None:
    with proxy.client() as client:
        switch(client, version)
        for kind in ("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE"):
            assert client.ask("MULTI") == OK
            assert client.ask(kind, ON_FIRST).startswith(b"-ERR '%s' is not available in a tr" % kind.lower().encode())
            assert client.ask("EXEC").startswith(b"-EXECABORT")
        assert client.ask("PUBSUB", "NUMSUB", ON_FIRST) == array(bulk(ON_FIRST), integer(0))


def test_versions_change_with_subscriptions(proxy: ServedPools) -> None:
    with proxy.client() as client, proxy.client() as publisher:
        subscribe(switch(client, 3), ON_FIRST, version=3)
        publish(publisher, ON_FIRST, "three")
        client.expect(message(ON_FIRST, "three", 3))
        switch(client, 2)
        publish(publisher, ON_FIRST, "two")
        client.expect(message(ON_FIRST, "two", 2))
        assert client.ask("HELLO", "3").startswith(b"-ERR Can't execute 'hello'")
        assert client.ask("UNSUBSCRIBE") == confirmation("unsubscribe", ON_FIRST, 0)
        subscribe(switch(client, 3), ON_FIRST, version=3)


# --- the order of messages and replies -----------------------------------------------------------------------------


@pytest.fixture
def slow(configured: Configure, servers: list[RedisServer]) -> Iterator[tuple[ServedPools, ScriptedServer]]:
    """A pool of a scripted server and a real server."""
    with ScriptedServer() as scripted, configured(redis_pool(scripted, servers[0])) as proxy:
        yield proxy, scripted


[SLOW], [FAST] = keys_of(0, 2), keys_of(1, 2)


def test_messages_are_never_inside_or_instead_of_replies(slow: tuple[ServedPools, ScriptedServer]) -> None:
    proxy, scripted = slow
    client, publisher = proxy.client(), proxy.client()
    client.send(command("HELLO", 3))
    greeted = scripted.accept()
    greeted.expect(command("HELLO", "3"))
    greeted.send(b"%0\r\n")
    client.reply()
    subscribe(client, FAST, version=3)
    client.send(command("GET", SLOW) * 3 + command("PING", "local") + command("GET", FAST))
    greeted.expect(command("GET", SLOW) * 3)
    replies = [bulk("x" * length) for length in (10, 100_000, 3_000_000)]
    pieces = [data[start : start + 30_000] for data in replies for start in range(0, len(data), 30_000)]
    for number, piece in enumerate(pieces):
        greeted.send(piece)
        publish(publisher, FAST, str(number))
    expected = [*replies, bulk("local"), b"_\r\n"]
    came = client.replies(len(pieces) + len(expected))
    assert [reply for reply in came if not reply.startswith(b">")] == expected
    told = [message(FAST, str(number), 3) for number in range(len(pieces))]
    assert [reply for reply in came if reply.startswith(b">")] == told


def test_version_2_waits_for_replies_before_it_subscribes(slow: tuple[ServedPools, ScriptedServer]) -> None:
    proxy, scripted = slow
    client, other, publisher = proxy.client(), subscribe(proxy.client(), FAST), proxy.client()
    client.send(command("GET", SLOW) + command("SUBSCRIBE", FAST) + command("PING"))
    peer = scripted.accept()
    assert peer.request() == [b"GET", SLOW.encode()]
    client.wait_consumed()
    publish(publisher, FAST, "early")
    other.expect(message(FAST, "early"))
    assert client.collect() == b""
    peer.send(bulk("value"))
    client.expect(bulk("value") + confirmation("subscribe", FAST, 1) + array(bulk("pong"), bulk("")))
    publish(publisher, FAST, "late")
    client.expect(message(FAST, "late"))


def test_version_3_changes_after_the_replies(slow: tuple[ServedPools, ScriptedServer]) -> None:
    proxy, scripted = slow
    client, publisher = proxy.client(), proxy.client()
    client.send(command("HELLO", 3))
    peer = scripted.accept()
    peer.request()
    peer.send(b"%0\r\n")
    client.reply()
    subscribe(client, FAST, version=3)
    client.send(command("GET", SLOW) + command("HELLO", 2))
    peer.request()
    client.wait_consumed()
    publish(publisher, FAST, "x")
    client.expect(message(FAST, "x", 3))
    peer.send(bulk("value"))
    client.expect(bulk("value"))
    assert client.reply().startswith(b"*")
    publish(publisher, FAST, "y")
    client.expect(message(FAST, "y", 2))


def test_the_confirmation_comes_before_the_first_message(slow: tuple[ServedPools, ScriptedServer]) -> None:
    """The client gets nothing before the server has confirmed the subscription."""
    proxy, scripted = slow
    client, late = proxy.client(), proxy.client()
    client.send(command("SUBSCRIBE", FAST, SLOW))
    peer = scripted.accept()
    peer.expect(command("subscribe", SLOW))
    late.send(command("SUBSCRIBE", SLOW))
    late.wait_consumed()
    assert client.collect() == late.collect() == b""
    peer.send(confirmation("subscribe", SLOW, 1) + message(SLOW, "of nobody's concern"))
    client.expect(confirmation("subscribe", FAST, 1) + confirmation("subscribe", SLOW, 2))
    late.expect(confirmation("subscribe", SLOW, 1))
    peer.send(message(SLOW, "first"))
    client.expect(message(SLOW, "first"))
    late.expect(message(SLOW, "first"))


@pytest.mark.parametrize("distribution", ["ketama", "random"])
def test_what_is_published_after_the_confirmation_is_delivered(
    configured: Configure, servers: list[RedisServer], distribution: str
) -> None:
    with configured(redis_pool(*servers, distribution=distribution)) as proxy:
        publisher = proxy.client()
        for number in range(40):
            with proxy.client() as client:
                name = f"fresh:{number % 7}"
                subscribe(client, name)
                publish(publisher, name, str(number))
                client.expect(message(name, str(number)))


@pytest.mark.parametrize("distribution", ["modula", "random"])
def test_every_message_comes_once_and_in_order(
    configured: Configure, servers: list[RedisServer], distribution: str
) -> None:
    rounds, names = 40, [f"c:{number}" for number in range(12)]
    with configured(redis_pool(*servers, distribution=distribution)) as proxy:
        by_name = subscribe(proxy.client(), *names)
        by_pattern = subscribe(proxy.client(), "c:*", kind="psubscribe")
        by_patterns = subscribe(proxy.client(), "c*", "*:*", kind="psubscribe")
        publishers = [proxy.client() for _ in range(3)]
        for number in range(rounds):
            for name in names:
                # With random, messages of a channel use several servers, so each message waits for the one before.
                publisher = publishers[len(name) % 3]
                publisher.send(command("PUBLISH", name, str(number)))
                if distribution == "random":
                    publisher.reply()
                    by_name.expect(message(name, str(number)))
        if distribution != "random":
            heard = _texts(by_name, rounds * len(names), "message")
            assert heard == {(b"", name.encode()): [b"%d" % number for number in range(rounds)] for name in names}
        told = _texts(by_pattern, rounds * len(names), "pmessage")
        told |= _texts(by_patterns, 2 * rounds * len(names), "pmessage")
        assert len(told) == 3 * len(names)
        for texts in told.values():
            expected = [b"%d" % number for number in range(rounds)]
            assert (sorted(texts, key=int) if distribution == "random" else texts) == expected
        for connection in (by_name, by_pattern, by_patterns):
            assert connection.ask("PING") == array(bulk("pong"), bulk(""))


def _texts(connection: Connection, count: int, kind: str) -> dict[tuple[bytes, bytes], list[bytes]]:
    """The texts of the next ``count`` messages, by pattern and channel."""
    found: dict[tuple[bytes, bytes], list[bytes]] = defaultdict(list)
    for reply in connection.replies(count):
        word, *rest = arguments(reply)
        assert word == kind.encode()
        pattern, name, text = rest if kind == "pmessage" else (b"", *rest)
        found[pattern, name].append(text)
    return found
