"""Failures that happen while the bytes of a client are being read, and that close this same client."""

from pathlib import Path

from harness.proxy import Proxy, keys_of, owner, redis_pool
from harness.resp import bulk, command, error
from harness.scripted_server import ScriptedServer
from harness.waiting import wait_until

HELLO = b"%1\r\n+proto\r\n:3\r\n"
VERSION = bulk("# Server\r\nredis_version:7.0.15\r\n")


def test_a_client_that_is_ended_by_its_own_request_is_read_no_further(tmp_path: Path) -> None:
    """The client's first request has a server ejected, and its channel cannot be subscribed at the other server."""
    with (
        ScriptedServer(tmp_path / "first.sock") as first,
        ScriptedServer(tmp_path / "second.sock") as second,
        Proxy(
            redis_pool(first, second, auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=60_000)
        ) as proxy,
    ):
        worker = proxy.processes()[1]
        channel = next(name for name in keys_of(0, 2, 3) if owner(name, 2) == 0)
        with proxy.client() as client:
            client.send(command("HELLO", 3))
            shared = first.answer(HELLO)
            second.answer(HELLO)
            for server in (first, second):
                server.answer(VERSION).close()
            client.reply()
            client.send(command("SUBSCRIBE", channel))
            first.answer(b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:1\r\n" % (len(channel), channel.encode()))
            client.reply()
            shared.close()
            wait_until(lambda: proxy.server_stats("s00")["server_connections"] == 1, "the shared connection is closed")
            for server in (first, second):
                Path(server.address).unlink()
            client.send(command("GET", channel) + b"".join(command("GET", key) for key in keys_of(1, 2, 12)))
            assert client.read_to_end() in (b"", error("ERR No such file or directory"))
        assert proxy.processes()[1] == worker
        with proxy.client() as other:
            assert other.ask("PING") == b"+PONG\r\n"
