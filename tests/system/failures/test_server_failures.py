"""What clients get when a server cannot be reached, closes its connections, or sends malformed replies."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, keys_of, redis_pool
from harness.resp import OK, bulk, command, error
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

GARBAGE = {
    "letters": b"hello\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zero-byte": b"\x00\x00\x00\x00",
    "bulk-length-letters": b"$abc\r\n",
    "bulk-length-minus-two": b"$-2\r\n",
    "bulk-without-its-end": b"$3\r\nabcdef\r\n",
    "array-length-letters": b"*x\r\n",
    "array-of-garbage": b"*2\r\n:1\r\nxyz\r\n",
    "bulk-length-huge": b"$99999999999999999999\r\n",
    "array-length-huge": b"*99999999999999999999\r\n",
    "carriage-return-alone": b"+OK\rX",
    "memcached": b"VALUE k 0 1\r\n",
}


class Stage(NamedTuple):
    """A proxy, a client, and the scripted server of the pool."""

    proxy: ServedPools
    client: Connection
    server: ScriptedServer

    def asked(self, *arguments: str) -> Connection:
        """Send a command and return the server's end of the connection, which has read the command."""
        self.client.send(command(*arguments))
        peer = self.server.accept()
        assert peer.request() == [argument.encode() for argument in arguments]
        return peer


@pytest.fixture
def stage(configured: Configure) -> Iterator[Stage]:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        yield Stage(proxy, proxy.client(), server)


def test_refused(stage: Stage) -> None:
    stage.server.refuse()
    stage.client.send(command("GET", "a") + command("SET", "a", "1") + command("PING"))
    stage.client.expect(error("ERR Connection refused") * 2 + b"+PONG\r\n")


def test_reconnects_for_the_next_request(stage: Stage) -> None:
    stage.server.refuse()
    assert stage.client.ask("GET", "a") == error("ERR Connection refused")
    stage.server.listen()
    stage.asked("GET", "b").send(bulk("back"))
    stage.client.expect(bulk("back"))


def test_closed_with_requests_outstanding(stage: Stage) -> None:
    peer = stage.asked("GET", "a")
    stage.client.send(command("GET", "b"))
    assert peer.request() == [b"GET", b"b"]
    peer.close()
    stage.client.expect(error("ERR unknown") * 2)
    stage.asked("GET", "c").send(bulk("c"))
    stage.client.expect(bulk("c"))


def test_reset_with_requests_outstanding(stage: Stage) -> None:
    stage.asked("GET", "a").reset()
    stage.client.expect(error("ERR Connection reset by peer"))


def test_closed_in_the_middle_of_a_reply(stage: Stage) -> None:
    peer = stage.asked("GET", "a")
    peer.send(b"$10\r\nhalf")
    peer.close()
    stage.client.expect(error("ERR unknown"))
    stage.asked("GET", "b").send(bulk("whole"))
    stage.client.expect(bulk("whole"))


def test_reset_in_the_middle_of_a_reply(stage: Stage) -> None:
    peer = stage.asked("GET", "a")
    peer.send_pieces(b"*2\r\n:1\r\n")
    peer.reset()
    stage.client.expect(error("ERR Connection reset by peer"))


def test_answers_then_closes_at_once(stage: Stage) -> None:
    for round_number in range(20):
        peer = stage.asked("GET", "a")
        peer.send(bulk(round_number))
        peer.close()
        stage.client.expect(bulk(round_number))
        stage.proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the connection is closed")


def test_replies_that_came_before_the_end_are_delivered(stage: Stage) -> None:
    peer = stage.asked("GET", "a")
    stage.client.send(command("GET", "b"))
    assert peer.request() == [b"GET", b"b"]
    peer.send(bulk("A"))
    peer.close()
    stage.client.expect(bulk("A") + error("ERR unknown"))


def test_idle_end_is_noticed_before_the_next_request(stage: Stage) -> None:
    peer = stage.asked("GET", "a")
    peer.send(OK)
    stage.client.expect(OK)
    peer.close()
    stage.proxy.wait_stats(lambda pool: pool["s00"]["server_eof"] == 1, "the closed connection is counted")
    stage.asked("GET", "b").send(OK)
    stage.client.expect(OK)


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_costs_the_connection_only(stage: Stage, name: str) -> None:
    peer = stage.asked("GET", "a")
    stage.client.send(command("GET", "b"))
    assert peer.request() == [b"GET", b"b"]
    peer.send(GARBAGE[name])
    stage.client.expect(error("ERR Invalid argument") * 2)
    peer.expect_closed()
    stage.asked("GET", "c").send(bulk("c"))
    stage.client.expect(bulk("c"))


def test_garbage_cut_at_every_byte(stage: Stage) -> None:
    for garbage in (b"*2\r\n:1\r\nxyz\r\n", b"$3\r\nabcdef\r\n", b"$-2\r\n"):
        for cut in range(1, len(garbage)):
            peer = stage.asked("GET", "a")
            peer.send_pieces(garbage[:cut])
            peer.send(garbage[cut:])
            stage.client.expect(error("ERR Invalid argument"))
            peer.expect_closed()


def test_stray_reply_costs_the_connection_only(stage: Stage) -> None:
    peer = stage.asked("GET", "a")
    peer.send(bulk("a") + bulk("nobody asked"))
    stage.client.expect(bulk("a"))
    peer.expect_closed()
    stage.asked("GET", "b").send(bulk("b"))
    stage.client.expect(bulk("b"))


def test_endless_status_line_takes_no_memory() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server)) as proxy:
        stage = Stage(proxy, proxy.client(), server)
        peer = stage.asked("GET", "a")
        before = proxy.memory()
        peer.send(b"+")
        for _ in range(256):
            peer.send(b"x" * 65536)
            stage.client.collect()
        assert proxy.memory() - before < 8 << 20


def test_unix_socket_is_missing(configured: Configure, tmp_path: Path) -> None:
    with configured(redis_pool(str(tmp_path / "none.sock"))) as proxy:
        client = proxy.client()
        client.send(command("GET", "a") + command("MGET", "a", "b") + command("PING"))
        client.expect(error("ERR No such file or directory") * 2 + b"+PONG\r\n")


def test_unix_socket_refuses(configured: Configure, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path / "dead.sock", listening=False) as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        assert client.ask("GET", "a") == error("ERR Connection refused")


def test_unix_socket_serves(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0].path, servers[1].path)) as proxy:
        client = proxy.client()
        assert client.ask("MSET", *(f"k{i // 2}" for i in range(40))) == OK
        assert client.ask("EXISTS", *(f"k{i}" for i in range(20))) == b":20\r\n"


def test_host_name_does_not_resolve(configured: Configure) -> None:
    with configured(redis_pool("nosuchhost.invalid:6379")) as proxy:
        client = proxy.client()
        client.send(command("GET", "a") + command("PING"))
        reply = client.reply()
        assert reply.startswith(b"-ERR Host is down: ")
        assert reply.endswith(f" (server nosuchhost.invalid:6379:1 of pool {proxy.served_name()})\r\n".encode())
        client.expect(b"+PONG\r\n")
        assert client.ask("MGET", "a", "b") == reply


def test_host_name_resolves(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(f"localhost:{servers[0].port}")) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        assert servers[0].ask("GET", "a") == bulk("1")


def test_one_dead_server_leaves_the_others_alone(configured: Configure, servers: list[RedisServer]) -> None:
    with (
        ScriptedServer(listening=False) as dead,
        configured(redis_pool(servers[0], dead, servers[2])) as proxy,
    ):
        client = proxy.client()
        stream = [(command("SET", f"k{i}", i), f"k{i}") for i in range(300)]
        client.send(b"".join(request for request, _ in stream))
        on_dead = set(keys_of(1, 3, 300))
        for _, key in stream:
            client.expect(error("ERR Connection refused") if key in on_dead else OK)


@pytest.mark.parametrize("word", ["OOM", "BUSY", "LOADING"])
def test_passing_troubles_of_a_server_are_errors_for_the_client(stage: Stage, word: str) -> None:
    stage.asked("GET", "a").send(error(f"{word} come back later"))
    assert stage.client.reply() == error(f"{word} come back later")
    assert stage.client.ask("PING") == b"+PONG\r\n"


def test_killed_server_comes_back(configured: Configure, servers: list[RedisServer]) -> None:
    with RedisServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        server.kill()
        proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the connection is closed")
        assert client.ask("GET", "a") == error("ERR Connection refused")
        server.start()
        assert client.ask("SET", "a", "2") == OK
        assert client.ask("GET", "a") == bulk("2")
