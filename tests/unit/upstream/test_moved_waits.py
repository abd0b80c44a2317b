"""Clients that wait for a key when it moves to another server, or its server to another address."""

from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread

import pytest
from moving_keys import KEYS, blocked, key_that_moves, key_that_stays, places, pool, wait_blocked

from harness.connection import Connection
from harness.resp import OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.waiting import wait_until
from twemproxy.protocol.redis.errors import CROSS_SERVER
from unit.in_process import InProcess

NO_ARRAY, QUEUED = b"*-1\r\n", b"+QUEUED\r\n"


@pytest.fixture(scope="module")
def every_server() -> Iterator[dict[str, RedisServer]]:
    with ExitStack() as made:
        yield {name: made.enter_context(RedisServer("--hz", "500")) for name in ("one", "two", "three")}


@pytest.fixture
def servers(every_server: dict[str, RedisServer]) -> dict[str, RedisServer]:
    for server in every_server.values():
        server.ask("FLUSHALL")
    return every_server


def waiting(proxy: InProcess, server: RedisServer, *words: str | int, count: int = 1) -> Connection:
    """A client that waits at this server."""
    client = proxy.client()
    client.send(command(*words))
    wait_blocked(server, count)
    return client


@pytest.mark.parametrize("after", ["one three", "three", "one two=three", "three two one"])
def test_it_is_served_where_its_key_is_now(servers: dict[str, RedisServer], after: str) -> None:
    settings = pool(servers, *after.split())
    with InProcess(**pool(servers, "one", "two")) as proxy:
        find = key_that_stays if "=" in after else key_that_moves
        key = find(proxy, "two", **settings)
        client = waiting(proxy, servers["two"], "BLPOP", key, 0)
        proxy.replace_settings(**settings)
        wait_blocked(servers["two"], 0)
        assert proxy.client().ask("RPUSH", key, "x") == integer(1)
        client.expect(array(bulk(key), bulk("x")))
        assert client.ask("RPUSH", key, "y") == integer(1)
        assert servers["two"].ask("EXISTS", key) == integer(0)


COMMANDS = {
    "BLPOP": (["BLPOP", "KEY", "TIME"], ["RPUSH", "KEY", "x"], "100.0"),
    "BRPOP": (["BRPOP", "KEY", "TIME"], ["RPUSH", "KEY", "x"], "100.0"),
    "BRPOPLPUSH": (["BRPOPLPUSH", "KEY", "KEY", "TIME"], ["RPUSH", "KEY", "x"], "100"),
    "BLMOVE": (["BLMOVE", "KEY", "KEY", "LEFT", "RIGHT", "TIME"], ["RPUSH", "KEY", "x"], "100"),
    "BLMPOP": (["BLMPOP", "TIME", "1", "KEY", "LEFT", "COUNT", "2"], ["RPUSH", "KEY", "x"], "1e2"),
    "BZPOPMIN": (["BZPOPMIN", "KEY", "TIME"], ["ZADD", "KEY", "1", "x"], "100"),
    "BZPOPMAX": (["BZPOPMAX", "KEY", "TIME"], ["ZADD", "KEY", "1", "x"], "100"),
    "BZMPOP": (["BZMPOP", "TIME", "1", "KEY", "MIN"], ["ZADD", "KEY", "1", "x"], "100"),
    "XREAD": (["XREAD", "BLOCK", "TIME", "STREAMS", "KEY", "$"], ["XADD", "KEY", "1-1", "f", "x"], "100000"),
    "XREADGROUP": (
        ["XREADGROUP", "GROUP", "g", "me", "COUNT", "1", "BLOCK", "TIME", "STREAMS", "KEY", ">"],
        ["XADD", "KEY", "1-1", "f", "x"],
        "100000",
    ),
}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_waits_for_the_rest_of_its_timeout(
    servers: dict[str, RedisServer], name: str, version: int
) -> None:
    """Once it is served, once its time is up."""
    request, feed, timeout = COMMANDS[name]
    with InProcess(**pool(servers, "one")) as proxy:
        key = KEYS[0]
        words = [{"KEY": key, "TIME": timeout}.get(word, word) for word in request]
        for served in (True, False):
            for server in servers.values():
                server.ask("DEL", key)
                if name == "XREADGROUP":
                    assert server.ask("XGROUP", "CREATE", key, "g", "$", "MKSTREAM") == OK
            client = proxy.client()
            client.ask("HELLO", version)
            client.send(command(*words))
            wait_blocked(servers["one"])
            if not served:
                proxy.call(lambda: proxy.data_plane.loop.clock.advance(99_990_000))
            proxy.replace_settings(**pool(servers, "one=two"))
            if served:
                wait_blocked(servers["two"])
                proxy.client().ask(*[word.replace("KEY", key) for word in feed])
                assert b"x\r\n" in client.reply()
            else:
                client.expect(NO_ARRAY if version == 2 else b"_\r\n")
            assert client.ask("PING") == b"+PONG\r\n"
            proxy.replace_settings(**pool(servers, "one"))


def test_keys_that_are_on_several_servers_now(servers: dict[str, RedisServer]) -> None:
    after = pool(servers, "one", "two", "three")
    with InProcess(**pool(servers, "one", "two")) as proxy:
        stays, moves = key_that_stays(proxy, "one", **after), key_that_moves(proxy, "one", **after)
        client = waiting(proxy, servers["one"], "BLPOP", stays, moves, 0)
        other = waiting(proxy, servers["one"], "BLPOP", stays, 0, count=2)
        proxy.replace_settings(**after)
        client.expect(error(CROSS_SERVER))
        wait_blocked(servers["one"])
        assert client.ask("RPUSH", stays, "x") == integer(1)
        other.expect(array(bulk(stays), bulk("x")))


def test_a_pool_of_one_server_becomes_larger(servers: dict[str, RedisServer]) -> None:
    after = pool(servers, "one", "two")
    with InProcess(**pool(servers, "one")) as proxy:
        moves = key_that_moves(proxy, "one", **after)
        client = waiting(proxy, servers["one"], "BLPOP", moves, 0)
        proxy.replace_settings(**after)
        wait_blocked(servers["two"])
        servers["two"].ask("RPUSH", moves, "x")
        client.expect(array(bulk(moves), bulk("x")))


def test_wait_stays_where_it_is(servers: dict[str, RedisServer]) -> None:
    with InProcess(**pool(servers, "one")) as proxy:
        client = waiting(proxy, servers["one"], "WAIT", 1, 100_000)
        proxy.replace_settings(**pool(servers, "one", "two"))
        assert blocked(servers["one"]) == 1
        client.close()
        wait_blocked(servers["one"], 0)


def test_it_waits_on_while_its_key_stays(servers: dict[str, RedisServer]) -> None:
    """On the same connection."""
    after = pool(servers, "one", "two", "three")
    with InProcess(**pool(servers, "one", "two")) as proxy:
        stays = key_that_stays(proxy, "one", **after)
        client = waiting(proxy, servers["one"], "BLPOP", stays, 0)
        before = servers["one"].ask("CLIENT", "LIST").split(b" flags=b")[0].rpartition(b"\n")[2].split(b" ")[0]
        proxy.replace_settings(**after)
        after_it = servers["one"].ask("CLIENT", "LIST").split(b" flags=b")[0].rpartition(b"\n")[2].split(b" ")[0]
        assert before == after_it
        servers["one"].ask("RPUSH", stays, "x")
        client.expect(array(bulk(stays), bulk("x")))


def test_ejection_and_return(servers: dict[str, RedisServer]) -> None:
    with InProcess(**pool(servers, "one", "two", auto_eject_hosts=True, server_retry_timeout=3_600_000)) as proxy:
        [alpha] = proxy.data_plane.pools
        two = next(each for each in alpha.servers if each.name == "two")
        key = next(key for key, name in zip(KEYS, places(proxy), strict=True) if name == "two")
        client = waiting(proxy, servers["two"], "BLPOP", key, 0)
        proxy.call(lambda: [two.count_failure() for _ in range(2)])
        wait_blocked(servers["one"])
        proxy.call(lambda: alpha.reinstate(two))
        wait_blocked(servers["two"])
        assert proxy.client().ask("RPUSH", key, "x") == integer(1)
        client.expect(array(bulk(key), bulk("x")))


def test_clients_keep_their_order(servers: dict[str, RedisServer]) -> None:
    with InProcess(**pool(servers, "one")) as proxy:
        clients = [waiting(proxy, servers["one"], "BLPOP", "list", 0, count=count) for count in range(1, 21)]
        proxy.replace_settings(**pool(servers, "one=two"))
        wait_blocked(servers["two"], 20)
        for number, client in enumerate(clients):
            servers["two"].ask("RPUSH", "list", number)
            client.expect(array(bulk("list"), bulk(number)))


def test_a_watched_key_and_a_wait(servers: dict[str, RedisServer]) -> None:
    """The connection stays as long as its address does, and the watch with it."""
    after = pool(servers, "one", "two", "three")
    with InProcess(**pool(servers, "one", "two")) as proxy:
        stays, moves = key_that_stays(proxy, "one", **after), key_that_moves(proxy, "one", **after)
        client = proxy.client()
        for settings, replies in [(after, QUEUED + array(OK)), (pool(servers, "two"), QUEUED + NO_ARRAY)]:
            assert client.ask("WATCH", stays) == OK
            client.send(command("BLPOP", moves, 0))
            wait_blocked(servers["one"])
            proxy.replace_settings(**settings)
            moved = "three" if settings is after else "two"
            wait_blocked(servers[moved])
            servers[moved].ask("RPUSH", moves, "x")
            client.expect(array(bulk(moves), bulk("x")))
            client.send(command("MULTI") + command("SET", stays, "1") + command("EXEC"))
            client.expect(OK + replies)
            proxy.replace_settings(**pool(servers, "one", "two"))


# --- nothing is lost --------------------------------------------------------------------------------------------------


def test_an_element_that_arrives_with_the_move(servers: dict[str, RedisServer]) -> None:
    """The server reads both at once: it serves the client, so the client gets the element from there."""
    one = servers["one"]
    with InProcess(**pool(servers, "one")) as proxy:
        for number in range(20):
            client = waiting(proxy, one, "BLPOP", "list", 0)
            pusher = one.connect()
            with one.paused():
                pusher.send(command("RPUSH", "list", number))
                proxy.replace_settings(**pool(servers, "one=two"))
                # The proxy has asked the paused server to end the wait.
                proxy.call(lambda: None)
            client.expect(array(bulk("list"), bulk(number)))
            pusher.expect(integer(1))
            pusher.close()
            client.close()
            proxy.replace_settings(**pool(servers, "one"))
        for server in servers.values():
            assert server.ask("LLEN", "list") == integer(0)


def test_every_element_is_delivered(servers: dict[str, RedisServer]) -> None:
    """Hundreds of moves while elements are pushed at both servers: each reaches one client, or is still in a list."""
    moves, pushers, consumers = 300, 2, 4
    with InProcess(**pool(servers, "one")) as proxy:
        clients = [proxy.client() for _ in range(consumers)]
        got: list[list[bytes]] = [[] for _ in clients]
        done = False

        def consume(number: int) -> None:
            while not done:
                reply = clients[number].ask("BLPOP", "list", "0.05")
                if reply != NO_ARRAY:
                    got[number].append(reply.split(b"\r\n")[4])

        pushed: list[list[bytes]] = [[] for _ in range(pushers)]

        def push(number: int) -> None:
            connection = servers[["one", "two"][number]].connect()
            while not done:
                element = f"{number}-{len(pushed[number])}".encode()
                assert connection.ask("RPUSH", "list", element).startswith(b":")
                pushed[number].append(element)

        threads = [Thread(target=consume, args=(number,)) for number in range(consumers)]
        threads += [Thread(target=push, args=(number,)) for number in range(pushers)]
        for thread in threads:
            thread.start()
        try:
            for number in range(moves):
                proxy.replace_settings(**pool(servers, "one=two" if number % 2 else "one"))
        finally:
            done = True
            for thread in threads:
                thread.join()
        left = [
            element
            for name in ("one", "two")
            for element in servers[name].ask("LRANGE", "list", 0, -1).split(b"\r\n")[2::2]
        ]
        found = sorted(element for each in [*got, left] for element in each if element)
        assert found == sorted(element for each in pushed for element in each)
        assert all(got)


# --- servers that do not end the wait ---------------------------------------------------------------------------------


@pytest.fixture
def two() -> Iterator[dict[str, ScriptedServer]]:
    with ScriptedServer() as one, ScriptedServer() as other:
        yield {"one": one, "other": other}


BLPOP = command("BLPOP", "list", 0)
CLIENT_ID = command("CLIENT", "ID")
UNBLOCK = command("CLIENT", "UNBLOCK", 7, "ERROR")


def take(server: ScriptedServer, identity: bytes) -> Connection:
    """The server takes BLPOP on a new connection."""
    peer = server.accept()
    peer.expect(CLIENT_ID + BLPOP)
    peer.send(identity)
    return peer


def move_blocked(proxy: InProcess, two: dict[str, ScriptedServer], identity: bytes) -> tuple[Connection, Connection]:
    """A client waits at a server, which then is at another address: the client, and its connection at the server."""
    client = proxy.client()
    client.send(BLPOP)
    peer = take(two["one"], identity)
    proxy.call(lambda: None)
    proxy.replace_settings(**pool(two, "one=other"))
    return client, peer


def served(server: ScriptedServer, client: Connection) -> None:
    """The server serves the client that has come to it."""
    take(server, integer(9)).send(array(bulk("list"), bulk("x")))
    client.expect(array(bulk("list"), bulk("x")))


@pytest.mark.parametrize("end", ["closes", "is silent", "resets"])
def test_a_server_without_ids(two: dict[str, ScriptedServer], end: str) -> None:
    """The proxy closes its side, and asks elsewhere when the connection has ended, or after two seconds."""
    with InProcess(**pool(two, "one")) as proxy:
        client, peer = move_blocked(proxy, two, error("ERR unknown command"))
        peer.expect_closed()
        assert not two["other"].has_connection()
        if end == "closes":
            peer.close()
        elif end == "resets":
            peer.reset()
        else:
            proxy.advance(2000)
        served(two["other"], client)


@pytest.mark.parametrize("rest", [b"", b"$1\r\n"])
def test_a_reply_during_the_half_close(two: dict[str, ScriptedServer], rest: bytes) -> None:
    """A whole reply is the client's. After a part of one the element may be lost, so the client gets an error."""
    reply = array(bulk("list"), bulk("y"))
    with InProcess(**pool(two, "one")) as proxy:
        client, peer = move_blocked(proxy, two, error("ERR unknown command"))
        peer.expect_closed()
        peer.send(reply[: len(reply) - len(rest)])
        peer.close()
        if rest:
            assert client.reply().startswith(b"-ERR")
        else:
            client.expect(reply)


@pytest.mark.parametrize(
    "answer", [error("NOPERM"), error("ERR unknown command"), b"", None], ids=["denied", "unknown", "closed", "silent"]
)
def test_a_server_that_does_not_unblock(two: dict[str, ScriptedServer], answer: bytes | None) -> None:
    with InProcess(**pool(two, "one")) as proxy:
        client, peer = move_blocked(proxy, two, integer(7))
        beside = two["one"].accept()
        beside.expect(UNBLOCK)
        if answer is None:
            proxy.advance(1000)
        elif answer:
            beside.send(answer)
        else:
            beside.close()
        peer.expect_closed()
        peer.close()
        served(two["other"], client)


def test_the_id_of_the_connection_is_still_on_its_way(two: dict[str, ScriptedServer]) -> None:
    """The request may be served before the id arrives, so the proxy's side of the connection stays open until then."""
    with InProcess(**pool(two, "one")) as proxy:
        client = proxy.client()
        client.send(BLPOP)
        peer = two["one"].accept()
        peer.expect(CLIENT_ID + BLPOP)
        proxy.replace_settings(**pool(two, "one=other"))
        peer.send(integer(7))
        beside = two["one"].accept()
        beside.expect(UNBLOCK)
        beside.send(integer(1))
        assert not peer.has_ended()
        peer.send(error("UNBLOCKED client unblocked via CLIENT UNBLOCK"))
        served(two["other"], client)


def test_a_server_that_has_not_read_the_request_yet(two: dict[str, ScriptedServer]) -> None:
    """It is asked to end the wait until it has one to end."""
    with InProcess(**pool(two, "one")) as proxy:
        client, peer = move_blocked(proxy, two, integer(7))
        for reply in (integer(0), integer(0), integer(1)):
            beside = two["one"].accept()
            beside.expect(UNBLOCK)
            beside.send(reply)
            beside.expect_closed()
        peer.send(error("UNBLOCKED client unblocked via CLIENT UNBLOCK"))
        peer.expect_closed()
        served(two["other"], client)


def test_a_connection_that_may_still_be_unblocked_is_not_used_again(two: dict[str, ScriptedServer]) -> None:
    """The request to end the wait comes late at the server: it must not end the wait of the next client."""
    with InProcess(**pool(two, "one")) as proxy:
        after = pool(two, "one", "other")
        moves, stays = key_that_moves(proxy, "one", **after), key_that_stays(proxy, "one", **after)
        client = proxy.client()
        client.send(command("BLPOP", moves, 0))
        peer = two["one"].accept()
        peer.expect(CLIENT_ID + command("BLPOP", moves, 0))
        peer.send(integer(7))
        proxy.call(lambda: None)
        proxy.replace_settings(**after)
        beside = two["one"].accept()
        beside.expect(UNBLOCK)
        peer.send(array(bulk(moves), bulk("x")))
        client.expect(array(bulk(moves), bulk("x")))
        client.send(command("BLPOP", stays, 0))
        two["one"].accept().expect(CLIENT_ID + command("BLPOP", stays, 0))


def test_the_error_of_a_client_that_unblocks(two: dict[str, ScriptedServer]) -> None:
    """It came before the proxy's own request to end the wait, so it is for the client."""
    unblocked = error("UNBLOCKED client unblocked via CLIENT UNBLOCK")
    with InProcess(**pool(two, "one")) as proxy:
        client, peer = move_blocked(proxy, two, integer(7))
        beside = two["one"].accept()
        beside.expect(UNBLOCK)
        peer.send(unblocked)
        proxy.call(lambda: None)
        beside.send(integer(0))
        client.expect(unblocked)
        assert not two["other"].has_connection()


def test_a_request_that_the_server_has_not_got(two: dict[str, ScriptedServer]) -> None:
    """Its connection is being opened: it is not sent there any more."""
    with InProcess(**pool(two, "one", redis_auth="secret")) as proxy:
        client = proxy.client()
        client.ask("AUTH", "secret")
        client.send(BLPOP)
        peer = two["one"].accept()
        peer.expect(command("AUTH", "secret"))
        proxy.replace_settings(**pool(two, "one=other", redis_auth="secret"))
        peer.expect_closed()
        other = two["other"].accept()
        other.expect(command("AUTH", "secret"))
        other.send(OK)
        other.expect(CLIENT_ID + BLPOP)
        other.send(integer(7) + array(bulk("list"), bulk("x")))
        client.expect(array(bulk("list"), bulk("x")))


def test_a_new_server_that_is_not_reachable(two: dict[str, ScriptedServer]) -> None:
    two["other"].refuse()
    with InProcess(**pool(two, "one")) as proxy:
        client, peer = move_blocked(proxy, two, error("ERR unknown command"))
        peer.expect_closed()
        peer.close()
        client.expect(error("ERR Connection refused"))


# --- the end of the client --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "half_close", "kill"])
def test_a_client_that_ends_during_the_move(two: dict[str, ScriptedServer], how: str) -> None:
    with InProcess(**pool(two, "one", allow_commands="client|kill")) as proxy:
        [alpha] = proxy.data_plane.pools
        client = proxy.client()
        client.send(BLPOP)
        peer = take(two["one"], integer(7))
        proxy.call(lambda: None)
        proxy.replace_settings(**pool(two, "one=other", allow_commands="client|kill"))
        beside = two["one"].accept()
        beside.expect(UNBLOCK)
        if how == "kill":
            assert proxy.client().ask("CLIENT", "KILL", "TYPE", "normal") == integer(1)
            client.expect_closed()
        else:
            getattr(client, how)()
        peer.expect_closed()
        wait_until(
            lambda: not proxy.call(lambda: [each for each in alpha.clients() if each.is_blocked()]), "it is gone"
        )
        assert proxy.call(lambda: alpha.private.in_use) == 0
        beside.send(integer(0))
        beside.expect_closed()
        assert not two["other"].has_connection()


def test_memory(servers: dict[str, RedisServer]) -> None:
    """The kept requests are counted while they wait, at whatever server, and no longer."""
    with InProcess(**pool(servers, "one")) as proxy:
        blocks = proxy.data_plane.loop.blocks

        def used() -> int:
            return int(proxy.call(lambda: blocks.allocated - blocks.unused_bytes()))

        words = [f"{number:01000}" for number in range(1000)]
        for ends in ("close", "reply"):
            least = used() + 2 * 1000 * len(words)
            client = waiting(proxy, servers["one"], "BLPOP", *words, 0)
            assert used() >= least
            proxy.replace_settings(**pool(servers, "one=two"))
            wait_blocked(servers["two"])
            assert used() >= least
            if ends == "reply":
                servers["two"].ask("RPUSH", words[0], "x")
                client.expect(array(bulk(words[0]), bulk("x")))
            client.close()
            wait_blocked(servers["two"], 0)
            assert used() < least
            proxy.replace_settings(**pool(servers, "one"))
