"""Servers that are given by name: names that change, do not resolve yet, or cannot be looked up any more."""

from collections.abc import Iterator
from itertools import count

import pytest

from harness import memcache
from harness.connection import Connection
from harness.names import Names
from harness.ports import free_host
from harness.proxy import ServedPools, keys_of, memcached_pool, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedMemcached, ScriptedServer
from harness.servers import MemcachedServer, RedisServer
from harness.shared_proxy import Configure, SharedProxy
from harness.subscribing import message, number_of, publish, subscribe
from harness.waiting import wait_until

REFRESH = 20
LONG = 3600_000
MOVED = "has other addresses now"
FAILS = "looking up the name of server"
_numbers = count(1)


@pytest.fixture(scope="module")
def name_server(tmp_path_factory: pytest.TempPathFactory) -> Names:
    return Names(tmp_path_factory.mktemp("names"))


@pytest.fixture(scope="module")
def configured(name_server: Names) -> Iterator[Configure]:
    """The fixture of all system tests, with another shared proxy: it looks names up at ``name_server``."""
    shared = SharedProxy(name_server.command())
    try:
        yield shared.configured
    finally:
        shared.stop()


@pytest.fixture
def names(name_server: Names) -> Iterator[Names]:
    """The name server, which answers at the beginning of the test."""
    yield name_server
    name_server.go("up")


@pytest.fixture
def host(names: Names) -> str:
    """A name that no other test uses; its address is 127.0.0.1."""
    host = f"cache{next(_numbers)}.test"
    names.set(host, "127.0.0.1")
    return host


@pytest.fixture(scope="module")
def running_pair() -> Iterator[tuple[RedisServer, RedisServer]]:
    with RedisServer() as old, elsewhere(old) as new:
        yield old, new


@pytest.fixture
def pair(running_pair: tuple[RedisServer, RedisServer]) -> tuple[RedisServer, RedisServer]:
    """Two empty servers without connections, on one port: at the first address of ``host``, and at another one."""
    for server in running_pair:
        assert server.ask("FLUSHALL") == OK
        wait_until(lambda of=server: clients_of(of) == 0, "no connection is left")  # type: ignore[misc]
    return running_pair


@pytest.fixture
def old(pair: tuple[RedisServer, RedisServer]) -> RedisServer:
    """The server of the pair with the first address of ``host``."""
    return pair[0]


@pytest.fixture
def new(pair: tuple[RedisServer, RedisServer]) -> RedisServer:
    """The server of the pair with the other address."""
    return pair[1]


def port_of(server: RedisServer | ScriptedServer) -> int:
    return int(server.address.rpartition(":")[2])


def elsewhere(server: RedisServer | ScriptedServer) -> RedisServer:
    """A redis at another address, on the same port."""
    return RedisServer(port=port_of(server), host=free_host(port_of(server)))


def pool(host: str, server: RedisServer | ScriptedServer, **directives: object) -> dict[str, object]:
    """A redis pool with one server, given as ``host`` and the port of ``server``."""
    return redis_pool(f"{host}:{port_of(server)}", **directives)


def clients_of(server: RedisServer) -> int:
    """The number of connections to a server, without the one that asks."""
    return server.ask("CLIENT", "LIST").count(b" addr=") - 1


def test_a_server_moves_under_load_and_no_request_fails(
    configured: Configure, names: Names, host: str, old: RedisServer, new: RedisServer
) -> None:
    with configured(pool(host, old, dns_refresh=REFRESH, server_connections=2)) as proxy:
        clients = [proxy.client() for _ in range(4)]
        # The requests of this client use connections of their own.
        clients[0].ask("HELLO", "3")
        rounds = 0

        def send() -> None:
            for number, client in enumerate(clients):
                client.send(b"".join(command("SET", f"{number}-{rounds}-{i}", rounds) for i in range(50)))

        send()
        while new.ask("DBSIZE") == integer(0) or rounds < 20 or clients_of(old) > 0:
            if rounds == 10:
                names.set(host, new.host)
            rounds += 1
            # Further requests are sent before these are answered, so that the proxy is never idle.
            send()
            for client in clients:
                client.expect(OK * 50)
        for client in clients:
            client.expect(OK * 50)
        sizes = [int(server.ask("DBSIZE")[1:]) for server in (old, new)]
        assert sum(sizes) == 4 * 50 * (rounds + 1) and sizes[1] > 0
        stats = proxy.server_stats()
        assert (stats["server_eof"], stats["server_err"], stats["server_timedout"]) == (0, 0, 0)
        assert proxy.pool_stats()["forward_error"] == 0
        assert proxy.log().count(MOVED) == 1


def test_memcached_moves_under_load_and_no_request_fails(configured: Configure, names: Names, host: str) -> None:
    with (
        MemcachedServer() as old,
        MemcachedServer(port=old.port, host=free_host(old.port)) as new,
        configured(memcached_pool(f"{host}:{old.port}", dns_refresh=REFRESH)) as proxy,
    ):
        client = proxy.client()
        rounds = 0

        def send() -> None:
            client.send(b"".join(memcache.store("set", f"{rounds}-{i}", str(rounds)) for i in range(50)))

        send()
        while new.stats()["curr_items"] == "0" or rounds < 20:
            if rounds == 10:
                names.set(host, new.host)
            rounds += 1
            send()
            client.expect(memcache.STORED * 50)
        client.expect(memcache.STORED * 50)
        assert sum(int(server.stats()["curr_items"]) for server in (old, new)) == 50 * (rounds + 1)
        assert proxy.pool_stats()["forward_error"] == 0


def test_replies_of_the_old_address_come_first(configured: Configure, names: Names, host: str) -> None:
    with (
        ScriptedServer() as old,
        elsewhere(old) as new,
        configured(pool(host, old, dns_refresh=REFRESH)) as proxy,
    ):
        client, other = proxy.client(), proxy.client()
        client.send(command("GET", "a") + command("GET", "b"))
        peer = old.accept()
        assert [peer.request(), peer.request()] == [[b"GET", b"a"], [b"GET", b"b"]]
        names.set(host, new.host)
        wait_until(lambda: MOVED in proxy.log(), "the change is logged")
        client.send(command("SET", "c", "1"))
        other.send(command("SET", "d", "1"))
        proxy.wait_stats(lambda pool: pool["s00"]["in_queue"] == 2, "the requests wait")
        peer.send(bulk("from old"))
        client.expect(bulk("from old"))
        assert new.ask("DBSIZE") == integer(0)
        peer.send(bulk("from old, too"))
        client.expect(bulk("from old, too") + OK)
        other.expect(OK)
        peer.expect_closed()
        assert new.ask("DBSIZE") == integer(2)
        assert proxy.server_stats()["server_connections"] == 1


def test_what_the_old_address_does_not_answer_fails_at_its_timeout(
    configured: Configure, names: Names, host: str
) -> None:
    with (
        ScriptedServer() as old,
        elsewhere(old) as new,
        configured(pool(host, old, dns_refresh=REFRESH, timeout=400)) as proxy,
    ):
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = old.accept()
        assert peer.request() == [b"GET", b"a"]
        names.set(host, new.host)
        client.expect(error("ERR Connection timed out"))
        wait_until(lambda: client.ask("SET", "b", "1") == OK, "the new server is reached")
        assert new.ask("GET", "b") == bulk("1")


def test_what_is_half_written_is_written_to_its_end(configured: Configure, names: Names, host: str) -> None:
    large = b"x" * (16 << 20)
    with (
        ScriptedServer() as old,
        elsewhere(old) as new,
        configured(pool(host, old, dns_refresh=REFRESH)) as proxy,
    ):
        client = proxy.client()
        client.send(command("SET", "a", large))
        peer = old.accept()
        names.set(host, new.host)
        wait_until(lambda: MOVED in proxy.log(), "the change is logged")
        assert peer.request() == [b"SET", b"a", large]
        client.send(command("SET", "b", "1"))
        proxy.wait_stats(lambda pool: pool["s00"]["in_queue"] == 1, "the request waits")
        peer.send(OK)
        client.expect(OK * 2)
        peer.expect_closed()
        assert new.ask("DBSIZE") == integer(1)


def test_a_connection_under_way_to_the_old_address_goes_to_the_new_one(
    configured: Configure, names: Names, host: str
) -> None:
    with (
        ScriptedServer(backlog=0) as old,
        old.fill_up(),
        elsewhere(old) as new,
        configured(pool(host, old, dns_refresh=REFRESH)) as proxy,
    ):
        client = proxy.client()
        client.send(command("SET", "a", "1"))
        proxy.wait_stats(lambda pool: pool["s00"]["in_queue"] == 1, "the request waits")
        names.set(host, new.host)
        client.expect(OK)
        assert new.ask("GET", "a") == bulk("1")


def test_a_greeting_without_an_answer_is_said_at_the_new_address(
    configured: Configure, names: Names, host: str
) -> None:
    with (
        ScriptedMemcached() as old,
        MemcachedServer(port=port_of(old), host=free_host(port_of(old))) as new,
        configured(memcached_pool(f"{host}:{port_of(old)}", dns_refresh=REFRESH)) as proxy,
    ):
        client = proxy.client()
        client.send(memcache.store("set", "a", "1"))
        peer = old.accept_ungreeted()
        peer.expect(memcache.GREETING)
        names.set(host, new.host)
        client.expect(memcache.STORED)
        peer.expect_closed()
        assert new.get("a") == b"1"
        assert proxy.server_stats()["server_connections"] == 1


def test_connections_that_are_idle_are_closed(
    configured: Configure, names: Names, host: str, old: RedisServer, new: RedisServer
) -> None:
    with configured(pool(host, old, dns_refresh=REFRESH)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "old") == OK
        # A private connection, which is kept for the next transaction.
        client.send(command("MULTI") + command("GET", "a") + command("EXEC"))
        client.expect(OK + b"+QUEUED\r\n" + array(bulk("old")))
        assert clients_of(old) == 2
        names.set(host, new.host)
        wait_until(lambda: clients_of(old) == 0, "no connection to the old address is left")
        client.send(command("MULTI") + command("GET", "a") + command("EXEC") + command("GET", "a"))
        client.expect(OK + b"+QUEUED\r\n" + array(NULL) + NULL)


def test_a_transaction_that_began_at_the_old_address_does_nothing(
    configured: Configure, names: Names, host: str, old: RedisServer, new: RedisServer
) -> None:
    with configured(pool(host, old, dns_refresh=REFRESH)) as proxy:
        client = proxy.client()
        client.send(command("WATCH", "a") + command("MULTI") + command("SET", "a", "1"))
        client.expect(OK * 2 + b"+QUEUED\r\n")
        names.set(host, new.host)
        wait_until(lambda: MOVED in proxy.log(), "the change is logged")
        assert client.ask("EXEC") == b"*-1\r\n"
        wait_until(lambda: clients_of(old) == 0, "the connection is not kept")
        client.send(command("WATCH", "a") + command("MULTI") + command("SET", "a", "2") + command("EXEC"))
        client.expect(OK * 2 + b"+QUEUED\r\n" + array(OK))
        assert (old.ask("GET", "a"), new.ask("GET", "a")) == (NULL, bulk("2"))


def test_subscribers_hear_of_both_addresses(
    configured: Configure, names: Names, host: str, old: RedisServer, new: RedisServer
) -> None:
    with configured(pool(host, old, dns_refresh=REFRESH)) as proxy:
        subscriber = subscribe(proxy.client(), "news")
        publish(proxy.client(), "news", "old")
        names.set(host, new.host)
        wait_until(lambda: (number_of(old, "news"), number_of(new, "news")) == (0, 1), "the subscription has moved")
        subscriber.expect(message("news", "old"))
        publish(proxy.client(), "news", "hello")
        subscriber.expect(message("news", "hello"))
        assert proxy.server_stats()["server_err"] == 0


def test_a_former_address_that_is_silent(
    configured: Configure, names: Names, host: str, old: RedisServer, new: RedisServer
) -> None:
    """Subscribers stay; the log says that they may have missed messages."""
    with configured(pool(host, old, dns_refresh=REFRESH, timeout=300)) as proxy:
        subscriber = subscribe(proxy.client(), "news", "weather")
        with old.paused():
            names.set(host, new.host)
            said = "2 channels and patterns had moved to another server or address: 1 clients may have missed messages"
            wait_until(lambda: said in proxy.log(), "the log says so")
        publish(proxy.client(), "news", "hello")
        subscriber.expect(message("news", "hello"))
        wait_until(lambda: proxy.pool_stats()["subscriptions_moved"] == 2, "it is counted")


@pytest.mark.parametrize(
    "directives", [{}, {"preconnect": True}, {"dns_refresh": REFRESH, "preconnect": True}], ids=str
)
def test_a_name_that_resolves_later(
    configured: Configure, names: Names, host: str, old: RedisServer, directives: dict[str, object]
) -> None:
    names.set(host)
    with configured(pool(host, old, **directives)) as proxy:
        client = proxy.client()
        unknown = error(f"ERR Host is down: no such name (server {host}:{old.port}:1 of pool {proxy.served_name()})")
        for _ in range(3):
            assert client.ask("GET", "a") == unknown
            assert client.ask("MGET", "a", "b") == unknown
        assert proxy.log().count(FAILS) == 1
        names.set(host, "127.0.0.1")
        wait_until(lambda: client.ask("SET", "a", "1") != unknown, "the name resolves")
        assert old.ask("GET", "a") == bulk("1")
        assert proxy.log().count("can be looked up again: 127.0.0.1") == 1


def test_a_name_of_memcached_that_resolves_later(configured: Configure, names: Names, host: str) -> None:
    names.set(host)
    with (
        MemcachedServer() as server,
        configured(memcached_pool(f"{host}:{server.port}", preconnect=True)) as proxy,
    ):
        client = proxy.client()
        unknown = memcache.server_error(
            f"Host is down: no such name (server {host}:{server.port}:1 of pool {proxy.served_name()})"
        )
        assert client.ask_text(b"get a\r\n") == unknown
        names.set(host, "127.0.0.1")
        assert client.ask_text(memcache.store("set", "a", "1")) == memcache.STORED
        assert server.get("a") == b"1"


def test_an_ejected_server_whose_name_resolves_later(
    configured: Configure, names: Names, host: str, old: RedisServer
) -> None:
    names.set(host)
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 100}
    servers = (f"{host}:{old.port}", f"127.0.0.1:{old.port}")
    with configured(redis_pool(*servers, **directives)) as proxy:
        client = proxy.client()
        [key] = keys_of(0, 2)
        assert client.ask("GET", key).startswith(b"-ERR Host is down")
        assert client.ask("GET", key) == NULL
        names.set(host, "127.0.0.1")
        wait_until(lambda: "server 's00' is back" in proxy.log(), "the server is back")


def lose_connection(proxy: ServedPools, server: RedisServer, client: Connection) -> None:
    """Let the server close the pool's connection."""
    assert client.ask("SET", "a", "1") == OK
    server.ask("CLIENT", "KILL", "TYPE", "normal")
    proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the connection is closed")


@pytest.mark.parametrize("state", ["down", "silent"])
@pytest.mark.parametrize("directives", [{}, {"timeout": 1000}, {"timeout": 1000, "dns_refresh": REFRESH}], ids=str)
def test_known_addresses_outlive_the_name_server(
    configured: Configure, names: Names, host: str, old: RedisServer, state: str, directives: dict[str, object]
) -> None:
    with configured(pool(host, old, **directives)) as proxy:
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
            wait_until(lambda: "can be looked up again" in proxy.log(), "the look-up is logged")


def test_looking_up_begins_at_start_and_goes_on(
    configured: Configure, names: Names, host: str, old: RedisServer
) -> None:
    with configured(pool(host, old, dns_refresh=REFRESH)) as proxy:
        names.wait_asked(5)
        names.go("silent")
        # The address is known already, so the first connection needs no look-up.
        assert proxy.client().ask("SET", "a", "1") == OK


def test_a_name_that_does_not_resolve_is_told_of_at_start(
    configured: Configure, names: Names, host: str, old: RedisServer
) -> None:
    names.set(host)
    with configured(pool(host, old)) as proxy:
        wait_until(lambda: proxy.log().count(FAILS) == 1, "the log names the server")


def test_a_lost_connection_is_looked_up_again(
    configured: Configure, names: Names, host: str, old: RedisServer, new: RedisServer
) -> None:
    with configured(pool(host, old, dns_refresh=LONG)) as proxy:
        client = proxy.client()
        lose_connection(proxy, old, client)
        names.set(host, new.host)
        assert client.ask("SET", "a", "new") == OK
        assert new.ask("GET", "a") == bulk("new")


def test_without_refresh_open_connections_stay(
    configured: Configure, names: Names, host: str, old: RedisServer, new: RedisServer
) -> None:
    with configured(pool(host, old, server_connections=2)) as proxy:
        first, second = proxy.client(), proxy.client()
        assert first.ask("SET", "a", "1") == OK
        names.set(host, new.host)
        # When the second connection is opened, the proxy learns the new address.
        assert second.ask("SET", "b", "2") == OK
        assert MOVED in proxy.log()
        assert first.ask("GET", "a") == bulk("1")
        assert (old.ask("DBSIZE"), new.ask("DBSIZE")) == (integer(1), integer(1))


@pytest.mark.parametrize("refresh", [0, LONG])
def test_the_second_address_is_tried_when_the_first_refuses(
    configured: Configure, names: Names, host: str, old: RedisServer, refresh: int
) -> None:
    names.set(host, free_host(old.port), "127.0.0.1")
    with configured(pool(host, old, dns_refresh=refresh)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        assert old.ask("GET", "a") == bulk("1")
        assert proxy.server_stats()["server_err"] == 0


def test_the_second_address_of_a_memcached_is_tried_when_the_first_refuses(
    configured: Configure, names: Names, host: str
) -> None:
    with MemcachedServer() as server:
        names.set(host, free_host(server.port), "127.0.0.1")
        with configured(memcached_pool(f"{host}:{server.port}")) as proxy:
            assert proxy.client().ask_text(memcache.store("set", "a", "1")) == memcache.STORED
        assert server.get("a") == b"1"
