"""Probes and health checks: what clients notice when a server dies, and when it is up again."""

from collections.abc import Iterator

import pytest

from harness.proxy import keys_of, memcached_pool, redis_pool
from harness.resp import NULL, OK, command
from harness.scripted_server import ScriptedServer
from harness.servers import MemcachedServer, RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

EJECTING = {"auto_eject_hosts": True, "server_failure_limit": 2, "server_retry_timeout": 300}
LONG = 3600_000
KEYS = [key for index in range(3) for key in keys_of(index, 3, 20)]


@pytest.fixture
def own_servers() -> Iterator[list[RedisServer]]:
    """Three servers that a test may kill."""
    with RedisServer() as first, RedisServer() as second, RedisServer() as third:
        yield [first, second, third]


def test_a_killed_server_costs_each_client_no_more_than_the_limit(
    configured: Configure, own_servers: list[RedisServer]
) -> None:
    with configured(redis_pool(*own_servers, **EJECTING)) as proxy:
        clients = [proxy.client() for _ in range(5)]
        for client in clients:
            for key in KEYS:
                assert client.ask("SET", key, "v") == OK
        own_servers[1].kill()
        errors = 0
        for _ in range(5):
            for client in clients:
                for key in KEYS:
                    errors += client.ask("SET", key, "w").startswith(b"-")
        # One request at a time: no other request is in flight when the server dies.
        assert 1 <= errors <= 2
        own_servers[1].start()
        proxy.wait_stats(lambda pool: "server 's01' is back" in proxy.log(), "the server is back")
        for client in clients:
            for key in KEYS:
                assert client.ask("SET", key, "x") == OK
        assert proxy.pool_stats()["forward_error"] == errors


def test_idle_ends_are_no_failures(configured: Configure, own_servers: list[RedisServer]) -> None:
    directives = {**EJECTING, "server_failure_limit": 1, "server_retry_timeout": LONG}
    with configured(redis_pool(*own_servers, **directives)) as proxy:
        client = proxy.client()
        for round_ in range(1, 4):
            for key in KEYS:
                assert client.ask("SET", key, "v") == OK
            for server in own_servers:
                server.ask("CLIENT", "KILL", "TYPE", "normal")
            for index in range(3):
                wait_until(
                    lambda name=f"s{index:02d}", ends=round_: proxy.server_stats(name)["server_eof"] == ends,  # type: ignore[misc]
                    "the connection is closed",
                )
        assert proxy.pool_stats()["server_ejects"] == 0


def test_an_end_instead_of_the_greeting_is_a_failure(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, redis_auth="pw", **EJECTING)) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", "pw") == OK
        for _ in range(2):
            client.send(command("GET", "a"))
            # A request that has not been sent is tried on two connections.
            for _ in range(2):
                peer = server.accept()
                assert peer.request() == [b"AUTH", b"pw"]
                peer.close()
            assert client.reply().startswith(b"-ERR ")
        proxy.wait_stats(lambda stats: stats["server_ejects"] == 1, "the ejection")


def test_probes_authenticate(configured: Configure) -> None:
    with (
        RedisServer(password="pw") as server,
        ScriptedServer(listening=False) as dead,
        configured(redis_pool(server, dead, redis_auth="pw", **{**EJECTING, "server_failure_limit": 1})) as proxy,
    ):
        client = proxy.client()
        assert client.ask("AUTH", "pw") == OK
        [key] = keys_of(1, 2)
        assert client.ask("GET", key).startswith(b"-ERR ")
        dead.listen()
        probe = dead.accept()
        assert probe.request() == [b"AUTH", b"pw"]
        probe.send(OK)
        assert probe.request() == [b"PING"]
        probe.send(b"+PONG\r\n")
        probe.expect_closed()


def test_several_probes_have_to_succeed(configured: Configure) -> None:
    directives = {**EJECTING, "server_failure_limit": 1, "probe_successes": 3, "server_retry_timeout": 50}
    with (
        RedisServer() as server,
        ScriptedServer(listening=False) as dead,
        configured(redis_pool(server, dead, **directives)) as proxy,
    ):
        client = proxy.client()
        [key] = keys_of(1, 2)
        assert client.ask("GET", key).startswith(b"-ERR ")
        dead.listen()
        for answer in (b"+PONG\r\n", b"+PONG\r\n", b"-LOADING\r\n", b"+PONG\r\n", b"+PONG\r\n", b"+PONG\r\n"):
            assert client.ask("GET", key) == NULL
            probe = dead.accept()
            assert probe.request() == [b"PING"]
            probe.send(answer)
            probe.expect_closed()
        client.send(command("GET", key))
        assert dead.accept().request() == [b"GET", key.encode()]


def test_checks_find_a_dead_server_before_a_request_does(configured: Configure, own_servers: list[RedisServer]) -> None:
    directives = {**EJECTING, "health_check_interval": 100, "server_retry_timeout": LONG}
    with configured(redis_pool(*own_servers, **directives)) as proxy:
        client = proxy.client()
        for key in KEYS:
            assert client.ask("SET", key, "v") == OK
        own_servers[2].kill()
        proxy.wait_stats(lambda pool: pool["server_ejects"] == 1, "the server is ejected")
        for key in KEYS:
            assert client.ask("SET", key, "w") == OK
        assert proxy.pool_stats()["forward_error"] == 0


def test_checks_find_a_server_that_stands_still(configured: Configure, own_servers: list[RedisServer]) -> None:
    directives = {**EJECTING, "health_check_interval": 100, "timeout": 200}
    with configured(redis_pool(*own_servers, **directives)) as proxy:
        client = proxy.client()
        with own_servers[0].paused():
            proxy.wait_stats(lambda pool: pool["server_ejects"] == 1, "the server is ejected")
            for key in KEYS:
                assert client.ask("SET", key, "w") == OK
        wait_until(lambda: "server 's00' is back" in proxy.log(), "the server is back")


def test_memcached_servers_are_probed_by_their_version(configured: Configure) -> None:
    directives = {**EJECTING, "server_failure_limit": 1}
    with (
        MemcachedServer() as first,
        MemcachedServer() as second,
        configured(memcached_pool(first, second, **directives)) as proxy,
    ):
        client = proxy.client()
        [key] = keys_of(1, 2)
        second.kill()
        assert client.ask_text(f"get {key}\r\n".encode()).startswith(b"SERVER_ERROR ")
        assert client.ask_text(f"get {key}\r\n".encode()) == b"END\r\n"
        second.start()
        wait_until(lambda: "server 's01' is back" in proxy.log(), "the server is back")
        assert client.ask_text(f"set {key} 0 0 1\r\nx\r\n".encode()) == b"STORED\r\n"
