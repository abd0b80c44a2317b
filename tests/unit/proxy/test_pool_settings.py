"""The settings of a running pool are replaced between two events of the event loop, while it has requests."""

from collections.abc import Iterator

import pytest

from harness.resp import NULL, OK, array, bulk, command, error
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from unit.in_process import InProcess

KEYS = [f"key{number}" for number in range(20)]
VALUES = array(*map(bulk, KEYS))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


def replace(proxy: InProcess, **pool: object) -> None:
    """Replace the settings of the pool."""
    proxy.replace_settings(**pool)


def test_the_timeout() -> None:
    with ScriptedServer() as server:
        pool = {"redis": True, "servers": [f"{server.address}:1 one"]}
        with InProcess(**pool) as proxy:
            early, late = proxy.client(), proxy.client()
            early.send(command("GET", "early"))
            peer = server.accept()
            assert peer.request() == [b"GET", b"early"]
            replace(proxy, **pool, timeout=100)
            late.send(command("GET", "late"))
            assert peer.request() == [b"GET", b"late"]
            proxy.advance(100)
            for client in (early, late):
                client.expect(error("ERR Connection timed out"))
            peer.send(bulk("dropped") * 2)
            replace(proxy, **pool, timeout=0)
            late.send(command("GET", "again"))
            assert peer.request() == [b"GET", b"again"]
            peer.send(bulk("1"))
            late.expect(bulk("1"))


def test_a_silent_server_is_waited_for_without_a_timeout() -> None:
    """It was sent nothing more after the timeout."""
    with ScriptedServer() as server:
        pool = {"redis": True, "servers": [f"{server.address}:1 one"]}
        with InProcess(**pool, timeout=100) as proxy:
            client = proxy.client()
            client.send(command("GET", "early"))
            peer = server.accept()
            assert peer.request() == [b"GET", b"early"]
            proxy.advance(100)
            client.expect(error("ERR Connection timed out"))
            client.send(command("GET", "late"))
            proxy.call(lambda: None)
            assert not peer.has_received()
            replace(proxy, **pool)
            assert peer.request() == [b"GET", b"late"]
            peer.send(bulk("dropped") + bulk("1"))
            client.expect(bulk("1"))


def test_the_most_requests_in_progress() -> None:
    with ScriptedServer() as server:
        pool = {"redis": True, "servers": [f"{server.address}:1 one"]}
        with InProcess(**pool, max_pipeline=2) as proxy:
            client = proxy.client()
            client.send(command("GET", "k") * 40)
            peer = server.accept()
            peer.expect(command("GET", "k") * 2)
            asked = 2
            for most in (2, 4, 1, 3):
                replace(proxy, **pool, max_pipeline=most)
                peer.send(bulk("v") * asked)
                client.expect(bulk("v") * asked)
                peer.expect(command("GET", "k") * most)
                proxy.call(lambda: None)
                assert not peer.has_received(), "no more requests than allowed are in progress"
                asked = most


def test_permissions(server: RedisServer) -> None:
    pool = {"redis": True, "servers": [f"{server.address}:1 one"]}
    refused = b"-ERR 'flushdb' is not allowed"
    with InProcess(**pool) as proxy:
        client = proxy.client()
        assert client.ask("FLUSHDB").startswith(refused)
        replace(proxy, **pool, allow_commands="flushdb")
        client.send(command("SET", "k", "v") * 100 + command("FLUSHDB") + command("GET", "k"))
        client.expect(OK * 101 + NULL)
        replace(proxy, **pool, deny_commands="get")
        assert client.ask("FLUSHDB").startswith(refused)
        assert client.ask("GET", "k").startswith(b"-ERR 'get' is not available in this pool")
        replace(proxy, **pool)
        assert client.ask("GET", "k") == NULL


def test_what_a_failing_server_means(server: RedisServer) -> None:
    with ScriptedServer(listening=False) as down:
        pool = {"redis": True, "servers": [f"{server.address}:1 one", f"{down.address}:1 two"]}
        with InProcess(**pool) as proxy:
            client = proxy.client()
            stored = [key for key in KEYS if client.ask("SET", key, key) == OK]
            assert 0 < len(stored) < len(KEYS)
            some = array(*(bulk(key) if key in stored else NULL for key in KEYS))
            for partial_reads in ("error", "miss", "error"):
                replace(proxy, **pool, partial_reads=partial_reads)
                reply = client.ask("MGET", *KEYS)
                assert reply == some if partial_reads == "miss" else reply.startswith(b"-ERR Connection refused")


def test_ejection_and_what_becomes_of_the_keys(server: RedisServer) -> None:
    with ScriptedServer(listening=False) as down:
        pool = {"redis": True, "servers": [f"{server.address}:1 one", f"{down.address}:1 two"]}
        ejecting = {**pool, "auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 3_600_000}
        with InProcess(**pool) as proxy:
            client = proxy.client()
            lost = next(key for key in KEYS if client.ask("SET", key, key) != OK)
            assert client.ask("GET", lost) == error("ERR Connection refused")
            replace(proxy, **ejecting)
            assert client.ask("GET", lost) == error("ERR Connection refused")
            assert client.ask("GET", lost) == NULL, "its keys are on the other server"
            replace(proxy, **ejecting, on_server_down="error")
            assert client.ask("GET", lost).startswith(b"-ERR server two of pool alpha is ejected")
            replace(proxy, **ejecting, on_server_down="miss")
            assert client.ask("GET", lost) == NULL
            assert client.ask("SET", lost, "x").startswith(b"-ERR server two of pool alpha is ejected")
            replace(proxy, **ejecting)
            assert client.ask("SET", lost, "x") == OK


def test_an_idle_client(server: RedisServer) -> None:
    pool = {"redis": True, "servers": [f"{server.address}:1 one"]}
    with InProcess(**pool) as proxy:
        client = proxy.client()
        assert client.ask("PING") == b"+PONG\r\n"
        replace(proxy, **pool, client_idle_timeout=3_600_000)
        proxy.advance(3_600_000)
        client.expect_closed()


@pytest.mark.parametrize(
    ("name", "value"),
    [("redis_db", 1), ("databases", 4)],
)
def test_what_cannot_be_replaced(server: RedisServer, name: str, value: object) -> None:
    pool: dict[str, object] = {"redis": True, "servers": [f"{server.address}:1 one"]}
    with InProcess(**pool) as proxy:
        with pytest.raises(ValueError, match=f"'{name}' of a running pool"):
            replace(proxy, **{**pool, name: value})
        assert proxy.client().ask("SET", "k", "v") == OK
