"""Replies that do not end: the client gets an error, and the proxy does not buffer the reply for ever."""

import pytest

from harness.proxy import Proxy, redis_pool
from harness.resp import OK, command, error
from harness.scripted_server import ScriptedServer
from harness.shared_proxy import Configure

TIMED_OUT = error("ERR Connection timed out")
INVALID = error("ERR Invalid argument")
MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [(b"*1000000000\r\n", b":1\r\n"), (b"$1000000000\r\n", b"x"), (b"", b"*1\r\n"), (b"", b"|1\r\n+a\r\n+b\r\n")],
    ids=["array", "string", "nested", "attributes"],
)
def test_one_that_drips_is_ended_after_a_second_timeout(configured: Configure, beginning: bytes, piece: bytes) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, timeout=200)) as proxy, proxy.client() as client:
        client.send(command("GET", "a"))
        peer = server.accept()
        peer.request()
        peer.send(beginning)
        while not peer.has_ended():
            peer.send(piece)
        client.expect(TIMED_OUT)
        client.send(command("SET", "b", "1"))
        server.answer(OK)
        client.expect(OK)
        assert proxy.server_stats()["server_timedout"] == 2


@pytest.mark.parametrize(
    "beginning", [b"*2147483648\r\n", b"%9999999999\r\n", b"$4294967297\r\n", b"|2147483648\r\n", b">2147483648\r\n"]
)
def test_one_that_no_server_has_is_ended_at_once(configured: Configure, beginning: bytes) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy, proxy.client() as client:
        client.send(command("GET", "a"))
        peer = server.answer(beginning)
        client.expect(INVALID)
        peer.expect_closed()


def test_one_that_memory_has_no_room_for_is_ended() -> None:
    with (
        ScriptedServer() as server,
        Proxy(redis_pool(server), "--max-memory=16mb") as proxy,
        proxy.client() as client,
    ):
        client.send(command("GET", "a"))
        peer = server.answer(b"$1000000000\r\n")
        piece = b"x" * MEBIBYTE
        sent = 0
        while not peer.has_ended():
            peer.send(piece)
            sent += 1
            assert sent < 200, "the proxy buffers a reply of any length"
        reply = client.reply()
        assert reply.startswith(b"-ERR out of memory: '--max-memory' leaves no room for the reply (server ")
        assert proxy.pool_stats()["server_ejects"] == 0
