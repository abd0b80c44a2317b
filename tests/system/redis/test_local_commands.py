"""Commands that the proxy answers itself."""

import pytest

from harness.connection import Connection
from harness.proxy import redis_pool
from harness.resp import OK, bulk, command, error, message_end
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (command("PING"), b"+PONG\r\n"),
        (command("ping", "a message"), bulk("a message")),
        (command("PING", ""), bulk("")),
        (command("ECHO", b"\x00\r\n\xff"), bulk(b"\x00\r\n\xff")),
        (command("ECHO", "x" * 100_000), bulk("x" * 100_000)),
        (command("SELECT", "0"), OK),
    ],
    ids=["ping", "ping-message", "ping-empty", "echo-binary", "echo-long", "select-0"],
)
def test_answer_without_any_server(configured: Configure, request_bytes: bytes, answer: bytes) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(request_bytes)
        client.expect(answer)
        assert not server.has_connection()


def test_quit_is_answered_then_closed(client: Connection) -> None:
    client.send(command("SET", "a", "1") + command("QUIT") + command("SET", "a", "2"))
    client.expect(OK + OK)
    client.expect_closed()


def test_what_follows_quit_is_not_executed(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a") + command("QUIT") + command("SET", "a", "2"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        client.wait_consumed()
        assert client.collect() == b"", "QUIT was answered before the earlier request"
        peer.send(bulk("1"))
        client.expect(bulk("1") + OK)
        client.expect_closed()
        assert peer.collect() == b""


@pytest.mark.parametrize("number", ["16", "-1", "abc", ""])
def test_another_database_is_refused(client: Connection, number: str) -> None:
    client.send(command("SELECT", number) + command("PING"))
    assert client.reply().startswith(b"-ERR ")
    client.expect(b"+PONG\r\n")


def test_the_database_of_the_pool_is_selected_already(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0], redis_db=7)) as proxy:
        client = proxy.client()
        assert client.ask("SELECT", "7") == OK
        assert client.ask("SELECT", "0") == OK, "clients select 0 when they mean the pool's only database"
        assert client.ask("SELECT", "3").startswith(b"-ERR ")
        assert client.ask("SET", "k", "seven") == OK
        assert servers[0].ask("GET", "k", db=7) == bulk("seven")


def test_command_lists_what_is_supported(client: Connection, servers: list[RedisServer]) -> None:
    listed = client.ask("COMMAND")
    count = int(listed[1 : listed.index(b"\r\n")])
    assert count > 100
    assert client.ask("COMMAND", "COUNT") == b":%d\r\n" % count
    for name in (b"get", b"mset", b"zadd", b"eval", b"ping"):
        assert bulk(name) in listed
    assert bulk(b"shutdown") not in listed


@pytest.mark.parametrize("name", ["get", "set", "mget", "mset", "zadd", "incr"])
def test_command_info_has_the_shape_redis_gives(client: Connection, servers: list[RedisServer], name: str) -> None:
    ours, theirs = client.ask("COMMAND", "INFO", name), servers[0].ask("COMMAND", "INFO", name)
    assert shape(ours)[:2] == shape(theirs)[:2]
    head = theirs[: theirs.index(b"*", theirs.index(bulk(name)))]
    assert ours.startswith(head), "name and arity differ from those of redis"


CLUSTER_COMMANDS = ["", "INFO", "info x", "SLOTS", "SHARDS", "NODES", "KEYSLOT a", "KEYSLOT", "MYID", "HELP", "NO x"]


@pytest.mark.parametrize(
    "text", [*(f"CLUSTER {rest}" for rest in CLUSTER_COMMANDS), "READONLY", "READONLY x", "READWRITE", "ASKING"]
)
def test_without_a_cluster_the_errors_are_those_of_redis(
    anybody: Connection, servers: list[RedisServer], text: str
) -> None:
    expected = servers[0].ask(*text.split())
    anybody.send(command(*text.split()) + command("PING"))
    anybody.expect(expected + b"+PONG\r\n")


def test_clusterscan_says_what_to_use(anybody: Connection) -> None:
    assert anybody.ask("CLUSTERSCAN", 0) == error(
        "ERR 'clusterscan' is not available through this proxy: it needs a cluster, which this pool is not: SCAN goes"
        " through the keys of all its servers"
    )


def test_command_info_of_an_unknown_command_is_null(client: Connection) -> None:
    assert client.ask("COMMAND", "INFO", "nosuch") in (b"*1\r\n*-1\r\n", b"*1\r\n$-1\r\n")


def shape(reply: bytes) -> list[bytes]:
    """The array headers among the first lines of a reply, which show the depth and the lengths of its arrays."""
    assert message_end(reply) == len(reply)
    lines = reply.split(b"\r\n")
    return [line for line in lines[:8] if line.startswith(b"*")]
