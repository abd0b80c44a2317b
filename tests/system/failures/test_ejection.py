"""auto_eject_hosts: failing servers leave the pool, their keys move, and the servers come back."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

REFUSED = error("ERR Connection refused")
LONG = 3600_000
"""A server_retry_timeout, in milliseconds, that does not pass during a test."""
SHORT = 300
[ON_LIVE] = keys_of(0, 2)
ON_DEAD = keys_of(1, 2, 10)


class Stage(NamedTuple):
    """A pool of a live server and a server that refuses connections until the test lets it listen."""

    proxy: ServedPools
    client: Connection
    live: RedisServer
    dead: ScriptedServer


def staged(configured: Configure, live: RedisServer, **directives: object) -> Iterator[Stage]:
    with (
        ScriptedServer(listening=False) as dead,
        configured(redis_pool(live, dead, auto_eject_hosts=True, **directives)) as proxy,
    ):
        yield Stage(proxy, proxy.client(), live, dead)


@pytest.fixture
def ejecting(configured: Configure, servers: list[RedisServer]) -> Iterator[Stage]:
    """A pool that ejects at the second failure, for the rest of the test."""
    yield from staged(configured, servers[0], server_failure_limit=2, server_retry_timeout=LONG)


@pytest.fixture
def retrying(configured: Configure, servers: list[RedisServer]) -> Iterator[Stage]:
    """A pool that ejects at the first failure and soon sends probes."""
    yield from staged(configured, servers[0], server_failure_limit=1, server_retry_timeout=SHORT)


def test_keys_move_after_the_limit(ejecting: Stage) -> None:
    client = ejecting.client
    before = time.time_ns() // 1000
    assert client.ask("SET", ON_DEAD[0], "1") == REFUSED
    assert ejecting.proxy.pool_stats()["server_ejects"] == 0
    assert client.ask("SET", ON_DEAD[0], "2") == REFUSED
    for key in ON_DEAD:
        assert client.ask("SET", key, "3") == OK
    assert ejecting.live.ask("EXISTS", *ON_DEAD) == integer(len(ON_DEAD))
    stats = ejecting.proxy.pool_stats()
    assert stats["server_ejects"] == 1
    assert before <= stats["s01"]["server_ejected_at"] <= time.time_ns() // 1000
    # Each of the two requests was tried on a second connection.
    assert stats["s01"]["server_err"] == 4
    assert stats["forward_error"] == 2


def test_split_commands_move_too(ejecting: Stage) -> None:
    client = ejecting.client
    assert [client.ask("MGET", ON_LIVE, ON_DEAD[0]) for _ in range(2)] == [REFUSED] * 2
    assert client.ask("MSET", ON_LIVE, "1", ON_DEAD[0], "2") == OK
    assert client.ask("MGET", ON_DEAD[0], ON_LIVE, ON_DEAD[1]) == array(bulk("2"), bulk("1"), NULL)


def test_pipelined_requests_fail_together_and_count_once(ejecting: Stage) -> None:
    """Requests that wait for the same connection fail with it: this is one failure of the server, not several."""
    ejecting.client.send(command("GET", ON_DEAD[0]) * 5)
    ejecting.client.expect(REFUSED * 5)
    assert ejecting.proxy.pool_stats()["server_ejects"] == 0
    assert ejecting.client.ask("GET", ON_DEAD[0]) == REFUSED
    assert ejecting.client.ask("GET", ON_DEAD[0]) == NULL


def test_a_reply_forgives_earlier_failures(ejecting: Stage) -> None:
    client, [key, *_] = ejecting.client, ON_DEAD
    assert client.ask("GET", key) == REFUSED
    ejecting.dead.listen()
    client.send(command("GET", key))
    peer = ejecting.dead.accept()
    assert peer.request() == [b"GET", key.encode()]
    peer.send(bulk("alive"))
    client.expect(bulk("alive"))
    peer.close()
    ejecting.proxy.wait_stats(lambda pool: pool["s01"]["server_connections"] == 0, "the connection is closed")
    assert ejecting.proxy.pool_stats()["server_ejects"] == 0


def test_without_auto_eject_nothing_moves(configured: Configure, servers: list[RedisServer]) -> None:
    with (
        ScriptedServer(listening=False) as dead,
        configured(redis_pool(servers[0], dead, server_failure_limit=1)) as proxy,
    ):
        client = proxy.client()
        client.send(command("GET", ON_DEAD[0]))
        assert [client.reply(), *(client.ask("GET", ON_DEAD[0]) for _ in range(5))] == [REFUSED] * 6
        assert proxy.pool_stats()["server_ejects"] == 0
        assert proxy.server_stats("s01")["server_ejected_at"] == 0


def test_no_live_server_is_refused_without_trying(configured: Configure) -> None:
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": LONG}
    with ScriptedServer() as only, configured(redis_pool(only, **directives)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = only.accept()
        assert peer.request() == [b"GET", b"a"]
        peer.reset()
        client.expect(error("ERR Connection reset by peer"))
        client.send(command("GET", "a") + command("MGET", "a", "b") + command("PING"))
        client.expect(REFUSED * 2 + b"+PONG\r\n")
        assert not only.has_connection()
        assert proxy.server_stats()["requests"] == 1


def test_server_comes_back_when_it_answers_a_probe(retrying: Stage) -> None:
    client = retrying.client
    assert client.ask("SET", ON_DEAD[0], "1") == REFUSED
    assert client.ask("SET", ON_DEAD[0], "moved") == OK
    retrying.dead.listen()
    probe = retrying.dead.accept()
    assert probe.request() == [b"PING"]
    assert client.ask("GET", ON_DEAD[0]) == bulk("moved")
    probe.send(b"+PONG\r\n")
    probe.expect_closed()
    client.send(command("GET", ON_DEAD[0]))
    peer = retrying.dead.accept()
    assert peer.request() == [b"GET", ON_DEAD[0].encode()]
    peer.send(bulk("from the server"))
    client.expect(bulk("from the server"))
    assert "server 's01' is back" in retrying.proxy.log()


@pytest.mark.parametrize("answer", [b"-LOADING loading\r\n", b"-NOAUTH no\r\n", b"+OK\r\n", b"garbage\r\n", b""])
def test_server_that_does_not_answer_a_probe_well_stays_out(retrying: Stage, answer: bytes) -> None:
    client = retrying.client
    assert client.ask("SET", ON_DEAD[0], "1") == REFUSED
    retrying.dead.listen()
    for _ in range(2):
        probe = retrying.dead.accept()
        assert probe.request() == [b"PING"]
        probe.send(answer)
        probe.close()
        assert client.ask("SET", ON_DEAD[0], "moved") == OK
    retrying.proxy.wait_stats(lambda stats: stats["server_ejects"] == 1, "the ejection")


def test_clients_do_not_notice_probes_of_a_dead_server(retrying: Stage) -> None:
    client = retrying.client
    assert client.ask("SET", ON_DEAD[0], "1") == REFUSED
    errors = retrying.proxy.server_stats("s01")["server_err"]

    def has_been_probed() -> bool:
        assert client.ask("SET", ON_DEAD[0], "moved") == OK
        return retrying.proxy.server_stats("s01")["server_err"] >= errors + 3

    wait_until(has_been_probed, "the server has been probed three times")
    retrying.proxy.wait_stats(lambda stats: stats["server_ejects"] == 1, "the ejection")
    assert retrying.proxy.pool_stats()["forward_error"] == 1


def test_every_kind_of_failure_counts(configured: Configure) -> None:
    directives = {"auto_eject_hosts": True, "server_failure_limit": 2, "server_retry_timeout": LONG, "timeout": 200}
    with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        configured(redis_pool(first, second, **directives)) as proxy,
    ):
        client = proxy.client()
        client.send(command("GET", ON_DEAD[0]))
        peer = second.accept()
        client.expect(error("ERR Connection timed out"))
        assert peer.request() == [b"GET", ON_DEAD[0].encode()]
        peer.expect_closed()
        client.send(command("GET", ON_DEAD[0]))
        peer = second.accept()
        assert peer.request() == [b"GET", ON_DEAD[0].encode()]
        peer.send(b"garbage\r\n")
        client.expect(error("ERR Invalid argument"))
        client.send(command("GET", ON_DEAD[0]))
        moved = first.accept()
        assert moved.request() == [b"GET", ON_DEAD[0].encode()]
        moved.send(OK)
        client.expect(OK)
        proxy.wait_stats(lambda stats: stats["server_ejects"] == 1, "the ejection")


def test_ketama_moves_only_the_keys_of_the_ejected(configured: Configure, servers: list[RedisServer]) -> None:
    with RedisServer() as failing:
        directives = {"distribution": "ketama", "hash": "md5", "auto_eject_hosts": True, "server_failure_limit": 1}
        pool = redis_pool(servers[0], servers[1], failing, server_retry_timeout=LONG, **directives)
        with configured(pool) as proxy:
            client = proxy.client()
            keys = [f"ring:{i}" for i in range(200)]
            assert client.ask("MSET", *(word for key in keys for word in (key, "v"))) == OK
            before = [{key for key in keys if server.ask("EXISTS", key) == integer(1)} for server in servers[:2]]
            failing.kill()
            proxy.wait_stats(lambda pool: pool["s02"]["server_connections"] == 0, "the connection is closed")
            wait_until(lambda: client.ask("MGET", *keys)[:1] == b"*", "the server is ejected")
            assert client.ask("MSET", *(word for key in keys for word in (key, "v"))) == OK
            after = [{key for key in keys if server.ask("EXISTS", key) == integer(1)} for server in servers[:2]]
            assert before[0] <= after[0] and before[1] <= after[1]
            assert len(after[0]) + len(after[1]) == len(keys)
