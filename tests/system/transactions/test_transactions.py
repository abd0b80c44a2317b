"""WATCH, MULTI, EXEC and DISCARD work as in redis, on the server of the first key."""

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

PONG, QUEUED, NO_ARRAY = b"+PONG\r\n", b"+QUEUED\r\n", b"*-1\r\n"
ABORTED = error("EXECABORT Transaction discarded because of previous errors.")
CROSS_SERVER = error("CROSSSLOT Keys in request don't hash to the same server (use a hash tag)")
MULTI, EXEC, DISCARD, UNWATCH = (command(word) for word in ("MULTI", "EXEC", "DISCARD", "UNWATCH"))
[A1, A2, A3], [B1, B2, *_], _ = (keys_of(index, 3, 3) for index in range(3))
WORK = command("SET", A1, "1") + command("INCR", A2) + command("GET", A1)
DONE = OK + QUEUED * 3 + array(OK, integer(1), bulk("1"))


def not_in_transaction(name: str) -> bytes:
    """The error for a command that cannot be queued."""
    return error(
        f"ERR '{name}' is not available in a transaction through this proxy, which takes place on the server of its"
        " keys"
    )


# --- as in redis -----------------------------------------------------------------------------------------------------


def test_one_at_a_time(anybody: Connection) -> None:
    assert anybody.ask("MULTI") == OK
    assert anybody.ask("SET", A1, "1") == QUEUED
    assert anybody.ask("INCR", A1) == QUEUED
    assert anybody.ask("EXEC") == array(OK, integer(2))
    assert anybody.ask("GET", A1) == bulk("2")


def test_in_one_write(anybody: Connection) -> None:
    anybody.send((MULTI + WORK + EXEC + command("DEL", A2)) * 50)
    anybody.expect((DONE + integer(1)) * 50)


def test_cut_at_any_byte(any_proxy: ServedPools, anybody: Connection) -> None:
    stream = command("WATCH", A1, A2) + MULTI + WORK + EXEC + command("DEL", A2) + command("PING")
    with any_proxy.client() as other:
        for cut in range(1, len(stream)):
            anybody.send(stream[:cut])
            # When PING is answered, the proxy has read the bytes before the cut.
            assert other.ask("PING") == PONG
            anybody.send(stream[cut:])
            anybody.expect(OK + DONE + integer(1) + PONG)


def test_byte_by_byte(any_proxy: ServedPools, anybody: Connection) -> None:
    with any_proxy.client() as other:
        for byte in command("WATCH", A1) + MULTI + WORK + EXEC:
            anybody.send(bytes([byte]))
            assert other.ask("PING") == PONG
    anybody.expect(OK + DONE)


def test_inline(anybody: Connection) -> None:
    anybody.send(f"WATCH {A1}\r\nMULTI\r\nSET {A1} 'a b'\r\nGET {A1}\r\nEXEC\r\nGET {A1}\r\n".encode())
    anybody.expect(OK * 2 + QUEUED * 2 + array(OK, bulk("a b")) + bulk("a b"))


def test_errors_of_execution_stand_in_their_places(anybody: Connection) -> None:
    anybody.send(MULTI + command("SET", A1, "text") + command("INCR", A1) + command("GET", A1) + EXEC)
    not_a_number = error("ERR value is not an integer or out of range")
    anybody.expect(OK + QUEUED * 3 + array(OK, not_a_number, bulk("text")))


def test_large_values(anybody: Connection) -> None:
    large = b"x" * 3_000_000
    anybody.send(MULTI + command("SET", A1, large) + command("GET", A1) + command("GET", A1) + EXEC + command("PING"))
    anybody.expect(OK + QUEUED * 3 + array(OK, bulk(large), bulk(large)) + PONG)


def test_more_requests_than_may_be_on_their_way(anybody: Connection) -> None:
    anybody.send(MULTI + command("INCR", A1) * 5000 + EXEC + command("GET", A1))
    anybody.expect(OK + QUEUED * 5000 + array(*map(integer, range(1, 5001))) + bulk(5000))


def test_watched_by_another_client(any_proxy: ServedPools, anybody: Connection) -> None:
    with any_proxy.client() as other:
        anybody.send(command("WATCH", A2, A1) + command("GET", A1))
        anybody.expect(OK + NULL)
        assert other.ask("SET", A1, "theirs") == OK
        anybody.send(MULTI + command("SET", A1, "mine") + EXEC)
        anybody.expect(OK + QUEUED + NO_ARRAY)
        assert anybody.ask("GET", A1) == bulk("theirs")
        # The key is not watched any more.
        assert other.ask("SET", A1, "again") == OK
        anybody.send(MULTI + command("SET", A1, "mine") + EXEC)
        anybody.expect(OK + QUEUED + array(OK))


def test_watched_by_the_client_itself(anybody: Connection) -> None:
    anybody.send(command("WATCH", A1) + command("SET", A1, "0") + MULTI + WORK + EXEC)
    anybody.expect(OK * 3 + QUEUED * 3 + NO_ARRAY)


def test_own_reads_between_watch_and_multi(anybody: Connection) -> None:
    reads = command("GET", A1) + command("MGET", A1, B1) + command("PING") + command("GET", B2)
    anybody.send((command("WATCH", A1) + reads + MULTI + command("SET", A1, "1") + EXEC + command("DEL", A1)) * 20)
    read = NULL + array(NULL, NULL) + PONG + NULL
    anybody.expect((OK + read + OK + QUEUED + array(OK) + integer(1)) * 20)


@pytest.mark.parametrize("undoing", [[UNWATCH], [MULTI, DISCARD], [MULTI, command("GET", A1), DISCARD]])
def test_no_longer_watched(any_proxy: ServedPools, anybody: Connection, undoing: list[bytes]) -> None:
    with any_proxy.client() as other:
        assert anybody.ask("WATCH", A1) == OK
        anybody.send(b"".join(undoing))
        anybody.expect(b"".join({MULTI: OK, DISCARD: OK, UNWATCH: OK}.get(request, QUEUED) for request in undoing))
        assert other.ask("SET", A1, "x") == OK
        anybody.send(MULTI + WORK + EXEC)
        anybody.expect(DONE)


def test_unwatch_in_a_transaction_is_queued(any_proxy: ServedPools, anybody: Connection) -> None:
    with any_proxy.client() as other:
        assert anybody.ask("WATCH", A1) == OK
        assert other.ask("SET", A1, "x") == OK
        anybody.send(MULTI + command("GET", A1) + UNWATCH + EXEC)
        anybody.expect(OK + QUEUED * 2 + NO_ARRAY)
    anybody.send(MULTI + UNWATCH + command("GET", A1) + EXEC)
    anybody.expect(OK + QUEUED * 2 + array(OK, bulk("x")))


def test_nothing_to_unwatch(anybody: Connection) -> None:
    anybody.send(UNWATCH * 3 + command("GET", A1))
    anybody.expect(OK * 3 + NULL)


def test_discard(anybody: Connection) -> None:
    anybody.send((MULTI + command("SET", A1, "1") + DISCARD) * 3 + command("GET", A1))
    anybody.expect((OK + QUEUED + OK) * 3 + NULL)


def test_without_multi(anybody: Connection) -> None:
    anybody.send(EXEC + DISCARD + command("WATCH", A1) + EXEC + MULTI + command("SET", A1, "1") + EXEC + EXEC)
    without = error("ERR EXEC without MULTI")
    anybody.expect(without + error("ERR DISCARD without MULTI") + OK + without + OK + QUEUED + array(OK) + without)


def test_nested(anybody: Connection) -> None:
    nested, watch = error("ERR MULTI calls can not be nested"), error("ERR WATCH inside MULTI is not allowed")
    anybody.send(MULTI * 2 + command("SET", A1, "1") + MULTI + command("WATCH", A1) + EXEC)
    anybody.expect(OK + nested + QUEUED + nested + watch + array(OK))


def test_empty(anybody: Connection) -> None:
    anybody.send((MULTI + EXEC + MULTI + DISCARD + command("WATCH", A1) + MULTI + EXEC) * 3)
    anybody.expect((OK + array() + OK * 4 + array()) * 3)


def test_without_keys(anybody: Connection) -> None:
    anybody.send(MULTI + command("PING") + command("ECHO", "x") + EXEC)
    anybody.expect(OK + QUEUED * 2 + array(PONG, bulk("x")))
    anybody.send(MULTI + command("PING") + command("SET", A1, "1") + command("ECHO", "x") + EXEC)
    anybody.expect(OK + QUEUED * 3 + array(PONG, OK, bulk("x")))


def test_very_many_without_keys(client: Connection) -> None:
    client.send(MULTI + command("PING") * 1001 + EXEC + MULTI + command("PING") * 1000 + command("GET", A1) + EXEC)
    many = error("ERR too many commands without keys before the first one with a key in a transaction")
    client.expect(OK + QUEUED * 1000 + many + ABORTED + OK + QUEUED * 1001 + array(*[PONG] * 1000, NULL))


def test_several_keys_of_one_server(anybody: Connection) -> None:
    anybody.send(
        MULTI + command("MSET", A1, "1", A2, "2") + command("MGET", A2, A1, A3) + command("DEL", A1, A2) + EXEC
    )
    anybody.expect(OK + QUEUED * 3 + array(OK, array(bulk("2"), bulk("1"), NULL), integer(2)))


def test_scripts_and_blocking_commands_are_queued(anybody: Connection) -> None:
    script = command("EVAL", "return redis.call('INCR', KEYS[1])", 1, A1)
    waiting = command("BLPOP", A2, 0) + command("XREAD", "BLOCK", 0, "STREAMS", A3, "$")
    anybody.send(MULTI + script + waiting + command("RPUSH", A2, "x") + command("BLPOP", A2, 0) + EXEC)
    popped = array(bulk(A2), bulk("x"))
    anybody.expect(OK + QUEUED * 5 + array(integer(1), NO_ARRAY, NO_ARRAY, integer(1), popped))


# --- several clients -------------------------------------------------------------------------------------------------


def test_a_reader_never_sees_half(any_proxy: ServedPools, anybody: Connection) -> None:
    """Writers set two keys to the same value in a transaction; a reader gets both with MGET, and in a transaction."""
    rounds = 150
    with any_proxy.client() as second, any_proxy.client() as third:
        writers = [anybody, second]
        for number, writer in enumerate(writers):
            sets = [
                MULTI + command("SET", A1, f"{number}:{i}") + command("SET", A2, f"{number}:{i}") + EXEC
                for i in range(rounds)
            ]
            writer.send(b"".join(sets))
        for _ in range(rounds):
            third.send(command("MGET", A1, A2) + MULTI + command("GET", A1) + command("GET", A2) + EXEC)
            together = third.reply()
            third.expect(OK + QUEUED * 2)
            for reply in (together, third.reply()):
                values = reply.split(b"\r\n")[1:-1]
                assert values[: len(values) // 2] == values[len(values) // 2 :], reply
        for writer in writers:
            writer.expect((OK + QUEUED * 2 + array(OK, OK)) * rounds)


def test_counting_with_watch(any_proxy: ServedPools) -> None:
    """Eight clients increment a number until each has succeeded ten times: no increment is lost or counted twice."""
    clients = [any_proxy.client() for _ in range(8)]
    successes = [0] * len(clients)
    while any(done < 10 for done in successes):
        busy = [number for number, done in enumerate(successes) if done < 10]
        for number in busy:
            clients[number].send(command("WATCH", A1) + command("GET", A1))
        for number in busy:
            clients[number].expect(OK)
            found = clients[number].reply()
            value = 0 if found == NULL else int(found.split(b"\r\n")[1])
            clients[number].send(MULTI + command("SET", A1, value + 1) + EXEC)
        for number in busy:
            clients[number].expect(OK + QUEUED)
            outcome = clients[number].reply()
            assert outcome in (array(OK), NO_ARRAY)
            successes[number] += outcome == array(OK)
    with any_proxy.client() as client:
        assert client.ask("GET", A1) == bulk(80)
    for connection in clients:
        connection.close()


def test_shared_connections_are_not_in_the_transaction(any_proxy: ServedPools, anybody: Connection) -> None:
    with any_proxy.client() as other:
        anybody.send(MULTI + command("SET", A1, "mine"))
        anybody.expect(OK + QUEUED)
        other.send(command("GET", A1) + command("SET", A1, "theirs") + command("GET", A1))
        other.expect(NULL + OK + bulk("theirs"))
        assert anybody.ask("EXEC") == array(OK)
        assert other.ask("GET", A1) == bulk("mine")


# --- commands that cannot be part of a transaction -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (["NOSUCH", "x"], error("ERR unknown command 'NOSUCH', with args beginning with: 'x' ")),
        (["GET"], error("ERR wrong number of arguments for 'get' command")),
        (["EXEC", "x"], error("ERR wrong number of arguments for 'exec' command")),
        (["SET", B1, "x"], CROSS_SERVER),
        (["MGET", A1, B1], CROSS_SERVER),
        (["MSET", A1, "x", B1, "x"], CROSS_SERVER),
        (["DEL", B1, A1], CROSS_SERVER),
        (["DEL", B1, B2], CROSS_SERVER),
        (["SUNION", A1, B1], CROSS_SERVER),
        (["BLPOP", A1, B1, "0"], CROSS_SERVER),
        (["XREAD", "BLOCK", "0", "STREAMS", A1, B1, "0", "0"], CROSS_SERVER),
        (["EVAL", "return 1", "2", A1, B1], CROSS_SERVER),
        (["SORT", A1, "STORE", B1], CROSS_SERVER),
        (["SELECT", "0"], not_in_transaction("select")),
        (["SUBSCRIBE", "x"], not_in_transaction("subscribe")),
        (["CLIENT", "REPLY", "OFF"], not_in_transaction("client")),
        (["HELLO", "3"], not_in_transaction("hello")),
        (["INFO"], not_in_transaction("info")),
        (["DBSIZE"], not_in_transaction("dbsize")),
        (["SCAN", "0"], not_in_transaction("scan")),
    ],
)
def test_refused_while_queueing(client: Connection, request_: list[str], reply: bytes) -> None:
    client.send(MULTI + command("SET", A1, "2") + command(*request_) + command("SET", A2, "3") + EXEC)
    client.expect(OK + QUEUED + reply + QUEUED + ABORTED)
    client.send(command("EXISTS", A1, A2, B1) + MULTI + WORK + EXEC)
    client.expect(integer(0) + DONE)


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (["NOSUCH"], error("ERR unknown command 'NOSUCH', with args beginning with: ")),
        (["MGET", B1, A1], CROSS_SERVER),
        (["SELECT", "0"], not_in_transaction("select")),
    ],
)
def test_refused_before_the_first_key(client: Connection, request_: list[str], reply: bytes) -> None:
    client.send(MULTI + command(*request_) + command("SET", A1, "2") + EXEC + MULTI + command(*request_) + EXEC)
    client.expect(OK + reply + QUEUED + ABORTED + OK + reply + ABORTED)
    client.send(command("EXISTS", A1) + MULTI + WORK + EXEC)
    client.expect(integer(0) + DONE)


@pytest.mark.parametrize("name", ["MONITOR", "REPLICAOF", "WAIT", "KEYS", "EVAL", "SCRIPT"])
def test_refused_with_a_reason(client: Connection, name: str) -> None:
    words = {
        "REPLICAOF": ["no", "one"],
        "WAIT": ["0", "0"],
        "KEYS": ["*"],
        "EVAL": ["return 1", "0"],
        "SCRIPT": ["FLUSH"],
    }
    client.send(MULTI + command(name, *words.get(name, [])) + command("SET", A1, "1") + EXEC + command("GET", A1))
    assert client.reply() == OK
    assert client.reply().startswith(b"-ERR '%s" % name.lower().encode())
    client.expect(QUEUED + ABORTED + NULL)


def test_what_the_server_refuses(anybody: Connection) -> None:
    anybody.send(MULTI + command("SET", A1, "1") + command("OBJECT", "NOSUCH", A1) + EXEC + command("GET", A1))
    anybody.expect(OK + QUEUED)
    assert anybody.reply().startswith(b"-ERR unknown subcommand")
    anybody.expect(ABORTED + NULL)


def test_watch_on_two_servers(proxy: ServedPools, client: Connection) -> None:
    other = proxy.client()
    client.send(command("WATCH", A1, B1) + command("WATCH", A1) + command("WATCH", B1) + command("WATCH", A2))
    client.expect(CROSS_SERVER + OK + CROSS_SERVER + OK)
    other.send(command("SET", B1, "x") + command("SET", A2, "x"))
    other.expect(OK * 2)
    client.send(MULTI + command("GET", B1) + command("GET", A1) + EXEC + MULTI + command("GET", A1) + EXEC)
    client.expect(OK + CROSS_SERVER + QUEUED + ABORTED + OK + QUEUED + array(NULL))
    assert client.ask("WATCH", B1) == OK
    assert other.ask("SET", A2, "y") == OK
    client.send(MULTI + command("GET", B1) + EXEC)
    client.expect(OK + QUEUED + array(bulk("x")))


def test_not_while_watching(client: Connection) -> None:
    client.send(command("WATCH", A1) + command("HELLO", "3") + command("SELECT", "0") + UNWATCH)
    client.expect(OK + error("ERR 'hello' is not available while keys are watched: UNWATCH first") + OK * 2)


def test_keys_say_nothing_in_a_random_pool(configured: Configure, servers: list[RedisServer]) -> None:
    """As for other requests with several keys: one draw of a server is for all of them."""
    with configured(redis_pool(*servers, distribution="random")) as proxy:
        client = proxy.client()
        for _ in range(10):
            client.send(command("WATCH", A1) + command("WATCH", B1, A2) + MULTI + command("SET", A1, "1"))
            client.send(command("MSET", B1, "2", A2, "3") + command("MGET", B1, A1, A2) + EXEC)
            client.expect(OK * 3 + QUEUED * 3 + array(OK, OK, array(bulk("2"), bulk("1"), bulk("3"))))


# --- the state of the connection -------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [b"", command("WATCH", A1)])
def test_reset(any_proxy: ServedPools, anybody: Connection, watched: bytes) -> None:
    with any_proxy.client() as other:
        anybody.send(watched + MULTI + command("SET", A1, "1") + command("RESET") + command("GET", A1) + EXEC)
        anybody.expect(OK * bool(watched) + OK + QUEUED + b"+RESET\r\n" + NULL + error("ERR EXEC without MULTI"))
        anybody.send(watched + command("RESET"))
        anybody.expect(OK * bool(watched) + b"+RESET\r\n")
        assert other.ask("SET", A1, "x") == OK
        anybody.send(MULTI + WORK + EXEC)
        anybody.expect(DONE)


def test_quit(any_proxy: ServedPools, anybody: Connection) -> None:
    anybody.send(command("WATCH", A2) + MULTI + command("SET", A1, "1") + command("QUIT") + EXEC)
    anybody.expect(OK * 2 + QUEUED + OK)
    anybody.expect_closed()
    with any_proxy.client() as other:
        assert other.ask("GET", A1) == NULL


def private_connections(server: RedisServer) -> int:
    """The number of the server's clients that are in a transaction: their flags begin with x."""
    rows = server.ask("CLIENT", "LIST").decode().splitlines()
    return sum(" flags=x" in row for row in rows)


@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
def test_leaving_in_the_middle(
    any_proxy: ServedPools, anybody: Connection, servers: list[RedisServer], how: str
) -> None:
    anybody.send(command("WATCH", A2) + MULTI + command("SET", A1, "1"))
    anybody.expect(OK * 2 + QUEUED)
    assert private_connections(servers[0]) == 1
    getattr(anybody, how)()
    wait_until(lambda: private_connections(servers[0]) == 0, "the server connection is gone")
    assert servers[0].ask("EXISTS", A1) == integer(0)


def test_half_closed_after_exec(anybody: Connection) -> None:
    anybody.send(MULTI + WORK + EXEC)
    anybody.half_close()
    anybody.expect(DONE)
    anybody.expect_closed()


def test_version_3(any_proxy: ServedPools, anybody: Connection) -> None:
    assert anybody.ask("HELLO", "3").startswith(b"%7\r\n")
    work = command("HSET", A1, "f", "v") + command("HGETALL", A1) + command("GET", A2)
    anybody.send(command("WATCH", A1) + MULTI + work + EXEC + command("GET", A2))
    anybody.expect(OK * 2 + QUEUED * 3 + array(integer(1), b"%1\r\n" + bulk("f") + bulk("v"), b"_\r\n") + b"_\r\n")
    assert anybody.ask("WATCH", A1) == OK
    with any_proxy.client() as other:
        assert other.ask("DEL", A1) == integer(1)
    anybody.send(MULTI + work + EXEC)
    anybody.expect(OK + QUEUED * 3 + b"_\r\n")


def test_no_replies_wanted(anybody: Connection) -> None:
    off, on = command("CLIENT", "REPLY", "OFF"), command("CLIENT", "REPLY", "ON")
    anybody.send((off + command("WATCH", A1) + MULTI + WORK + EXEC + on + command("DEL", A1, A2)) * 5)
    anybody.expect((OK + integer(2)) * 5)
    anybody.send(off + MULTI + command("NOSUCH") + command("SET", A1, "1") + EXEC + on + command("GET", A1))
    anybody.expect(OK + NULL)


def test_a_reply_is_skipped(anybody: Connection) -> None:
    skip = command("CLIENT", "REPLY", "SKIP")
    anybody.send((skip + command("WATCH", A1) + skip + MULTI + WORK + EXEC + command("DEL", A1, A2)) * 5)
    anybody.expect((DONE[len(OK) :] + integer(2)) * 5)


def test_a_watch_that_is_skipped_counts(any_proxy: ServedPools, anybody: Connection) -> None:
    anybody.send(command("CLIENT", "REPLY", "SKIP") + command("WATCH", A1) + command("PING"))
    anybody.expect(PONG)
    with any_proxy.client() as other:
        assert other.ask("SET", A1, "x") == OK
    anybody.send(MULTI + WORK + EXEC)
    anybody.expect(OK + QUEUED * 3 + NO_ARRAY)


def test_databases(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, databases=4)) as proxy:
        client, other = proxy.client(), proxy.client()
        client.send(command("SELECT", 2) + command("WATCH", A1) + command("GET", A1))
        client.expect(OK * 2 + NULL)
        assert other.ask("SET", A1, "database 0") == OK
        client.send(MULTI + WORK + EXEC + command("SELECT", 0) + command("GET", A1) + MULTI + command("GET", A1) + EXEC)
        client.expect(DONE + OK + bulk("database 0") + OK + QUEUED + array(bulk("database 0")))
        assert [servers[0].ask("GET", A1, db=number) for number in (0, 2)] == [bulk("database 0"), bulk("1")]
        client.send(command("SELECT", 2) + command("WATCH", A1))
        client.expect(OK * 2)
        other.send(command("SELECT", 2) + command("SET", A1, "x"))
        other.expect(OK * 2)
        client.send(MULTI + WORK + EXEC)
        client.expect(OK + QUEUED * 3 + NO_ARRAY)
        client.send(MULTI + command("COPY", A1, A2, "DB", 3) + command("COPY", A1, A2, "DB", 4) + EXEC)
        out_of_range = (
            "ERR DB index is out of range: this pool serves 4 databases, 'databases' in its configuration says so"
        )
        client.expect(OK + QUEUED + error(out_of_range) + ABORTED)


# --- the server connections ------------------------------------------------------------------------------------------


def test_connections_are_used_again(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers)) as proxy:
        client, other = proxy.client(), proxy.client()
        for connection in [client, other] * 20:
            connection.send(command("WATCH", A1) + UNWATCH + MULTI + WORK + EXEC + command("DEL", A2))
            connection.expect(OK * 2 + DONE + integer(1))
        stats = proxy.pool_stats()
        assert [stats[name]["server_connections"] for name in ("s00", "s01", "s02")] == [2, 0, 0]
        client.send(MULTI + command("GET", A1))
        other.send(MULTI + command("GET", A1))
        for connection in (client, other):
            connection.expect(OK + QUEUED)
        assert proxy.server_stats()["server_connections"] == 3
        assert private_connections(servers[0]) == 2
        # The connection of a discarded transaction is closed and not used again.
        assert client.ask("DISCARD") == OK
        assert other.ask("EXEC") == array(bulk("1"))
        wait_until(lambda: private_connections(servers[0]) == 0, "no client is in a transaction")
        assert proxy.server_stats()["server_connections"] == 2
        assert proxy.server_stats()["server_err"] == proxy.server_stats()["server_eof"] == 0


def test_the_cap(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, blocking_connections=2)) as proxy:
        first, second, third = (proxy.client() for _ in range(3))
        assert first.ask("WATCH", A1) == OK
        second.send(MULTI + command("SET", B1, "1"))
        second.expect(OK + QUEUED)
        full = error(
            f"ERR all 2 private server connections of pool {proxy.served_name()} are in use: 'blocking_connections' in"
            " its configuration allows more"
        )
        third.send(command("SET", A2, "1") + MULTI + command("SET", A2, "2") + EXEC + command("WATCH", A2) + UNWATCH)
        third.expect(OK * 2 + full + ABORTED + full + OK)
        assert third.ask("GET", A2) == bulk("1")
        assert second.ask("EXEC") == array(OK)
        # The idle connection is to another server, and is closed to make room.
        third.send(MULTI + command("SET", A2, "3") + EXEC)
        third.expect(OK + QUEUED + array(OK))
        assert second.ask("WATCH", B1) == OK
        third.send(command("WATCH", A2) + MULTI + command("SET", A2, "4") + EXEC)
        third.expect(full + OK + full + ABORTED)
        first.close()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 2, "the first client is gone")
        third.send(command("WATCH", A2) + MULTI + command("SET", A2, "4") + EXEC)
        third.expect(OK * 2 + QUEUED + array(OK))
