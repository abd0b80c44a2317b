"""Subscriptions that move to other servers and addresses while messages are published."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Thread

import pytest
from moving_keys import KEYS, key_that_moves, pool

from harness.connection import Connection
from harness.resp import OK, command, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.subscribing import confirmation, message, subscribe
from harness.waiting import wait_until
from unit.in_process import InProcess

CHANNELS = KEYS[:8]
LAST = "last"


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, RedisServer]]:
    with ExitStack() as made:
        yield {name: made.enter_context(RedisServer()) for name in ("one", "two", "three")}


def moved(proxy: InProcess) -> int:
    """The counter of moved subscriptions."""
    [alpha] = proxy.data_plane.pools
    return int(dict(proxy.call(alpha.statistics))["subscriptions_moved"])


def settled(proxy: InProcess) -> None:
    """Wait until no subscription moves any more."""
    [alpha] = proxy.data_plane.pools
    wait_until(lambda: not proxy.call(alpha.subscriptions.is_moving), "all subscriptions have moved")


class Hearer:
    """A thread that counts the (channel, text) of a subscriber's messages until the text is LAST."""

    def __init__(self, connection: Connection) -> None:
        self.got: Counter[tuple[bytes, bytes]] = Counter()
        self._connection = connection
        self._thread = Thread(target=self._hear)
        self._thread.start()

    def _hear(self) -> None:
        text = b""
        while text != LAST.encode():
            words = self._connection.reply().split(b"\r\n")
            channel, text = words[-4], words[-2]
            self.got[channel, text] += 1

    def end(self) -> Counter[tuple[bytes, bytes]]:
        """The messages, without the last one."""
        self._thread.join()
        return Counter({key: count for key, count in self.got.items() if key[1] != LAST.encode()})


class Publisher:
    """A thread that publishes numbers on CHANNELS until it is ended; ``replies``: those of the server."""

    def __init__(self, ask: Callable[..., bytes], prefix: str = "") -> None:
        self._prefix = prefix
        self.sent: Counter[tuple[bytes, bytes]] = Counter()
        self.replies: Counter[bytes] = Counter()
        self._ask = ask
        self._ended = False
        self._thread = Thread(target=self._publish)
        self._thread.start()

    def _publish(self) -> None:
        number = 0
        while not self._ended:
            channel = CHANNELS[number % len(CHANNELS)]
            text = f"{self._prefix}{number}"
            self.replies[self._ask("PUBLISH", channel, text)] += 1
            self.sent[channel.encode(), text.encode()] += 1
            number += 1

    def wait(self) -> None:
        """Wait until messages on all channels have been sent."""
        until = self.sent.total() + 2 * len(CHANNELS)
        wait_until(lambda: self.sent.total() >= until, "messages on all channels")

    def end(self) -> Counter[tuple[bytes, bytes]]:
        """The messages that were sent."""
        self._ended = True
        self._thread.join()
        return self.sent


def change(proxy: InProcess, publisher: Publisher, **after: object) -> None:
    """Change the pool, and wait until its subscriptions have moved and it has connections to all servers."""
    proxy.replace_settings(**after)
    settled(proxy)
    publisher.wait()


CHANGES = {
    "other servers": [["one", "two"], ["one", "three"], ["three"], ["two", "three"], ["one", "two", "three"]],
    "other addresses": [["one", "two"], ["one=two", "two=three"], ["one=three", "two=one"]],
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_every_message_arrives_once(servers: dict[str, RedisServer], changes: list[list[str]]) -> None:
    """Each PUBLISH reaches both subscribers, whenever it comes."""
    with InProcess(**pool(servers, *changes[-1])) as proxy:
        channel, pattern = proxy.client(), proxy.client()
        subscribe(channel, *CHANNELS)
        subscribe(pattern, "key*", kind="psubscribe")
        hearers = [Hearer(channel), Hearer(pattern)]
        publisher = Publisher(proxy.client().ask)
        publisher.wait()
        for _ in range(100 // len(changes)):
            for names in changes:
                change(proxy, publisher, **pool(servers, *names))
        sent = publisher.end()
        assert min(publisher.replies) >= integer(2)
        proxy.client().ask("PUBLISH", CHANNELS[0], LAST)
        for hearer in hearers:
            assert hearer.end() == sent
        assert sent.total() > 200
        assert moved(proxy) >= 100


def test_a_server_gets_another_name(servers: dict[str, RedisServer]) -> None:
    """Two connections to one server have the same subscriptions for a while."""
    names = [["one"], ["two=one"]]
    with InProcess(**pool(servers, "one")) as proxy:
        hearer = Hearer(subscribe(proxy.client(), *CHANNELS))
        publishers = [Publisher(proxy.client().ask), Publisher(servers["one"].connect().ask, "other ")]
        publishers[0].wait()
        for number in range(60):
            change(proxy, publishers[0], **pool(servers, *names[number % 2]))
        sent = publishers[0].end() + publishers[1].end()
        proxy.client().ask("PUBLISH", CHANNELS[0], LAST)
        assert hearer.end() == sent


def test_no_message_comes_twice_from_a_server_and_its_replica(servers: dict[str, RedisServer]) -> None:
    """Another proxy publishes at the server, which passes everything on to its replica, the former server."""
    one, two = servers["one"], servers["two"]
    assert two.ask("REPLICAOF", one.host, one.port) == OK
    try:
        wait_until(lambda: b"master_link_status:up" in two.ask("INFO", "replication"), "the replica is connected")
        for _ in range(20):
            with InProcess(**pool(servers, "one=two")) as proxy:
                hearer = Hearer(subscribe(proxy.client(), *CHANNELS))
                publisher = Publisher(one.connect().ask)
                publisher.wait()
                proxy.replace_settings(**pool(servers, "one"))
                settled(proxy)
                publisher.wait()
                sent = publisher.end()
                proxy.client().ask("PUBLISH", CHANNELS[0], LAST)
                got = hearer.end()
                # The replica may not have got a message yet when it is left.
                assert got.keys() <= sent.keys()
                assert set(got.values()) == {1}
    finally:
        assert two.ask("REPLICAOF", "NO", "ONE") == OK


@pytest.fixture
def two() -> Iterator[dict[str, ScriptedServer]]:
    with ScriptedServer() as one, ScriptedServer() as other:
        yield {"one": one, "other": other}


def test_a_message_waits_for_the_subscription(two: dict[str, ScriptedServer]) -> None:
    """PUBLISH is sent to the new server when that has confirmed; other requests of other clients do not wait."""
    after = pool(two, "other")
    with InProcess(**pool(two, "one")) as proxy:
        channel = key_that_moves(proxy, "one", **after)
        subscriber, publisher, witness = (proxy.client() for _ in range(3))
        subscriber.send(command("SUBSCRIBE", channel))
        former = two["one"].accept()
        former.expect(command("subscribe", channel))
        former.send(confirmation("subscribe", channel, 1))
        subscriber.expect(confirmation("subscribe", channel, 1))
        proxy.replace_settings(**after)
        publisher.send(command("PUBLISH", channel, "news") + command("PING"))
        present = two["other"].accept()
        present.expect(command("subscribe", channel))
        publisher.wait_consumed()
        witness.send(command("GET", "a"))
        shared = two["other"].accept()
        shared.expect(command("GET", "a"))
        former.send(message(channel, "before"))
        subscriber.expect(message(channel, "before"))
        assert shared.collect() == b""
        present.send(confirmation("subscribe", channel, 1))
        former.expect(command("unsubscribe", channel))
        shared.expect(command("PUBLISH", channel, "news"))
        present.send(message(channel, "news"))
        shared.send(b"$-1\r\n" + integer(1))
        subscriber.expect(message(channel, "news"))
        publisher.expect(integer(1) + b"+PONG\r\n")
        former.send(confirmation("unsubscribe", channel, 0))
        former.expect_closed()
