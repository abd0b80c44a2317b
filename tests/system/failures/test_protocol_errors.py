"""Requests that cannot be served: one error in place of the reply; a framing error ends the connection, as in redis."""

import pytest

from harness.connection import Connection
from harness.proxy import keys_of, redis_pool
from harness.resp import OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

ANSWERED = {
    "unknown": command("NOSUCHCOMMAND"),
    "unknown-with-arguments": command("nosuch", "a", "b c", ""),
    "unknown-with-many-arguments": command("nosuch", *(f"argument{i}" for i in range(60))),
    "unknown-with-long-name": command("x" * 300, "y" * 300),
    "unknown-with-control-bytes": command(b"no\x01such\xff", b"a\x02\xfe"),
    "get-without-key": command("GET"),
    "get-with-two-keys": command("GET", "a", "b"),
    "set-without-value": command("SET", "a"),
    "mget-without-keys": command("MGET"),
    "del-without-keys": command("del"),
    "mset-without-value": command("MSET", "a"),
    "mset-with-odd-arguments": command("MSET", "a", "1", "b"),
    "exists-without-keys": command("Exists"),
    "ping-with-two-messages": command("PING", "a", "b"),
    "echo-without-message": command("ECHO"),
    "echo-with-two-messages": command("ECHO", "a", "b"),
    "select-without-number": command("SELECT"),
    "select-with-two-numbers": command("SELECT", "0", "1"),
    "hset-odd": command("HSET", "h", "f"),
    "eval-without-numkeys": command("EVAL", "return 1"),
}

FRAMING = {
    "multibulk-length-letters": b"*abc\r\n",
    "multibulk-length-empty": b"*\r\n",
    "multibulk-length-sign": b"*+1\r\n$4\r\nPING\r\n",
    "multibulk-length-leading-zero": b"*01\r\n$4\r\nPING\r\n",
    "multibulk-length-space": b"* 1\r\n$4\r\nPING\r\n",
    "multibulk-length-wraps-32-bits": b"*4294967297\r\n$4\r\nPING\r\n",
    "multibulk-length-wraps-64-bits": b"*18446744073709551617\r\n$4\r\nPING\r\n",
    "no-bulk": b"*1\r\nPING\r\n",
    "no-bulk-in-the-middle": b"*2\r\n$3\r\nGET\r\n:1\r\n",
    "bulk-length-letters": b"*2\r\n$3\r\nGET\r\n$x\r\n",
    "bulk-length-empty": b"*2\r\n$3\r\nGET\r\n$\r\na\r\n",
    "bulk-length-negative": b"*2\r\n$3\r\nGET\r\n$-1\r\n",
    "bulk-length-leading-zero": b"*2\r\n$3\r\nGET\r\n$01\r\na\r\n",
    "bulk-length-sign": b"*2\r\n$3\r\nGET\r\n$+1\r\na\r\n",
    "bulk-length-wraps-32-bits": b"*2\r\n$3\r\nGET\r\n$4294967297\r\na\r\n",
    "bulk-length-over-512-mb": b"*2\r\n$3\r\nGET\r\n$536870913\r\n",
    "command-length-negative": b"*1\r\n$-4\r\nPING\r\n",
    "unbalanced-quotes": b'SET a "b\r\n',
    "quotes-inside-a-word": b'SET a "b"c\r\n',
    "unbalanced-single-quotes": b"GET 'a\r\n",
    "endless-inline": b"x" * 70000,
    "endless-multibulk-length": b"*" + b"1" * 70000,
    "endless-bulk-length": b"*1\r\n$" + b"1" * 70000,
}


@pytest.mark.parametrize("name", ANSWERED)
def test_bad_command_gets_the_error_redis_gives_and_the_connection_lives(
    client: Connection, servers: list[RedisServer], name: str
) -> None:
    direct = servers[0].connect()
    direct.send(ANSWERED[name])
    answer = direct.reply()
    assert answer.startswith(b"-ERR ")
    client.send(command("SET", "before", "1") + ANSWERED[name] + command("GET", "before"))
    client.expect(OK + answer + bulk("1"))


@pytest.mark.parametrize("name", FRAMING)
def test_framing_error_is_answered_as_redis_does_then_closed(
    client: Connection, servers: list[RedisServer], name: str
) -> None:
    direct = servers[0].connect()
    direct.send(FRAMING[name])
    answer = direct.read_to_end()
    assert answer.startswith(b"-ERR Protocol error: ")
    client.send(command("SET", "a", "1") + command("MGET", *(f"k{i}" for i in range(6))) + FRAMING[name])
    client.expect(OK + array(*[b"$-1\r\n"] * 6) + answer)
    client.expect_closed()


def test_requests_before_a_framing_error_are_answered_first(configured: Configure) -> None:
    with ScriptedServer() as slow, configured(redis_pool(slow)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a") + b"*1\r\n$x\r\n" + command("SET", "after", "1"))
        peer = slow.accept()
        assert peer.request() == [b"GET", b"a"]
        client.wait_consumed()
        assert client.collect() == b""
        peer.send(bulk("value"))
        client.expect(bulk("value") + error("ERR Protocol error: invalid bulk length"))
        client.expect_closed()
        assert peer.collect() == b"", "a request after a framing error was forwarded"


def test_nothing_of_a_request_with_a_framing_error_is_forwarded(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        broken, other = proxy.client(), proxy.client()
        broken.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$x\r\n")
        broken.expect(error("ERR Protocol error: invalid bulk length"))
        broken.expect_closed()
        other.send(command("GET", "a"))
        assert server.accept().request() == [b"GET", b"a"]


@pytest.mark.parametrize("request_bytes", [b"*0\r\n", b"*-1\r\n", b"*-5\r\n"])
def test_empty_requests_are_passed_over(client: Connection, request_bytes: bytes) -> None:
    client.send(request_bytes + command("PING") + request_bytes + command("PING"))
    client.expect(b"+PONG\r\n" * 2)


@pytest.mark.parametrize(
    "request_bytes",
    [
        command("EXEC"),
        command("KEYS", "*"),
        command("FLUSHALL"),
        command("FLUSHDB"),
        command("CONFIG", "SET", "save", ""),
        command("SHUTDOWN"),
        command("CLIENT", "TRACKING", "ON"),
        command("CLIENT", "PAUSE", "100"),
        command("MONITOR"),
        command("SWAPDB", "0", "1"),
        command("SCRIPT", "DEBUG", "YES"),
        command("REPLICAOF", "NO", "ONE"),
    ],
    ids=lambda request_bytes: request_bytes.split(b"\r\n")[2].decode(),
)
def test_refused_command_gets_one_error_that_names_it(
    client: Connection, servers: list[RedisServer], request_bytes: bytes
) -> None:
    name = request_bytes.split(b"\r\n")[2].decode()
    client.ask("SET", "k1", "kept")
    client.send(request_bytes + command("GET", "k1"))
    answer = client.reply()
    assert answer.startswith(b"-ERR ")
    assert name.lower() in answer.decode().lower()
    client.expect(bulk("kept"))


def test_errors_of_the_proxy_are_counted_on_no_server(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("MONITOR") + ANSWERED["get-without-key"])
        assert all(reply.startswith(b"-ERR ") for reply in client.replies(2))
        assert not server.has_connection()


def test_names_are_matched_whatever_their_case(client: Connection) -> None:
    client.send(command("sEt", "a", "5") + command("gEt", "a") + command("iNcR", "a") + command("pInG"))
    client.expect(OK + bulk("5") + integer(6) + b"+PONG\r\n")


def test_newer_argument_forms_are_forwarded(client: Connection) -> None:
    [key] = keys_of(1, 3)
    client.ask("SET", key, "v")
    assert client.ask("EXPIRE", key, "100", "NX") == integer(1)
    client.ask("ZADD", "z", "1", "m")
    assert client.ask("ZRANK", "z", "m", "WITHSCORE").startswith((b"-ERR ", b"*2"))


def test_a_client_that_errs_again_and_again_is_served(client: Connection) -> None:
    client.send((command("GET") + command("PING")) * 2000)
    wrong = error("ERR wrong number of arguments for 'get' command")
    client.expect((wrong + b"+PONG\r\n") * 2000)
