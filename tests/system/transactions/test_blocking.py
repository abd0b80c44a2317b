"""Blocking commands use server connections that one client has for itself, so that no other client waits."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer, ValkeyServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

PONG, QUEUED, NO_ARRAY, NIL = b"+PONG\r\n", b"+QUEUED\r\n", b"*-1\r\n", b"_\r\n"
CROSS_SERVER = error("CROSSSLOT Keys in request don't hash to the same server (use a hash tag)")
WRONG_TYPE = error("WRONGTYPE Operation against a key holding the wrong kind of value")
TIMED_OUT = error("ERR Connection timed out")
[A1, A2, A3], [B1, *_], _ = (keys_of(index, 3, 3) for index in range(3))
TIMEOUT = 200
"""Milliseconds."""


class Waiting(NamedTuple):
    """A command that waits for ``A1`` or ``A2``; TIME in ``request`` is its timeout, and ``unit`` is one second."""

    request: list[str]
    feed: list[str]
    """The command that adds an element for it to ``A1``."""
    reply: bytes
    unit: int = 1
    prepare: Sequence[str] = ()

    def words(self, seconds: float) -> list[str]:
        """The words of the command with this timeout."""
        return [f"{seconds * self.unit:g}" if word == "TIME" else word for word in self.request]

    def sent(self, seconds: float) -> bytes:
        """The request with this timeout."""
        return command(*self.words(seconds))


_PUSH = ["RPUSH", A1, "x"]
_ADD = ["ZADD", A1, "1", "x"]
_APPEND = ["XADD", A1, "1-1", "f", "v"]
_ENTRY = array(bulk(A1), array(array(bulk("1-1"), array(bulk("f"), bulk("v")))))
COMMANDS = {
    "BLPOP": Waiting(["BLPOP", A2, A1, "TIME"], _PUSH, array(bulk(A1), bulk("x"))),
    "BRPOP": Waiting(["BRPOP", A1, "TIME"], _PUSH, array(bulk(A1), bulk("x"))),
    "BRPOPLPUSH": Waiting(["BRPOPLPUSH", A1, A2, "TIME"], _PUSH, bulk("x")),
    "BLMOVE": Waiting(["BLMOVE", A1, A2, "LEFT", "RIGHT", "TIME"], _PUSH, bulk("x")),
    "BLMPOP": Waiting(["BLMPOP", "TIME", "2", A2, A1, "LEFT", "COUNT", "2"], _PUSH, array(bulk(A1), array(bulk("x")))),
    "BZPOPMIN": Waiting(["BZPOPMIN", A1, A2, "TIME"], _ADD, array(bulk(A1), bulk("x"), bulk("1"))),
    "BZPOPMAX": Waiting(["BZPOPMAX", A2, A1, "TIME"], _ADD, array(bulk(A1), bulk("x"), bulk("1"))),
    "BZMPOP": Waiting(["BZMPOP", "TIME", "1", A1, "MIN"], _ADD, array(bulk(A1), array(array(bulk("x"), bulk("1"))))),
    "XREAD": Waiting(["XREAD", "BLOCK", "TIME", "STREAMS", A2, A1, "0", "0"], _APPEND, array(_ENTRY), unit=1000),
    "XREADGROUP": Waiting(
        ["XREADGROUP", "GROUP", "g", "me", "BLOCK", "TIME", "STREAMS", A1, ">"],
        _APPEND,
        array(_ENTRY),
        unit=1000,
        prepare=["XGROUP", "CREATE", A1, "g", "$", "MKSTREAM"],
    ),
}
every_command = pytest.mark.parametrize("waiting", COMMANDS.values(), ids=COMMANDS)


def blocked(server: RedisServer) -> int:
    """The number of blocked clients that the server reports."""
    return int(server.ask("INFO", "clients").partition(b"blocked_clients:")[2].split(b"\r\n")[0])


def wait_blocked(server: RedisServer, count: int = 1) -> None:
    """Wait until ``count`` clients of the server are blocked."""
    wait_until(lambda: blocked(server) == count, f"{count} clients are blocked")


@pytest.fixture(scope="module", autouse=True)
def quick_servers(running_servers: list[RedisServer]) -> Iterator[None]:
    """Servers that look for expired timeouts every 2 ms instead of every 100 ms."""
    for server in running_servers:
        assert server.ask("CONFIG", "SET", "hz", 500) == OK
    yield
    for server in running_servers:
        assert server.ask("CONFIG", "SET", "hz", 10) == OK


# --- each command ----------------------------------------------------------------------------------------------------


@every_command
def test_pops_at_once(anybody: Connection, waiting: Waiting) -> None:
    if waiting.prepare:
        assert anybody.ask(*waiting.prepare) == OK
    anybody.send(command(*waiting.feed) + waiting.sent(0) + command("PING"))
    fed = anybody.reply()
    assert fed[:1] in b":$"
    anybody.expect(waiting.reply + PONG)


@every_command
def test_is_served_by_another_client(
    any_proxy: ServedPools, anybody: Connection, servers: list[RedisServer], waiting: Waiting
) -> None:
    if waiting.prepare:
        assert anybody.ask(*waiting.prepare) == OK
    anybody.send(waiting.sent(0) + command("PING"))
    wait_blocked(servers[0])
    assert anybody.collect() == b""
    with any_proxy.client() as other:
        assert other.ask(*waiting.feed)[:1] in b":$"
    anybody.expect(waiting.reply + PONG)
    assert blocked(servers[0]) == 0


@pytest.mark.parametrize("version", [2, 3])
@every_command
def test_times_out(anybody: Connection, waiting: Waiting, version: int) -> None:
    anybody.ask("HELLO", version)
    if waiting.prepare:
        assert anybody.ask(*waiting.prepare) == OK
    anybody.send(waiting.sent(0.01) + command("PING"))
    anybody.expect((NO_ARRAY if version == 2 else NIL) + PONG)


@every_command
def test_does_not_block_in_a_transaction(anybody: Connection, waiting: Waiting) -> None:
    if waiting.prepare:
        assert anybody.ask(*waiting.prepare) == OK
    anybody.send(command("MULTI") + waiting.sent(0) + command(*waiting.feed) + command("EXEC") + command("PING"))
    anybody.expect(OK + QUEUED * 2)
    assert anybody.reply().startswith((b"*2\r\n*-1\r\n", b"*2\r\n$-1\r\n"))
    anybody.expect(PONG)


@pytest.mark.parametrize(
    "words",
    [
        ["BLPOP", A1, "x"],
        ["BLPOP", A1, "-1"],
        ["BLMPOP", "0", "x", A1, "LEFT"],
        ["XREAD", "BLOCK", "x", "STREAMS", A1, "$"],
    ],
)
def test_errors_of_the_server(anybody: Connection, words: list[str]) -> None:
    anybody.send(command(*words) + command("SET", A1, "x") + command("BLPOP", A1, 0) + command("GET", A1))
    assert anybody.reply().startswith(b"-ERR ")
    anybody.expect(OK + WRONG_TYPE + bulk("x"))


@pytest.mark.parametrize(
    "words",
    [
        ["BLPOP", A1, B1, "0"],
        ["BLMOVE", A1, B1, "LEFT", "LEFT", "0"],
        ["BLMPOP", "0", "2", B1, A1, "LEFT"],
        ["XREAD", "BLOCK", "0", "STREAMS", A1, B1, "0", "0"],
    ],
)
def test_keys_on_two_servers(client: Connection, words: list[str]) -> None:
    client.send(command(*words) + command("PING"))
    client.expect(CROSS_SERVER + PONG)


def test_arity(anybody: Connection) -> None:
    anybody.send(command("BLPOP", A1) + command("PING"))
    anybody.expect(error("ERR wrong number of arguments for 'blpop' command") + PONG)


# --- with others -----------------------------------------------------------------------------------------------------


def test_others_go_on(any_proxy: ServedPools, servers: list[RedisServer]) -> None:
    blocking = [any_proxy.client() for _ in range(5)]
    for client in blocking:
        client.send(command("BLPOP", A1, A2, 0))
    wait_blocked(servers[0], 5)
    with any_proxy.client() as other:
        work = command("SET", A3, "1") + command("GET", A3) + command("MGET", A3, B1) + command("DEL", A3)
        other.send(work * 500)
        other.expect((OK + bulk("1") + array(bulk("1"), NULL) + integer(1)) * 500)
        assert other.ask("RPUSH", A2, *range(5)) == integer(5)
    popped = [client.reply() for client in blocking]
    assert popped == [array(bulk(A2), bulk(number)) for number in range(5)]
    for client in blocking:
        client.close()


def test_many_clients_and_one_pusher(any_proxy: ServedPools, servers: list[RedisServer]) -> None:
    clients = [any_proxy.client() for _ in range(200)]
    for client in clients:
        client.send(command("BLPOP", A1, 0) + command("INCR", A3))
    wait_blocked(servers[0], 200)
    with any_proxy.client() as pusher:
        pusher.send(b"".join(command("RPUSH", A1, number) for number in range(230)))
        for reply in pusher.replies(230):
            assert reply[:1] == b":"
        popped = []
        for client in clients:
            reply = client.reply()
            assert reply.startswith(b"*2\r\n" + bulk(A1)), reply
            popped.append(int(reply.split(b"\r\n")[4]))
            assert client.reply()[:1] == b":"
        left = [int(word) for word in pusher.ask("LRANGE", A1, 0, -1).split(b"\r\n")[2::2]]
        assert sorted(popped + left) == list(range(230))
        assert pusher.ask("GET", A3) == bulk(200)
    for client in clients:
        client.close()


def test_a_job_goes_round(any_proxy: ServedPools) -> None:
    """Ten workers pass a number from list to list, and each worker adds one."""
    workers = [any_proxy.client() for _ in range(10)]
    queues = [f"{{q}}{number}" for number in range(11)]
    with any_proxy.client() as client:
        for _ in range(20):
            for number, worker in enumerate(workers):
                worker.send(command("BLPOP", queues[number], 0))
            client.send(command("RPUSH", queues[0], 1) + command("BLPOP", queues[-1], 0))
            for number, worker in enumerate(workers):
                value = int(worker.reply().split(b"\r\n")[4])
                assert worker.ask("RPUSH", queues[number + 1], value + 1) == integer(1)
            client.expect(integer(1) + array(bulk(queues[-1]), bulk(11)))
    for worker in workers:
        worker.close()


# --- in order --------------------------------------------------------------------------------------------------------


def test_what_follows_waits(any_proxy: ServedPools, anybody: Connection, servers: list[RedisServer]) -> None:
    follows = command("GET", A2) + command("SET", A2, "mine") + command("GET", B1) + command("BLPOP", A1, 0)
    anybody.send(command("BLPOP", A1, 0) + follows + command("GET", A2))
    wait_blocked(servers[0])
    with any_proxy.client() as other:
        other.send(command("SET", A2, "theirs") + command("SET", B1, "theirs") + command("RPUSH", A1, "1"))
        other.expect(OK * 2 + integer(1))
        anybody.expect(array(bulk(A1), bulk("1")) + bulk("theirs") + OK + bulk("theirs"))
        wait_blocked(servers[0])
        other.send(command("GET", A2) + command("RPUSH", A1, "2"))
        other.expect(bulk("mine") + integer(1))
    anybody.expect(array(bulk(A1), bulk("2")) + bulk("mine"))


def test_much_follows(any_proxy: ServedPools, anybody: Connection, servers: list[RedisServer]) -> None:
    anybody.send(command("BLPOP", A1, 0))
    wait_blocked(servers[0])
    with any_proxy.client() as other:
        anybody.send(b"".join(command("SET", A2, b"%d" % i * 300) for i in range(100)))
        assert other.ask("RPUSH", A1, "x") == integer(1)
    anybody.expect(array(bulk(A1), bulk("x")) + OK * 100)
    assert anybody.ask("GET", A2) == bulk(b"99" * 300)


def test_what_was_sent_before_is_done_before(anybody: Connection) -> None:
    for number in range(100):
        anybody.send(command("RPUSH", A1, number) + command("BLPOP", A1, 0))
    anybody.expect(b"".join(integer(1) + array(bulk(A1), bulk(number)) for number in range(100)))


# --- time ------------------------------------------------------------------------------------------------------------


def test_the_timeout_of_the_pool_is_not_for_them(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, timeout=TIMEOUT)) as proxy:
        client, other = proxy.client(), proxy.client()
        client.send(command("BLPOP", A1, 1) + command("GET", A1))
        wait_blocked(servers[0])
        with servers[0].paused():
            # Requests of other clients have a timeout.
            assert other.ask("GET", A1) == TIMED_OUT
        client.expect(NO_ARRAY + NULL)
        client.send(command("WATCH", A2) + command("BLPOP", A1, "0.5") + command("GET", A1) + command("UNWATCH"))
        client.expect(OK + NO_ARRAY + NULL + OK)
        stats = proxy.server_stats()
        assert (stats["server_timedout"], stats["server_err"]) == (1, 0)


def test_a_server_that_cannot_be_reached(configured: Configure) -> None:
    with ScriptedServer(backlog=0) as full, full.fill_up(), configured(redis_pool(full, timeout=TIMEOUT)) as proxy:
        client = proxy.client()
        client.send(command("BLPOP", A1, 0) + command("PING"))
        client.expect(TIMED_OUT + PONG)
        client.send(command("WAIT", 0, 0) + command("PING"))
        client.expect(TIMED_OUT + PONG)


# --- the state of the connection -------------------------------------------------------------------------------------


def test_replies_are_not_wanted(any_proxy: ServedPools, anybody: Connection) -> None:
    skip, off, on = (command("CLIENT", "REPLY", mode) for mode in ("SKIP", "OFF", "ON"))
    waiting = command("BLPOP", A1, 0)
    with any_proxy.client() as other:
        for prefix, suffix in ((skip, b""), (off, on)):
            anybody.send(prefix + waiting + suffix + command("GET", A2))
            assert other.ask("RPUSH", A1, "x") == integer(1)
            anybody.expect((OK if suffix else b"") + NULL)
            assert other.ask("LLEN", A1) == integer(0)


def test_databases(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, databases=4)) as proxy:
        client, other = proxy.client(), proxy.client()
        client.send(command("SELECT", 3) + command("BLPOP", A1, 0))
        wait_blocked(servers[0])
        other.send(command("RPUSH", A1, "in 0") + command("SELECT", 3) + command("RPUSH", A1, "in 3"))
        other.expect(integer(1) + OK + integer(1))
        client.expect(OK + array(bulk(A1), bulk("in 3")))
        client.send(command("SELECT", 0) + command("BLPOP", A1, 0))
        client.expect(OK + array(bulk(A1), bulk("in 0")))


def test_while_keys_are_watched(any_proxy: ServedPools, anybody: Connection, servers: list[RedisServer]) -> None:
    work = command("MULTI") + command("SET", A2, "1") + command("EXEC")
    with any_proxy.client() as other:
        for change in ("", A2):
            anybody.send(command("WATCH", A2) + command("BLPOP", A1, 0) + command("GET", A3) + work)
            wait_blocked(servers[0])
            if change:
                assert other.ask("SET", change, "x") == OK
            assert other.ask("RPUSH", A1, "x") == integer(1)
            anybody.expect(OK + array(bulk(A1), bulk("x")) + NULL + OK + QUEUED + (NO_ARRAY if change else array(OK)))
        # The key that the client waits for can also be the key that it watches.
        anybody.send(command("WATCH", A1) + command("BLPOP", A1, 0) + work)
        wait_blocked(servers[0])
        assert other.ask("RPUSH", A1, "x") == integer(1)
        anybody.expect(OK + array(bulk(A1), bulk("x")) + OK + QUEUED + NO_ARRAY)


def test_inline(any_proxy: ServedPools, anybody: Connection, servers: list[RedisServer]) -> None:
    anybody.send(f"BLPOP {A1} 0\r\nPING\r\n".encode())
    wait_blocked(servers[0])
    with any_proxy.client() as other:
        assert other.ask("RPUSH", A1, "x") == integer(1)
    anybody.expect(array(bulk(A1), bulk("x")) + PONG)


def test_connections_are_used_again(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers)) as proxy:
        client, other = proxy.client(), proxy.client()
        for connection in [client, other] * 20:
            connection.send(command("RPUSH", A1, "x") + command("BLPOP", A1, 0) + command("BLPOP", A2, "0.001"))
            connection.expect(integer(1) + array(bulk(A1), bulk("x")) + NO_ARRAY)
        stats = proxy.pool_stats()
        assert [stats[name]["server_connections"] for name in ("s00", "s01", "s02")] == [2, 0, 0]
        for connection in (client, other):
            connection.send(command("BLPOP", A1, 0))
        wait_blocked(servers[0], 2)
        assert proxy.server_stats()["server_connections"] == 3
        assert proxy.server_stats()["in_queue"] == 0
        for connection in (client, other):
            assert servers[0].ask("RPUSH", A1, "x") == integer(1)
            connection.expect(array(bulk(A1), bulk("x")))
        assert proxy.server_stats()["server_connections"] == 3
        assert proxy.server_stats()["server_eof"] == proxy.server_stats()["server_err"] == 0


def test_the_cap(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, blocking_connections=2)) as proxy:
        first, second, third = (proxy.client() for _ in range(3))
        for client in (first, second):
            client.send(command("BLPOP", A1, 0))
        wait_blocked(servers[0], 2)
        full = error(
            f"ERR all 2 private server connections of pool {proxy.served_name()} are in use: 'blocking_connections' in"
            " its configuration allows more"
        )
        third.send(
            command("BLPOP", A1, 0) + command("WAIT", 0, 0) + command("SET", A2, "1") + command("RPUSH", A1, "x")
        )
        third.expect(full * 2 + OK + integer(1))
        first.expect(array(bulk(A1), bulk("x")))
        third.send(command("RPUSH", A2 + "l", "y") + command("BLPOP", B1, "0.001"))
        third.expect(integer(1) + NO_ARRAY)
        second.close()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 2, "the second client is gone")
        for client in (first, third):
            client.send(command("BLPOP", A1, 0))
        wait_blocked(servers[0], 2)
        assert servers[0].ask("RPUSH", A1, "1", "2") == integer(2)
        for client in (first, third):
            assert client.reply().startswith(b"*2\r\n")


# --- WAIT and WAITAOF ------------------------------------------------------------------------------------------------


def is_linked(replica: RedisServer) -> bool:
    """Whether the replica has synchronised with its server and stays connected."""
    return b"master_link_status:up" in replica.ask("INFO", "replication")


@pytest.fixture(scope="module")
def replicated(configured: Configure) -> Iterator[tuple[ServedPools, list[RedisServer], list[RedisServer]]]:
    """A proxy in front of three servers with an append-only file and a replica each."""
    servers: list[RedisServer] = []
    replicas: list[RedisServer] = []
    try:
        for _ in range(3):
            servers.append(ValkeyServer("--appendonly", "yes", "--repl-diskless-sync-delay", "0"))
            replicas.append(ValkeyServer("--replicaof", f"127.0.0.1 {servers[-1].port}", "--appendonly", "yes"))
        for replica in replicas:
            wait_until(partial(is_linked, replica), "the replica is synchronised")
        with configured(redis_pool(*servers)) as proxy:
            yield proxy, servers, replicas
    finally:
        for server in [*servers, *replicas]:
            server.__exit__(None, None, None)


Replicated = tuple[ServedPools, list[RedisServer], list[RedisServer]]


def test_wait(replicated: Replicated) -> None:
    proxy, _, replicas = replicated
    client = proxy.client()
    for number in range(50):
        client.send(command("MSET", "k0", number, "k1", number, "k2", number) + command("WAIT", 1, 10000))
        client.expect(OK + integer(1))
        values = {replica.ask("GET", key) for replica in replicas for key in ("k0", "k1", "k2")}
        assert values == {NULL, bulk(number)}
    client.send(command("WAIT", "x", 0) + command("PING"))
    client.expect(error("ERR value is not an integer or out of range") + PONG)


def test_waitaof(replicated: Replicated) -> None:
    client = replicated[0].client()
    client.send(command("MSET", "k0", "a", "k1", "a", "k2", "a") + command("WAITAOF", 1, 1, 10000) + command("PING"))
    client.expect(OK + array(integer(1), integer(1)) + PONG)


def test_wait_is_for_writes_on_shared_connections(replicated: Replicated) -> None:
    """A paused replica has not received the new writes, whatever it received before."""
    proxy, _, replicas = replicated
    client, other = proxy.client(), proxy.client()
    client.send(command("SET", A1, "1") + command("WAIT", 1, 10000))
    client.expect(OK + integer(1))
    with replicas[0].paused():
        client.send(command("SET", A1, "2") + command("WAIT", 1, 1))
        client.expect(OK + integer(0))
        client.send(command("WAIT", 1, 0) + command("GET", A1))
        other.send(command("SET", A2, "1") + command("GET", A2) + command("GET", A1))
        other.expect(OK + bulk("1") + bulk("2"))
        assert client.collect() == b""
    client.expect(integer(1) + bulk("2"))
    assert replicas[0].ask("GET", A1) == bulk("2")


def test_a_client_that_waits_for_replicas_leaves(replicated: Replicated) -> None:
    proxy, servers, replicas = replicated
    client = proxy.client()
    with replicas[0].paused():
        client.send(command("SET", A1, "3") + command("WAIT", 1, 0))
        client.expect(OK)
        wait_blocked(servers[0])
        client.close()
        wait_blocked(servers[0], 0)
