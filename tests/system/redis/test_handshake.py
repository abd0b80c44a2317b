"""HELLO: clients of both protocol versions, with servers that support both versions or only one."""

from pathlib import Path

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

PONG = b"+PONG\r\n"
NIL = b"_\r\n"
NO_PROTOCOL = error("NOPROTO unsupported protocol version")
NO_AUTH = error("NOAUTH Authentication required")
HELLO_NEEDS_AUTH = error(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass>"
    " option can be used to authenticate the client and select the RESP protocol version at the same time"
)
HELLO_3 = command("HELLO", "3")
GREETED = b"%1\r\n$5\r\nproto\r\n:3\r\n"
"""A possible reply of a server to HELLO 3."""
FIELD = bulk("f") + bulk("v")
[A1, A2], [B1, B2], [C1, C2] = (keys_of(index, 3, 2) for index in range(3))


def is_greeting(reply: bytes, version: int) -> bool:
    """Whether a reply is the proxy's reply to HELLO in this version."""
    head = b"%7\r\n" if version == 3 else b"*14\r\n"
    return reply.startswith(head + bulk("server") + bulk("redis")) and bulk("proto") + integer(version) in reply


@pytest.fixture
def client3(client: Connection) -> Connection:
    """A client of ``proxy`` that has sent HELLO 3."""
    assert is_greeting(client.ask("HELLO", "3"), 3)
    return client


# --- versions --------------------------------------------------------------------------------------------------------


def test_replies_follow_the_version(client: Connection) -> None:
    client.ask("HSET", A1, "f", "v")
    for version, reply, null in [(2, b"*2\r\n", NULL), (3, b"%1\r\n", NIL), (2, b"*2\r\n", NULL), (3, b"%1\r\n", NIL)]:
        assert is_greeting(client.ask("HELLO", version), version)
        assert client.ask("HGETALL", A1) == reply + FIELD
        assert client.ask("GET", B1) == null
        assert client.ask("CLIENT", "GETNAME") == null
        assert is_greeting(client.ask("HELLO"), version)


def test_reset_leads_back_to_version_2(client3: Connection) -> None:
    client3.send(command("GET", A1) + command("RESET") + command("GET", A1))
    client3.expect(NIL + b"+RESET\r\n" + NULL)


def test_requests_may_follow_at_once(configured: Configure, servers: list[RedisServer]) -> None:
    """With a new proxy, which first asks its servers whether they support version 3."""
    with configured(redis_pool(*servers)) as proxy:
        client = proxy.client()
        sets = b"".join(command("HSET", key, "f", "v") for key in (A1, B1, C1))
        maps = b"".join(command("HGETALL", key) for key in (A1, B1, C1))
        client.send(sets + maps + HELLO_3 + maps + command("PING") + command("HELLO", "2") + maps)
        client.expect(integer(1) * 3 + (b"*2\r\n" + FIELD) * 3)
        assert is_greeting(client.reply(), 3)
        client.expect((b"%1\r\n" + FIELD) * 3 + PONG)
        assert is_greeting(client.reply(), 2)
        client.expect((b"*2\r\n" + FIELD) * 3)


def test_both_versions_side_by_side(proxy: ServedPools, client3: Connection) -> None:
    client2 = proxy.client()
    client2.ask("HSET", A1, "f", "v")
    for _ in range(50):
        client2.send(command("HGETALL", A1) + command("GET", B1))
        client3.send(command("HGETALL", A1) + command("GET", B1))
    client2.expect((b"*2\r\n" + FIELD + NULL) * 50)
    client3.expect((b"%1\r\n" + FIELD + NIL) * 50)


def test_split_requests_in_version_3(client3: Connection) -> None:
    assert client3.ask("MSET", A1, "a", B1, "b", C1, "c") == OK
    assert client3.ask("MGET", C1, A2, B1, A1, C2) == array(bulk("c"), NIL, bulk("b"), bulk("a"), NIL)
    assert client3.ask("MGET", A1, A2) == array(bulk("a"), NIL)
    assert client3.ask("EXISTS", A1, B1, C1, C2) == integer(3)
    assert client3.ask("DEL", A1, B1, C1, C2) == integer(3)


@pytest.mark.parametrize(("version", "null"), [(2, NULL), (3, NIL)])
def test_keys_of_a_server_that_fails_are_missing(
    configured: Configure, servers: list[RedisServer], version: int, null: bytes
) -> None:
    with (
        ScriptedServer(listening=False) as down,
        configured(redis_pool(servers[0], down, servers[2], partial_reads="miss")) as proxy,
    ):
        client = proxy.client()
        assert is_greeting(client.ask("HELLO", version), version)
        client.ask("SET", A1, "a")
        assert client.ask("MGET", B1, A1, C1, B2) == array(null, bulk("a"), null, null)


# --- servers ---------------------------------------------------------------------------------------------------------


def test_two_clients_wait_for_one_answer(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        clients = [proxy.client(), proxy.client()]
        clients[0].send(HELLO_3 + command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"HELLO", b"3"]
        clients[1].send(HELLO_3 + command("GET", "b"))
        clients[1].wait_consumed()
        assert [client.collect() for client in clients] == [b"", b""]
        peer.send(GREETED)
        asked = server.accept()
        assert asked.request() == [b"INFO", b"server"]
        asked.send(bulk("# Server\r\nredis_version:7.0.15\r\n"))
        assert all(is_greeting(client.reply(), 3) for client in clients)
        assert sorted([peer.request(), peer.request()]) == [[b"GET", b"a"], [b"GET", b"b"]]
        assert not server.has_connection()


@pytest.mark.parametrize("reply", [NO_PROTOCOL, error("ERR unknown command `HELLO`, with args beginning with: `3`, ")])
def test_a_server_that_refuses(configured: Configure, reply: bytes) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(HELLO_3 + command("PING") + command("GET", "a"))
        asked = server.accept()
        assert asked.request() == [b"HELLO", b"3"]
        asked.send(reply)
        client.expect(NO_PROTOCOL + PONG)
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        peer.send(NULL)
        client.expect(NULL)
        assert is_greeting(client.ask("HELLO", "2"), 2)


def test_a_refusal_ejects_no_server(configured: Configure) -> None:
    with (
        ScriptedServer() as server,
        configured(redis_pool(server, auto_eject_hosts=True, server_failure_limit=1)) as proxy,
    ):
        client = proxy.client()
        client.send(HELLO_3)
        server.answer(NO_PROTOCOL)
        client.expect(NO_PROTOCOL)
        client.send(command("GET", "a"))
        server.answer(bulk("1"))
        client.expect(bulk("1"))


def test_a_client_that_leaves_while_servers_are_asked(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        leaving, staying = proxy.client(), proxy.client()
        leaving.send(HELLO_3)
        peer = server.accept()
        assert peer.request() == [b"HELLO", b"3"]
        staying.send(HELLO_3)
        staying.wait_consumed()
        leaving.reset()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 1, "the client is gone")
        peer.send(GREETED)
        assert is_greeting(staying.reply(), 3)


def test_no_server_can_be_reached(configured: Configure) -> None:
    with (
        ScriptedServer(listening=False) as first,
        ScriptedServer(listening=False) as second,
        configured(redis_pool(first, second)) as proxy,
    ):
        client = proxy.client()
        client.send(HELLO_3 + command("GET", "a") + command("PING"))
        assert is_greeting(client.reply(), 3)
        assert b"onnection refused" in client.reply()
        client.expect(PONG)


def test_a_server_that_is_away_does_not_speak_for_one_that_refuses(configured: Configure, tmp_path: Path) -> None:
    """With unix sockets, where the connection to the first server fails at once."""
    with (
        ScriptedServer(tmp_path / "first.sock", listening=False) as first,
        ScriptedServer(tmp_path / "second.sock") as second,
        configured(redis_pool(first, second)) as proxy,
    ):
        client = proxy.client()
        client.send(HELLO_3)
        second.answer(NO_PROTOCOL)
        client.expect(NO_PROTOCOL)


def test_push_messages_are_dropped(configured: Configure) -> None:
    push = b">2\r\n" + bulk("invalidate") + array(bulk("a"))
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(HELLO_3 + command("GET", "a") + command("GET", "b"))
        peer = server.answer(push + GREETED)
        assert is_greeting(client.reply(), 3)
        assert [peer.request(), peer.request()] == [[b"GET", b"a"], [b"GET", b"b"]]
        peer.send(push + NIL + push + push + bulk("b") + push)
        client.expect(NIL + bulk("b"))
        client.send(command("GET", "c"))
        assert peer.request() == [b"GET", b"c"]
        peer.send(bulk("c"))
        client.expect(bulk("c"))


# --- passwords and databases -----------------------------------------------------------------------------------------


def test_hello_with_a_password(configured: Configure) -> None:
    with RedisServer(password="pw") as server, configured(redis_pool(server, redis_auth="pw", redis_db=5)) as proxy:
        client = proxy.client()
        client.send(HELLO_3 + command("HELLO") + command("GET", "a"))
        client.expect(HELLO_NEEDS_AUTH * 2 + NO_AUTH)
        assert client.ask("HELLO", "3", "AUTH", "default", "wrong").startswith(b"-")
        assert client.ask("GET", "a") == NO_AUTH
        assert is_greeting(client.ask("HELLO", "3", "AUTH", "default", "pw", "SETNAME", "me"), 3)
        assert client.ask("CLIENT", "GETNAME") == bulk("me")
        client.send(command("HSET", "h", "f", "v") + command("HGETALL", "h"))
        client.expect(integer(1) + b"%1\r\n" + FIELD)
        assert server.ask("HGETALL", "h", db=5) == b"*2\r\n" + FIELD
        assert server.ask("DBSIZE") == integer(0)
        assert client.ask("RESET") == b"+RESET\r\n"
        assert client.ask("GET", "a") == NO_AUTH


def test_what_servers_are_told_first(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, redis_auth="pw", redis_db=5)) as proxy:
        client = proxy.client()
        client.send(command("HELLO", "3", "AUTH", "default", "pw") + command("GET", "a"))
        peer = server.accept()
        for request, reply in [([b"AUTH", b"pw"], OK), ([b"HELLO", b"3"], GREETED), ([b"SELECT", b"5"], OK)]:
            assert peer.request() == request
            peer.send(reply)
        assert peer.request() == [b"GET", b"a"]
        assert is_greeting(client.reply(), 3)
