"""What has consequences for others happens at the end of a turn: no request that is being processed sees it happen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.resp import OK, array, bulk, command, error
from harness.scripted_server import ScriptedServer
from twemproxy.protocol.redis import fan_out_commands
from twemproxy.protocol.redis.commands import BY_NAME, COMMANDS
from twemproxy.upstream import profiles
from unit.in_process import InProcess

MISSING = error("ERR No such file or directory")


def fail(*_: object) -> bytes:
    raise RuntimeError("on purpose")


@pytest.fixture
def first(tmp_path: Path) -> Iterator[ScriptedServer]:
    with ScriptedServer(tmp_path / "first") as server:
        yield server


@pytest.fixture
def second(tmp_path: Path) -> Iterator[ScriptedServer]:
    with ScriptedServer(tmp_path / "second") as server:
        yield server


def keys_of(proxy: InProcess, server: int, count: int) -> list[str]:
    """Keys of a server, by its position."""
    pool: Any = proxy.data_plane.pools[0]
    keys = (f"key{i}" for i in range(1000))
    return [key for key in keys if pool.server_of_all([key.encode()]).position == server][:count]


def test_a_client_that_is_closed_by_its_request_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging the replies fails, because both servers are gone; the client has sent more requests in the same read."""
    monkeypatch.setitem(fan_out_commands.MERGES, COMMANDS[BY_NAME["dbsize"]].merge, fail)
    servers = [f"{tmp_path}/{name}:1" for name in ("missing", "gone")]
    with InProcess(redis=True, servers=servers) as proxy:
        client = proxy.client()
        client.send(command("DBSIZE") + command("GET", "key") * 200)
        client.expect_closed()
        assert proxy.client().ask("GET", "key") == MISSING


def test_requests_that_fail_at_once_are_answered_in_order(tmp_path: Path) -> None:
    with InProcess(
        redis=True, servers=[f"{tmp_path}/missing:1"], auto_eject_hosts=True, server_failure_limit=1
    ) as proxy:
        client = proxy.client()
        client.send(command("GET", "key") * 10 + command("PING"))
        client.expect(MISSING * 10 + b"+PONG\r\n")
        assert client.ask("GET", "key") == error("ERR Connection refused")


def test_a_reset_in_a_turn_in_which_more_requests_are_read(first: ScriptedServer) -> None:
    with InProcess(redis=True, servers=[f"{first.address}:1"]) as proxy:
        one, two = proxy.client(), proxy.client()
        one.send(command("GET", "written"))
        peer = first.accept()
        assert peer.request() == [b"GET", b"written"]

        def in_one_turn() -> None:
            one.send(command("GET", "before"))
            peer.close()
            two.send(command("GET", "after"))

        proxy.call(in_one_turn)
        assert one.reply() == error("ERR unknown")
        peer = first.accept()
        for _ in range(2):
            _, key = peer.request()
            peer.send(bulk(key))
        assert one.reply() == bulk("before")
        assert two.reply() == bulk("after")


def test_bytes_after_a_reply_that_fails_a_connection(first: ScriptedServer, second: ScriptedServer) -> None:
    """They are not read as replies on the connection that replaces it."""
    servers = [f"{server.address}:1" for server in (first, second)]
    with InProcess(redis=True, servers=servers, hash="md5", retry_reads=True) as proxy:
        client = proxy.client()
        split, *others = keys_of(proxy, 0, 3)
        [elsewhere] = keys_of(proxy, 1, 1)
        client.send(command("MGET", split, elsewhere) + b"".join(command("GET", key) for key in others))
        second.answer(array(bulk("value")))
        peer = first.accept()
        for _ in range(3):
            peer.request()
        peer.send(array(bulk("one"), bulk("too many")) + bulk("late") * 3)
        assert client.reply() == error("ERR Invalid argument")
        peer = first.accept()
        for key in others:
            assert peer.request() == [b"GET", key.encode()]
            peer.send(bulk(key))
        client.expect(b"".join(bulk(key) for key in others))


def test_an_ejection_by_a_request_that_is_being_split(
    first: ScriptedServer, second: ScriptedServer, tmp_path: Path
) -> None:
    """All requests of a read are routed alike; later ones go to the servers that are left."""
    directives = {"hash": "md5", "auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 3600_000}
    # Servers are numbered by the length of their names.
    servers = [f"{tmp_path}/{name}:1" for name in ("lost", "first", "second")]
    with InProcess(redis=True, servers=servers, **directives) as proxy:
        client = proxy.client()
        [gone], [one], [two] = (keys_of(proxy, index, 1) for index in range(3))
        client.send(command("MGET", gone, one, two, gone) + command("GET", gone) + command("GET", one))
        peers = [first.accept(), second.accept()]
        for peer in peers:
            assert peer.request()[0].lower() == b"mget"
            peer.send(array(bulk("value")))
        assert peers[0].request() == [b"GET", one.encode()]
        peers[0].send(bulk("value"))
        client.expect(MISSING * 2 + bulk("value"))
        pool: Any = proxy.data_plane.pools[0]
        moved_to = peers[proxy.call(lambda: pool.server_of_all([gone.encode()]).position) - 1]
        client.send(command("GET", gone))
        assert moved_to.request() == [b"GET", gone.encode()]
        moved_to.send(bulk("moved"))
        assert client.reply() == bulk("moved")


def test_a_client_that_waits_for_a_connection_that_may_not_open(
    first: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request does not fit into the queue, which is dropped at the end of the turn."""
    monkeypatch.setattr(profiles, "MOST_PROFILES", 1)
    busy = error(
        "ERR all 1 connections to it for other databases, RESP3 and scripts are busy, try again"
        f" (server {first.address}:1 of pool alpha)"
    )
    large = command("SET", "large", b"x" * (5 << 20))
    with InProcess(redis=True, servers=[f"{first.address}:1"], databases=16) as proxy:
        writer, reader, other = (proxy.client() for _ in range(3))
        writer.send(command("SELECT", 1))
        peer = first.answer(OK)
        writer.expect(OK)
        assert reader.ask("SELECT", 1) == OK
        peer.close()
        other.send(command("SELECT", 2) + command("GET", "k"))
        peer = first.answer(OK)
        other.expect(OK)
        assert peer.request() == [b"GET", b"k"]
        writer.send(large[:-2])
        writer.wait_consumed()

        def in_one_turn() -> None:
            writer.send(large[-2:])
            reader.send(command("GET", "k"))

        proxy.call(in_one_turn)
        writer.expect(busy)
        reader.expect(busy)
