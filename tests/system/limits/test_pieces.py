"""Requests with many keys are handled in pieces: the replies are the same, but slow clients use little memory."""

from collections.abc import Iterator

import pytest

from harness.proxy import Proxy, ServedPools, keys_of, memcached_pool, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedMemcached, ScriptedServer
from harness.servers import MemcachedServer, RedisServer
from harness.shared_proxy import Configure

MEGA = 1 << 20
COUNTS = [16, 17, 100, 1023, 1025, 5000]
TIMED_OUT = error("ERR Connection timed out")


@pytest.fixture(scope="module", params=[1, 3], ids=["one-server", "three-servers"])
def pool(
    configured: Configure, request: pytest.FixtureRequest, running_servers: list[RedisServer]
) -> Iterator[ServedPools]:
    """A proxy in front of one server or of three servers."""
    with configured(redis_pool(*running_servers[: request.param])) as proxy:
        yield proxy


def keys_and_values(count: int) -> tuple[list[str], list[bytes]]:
    """Keys and their values: every third key is missing, the other values have all sizes up to 1000."""
    keys = [f"key:{number}" for number in range(count)]
    return keys, [b"v" * (number * 7 % 1000) if number % 3 else b"" for number in range(count)]


@pytest.mark.parametrize("count", COUNTS)
def test_many_keys_are_answered_as_few(pool: ServedPools, servers: list[RedisServer], count: int) -> None:
    client = pool.client()
    keys, values = keys_and_values(count)
    pairs = [part for key, value in zip(keys, values, strict=True) if value for part in (key, value)]
    some = len(pairs) // 2
    client.send(command("PING") + command("MSET", *pairs) + command("MGET", *keys) + command("EXISTS", *keys, *keys))
    client.send(command("GET", "key:1") + command("UNLINK", *keys) + command("DEL", *keys) + command("PING"))
    expected = array(*(bulk(value) if value else NULL for value in values))
    client.expect(b"+PONG\r\n" + OK + expected + integer(2 * some))
    client.expect(bulk(values[1]) + integer(some) + integer(0) + b"+PONG\r\n")


@pytest.mark.parametrize("count", COUNTS)
def test_many_keys_of_memcached_are_answered_as_few(
    memcached_proxy: ServedPools, memcached_servers: list[MemcachedServer], count: int
) -> None:
    client = memcached_proxy.client()
    keys, values = keys_and_values(count)
    items = b"".join(
        b"VALUE %s 0 %d\r\n%s\r\n" % (key.encode(), len(value), value)
        for key, value in zip(keys, values, strict=True)
        if value
    )
    for key, value in zip(keys, values, strict=True):
        if value:
            client.send(b"set %s 0 0 %d\r\n%s\r\n" % (key.encode(), len(value), value))
            client.expect(b"STORED\r\n")
    client.send(b"get  %s  \r\nmn\r\n" % b"  ".join(key.encode() for key in keys))
    client.expect(items + b"END\r\nMN\r\n")


def test_pieces_grow_with_what_is_known_of_values(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("MGET", *(f"k{number}" for number in range(100))) + command("PING"))
        peer = server.accept()
        for size in (16, 64, 20):
            assert len(peer.request()) == 1 + size
            client.wait_consumed()
            assert client.collect() == peer.collect() == b""
            peer.send(array(*[bulk("v")] * size))
        client.expect(array(*[bulk("v")] * 100) + b"+PONG\r\n")
        client.send(command("MGET", *(f"k{number}" for number in range(300))))
        assert len(peer.request()) == 301
        peer.send(array(*[bulk("v")] * 300))
        client.expect(array(*[bulk("v")] * 300))


def test_pieces_shrink_when_values_are_large(configured: Configure) -> None:
    value = b"v" * (2 * MEGA - 1000)
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("MGET", *(f"k{number}" for number in range(20))))
        peer = server.accept()
        for size in (16, 2, 2):
            assert len(peer.request()) == 1 + size
            peer.send(array(*[bulk(value)] * size))
            client.expect(b"*20\r\n" if size == 16 else b"")
            client.expect(bulk(value) * size)


@pytest.mark.parametrize("options", [(), ("--max-memory=64mb",)], ids=["unlimited", "limited"])
def test_one_value_named_many_times_takes_little_memory(servers: list[RedisServer], options: tuple[str, ...]) -> None:
    value = b"v" * MEGA
    with Proxy(redis_pool(servers[0]), *options) as proxy:
        lazy, other = proxy.client(), proxy.client()
        assert other.ask("SET", "big", value) == OK
        before = proxy.memory()
        lazy.send(command("MGET", *["big"] * 150) + command("PING"))
        for _ in range(50):
            assert other.ask("GET", "none") == NULL
            assert proxy.memory() - before < 48 * MEGA
        lazy.expect(b"*150\r\n")
        for _ in range(150):
            lazy.expect(bulk(value))
        lazy.expect(b"+PONG\r\n")


def test_one_value_of_memcached_named_many_times_takes_little_memory() -> None:
    value = b"v" * 900_000
    with MemcachedServer() as server, Proxy(memcached_pool(server), "--max-memory=64mb") as proxy:
        lazy, other = proxy.client(), proxy.client()
        assert other.ask_text(b"set big 0 0 900000\r\n%s\r\n" % value) == b"STORED\r\n"
        before = proxy.memory()
        lazy.send(b"get" + b" big" * 150 + b"\r\n")
        for _ in range(50):
            assert other.ask_text(b"get none\r\n") == b"END\r\n"
            assert proxy.memory() - before < 48 * MEGA
        for _ in range(150):
            lazy.expect(b"VALUE big 0 900000\r\n%s\r\n" % value)
        lazy.expect(b"END\r\n")


def test_several_requests_of_large_values_wait_for_each_other(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0])) as proxy:
        lazy, other = proxy.client(), proxy.client()
        assert other.ask("SET", "big", b"v" * MEGA) == OK
        before = proxy.memory()
        lazy.send(command("MGET", *["big"] * 16) * 16)
        for _ in range(50):
            assert other.ask("GET", "none") == NULL
            assert proxy.memory() - before < 64 * MEGA


def test_a_piece_that_fails_early_fails_the_request(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, timeout=300)) as proxy:
        client = proxy.client()
        client.send(command("MGET", *(f"k{number}" for number in range(100))) + command("PING"))
        peer = server.accept()
        peer.request()
        peer.send(array(*[bulk("v")] * 16))
        client.expect(TIMED_OUT + b"+PONG\r\n")


def test_a_piece_that_fails_late_ends_the_connection(configured: Configure) -> None:
    value = b"v" * MEGA
    with ScriptedServer() as server, configured(redis_pool(server, timeout=1000)) as proxy:
        client = proxy.client()
        client.send(command("MGET", *(f"k{number}" for number in range(100))) + command("PING"))
        peer = server.accept()
        peer.request()
        peer.send(array(*[bulk(value)] * 16))
        client.expect(b"*100\r\n" + bulk(value) * 16)
        client.expect_closed()


def test_a_piece_of_memcached_that_fails_late_is_an_error_behind_values(configured: Configure) -> None:
    item = b"VALUE k 0 900000\r\n%s\r\n" % (b"v" * 900_000)
    with ScriptedMemcached() as server, configured(memcached_pool(server, timeout=1000)) as proxy:
        client = proxy.client()
        client.send(b"get" + b" k" * 100 + b"\r\nmn\r\n")
        peer = server.accept()
        assert peer.text_request() == b"get" + b" k" * 16 + b"\r\n"
        peer.send(item * 16 + b"END\r\n")
        client.expect(item * 16 + b"SERVER_ERROR Connection timed out\r\nMN\r\n")


def test_missing_pieces_are_missing_values(configured: Configure, servers: list[RedisServer]) -> None:
    with (
        ScriptedServer() as silent,
        configured(redis_pool(servers[0], silent, timeout=300, partial_reads="miss")) as proxy,
    ):
        client = proxy.client()
        keys = keys_of(0, 2, 50) + keys_of(1, 2, 50)
        assert servers[0].ask("MSET", *(part for key in keys[:50] for part in (key, "v"))) == OK
        client.send(command("MGET", *keys) + command("PING"))
        client.expect(array(*[bulk("v")] * 50, *[NULL] * 50) + b"+PONG\r\n")


def test_no_reply_is_wanted(pool: ServedPools, servers: list[RedisServer]) -> None:
    client = pool.client()
    many = command("MGET", *(f"k{number}" for number in range(100)))
    client.send(command("CLIENT", "REPLY", "SKIP") + many + command("PING"))
    client.send(command("CLIENT", "REPLY", "OFF") + many + command("CLIENT", "REPLY", "ON") + many)
    client.expect(b"+PONG\r\n" + OK + array(*[NULL] * 100))


def test_version_3_and_a_client_that_ends_its_side(pool: ServedPools, servers: list[RedisServer]) -> None:
    client = pool.client()
    assert client.ask("HELLO", "3").startswith(b"%")
    client.send(command("MGET", *(f"k{number}" for number in range(100))) + command("PING"))
    client.half_close()
    client.expect(array(*[b"_\r\n"] * 100) + b"+PONG\r\n")
    client.expect_closed()
