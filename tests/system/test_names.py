"""Servers that are given by name: names that change, do not resolve yet, or cannot be looked up any more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import memcache
from harness.connection import Connection
from harness.names import Names
from harness.ports import free_host
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool
from harness.resp import NULL, OK, bulk, error, integer
from harness.servers import MemcachedServer, RedisServer
from harness.waiting import wait_until

HOST = "cache.test"
REFRESH = 20
LONG = 3600_000
MOVED = "has other addresses now"
FAILS = "looking up the name of server"


@pytest.fixture
def names(tmp_path: Path) -> Names:
    """A name server that knows that HOST is 127.0.0.1."""
    names = Names(tmp_path)
    names.set(HOST, "127.0.0.1")
    return names


@pytest.fixture(scope="module")
def running_pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    with RedisServer() as old, elsewhere(old) as new:
        yield old, new


@pytest.fixture
def pair(running_pair: tuple[RedisServer, RedisServer]) -> tuple[RedisServer, RedisServer]:
    """Two empty servers with nobody connected: what HOST stands for at first, and one elsewhere on the same port."""
    for server in running_pair:
        assert server.ask("FLUSHALL") == OK
        wait_until(lambda of=server: clients_of(of) == 0, "nobody is connected")  # type: ignore[misc]
    return running_pair


@pytest.fixture
def old(pair: tuple[RedisServer, RedisServer]) -> RedisServer:
    """The first of the pair."""
    return pair[0]


@pytest.fixture
def new(pair: tuple[RedisServer, RedisServer]) -> RedisServer:
    """The other one."""
    return pair[1]


def port_of(server: RedisServer) -> int:
    return int(server.address.rpartition(":")[2])


def elsewhere(server: RedisServer) -> RedisServer:
    """A redis at another address, on the same port."""
    return RedisServer(port=port_of(server), host=free_host(port_of(server)))


def pool(server: RedisServer, **directives: object) -> dict[str, object]:
    """A redis pool with one server, given by HOST and the port of this one."""
    return redis_pool(f"{HOST}:{port_of(server)}", **directives)


def clients_of(server: RedisServer) -> int:
    """How many connections a server has, the one that asks left out."""
    return server.ask("CLIENT", "LIST").count(b" addr=") - 1


@pytest.mark.parametrize(
    "directives", [{}, {"preconnect": True}, {"dns_refresh": REFRESH, "preconnect": True}], ids=str
)
def test_a_name_that_resolves_later(names: Names, old: RedisServer, directives: dict[str, object]) -> None:
    names.set(HOST)
    with Proxy(pool(old, **directives), command=names.command()) as proxy:
        client = proxy.client()
        unknown = error(f"ERR Host is down: no such name (server {HOST}:{old.port}:1 of pool alpha)")
        for _ in range(3):
            assert client.ask("GET", "a") == unknown
            assert client.ask("MGET", "a", "b") == unknown
        assert proxy.log().count(FAILS) == 1
        names.set(HOST, "127.0.0.1")
        wait_until(lambda: client.ask("SET", "a", "1") != unknown, "the name resolves")
        assert old.ask("GET", "a") == bulk("1")
        assert proxy.log().count("can be looked up again: 127.0.0.1") == 1


def test_a_name_of_memcached_that_resolves_later(names: Names) -> None:
    names.set(HOST)
    with (
        MemcachedServer() as server,
        Proxy(memcached_pool(f"{HOST}:{server.port}", preconnect=True), command=names.command()) as proxy,
    ):
        client = proxy.client()
        unknown = memcache.server_error(f"Host is down: no such name (server {HOST}:{server.port}:1 of pool alpha)")
        assert client.ask_text(b"get a\r\n") == unknown
        names.set(HOST, "127.0.0.1")
        assert client.ask_text(memcache.store("set", "a", "1")) == memcache.STORED
        assert server.get("a") == b"1"


def test_an_ejected_server_whose_name_resolves_later(names: Names, old: RedisServer) -> None:
    names.set(HOST)
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 100}
    servers = (f"{HOST}:{old.port}", f"127.0.0.1:{old.port}")
    with Proxy(redis_pool(*servers, **directives), command=names.command()) as proxy:
        client = proxy.client()
        [key] = keys_of(0, 2)
        assert client.ask("GET", key).startswith(b"-ERR Host is down")
        assert client.ask("GET", key) == NULL
        names.set(HOST, "127.0.0.1")
        wait_until(lambda: "server 's00' is back" in proxy.log(), "the server is back")


def lose_connection(proxy: Proxy, server: RedisServer, client: Connection) -> None:
    """Have the server end the pool's connection, which is open."""
    assert client.ask("SET", "a", "1") == OK
    server.ask("CLIENT", "KILL", "TYPE", "normal")
    proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the end was noticed")


@pytest.mark.parametrize("state", ["down", "silent"])
@pytest.mark.parametrize("directives", [{}, {"timeout": 1000}, {"timeout": 1000, "dns_refresh": REFRESH}], ids=str)
def test_known_addresses_outlive_the_name_server(
    names: Names, old: RedisServer, state: str, directives: dict[str, object]
) -> None:
    with Proxy(pool(old, **directives), command=names.command()) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        names.go(state)  # type: ignore[arg-type]
        for _ in range(3):
            lose_connection(proxy, old, client)
        assert client.ask("GET", "a") == bulk("1")
        assert proxy.log().count(FAILS) == (1 if state == "down" else 0)
        names.go("up")
        if state == "down":
            lose_connection(proxy, old, client)
            assert client.ask("GET", "a") == bulk("1")
            wait_until(lambda: "can be looked up again" in proxy.log(), "that is noticed")


def test_looking_up_begins_at_start_and_goes_on(names: Names, old: RedisServer) -> None:
    with Proxy(pool(old, dns_refresh=REFRESH), command=names.command()) as proxy:
        names.wait_asked(5)
        names.go("silent")
        # The name is known already: nothing has to be looked up for the first connection.
        assert proxy.client().ask("SET", "a", "1") == OK


def test_a_lost_connection_is_looked_up_again(names: Names, old: RedisServer, new: RedisServer) -> None:
    with Proxy(pool(old, dns_refresh=LONG), command=names.command()) as proxy:
        client = proxy.client()
        lose_connection(proxy, old, client)
        names.set(HOST, new.host)
        assert client.ask("SET", "a", "new") == OK
        assert new.ask("GET", "a") == bulk("new")


def test_without_refresh_open_connections_stay(names: Names, old: RedisServer, new: RedisServer) -> None:
    with Proxy(pool(old, server_connections=2), command=names.command()) as proxy:
        first, second = proxy.client(), proxy.client()
        assert first.ask("SET", "a", "1") == OK
        names.set(HOST, new.host)
        # Opening the second connection brings the new address to light.
        assert second.ask("SET", "b", "2") == OK
        assert MOVED in proxy.log()
        assert first.ask("GET", "a") == bulk("1")
        assert (old.ask("DBSIZE"), new.ask("DBSIZE")) == (integer(1), integer(1))


@pytest.mark.parametrize("refresh", [0, LONG])
def test_the_second_address_is_tried_when_the_first_refuses(names: Names, old: RedisServer, refresh: int) -> None:
    names.set(HOST, free_host(old.port), "127.0.0.1")
    with Proxy(pool(old, dns_refresh=refresh), command=names.command()) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        assert old.ask("GET", "a") == bulk("1")
        assert proxy.server_stats()["server_err"] == 0


def test_the_second_address_of_a_memcached_is_tried_when_the_first_refuses(names: Names) -> None:
    with MemcachedServer() as server:
        names.set(HOST, free_host(server.port), "127.0.0.1")
        with Proxy(memcached_pool(f"{HOST}:{server.port}"), command=names.command()) as proxy:
            assert proxy.client().ask_text(memcache.store("set", "a", "1")) == memcache.STORED
        assert server.get("a") == b"1"
