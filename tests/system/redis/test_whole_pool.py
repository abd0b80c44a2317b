"""Commands for every server of a redis pool: with real servers, and with errors, malformed replies and slow servers."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from harness import resp
from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer, ValkeyServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until
from twemproxy.protocol.redis.commands import COMMANDS, SHAPES_REPLIES, SUBCOMMANDS, Routing
from twemproxy.protocol.redis.resp_decoder import parse

PONG = b"+PONG\r\n"
NIL = b"_\r\n"
[A1, A2], [B1, B2], [C1, C2] = (keys_of(index, 3, 2) for index in range(3))
[LEFT], [RIGHT] = (keys_of(index, 2) for index in range(2))
EVERYWHERE = {row.name for row in (*COMMANDS, *SUBCOMMANDS.values()) if row.routing == Routing.EVERY_SERVER}
ALLOWED = " ".join(sorted({row.name for row in (*COMMANDS, *SUBCOMMANDS.values()) if row.permission}))
BODY = "return 'x'"
DIGEST = "18b7ac7a73a7a2e5cb8b9f0a5c1e0f2b3f6e0000"
LIBRARY = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
MISFIT = "ERR '{}' went to every server, and their replies do not fit together: ask the servers one by one"
SECOND_SERVER = 126470297 << 34
"""The cursor with which SCAN starts at s01, which it visits after s00."""


@pytest.fixture(scope="module")
def allowing_proxy(configured: Configure, running_servers: list[RedisServer]) -> Iterator[ServedPools]:
    with configured(redis_pool(*running_servers, allow_commands=ALLOWED, databases=4)) as proxy:
        yield proxy


@pytest.fixture(params=[2, 3])
def allowed(
    request: pytest.FixtureRequest, allowing_proxy: ServedPools, servers: list[RedisServer]
) -> Iterator[Connection]:
    """A client of either protocol version, in a pool that allows all commands."""
    with allowing_proxy.client() as client:
        assert client.ask("HELLO", request.param)[:1] in b"*%"
        yield client


def calls(server: RedisServer, name: str) -> int:
    """How many times a server has executed or rejected a command since CONFIG RESETSTAT."""
    pattern = rf"cmdstat_{re.escape(name)}:calls=(\d+),.*rejected_calls=(\d+)"
    found = re.search(pattern.encode(), server.ask("INFO", "commandstats"))
    return int(found[1]) + int(found[2]) if found else 0


def values(reply: bytes) -> Any:
    """The values of an array, or the keys and values of a map in turn."""
    return parse(reply)


# --- each command ----------------------------------------------------------------------------------------------------

ON_REAL_SERVERS: dict[str, tuple[str, bytes]] = {
    "acl|deluser": ("ACL DELUSER nobody", integer(0)),
    "acl|load": ("ACL LOAD", b"-ERR This Redis instance is not configured to use an ACL file"),
    "acl|save": ("ACL SAVE", b"-ERR This Redis instance is not configured to use an ACL file"),
    "acl|setuser": ("ACL SETUSER default on", OK),
    "bgsave": ("BGSAVE now", error("ERR syntax error")),
    "config|resetstat": ("CONFIG RESETSTAT", OK),
    "config|rewrite": ("CONFIG REWRITE", error("ERR The server is running without a config file")),
    "config|set": ("CONFIG SET slowlog-max-len 128", OK),
    "dbsize": ("DBSIZE", integer(3)),
    "debug": ("DEBUG SLEEP 0", OK),
    "flushall": ("FLUSHALL ASYNC", OK),
    "flushdb": ("FLUSHDB SYNC", OK),
    "function|delete": ("FUNCTION DELETE nosuch", error("ERR Library not found")),
    "function|flush": ("FUNCTION FLUSH", OK),
    "function|kill": ("FUNCTION KILL", error("NOTBUSY No scripts in execution right now.")),
    "function|load": ("FUNCTION LOAD x", error("ERR Missing library metadata")),
    "function|restore": ("FUNCTION RESTORE x", b"-ERR "),
    "keys": ("KEYS *", b"*3\r\n"),
    "lastsave": ("LASTSAVE", b":"),
    "latency|histogram": ("LATENCY HISTOGRAM nosuch", b""),
    "latency|history": ("LATENCY HISTORY command", array()),
    "latency|latest": ("LATENCY LATEST", array()),
    "latency|reset": ("LATENCY RESET", integer(0)),
    "memory|purge": ("MEMORY PURGE", OK),
    "module|load": ("MODULE LOAD /nosuch", b"-ERR "),
    "module|loadex": ("MODULE LOADEX /nosuch", b"-ERR "),
    "module|unload": ("MODULE UNLOAD nosuch", b"-ERR "),
    "pfselftest": ("PFSELFTEST", OK),
    "pubsub|channels": ("PUBSUB CHANNELS", array()),
    "pubsub|numpat": ("PUBSUB NUMPAT", integer(0)),
    "pubsub|numsub": ("PUBSUB NUMSUB a", array(bulk("a"), integer(0))),
    "pubsub|shardchannels": ("PUBSUB SHARDCHANNELS", array()),
    "pubsub|shardnumsub": ("PUBSUB SHARDNUMSUB a", array(bulk("a"), integer(0))),
    "randomkey": ("RANDOMKEY", b"$"),
    "script|exists": (f"SCRIPT EXISTS {DIGEST} {DIGEST}", array(integer(0), integer(0))),
    "script|flush": ("SCRIPT FLUSH", OK),
    "script|kill": ("SCRIPT KILL", error("NOTBUSY No scripts in execution right now.")),
    "script|load": ("SCRIPT LOAD return", b"$40\r\n"),
    "swapdb": ("SWAPDB 0 1", OK),
}
"""A request for each command, and the beginning of the reply when each of three servers has one key."""

ELSEWHERE = {"scan", "bgrewriteaof", "save", "shutdown", "commandlog|reset"}


def test_every_command_for_every_server_has_a_test() -> None:
    assert set(ON_REAL_SERVERS) | ELSEWHERE == EVERYWHERE


@pytest.mark.parametrize("name", ON_REAL_SERVERS)
def test_every_server_is_asked_once(name: str, allowed: Connection, servers: list[RedisServer]) -> None:
    text, beginning = ON_REAL_SERVERS[name]
    assert allowed.ask("MSET", A1, "a", B1, "b", C1, "c") == OK
    for server in servers:
        server.ask("CONFIG", "RESETSTAT")
    allowed.send(command(*text.split()) + command("GET", B1) + command("PING"))
    reply = allowed.reply()
    assert reply.startswith(beginning)
    assert allowed.reply() in ([NULL, NIL] if name in ("flushall", "flushdb", "swapdb") else [bulk("b")])
    assert allowed.reply() == PONG
    if name != "config|resetstat":
        assert [calls(server, name) for server in servers] == [1, 1, 1]


def test_keys_of_all_servers(allowed: Connection) -> None:
    assert allowed.ask("KEYS", "*") == array()
    assert allowed.ask("MSET", A1, "", A2, "", B1, "", "other", "") == OK
    assert sorted(resp.arguments(allowed.ask("KEYS", "k*"))) == sorted(map(str.encode, (A1, A2, B1)))
    assert allowed.ask("DBSIZE") == integer(4)


def test_random_keys_come_from_everywhere(allowed: Connection) -> None:
    assert allowed.ask("RANDOMKEY") in (NULL, NIL)
    allowed.ask("SET", B1, "")
    assert allowed.ask("RANDOMKEY") == bulk(B1)
    allowed.ask("MSET", A1, "", C1, "")
    assert {allowed.ask("RANDOMKEY") for _ in range(12)} == {bulk(A1), bulk(B1), bulk(C1)}


def test_flushing(allowed: Connection, servers: list[RedisServer]) -> None:
    for db in (0, 1):
        for server in servers:
            server.ask("SET", "x", "1", db=db)
    assert allowed.ask("FLUSHDB") == OK
    assert [server.ask("DBSIZE", db=0) for server in servers] == [integer(0)] * 3
    assert [server.ask("DBSIZE", db=1) for server in servers] == [integer(1)] * 3
    assert allowed.ask("FLUSHALL", "SYNC") == OK
    assert [server.ask("DBSIZE", db=1) for server in servers] == [integer(0)] * 3
    assert allowed.ask("FLUSHALL", "now") == error("ERR syntax error")


def test_functions_are_the_same_everywhere(allowed: Connection, servers: list[RedisServer]) -> None:
    assert allowed.ask("FUNCTION", "LOAD", LIBRARY) == bulk("lib")
    assert allowed.ask("FUNCTION", "LOAD", LIBRARY) == error("ERR Library 'lib' already exists")
    assert [allowed.ask("FCALL", "f", 1, key) for key in (A1, B1, C1)] == [integer(1)] * 3
    assert bulk("lib") in allowed.ask("FUNCTION", "LIST")
    dump = allowed.ask("FUNCTION", "DUMP")
    assert allowed.ask("FUNCTION", "DELETE", "lib") == OK
    assert allowed.ask("FCALL", "f", 1, B1) == error("ERR Function not found")
    assert allowed.ask("FUNCTION", "RESTORE", dump[dump.index(b"\n") + 1 : -2]) == OK
    assert [server.ask("FCALL", "f", 0) for server in servers] == [integer(1)] * 3
    assert allowed.ask("FUNCTION", "FLUSH") == OK
    assert [server.ask("FUNCTION", "LIST") for server in servers] == [array()] * 3


def test_where_servers_differ(allowed: Connection, servers: list[RedisServer]) -> None:
    """Only one server has the library or the user: all servers execute the command, and the reply is an error."""
    servers[1].ask("FUNCTION", "LOAD", LIBRARY)
    assert allowed.ask("FUNCTION", "DELETE", "lib") == error("ERR Library not found")
    assert servers[1].ask("FUNCTION", "LIST") == array()
    servers[2].ask("ACL", "SETUSER", "bob")
    assert allowed.ask("ACL", "DELUSER", "bob") == error(MISFIT.format("acl|deluser"))
    assert servers[2].ask("ACL", "GETUSER", "bob")[:3] in (NULL[:3], b"*-1")


def test_latency_is_that_of_the_pool(allowed: Connection, servers: list[RedisServer]) -> None:
    for server, seconds in zip(servers, ("0.002", "0.004", None), strict=True):
        server.ask("CONFIG", "RESETSTAT")
        server.ask("CONFIG", "SET", "latency-monitor-threshold", 1)
        if seconds:
            server.ask("DEBUG", "SLEEP", seconds)
        server.ask("CONFIG", "SET", "latency-monitor-threshold", 0)
    told = [row for server in servers for row in values(server.ask("LATENCY", "LATEST"))]
    samples = [sample for server in servers for sample in values(server.ask("LATENCY", "HISTORY", "command"))]
    assert len(told) == len(samples) == 2
    _, time, latency, _ = max(told)
    largest = max(row[3] for row in told)
    assert values(allowed.ask("LATENCY", "LATEST")) == [[b"command", time, latency, largest]]
    each_second = dict(sorted(samples))
    assert values(allowed.ask("LATENCY", "HISTORY", "command")) == [list(item) for item in each_second.items()]
    assert allowed.ask("LATENCY", "HISTORY", "nosuch") == array()
    assert values(allowed.ask("LATENCY", "HISTOGRAM", "debug", "nosuch"))[1][:2] == [b"calls", 2]
    assert allowed.ask("LATENCY", "RESET", "command") == integer(2)
    assert allowed.ask("LATENCY", "RESET") == integer(0)
    assert b"ask one server directly" in allowed.ask("LATENCY", "DOCTOR")


def test_a_script_is_killed_where_it_runs(configured: Configure) -> None:
    """The server reads nothing from the connection on which the script runs."""
    endless = "#!lua name=lib\nredis.register_function('f', function() while true do end end)"
    with (
        RedisServer() as first,
        RedisServer("--lua-time-limit", "1") as second,
        configured(redis_pool(first, second, databases=4, allow_commands="script function")) as proxy,
    ):
        client, other = proxy.client(), proxy.client()
        for kill, run, database in [("SCRIPT", "EVAL", 0), ("FUNCTION", "FCALL", 0), ("SCRIPT", "EVAL", 3)]:
            for connection in (client, other):
                connection.send(command("SELECT", database) + command("FUNCTION", "LOAD", "REPLACE", endless))
                connection.expect(OK + bulk("lib"))
            client.send(command(run, "f" if run == "FCALL" else "while true do end", 1, RIGHT))
            wait_until(lambda: second.connect().ask("PING").startswith(b"-BUSY"), "the script has run for too long")
            assert other.ask(kill, "KILL") == OK
            assert b"Script killed by user with " in client.reply()
            assert other.ask(kill, "KILL").startswith(b"-NOTBUSY")
            assert client.ask("GET", RIGHT) == NULL


def test_saving_and_shutting_down() -> None:
    with (
        RedisServer() as first,
        RedisServer() as second,
        Proxy(redis_pool(first, second, allow_commands="save bgrewriteaof shutdown")) as proxy,
    ):
        client = proxy.client()
        assert client.ask("SET", LEFT, "1") == OK
        assert client.ask("SAVE") == OK
        assert (first.directory / "dump.rdb").exists()
        assert (second.directory / "dump.rdb").exists()
        assert client.ask("BGREWRITEAOF") == b"+Background append only file rewriting started\r\n"
        client.send(command("SHUTDOWN", "NOSAVE", "FORCE") + command("PING"))
        assert client.reply().startswith(b"-ERR ")
        client.expect(PONG)
        for server in (first, second):
            assert server.process.wait(15) == 0
        assert client.ask("DBSIZE").startswith(b"-ERR ")


def test_what_only_newer_servers_have(configured: Configure, servers: list[RedisServer]) -> None:
    with (
        ValkeyServer() as first,
        ValkeyServer() as second,
        configured(redis_pool(first, second, allow_commands="commandlog|reset")) as proxy,
    ):
        client = proxy.client()
        client.send(command("COMMANDLOG", "RESET", "slow") + command("WAITAOF", 0, 0, 0) + command("WAIT", 0, 0))
        client.expect(OK + array(integer(0), integer(0)) + integer(0))
        assert client.ask("COMMANDLOG", "RESET", "x").startswith(b"-ERR ")
    with configured(redis_pool(*servers, allow_commands="commandlog|reset")) as proxy:
        assert proxy.client().ask("COMMANDLOG", "RESET", "slow").startswith(b"-ERR unknown command 'COMMANDLOG'")


# --- servers that fail -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripted(configured: Configure) -> Iterator[tuple[ScriptedServer, ScriptedServer, ServedPools]]:
    with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        configured(redis_pool(first, second, allow_commands=ALLOWED, databases=4)) as proxy,
    ):
        yield first, second, proxy


@pytest.fixture
def stage(
    scripted: tuple[ScriptedServer, ScriptedServer, ServedPools],
) -> Iterator[tuple[Connection, Connection, Connection]]:
    """A client, and the proxy's connections to two scripted servers."""
    first, second, proxy = scripted
    with proxy.client() as client:
        client.send(command("GET", LEFT) + command("GET", RIGHT))
        peers = first.answer(NULL), second.answer(NULL)
        client.expect(NULL + NULL)
        yield client, *peers
    for server in (first, second):
        server.reset()
    proxy.wait_stats(
        lambda pool: pool["s00"]["server_connections"] == pool["s01"]["server_connections"] == 0,
        "all connections are closed",
    )


def sample(name: str) -> list[str]:
    """A request of a command, or of a sub-command by its full name, with the smallest number of arguments."""
    row = SUBCOMMANDS.get(name) or next(row for row in COMMANDS if row.name == name)
    return [*name.split("|"), *["1"] * (abs(row.arity) - 1 - name.count("|"))]


def test_both_servers_get_the_request_and_an_error_is_the_reply(
    stage: tuple[Connection, Connection, Connection],
) -> None:
    client, first, second = stage
    elsewhere = {"scan", "script|kill", "function|kill"}
    for name in sorted(EVERYWHERE - elsewhere - SHAPES_REPLIES):
        words = sample(name)
        client.send(command(*words) + command("PING"))
        for peer in (first, second):
            assert peer.request() == [word.encode() for word in words]
        second.send(error("ERR it will not"))
        first.send(error("ERR neither"))
        client.expect(error("ERR neither") + PONG)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("DBSIZE", integer(1)),
        ("LASTSAVE", integer(1)),
        ("KEYS *", array()),
        ("FLUSHALL", OK),
        ("LATENCY RESET", integer(1)),
        ("SHUTDOWN", OK),
        ("SWAPDB 1 2", OK),
        ("PUBSUB NUMSUB x", array(bulk("x"), integer(1))),
    ],
)
@pytest.mark.parametrize(
    "nonsense", [bulk("nonsense"), b":x\r\n", b"_\r\n", b"%1\r\n:1\r\n:2\r\n", b"*1\r\n" * 3000 + b":1\r\n"]
)
def test_nonsense_is_one_clear_error(
    stage: tuple[Connection, Connection, Connection], text: str, good: bytes, nonsense: bytes
) -> None:
    client, first, second = stage
    client.send(command(*text.split()) + command("GET", RIGHT) + command("PING"))
    first.request()
    first.send(good)
    assert [second.request()[0], second.request()[0]] == [text.split()[0].encode(), b"GET"]
    second.send(nonsense + bulk("right"))
    name = "|".join(text.lower().split()[: 2 if text[:6] in ("LATENC", "PUBSUB") else 1])
    client.expect(error(MISFIT.format(name)) + bulk("right") + PONG)


def test_bytes_that_are_no_reply_end_the_server_connection(stage: tuple[Connection, Connection, Connection]) -> None:
    client, first, second = stage
    client.send(command("DBSIZE") + command("PING"))
    assert first.request() == second.request() == [b"DBSIZE"]
    first.send(integer(1))
    second.send(b"nonsense\r\n")
    client.expect(error("ERR Invalid argument") + PONG)
    second.read_to_end()
    client.send(command("GET", LEFT))
    assert first.request() == [b"GET", LEFT.encode()]


def test_a_server_that_goes_away(stage: tuple[Connection, Connection, Connection]) -> None:
    client, first, second = stage
    client.send(command("DBSIZE") + command("GET", LEFT) + command("SCAN", SECOND_SERVER) + command("PING"))
    assert first.request() == second.request() == [b"DBSIZE"]
    assert first.request() == [b"GET", LEFT.encode()]
    first.send(integer(1) + bulk("left"))
    assert second.request() == [b"SCAN", b"0"]
    second.close()
    reply = client.reply()
    assert reply.startswith(b"-ERR ")
    client.expect(bulk("left") + reply + PONG)


def test_a_server_that_is_down(configured: Configure, servers: list[RedisServer]) -> None:
    with ScriptedServer(listening=False) as down, configured(redis_pool(servers[0], down, servers[2])) as proxy:
        client = proxy.client()
        refused = error("ERR Connection refused")
        for text in (
            "DBSIZE",
            "RANDOMKEY",
            "SCRIPT LOAD return",
            f"SCAN {SECOND_SERVER}",
            "LASTSAVE",
            "PUBSUB CHANNELS",
            "WAIT 0 0",
        ):
            client.send(command("SET", A1, "a") + command(*text.split()) + command("GET", A1) + command("PING"))
            client.expect(OK + refused + bulk("a") + PONG)
        assert client.ask("SCAN", 0)[:2] == b"*2"


def test_an_ejected_server_is_asked_as_well(configured: Configure, servers: list[RedisServer]) -> None:
    """A command for all servers is sent to ejected servers, too, and fails if they fail."""
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 600_000}
    with ScriptedServer(listening=False) as down, configured(redis_pool(servers[0], down, **directives)) as proxy:
        client = proxy.client()
        assert client.ask("GET", RIGHT) == error("ERR Connection refused")
        assert client.ask("GET", RIGHT) == NULL
        assert client.ask("SCRIPT", "LOAD", BODY) == error("ERR Connection refused")


def test_a_reply_that_takes_too_long(configured: Configure) -> None:
    with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        configured(redis_pool(first, second, timeout=100)) as proxy,
    ):
        client = proxy.client()
        client.send(command("DBSIZE") + command("PING"))
        first.answer(integer(1))
        second.accept()
        client.expect(error("ERR Connection timed out") + PONG)


# --- order -----------------------------------------------------------------------------------------------------------


def test_order_of_replies_when_one_server_is_slow(stage: tuple[Connection, Connection, Connection]) -> None:
    client, first, second = stage
    client.send(command("GET", LEFT) + command("DBSIZE") + command("GET", RIGHT) + command("KEYS", "*"))
    client.send(command("PING") + command("SCAN", 0) + command("MGET", LEFT, RIGHT))
    assert [first.request()[0] for _ in range(5)] == [b"GET", b"DBSIZE", b"KEYS", b"SCAN", b"mget"]
    assert [second.request()[0] for _ in range(4)] == [b"DBSIZE", b"GET", b"KEYS", b"mget"]
    second.send(integer(2) + bulk("right") + array(bulk("b")) + array(bulk("r")))
    first.send(bulk("left"))
    client.expect(bulk("left"))
    assert client.collect() == b"", "the first server has not answered DBSIZE"
    first.send(integer(1))
    client.expect(integer(3) + bulk("right"))
    first.send(array(bulk("a")) + array(bulk(0), array(bulk("a"))) + array(bulk("l")))
    client.expect(array(bulk("a"), bulk("b")) + PONG + array(bulk(SECOND_SERVER), array(bulk("a"))))
    client.expect(array(bulk("l"), bulk("r")))


def test_long_pipelines(allowed: Connection) -> None:
    allowed.send(
        (command("INCR", A1) + command("DBSIZE") + command("SCRIPT", "EXISTS", DIGEST) + command("PING")) * 400
    )
    for i in range(1, 401):
        allowed.expect(integer(i) + integer(1) + array(integer(0)) + PONG)


def test_clients_that_want_no_replies(allowed: Connection, servers: list[RedisServer]) -> None:
    allowed.send(command("CLIENT", "REPLY", "SKIP") + command("SCRIPT", "LOAD", BODY) + command("DBSIZE"))
    allowed.expect(integer(0))
    allowed.send(command("SET", B1, "1") + command("CLIENT", "REPLY", "SKIP") + command("SCAN", 0) + command("DBSIZE"))
    allowed.expect(OK + integer(1))
    allowed.send(command("CLIENT", "REPLY", "OFF") + command("DBSIZE") + command("SCAN", "x") + command("KEYS", "*"))
    allowed.send(command("FLUSHALL") + command("NOSUCH") + command("FUNCTION", "LOAD", "x") + command("RANDOMKEY"))
    allowed.send(command("CLIENT", "REPLY", "ON") + command("DBSIZE"))
    allowed.expect(OK + integer(0))
    allowed.send(command("CLIENT", "REPLY", "SKIP") + command("CONFIG", "SET", "nosuch", 1) + command("PING"))
    allowed.expect(PONG)


def test_clients_that_leave_while_servers_are_asked(stage: tuple[Connection, Connection, Connection]) -> None:
    client, first, second = stage
    client.send(command("DBSIZE"))
    for peer in (first, second):
        assert peer.request() == [b"DBSIZE"]
    first.send(integer(1))
    client.reset()
    second.send(integer(2))
    first.wait_consumed()
    second.wait_consumed()


def test_large_replies_are_put_together(allowed: Connection) -> None:
    keys = [f"{'x' * 500}{number}" for number in range(6000)]
    allowed.send(b"".join(command("SET", key, "") for key in keys))
    allowed.expect(OK * len(keys))
    assert sorted(resp.arguments(allowed.ask("KEYS", "*"))) == sorted(key.encode() for key in keys)
