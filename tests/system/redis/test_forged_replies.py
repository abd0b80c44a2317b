"""No client can forge the reply to another client, whatever its scripts return: with redis 7 and valkey 9.

The requests of the attacker and of its victims reach the server together: the server is paused until all of them have
been sent. So an additional reply would be taken for the reply to the next client.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, redis_pool
from harness.resp import OK, array, bulk, command, integer
from harness.servers import RedisServer, ValkeyServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until
from twemproxy.protocol.redis.commands import COMMANDS, PERMITTED_BY_DIRECTIVE, SUBCOMMANDS, Command

FORGED = b"FORGED"
SECRET = b"secret"
SERVERS = {"redis": RedisServer, "valkey": ValkeyServer}
PONG = b"+PONG\r\n"
HONEST = command("SET", "k", SECRET) + command("GET", "k")
EXPECTED = OK + bulk(SECRET)


class Scene(NamedTuple):
    """A pool of one server."""

    proxy: ServedPools
    server: RedisServer
    pool: str

    def client(self, version: int = 2, scripts: bool = False) -> Connection:
        """A new client; ``scripts``: whether it has run a script."""
        client = self.proxy.client(self.pool)
        client.ask("HELLO", version)
        if scripts:
            assert client.ask("EVAL", "return 1", 1, "k") == integer(1)
        return client


@pytest.fixture(scope="module")
def scenes(configured: Configure) -> Iterator[dict[str, Scene]]:
    with ExitStack() as stack:
        servers = {name: stack.enter_context(kind()) for name, kind in SERVERS.items()}
        allowed = f'"{" ".join(name for name in PERMITTED_BY_DIRECTIVE if name != "shutdown")}"'
        pools = {name: redis_pool(server, allow_commands=allowed) for name, server in servers.items()}
        proxy = stack.enter_context(configured(pools))
        yield {name: Scene(proxy, server, name) for name, server in servers.items()}


@pytest.fixture(params=list(SERVERS))
def scene(scenes: dict[str, Scene], request: pytest.FixtureRequest) -> Scene:
    found = scenes[request.param]
    assert found.server.ask("SET", "k", SECRET) == OK
    return found


def expect_own_replies(scene: Scene, attack: bytes, version: int = 2) -> Connection:
    """Send an attack between requests of victims, check that each victim gets its own replies; returns the attacker."""
    attacker = scene.client(version, scripts=True)
    victims = [scene.client(version), scene.client(version, scripts=True)]
    with scene.server.paused():
        for sender, data in [*((victim, HONEST) for victim in victims), (attacker, attack)]:
            sender.send(data)
            sender.wait_consumed()
        for victim in victims:
            victim.send(HONEST)
            victim.wait_consumed()
    for victim in victims:
        victim.expect(EXPECTED * 2)
        victim.send(command("PING"))
        victim.expect(PONG)
        victim.close()
    return attacker


# --- known attacks -----------------------------------------------------------------------------------------------

LINES = [
    r"\r\n$6\r\nFORGED",
    r"\r\n$100000\r\nFORGED",
    r"\r\n*1000\r\n$6\r\nFORGED",
    r"\r\n+FORGED\r\n:1\r\n-FORGED\r\n$16\r\n0123456789abcdef\r\n$6\r\nFORGED",
    r"\r\n-BUSY FORGED\r\n-BUSY FORGED",
    r"\r\n>2\r\n$6\r\nFORGED\r\n$6\r\nFORGED",
    r"\r\n?FORGED",
    r"\n$6\r\nFORGED",
    r"\r$6\r\nFORGED",
]
"""The bytes that an attacker puts after the beginning of a line, with the escapes of Lua and of quoted words."""

PLACES: dict[str, list[str | int]] = {
    "flag": ["EVAL", '#!lua "flags=bad{}"\nreturn 1', 1, "k"],
    "option": ["EVAL", '#!lua "bad{}"\nreturn 1', 1, "k"],
    "engine": ["EVAL", '#!"bad{}"\nreturn 1', 1, "k"],
    "readonly": ["EVAL_RO", '#!lua "flags=bad{}"\nreturn 1', 1, "k"],
    "load": ["SCRIPT", "LOAD", '#!lua "flags=bad{}"\nreturn 1'],
    "load engine": ["SCRIPT", "LOAD", '#!"bad{}"\nreturn 1'],
    "function engine": ["FUNCTION", "LOAD", '#!"bad{}" name=x\nreturn 1'],
    "function option": ["FUNCTION", "LOAD", '#!lua "bad{}"\nreturn 1'],
    "function name": ["FUNCTION", "LOAD", '#!lua "name=bad{}"\nreturn 1'],
    "function list": ["FUNCTION", "LIST", "bad{}"],
    "function error": ["FUNCTION", "LOAD", '#!lua name=x\nerror("bad{}")'],
    "function without functions": ["FUNCTION", "LOAD", "#!lua name=x\nredis.register_function('bad{}', 1)"],
    "error_reply": ["EVAL", "return redis.error_reply('bad{}')", 1, "k"],
    "error table": ["EVAL", "return {{err='bad{}'}}", 1, "k"],
    "status_reply": ["EVAL", "return redis.status_reply('bad{}')", 1, "k"],
    "status table": ["EVAL", "return {{ok='bad{}'}}", 1, "k"],
    "nested": ["EVAL", "return {{1, {{redis.error_reply('bad{0}')}}, {{ok='bad{0}'}}}}", 1, "k"],
    "error": ["EVAL", "error('bad{}')", 1, "k"],
    "error of a table": ["EVAL", "error({{err='bad{}'}})", 1, "k"],
    "syntax": ["EVAL", "return 'bad{}' bad", 1, "k"],
    "argument": ["EVAL", "return redis.error_reply(ARGV[1])", 1, "k", "bad{}"],
    "call": ["EVAL", "return redis.call('bad{}')", 1, "k"],
    "pcall": ["EVAL", "return redis.pcall('set', 'k', 'v', 'bad{}')", 1, "k"],
    "big number": ["EVAL", "redis.setresp(3); return {{big_number='1{}'}}", 1, "k"],
    "double": ["EVAL", "redis.setresp(3); return {{double='1{}'}}", 1, "k"],
    "verbatim": ["EVAL", "redis.setresp(3); return {{verbatim_string={{format='t{}', string='x'}}}}", 1, "k"],
    "map": ["EVAL", "redis.setresp(3); return {{map={{a={{ok='bad{}'}}}}}}", 1, "k"],
    "long": ["EVAL", "return redis.error_reply(string.rep('x', 70000) .. 'bad{}')", 1, "k"],
    "many": ["EVAL", "return redis.error_reply(string.rep('bad{}', 3000))", 1, "k"],
}
"""Requests whose replies contain the attacker's bytes in place of ``{}``."""


def attacks(place: str, line: str) -> list[list[str | int]]:
    """The request for this place with the attacker's bytes, in the spellings that servers accept there."""
    words = PLACES[place]
    raw = line.replace(r"\r", "\r").replace(r"\n", "\n")
    spellings = [line, raw] if place in ("argument", "function list") or "#!" in str(words[-3:]) else [line]
    return [[word.format(spelling) if isinstance(word, str) else word for word in words] for spelling in spellings]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("place", PLACES)
def test_a_script_says_nothing_to_others(scene: Scene, place: str, version: int) -> None:
    requests = [words for line in LINES for words in attacks(place, line)]
    stream = b"".join(command(*words) for words in requests)
    expect_own_replies(scene, stream, version).close()
    # Each attack alone, so that no other reply to the attacker comes before those to the victims.
    for words in requests[:2]:
        attacker = expect_own_replies(scene, command(*words), version)
        attacker.reply()
        assert attacker.ask("GET", "k") == bulk(SECRET), "the attacker's connection works, too"
        attacker.close()


@pytest.mark.parametrize("version", [2, 3])
def test_a_function_says_nothing_to_others(scene: Scene, version: int) -> None:
    body = (
        "#!lua name=forge\nredis.register_function('forge', function(keys, args) return redis.error_reply(args[1]) end)"
    )
    assert scene.client().ask("FUNCTION", "LOAD", "REPLACE", body) == bulk("forge")
    for line in LINES:
        raw = line.replace(r"\r", "\r").replace(r"\n", "\n")
        expect_own_replies(scene, command("FCALL", "forge", 1, "k", raw), version).close()


@pytest.mark.parametrize("version", [2, 3])
def test_a_transaction_says_nothing_to_the_next_client_of_its_connection(scene: Scene, version: int) -> None:
    stories = [(place, line) for place in ("flag", "error_reply", "nested", "argument") for line in LINES]
    for number, (place, line) in enumerate(stories):
        [words, *_] = attacks(place, line)
        attacker = scene.client(version)
        attacker.send(command("MULTI") + command(*words) + command("SET", "done", number) + command("EXEC"))
        attacker.expect(OK + b"+QUEUED\r\n" * 2)
        # EXEC may get no reply, because the script announces a reply that never ends.
        wait_until(lambda n=number: scene.server.ask("GET", "done") == bulk(n), "EXEC has run")  # type: ignore[misc]
        attacker.close()
        victim = scene.client(version)
        victim.send(command("MULTI") + command("GET", "k") + command("PING") + command("EXEC"))
        victim.expect(OK + b"+QUEUED\r\n" * 2 + array(bulk(SECRET), PONG))
        victim.close()


EJECTING = {
    "a value without end": '#!lua "flags=x\\r\\n$60000\\r\\nFORGED"\nreturn 1',
    "a count too large": '#!lua "flags=x\\r\\n*99999999999"\nreturn 1',
    "another type": '#!lua "flags=x\\r\\n?"\nreturn 1',
    "a value more": '#!lua "flags=x\\r\\n$6\\r\\nFORGED"\nreturn 1',
    "a long error": "return redis.error_reply(string.rep('x', 2 * 1024 * 1024))",
    "a long status": "return {ok = string.rep('x', 2 * 1024 * 1024)}",
}
"""Scripts whose replies break the connection of a transaction."""


@pytest.mark.parametrize("script", EJECTING.values(), ids=EJECTING)
@pytest.mark.parametrize("kind", [RedisServer, ValkeyServer])
def test_a_script_in_a_transaction_ejects_no_server(
    configured: Configure, kind: type[RedisServer], script: str
) -> None:
    with kind() as server:
        directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "timeout": 5000}
        with configured(redis_pool(server, **directives)) as proxy:
            victim = proxy.client()
            for _ in range(3):
                with proxy.client() as attacker:
                    attacker.send(command("MULTI") + command("EVAL", script, 1, "k") + command("EXEC") * 2)
                    attacker.expect(OK + b"+QUEUED\r\n")
                    attacker.replies(2)
                assert victim.ask("SET", "k", SECRET) == OK
            assert proxy.pool_stats()["server_ejects"] == 0


def test_blocking_after_a_script_uses_the_connection_again(scene: Scene) -> None:
    client = scene.client(scripts=True)
    before = scene.server.ask("INFO", "stats")
    for _ in range(20):
        client.send(command("RPUSH", "list", "a") + command("BLPOP", "list", 0))
        client.expect(integer(1) + array(bulk("list"), bulk("a")))
    after = scene.server.ask("INFO", "stats")

    def connections(info: bytes) -> int:
        return int(info.partition(b"total_connections_received:")[2].split(b"\r\n")[0])

    # The second connection is opened while the first one is checked after its first use.
    assert connections(after) - connections(before) <= 2


# --- all commands ------------------------------------------------------------------------------------------------

PAYLOADS = [
    b"x\r\n$6\r\nFORGED\r\n",
    rb'#!lua "flags=bad\r\n$6\r\nFORGED"' + b"\nreturn 1",
    rb'#!"bad\r\n$6\r\nFORGED" name=x' + b"\nreturn 1",
    b"return redis.error_reply('x\\r\\n$6\\r\\nFORGED')",
]
"""The payloads that replace arguments: with raw line ends, with quoted line ends, and with the escapes of a script."""

ENDS_THE_SERVER = ("shutdown",)


def words_of(row: Command, length: int, at: int, payload: bytes) -> list[bytes | str | int]:
    """A request of a command with ``length`` words, its name included; the payload replaces the word at ``at``."""
    words = [word.encode() for word in (*row.name.split("|"), *["1"] * length)][:length]
    return [*words[:at], payload, *words[at + 1 :]]


def requests_of(row: Command) -> bytes:
    """Requests of a command with each payload as each argument, for the possible numbers of arguments."""
    least = abs(row.arity)
    lengths = [least] if row.arity > 0 else range(least, least + 3)
    return b"".join(
        command(*words_of(row, length, at, payload))
        for length in lengths
        for at in range(len(row.name.split("|")) - 1, length)
        for payload in PAYLOADS
    )


AT_A_TIME = 20
"""The number of commands that are tried together, each by a client of its own."""


@pytest.mark.parametrize("version", [2, 3])
def test_no_command_says_anything_to_others(scene: Scene, version: int) -> None:
    rows = [row for row in (*COMMANDS, *SUBCOMMANDS.values()) if row.name not in ENDS_THE_SERVER]
    victims = [scene.client(version), scene.client(version, scripts=True)]
    for first in range(0, len(rows), AT_A_TIME):
        group = rows[first : first + AT_A_TIME]
        attackers = [scene.client(version) for _ in group]
        with scene.server.paused():
            for victim in victims:
                victim.send(HONEST)
                victim.wait_consumed()
            for attacker, row in zip(attackers, group, strict=True):
                attacker.send(requests_of(row))
            for victim in victims:
                victim.send(HONEST)
                victim.wait_consumed()
        try:
            for victim in victims:
                victim.expect(EXPECTED * 2)
        except AssertionError as problem:
            names = ", ".join(row.name for row in group)
            raise AssertionError(f"beside requests of {names}: {problem}") from problem
        for attacker in attackers:
            attacker.close()
