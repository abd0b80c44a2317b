"""allow_commands and deny_commands: which commands are refused, with which errors, and how COMMAND describes them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import resp
from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool, run
from harness.redis_replies import tree
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from twemproxy.protocol.redis.commands import COMMANDS, PERMITTED_BY_DIRECTIVE, SUBCOMMANDS

PONG = b"+PONG\r\n"
[A1], [B1], [C1] = (keys_of(index, 3) for index in range(3))
NEEDY = sorted(row.name for row in (*COMMANDS, *SUBCOMMANDS.values()) if row.permission)
NOT_ALLOWED = "ERR '{0}' is not allowed in this pool: 'allow_commands: {0}' in its configuration allows it"
DENIED = "ERR '{}' is not available in this pool: 'deny_commands' in its configuration refuses it"
DENIALS = "get mget eval select client|kill client|reply command|docs config|get acl|whoami script|load publish ping"
MORE_DENIALS = "flushall object subscribe multi blpop wait scan function latency|help"


def sample(name: str) -> list[str]:
    """A request of a command, or of a sub-command by its full name, with the smallest number of arguments."""
    row = SUBCOMMANDS.get(name) or next(row for row in COMMANDS if row.name == name)
    return [*name.split("|"), *["1"] * (abs(row.arity) - 1 - name.count("|"))]


def names_in(listed: bytes) -> set[str]:
    """The names in a reply to COMMAND LIST, without those of sub-commands."""
    return {name.decode() for name in resp.arguments(listed) if b"|" not in name}


def info(client: Connection, name: str) -> list[object]:
    """The fields that COMMAND INFO shows of a command; empty if the reply is null."""
    _, found = tree(client.ask("COMMAND", "INFO", name))
    assert isinstance(found, list)
    [(_, fields)] = found
    return fields if isinstance(fields, list) else []


def subcommands(client: Connection, container: str) -> set[str]:
    """The names of the sub-commands that COMMAND INFO shows of a container command."""
    listed: Any = info(client, container)[9]
    return {fields[0][1].decode() for _, fields in listed[1]}


# --- allow_commands --------------------------------------------------------------------------------------------------


def test_what_needs_permission_is_refused_and_reaches_nobody(configured: Configure) -> None:
    with ScriptedServer() as first, ScriptedServer() as second, configured(redis_pool(first, second)) as proxy:
        client = proxy.client()
        for name in NEEDY:
            client.send(command(*sample(name)) + command(*map(str.upper, sample(name))) + command("PING"))
            client.expect(error(NOT_ALLOWED.format(name)) * 2 + PONG)
        client.send("".join(" ".join(sample(name)) + "\r\n" for name in NEEDY).encode())
        client.expect(b"".join(error(NOT_ALLOWED.format(name)) for name in NEEDY))
        assert not first.has_connection()
        assert not second.has_connection()


def test_in_a_pool_of_one_server_and_in_transactions(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0])) as proxy:
        client = proxy.client()
        assert client.ask("SET", "k", "1") == OK
        for name in NEEDY:
            assert client.ask(*sample(name)) == error(NOT_ALLOWED.format(name))
            client.send(command("MULTI") + command(*sample(name)) + command("EXEC"))
            client.expect(OK + error(NOT_ALLOWED.format(name)))
            assert client.reply().startswith(b"-EXECABORT ")
        assert client.ask("GET", "k") == bulk("1")


@pytest.mark.parametrize("by", ["name", "container"])
def test_what_is_allowed_reaches_the_server(configured: Configure, by: str) -> None:
    """In a pool of one server, which can serve all of these commands."""
    allowed = NEEDY if by == "name" else sorted({name.split("|")[0] for name in NEEDY})
    with (
        ScriptedServer() as server,
        configured(redis_pool(server, databases=2, allow_commands=" ".join(allowed))) as proxy,
    ):
        client = proxy.client()
        client.send(command("GET", "k"))
        peer = server.answer(NULL)
        client.expect(NULL)
        private = None
        for name in NEEDY:
            if name.split("|")[0] in ("client", "function", "script", "slowlog"):
                # The proxy answers these, or sends them to connections for scripts: see test_client_command,
                # test_whole_pool.
                continue
            words = sample(name)
            client.send(command(*words))
            if name == "migrate":
                # MIGRATE uses a private connection, which is kept for the next client that needs one.
                if private is None:
                    private = server.accept()
                    # The proxy asks for the connection's id, because CLIENT UNBLOCK is allowed, too.
                    assert private.request() == [b"CLIENT", b"ID"]
                    private.send(integer(7))
                assert private.request() == [word.encode() for word in words]
                private.send(OK)
                client.expect(OK)
                continue
            assert peer.request() == [word.encode() for word in words]
            peer.send(OK)
            client.expect(OK)


def test_a_permission_is_for_nothing_else(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, allow_commands="config|set flushdb")) as proxy:
        client = proxy.client()
        assert client.ask("CONFIG", "SET", "slowlog-max-len", 128) == OK
        assert client.ask("FLUSHDB") == OK
        for text in ("CONFIG REWRITE", "CONFIG RESETSTAT", "FLUSHALL", "KEYS *"):
            name = text.lower().replace(" ", "|").removesuffix("|*")
            assert client.ask(*text.split()) == error(NOT_ALLOWED.format(name))


def test_migrating(configured: Configure, servers: list[RedisServer]) -> None:
    with RedisServer() as target, configured(redis_pool(*servers, allow_commands="migrate")) as proxy:
        client = proxy.client()
        first, second, third = keys_of(1, 3, 3)
        client.send(command("MSET", first, 1, second, 2, third, 3, A1, 4))
        client.send(command("MIGRATE", "127.0.0.1", target.port, first, 0, 5000))
        client.send(command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", second, third))
        client.send(command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", third, A1))
        client.send(command("MGET", first, second, third, A1))
        client.expect(OK + OK + OK)
        assert client.reply().startswith(b"-CROSSSLOT ")
        client.expect(array(NULL, NULL, NULL, bulk(4)))
        assert target.ask("MGET", first, second, third) == array(bulk(1), bulk(2), bulk(3))


# --- deny_commands ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def denying_proxy(configured: Configure, running_servers: list[RedisServer]) -> Iterator[ServedPools]:
    directives = {"deny_commands": f"{DENIALS} {MORE_DENIALS}", "allow_commands": "flushall keys function"}
    with configured(redis_pool(*running_servers, **directives)) as proxy:
        yield proxy


@pytest.fixture
def denied(denying_proxy: ServedPools, servers: list[RedisServer]) -> Iterator[Connection]:
    with denying_proxy.client() as client:
        yield client


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("GET k", "get"),
        ("gEt k", "get"),
        ("MGET a b c", "mget"),
        ("EVAL x 1 a", "eval"),
        ("SELECT 0", "select"),
        ("CLIENT KILL ID 1", "client|kill"),
        ("client Kill x", "client|kill"),
        ("CLIENT REPLY OFF", "client|reply"),
        ("COMMAND DOCS", "command|docs"),
        ("CONFIG GET *", "config|get"),
        ("ACL WHOAMI", "acl|whoami"),
        ("SCRIPT LOAD x", "script|load"),
        ("PUBLISH a b", "publish"),
        ("PING", "ping"),
        ("FLUSHALL", "flushall"),
        ("OBJECT ENCODING k", "object"),
        ("OBJECT HELP", "object"),
        ("SUBSCRIBE a", "subscribe"),
        ("MULTI", "multi"),
        ("BLPOP a 0", "blpop"),
        ("WAIT 0 0", "wait"),
        ("SCAN 0", "scan"),
        ("FUNCTION LIST", "function"),
        ("FUNCTION FLUSH", "function"),
        ("FUNCTION NOSUCH", "function"),
        ("LATENCY HELP", "latency|help"),
        ("GET", "get"),
        ("GET a b", "get"),
    ],
)
def test_what_is_denied_is_refused(denied: Connection, text: str, name: str) -> None:
    denied.send(command(*text.split()) + command("ECHO", "on") + text.encode() + b"\r\n" + command("ECHO", "on"))
    reply = denied.reply()
    assert reply in (error(DENIED.format(name)), error(f"ERR wrong number of arguments for '{name}' command"))
    assert reply == error(DENIED.format(name)) or text in ("GET", "GET a b", "OBJECT HELP")
    denied.expect(bulk("on") + reply + bulk("on"))


def test_what_is_not_denied_works(denied: Connection) -> None:
    denied.send(command("SET", A1, "a") + command("KEYS", "*") + command("CLIENT", "GETNAME"))
    denied.expect(OK + array(bulk(A1)) + NULL)
    assert denied.ask("COMMAND", "COUNT")[:1] == b":"
    assert denied.ask("LATENCY", "NOSUCH") == error("ERR unknown subcommand 'NOSUCH'. Try LATENCY HELP.")
    assert denied.ask("SCRIPT", "EXISTS", "x") == array(integer(0))


def test_a_denied_subcommand_of_client_does_nothing(denying_proxy: ServedPools, denied: Connection) -> None:
    other = denying_proxy.client()
    assert other.ask("ECHO", "x") == bulk("x")
    assert denied.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no") == error(DENIED.format("client|kill"))
    assert other.ask("ECHO", "x") == bulk("x")


def test_in_a_transaction(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, deny_commands="get client|kill exec")) as proxy:
        client = proxy.client()
        client.send(command("MULTI") + command("SET", A1, "a") + command("GET", A1) + command("CLIENT", "KILL", "x"))
        client.expect(OK + b"+QUEUED\r\n" + error(DENIED.format("get")) + error(DENIED.format("client|kill")))
        assert client.ask("EXEC") == error(DENIED.format("exec"))
        assert client.ask("DISCARD") == OK
        assert servers[0].ask("GET", A1) == NULL


SCRIPT = "return 1"
RUNNERS: list[list[str | int]] = [
    ["EVAL", SCRIPT, 1, A1],
    ["EVAL_RO", SCRIPT, 1, A1],
    ["EVALSHA", "x" * 40, 1, A1],
    ["EVALSHA_RO", "x" * 40, 1, A1],
    ["FCALL", "f", 1, A1],
    ["FCALL_RO", "f", 1, A1],
]


def test_eval_stands_for_every_way_to_run_a_script(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, deny_commands="eval", allow_commands="function")) as proxy:
        client = proxy.client()
        for words in RUNNERS:
            assert client.ask(*words) == error(DENIED.format(str(words[0]).lower()))
            client.send(command("MULTI") + command(*words) + command("DISCARD"))
            client.expect(OK + error(DENIED.format(str(words[0]).lower())) + OK)
        assert client.ask("SCRIPT", "LOAD", SCRIPT) == bulk("e0e1f9fabfc9d4800c877a703b823ac0578ff8db")
        assert client.ask("FUNCTION", "FLUSH") == OK


def test_a_category_stands_for_all_its_commands(configured: Configure, servers: list[RedisServer]) -> None:
    directives = {"deny_commands": '"@scripting @pubsub @hash object"', "allow_commands": '"@admin function script"'}
    with configured(redis_pool(*servers, **directives)) as proxy:
        client = proxy.client()
        others: list[list[str | int]] = [["HGET", A1, "f"], ["hMGet", A1, "f"], ["SUBSCRIBE", "c"], ["PUBLISH", "c", 1]]
        for words in RUNNERS + others:
            assert client.ask(*words) == error(DENIED.format(str(words[0]).lower()))
        for text in (
            "SCRIPT LOAD x",
            "SCRIPT FLUSH",
            "SCRIPT KILL",
            "FUNCTION LOAD x",
            "FUNCTION LIST",
            "PUBSUB NUMPAT",
        ):
            name = "|".join(text.lower().split()[:2])
            assert client.ask(*text.split()) == error(DENIED.format(name))
        assert names_in(client.ask("COMMAND", "LIST")).isdisjoint({"eval", "fcall_ro", "hget", "publish"})
        assert client.ask("CONFIG", "RESETSTAT") == OK
        assert client.ask("FLUSHALL") == error(NOT_ALLOWED.format("flushall"))
        assert client.ask("SET", A1, 1) == OK


def test_a_category_of_subcommands_that_are_not_told_apart_denies_their_container(
    configured: Configure, servers: list[RedisServer]
) -> None:
    with configured(redis_pool(*servers, deny_commands='"@keyspace"')) as proxy:
        client = proxy.client()
        assert client.ask("OBJECT", "ENCODING", A1) == error(DENIED.format("object"))
        assert client.ask("XINFO", "STREAM", A1) == error("ERR no such key")


def test_scripts_can_be_ended_without_permission(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers)) as proxy:
        client = proxy.client()
        assert client.ask("SCRIPT", "KILL") == error("NOTBUSY No scripts in execution right now.")
        assert client.ask("FUNCTION", "KILL") == error("NOTBUSY No scripts in execution right now.")


# --- COMMAND ---------------------------------------------------------------------------------------------------------


def test_command_knows_what_is_denied(denied: Connection, client: Connection) -> None:
    ours, plain = names_in(denied.ask("COMMAND", "LIST")), names_in(client.ask("COMMAND", "LIST"))
    gone = {name for name in f"{DENIALS} {MORE_DENIALS}".split() if "|" not in name}
    assert plain - ours == gone - {"flushall"} | {str(words[0]).lower() for words in RUNNERS}
    assert ours - plain == {"keys"}
    assert denied.ask("COMMAND", "COUNT") == integer(len(ours))
    assert len(tree(denied.ask("COMMAND"))[1]) == len(ours)  # type: ignore[arg-type]
    assert len(tree(denied.ask("COMMAND", "INFO"))[1]) == len(ours)  # type: ignore[arg-type]
    assert denied.ask("COMMAND", "INFO", "get", "eval", "function|list", "nosuch") == array(NULL, NULL, NULL, NULL)
    for words in (["GET", "k"], ["EVAL", "x", 1, "k"], ["OBJECT", "ENCODING", "k"]):
        assert denied.ask("COMMAND", "GETKEYS", *words) == error("ERR Invalid command specified")
    assert denied.ask("COMMAND", "GETKEYS", "SET", "k", "v") == array(bulk("k"))


def test_command_knows_what_needs_permission(
    configured: Configure, client: Connection, servers: list[RedisServer]
) -> None:
    with configured(redis_pool(*servers, allow_commands=f'"{" ".join(PERMITTED_BY_DIRECTIVE)}"')) as proxy:
        allowed = proxy.client()
        everything, plain = names_in(allowed.ask("COMMAND", "LIST")), names_in(client.ask("COMMAND", "LIST"))
        assert everything - plain == {name for name in NEEDY if "|" not in name}
        for name in NEEDY:
            assert client.ask("COMMAND", "INFO", name) == array(NULL)
            assert client.ask("COMMAND", "DOCS", name) == array()
            assert allowed.ask("COMMAND", "INFO", name) != array(NULL)
            assert allowed.ask("COMMAND", "DOCS", name) != array()
        assert client.ask("COMMAND", "GETKEYS", "MIGRATE", "h", 1, "k", 0, 0) == error("ERR Invalid command specified")
        assert allowed.ask("COMMAND", "GETKEYS", "MIGRATE", "h", 1, "k", 0, 0) == array(bulk("k"))


def test_command_knows_the_subcommands(
    configured: Configure, denied: Connection, client: Connection, servers: list[RedisServer]
) -> None:
    assert subcommands(client, "config") == {"config|get", "config|help"}
    assert subcommands(denied, "config") == {"config|help"}
    assert "script|load" in subcommands(client, "script")
    assert subcommands(denied, "script") == subcommands(client, "script") - {"script|load"}
    assert "command|docs" in subcommands(client, "command")
    assert subcommands(denied, "command") == subcommands(client, "command") - {"command|docs"}
    assert denied.ask("COMMAND", "INFO", "script|load") == array(NULL)
    assert client.ask("COMMAND", "INFO", "script|load") != array(NULL)
    with configured(redis_pool(*servers, allow_commands="config|set")) as proxy:
        allowed = proxy.client()
        assert subcommands(allowed, "config") == {"config|get", "config|help", "config|set"}
        assert bulk("config|set") in allowed.ask("COMMAND", "DOCS", "config")
        assert bulk("config|set") not in client.ask("COMMAND", "DOCS", "config")
        assert bulk("config|set") not in client.ask("COMMAND")


# --- the configuration -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "place", "reason"),
    [
        (
            ["redis: true", "allow_commands: flushall get"],
            "5:19",
            'pool "alpha": directive "allow_commands" names "get", which needs no permission or does not'
            " exist; docs/commands.md marks the commands that need it",
        ),
        (
            ["redis: true", "allow_commands: flushal"],
            "5:19",
            'pool "alpha": directive "allow_commands" names "flushal", which needs no permission or does not'
            ' exist; docs/commands.md marks the commands that need it, did you mean "flushall"?',
        ),
        (
            ["redis: true", "allow_commands: config|help"],
            "5:19",
            'pool "alpha": directive "allow_commands" names "config|help", which needs no permission or does not exist;'
            ' docs/commands.md marks the commands that need it, did you mean "config|set"?',
        ),
        (
            ["redis: true", "deny_commands: xyzzy"],
            "5:18",
            'pool "alpha": directive "deny_commands" names "xyzzy", which does not exist',
        ),
        (
            ["redis: true", 'deny_commands: "GET"'],
            "5:18",
            'pool "alpha": directive "deny_commands" names "GET", which does not exist, did you mean "get"?',
        ),
        (["redis: true", 'allow_commands: ""'], "5:19", 'pool "alpha": directive "allow_commands" is empty'),
        (["deny_commands: get"], "4:18", 'pool "alpha": directive "deny_commands" is only valid for a redis pool'),
        (
            ["redis: true", 'deny_commands: "@scriptin"'],
            "5:18",
            'pool "alpha": directive "deny_commands" names "@scriptin", which does not exist, did you mean'
            ' "@scripting"?',
        ),
        (
            ["redis: true", 'allow_commands: "@bitmap"'],
            "5:19",
            'pool "alpha": directive "allow_commands" names "@bitmap", which needs no permission or does not exist;'
            " docs/commands.md marks the commands that need it",
        ),
        (
            ["redis: true", "deny_commands: @scripting"],
            "5:18",
            "failed (err 3) to get the next yaml document: found character that cannot start any token while scanning"
            " for the next token: quote the @",
        ),
        (["databases: 2"], "4:14", 'pool "alpha": directive "databases" is only valid for a redis pool'),
        (
            ["redis: true", "databases: 10001"],
            "5:14",
            'pool "alpha": directive "databases" is not a number up to 10000: "10001"',
        ),
        (["redis: true", "databases: 0"], "5:14", 'pool "alpha": directive "databases" cannot be 0'),
        (["redis: true", "databases: many"], "5:14", 'pool "alpha": directive "databases" is not a number: "many"'),
        (["redis: true", "databases: -1"], "5:14", 'pool "alpha": directive "databases" is not a number: "-1"'),
        (
            ["redis: true", "databases: 4", "redis_db: 4"],
            "6:13",
            'pool "alpha": directive "redis_db" is 4, but "databases" is 4: databases are counted from 0',
        ),
        (
            ["redis: true", "blocking_connections: x"],
            "5:25",
            'pool "alpha": directive "blocking_connections" is not a number: "x"',
        ),
        (["redis: true", "allow_commands:", "  - flushall"], "6:5", "has more than one sequence directive"),
    ],
)
def test_mistakes_have_a_place_and_a_reason(tmp_path: Path, lines: list[str], place: str, reason: str) -> None:
    finished = check(tmp_path, lines)
    assert f"{tmp_path}/my.yml:{place}: {reason}\n" in finished
    assert "syntax is invalid" in finished


@pytest.mark.parametrize(
    "lines",
    [
        [
            "redis: true",
            "allow_commands: flushall keys config|set acl",
            "deny_commands: get client|kill config command",
        ],
        ["redis: true", "allow_commands: keys", "deny_commands: keys"],
        ["redis: true", 'allow_commands: "@dangerous keys"', "deny_commands: eval @scripting"],
        ["redis: true", "databases: 16", "redis_db: 15"],
        ["redis: true", "databases: 1", "redis_db: 2147483647"],
        ["redis: true", "databases: 10000", "redis_db: 9999"],
    ],
)
def test_what_is_right(tmp_path: Path, lines: list[str]) -> None:
    assert "syntax is ok" in check(tmp_path, lines)


def check(folder: Path, lines: list[str]) -> str:
    """The output of ``nutcracker -t`` for a pool with these lines."""
    text = ["alpha:", "  servers:", "    - 127.0.0.1:6379:1", *(f"  {line}" for line in lines)]
    (folder / "my.yml").write_text("\n".join([*text, "  listen: 127.0.0.1:22121"]) + "\n")
    return run("-t", "-c", str(folder / "my.yml")).stderr
