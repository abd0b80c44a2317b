"""Commands that are not in the proxy's table: the proxy asks a server about them."""

import random
import re
from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, keys_of, owner, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import FencedPeer, ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

PONG = b"+PONG\r\n"
QUEUED = b"+QUEUED\r\n"
CROSS_SERVER = error("CROSSSLOT Keys in request don't hash to the same server (use a hash tag)")
[A1, A2], [B1, B2], [C1] = keys_of(0, 3, 2), keys_of(1, 3, 2), keys_of(2, 3)
[LEFT, LEFT2], [RIGHT] = keys_of(0, 2, 2), keys_of(1, 2)
RENAMED = {
    "GET": "FETCH",
    "MGET": "FETCHMANY",
    "SETEX": "STORE",
    "EVAL": "RUN",
    "BLPOP": "AWAIT",
    "OBJECT": "THING",
    "MULTI": "BEGIN",
    "SELECT": "USE",
    "SUBSCRIBE": "HEAR",
    "WATCH": "MIND",
    "CLIENT": "SELF",
    "MONITOR": "SPY",
    "CONFIG": "SETTINGS",
    "FLUSHALL": "WIPE",
    "KEYS": "NAMES",
    "TIME": "CLOCK",
    "COPY": "CLONE",
}
OPTIONS = [word for names in RENAMED.items() for word in ("--rename-command", *names)]


def unknown(name: str, shown: str = "") -> bytes:
    """The error for a command that does not exist; ``shown``: its arguments as redis shows them."""
    return error(f"ERR unknown command '{name}', with args beginning with: {shown}")


def lookups(*servers: RedisServer) -> int:
    """How many times the servers have been asked about a command."""
    found = [re.search(rb"cmdstat_command\|info:calls=(\d+)", server.ask("INFO", "commandstats")) for server in servers]
    return sum(int(match[1]) for match in found if match)


# --- real servers with renamed commands ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def renaming() -> Iterator[list[RedisServer]]:
    with RedisServer(*OPTIONS) as first, RedisServer(*OPTIONS) as second, RedisServer(*OPTIONS) as third:
        # RedisServer.ask begins with SELECT, which does not exist on these servers.
        for server in (first, second, third):
            server._asking[0] = server.connect()
        yield [first, second, third]


@pytest.fixture(scope="module")
def renaming_proxy(configured: Configure, renaming: list[RedisServer]) -> Iterator[ServedPools]:
    with configured(redis_pool(*renaming)) as proxy:
        yield proxy


@pytest.fixture
def odd(renaming_proxy: ServedPools, renaming: list[RedisServer]) -> Iterator[Connection]:
    """A client in front of three servers with renamed commands."""
    for server in renaming:
        assert server.ask("WIPE") == OK
    with renaming_proxy.client() as client:
        yield client


def test_the_server_of_the_key(odd: Connection, renaming: list[RedisServer]) -> None:
    odd.send(command("MSET", A1, "a", B1, "b", C1, "c") + command("FETCH", A1) + command("fetch", B1))
    odd.expect(OK + bulk("a") + bulk("b"))
    odd.send(command("STORE", B2, 100, "x") + command("FETCH", B2) + f"FETCH {C1}\r\n".encode() + command("PING"))
    odd.expect(OK + bulk("x") + bulk("c") + PONG)
    assert renaming[1].ask("FETCH", B2) == bulk("x")


def test_several_keys(odd: Connection) -> None:
    odd.send(
        command("SET", A1, "a") + command("FETCHMANY", A1, A2, A1) + command("FETCHMANY", A1, B1) + command("PING")
    )
    odd.expect(OK + array(bulk("a"), NULL, bulk("a")) + CROSS_SERVER + PONG)
    odd.send(command("RUN", "return KEYS[2]", 2, B1, B2) + command("RUN", "return KEYS[2]", 2, A1, B2))
    odd.expect(bulk(B2) + CROSS_SERVER)
    assert odd.ask("RUN", "return 1", 0).startswith(b"-ERR 'eval' without keys cannot be routed in a pool of 3 ")


def test_errors_of_the_server_are_relayed(odd: Connection, renaming: list[RedisServer]) -> None:
    assert odd.ask("FETCH", A1, A2) == error("ERR wrong number of arguments for 'fetch' command")
    assert odd.ask("FETCH") == error("ERR wrong number of arguments for 'fetch' command")
    odd.ask("LPUSH", A1, "x")
    assert odd.ask("FETCH", A1) == renaming[0].ask("FETCH", A1)


def test_blocking(odd: Connection, renaming_proxy: ServedPools) -> None:
    other = renaming_proxy.client()
    odd.send(command("AWAIT", B1, 0))
    other.send(command("FETCH", B1) + command("LPUSH", B1, "x"))
    other.expect(NULL + integer(1))
    odd.expect(array(bulk(B1), bulk("x")))


def test_in_a_transaction_with_the_usual_name(configured: Configure, servers: list[RedisServer]) -> None:
    options = ["--rename-command", "GET", "FETCH"]
    with (
        RedisServer(*options) as first,
        RedisServer(*options) as second,
        configured(redis_pool(first, second)) as proxy,
    ):
        client = proxy.client()
        client.send(command("MULTI") + command("FETCH", LEFT) + command("SET", LEFT, "x") + command("FETCH", LEFT))
        client.send(command("FETCH", RIGHT) + command("DISCARD") + command("FETCH", LEFT))
        client.expect(OK + QUEUED * 3 + CROSS_SERVER + OK + NULL)
        client.send(command("MULTI") + command("NOSUCH", "x") + command("FETCH", LEFT) + command("EXEC"))
        client.expect(OK + unknown("NOSUCH", "'x' ") + QUEUED)
        assert client.reply().startswith(b"-EXECABORT ")
        client.send(command("MULTI") + command("SET", RIGHT, "y") + command("FETCH", RIGHT) + command("EXEC"))
        client.expect(OK + QUEUED * 2 + array(OK, bulk("y")))


def test_what_is_about_the_connection_is_refused(
    configured: Configure, renaming: list[RedisServer], odd: Connection
) -> None:
    """Also in a pool of one server, because all clients share the server connection."""
    with configured(redis_pool(renaming[0])) as proxy:
        one, other = proxy.client(), proxy.client()
        for client in (odd, one):
            for text in ("BEGIN", "USE 1", "HEAR news", f"MIND {A1}", "SELF REPLY OFF", "SPY", "CLOCK"):
                name = text.split()[0]
                usual = next(usual for usual, odd_one in RENAMED.items() if odd_one == name)
                reason = f"it is another name for '{usual.lower()}'"
                client.send(command(*text.split()) + command("PING"))
                client.expect(error(f"ERR '{name.lower()}' is not available through this proxy: {reason}") + PONG)
        other.send(command("SET", A1, "x") + command("FETCH", A1))
        other.expect(OK + bulk("x"))


def test_permissions_are_for_every_name(configured: Configure, renaming: list[RedisServer], odd: Connection) -> None:
    assert odd.ask("SET", A1, "x") == OK
    for text, name in [("WIPE", "flushall"), ("NAMES *", "keys"), ("SETTINGS SET a b", "config|set")]:
        assert odd.ask(*text.split()) == error(
            f"ERR '{name}' is not allowed in this pool: 'allow_commands: {name}' in its configuration allows it"
        )
    assert odd.ask("CLONE", A1, A2, "DB", 16).startswith(b"-ERR DB index is out of range: this pool ")
    assert odd.ask("CLONE", A1, A2) == integer(1)
    directives = {"allow_commands": "flushall keys config", "deny_commands": "get"}
    with configured(redis_pool(*renaming, **directives)) as proxy:
        client = proxy.client()
        assert client.ask("FETCH", A1).startswith(b"-ERR 'get' is not available in this pool: 'deny_commands' ")
        assert client.ask("SETTINGS", "SET", "slowlog-max-len", 128) == OK
        assert client.ask("SETTINGS", "NOSUCH").startswith(b"-ERR unknown subcommand 'NOSUCH'. Try ")
        assert client.ask("NAMES", "*")[:2] == b"*2"
        assert client.ask("WIPE") == OK
        assert client.ask("DBSIZE") == integer(0)


def test_containers(odd: Connection) -> None:
    odd.send(command("SET", A1, 7) + command("THING", "ENCODING", A1) + command("THING", "ENCODING", B1))
    odd.expect(OK + bulk("int") + NULL)
    assert odd.ask("THING") == error("ERR wrong number of arguments for 'thing' command")


def test_servers_are_asked_once(configured: Configure, renaming: list[RedisServer]) -> None:
    for server in renaming:
        server.ask("WIPE")
        server.ask("SETTINGS", "RESETSTAT")
    with configured(redis_pool(*renaming)) as proxy:
        clients = [proxy.client() for _ in range(20)]
        for _ in range(5):
            for client in clients:
                client.send(command("FETCH", A1) + command("NOSUCH", "x") + command("fetch", B1) + command("Nosuch"))
        for client in clients:
            for _ in range(5):
                client.expect(NULL + unknown("NOSUCH", "'x' ") + NULL + unknown("Nosuch"))
    assert lookups(*renaming) == 2


# --- names that do not exist -----------------------------------------------------------------------------------------

NAMES = [
    *(b"nosuch", b"x" * 64, b"x" * 65, b"x" * 128, b"x" * 129, b"x" * 100_000, b"a b", b"%s%n", b"'", b'"', b"\\"),
    *(b"\x00", b"a\x00b", b"\r\n", b"a\r\nb", b"\xff\xfe", b"\xe2\x84\xaaeys", "ünïcode".encode(), b"", b"-", b"*1"),
    *(b"config|get", b"acl|whoami", b"client|kill", b"script|load", b"get|x", b"|", b"command|info", b"object|freq"),
    *(b"GET ", b" GET", b"NOT", b"info\x7f"),
]


@pytest.mark.parametrize("arguments", [[], ["x"], ["x" * 60, "y" * 60, "z" * 60]])
@pytest.mark.parametrize("version", [2, 3])
def test_the_error_is_that_of_redis(
    client: Connection, servers: list[RedisServer], arguments: list[str], version: int
) -> None:
    client.ask("HELLO", version)
    for name in NAMES:
        client.send(command(name, *arguments) + command("PING"))
        client.expect(servers[0].ask(name, *arguments) + PONG)


def test_thousands_of_names(servers: list[RedisServer]) -> None:
    source = random.Random(1)
    names = [f"name{number}-{'x' * source.randrange(50)}" for number in range(3000)]
    with Proxy(redis_pool(*servers)) as proxy:
        client = proxy.client()
        client.send(b"".join(command(name) + command("PING") for name in names))
        client.expect(b"".join(unknown(name) + PONG for name in names))
        memory = proxy.memory()
        client.send(b"".join(command(name + "y") for name in names))
        client.expect(b"".join(unknown(name + "y") for name in names))
        assert proxy.memory() - memory < 4 * 1024 * 1024


def test_clients_that_want_no_replies(client: Connection) -> None:
    client.send(command("CLIENT", "REPLY", "SKIP") + command("no-such-1") + command("PING"))
    client.expect(PONG)
    client.send(command("CLIENT", "REPLY", "OFF") + command("no-such-2") + command("no-such-2", "x"))
    client.send(command("CLIENT", "REPLY", "ON"))
    client.expect(OK)


# --- scripted servers ------------------------------------------------------------------------------------------------


def words(*names: str) -> bytes:
    """An array of status lines."""
    return array(*(b"+" + name.encode() + b"\r\n" for name in names))


def described(name: str, first: int, last: int, step: int, *more: bytes, flags: bytes = words("write")) -> bytes:
    """The reply to COMMAND INFO of a redis before 7."""
    return array(array(bulk(name), integer(-2), flags, integer(first), integer(last), integer(step), *more))


@pytest.mark.parametrize("more", [[], [words("@write")]], ids=["6 fields", "7 fields"])
def test_servers_before_redis_7(configured: Configure, more: list[bytes]) -> None:
    with ScriptedServer() as first, ScriptedServer() as second, configured(redis_pool(first, second)) as proxy:
        client = proxy.client()
        client.send(command("GET", LEFT) + command("GET", RIGHT))
        peers = [first.answer(NULL), second.answer(NULL)]
        client.expect(NULL * 2)
        cases = [
            ("MOD.ONE", described("mod.one", 1, 1, 1, *more), [LEFT, "x"], 0),
            ("MOD.ONE", None, [RIGHT, "x"], 1),
            ("MOD.SECOND", described("mod.second", 2, 2, 1, *more), ["x", RIGHT], 1),
            ("MOD.MANY", described("mod.many", 1, -1, 1, *more), [LEFT, LEFT2], 0),
            ("MOD.MANY", None, [LEFT, RIGHT], CROSS_SERVER),
            ("MOD.PAIRS", described("mod.pairs", 1, -1, 2, *more), [LEFT, RIGHT, LEFT2, RIGHT], 0),
        ]
        scripts: list[FencedPeer] = []
        for name, info, arguments, where in cases:
            client.send(command(name, *arguments) + command("PING"))
            if info is not None:
                asked = asked_peer(peers)
                assert asked.request() == [b"COMMAND", b"INFO", name.lower().encode()]
                asked.send(info)
            if isinstance(where, int):
                # Commands of modules use the connections for scripts.
                scripts = scripts or [server.accept_scripts() for server in (first, second)]
                assert scripts[where].request() == [name.encode(), *(word.encode() for word in arguments)]
                scripts[where].answer(bulk("done"))
            client.expect((where if isinstance(where, bytes) else bulk("done")) + PONG)
        assert [peer.collect() for peer in peers] == [b"", b""]


def asked_peer(peers: list[Connection]) -> Connection:
    """The connection on which the proxy asks about commands: it belongs to the server of the key ``placeholder``."""
    return peers[owner("placeholder", len(peers))]


@pytest.fixture(scope="module")
def scripted(configured: Configure) -> Iterator[tuple[ScriptedServer, ServedPools]]:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        yield server, proxy


@pytest.fixture
def stage(scripted: tuple[ScriptedServer, ServedPools]) -> Iterator[tuple[ServedPools, Connection, Connection]]:
    """A proxy, a client, and the connection to the only server."""
    server, proxy = scripted
    with proxy.client() as client:
        client.send(command("GET", "k"))
        peer = server.answer(NULL)
        client.expect(NULL)
        yield proxy, client, peer
    server.reset()
    proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the connection is closed")


def test_subcommands_of_a_module(configured: Configure) -> None:
    spec = array(
        *(bulk("flags"), words("RO"), bulk("begin_search")),
        *(array(bulk("type"), bulk("index"), bulk("spec"), array(bulk("index"), integer(3))), bulk("find_keys")),
        array(
            *(bulk("type"), bulk("range"), bulk("spec")),
            array(bulk("lastkey"), integer(0), bulk("keystep"), integer(1), bulk("limit"), integer(0)),
        ),
    )
    nothing = [integer(0)] * 3
    third = array(bulk("mod|third"), integer(-2), words("write"), *nothing, words(), words(), array(spec), words())
    none = array(bulk("mod|none"), integer(-2), words("write"), *nothing, words(), words(), words(), words())
    info = array(array(bulk("mod"), integer(-2), words(), *nothing, words(), words(), words(), array(third, none)))
    with ScriptedServer() as first, ScriptedServer() as second, configured(redis_pool(first, second)) as proxy:
        client = proxy.client()
        client.send(command("GET", LEFT) + command("GET", RIGHT))
        peers = [first.answer(NULL), second.answer(NULL)]
        client.expect(NULL * 2)
        client.send(command("MOD", "Third", LEFT, RIGHT) + command("mod", "none", LEFT) + command("MOD", "other"))
        asked = asked_peer(peers)
        assert asked.request() == [b"COMMAND", b"INFO", b"mod"]
        asked.send(info)
        scripts = [server.accept_scripts() for server in (first, second)]
        assert scripts[1].request() == [b"MOD", b"Third", LEFT.encode(), RIGHT.encode()]
        scripts[1].answer(OK)
        client.expect(OK)
        assert client.reply().startswith(b"-ERR 'mod|none' names no key that tells the server, and this pool has 2: ")
        client.expect(error("ERR unknown subcommand 'other'. Try MOD HELP."))


def test_many_clients_wait_for_one_answer(
    stage: tuple[ServedPools, Connection, Connection], scripted: tuple[ScriptedServer, ServedPools]
) -> None:
    proxy, _, peer = stage
    clients = [proxy.client() for _ in range(100)]
    for client in clients:
        client.send(command("WAITED.FOR", "k") + command("PING"))
        client.wait_consumed()
    clients.pop().reset()
    assert peer.request() == [b"COMMAND", b"INFO", b"waited.for"]
    assert peer.collect() == b""
    assert all(client.collect() == b"" for client in clients)
    peer.send(described("waited.for", 1, 1, 1))
    scripts = scripted[0].accept_scripts()
    for _ in clients:
        assert scripts.request() == [b"WAITED.FOR", b"k"]
        scripts.answer(OK)
    for client in clients:
        client.expect(OK + PONG)
        client.close()


def test_replies_keep_their_order(
    stage: tuple[ServedPools, Connection, Connection], scripted: tuple[ScriptedServer, ServedPools]
) -> None:
    _, client, peer = stage
    client.send(command("GET", "k") + command("IN.ORDER", "k") + command("PING") + command("NOT.THERE"))
    assert peer.request() == [b"GET", b"k"]
    assert peer.request() == [b"COMMAND", b"INFO", b"in.order"]
    peer.send(bulk("v") + described("in.order", 1, 1, 1))
    client.expect(bulk("v"))
    scripts = scripted[0].accept_scripts()
    assert scripts.request() == [b"IN.ORDER", b"k"]
    assert peer.request() == [b"COMMAND", b"INFO", b"not.there"]
    scripts.answer(OK)
    peer.send(array(NULL))
    client.expect(OK + PONG + unknown("NOT.THERE"))


@pytest.mark.parametrize(
    ("name", "reply", "answer"),
    [
        ("a.array", array(b"*-1\r\n"), None),
        ("a.nothing", array(), None),
        ("a.integer", integer(1), None),
        ("a.short", array(array(bulk("a.short"), integer(1))), None),
        ("a.step", described("a.step", 1, 1, 0), None),
        ("a.deep", b"*1\r\n" * 3000 + b":1\r\n", None),
        ("a.spec", described("a.spec", 0, 0, 0, words(), words(), array(array(bulk("x"), bulk("y")))), None),
        ("a.command", error("ERR unknown command 'COMMAND', with args beginning with: 'INFO' 'a.command' "), None),
        (
            "a.loading",
            error("LOADING Redis is loading the dataset in memory"),
            error("LOADING Redis is loading the dataset in memory"),
        ),
        ("a.denied", error("NOPERM this user has no permissions"), error("NOPERM this user has no permissions")),
    ],
)
def test_what_else_a_server_may_say(
    stage: tuple[ServedPools, Connection, Connection], name: str, reply: bytes, answer: bytes | None
) -> None:
    _, client, peer = stage
    client.send(command(name, "k") + command("PING") + command(name, "k"))
    assert peer.request() == [b"COMMAND", b"INFO", name.encode()]
    peer.send(reply)
    answer = answer or unknown(name, "'k' ")
    client.expect(answer + PONG + answer)
    assert peer.collect() == b"", "the server is asked only once"


def test_a_server_that_goes_away_while_it_is_asked(stage: tuple[ServedPools, Connection, Connection]) -> None:
    _, client, peer = stage
    client.send(command("GONE.AWAY", "k") + command("PING"))
    assert peer.request() == [b"COMMAND", b"INFO", b"gone.away"]
    peer.close()
    assert client.reply().startswith(b"-ERR ")
    client.expect(PONG)


def test_a_server_that_does_not_answer(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, timeout=100)) as proxy:
        client = proxy.client()
        client.send(command("NO.ANSWER", "k") + command("PING"))
        client.expect(error("ERR Connection timed out") + PONG)


def test_a_server_that_is_down(configured: Configure) -> None:
    with RedisServer("--rename-command", "GET", "FETCH") as server, configured(redis_pool(server)) as proxy:
        server.kill()
        client = proxy.client()
        for _ in range(3):
            client.send(command("FETCH", "k") + command("PING"))
            client.expect(error("ERR Connection refused") + PONG)
        server.start()
        # The proxy remembers for a second that the server could not be asked.
        assert wait_until(lambda: client.ask("FETCH", "k") == NULL, "the server is asked again")


def test_a_pool_whose_servers_are_all_ejected(configured: Configure) -> None:
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 600_000}
    with ScriptedServer(listening=False) as server, configured(redis_pool(server, **directives)) as proxy:
        client = proxy.client()
        for _ in range(2):
            client.send(command("GET", "k") + command("NO.SERVER", "k") + command("PING"))
            client.expect(error("ERR Connection refused") * 2 + PONG)


def test_a_client_that_may_not(configured: Configure, servers: list[RedisServer]) -> None:
    with RedisServer(password="secret") as server, configured(redis_pool(server, redis_auth="secret")) as proxy:
        client = proxy.client()
        client.send(command("NOSUCH") + command("AUTH", "secret") + command("NOSUCH"))
        client.expect(error("NOAUTH Authentication required") + OK + unknown("NOSUCH"))
        assert lookups(server) == 1


def test_while_subscribed(client: Connection) -> None:
    client.send(command("SUBSCRIBE", "news") + command("never.heard.of", "x"))
    client.reply()
    client.expect(unknown("never.heard.of", "'x' "))
