"""Peers that do not read: memory is bounded, other clients are served, and no reply is lost when they read again."""

import time
from collections.abc import Callable

from harness.connection import Connection
from harness.proxy import Proxy, keys_of, redis_pool
from harness.resp import OK, bulk, command
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

KILO, MEGA = 1 << 10, 1 << 20
BOUND = 64 * MEGA
"""The largest growth of the proxy's memory, while several times as many bytes pass through the proxy."""


def settled(measure: Callable[[], int], seconds: float = 1.0) -> int:
    """The value of ``measure`` after it has not changed for ``seconds``."""
    value, since = measure(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.02)
        now = measure()
        if now != value:
            value, since = now, time.monotonic()
    return value


def test_client_that_does_not_read_small_requests_for_large_values(servers: list[RedisServer]) -> None:
    count, value = 1000, b"v" * (256 * KILO)
    with Proxy(redis_pool(servers[0])) as proxy:
        lazy, other = proxy.client(), proxy.client()
        assert other.ask("MSET", "large", value, "small", "s") == OK
        before = proxy.memory()
        requests = command("GET", "large") * count
        assert lazy.send_until_stalled(requests) == len(requests)
        peak = 0

        def progress() -> int:
            nonlocal peak
            peak = max(peak, proxy.memory())
            assert other.ask("GET", "small") == bulk("s")
            stats = proxy.server_stats()
            return stats["response_bytes"] - stats["responses"] * len(bulk("s"))

        settled(progress)
        assert peak - before < BOUND
        expected = bulk(value)
        for _ in range(count):
            lazy.expect(expected)


def test_client_that_does_not_read_while_it_writes_large_requests(servers: list[RedisServer]) -> None:
    count, value = 40, b"v" * MEGA
    with Proxy(redis_pool(servers[0])) as proxy:
        lazy, other = proxy.client(), proxy.client()
        assert other.ask("MSET", "large", value, "small", "s") == OK
        before = proxy.memory()
        lazy.send(command("GETSET", "large", value) * count)
        assert other.ask("GET", "small") == bulk("s")
        assert proxy.memory() - before < BOUND + count * MEGA, "requests wait, not their replies"
        for _ in range(count):
            lazy.expect(bulk(value))


def test_server_that_does_not_read(servers: list[RedisServer]) -> None:
    # The window of a new client.
    count, value = 16, b"v" * MEGA
    with ScriptedServer() as lazy, Proxy(redis_pool(lazy, servers[1])) as proxy:
        [on_lazy], [on_other] = keys_of(0, 2), keys_of(1, 2)
        client, other = proxy.client(), proxy.client()
        assert other.ask("SET", on_other, "0") == OK
        before = proxy.memory()
        requests = command("SET", on_lazy, value) * count
        sent = client.send_until_stalled(requests)
        assert sent < len(requests), "the proxy read on although the server took nothing"
        assert proxy.memory() - before < BOUND
        assert other.ask("SET", on_other, "1") == OK
        peer = lazy.accept()
        received = 0
        while received < len(requests):
            data = peer.collect()
            assert requests.startswith(data[: len(requests) - received], received) or data in requests
            received += len(data)
            sent += client.send_until_stalled(requests[sent : sent + MEGA], 0.01)
        peer.send(OK * count)
        client.expect(OK * count)


def test_stopped_server_holds_up_only_its_own_keys(configured: Configure, servers: list[RedisServer]) -> None:
    with RedisServer() as stopped, configured(redis_pool(stopped, servers[1])) as proxy:
        [on_stopped], [on_other] = keys_of(0, 2), keys_of(1, 2)
        client, other = proxy.client(), proxy.client()
        assert client.ask("SET", on_stopped, "1") == OK
        stopped.pause()
        client.send(command("GET", on_stopped) * 1000)
        for number in range(200):
            assert other.ask("SET", on_other, number) == OK
        stopped.resume()
        client.expect(bulk("1") * 1000)


def test_large_reply_trickles_to_a_slow_reader(configured: Configure, servers: list[RedisServer]) -> None:
    value = bytes(range(256)) * (20 * KILO)
    with configured(redis_pool(servers[0])) as proxy:
        slow, other = proxy.client(), proxy.client()
        assert other.ask("SET", "large", value) == OK
        slow.send(command("GET", "large") * 4)
        for _ in range(50):
            assert other.ask("PING") == b"+PONG\r\n"
            assert other.ask("STRLEN", "large") == b":%d\r\n" % len(value)
        slow.expect(bulk(value) * 4)


def test_memory_of_a_burst_is_given_back(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers)) as proxy:
        assert proxy.client().ask("PING") == b"+PONG\r\n"
        before = proxy.memory()
        clients: list[Connection] = [proxy.client() for _ in range(48)]
        for number, client in enumerate(clients):
            client.send(command("SET", f"burst:{number}", b"v" * (4 * MEGA)) + command("GET", f"burst:{number}"))
        for client in clients:
            client.expect(OK + bulk(b"v" * (4 * MEGA)))
        wait_until(lambda: proxy.memory() - before < 8 * MEGA, "the memory is given back", deadline=30)
