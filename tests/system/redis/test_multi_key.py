"""Commands that need all of their keys on one server: forwarded if one server has them all, otherwise refused."""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

CROSS_SERVER = error("CROSSSLOT Keys in request don't hash to the same server (use a hash tag)")
[A1, A2, A3], [B1] = keys_of(0, 3, 3), keys_of(1, 3)
REQUESTS = [
    "RENAME {a} {b}",
    "RENAMENX {a} {b}",
    "COPY {a} {b} REPLACE",
    "MSETNX {a} 1 {b} 2",
    "BITOP AND {b} {a} {c}",
    "LCS {a} {b}",
    "LMOVE {list} {b} LEFT RIGHT",
    "RPOPLPUSH {list} {b}",
    "SMOVE {set} {b} x",
    "SUNIONSTORE {b} {set} {c}",
    "SDIFF {set} {b}",
    "ZUNIONSTORE {b} 1 {zset}",
    "ZDIFF 2 {zset} {b}",
    "ZRANGESTORE {b} {zset} 0 -1",
    "PFMERGE {b} {c}",
    "PFCOUNT {b} {c}",
    "SORT {list} STORE {b}",
    "LMPOP 2 {list} {b} LEFT",
    "EVAL return{{KEYS[1],KEYS[2]}} 2 {a} {b}",
    "XREAD STREAMS {stream} {b} 0 0",
    "GEORADIUS {zset} 1 2 30000 km STORE {b}",
]


def names(tag: str, other: str) -> dict[str, str]:
    """Keys by purpose, with the hash tag ``tag``; only ``b`` has the hash tag ``other``."""
    return {name: f"{{{tag}}}{name}" for name in ("a", "c", "list", "set", "zset", "stream")} | {"b": f"{{{other}}}b"}


def fill(connection: Connection, keys: dict[str, str]) -> None:
    """Give the keys values of their types."""
    connection.ask("SET", keys["a"], "1")
    connection.ask("RPUSH", keys["list"], "3", "1", "2")
    connection.ask("SADD", keys["set"], "x")
    connection.ask("ZADD", keys["zset"], "1", "m")
    connection.ask("XADD", keys["stream"], "1-1", "f", "v")


def contents(servers: list[RedisServer]) -> list[bytes]:
    """The digest of each server's data, which shows any change."""
    return [server.ask("DEBUG", "DIGEST") for server in servers]


@pytest.fixture
def alone(reference: RedisServer) -> RedisServer:
    """An empty server that belongs to no pool."""
    assert reference.ask("FLUSHALL") == OK
    return reference


@pytest.fixture
def tagging(tagging_proxy: ServedPools, servers: list[RedisServer]) -> Iterator[Connection]:
    """A client of a pool with a hash tag; its ``servers`` are empty."""
    with tagging_proxy.client() as client:
        yield client


@pytest.fixture(scope="module")
def first_only_proxy(configured: Configure, running_servers: list[RedisServer]) -> Iterator[ServedPools]:
    with configured(redis_pool(running_servers[0])) as proxy:
        yield proxy


@pytest.fixture
def first_only(first_only_proxy: ServedPools, servers: list[RedisServer]) -> Iterator[Connection]:
    """A client of a pool with only the first of ``servers``, which are empty."""
    with first_only_proxy.client() as client:
        yield client


def compare(client: Connection, server: RedisServer, reference: RedisServer, text: str, keys: dict[str, str]) -> None:
    """A request gets the same reply and leaves the same data as on the reference server, which is asked directly."""
    direct = reference.connect()
    for connection in (client, direct):
        fill(connection, keys)
    words = text.format(**keys).split()
    assert client.ask(*words) == direct.ask(*words)
    assert contents([server]) == contents([reference])


@pytest.mark.parametrize("text", REQUESTS, ids=lambda text: text.split()[0])
def test_a_hash_tag_keeps_keys_together(
    tagging: Connection, servers: list[RedisServer], alone: RedisServer, text: str
) -> None:
    compare(tagging, servers[1], alone, text, names(B1, B1))


@pytest.mark.parametrize("text", REQUESTS, ids=lambda text: text.split()[0])
def test_keys_of_several_servers_are_refused_and_nothing_changes(
    tagging: Connection, servers: list[RedisServer], text: str
) -> None:
    keys = names(A1, B1)
    fill(tagging, keys)
    before = contents(servers)
    tagging.send(command(*text.format(**keys).split()) + command("PING"))
    tagging.expect(CROSS_SERVER + b"+PONG\r\n")
    assert contents(servers) == before


@pytest.mark.parametrize("text", REQUESTS, ids=lambda text: text.split()[0])
def test_one_server_has_all_keys(
    first_only: Connection, servers: list[RedisServer], alone: RedisServer, text: str
) -> None:
    compare(first_only, servers[0], alone, text, names(A1, B1))


def test_keys_may_meet_without_a_hash_tag(client: Connection) -> None:
    client.send(command("SET", A1, "1") + command("RENAME", A1, A2) + command("GET", A2) + command("GET", A1))
    client.expect(OK + OK + bulk("1") + NULL)
    client.send(command("MSETNX", A1, "1", A3, "3") + command("RENAME", A1, B1) + command("MGET", A1, B1))
    client.expect(integer(1) + CROSS_SERVER + array(bulk("1"), NULL))


def test_replies_keep_their_order_around_refusals(client: Connection) -> None:
    stream = command("INCR", A1) + command("RENAME", A1, B1) + command("INCR", B1)
    client.send(stream * 200)
    client.expect(b"".join(integer(i) + CROSS_SERVER + integer(i) for i in range(1, 201)))


def test_xread(client: Connection) -> None:
    entry = array(bulk("1-1"), array(bulk("f"), bulk("v")))
    for key in (A1, A2, B1):
        assert client.ask("XADD", key, "1-1", "f", "v") == bulk("1-1")
    stream = array(bulk(A1), array(entry))
    assert client.ask("XREAD", "COUNT", "1", "STREAMS", A1, "0") == array(stream)
    assert client.ask("XREAD", "STREAMS", A1, A2, "0", "0") == array(stream, array(bulk(A2), array(entry)))
    assert client.ask("XREAD", "STREAMS", A1, B1, "0", "0") == CROSS_SERVER
    assert client.ask("XGROUP", "CREATE", A1, "g", "0") == OK
    assert client.ask("XREADGROUP", "GROUP", "g", "c", "STREAMS", A1, ">") == array(stream)
    assert client.ask("XREAD", "BLOCK", "1", "STREAMS", A1, "$") == b"*-1\r\n"
    assert client.ask("XREAD", "STREAMS", A1) == error("ERR wrong number of arguments for 'xread' command")
    assert client.ask("XREAD", "STREAMS", A1, "0", "1").startswith(b"-ERR Unbalanced ")


def test_sort(client: Connection, first_only: Connection) -> None:
    client.ask("RPUSH", A1, "3", "1", "2")
    ordered = array(bulk("1"), bulk("2"), bulk("3"))
    assert client.ask("SORT", A1) == client.ask("SORT_RO", A1, "GET", "#") == ordered
    assert client.ask("SORT", A1, "BY", "nosort", "LIMIT", "0", "1") == array(bulk("3"))
    assert client.ask("SORT", A1, "STORE", A2) == integer(3)
    assert client.ask("LRANGE", A2, "0", "-1") == ordered
    for words in (["BY", "w_*"], ["GET", "d_*"], ["STORE", B1, "BY", "w_*"]):
        assert client.ask("SORT", A1, *words).startswith(b"-ERR 'sort' with BY or GET looks at keys ")
    first_only.send(command("MSET", "w_1", "9", "w_2", "1", "w_3", "5") + command("SORT", A1, "BY", "w_*"))
    first_only.expect(OK + array(bulk("2"), bulk("3"), bulk("1")))
