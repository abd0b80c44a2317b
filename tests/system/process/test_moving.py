"""Clients that want to know are told to connect again when the proxy stops, and in an upgrade when they stay behind."""

import re
import signal
import time
from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, redis_pool
from harness.resp import OK, command
from harness.servers import RedisServer
from harness.waiting import wait_until

MOVING = re.compile(rb">4\r\n\$6\r\nMOVING\r\n:(\d+)\r\n:(\d+)\r\n_\r\n")
PONG = b"+PONG\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


def asking(proxy: Proxy) -> Connection:
    """A client with version 3 of the protocol that wants to be told."""
    client = proxy.client()
    assert client.ask("HELLO", 3).startswith(b"%7")
    assert client.ask("CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "none") == OK
    return client


def silent(proxy: Proxy) -> list[Connection]:
    """Clients that are not told: one that has not asked, one with version 2, and one that has withdrawn."""
    plain, version_2, withdrawn = proxy.client(), proxy.client(), asking(proxy)
    assert plain.ask("HELLO", 3).startswith(b"%7")
    assert version_2.ask("CLIENT", "MAINT_NOTIFICATIONS", "ON").startswith(b"-ERR MAINT_NOTIFICATIONS needs")
    assert withdrawn.ask("CLIENT", "MAINT_NOTIFICATIONS", "OFF") == OK
    return [plain, version_2, withdrawn]


def moving(client: Connection) -> tuple[int, int]:
    """The number and the seconds of the message that comes next."""
    message = client.reply()
    found = MOVING.fullmatch(message)
    assert found, message
    return int(found[1]), int(found[2])


def test_a_stop(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        told, others = asking(proxy), silent(proxy)
        before = time.time()
        assert proxy.terminate() == 0
        number, seconds = moving(told)
        assert seconds == 1
        assert before <= number / 1000 + 0.001 <= time.time()
        for client in (told, *others):
            client.expect_closed()


def test_at_the_beginning_of_the_drain_delay(server: RedisServer) -> None:
    with Proxy(redis_pool(server), "--drain-delay", "60") as proxy:
        clients, others = [asking(proxy), asking(proxy)], silent(proxy)
        proxy.process.send_signal(signal.SIGTERM)
        messages = {moving(client) for client in clients}
        assert len(messages) == 1, "the number is that of the event"
        [(number, seconds)] = messages
        assert seconds == 60
        later = asking(proxy)
        assert moving(later)[0] == number, "a client that comes later is told, too"
        for client in (*clients, *others):
            assert client.ask("PING") == PONG
        # A second signal ends the delay.
        assert proxy.terminate() == 0
        for client in (*clients, *others, later):
            client.expect_closed()


def test_a_client_that_stays_subscribed_in_an_upgrade(server: RedisServer) -> None:
    with Proxy(redis_pool(server), "--drain-time", "10") as proxy:
        subscriber, idle, others = asking(proxy), asking(proxy), silent(proxy)
        for client in (subscriber, *others):
            client.send(command("SUBSCRIBE", "c"))
            assert client.reply()[1:].startswith(b"3\r\n$9\r\nsubscribe\r\n")
        before = proxy.processes()
        proxy.upgrade()
        assert moving(subscriber)[1] in (7, 8), "four fifths of the drain time are left"
        for client in (subscriber, *others):
            client.send(command("UNSUBSCRIBE"))
            assert client.reply()[1:].startswith(b"3\r\n$11\r\nunsubscribe\r\n")
        wait_until(lambda: len(proxy.processes()) == 2 and proxy.processes()[1] != before[1], "all have moved")
        for client in (subscriber, idle, *others):
            assert client.ask("PING") == PONG
        # What they have asked for has moved with them.
        proxy.process.send_signal(signal.SIGTERM)
        assert moving(subscriber)[1] == moving(idle)[1] == 1
        proxy.wait()
        for client in others:
            client.expect_closed()


def test_a_reload_tells_nobody(server: RedisServer) -> None:
    pool = redis_pool(server)
    with Proxy({"alpha": pool, "beta": pool}) as proxy:
        clients = [asking(proxy)]
        beta = proxy.client("beta")
        assert beta.ask("HELLO", 3).startswith(b"%7")
        assert beta.ask("CLIENT", "MAINT_NOTIFICATIONS", "ON") == OK
        proxy.reload({"alpha": {**pool, "timeout": 4000}})
        for client in (*clients, beta):
            assert client.ask("PING") == PONG
            assert not client.received
