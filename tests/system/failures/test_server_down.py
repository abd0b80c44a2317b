"""on_server_down: requests for keys of an ejected server."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.connection import Connection
from harness.memcache import EN, END, GREETING, MN, STORED, server_error, store, value
from harness.proxy import ServedPools, keys_of, memcached_pool, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedMemcached, ScriptedServer, take_most
from harness.servers import MemcachedServer, RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until
from twemproxy.protocol.redis.empty_replies import COMMANDS_WITH_MISSES

[ON_LIVE] = keys_of(0, 2)
ON_DEAD = keys_of(1, 2, 3)
MEBIBYTE = 1024 * 1024
EJECTING = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 3600_000}


def down(proxy: ServedPools, policy: str, server: str = "s01") -> str:
    where = f"server {server} of pool {proxy.served_name()}"
    return f"{where} is ejected (on_server_down: {policy}), it gets requests again when it answers probes"


@contextmanager
def ejected(
    configured: Configure, live: RedisServer | MemcachedServer, policy: str, **directives: object
) -> Iterator[tuple[ServedPools, Connection]]:
    """A proxy in front of a live server and a server that has just been ejected, and a client."""
    pool_of = redis_pool if isinstance(live, RedisServer) else memcached_pool
    with ScriptedServer(listening=False) as dead:
        pool = pool_of(live, dead, on_server_down=policy, **{**EJECTING, **directives})
        with configured(pool) as proxy:
            client = proxy.client()
            if isinstance(live, RedisServer):
                assert client.ask("SET", ON_DEAD[0], "1") == error("ERR Connection refused")
            else:
                assert client.ask_text(store("set", ON_DEAD[0], "1")) == server_error("Connection refused")
            proxy.wait_stats(lambda stats: stats["server_ejects"] == 1, "the ejection")
            yield proxy, client


def test_error(configured: Configure, servers: list[RedisServer]) -> None:
    with ejected(configured, servers[0], "error") as (proxy, client):
        refused = error("ERR " + down(proxy, "error"))
        client.send(
            command("SET", ON_DEAD[0], "1")
            + command("SET", ON_LIVE, "1")
            + command("GET", ON_DEAD[1])
            + command("GET", ON_LIVE)
            + command("MGET", ON_LIVE, ON_DEAD[0])
            + command("DEL", ON_DEAD[0], ON_DEAD[1])
        )
        client.expect(refused + OK + refused + bulk("1") + refused * 2)
        assert servers[0].ask("DBSIZE") == integer(1)
        stats = proxy.pool_stats()
        assert stats["s01"]["requests"] == 1
        assert stats["s01"]["server_err"] == 2


def test_miss(configured: Configure, servers: list[RedisServer]) -> None:
    with ejected(configured, servers[0], "miss") as (proxy, client):
        refused = error("ERR " + down(proxy, "miss"))
        client.send(
            command("SET", ON_LIVE, "1")
            + command("GET", ON_DEAD[0])
            + command("MGET", ON_DEAD[0], ON_LIVE, ON_DEAD[1])
            + command("EXISTS", ON_LIVE, ON_DEAD[0])
            + command("HGETALL", ON_DEAD[0])
            + command("SET", ON_DEAD[0], "1")
            + command("BITPOS", ON_DEAD[0], "1")
            + command("MSET", ON_LIVE, "2", ON_DEAD[0], "2")
            + command("GET", ON_LIVE)
        )
        client.expect(
            OK + NULL + array(NULL, bulk("1"), NULL) + integer(1) + array() + refused * 2 + refused + bulk("2")
        )


def test_rehash_is_the_default(configured: Configure, servers: list[RedisServer]) -> None:
    with ejected(configured, servers[0], "rehash") as (_, client):
        assert client.ask("SET", ON_DEAD[0], "1") == OK
        assert servers[0].ask("GET", ON_DEAD[0]) == bulk("1")


@pytest.mark.parametrize("index", [0, 1])
def test_requests_without_a_key_go_to_a_live_server(
    configured: Configure, servers: list[RedisServer], index: int
) -> None:
    """Also if their usual server is ejected; the test ejects each of the two servers in turn."""
    with ScriptedServer(listening=False) as dead:
        pair: tuple[ScriptedServer | RedisServer, ...]
        pair = (dead, servers[0]) if index == 0 else (servers[0], dead)
        with configured(redis_pool(*pair, on_server_down="error", **EJECTING)) as proxy:
            client = proxy.client()
            assert client.ask("GET", keys_of(index, 2)[0]) == error("ERR Connection refused")
            proxy.wait_stats(lambda stats: stats["server_ejects"] == 1, "the ejection")
            assert client.ask("TIME").startswith(b"*2\r\n")


def test_blocking_reads_and_transactions_get_the_error(configured: Configure, servers: list[RedisServer]) -> None:
    with ejected(configured, servers[0], "miss") as (proxy, client):
        refused = error("ERR " + down(proxy, "miss"))
        assert client.ask("BLPOP", ON_DEAD[0], "1") == refused
        assert client.ask("WATCH", ON_DEAD[0]) == refused
        assert client.ask("SET", ON_LIVE, "1") == OK


def test_random_always_rehashes(configured: Configure, servers: list[RedisServer]) -> None:
    with ScriptedServer(listening=False) as dead:
        pool = redis_pool(servers[0], dead, on_server_down="error", distribution="random", **EJECTING)
        with configured(pool) as proxy:
            client = proxy.client()
            while proxy.pool_stats()["server_ejects"] == 0:
                client.ask("PFCOUNT", "a")
            assert [client.ask("GET", "a") for _ in range(20)] == [NULL] * 20


@pytest.mark.parametrize("protocol", ["2", "3"])
def test_misses_are_what_a_server_says(configured: Configure, servers: list[RedisServer], protocol: str) -> None:
    """Every command that has a reply for a missing key: the reply is that of a real server without the key."""
    with ejected(configured, servers[0], "miss") as (proxy, _), servers[0].connect() as direct:
        client = proxy.client()
        for connection in (client, direct):
            assert connection.ask("HELLO", protocol)
        for name in COMMANDS_WITH_MISSES:
            more = ARGUMENTS.get(name, ())
            assert client.ask(name, ON_DEAD[0], *more) == direct.ask(name, "missing", *more), name


ARGUMENTS: dict[str, tuple[str, ...]] = {
    "getbit": ("7",),
    "getrange": ("0", "-1"),
    "hexists": ("f",),
    "hget": ("f",),
    "hmget": ("f", "g", "h"),
    "hscan": ("0",),
    "hstrlen": ("f",),
    "lindex": ("0",),
    "lrange": ("0", "-1"),
    "sismember": ("m",),
    "smismember": ("m", "n"),
    "sscan": ("0",),
    "substr": ("0", "-1"),
    "xrange": ("-", "+"),
    "xrevrange": ("+", "-"),
    "zcount": ("-inf", "+inf"),
    "zlexcount": ("-", "+"),
    "zmscore": ("m", "n"),
    "zrange": ("0", "-1", "WITHSCORES"),
    "zrangebylex": ("-", "+"),
    "zrangebyscore": ("-inf", "+inf"),
    "zrevrange": ("0", "-1"),
    "zrevrangebylex": ("+", "-"),
    "zrevrangebyscore": ("+inf", "-inf"),
    "zscan": ("0",),
    "zscore": ("m",),
}
"""The arguments after the key."""


def test_memcached_error(configured: Configure, memcached_servers: list[MemcachedServer]) -> None:
    with ejected(configured, memcached_servers[0], "error") as (proxy, client):
        refused = server_error(down(proxy, "error"))
        client.send(
            store("set", ON_LIVE, "1")
            + store("set", ON_DEAD[0], "1")
            + f"get {ON_DEAD[0]}\r\nget {ON_LIVE}\r\nget {ON_DEAD[0]} {ON_LIVE}\r\n".encode()
        )
        client.expect(STORED + refused * 2 + value(ON_LIVE, "1") + END + refused)


def test_memcached_miss(configured: Configure, memcached_servers: list[MemcachedServer]) -> None:
    with ejected(configured, memcached_servers[0], "miss") as (proxy, client):
        refused = server_error(down(proxy, "miss"))
        dead = ON_DEAD[0]
        client.send(
            store("set", ON_LIVE, "1")
            + f"get {dead}\r\ngets {dead} {ON_DEAD[1]}\r\nget {dead} {ON_LIVE}\r\nmg {dead} v\r\n".encode()
            + f"mg {dead} v q\r\nmn\r\ngat 0 {dead}\r\nmg {dead} N30 v\r\ntouch {dead} 0\r\n".encode()
        )
        client.expect(STORED + END * 2 + value(ON_LIVE, "1") + END + EN + MN + refused * 3)


def test_the_server_comes_back(configured: Configure) -> None:
    directives = {**EJECTING, "server_retry_timeout": 300, "on_server_down": "miss"}
    with ScriptedMemcached(listening=False) as server, configured(memcached_pool(server, **directives)) as proxy:
        client = proxy.client()
        assert client.ask_text(b"get a\r\n") == server_error("Connection refused")
        assert client.ask_text(b"get a\r\n") == END
        assert client.ask_text(store("set", "a", "1")).startswith(
            f"SERVER_ERROR server s00 of pool {proxy.served_name()} is ejected".encode()
        )
        server.listen()
        probe = server.accept()
        probe.expect(GREETING)
        probe.send(b"VERSION 1.6.18\r\n")
        wait_until(lambda: "server 's00' is back" in proxy.log(), "the server is back")
        client.send(b"get a\r\n")
        server.answer(value("a", "1") + END)
        client.expect(value("a", "1") + END)


def test_what_waits_for_the_server_when_it_is_ejected(configured: Configure) -> None:
    """Requests that were not sent are answered by the proxy; a request that was sent in part is completed."""
    big = "x" * (32 * MEBIBYTE)
    directives = {**EJECTING, "on_server_down": "miss", "server_connections": 2}
    with ScriptedServer() as server, configured(redis_pool(server, **directives)) as proxy:
        writer, other, reader = [proxy.client() for _ in range(3)]
        writer.send(command("SET", "big", big))
        peer = server.accept()
        take_most(peer, proxy)
        reader.send(command("GET", "a") + command("INCR", "a"))
        server.refuse()
        assert other.ask("GET", "a") == error("ERR Connection refused")
        reader.expect(NULL + error("ERR " + down(proxy, "miss", "s00")))
        peer.read_until(b"x\r\n")
        peer.send(OK)
        writer.expect(OK)


def test_a_transaction_does_not_run_in_part_nor_stay_open(configured: Configure) -> None:
    """The server is ejected while its connections are intact: it says that it loads its data."""
    queued = b"+QUEUED\r\n"
    lost = error("EXECABORT Transaction discarded because its server connection was lost, nothing of it was executed")
    for later in ("EXEC", "SET"):
        with (
            ScriptedServer() as server,
            configured(redis_pool(server, on_server_down="error", **EJECTING)) as proxy,
        ):
            refused = error("ERR " + down(proxy, "error", "s00"))
            client, other = proxy.client(), proxy.client()
            client.send(command("MULTI") + command("SET", "k", "1"))
            private = server.accept()
            private.expect(command("MULTI"))
            private.send(OK)
            private.expect(command("SET", "k", "1"))
            private.send(queued)
            client.expect(OK + queued)
            other.send(command("GET", "k"))
            server.answer(error("LOADING the data"))
            other.expect(error("LOADING the data"))
            proxy.wait_stats(lambda stats: stats["server_ejects"] == 1, "the ejection")
            if later == "SET":
                assert client.ask("SET", "k", "2") == refused
                private.expect_closed()
                assert client.ask("EXEC") == lost
            else:
                assert client.ask("EXEC") == refused
                private.expect_closed()
            assert client.ask("MULTI") == OK
