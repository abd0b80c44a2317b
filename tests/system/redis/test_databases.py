"""Databases: clients send SELECT, and all clients that have selected the same database share server connections."""

import re
from pathlib import Path

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, keys_of, owner, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from twemproxy.upstream.profiles import MOST_PROFILES

PONG = b"+PONG\r\n"
QUEUED = b"+QUEUED\r\n"
[A1, A2], [B1], [C1] = keys_of(0, 3, 2), keys_of(1, 3), keys_of(2, 3)
[LEFT], [RIGHT] = (keys_of(index, 2) for index in range(2))
NOT_AN_INTEGER = error("ERR value is not an integer or out of range")


def out_of_range(databases: int) -> bytes:
    """The error for a database that does not exist in a pool with this number of databases."""
    return error(
        f"ERR DB index is out of range: this pool serves {databases} databases, 'databases' in its configuration says"
        " so"
    )


def refused(database: int) -> bytes:
    """The error for a database that the servers do not have."""
    return error(f"ERR DB index is out of range: the servers of this pool have no database {database}")


def connections(server: RedisServer) -> list[tuple[int, int]]:
    """Database and protocol version of each connection to a server, except the one that asks."""
    listed = server.ask("CLIENT", "LIST").decode()
    lines = [line for line in listed.splitlines() if "cmd=client|list" not in line and " db=" in line]
    found = [re.search(r" db=(\d+) .* resp=(\d)", line) for line in lines]
    return sorted((int(match[1]), int(match[2])) for match in found if match)


@pytest.fixture(scope="module")
def four(configured: Configure, running_servers: list[RedisServer]):  # type: ignore[no-untyped-def]
    with configured(redis_pool(*running_servers, databases=4)) as proxy:
        yield proxy


@pytest.fixture
def client(four: ServedPools, servers: list[RedisServer]):  # type: ignore[no-untyped-def]
    """A client of a pool of three servers and four databases, which are empty."""
    with four.client() as connection:
        yield connection


# --- isolation -------------------------------------------------------------------------------------------------------


def test_databases_have_nothing_in_common(four: ServedPools, client: Connection, servers: list[RedisServer]) -> None:
    clients = [four.client() for _ in range(4)]
    for database, one in enumerate(clients):
        one.send(command("SELECT", database) + command("MSET", A1, database, B1, database, C1, database))
        one.expect(OK + OK)
    for database, one in enumerate(clients):
        one.send(command("MGET", C1, A1, A2, B1) + command("DBSIZE") + command("DEL", A1) + command("EXISTS", A1, B1))
        value = bulk(database)
        one.expect(array(value, value, NULL, value) + integer(3) + integer(1) + integer(1))
        assert servers[1].ask("GET", B1, db=database) == value
    assert client.ask("GET", B1) == bulk(0)


def test_a_client_goes_to_and_fro(client: Connection) -> None:
    stream, replies = b"", b""
    for i in range(200):
        database = i * 7 % 4
        stream += command("SELECT", database) + command("SET", A1, i) + command("SET", B1, -i)
        stream += command("SELECT", (database + 1) % 4) + command("MGET", A1, B1)
        replies += OK * 4
        last = next((j for j in range(i, -1, -1) if j * 7 % 4 == (database + 1) % 4), None)
        replies += array(NULL, NULL) if last is None else array(bulk(last), bulk(-last))
    client.send(stream)
    client.expect(replies)


def test_transactions_and_blocking_commands_are_in_the_database(client: Connection, servers: list[RedisServer]) -> None:
    client.send(command("SELECT", 3) + command("MULTI") + command("SET", A1, "x") + command("EXEC"))
    client.expect(OK + OK + QUEUED + array(OK))
    assert servers[0].ask("GET", A1, db=3) == bulk("x")
    client.send(command("RPUSH", B1, "y") + command("BLPOP", B1, 1) + command("WATCH", A1) + command("UNWATCH"))
    client.expect(integer(1) + array(bulk(B1), bulk("y")) + OK + OK)
    client.send(command("SELECT", 0) + command("MULTI") + command("GET", A1) + command("EXEC"))
    client.expect(OK + OK + QUEUED + array(NULL))


def test_scripts_run_in_the_database(client: Connection, servers: list[RedisServer]) -> None:
    client.send(command("SELECT", 2) + command("EVAL", "return redis.call('set', KEYS[1], 'x')", 1, A1))
    client.expect(OK + OK)
    assert servers[0].ask("GET", A1, db=2) == bulk("x")


def test_a_lost_connection_is_opened_in_the_same_database(configured: Configure) -> None:
    with RedisServer() as server, configured(redis_pool(server, databases=4)) as proxy:
        client = proxy.client()
        client.send(command("SELECT", 3) + command("SET", "k", "x"))
        client.expect(OK + OK)
        assert server.ask("CLIENT", "KILL", "TYPE", "normal")[:1] == b":"
        proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the connection is lost")
        assert client.ask("GET", "k") == bulk("x")


# --- SELECT ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_selected(client: Connection, servers: list[RedisServer]) -> None:
    client.send(command("SELECT", 2) + command("SET", A1, "two"))
    client.expect(OK + OK)
    for word in ("4", "16", "2147483647", "-1", "-2147483648"):
        client.send(command("SELECT", word) + command("GET", A1))
        client.expect(out_of_range(4) + bulk("two"))
    for word in ("", "x", "01", "+1", "1.0", " 1", "99999999999", "9" * 1000):
        client.send(command("SELECT", word) + command("GET", A1))
        client.expect(NOT_AN_INTEGER + bulk("two"))
        assert servers[0].ask("SELECT", word).startswith(b"-ERR ")
    assert client.ask("SELECT") == error("ERR wrong number of arguments for 'select' command")
    assert client.ask("SELECT", 1, 2) == error("ERR wrong number of arguments for 'select' command")


def test_servers_that_have_fewer_databases(configured: Configure) -> None:
    with RedisServer("--databases", "2") as server, configured(redis_pool(server, databases=16)) as proxy:
        for version in (2, 3):
            client = proxy.client()
            client.ask("HELLO", version)
            client.send(command("SELECT", 1) + command("SET", "k", "one"))
            client.expect(OK + OK)
            for database in (2, 15, 2):
                client.send(command("SELECT", database) + command("GET", "k") + command("PING"))
                client.expect(refused(database) + bulk("one") + PONG)
            client.send(command("SELECT", 0) + command("EXISTS", "k") + command("SELECT", 16))
            client.expect(OK + integer(0) + out_of_range(16))


def test_as_many_databases_as_there_can_be(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0], databases=10_000)) as proxy:
        client = proxy.client()
        client.send(command("SELECT", 15) + command("SET", "k", "x"))
        client.expect(OK + OK)
        memory = proxy.memory()
        for database in (16, 9_999):
            client.send(command("SELECT", database) + command("GET", "k"))
            client.expect(refused(database) + bulk("x"))
        assert proxy.memory() - memory < 4 * 1024 * 1024


def test_a_server_that_has_fewer_databases_than_another(configured: Configure) -> None:
    """SELECT succeeds if one server accepts it; requests to a server that refuses it get an error and do not run."""
    with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        configured(redis_pool(first, second, databases=4)) as proxy,
    ):
        client = proxy.client()
        client.send(command("SELECT", 3) + command("GET", RIGHT) + command("PING"))
        poor = second.accept()
        assert poor.request() == [b"SELECT", b"3"]
        first.answer(OK)
        client.expect(OK)
        poor.send(error("ERR DB index is out of range"))
        reply = client.reply()
        assert reply.startswith(b"-ERR SELECT of another database failed: ERR DB index is out of range ")
        client.expect(PONG)
        poor.expect_closed()


def test_select_waits_for_what_was_sent_before(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, databases=4)) as proxy:
        client = proxy.client()
        client.send(command("SET", "k", "zero") + command("SELECT", 1) + command("GET", "k") + command("PING"))
        zero = server.accept()
        assert zero.request() == [b"SET", b"k", b"zero"]
        client.wait_consumed()
        assert client.collect() == b""
        assert not server.has_connection(), "SELECT did not wait"
        zero.send(OK)
        client.expect(OK)
        one = server.answer(OK)
        client.expect(OK)
        assert one.request() == [b"GET", b"k"]
        one.send(bulk("one"))
        client.expect(bulk("one") + PONG)
        client.send(command("GET", "k") + command("SELECT", 0) + command("GET", "k"))
        assert one.request() == [b"GET", b"k"]
        client.wait_consumed()
        assert zero.collect() == b""
        one.send(bulk("one"))
        assert zero.request() == [b"GET", b"k"]
        zero.send(bulk("zero"))
        client.expect(bulk("one") + OK + bulk("zero"))


def test_a_client_that_leaves_while_servers_are_asked(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, databases=4)) as proxy:
        first, second = proxy.client(), proxy.client()
        first.send(command("SELECT", 1))
        peer = server.accept()
        assert peer.request() == [b"SELECT", b"1"]
        second.send(command("SELECT", 1) + command("GET", "k"))
        second.wait_consumed()
        first.reset()
        peer.send(OK)
        second.expect(OK)
        assert peer.request() == [b"GET", b"k"]
        peer.send(NULL)
        second.expect(NULL)


def test_when_no_server_can_be_reached(configured: Configure) -> None:
    """Requests get an error while the server is down, and use the selected database when it is up again."""
    with RedisServer() as server, configured(redis_pool(server, databases=4)) as proxy:
        server.kill()
        client = proxy.client()
        client.send(command("SELECT", 3) + command("SET", "k", "x") + command("PING"))
        client.expect(OK + error("ERR Connection refused") + PONG)
        server.start()
        assert client.ask("SET", "k", "x") == OK
        assert server.ask("GET", "k", db=3) == bulk("x")


def test_in_the_middle_of_something(client: Connection) -> None:
    client.send(command("MULTI") + command("SELECT", 1) + command("DISCARD") + command("WATCH", A1))
    assert client.replies(4)[1] == error(
        "ERR 'select' is not available in a transaction through this proxy, which takes place on the server of its keys"
    )
    client.send(command("SELECT", 1) + command("UNWATCH"))
    client.expect(OK + OK)
    client.send(command("CLIENT", "REPLY", "OFF") + command("SELECT", 2) + command("SET", A1, "two"))
    client.send(command("CLIENT", "REPLY", "ON") + command("GET", A1) + command("SELECT", 1) + command("GET", A1))
    client.expect(OK + bulk("two") + OK + NULL)
    client.send(command("CLIENT", "REPLY", "SKIP") + command("SELECT", 2) + command("GET", A1))
    client.expect(bulk("two"))


@pytest.mark.parametrize("touched", [0, 1, 2])
def test_watched_keys_stay_those_of_their_database(
    client: Connection, servers: list[RedisServer], touched: int
) -> None:
    """The transaction takes place in the database that is selected when it begins, as in redis."""
    server = servers[owner(A1, len(servers))]
    for database in range(3):
        assert server.ask("SET", A1, database, db=database) == OK
    client.send(command("WATCH", A1) + command("SELECT", 1) + command("GET", A1) + command("WATCH", A1))
    client.send(command("SELECT", 2) + command("GET", A1))
    client.expect(OK * 2 + bulk(1) + OK * 2 + bulk(2))
    assert server.ask("SET", A1, "touched", db=touched) == OK
    client.send(
        command("MULTI") + command("GET", A1) + command("SET", A1, "mine") + command("EXEC") + command("GET", A1)
    )
    if touched == 2:
        client.expect(OK + b"+QUEUED\r\n" * 2 + array(bulk("touched"), OK) + bulk("mine"))
    else:
        client.expect(OK + b"+QUEUED\r\n" * 2 + b"*-1\r\n" + bulk(2))


def test_who_gets_a_turned_connection_next_is_in_its_own_database(client: Connection, four: ServedPools) -> None:
    for ending in ("UNWATCH", "EXEC"):
        client.send(command("SELECT", 0) + command("SET", A1, "zero") + command("WATCH", A1) + command("SELECT", 3))
        client.send(command("SET", A1, "three") + (command("MULTI") + command("GET", A1) if ending == "EXEC" else b""))
        client.send(command(ending))
        assert client.replies(8 if ending == "EXEC" else 6)[-1] == (array(bulk("three")) if ending == "EXEC" else OK)
        for database, value in ((0, "zero"), (3, "three"), (0, "zero")):
            with four.client() as other:
                other.send(command("SELECT", database) + command("WATCH", A1) + command("MULTI") + command("GET", A1))
                other.send(command("EXEC"))
                other.expect(OK * 3 + b"+QUEUED\r\n" + array(bulk(value)))


def test_reset_and_hello(client: Connection) -> None:
    client.send(command("SET", A1, "zero") + command("SELECT", 3) + command("SET", A1, "three"))
    client.expect(OK * 3)
    for version, null in ((3, b"_\r\n"), (2, NULL)):
        assert client.ask("HELLO", version)[:1] in b"%*"
        client.send(command("GET", A1) + command("GET", A2) + command("SELECT", 0) + command("GET", A1))
        client.expect(bulk("three") + null + OK + bulk("zero"))
        assert client.ask("SELECT", 3) == OK
    client.ask("HELLO", 3)
    client.send(command("GET", A1) + command("RESET") + command("GET", A1) + command("GET", A2))
    client.expect(bulk("three") + b"+RESET\r\n" + bulk("zero") + NULL)


def test_client_list_and_config_get(four: ServedPools, client: Connection) -> None:
    client.send(command("SELECT", 3) + command("CLIENT", "SETNAME", "me") + command("CONFIG", "GET", "databases"))
    client.expect(OK + OK + array(bulk("databases"), bulk(4)))
    assert b" db=3 " in client.ask("CLIENT", "INFO")


# --- the pool's own database -----------------------------------------------------------------------------------------


def test_clients_begin_in_the_pools_own_database(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, databases=4, redis_db=2)) as proxy:
        client = proxy.client()
        client.send(command("SET", B1, "two") + command("SELECT", 0) + command("GET", B1) + command("SET", B1, "zero"))
        client.expect(OK + OK + NULL + OK)
        client.send(command("SELECT", 1) + command("SET", B1, "one") + command("SELECT", 2) + command("GET", B1))
        client.expect(OK + OK + OK + bulk("two"))
        assert [servers[1].ask("GET", B1, db=db) for db in range(3)] == [bulk("zero"), bulk("one"), bulk("two")]
        client.send(command("SELECT", 0) + command("RESET") + command("GET", B1) + command("SELECT", 4))
        client.expect(OK + b"+RESET\r\n" + bulk("two") + out_of_range(4))


@pytest.mark.parametrize("password", ["", "secret"])
def test_greetings(configured: Configure, password: str) -> None:
    directives = {"redis_auth": password} if password else {}
    with (
        RedisServer(password=password) as server,
        configured(redis_pool(server, databases=4, redis_db=1, **directives)) as proxy,
    ):
        client = proxy.client()
        if password:
            assert client.ask("SELECT", 2) == error("NOAUTH Authentication required")
            assert client.ask("AUTH", password) == OK
        for version in (2, 3):
            client.ask("HELLO", version)
            for database in range(4):
                client.send(command("SELECT", database) + command("SET", "k", database))
                client.expect(OK + OK)
        assert [server.ask("GET", "k", db=database) for database in range(4)] == [bulk(db) for db in range(4)]


# --- connections -----------------------------------------------------------------------------------------------------


def test_all_clients_of_a_profile_share_a_connection(configured: Configure) -> None:
    with RedisServer() as server, configured(redis_pool(server, databases=4)) as proxy:
        before = connections(server)
        clients = [proxy.client() for _ in range(48)]
        for i, client in enumerate(clients):
            client.ask("HELLO", 2 + i % 2)
            client.send(command("SELECT", i % 3) + command("INCR", "k"))
        for client in clients:
            assert client.reply() == OK
            assert client.reply()[:1] == b":"
        ours = connections(server)
        for entry in before:
            ours.remove(entry)
        assert ours == [(database, version) for database in range(3) for version in (2, 3)]
        assert [server.ask("GET", "k", db=database) for database in range(3)] == [bulk(16)] * 3
        known = connections(server)
        # The connections of the databases have no clients now, but stay open for later clients.
        for client in clients:
            client.close()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 0, "all clients are gone")
        again = proxy.client()
        again.send(command("SELECT", 2) + command("GET", "k"))
        again.expect(OK + bulk(16))
        assert connections(server) == known


# --- requests that name databases ------------------------------------------------------------------------------------


def test_move_and_copy(client: Connection, servers: list[RedisServer]) -> None:
    client.send(command("SET", A1, "x") + command("MOVE", A1, 3) + command("GET", A1) + command("SELECT", 3))
    client.expect(OK + integer(1) + NULL + OK)
    client.send(command("GET", A1) + command("COPY", A1, A2, "DB", 1) + command("COPY", A1, A1, "db", 2, "REPLACE"))
    client.expect(bulk("x") + integer(1) + integer(1))
    assert servers[0].ask("GET", A2, db=1) == servers[0].ask("GET", A1, db=2) == bulk("x")
    for text in (
        f"MOVE {A1} 4",
        f"MOVE {A1} 15",
        f"COPY {A1} {A1} DB 4",
        f"COPY {A1} {A1} REPLACE DB 9",
        f"COPY {A1} {A1} DB 1 DB 9",
    ):
        assert client.ask(*text.split()) == out_of_range(4)
        client.send(command("MULTI") + command(*text.split()) + command("EXEC"))
        client.expect(OK + out_of_range(4))
        assert client.reply().startswith(b"-EXECABORT ")
    assert [servers[0].ask("DBSIZE", db=db) for db in (4, 9, 15)] == [integer(0)] * 3
    for text in (
        f"MOVE {A1} x",
        f"MOVE {A1} -1",
        f"COPY {A1} {A2} DB",
        f"MOVE {A1} 3",
        f"COPY {A1} {A1} DB 99999999999",
    ):
        direct = servers[0].connect()
        assert direct.ask("SELECT", 3) == OK
        assert client.ask(*text.split()) == direct.ask(*text.split())


def test_swapping(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, databases=4, allow_commands="swapdb")) as proxy:
        client = proxy.client()
        client.send(command("MSET", A1, "x", B1, "x") + command("SWAPDB", 0, 3) + command("MGET", A1, B1))
        client.expect(OK + OK + array(NULL, NULL))
        client.send(command("SELECT", 3) + command("MGET", A1, B1))
        client.expect(OK + array(bulk("x"), bulk("x")))
        for words in ((0, 4), (4, 0), (15, 15), (3, 9)):
            assert client.ask("SWAPDB", *words) == out_of_range(4)
        assert client.ask("SWAPDB", "x", 1) == error("ERR invalid first DB index")
        assert client.ask("SWAPDB", 1, -1) == error("ERR DB index is out of range")
    with configured(redis_pool(servers[0], databases=4, allow_commands="swapdb")) as proxy:
        client = proxy.client()
        client.send(command("MULTI") + command("SWAPDB", 0, 9))
        client.expect(OK + out_of_range(4))


def test_a_pool_of_one_database(configured: Configure, servers: list[RedisServer]) -> None:
    only = error(
        "ERR DB index is out of range: this pool serves database 5 only, 'databases' in its configuration allows more"
    )
    with configured(redis_pool(servers[0], redis_db=5)) as proxy:
        client = proxy.client()
        client.send(command("SET", "k", "x") + command("SELECT", 0) + command("GET", "k") + command("SELECT", 5))
        client.expect(OK + OK + bulk("x") + OK)
        for text in ("SELECT 1", "MOVE k 0", "MOVE k 1", "COPY k j DB 0", "SELECT -1"):
            assert client.ask(*text.split()) == only
        assert client.ask("COPY", "k", "j", "DB", 5) == integer(1)
        assert client.ask("MOVE", "k", 5) == error("ERR source and destination objects are the same")


def test_a_pool_that_says_nothing_has_sixteen_as_redis(proxy: ServedPools, servers: list[RedisServer]) -> None:
    with proxy.client() as client:
        client.send(command("SET", A1, "zero") + command("SELECT", 15) + command("SET", A1, "fifteen"))
        client.expect(OK * 3)
        client.send(command("SELECT", 16) + command("GET", A1) + command("SELECT", 0) + command("GET", A1))
        client.expect(out_of_range(16) + bulk("fifteen") + OK + bulk("zero"))
    assert servers[0].ask("GET", A1, db=15) == bulk("fifteen")


@pytest.mark.parametrize("directives", [{"redis_db": 0}, {"redis_db": 3}])
def test_where_the_database_is_set_it_is_the_only_one(
    configured: Configure, servers: list[RedisServer], directives: dict[str, object]
) -> None:
    with configured(redis_pool(servers[0], **directives)) as proxy, proxy.client() as client:
        assert client.ask("SELECT", 1).startswith(b"-ERR DB index is out of range")
        assert client.ask("SELECT", 0) == OK


# --- number of connections -------------------------------------------------------------------------------------------


def test_thousands_of_databases_take_few_connections(configured: Configure) -> None:
    with RedisServer("--databases", "2000") as server, configured(redis_pool(server, databases=2000)) as proxy:
        client = proxy.client()
        for database in range(1, 2000):
            client.send(command("SELECT", database) + command("SET", "k", database))
        client.expect(OK * 2 * 1999)
        assert proxy.server_stats()["server_connections"] <= MOST_PROFILES + 1
        assert len(connections(server)) <= MOST_PROFILES + 1
        client.send(b"".join(command("SELECT", database) + command("GET", "k") for database in (1, 1000, 1999)))
        client.expect(b"".join(OK + bulk(database) for database in (1, 1000, 1999)))
        assert proxy.server_stats()["server_err"] == proxy.server_stats()["server_eof"] == 0


def test_a_database_is_selected_while_servers_are_away_and_used_when_they_are_back(
    configured: Configure, tmp_path: Path
) -> None:
    """With unix sockets a connection to a server that does not listen fails at once."""
    paths = [tmp_path / "first.sock", tmp_path / "second.sock"]
    with configured(redis_pool(*map(str, paths))) as proxy:
        early = proxy.client()
        early.send(command("SELECT", 3) + command("GET", LEFT) + command("GET", RIGHT))
        early.expect(OK)
        assert early.reply() == early.reply() == error("ERR No such file or directory")
        with ScriptedServer(paths[0]) as first, ScriptedServer(paths[1]) as second:
            late = proxy.client()
            late.send(command("SELECT", 3) + command("GET", LEFT))
            peer = first.answer(OK)
            second.answer(OK)
            late.expect(OK)
            assert peer.request() == [b"GET", LEFT.encode()]
            peer.send(NULL)
            late.expect(NULL)
