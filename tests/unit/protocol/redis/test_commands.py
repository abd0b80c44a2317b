"""The command table, compared with nutcracker's table and with what real servers reply about their commands."""

import io
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from redis_peers import finished, new_session

from harness import resp
from harness.servers import RedisServer, ValkeyServer
from twemproxy.protocol.plan import Answer
from twemproxy.protocol.redis import builtin_commands, commands
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.command_reply import IN_STEPS, Available, command_reply
from twemproxy.protocol.redis.commands import BY_NAME, COMMAND_INFO, COMMANDS, SUBCOMMANDS, Command, Routing
from twemproxy.protocol.redis.connection_commands import CLIENT_SUBCOMMANDS
from twemproxy.protocol.redis.fan_out_commands import MERGES

ROOT = Path(__file__).resolve().parents[4]
GOLDEN = {row["name"]: row for row in json.loads((ROOT / "tests/golden/redis_commands.json").read_text())}
FORWARDED = [name for name, row in GOLDEN.items() if row["supported"]]


AVAILABLE = RedisCodec(commands.PERMITTED_BY_DIRECTIVE).available
"""The commands of a pool that permits everything."""


def named(name: str) -> Command:
    return COMMANDS[BY_NAME[name]]


class Status(str):
    """A simple string, as opposed to a bulk string."""


class ReplyError(str):
    """An error reply."""


def read_reply(stream: BinaryIO) -> Any:
    line = stream.readline()
    assert line.endswith(b"\r\n")
    kind, rest = line[:1], line[1:-2].decode(errors="surrogateescape")
    if kind == b"+":
        return Status(rest)
    if kind == b"-":
        return ReplyError(rest)
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode()
    assert kind == b"*"
    return [read_reply(stream) for _ in range(int(rest))]


def parse(data: bytes) -> Any:
    """A reply as nested lists of text and numbers; the reply must be all of ``data``."""
    stream = io.BytesIO(data)
    reply = read_reply(stream)
    assert stream.read() == b""
    return reply


def typed(value: Any) -> Any:
    """A reply with the type of every element, because elements of different types may have the same text."""
    return [typed(item) for item in value] if isinstance(value, list) else (type(value).__name__, value)


def reply_of(available: Available, *words: str) -> bytes:
    """The proxy's reply to COMMAND with these arguments."""
    session = new_session()
    session.pool.codec.available = available
    session.protocol = available.version
    planned = finished(builtin_commands.plan(resp.command("COMMAND", *words), session))
    assert isinstance(planned, Answer)
    return planned.reply


def answer(*words: str) -> Any:
    """``reply_of`` for clients of RESP2, parsed."""
    return parse(reply_of(AVAILABLE, *words))


def told(server: RedisServer, *words: str) -> Any:
    """A server's reply to COMMAND with these arguments, parsed."""
    return parse(server.ask("COMMAND", *words))


def test_rows_are_in_order_of_name_and_unique() -> None:
    names = [command.name for command in COMMANDS]
    assert names == sorted(set(names))
    assert {name: names.index(name) for name in names} == BY_NAME
    assert all(name == name.lower() for name in names)


def test_routing_values_are_those_of_compiled_code() -> None:
    assert [routing.name for routing in sorted(Routing)] == [
        "KEY",
        "EACH_KEY_SUM",
        "EACH_KEY_VALUES",
        "EACH_PAIR_STATUS",
        "COUNTED_KEYS",
        "ANY_SERVER",
        "ONLY_SERVER",
        "REFUSED",
        "LOCAL",
        "SEARCHED_KEYS",
        "BLOCKING",
        "EVERY_SERVER",
        "TRANSACTION",
        "SUBSCRIPTION",
        "BY_SUBCOMMAND",
        "CHANNEL",
    ]
    assert sorted(Routing) == list(range(16))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_row_is_consistent(command: Command) -> None:
    assert command.summary and command.since and command.group
    assert bool(command.refusal) == (command.routing == Routing.REFUSED)
    least = abs(command.arity)
    assert least >= 1
    match command.routing:
        case Routing.KEY | Routing.CHANNEL:
            assert 0 < command.first_key < least
            assert command.numkeys == 0
        case Routing.COUNTED_KEYS:
            assert 0 < command.numkeys < least
            assert command.first_key == command.numkeys + 1
            assert command.key_step == 1
        case Routing.EACH_KEY_SUM | Routing.EACH_KEY_VALUES:
            assert (command.first_key, command.key_step, command.numkeys, command.arity) == (1, 1, 0, -2)
        case Routing.EACH_PAIR_STATUS:
            assert (command.first_key, command.key_step, command.numkeys, command.arity) == (1, 2, 0, -3)
        case _:
            assert (command.first_key, command.key_step, command.numkeys) == (0, 0, 0)


def test_tables_of_exceptions_name_known_commands_once() -> None:
    listed = Counter(
        name
        for table in (commands._ROUTING, commands._REFUSALS, {**commands._MERGES, "wait": "", "smallest of each": ""})
        for names in table.values()
        for name in names.split()
    )
    assert set(listed) <= {*COMMAND_INFO, *SUBCOMMANDS}
    assert listed.most_common(1)[0][1] == 1


def test_commands_that_need_permission_could_be_served() -> None:
    for name in commands._PERMISSIONS.split():
        row = SUBCOMMANDS.get(name) or named(name)
        assert row.permission
        served = (Routing.EVERY_SERVER, Routing.ONLY_SERVER, Routing.BLOCKING)
        assert row.routing in served or name in (*CLIENT_SUBCOMMANDS, "slowlog|reset")


def test_containers_by_subcommand_have_a_row_for_each() -> None:
    for row in COMMANDS:
        for name in COMMAND_INFO[row.name].subcommands:
            assert SUBCOMMANDS[name].name == name
            assert row.routing != Routing.BY_SUBCOMMAND or SUBCOMMANDS[name].routing != Routing.BY_SUBCOMMAND


def test_every_merge_is_known() -> None:
    for row in (*COMMANDS, *SUBCOMMANDS.values()):
        if row.routing == Routing.EVERY_SERVER:
            assert row.merge in MERGES
        elif row.name not in ("wait", "waitaof"):
            assert not row.merge


def test_golden_commands_are_all_known() -> None:
    assert set(GOLDEN) <= set(BY_NAME)


@pytest.mark.parametrize("name", FORWARDED)
def test_what_nutcracker_supports_is_supported(name: str) -> None:
    row, command = GOLDEN[name], named(name)
    assert command.routing != Routing.REFUSED
    if row["disposition"] == "proxy":
        assert command.routing == Routing.LOCAL
    elif row["fragment"].startswith("yes"):
        assert command.routing in (Routing.EACH_KEY_SUM, Routing.EACH_KEY_VALUES, Routing.EACH_PAIR_STATUS)
    elif name in ("copy", "sort"):
        assert command.routing == Routing.SEARCHED_KEYS
    elif row["keys"] == "argv[1]":
        assert command.first_key == 1
        assert command.routing == (Routing.EACH_KEY_SUM if name == "exists" else Routing.KEY)
    elif row["keys"].startswith("argv[1] (which is the numkeys"):
        assert (command.routing, command.numkeys, command.first_key) == (Routing.COUNTED_KEYS, 1, 2)
    elif row["keys"].startswith("argv[3]"):
        assert (command.routing, command.numkeys, command.first_key) == (Routing.COUNTED_KEYS, 2, 3)
    else:
        assert name in ("command", "lolwut")
        assert command.routing == Routing.LOCAL


@pytest.mark.parametrize("name", [name for name in FORWARDED if "argc == " in GOLDEN[name]["argc_rule"]])
def test_exact_argument_counts_of_nutcracker_are_admitted(name: str) -> None:
    count, arity = int(GOLDEN[name]["argc_rule"].removeprefix("argc == ")), named(name).arity
    assert count == arity or (arity < 0 and count >= -arity) or (name, arity) == ("auth", -2)


@pytest.mark.parametrize(
    ("name", "routing", "first_key", "numkeys"),
    [
        ("xadd", Routing.KEY, 1, 0),
        ("hexpire", Routing.KEY, 1, 0),
        ("vadd", Routing.KEY, 1, 0),
        ("object", Routing.KEY, 2, 0),
        ("xgroup", Routing.KEY, 2, 0),
        ("zunionstore", Routing.KEY, 1, 0),
        ("copy", Routing.SEARCHED_KEYS, 0, 0),
        ("publish", Routing.CHANNEL, 1, 0),
        ("spublish", Routing.CHANNEL, 1, 0),
        ("sintercard", Routing.COUNTED_KEYS, 2, 1),
        ("lmpop", Routing.COUNTED_KEYS, 2, 1),
        ("fcall_ro", Routing.COUNTED_KEYS, 3, 2),
        ("rename", Routing.KEY, 1, 0),
        ("msetnx", Routing.KEY, 1, 0),
        ("bitop", Routing.KEY, 2, 0),
        ("msetex", Routing.SEARCHED_KEYS, 0, 0),
        ("xread", Routing.SEARCHED_KEYS, 0, 0),
        ("xreadgroup", Routing.SEARCHED_KEYS, 0, 0),
        *((name, Routing.LOCAL, 0, 0) for name in ["client", "hello", "info", "reset", "role", "time"]),
        ("echo", Routing.LOCAL, 0, 0),
        ("select", Routing.LOCAL, 0, 0),
        *((name, Routing.BLOCKING, 0, 0) for name in ["blpop", "bzmpop", "wait", "migrate"]),
        *((name, Routing.TRANSACTION, 0, 0) for name in ["multi", "exec", "watch"]),
        *((name, Routing.EVERY_SERVER, 0, 0) for name in ["scan", "dbsize", "flushall"]),
        *((name, Routing.BY_SUBCOMMAND, 0, 0) for name in ["acl", "cluster", "config", "memory"]),
        *((name, Routing.REFUSED, 0, 0) for name in ["monitor", "readonly", "replicaof", "sync"]),
        ("move", Routing.SEARCHED_KEYS, 0, 0),
    ],
)
def test_routing_of_commands_nutcracker_does_not_know(
    name: str, routing: Routing, first_key: int, numkeys: int
) -> None:
    command = named(name)
    assert (command.routing, command.first_key, command.numkeys) == (routing, first_key, numkeys)


def test_optional_arguments_of_newer_servers_are_admitted() -> None:
    assert named("expire").arity == -3
    assert named("zrank").arity == -3


def test_generator_says_the_same_of_the_same_servers(redis: RedisServer, valkey: ValkeyServer, tmp_path: Path) -> None:
    written = []
    for output in (tmp_path / "first.json", tmp_path / "second.json"):
        script = ROOT / "tools/generate_command_info.py"
        subprocess.run([sys.executable, script, redis.address, valkey.address, "--output", output], check=True)
        written.append(output.read_text())
    assert written[0] == written[1]
    generated = json.loads(written[0])
    assert list(generated) == sorted(generated)
    assert {*generated} >= {*COMMAND_INFO}
    assert len(written[0].splitlines()) == len(generated) + 2


@pytest.mark.parametrize(
    ("name", "since"), [("hexpire", "7.4.0"), ("hgetex", "8.0.0"), ("msetex", "8.4.0"), ("delifeq", "9.0.0")]
)
def test_since_is_the_version_of_redis_where_redis_was_first(name: str, since: str) -> None:
    assert named(name).since == since


def test_table_admits_what_the_server_at_hand_admits(redis: RedisServer) -> None:
    commands_of_server = told(redis)
    assert len(commands_of_server) > 200
    for name, arity, flags, *_ in commands_of_server:
        ours = COMMAND_INFO[name]
        assert ours.arity == arity or (ours.arity < 0 and abs(ours.arity) <= abs(arity)), name
        assert ("readonly" in flags) == ("readonly" in ours.flags), name


def test_routing_keys_are_keys_to_the_server(redis: RedisServer) -> None:
    """COMMAND GETKEYS of a server returns the routing key of every command that has one."""
    arities = {name: arity for name, arity, *_ in told(redis)}
    routed = [command for command in COMMANDS if command.first_key and command.name in arities and _has_keys(command)]
    assert len(routed) > 150
    for command in routed:
        arity = arities[command.name]
        request = [command.name, *(f"a{index}" for index in range(1, arity if arity > 0 else 2 - arity))]
        if command.numkeys:
            request[command.numkeys] = "1"
        if command.name in ("zunionstore", "zinterstore", "zdiffstore"):
            request[2] = "1"
        keys = told(redis, "GETKEYS", *request)
        assert isinstance(keys, list), (request, keys)
        assert request[command.first_key] in keys, (request, keys)


def _has_keys(command: Command) -> bool:
    """Whether the argument that routes the command is a key, according to the command's key specifications."""
    return any("not_key" not in spec.flags for spec in COMMAND_INFO[command.name].key_specs)


def test_command_info_is_that_of_the_servers(redis: RedisServer, valkey: ValkeyServer) -> None:
    names = ["GET", "nosuch", "eval", "zunionstore", "sort", "xadd", "ping", "object|encoding"]
    assert typed(answer("INFO", *names)) == typed(told(redis, "INFO", *names))
    assert typed(answer("INFO", "georadius")) == typed(told(valkey, "INFO", "georadius"))


def test_command_info_of_what_is_not_available_is_null() -> None:
    assert answer("info", "monitor", "object|nosuch", "script|debug", "get|x") == [None] * 4


def test_command_docs_has_the_fields_of_valkey(valkey: ValkeyServer) -> None:
    for name in ("get", "hmset", "object|encoding", "georadius", "quit"):
        (our_name, ours), (name_told, fields) = answer("DOCS", name), told(valkey, "DOCS", name)
        assert our_name == name_told == name
        expected = dict(zip(fields[::2], map(typed, fields[1::2]), strict=True))
        for left_out in ("arguments", "history"):
            expected.pop(left_out, None)
        assert dict(zip(ours[::2], map(typed, ours[1::2]), strict=True)) == expected


def test_command_docs_leaves_out_what_is_not_available() -> None:
    assert answer("DOCS", "nosuch", "monitor") == []


def test_containers_list_the_subcommands_that_work() -> None:
    ((*_, subcommands),) = answer("INFO", "script")
    names = [entry[0].removeprefix("script|") for entry in subcommands]
    assert names == ["exists", "flush", "help", "kill", "load", "show"]
    ((*_, subcommands),) = answer("INFO", "command")
    names = [entry[0].removeprefix("command|") for entry in subcommands]
    assert names == ["count", "docs", "getkeys", "getkeysandflags", "help", "info", "list"]
    assert not [name for name in names if isinstance(answer(name, "get", "k"), ReplyError) and "get" in name]


def test_all_commands_that_are_not_refused_are_told() -> None:
    offered = (command for command in COMMANDS if command.routing != Routing.REFUSED)
    expected = [command.name for command in offered if command.name not in commands.REFUSED_CONTAINERS]
    assert [entry[0] for entry in answer()] == expected
    assert answer("INFO") == answer()
    assert [name for name in answer("LIST") if "|" not in name] == expected
    assert answer("COUNT") == len(expected)
    assert answer("DOCS")[::2] == expected
    assert answer("HELP")[0].startswith("COMMAND <subcommand>")


@pytest.mark.parametrize(
    "words",
    [
        ("PATTERN", "XA*"),
        ("pattern", "[gs]et"),
        ("ACLCAT", "hyperloglog"),
        ("ACLCAT", "nosuch"),
        ("MODULE", "search"),
    ],
)
def test_list_filters_as_redis(redis: RedisServer, words: tuple[str, str]) -> None:
    theirs, ours = told(redis, "LIST"), answer("LIST")
    expected = {name for name in told(redis, "LIST", "FILTERBY", *words) if name in ours}
    assert {name for name in answer("LIST", "FILTERBY", *words) if name in theirs} == expected


@pytest.mark.parametrize(
    "words",
    [
        ("COUNT", "x"),
        ("HELP", "x"),
        ("nosuch",),
        ("no\r\nsuch",),
        ("LIST", "x"),
        ("LIST", "FILTERBY", "PATTERN"),
        ("LIST", "FILTERBY", "x", "y"),
    ],
)
def test_errors_are_those_of_redis(redis: RedisServer, words: tuple[str, ...]) -> None:
    expected = told(redis, *words)
    assert isinstance(expected, ReplyError)
    assert typed(answer(*words)) == typed(expected)


def test_error_is_one_short_line_whatever_the_client_sent() -> None:
    reply = command_reply([b"\xff\r\n+OK" + b"x" * 1000], AVAILABLE)
    assert reply.startswith(b"-ERR unknown subcommand '\xff  +OKxxx")
    assert reply.count(b"\r\n") == reply.count(b"\n") == 1
    assert len(reply) < 200
    assert parse(command_reply([b"list", b"filterby", b"pattern", b"*" * 1000], AVAILABLE)) == "ERR syntax error"


REQUESTS = ["GET k", "MSET a 1 b 2", "OBJECT ENCODING k", "EVAL x 2 a b c", "SORT k STORE d", "ZUNIONSTORE d 2 a b"]
REQUESTS += ["XREAD COUNT 1 STREAMS a b 0 0", "NOSUCH k", "BLPOP a b 0", "INCR k", "CLIENT LIST", "PING a"]
REQUESTS += ["SORT k STORE d STORE e", "SPUBLISH a b", "LMPOP 3 a LEFT", "EVAL x 9 a", "SSUBSCRIBE a"]
REQUESTS += [
    "SET k v",
    "SET k v EX 5 get",
    "BITFIELD k",
    "BITFIELD k GET u8 0 OVERFLOW SAT get u8 8",
    "BITFIELD k GET u8",
]
REQUESTS += [
    "BITFIELD k GET u8 0 SET u8 0 1",
    "BITFIELD k INCRBY u8 0 1",
    "BITFIELD k GET u8 0 x",
    "BITFIELD_RO k GET u8 0",
]
REQUESTS += ["EVAL x 0", "FCALL f 0 a", "ZUNION 0 a", "LMPOP no a LEFT", "XREAD COUNT 1 a b"]


@pytest.mark.parametrize("request_", REQUESTS)
def test_keys_told_are_those_redis_tells(redis: RedisServer, request_: str) -> None:
    for name in ("GETKEYS", "GETKEYSANDFLAGS"):
        assert answer(name, *request_.split()) == told(redis, name, *request_.split())


REQUESTS += ["XREADGROUP GROUP g c COUNT 1 STREAMS a b > >"]

VALUES = ["1", "2", "a", "STORE", "b", "KEYS", "STREAMS", "c", "d"]
CHOSEN = ("georadius", "georadiusbymember", "xread", "xreadgroup")
"""Commands for which servers find different keys if an option is misplaced; they are compared by REQUESTS only."""


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_keys_of_every_command_are_those_that_servers_tell(kind: str, request: pytest.FixtureRequest) -> None:
    server: RedisServer = request.getfixturevalue(kind)
    source = random.Random(5)
    compared = 0
    # Servers list their commands in another order after each start.
    for name, arity, *_ in sorted(told(server), key=lambda row: row[0]):
        if name not in AVAILABLE.commands or name in ("migrate", *CHOSEN) or COMMAND_INFO[name].arity != arity:
            continue
        for _ in range(6):
            least = max(abs(arity) - 1, 2)
            words = [name, *source.choices(VALUES, k=source.randrange(least, least + 5) if arity < 0 else least)]
            if COMMAND_INFO[name].subcommands:
                words[1] = source.choice([*COMMAND_INFO[name].subcommands]).partition("|")[2]
            ours, theirs = answer("GETKEYS", *words), told(server, "GETKEYS", *words)
            if "Invalid command" not in str(theirs):
                assert ours == theirs, words
                compared += 1
    assert compared > 800


def test_getkeys_of_many_keys_is_told_in_parts() -> None:
    request = resp.command("COMMAND", "GETKEYS", "MGET", *["k"] * 20_000)
    work = IN_STEPS["getkeys"](request, AVAILABLE)
    parts = list(work)
    assert b"".join(part for part in parts if part) == b"*20000\r\n" + b"$1\r\nk\r\n" * 20_000
    assert max(len(part) for part in parts if part) < 2000


def test_list_has_the_subcommands(redis: RedisServer) -> None:
    assert {"get", "config", "config|get", "client|list", "command|list"} <= set(answer("LIST"))
    for pattern in ("config|r*", "cl*|l*", "o*help", "getr*", "nosuch"):
        ours = set(answer("LIST", "FILTERBY", "PATTERN", pattern))
        assert ours == {name for name in told(redis, "LIST", "FILTERBY", "PATTERN", pattern) if name in answer("LIST")}
    assert {"eval", "script|kill"} <= set(answer("LIST", "FILTERBY", "ACLCAT", "scripting"))
    told_to_this_pool = parse(reply_of(Available(("config",), without=frozenset({"config|set"})), "LIST"))
    assert "config|get" in told_to_this_pool
    assert "config|set" not in told_to_this_pool


def test_version_3_has_the_shapes_of_redis(redis: RedisServer, valkey: ValkeyServer) -> None:
    version_3 = AVAILABLE._replace(version=3)
    requests = [["INFO", "get", "nosuch"], ["GETKEYSANDFLAGS", "GET", "a"], ["LIST", "FILTERBY", "PATTERN", "getr*"]]
    for server in (redis, valkey):
        with server.connect() as direct:
            assert direct.ask("HELLO", 3).startswith(b"%7")
            for request in requests[: 3 if server is redis else 2]:
                ours = reply_of(version_3, *request)
                # An empty list of sub-commands is a set in redis 7.0, and an array in other servers.
                assert ours.replace(b"~0", b"*0") == direct.ask("COMMAND", *request).replace(b"~0", b"*0")
    told = reply_of(Available(("slaveof",), version=3), "DOCS", "slaveof")
    assert told.startswith(b"%1\r\n$7\r\nslaveof\r\n%")
    assert b"$9\r\ndoc_flags\r\n~1\r\n+deprecated\r\n" in told
