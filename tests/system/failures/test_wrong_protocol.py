"""Clients that use another protocol than the port: they are closed at once, and nothing they send is executed."""

import re
from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, memcached_pool, redis_pool
from harness.resp import OK, bulk, command
from harness.servers import MemcachedServer, RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

POOLS = ("redis", "memcached")
TLS_HELLO = b"\x16\x03\x01\x00\x2e\x01\x00\x00\x2a\x03\x03" + bytes(range(32))
HTTP_POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\n"
FOREIGN = {
    "tls": TLS_HELLO,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "http-head": b"HEAD / HTTP/1.0\r\n\r\n",
    "http-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "binary-version": b"\x80\x0b" + bytes(22),
    "binary-noop": b"\x80\x0a" + bytes(22),
    "binary-get": b"\x80\x00\x00\x01" + bytes(4) + b"\0\0\0\1" + bytes(12) + b"a",
}


@pytest.fixture(scope="module")
def both(
    configured: Configure, running_servers: list[RedisServer], running_memcached: list[MemcachedServer]
) -> Iterator[ServedPools]:
    """A proxy with a pool of each protocol."""
    pools = {"redis": redis_pool(running_servers[0]), "memcached": memcached_pool(running_memcached[0])}
    with configured(pools) as proxy:
        yield proxy


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", FOREIGN)
def test_another_protocol_is_hung_up_on(both: ServedPools, pool: str, name: str) -> None:
    client = both.client(pool)
    client.send(FOREIGN[name])
    client.expect_closed()


@pytest.mark.parametrize("pool", POOLS)
def test_another_protocol_byte_by_byte_is_hung_up_on(both: ServedPools, pool: str) -> None:
    client = both.client(pool)
    client.send_pieces(TLS_HELLO[:1], TLS_HELLO[1:2])
    client.expect_closed()


def test_the_body_of_an_http_request_does_not_run(
    both: ServedPools, servers: list[RedisServer], memcached_servers: list[MemcachedServer]
) -> None:
    client = both.client("memcached")
    client.send(HTTP_POST + b"set k 0 0 3\r\nyes\r\n")
    client.expect_closed()
    with memcached_servers[0].connect() as direct:
        assert direct.ask_text(b"get k\r\n") == b"END\r\n"
    client = both.client("redis")
    client.send(HTTP_POST + b"SET k yes\r\n")
    client.expect_closed()
    assert servers[0].ask("GET", "k") == b"$-1\r\n"


def test_requests_before_http_are_answered(both: ServedPools, servers: list[RedisServer]) -> None:
    client = both.client("redis")
    client.send(command("SET", "k", "v") + b"GET k\r\n" + HTTP_POST + command("SET", "k", "w"))
    client.expect(OK + bulk("v"))
    client.expect_closed()
    assert servers[0].ask("GET", "k") == bulk("v")


def test_a_value_that_looks_like_http_is_a_value(both: ServedPools, servers: list[RedisServer]) -> None:
    client = both.client("redis")
    client.send(b"SET k HTTP/1.1\r\nGET k\r\n" + command("SET", "k", HTTP_POST) + command("GET", "k"))
    client.expect(OK + bulk("HTTP/1.1") + OK + bulk(HTTP_POST))


def test_bytes_of_another_protocol_behind_a_request_are_what_the_servers_take_them_for(
    both: ServedPools, memcached_servers: list[MemcachedServer]
) -> None:
    client = both.client("memcached")
    client.send(b"get a\r\n\x80\x0b\r\n\x16\x03\x01\r\nget a\r\n")
    client.expect(b"END\r\nERROR\r\nERROR\r\nEND\r\n")


def hang_up_on(client: Connection, data: bytes) -> None:
    client.send(data)
    client.expect_closed()


def test_the_log_says_what_it_was_and_is_not_flooded(
    configured: Configure, running_servers: list[RedisServer], running_memcached: list[MemcachedServer]
) -> None:
    pools = {
        "alpha": redis_pool(running_servers[0]),
        "beta": memcached_pool(running_memcached[0]),
        "gamma": memcached_pool(running_memcached[0]),
    }
    with configured(pools) as proxy:
        client = proxy.client("alpha")
        host, port = client.sock.getsockname()
        hang_up_on(client, TLS_HELLO)
        hang_up_on(proxy.client("beta"), b"\x80\x0b" + bytes(22))
        hang_up_on(proxy.client("gamma"), HTTP_POST)
        for _ in range(20):
            hang_up_on(proxy.client("alpha"), HTTP_POST)
        lines = re.findall("client .* closed.*", proxy.log())
        assert (
            lines[0] == f"client {host}:{port} of pool {proxy.served_name()} speaks TLS, this port has no TLS: closed"
        )
        served = "this port serves memcached's text protocol: closed"
        assert [re.sub(r"[\d.]+:\d+", "X", line) for line in lines[1:]] == [
            f"client X of pool {proxy.served_name('beta')} speaks memcached's binary protocol, {served}",
            f"client X of pool {proxy.served_name('gamma')} speaks HTTP, {served}",
        ]
        wait_until(lambda: proxy.pool_stats()["client_connections"] == 0, "no client is left")
