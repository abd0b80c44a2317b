"""CLIENT commands about other clients of a pool, and CLIENT REPLY."""

import pytest

from harness.connection import Connection
from harness.proxy import keys_of, redis_pool
from harness.resp import OK, array, bulk, command, error, integer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

PONG = b"+PONG\r\n"
[A], [B] = (keys_of(index, 3) for index in range(2))
ON, OFF, SKIP = (command("CLIENT", "REPLY", word) for word in ("ON", "OFF", "SKIP"))
PING, END = command("PING"), command("ECHO", "the end")


def number_of(client: Connection) -> int:
    """The number in the reply to CLIENT ID."""
    return int(client.ask("CLIENT", "ID")[1:-2])


def listed(client: Connection, *arguments: str | int) -> list[dict[str, str]]:
    """The fields of each line of CLIENT LIST, or of another sub-command with such a reply."""
    text = client.ask("CLIENT", *(arguments or ("LIST",))).split(b"\r\n")[1].decode()
    return [dict(field.split("=", 1) for field in line.split(" ")) for line in text.splitlines()]


def test_clients_of_a_pool_see_each_other(configured: Configure, servers: list[RedisServer]) -> None:
    with configured({"alpha": redis_pool(*servers), "beta": redis_pool(*servers)}) as proxy:
        first, second, other = proxy.client("alpha"), proxy.client("alpha"), proxy.client("beta")
        first.send(command("CLIENT", "SETNAME", "first") + command("CLIENT", "SETINFO", "lib-name", "lib"))
        first.expect(OK * 2)
        assert first.ask("HELLO", "3").startswith(b"%7\r\n")
        assert second.ask("PING") == other.ask("PING") == PONG
        numbers = [number_of(first), number_of(second)]
        rows = listed(second)
        assert [int(row["id"]) for row in rows] == sorted(numbers)
        about_first = next(row for row in rows if row["name"] == "first")
        host, port = first.sock.getsockname()
        assert about_first["addr"] == f"{host}:{port}"
        assert about_first["laddr"] == proxy.listens["alpha"]
        assert (about_first["lib-name"], about_first["resp"]) == ("lib", "3")
        assert [row["id"] for row in listed(second, "LIST", "ID", numbers[0], 99999)] == [str(numbers[0])]
        assert [row["id"] for row in listed(second, "INFO")] == [str(numbers[1])]
        assert len(listed(other)) == 1


def test_what_clients_are_doing(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers)) as proxy:
        first, second = proxy.client(), proxy.client()
        assert list(listed(second)[0]) == [name for name in fields_of_redis(servers[0]) if name != "lib-name"] + [
            *("lib-name", "lib-ver")
        ]
        for words, known in {
            ("GET", A): "get",
            ("CLIENT", "ID"): "client|id",
            ("NOSUCH",): "NULL",
            ("MGET", A, B): "mget",
            ("CONFIG", "GET", "x"): "config|get",
            ("CONFIG", "NOSUCH"): "config",
        }.items():
            first.ask(*words)
            assert listed(second)[0]["cmd"] == known
        [_, own] = listed(second)
        assert (own["cmd"], own["qbuf"], own["events"]) == ("client|list", str(len(command("CLIENT", "LIST"))), "r")
        assert (own["oll"], own["omem"], own["tot-mem"]) == ("0", "0", own["qbuf"])
        first.send(command("BLPOP", A, 0))
        wait_until(lambda: listed(second)[0]["flags"] == "b", "the client is blocked")
        assert (listed(second)[0]["cmd"], listed(second)[0]["oll"]) == ("blpop", "1")


def fields_of_redis(server: RedisServer) -> list[str]:
    """The names of the fields in the server's CLIENT LIST."""
    text = server.ask("CLIENT", "LIST").split(b"\r\n")[1].decode()
    return [field.split("=", 1)[0] for field in text.splitlines()[0].split(" ")]


@pytest.mark.parametrize("by", ["id", "addr", "old form", "laddr"])
def test_killing_another(configured: Configure, servers: list[RedisServer], by: str) -> None:
    with configured(redis_pool(*servers, allow_commands="client|kill")) as proxy:
        victim, killer = proxy.client(), proxy.client()
        number = number_of(victim)
        address = "{}:{}".format(*victim.sock.getsockname())
        assert killer.ask("PING") == PONG
        words = {"id": ["ID", str(number)], "addr": ["ADDR", address], "old form": [address]}
        words["laddr"] = ["LADDR", proxy.listens["alpha"]]
        assert killer.ask("CLIENT", "KILL", *words[by]) == (OK if by == "old form" else integer(1))
        victim.expect_closed()
        assert killer.ask("CLIENT", "KILL", "ID", number) == integer(0)
        assert [row["id"] for row in listed(killer)] == [str(number_of(killer))]


@pytest.mark.parametrize("reason", [(), ("TIMEOUT",), ("error",)])
def test_unblocking(configured: Configure, servers: list[RedisServer], reason: tuple[str, ...]) -> None:
    with configured(redis_pool(*servers, allow_commands="client|unblock")) as proxy:
        waiting, other = proxy.client(), proxy.client()
        number = number_of(waiting)
        for _ in range(3):
            waiting.send(command("BLPOP", A, 0) + command("PING"))
            wait_until(lambda: b"flags=b" in servers[0].ask("CLIENT", "LIST"), "the client is blocked")
            assert other.ask("CLIENT", "UNBLOCK", number, *reason) == integer(1)
            answer = error("UNBLOCKED client unblocked via CLIENT UNBLOCK") if reason == ("error",) else b"*-1\r\n"
            waiting.expect(answer + PONG)
            assert other.ask("CLIENT", "UNBLOCK", number) == integer(0), "the client is not blocked"


def test_who_cannot_be_unblocked(configured: Configure, servers: list[RedisServer], client: Connection) -> None:
    refused = "ERR 'client|unblock' is not allowed in this pool: 'allow_commands: client|unblock' in its configuration"
    assert client.ask("CLIENT", "UNBLOCK", 1) == error(f"{refused} allows it")
    with configured(redis_pool(*servers, allow_commands="client|unblock")) as proxy:
        client = proxy.client()
        for words in ((), ("x",), (1, "x"), (1, "TIMEOUT", "x"), (99999,), (-1,), (number_of(client),)):
            answer = servers[0].ask("CLIENT", "UNBLOCK", *words)
            if len(words) == 3:
                answer = error("ERR wrong number of arguments for 'client|unblock' command")
            assert client.ask("CLIENT", "UNBLOCK", *words) == answer


def test_killing_oneself(client: Connection) -> None:
    number = number_of(client)
    assert client.ask("CLIENT", "KILL", "ID", number) == integer(0)
    client.send(command("CLIENT", "KILL", "ID", number, "SKIPME", "no") + PING)
    client.expect(integer(1))
    client.expect_closed()


# --- CLIENT REPLY ----------------------------------------------------------------------------------------------------

REQUESTS = {
    "forwarded": command("SET", A, "1"),
    "server error": command("LPUSH", "string", "1"),
    "split": command("MGET", A, B),
    "split sum": command("DEL", A, B),
    "split status": command("MSET", A, "1", B, "2"),
    "unknown": command("NOSUCH", "x"),
    "wrong arity": command("GET"),
    "local": PING,
    "local error": command("SELECT", "x"),
    "local map": command("HELLO", "2"),
}


def everything(connection: Connection, stream: bytes) -> bytes:
    """All replies to a stream, up to the reply to END, which is sent after the stream."""
    connection.send(stream + END)
    replies = [connection.reply()]
    while replies[-1] != bulk("the end"):
        replies.append(connection.reply())
    return b"".join(replies)


@pytest.mark.parametrize("request_bytes", REQUESTS.values(), ids=REQUESTS)
def test_unwanted_replies_are_those_redis_leaves_out(
    client: Connection, servers: list[RedisServer], request_bytes: bytes
) -> None:
    for server in servers:
        server.ask("SET", "string", "x")
    direct = servers[0].connect()
    for stream in (
        SKIP + request_bytes + PING,
        SKIP + SKIP + request_bytes + PING,
        SKIP + request_bytes + SKIP + request_bytes,
        SKIP + ON + PING,
        OFF + request_bytes + PING + request_bytes + ON + PING,
        OFF + SKIP + request_bytes + PING + ON + PING,
        SKIP + OFF + request_bytes + PING + ON,
        OFF + OFF + ON + ON,
    ):
        assert everything(client, stream) == everything(direct, stream)


@pytest.mark.parametrize(
    "request_bytes",
    [command("KEYS", "*"), command("RENAME", A, B), command("EVAL", "return 1", "0"), command("XREAD", "STREAMS")],
    ids=["refused", "several servers", "keyless", "no keys"],
)
def test_errors_of_the_proxy_are_left_out_too(client: Connection, request_bytes: bytes) -> None:
    assert everything(client, SKIP + request_bytes + PING) == PONG + bulk("the end")
    assert everything(client, OFF + request_bytes + PING + ON) == OK + bulk("the end")
    assert everything(client, request_bytes).startswith(b"-")


def test_what_gets_no_reply_is_done(client: Connection) -> None:
    client.send(OFF + b"".join(command("INCR", key) for key in (A, B) * 500) + ON + command("MGET", A, B))
    client.expect(OK + array(bulk("500"), bulk("500")))


def test_reset_turns_replies_on(client: Connection) -> None:
    client.send(OFF + command("RESET") + PING)
    client.expect(b"+RESET\r\n" + PONG)


def test_a_stranger_gets_no_replies_it_does_not_want(configured: Configure) -> None:
    with RedisServer(password="pw") as server, configured(redis_pool(server, redis_auth="pw")) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", "pw") == OK
        client.send(OFF + command("AUTH", "wrong") + command("GET", "a") + command("AUTH", "pw") + ON)
        client.expect(OK)
        client.send(command("AUTH", "wrong") + PING)
        client.expect(error("ERR invalid password") + error("NOAUTH Authentication required"))
