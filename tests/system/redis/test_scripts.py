"""Scripts: EVALSHA runs its script on every server if the proxy has seen the script."""

import hashlib
import re
from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import MOST_IN_SLICE, FencedPeer, ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

NOSCRIPT = error("NOSCRIPT No matching script. Please use EVAL.")
PONG = b"+PONG\r\n"

[A1, A2], [B1], [C1] = keys_of(0, 3, 2), keys_of(1, 3), keys_of(2, 3)


def digest(body: str) -> str:
    """The digest by which servers identify a script."""
    return hashlib.sha1(body.encode()).hexdigest()


BODY = "return redis.call('incr', KEYS[1])"
READS = "return redis.call('get', KEYS[1])"
SHA, READS_SHA = digest(BODY), digest(READS)


def calls(server: RedisServer) -> dict[str, int]:
    """The number of calls that run scripts at a server since CONFIG RESETSTAT, by command."""
    found = re.findall(rb"cmdstat_(evalsha|eval|evalsha_ro|eval_ro):calls=(\d+)", server.ask("INFO", "commandstats"))
    return {name.decode(): int(number) for name, number in found}


def forget(*servers: RedisServer) -> None:
    """Delete the scripts of servers, and reset their statistics."""
    for server in servers:
        assert server.ask("SCRIPT", "FLUSH") == OK
        assert server.ask("CONFIG", "RESETSTAT") == OK


@pytest.fixture(scope="module")
def script_proxy(configured: Configure, running_servers: list[RedisServer]) -> Iterator[ServedPools]:
    with configured(redis_pool(*running_servers, databases=4, allow_commands="script|flush")) as proxy:
        yield proxy


@pytest.fixture
def fresh(script_proxy: ServedPools, servers: list[RedisServer]) -> Iterator[Connection]:
    """A client of a proxy that has seen no script, in front of servers that have no script."""
    with script_proxy.client() as client:
        assert client.ask("SCRIPT", "FLUSH") == OK
        forget(*servers)
        yield client


# --- scripts that the proxy has seen ---------------------------------------------------------------------------------


def test_script_load_reaches_all_servers(fresh: Connection, servers: list[RedisServer]) -> None:
    assert fresh.ask("SCRIPT", "LOAD", BODY) == bulk(SHA)
    for server in servers:
        assert server.ask("SCRIPT", "EXISTS", SHA) == array(integer(1))
    fresh.send(b"".join(command("EVALSHA", SHA, 1, key) for key in (A1, B1, C1) * 100))
    fresh.expect(b"".join(integer(i) * 3 for i in range(1, 101)))
    assert [calls(server) for server in servers] == [{"evalsha": 100}] * 3, "one request each, and nothing else"


def test_what_no_server_knows_stays_unknown(fresh: Connection, servers: list[RedisServer]) -> None:
    for name in (SHA, "x" * 40, "", "x", "f" * 41):
        for call in ("EVALSHA", "EVALSHA_RO"):
            fresh.send(command(call, name, 1, B1) + command("PING"))
            fresh.expect(servers[0].ask(call, name, 1, "k") + PONG)
    assert fresh.ask("EVALSHA", SHA, 1, B1) == NOSCRIPT


@pytest.mark.parametrize(
    "shown",
    [
        ["SCRIPT", "LOAD", READS],
        ["script", "load", READS],
        ["EVAL", READS, 1, A1],
        ["eval_ro", READS, 1, A1],
        ["EVAL", READS, 2, A1, A2, "x"],
    ],
    ids=lambda words: " ".join(map(str, words[:2])),
)
@pytest.mark.parametrize("call", ["EVALSHA", "evalsha_ro"])
@pytest.mark.parametrize("version", [2, 3])
def test_a_server_that_does_not_know_it_gets_the_script(
    fresh: Connection, servers: list[RedisServer], shown: list[str | int], call: str, version: int
) -> None:
    fresh.ask("HELLO", version)
    assert fresh.ask(*shown) in (bulk(READS_SHA), NULL, b"_\r\n")
    servers[1].ask("SET", B1, "b")
    forget(*servers)
    fresh.send(command(call, READS_SHA, 1, B1) + command(call, READS_SHA.upper(), 1, B1) + command("PING"))
    fresh.expect(bulk("b") * 2 + PONG)
    by_body = "eval" if call == "EVALSHA" else "eval_ro"
    told = calls(servers[1])
    assert told.pop(by_body) in (1, 2)
    assert told == {call.lower(): 2}
    servers[1].ask("CONFIG", "RESETSTAT")
    assert fresh.ask(call, READS_SHA, 1, B1) == bulk("b")
    assert calls(servers[1]) == {call.lower(): 1}, "the server now has the script"
    assert calls(servers[2]) == {}


def test_a_transaction_neither_shows_a_script_nor_is_retried(fresh: Connection, servers: list[RedisServer]) -> None:
    fresh.send(command("MULTI") + command("EVAL", BODY, 1, A1) + command("EXEC") + command("EVALSHA", SHA, 1, B1))
    fresh.expect(OK + b"+QUEUED\r\n" + array(integer(1)) + NOSCRIPT)
    assert fresh.ask("SCRIPT", "LOAD", BODY) == bulk(SHA)
    forget(*servers)
    fresh.send(command("MULTI") + command("EVALSHA", SHA, 1, A1) + command("EXEC"))
    fresh.expect(OK + b"+QUEUED\r\n" + array(NOSCRIPT))


def test_an_error_of_a_script_that_looks_like_noscript_does_not_run_it_again(
    fresh: Connection, servers: list[RedisServer]
) -> None:
    body = "redis.call('INCR', KEYS[1]) return redis.error_reply('NOSCRIPT No matching script')"
    digest = hashlib.sha1(body.encode()).hexdigest()
    assert fresh.ask("SCRIPT", "LOAD", body) == bulk(digest)
    assert fresh.ask("EVALSHA", digest, 1, A1) == error("NOSCRIPT No matching script")
    assert fresh.ask("GET", A1) == bulk("1")


def test_a_server_that_was_restarted(configured: Configure) -> None:
    with RedisServer() as first, RedisServer() as second, configured(redis_pool(first, second)) as proxy:
        client, [key] = proxy.client(), keys_of(1, 2)
        assert client.ask("SCRIPT", "LOAD", BODY) == bulk(SHA)
        second.kill()
        second.start()
        proxy.wait_stats(lambda pool: pool["s01"]["server_connections"] == 0, "the connection is lost")
        client.send(command("EVALSHA", SHA, 1, key) * 3)
        client.expect(integer(1) + integer(2) + integer(3))


def test_without_keys_in_a_pool_of_one_server(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0])) as proxy:
        client = proxy.client()
        assert client.ask("EVAL", "return 7", 0) == integer(7)
        forget(servers[0])
        assert client.ask("EVALSHA", digest("return 7"), 0) == integer(7)
        assert client.ask("EVALSHA", digest("return 8"), 0) == NOSCRIPT


def test_script_flush_forgets(fresh: Connection, servers: list[RedisServer]) -> None:
    for mode in ([], ["SYNC"], ["ASYNC"]):
        assert fresh.ask("SCRIPT", "LOAD", BODY) == bulk(SHA)
        assert fresh.ask("SCRIPT", "EXISTS", SHA, READS_SHA) == array(integer(1), integer(0))
        assert fresh.ask("SCRIPT", "FLUSH", *mode) == OK
        assert fresh.ask("SCRIPT", "EXISTS", SHA) == array(integer(0))
        assert fresh.ask("EVALSHA", SHA, 1, A1) == NOSCRIPT


def test_another_client_of_the_pool(fresh: Connection, servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers)) as proxy:
        first, second = proxy.client(), proxy.client()
        assert first.ask("EVAL", BODY, 1, A1) == integer(1)
        assert second.ask("EVALSHA", SHA, 1, C1) == integer(1)
        assert fresh.ask("EVALSHA", SHA, 1, B1) == NOSCRIPT, "another proxy has seen nothing"


# --- pipelines -------------------------------------------------------------------------------------------------------


def test_in_a_pipeline_replies_keep_their_order(fresh: Connection, servers: list[RedisServer]) -> None:
    assert fresh.ask("SCRIPT", "LOAD", BODY) == bulk(SHA)
    forget(*servers)
    stream = command("EVALSHA", SHA, 1, A1) + command("ECHO", "x") + command("EVALSHA", SHA, 1, B1)
    stream += command("EVALSHA", "f" * 40, 1, B1) + command("DBSIZE")
    # Not more than one window: later requests may run before a script that is sent again.
    fresh.send(stream * 20)
    for i in range(1, 21):
        fresh.expect(integer(i) + bulk("x") + integer(i) + NOSCRIPT)
        assert fresh.reply() in (integer(1), integer(2), integer(0))
    assert calls(servers[2]) == {}


def test_clients_that_want_no_replies(fresh: Connection, servers: list[RedisServer]) -> None:
    assert fresh.ask("SCRIPT", "LOAD", BODY) == bulk(SHA)
    forget(*servers)
    fresh.send(command("CLIENT", "REPLY", "OFF") + command("EVALSHA", SHA, 1, A1) * 5 + command("EVALSHA", "x", 1, A1))
    fresh.send(command("CLIENT", "REPLY", "ON") + command("GET", A1))
    assert fresh.reply() == OK
    fresh.reply()
    assert fresh.ask("GET", A1) == bulk(5)
    fresh.send(command("CLIENT", "REPLY", "SKIP") + command("EVALSHA", SHA, 1, C1) + command("PING"))
    fresh.expect(PONG)
    assert fresh.ask("GET", C1) == bulk(1)
    fresh.send(
        command("CLIENT", "REPLY", "OFF") + command("EVAL", READS, 1, A1) + command("SCRIPT", "LOAD", "return 5")
    )
    fresh.send(command("CLIENT", "REPLY", "ON") + command("GET", A1))
    fresh.expect(OK + bulk(5))
    assert fresh.ask("EVALSHA", READS_SHA, 1, C1) == bulk(1)


def test_in_another_database(fresh: Connection, servers: list[RedisServer]) -> None:
    fresh.send(command("SCRIPT", "LOAD", BODY) + command("SELECT", 2))
    fresh.expect(bulk(SHA) + OK)
    forget(*servers)
    assert fresh.ask("EVALSHA", SHA, 1, B1) == integer(1)
    assert [servers[1].ask("EXISTS", B1, db=db) for db in (0, 2)] == [integer(0), integer(1)]


# --- errors ----------------------------------------------------------------------------------------------------------


def test_errors_of_scripts_are_relayed(fresh: Connection, servers: list[RedisServer]) -> None:
    fails = "return redis.error_reply('MINE it fails')"
    fresh.ask("SCRIPT", "LOAD", fails)
    forget(*servers)
    assert fresh.ask("EVALSHA", digest(fails), 1, B1) == error("MINE it fails")
    fresh.ask("SCRIPT", "LOAD", BODY)
    forget(*servers)
    assert fresh.ask("EVALSHA_RO", SHA, 1, B1).startswith(b"-ERR Write commands are not allowed from read-only scripts")


@pytest.mark.parametrize("shown", [["EVAL", "{}", 1, A1], ["SCRIPT", "LOAD", "{}"]], ids=["EVAL", "SCRIPT LOAD"])
@pytest.mark.parametrize(
    "body",
    ["this is no script", "#!lua flags=nosuch\nreturn 1", f"return 1 --{'x' * 65536}"],
    ids=["syntax", "flag", "too long"],
)
def test_only_what_servers_accept_is_remembered_and_nothing_long(
    fresh: Connection, servers: list[RedisServer], shown: list[str | int], body: str
) -> None:
    fresh.ask(*(word.format(body) if isinstance(word, str) else word for word in shown))
    forget(*servers)
    assert fresh.ask("EVALSHA", digest(body), 1, B1) == NOSCRIPT
    assert calls(servers[1]) == {"evalsha": 1}


def test_where_it_cannot_go(fresh: Connection) -> None:
    fresh.ask("SCRIPT", "LOAD", BODY)
    assert fresh.ask("EVALSHA", SHA, 2, A1, B1).startswith(b"-CROSSSLOT ")
    assert fresh.ask("EVALSHA", SHA, 0).startswith(b"-ERR 'evalsha' without keys ")
    assert fresh.ask("EVALSHA", SHA, 2, A1) == error("ERR Number of keys can't be greater than number of args")
    assert fresh.ask("EVALSHA", SHA, -1, A1) == error("ERR Number of keys can't be negative")
    assert fresh.ask("EVALSHA", SHA) == error("ERR wrong number of arguments for 'evalsha' command")
    assert fresh.ask("EVALSHA", SHA, 2, A1, A2) == integer(1)


def test_a_script_is_sent_once(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("SCRIPT", "LOAD", BODY))
        peer = server.accept_scripts()
        assert peer.request() == [b"SCRIPT", b"LOAD", BODY.encode()]
        peer.answer(bulk(SHA))
        client.expect(bulk(SHA))
        client.send(command("EvalSha", SHA, 1, "k", "x") + command("GET", "k"))
        assert peer.request() == [b"EvalSha", SHA.encode(), b"1", b"k", b"x"]
        assert peer.request() == [b"GET", b"k"]
        peer.answer(NOSCRIPT + bulk("v"))
        assert peer.request() == [b"eval", BODY.encode(), b"1", b"k", b"x"]
        assert client.collect() == b""
        peer.answer(NOSCRIPT)
        client.expect(NOSCRIPT + bulk("v"))
        client.send(command("EVALSHA", SHA, 1, "k") + command("PING"))
        peer.request()
        peer.answer(error("ERR NOSCRIPT is not the first word"))
        client.expect(error("ERR NOSCRIPT is not the first word") + PONG)
        client.send(command("EVAL", BODY, 1, "k") + command("PING"))
        peer.request()
        peer.answer(NOSCRIPT)
        client.expect(NOSCRIPT + PONG)
        assert peer.collect() == b""


def see_script(server: ScriptedServer, client: Connection, body: str) -> FencedPeer:
    """Let the proxy see a script; returns the server's connection for scripts."""
    client.send(command("EVAL", body, 1, "k"))
    peer = server.accept_scripts()
    peer.request()
    peer.answer(integer(1))
    client.expect(integer(1))
    return peer


def test_a_server_that_goes_away_in_between(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        peer = see_script(server, client, BODY)
        client.send(command("EVALSHA", SHA, 1, "k") + command("PING"))
        peer.request()
        peer.answer(NOSCRIPT)
        assert peer.request()[0] == b"eval"
        peer.close()
        assert client.reply().startswith(b"-ERR ")
        client.expect(PONG)
        client.send(command("EVALSHA", SHA, 1, "k"))
        peer = server.accept_scripts()
        peer.request()
        peer.answer(integer(2))
        client.expect(integer(2))


def test_a_client_that_goes_away_in_between(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client, other = proxy.client(), proxy.client()
        peer = see_script(server, client, BODY)
        client.send(command("EVALSHA", SHA, 1, "k"))
        peer.request()
        client.reset()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 1, "the client is gone")
        peer.answer(NOSCRIPT)
        other.send(command("EVAL", "return 1", 1, "k"))
        assert peer.request()[0] == b"EVAL", "no client waits for the reply of the script"
        peer.answer(NULL)
        other.expect(NULL)


# --- memory ----------------------------------------------------------------------------------------------------------

LONG = "x" * 65_000


def test_only_so_many_scripts_are_remembered(fresh: Connection, servers: list[RedisServer]) -> None:
    bodies = [f"return {number} --{LONG}" for number in range(270)]
    fresh.send(b"".join(command("EVAL", body, 1, A1) for body in bodies))
    fresh.expect(b"".join(integer(number) for number in range(270)))
    forget(*servers)
    assert fresh.ask("EVALSHA", digest(bodies[0]), 1, A1) == NOSCRIPT
    assert fresh.ask("EVALSHA", digest(bodies[269]), 1, A1) == integer(269)


def test_only_so_many_scripts_are_on_their_way(configured: Configure) -> None:
    """Short requests must not become an unlimited number of long requests."""
    body = f"return 1 --{LONG}"
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        peer = see_script(server, client, body)
        peer.widen_window(client)
        before = proxy.server_stats()
        client.send(command("EVALSHA", digest(body), 1, "k") * 300)
        for sent in range(300):
            if sent and sent % MOST_IN_SLICE == 0:
                peer.read_fence()
            assert peer.request()[0] == b"EVALSHA"
        slices = [MOST_IN_SLICE] * (300 // MOST_IN_SLICE) + [300 % MOST_IN_SLICE]
        peer.read_fence()
        peer.send(b"".join(NOSCRIPT * n + peer.fences.pop(0) for n in slices))
        due = before["response_bytes"] + len(NOSCRIPT) * 300
        proxy.wait_stats(lambda pool: pool["s00"]["response_bytes"] >= due, "all replies have been read")
        sent = proxy.server_stats()["requests"] - before["requests"] - 300
        assert sent == (1 << 20) // (len(command("eval", body, 1, "k")))
        for _ in range(sent):
            assert peer.request()[0] == b"eval"
        peer.answer(integer(1) * sent)
        client.expect(integer(1) * sent + NOSCRIPT * (300 - sent))
        client.send(command("EVALSHA", digest(body), 1, "k"))
        peer.request()
        peer.answer(NOSCRIPT)
        assert peer.request()[0] == b"eval", "answered requests do not count"
        peer.answer(integer(1))
        client.expect(integer(1))
