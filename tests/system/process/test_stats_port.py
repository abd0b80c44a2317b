"""The statistics port: nutcracker's document to the byte, and the meaning of its figures."""

import http.client
import json
import re
import socket
import time
from pathlib import Path

import pytest

from harness.connection import Connection, connect, connect_unix
from harness.proxy import Proxy, ServedPools, keys_of, redis_pool
from harness.resp import OK, array, bulk, command, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until
from twemproxy.stats.catalogue import COMMAND_CLASSES, POOL_FIGURES, PROCESS_FIGURES, SERVER_FIGURES

SERVER = (
    r'"server_eof":\d+, "server_err":\d+, "server_timedout":\d+, "server_connections":\d+, '
    r'"server_ejected_at":\d+, "requests":\d+, "request_bytes":\d+, "responses":\d+, "response_bytes":\d+, '
    r'"in_queue":\d+, "in_queue_bytes":\d+, "out_queue":\d+, "out_queue_bytes":\d+'
)
POOL = (
    r'"client_eof":\d+, "client_err":\d+, "client_connections":\d+, "server_ejects":\d+, '
    r'"forward_error":\d+, "fragments":\d+'
)
HEAD = (
    r'\{"service":"nutcracker", "source":"[^"]+", "version":"\d+\.\d+\.\d+", "uptime":\d+, "timestamp":\d+, '
    r'"total_connections":\d+, "curr_connections":\d+, '
)


def pool_pattern(pool: str, *servers: str) -> str:
    parts = [rf'"{re.escape(server)}": \{{{SERVER}\}}' for server in servers]
    return rf'"{re.escape(pool)}": \{{{POOL}, {",".join(parts)}\}}'


def test_layout_to_the_byte(servers: list[RedisServer]) -> None:
    pools = {
        "longer": {**redis_pool(), "servers": [f"{servers[0].address}:1 b", f"{servers[1].address}:1 a"]},
        "beta": {**redis_pool(), "servers": [f"{servers[2].address}:1"]},
        "alfa": {**redis_pool(), "servers": [f"{servers[2].path}:1", f"{servers[1].address}:2 x"]},
    }
    with Proxy(pools) as proxy:
        names = {
            "alfa": ["x", f"{servers[2].path}:"],
            "beta": [servers[2].address],
            "longer": ["a", "b"],
        }
        pattern = HEAD + ",".join(pool_pattern(pool, *labels) for pool, labels in names.items()) + r"\}\n"
        assert re.fullmatch(pattern, proxy.stats_text())
        full = json.loads(proxy.stats_text(b"GET /stats.json\n"))
        added = [each.name for each in PROCESS_FIGURES if each.added]
        assert list(full)[-len(added) :] == added
        added = [each.name for each in POOL_FIGURES if each.added]
        assert list(full["longer"])[-len(added) :] == added
        added = [each.name for each in SERVER_FIGURES if each.added]
        assert [list(full["longer"][server])[-len(added) :] for server in ("a", "b")] == [added] * 2


def test_exporters_and_http_clients(proxy: ServedPools) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.stats_port, timeout=10)
    connection.request("GET", "/stats.json")
    with connection.getresponse() as response:
        assert (response.status, response.headers["content-type"]) == (200, "application/json")
        full = json.load(response)
    connection.close()
    assert "memory_held" in full
    # A public exporter requests another path and reads the document from this exception.
    connection.request("GET", "/")
    with pytest.raises(http.client.BadStatusLine) as caught:
        connection.getresponse()
    connection.close()
    (line,) = caught.value.args
    pool = proxy.served_name()
    added = [each.name for each in POOL_FIGURES if each.added]
    assert [*json.loads(line)[pool], *added] == list(full[pool])
    assert "memory_held" not in line


def test_head_of_an_idle_proxy() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server)) as proxy:
        stats = proxy.stats()
        assert stats["service"] == "nutcracker"
        assert stats["source"] == socket.gethostname()
        assert abs(stats["timestamp"] - time.time()) < 60
        assert 0 <= stats["uptime"] < 60
        wait_until(lambda: proxy.stats()["curr_connections"] == 1, "the worker listens")
        assert proxy.stats()["total_connections"] == 1


def test_connections_are_counted() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server)) as proxy:
        first, second = proxy.client(), proxy.client()
        first.send(command("GET", "a"))
        server.accept()
        second.send(command("PING"))
        second.expect(b"+PONG\r\n")
        stats = proxy.stats()
        assert (stats["total_connections"], stats["curr_connections"]) == (4, 4)
        second.close()
        wait_until(lambda: proxy.stats()["curr_connections"] == 3, "the client is gone")
        assert proxy.stats()["total_connections"] == 4
        stats = proxy.pool_stats()
        assert (stats["client_connections"], stats["client_eof"], stats["client_err"]) == (1, 1, 0)


def test_requests_responses_and_their_bytes(configured: Configure) -> None:
    with ScriptedServer() as first, ScriptedServer() as second, configured(redis_pool(first, second)) as proxy:
        client = proxy.client()
        [a1, a2], [b] = keys_of(0, 2, 2), keys_of(1, 2)
        client.send(command("GET", a1) + command("MGET", a1, b, a2) + command("PING") + command("MONITOR"))
        to_first = command("GET", a1) + command("mget", a1, a2)
        to_second = command("mget", b)
        from_first, from_second = bulk("1") + array(bulk("1"), bulk("2")), array(bulk("b"))
        behind_first, behind_second = first.accept(), second.accept()
        behind_first.expect(to_first)
        behind_second.expect(to_second)
        proxy.wait_stats(lambda pool: pool["s00"]["out_queue"] == 2, "the requests are counted as written")
        waiting = proxy.pool_stats()["s00"]
        assert (waiting["out_queue_bytes"], waiting["in_queue"], waiting["in_queue_bytes"]) == (len(to_first), 0, 0)
        assert (waiting["requests"], waiting["responses"]) == (2, 0)
        behind_first.send(from_first)
        behind_second.send(from_second)
        client.replies(4)
        stats = proxy.pool_stats()
        expected = {
            "requests": 2,
            "request_bytes": len(to_first),
            "responses": 2,
            "response_bytes": len(from_first),
            "server_connections": 1,
            "in_queue": 0,
            "in_queue_bytes": 0,
            "out_queue": 0,
            "out_queue_bytes": 0,
            "requests_resent": 0,
            "server_eof": 0,
            "server_err": 0,
            "server_timedout": 0,
            "server_ejected_at": 0,
            "server_further": 0,
            "server_private": 0,
            "ejected": 0,
            **{f"responses_{name}": 0 for name in COMMAND_CLASSES},
            "responses_read": 2,
        }
        timeless = [{k: v for k, v in stats[name].items() if not k.startswith("latency")} for name in ("s00", "s01")]
        for figures in timeless:
            # The test itself may be slow.
            assert figures.pop("slow_responses") <= 2
        assert timeless[0] == expected
        assert timeless[1] == {
            **expected,
            "requests": 1,
            "request_bytes": len(to_second),
            "responses": 1,
            "responses_read": 1,
            "response_bytes": len(from_second),
        }
        assert stats["fragments"] == 2
        assert stats["client_connections"] == 1


def test_requests_that_wait_for_the_connection_are_in_the_incoming_queue(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, redis_db=3)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a") * 3)
        peer = server.accept()
        assert peer.request() == [b"SELECT", b"3"]
        proxy.wait_stats(lambda pool: pool["s00"]["in_queue"] >= 3, "the requests wait")
        assert proxy.server_stats()["in_queue_bytes"] >= len(command("GET", "a") * 3)
        peer.send(OK)
        assert [peer.request() for _ in range(3)] == [[b"GET", b"a"]] * 3
        peer.send(OK * 3)
        client.expect(OK * 3)
        stats = proxy.server_stats()
        assert (stats["requests"], stats["request_bytes"]) == (3, len(command("GET", "a") * 3))
        assert (stats["responses"], stats["response_bytes"]) == (3, len(OK * 3))
        assert (stats["in_queue"], stats["in_queue_bytes"]) == (0, 0)


def test_fragments_of_an_mset_are_counted_once(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers)) as proxy:
        client = proxy.client()
        [a], [b], [c] = keys_of(0, 3), keys_of(1, 3), keys_of(2, 3)
        assert client.ask("MSET", a, "v", b, "v", c, "v") == OK
        assert client.ask("DEL", a, b) == integer(2)
        stats = proxy.pool_stats()
        assert stats["fragments"] == 5
        expected = [len(command("mset", a, "v")) + len(command("del", a)), len(command("mset", c, "v"))]
        assert [stats["s00"]["request_bytes"], stats["s02"]["request_bytes"]] == expected


def test_values_are_fresh_at_every_poll(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0])) as proxy:
        client = proxy.client()
        for number in range(1, 30):
            client.ask("SET", "a", number)
            assert proxy.server_stats()["responses"] == number


def test_kinds_of_endings(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, timeout=200)) as proxy:
        client = proxy.client()

        def ask() -> Connection:
            client.send(command("GET", "a"))
            peer = server.accept()
            assert peer.request() == [b"GET", b"a"]
            return peer

        ask().close()
        client.reply()
        ask().reset()
        client.reply()
        ask().send(b"garbage\r\n")
        client.reply()
        peer = ask()
        client.reply()
        peer.expect_closed()
        stats = proxy.pool_stats()
        server_stats = stats["s00"]
        # The request timed out, and then the connection, after a second timeout without a byte from the server.
        assert (server_stats["server_eof"], server_stats["server_err"], server_stats["server_timedout"]) == (1, 2, 2)
        assert server_stats["server_connections"] == 0
        assert stats["forward_error"] == 4
        assert (server_stats["requests"], server_stats["responses"]) == (4, 0)


def test_protocol_errors_of_clients_are_errors(configured: Configure, proxy: ServedPools) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as own:
        client = own.client()
        client.send(b"*1\r\n$x\r\n")
        client.reply()
        client.expect_closed()
        own.wait_stats(lambda pool: pool["client_err"] == 1, "the error is counted")
        quitting = own.client()
        assert quitting.ask("QUIT") == OK
        quitting.expect_closed()
        own.wait_stats(lambda pool: pool["client_eof"] == 1, "the end is counted")


def test_gauges_of_a_unix_socket_server_are_never_negative(configured: Configure, servers: list[RedisServer]) -> None:
    with RedisServer() as server, configured(redis_pool(server.path)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        assert proxy.server_stats()["server_connections"] == 1
        server.kill()
        proxy.wait_stats(lambda pool: pool["s00"]["server_eof"] == 1, "the closed connection is counted")
        assert proxy.server_stats()["server_connections"] == 0


def test_names_are_escaped() -> None:
    with ScriptedServer() as server:
        name = "a\\b\\u2028é"
        pool = {**redis_pool(), "servers": [f"{server.address}:1 {name}"]}
        with Proxy({"alpha": pool}) as proxy:
            assert name in proxy.stats()["alpha"]


def test_stats_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "stats.sock"
    with ScriptedServer() as server, Proxy(redis_pool(server), "-a", str(path)):
        wait_until(path.exists, "the stats socket is there")
        with connect_unix(str(path)) as connection:
            assert json.loads(connection.read_to_end())["service"] == "nutcracker"


@pytest.mark.parametrize(
    "input_bytes",
    [
        *(b"%s / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % method for method in (b"GET", b"POST", b"PUT")),
        b"DELETE /alpha HTTP/1.1\r\nHost: x\r\n\r\n",
        *(command("FLUSHALL"), command("SHUTDOWN"), command("CONFIG", "SET", "maxmemory", "1"), b"flush_all\r\n"),
        b"x" * 100_000,
    ],
)
def test_what_a_reader_sends_is_ignored(proxy: ServedPools, input_bytes: bytes) -> None:
    client = proxy.client()
    assert client.ask("SET", "k", "v") == OK
    pool = proxy.served_name()
    before = json.loads(proxy.stats_text())[pool]
    document = json.loads(proxy.stats_text(input_bytes))
    assert document["service"] == "nutcracker"
    assert document[pool] == before
    assert client.ask("GET", "k") == bulk("v")


def test_readers_that_do_not_read_hold_nobody_up(proxy: ServedPools) -> None:
    idle = [connect("127.0.0.1", proxy.stats_port) for _ in range(20)]
    assert proxy.stats()["service"] == "nutcracker"
    for connection in idle:
        connection.close()
