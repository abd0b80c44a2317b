"""max_request_bytes and max_pipeline: requests that are too large get an error, and surplus requests wait."""

from pathlib import Path

import pytest

from harness import memcache
from harness.memcache import store
from harness.proxy import Proxy, memcached_pool, redis_pool
from harness.resp import OK, array, bulk, command, integer
from harness.scripted_server import ScriptedServer
from harness.servers import MemcachedServer, RedisServer
from harness.shared_proxy import Configure

KILO, MEGA = 1 << 10, 1 << 20
LIMIT = 1000
TOO_LARGE = (
    b"-ERR the request is longer than 1000 bytes, dropped: 'max_request_bytes' in the pool's configuration allows"
    b" more\r\n"
)
LARGE_OBJECT = (
    b"SERVER_ERROR object too large for cache: 'max_request_bytes' in the configuration of the pool is 1000\r\n"
)
LONG_LINE = b"CLIENT_ERROR line too long: 'max_request_bytes' in the configuration of the pool is 1000\r\n"


def set_of(size: int, key: str = "k") -> bytes:
    """A SET request of ``size`` bytes."""
    guess = size - 40
    request = command("SET", key, "v" * (guess + size - len(command("SET", key, "v" * guess))))
    assert len(request) == size
    return request


def test_the_limit_is_exact(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, max_request_bytes=LIMIT)) as proxy:
        client = proxy.client()
        client.send(set_of(LIMIT) + set_of(LIMIT + 1) + command("PING"))
        client.expect(OK + TOO_LARGE + b"+PONG\r\n")


@pytest.mark.parametrize("size", [2 * LIMIT, 100 * KILO, 20 * MEGA])
def test_a_large_request_is_refused_in_its_place(servers: list[RedisServer], size: int) -> None:
    with Proxy(redis_pool(*servers, max_request_bytes=LIMIT)) as proxy:
        client, other = proxy.client(), proxy.client()
        assert other.ask("EXISTS", "k") == integer(0)
        before = proxy.memory()
        client.send(command("SET", "a", "1") + set_of(size) + command("GET", "a") + command("EXISTS", "k"))
        client.expect(OK + TOO_LARGE + bulk("1") + integer(0))
        assert proxy.memory() - before < 2 * MEGA
        assert other.ask("GET", "a") == bulk("1")


def test_it_is_refused_as_soon_as_it_is_announced(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, max_request_bytes=LIMIT)) as proxy:
        client = proxy.client()
        client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n")
        client.expect(TOO_LARGE)
        client.send(bytes(1_000_000) + b"\r\n" + command("PING"))
        client.expect(b"+PONG\r\n")


def test_many_small_arguments(servers: list[RedisServer]) -> None:
    members = range(100_000)
    with Proxy(redis_pool(*servers, max_request_bytes=LIMIT)) as proxy:
        client = proxy.client()
        assert client.ask("EXISTS", "k") == integer(0)
        before = proxy.memory()
        client.send(command("SADD", "k", *members) + command("MGET", *members) + command("EXISTS", "k"))
        client.expect(TOO_LARGE * 2 + integer(0))
        assert proxy.memory() - before < 2 * MEGA


def test_every_cut(configured: Configure, servers: list[RedisServer], tmp_path: Path) -> None:
    with configured(redis_pool(*servers, max_request_bytes=40, listen=tmp_path / "s")) as proxy:
        request = command("SADD", "k", "one", "two", "three", "four")
        error = TOO_LARGE.replace(b"1000", b"40")
        client = proxy.client()
        for cut in range(1, len(request)):
            client.send_pieces(request[:cut], request[cut:] + command("PING"))
            client.expect(error + b"+PONG\r\n")


def test_a_request_that_breaks_while_it_is_dropped(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, max_request_bytes=LIMIT)) as proxy:
        client = proxy.client()
        client.send(b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\n")
        client.expect(TOO_LARGE)
        client.send(bytes(1000) + b"\r\n+nonsense\r\n")
        client.expect(b"-ERR Protocol error: expected '$', got '+'\r\n")
        client.expect_closed()


def test_inline_requests(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, max_request_bytes=LIMIT)) as proxy:
        client = proxy.client()
        client.send(b"SET k " + b"v" * LIMIT + b"\r\nPING\r\n")
        client.expect(TOO_LARGE + b"+PONG\r\n")


def test_a_transaction_with_a_large_request_fails(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, max_request_bytes=LIMIT)) as proxy:
        client = proxy.client()
        client.send(command("MULTI") + command("SET", "k", "1") + set_of(100 * KILO) + command("EXEC"))
        client.expect(OK + b"+QUEUED\r\n" + TOO_LARGE)
        assert client.reply() == b"-EXECABORT Transaction discarded because of previous errors.\r\n"
        client.send(command("MULTI") + command("SET", "k", "2") + command("EXEC") + command("GET", "k"))
        client.expect(OK + b"+QUEUED\r\n" + array(OK) + bulk("2"))


def test_a_client_that_wants_no_replies(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, max_request_bytes=LIMIT)) as proxy:
        client = proxy.client()
        client.send(command("CLIENT", "REPLY", "SKIP") + set_of(2 * LIMIT) + command("PING"))
        client.send(command("CLIENT", "REPLY", "OFF") + set_of(2 * LIMIT) + command("CLIENT", "REPLY", "ON"))
        client.expect(b"+PONG\r\n" + OK)


def test_large_objects_of_memcached() -> None:
    with MemcachedServer() as server, Proxy(memcached_pool(server, max_request_bytes=LIMIT)) as proxy:
        client = proxy.client()
        block = b"flush_all\r\n" * 20_000
        assert client.ask_text(store("set", "a", "1")) == memcache.STORED
        before = proxy.memory()
        client.send(store("set", "k", block) + store("set", "k", block, "noreply") + memcache.meta_set("k", block))
        client.send(b"get a k\r\n")
        client.expect(LARGE_OBJECT * 2 + memcache.value("a", "1") + memcache.END)
        assert proxy.memory() - before < 2 * MEGA


def test_long_lines_of_memcached(configured: Configure) -> None:
    with MemcachedServer() as server, configured(memcached_pool(server, max_request_bytes=LIMIT)) as proxy:
        client = proxy.client()
        client.send(b"get " + b" ".join(b"key:%d" % i for i in range(100_000)) + b"\r\nget a\r\n")
        client.expect(LONG_LINE + memcache.END)


def test_a_line_that_announces_a_block_is_never_dropped_without_it(configured: Configure) -> None:
    with MemcachedServer() as server, configured(memcached_pool(server, max_request_bytes=10)) as proxy:
        client = proxy.client()
        client.send_pieces(b"set something 0 0 1", b"1\r\nflush_all\r\n\r\n", b"get a\r\n")
        client.expect(LARGE_OBJECT.replace(b"1000", b"10") + memcache.END)


@pytest.mark.parametrize("most", [1, 3])
def test_requests_beyond_the_pipeline_wait_unread(configured: Configure, most: int) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, max_pipeline=most)) as proxy:
        client, other = proxy.client(), proxy.client()
        client.send(b"".join(command("GET", f"k{i}") for i in range(4)))
        peer = server.accept()
        for i in range(most):
            assert peer.request() == [b"GET", b"k%d" % i]
        other.send(command("GET", "other"))
        assert peer.request() == [b"GET", b"other"], "more requests than max_pipeline are in flight"
        peer.send(OK * (most + 1))
        client.expect(OK * most)
        other.expect(OK)
        for i in range(most, 4):
            assert peer.request() == [b"GET", b"k%d" % i]
            peer.send(OK)
        client.expect(OK * (4 - most))


@pytest.mark.parametrize("most", [1, 7, 65_536])
def test_nothing_fails_beyond_the_pipeline(configured: Configure, servers: list[RedisServer], most: int) -> None:
    with configured(redis_pool(*servers, max_pipeline=most)) as proxy:
        client = proxy.client()
        client.send(b"".join(command("SET", f"k{i}", i) + command("MGET", f"k{i}", "none") for i in range(3000)))
        client.expect(b"".join(OK + array(bulk(i), b"$-1\r\n") for i in range(3000)))


def test_a_length_that_is_only_announced_takes_no_memory(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers)) as proxy:
        clients = [proxy.client() for _ in range(200)]
        for client in clients:
            client.send_pieces(b"*1\r\n$536870912\r\n" + b"x" * 8)
        assert proxy.stats()["memory_held"] < 200 * 16384
