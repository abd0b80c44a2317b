"""Which requests are in the slow log; the clock of the data plane jumps, so that no test waits."""

from typing import Any

from harness.proxy import keys_of, redis_pool
from harness.resp import array, bulk, command
from harness.scripted_server import ScriptedMemcached, ScriptedServer
from unit.in_process import InProcess

LONG = 60_000
"""Milliseconds: slow."""
LIMIT = 30_000
"""Milliseconds of ``slowlog_ms``."""


def slow(proxy: InProcess) -> list[Any]:
    """The slow log."""
    return list(proxy.call(lambda: list(proxy.data_plane.pools[0].slow_log.requests)))


def test_a_slow_server() -> None:
    with (
        ScriptedServer() as server,
        InProcess(redis=True, servers=[f"{server.address}:1 one"], slowlog_ms=LIMIT) as proxy,
    ):
        client = proxy.client()
        client.send(command("GET", "fast"))
        peer = server.accept()
        peer.request()
        peer.send(bulk("v"))
        client.expect(bulk("v"))
        client.send(command("SET", "slow", "x" * 100))
        peer.request()
        proxy.advance(LONG)
        peer.send(b"+OK\r\n")
        client.expect(b"+OK\r\n")
        [noted] = slow(proxy)
        assert noted.command == "set"
        assert noted.arguments[:2] == [b"SET", b"slow"]
        assert noted.arguments[2].startswith(b"xxx")
        assert noted.arguments[2].endswith(b"...")
        assert (noted.server, noted.client.rpartition(":")[0]) == ("one", "127.0.0.1")
        assert noted.server_time >= 1000 * LONG > 1000 * LIMIT > noted.waiting + noted.writing
        pool = proxy.snapshot()
        assert pool.servers[0].values["slow_responses"] == 1
        assert pool.values["slow_replies"] == 0


def test_a_request_behind_a_slow_one_has_no_arguments() -> None:
    with (
        ScriptedServer() as one,
        ScriptedServer() as two,
        InProcess(**redis_pool(one, two, slowlog_ms=LIMIT)) as proxy,
    ):
        client = proxy.client()
        [first], [second] = keys_of(0, 2), keys_of(1, 2)
        client.send(command("GET", first) + command("STRLEN", second))
        late, early = one.accept(), two.accept()
        late.request()
        early.request()
        early.send(b":1\r\n")
        while not proxy.snapshot().servers[1].values["responses"]:
            pass
        proxy.advance(LONG)
        late.send(bulk("v"))
        client.expect(bulk("v") + b":1\r\n")
        noted = {each.command: each for each in slow(proxy)}
        assert noted["get"].arguments == [b"GET", first.encode()]
        assert noted["strlen"].arguments == []
        assert noted["strlen"].writing >= 1000 * LONG
        assert proxy.snapshot().values["slow_replies"] == 1


def test_a_part_of_a_split_request() -> None:
    with (
        ScriptedServer() as one,
        ScriptedServer() as two,
        InProcess(**redis_pool(one, two, slowlog_ms=LIMIT)) as proxy,
    ):
        client = proxy.client()
        keys = [*keys_of(0, 2), *keys_of(1, 2)]
        client.send(command("MGET", *keys))
        late, early = one.accept(), two.accept()
        late.request()
        early.request()
        early.send(array(bulk("2")))
        while not proxy.snapshot().servers[1].values["responses"]:
            pass
        proxy.advance(LONG)
        late.send(array(bulk("1")))
        client.expect(array(bulk("1"), bulk("2")))
        [noted] = slow(proxy)
        assert (noted.server, noted.arguments) == ("s00", [b"MGET", *map(str.encode, keys)])


def test_a_blocking_command_is_never_slow() -> None:
    with (
        ScriptedServer() as server,
        InProcess(redis=True, servers=[f"{server.address}:1 one"], slowlog_ms=LIMIT) as proxy,
    ):
        client = proxy.client()
        client.send(command("BLPOP", "list", "0"))
        peer = server.accept()
        while peer.request()[0] != b"BLPOP":
            peer.send(b":7\r\n")
        proxy.advance(LONG)
        peer.send(array(bulk("list"), bulk("v")))
        client.expect(array(bulk("list"), bulk("v")))
        assert slow(proxy) == []


def test_without_a_slow_log() -> None:
    with (
        ScriptedServer() as server,
        InProcess(redis=True, servers=[f"{server.address}:1 one"], slowlog_ms=0) as proxy,
    ):
        client = proxy.client()
        client.send(command("GET", "k"))
        peer = server.accept()
        peer.request()
        proxy.advance(100 * LONG)
        peer.send(bulk("v"))
        client.expect(bulk("v"))
        assert slow(proxy) == []
        proxy.replace_settings(redis=True, servers=[f"{server.address}:1 one"], slowlog_ms=LIMIT)
        client.send(command("GET", "k"))
        peer.request()
        proxy.advance(LONG)
        peer.send(bulk("v"))
        client.expect(bulk("v"))
        assert len(slow(proxy)) == 1


def test_memcached() -> None:
    with ScriptedMemcached() as server, InProcess(servers=[f"{server.address}:1 one"], slowlog_ms=LIMIT) as proxy:
        client = proxy.client()
        client.send(b"set k 0 0 1\r\nv\r\n")
        peer = server.accept()
        peer.text_request()
        proxy.advance(LONG)
        peer.send(b"STORED\r\n")
        client.expect(b"STORED\r\n")
        [noted] = slow(proxy)
        assert (noted.command, noted.arguments) == ("set", [b"set", b"k", b"0", b"0", b"1"])


def test_hot_keys_of_a_pool() -> None:
    with ScriptedServer() as server, InProcess(redis=True, servers=[f"{server.address}:1 one"]) as proxy:
        client = proxy.client()
        client.send(10 * command("GET", "hot") + command("GET", "cold") + command("MGET", "hot", "other"))
        peer = server.accept()
        for _ in range(11):
            peer.request()
            peer.send(bulk("v" * 90))
        peer.request()
        peer.send(array(bulk("1"), bulk("2")))
        client.expect(11 * bulk("v" * 90) + array(bulk("1"), bulk("2")))
        rows = proxy.call(lambda: proxy.data_plane.pools[0].hot_keys.top(2, proxy.data_plane.loop.real))
        assert rows[0][0] == b"hot"
        assert rows[0][1] > 5 * rows[1][1]
        assert rows[0][4] >= 90
