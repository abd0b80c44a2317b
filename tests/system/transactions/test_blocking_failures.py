"""Blocked clients that disconnect, servers that fail while clients are blocked, and the end of the proxy."""

import time
from collections.abc import Callable, Iterator

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

PONG, QUEUED = b"+PONG\r\n", b"+QUEUED\r\n"
REFUSED, ENDED, RESET = (error(f"ERR {text}") for text in ("Connection refused", "unknown", "Connection reset by peer"))
[A1, A2, A3], [B1], [C1] = keys_of(0, 3, 3), keys_of(1, 3), keys_of(2, 3)
WAITING = {
    "BLPOP": command("BLPOP", A1, A2, 0),
    "BRPOP": command("BRPOP", A1, 0),
    "BLMOVE": command("BLMOVE", A1, A2, "LEFT", "RIGHT", 0),
    "BLMPOP": command("BLMPOP", 0, 1, A1, "LEFT"),
}
BLPOP = command("BLPOP", A1, 0)
SOON = 8.0
"""Seconds; a drain that reaches its time limit takes ten."""


def take_blpop(peer: Connection) -> None:
    """Take BLPOP as the first request on a connection; before it, the proxy asks for the connection's id."""
    peer.expect(command("CLIENT", "ID") + BLPOP)
    peer.send(integer(7))


def blocked(server: RedisServer) -> int:
    """The number of blocked clients that the server reports."""
    return int(server.ask("INFO", "clients").partition(b"blocked_clients:")[2].split(b"\r\n")[0])


def wait_blocked(server: RedisServer, count: int = 1) -> None:
    """Wait until ``count`` clients of the server are blocked."""
    wait_until(lambda: blocked(server) == count, f"{count} clients are blocked")


def kill(proxy: ServedPools, client: Connection) -> None:
    """Let another client kill this client."""
    with proxy.client() as killer:
        host, port = client.sock.getsockname()
        assert killer.ask("CLIENT", "KILL", "ADDR", f"{host}:{port}") == integer(1)


ENDINGS: dict[str, Callable[[ServedPools, Connection], None]] = {
    "close": lambda _, client: client.close(),
    "half-close": lambda _, client: client.half_close(),
    "reset": lambda _, client: client.reset(),
    "killed": kill,
}


@pytest.fixture(scope="module")
def scripted(configured: Configure) -> Iterator[tuple[ServedPools, ScriptedServer]]:
    """A proxy in front of a scripted server."""
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        yield proxy, server


@pytest.fixture
def scene(scripted: tuple[ServedPools, ScriptedServer]) -> Iterator[tuple[ServedPools, ScriptedServer, Connection]]:
    """``scripted`` and a client; at the end all connections are closed."""
    proxy, server = scripted
    with proxy.client() as client:
        yield proxy, server, client
    server.reset()
    proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the server connections are closed")


# --- clients that disconnect -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("waiting", WAITING.values(), ids=WAITING)
def test_nothing_is_popped_for_nobody(
    proxy: ServedPools, client: Connection, servers: list[RedisServer], waiting: bytes, ending: Callable[..., None]
) -> None:
    clients = servers[0].ask("CLIENT", "LIST").count(b"id=")
    client.send(waiting)
    wait_blocked(servers[0])
    connections = proxy.server_stats()["server_connections"]
    ending(proxy, client)
    wait_blocked(servers[0], 0)
    assert servers[0].ask("RPUSH", A1, "x") == integer(1)
    assert servers[0].ask("LRANGE", A1, 0, -1) == array(bulk("x"))
    assert servers[0].ask("EXISTS", A2) == integer(0)
    # Idle connections of other tests may end meanwhile, so the number may fall by more than one.
    proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] < connections, "the connection is closed")
    assert servers[0].ask("CLIENT", "LIST").count(b"id=") <= clients


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("sent_together", [True, False])
def test_what_follows_is_not_done(
    proxy: ServedPools, client: Connection, servers: list[RedisServer], sent_together: bool, ending: Callable[..., None]
) -> None:
    client.send(command("SET", A3, "before") + BLPOP + command("SET", A3, "after") * sent_together)
    client.expect(OK)
    wait_blocked(servers[0])
    if not sent_together:
        client.send(command("SET", A3, "after") * 1000)
    ending(proxy, client)
    wait_blocked(servers[0], 0)
    assert servers[0].ask("RPUSH", A1, "x") == integer(1)
    assert servers[0].ask("LLEN", A1) == integer(1)
    assert servers[0].ask("GET", A3) == bulk("before")


@pytest.mark.parametrize("ending", ["close", "half-close", "reset"])
def test_leaves_at_once(configured: Configure, servers: list[RedisServer], ending: str) -> None:
    """The end of the connection arrives together with the command, or just after it."""
    # The shared proxy may have clients of earlier tests, which may disconnect at any moment.
    with configured(redis_pool(*servers)) as proxy:
        for _ in range(30):
            client = proxy.client()
            client.send(BLPOP)
            ENDINGS[ending](proxy, client)
            client.close()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 0, "all clients are gone")
        wait_blocked(servers[0], 0)
    assert servers[0].ask("RPUSH", A1, "x") == integer(1)
    assert servers[0].ask("LLEN", A1) == integer(1)


def test_of_many_some_leave(proxy: ServedPools, servers: list[RedisServer]) -> None:
    clients = [proxy.client() for _ in range(60)]
    for client in clients:
        client.send(BLPOP)
    wait_blocked(servers[0], 60)
    for number, ending in enumerate(["close", "reset", "half-close", "killed"]):
        for client in clients[number::6]:
            ENDINGS[ending](proxy, client)
    wait_blocked(servers[0], 20)
    assert servers[0].ask("RPUSH", A1, *range(30)) in [integer(number) for number in range(10, 31)]
    popped = []
    for number in (4, 5):
        for client in clients[number::6]:
            popped.append(int(client.reply().split(b"\r\n")[4]))
    assert sorted(popped) == list(range(20))
    assert servers[0].ask("LLEN", A1) == integer(10)
    for client in clients:
        client.close()


def test_leaves_before_it_waits(scene: tuple[ServedPools, ScriptedServer, Connection]) -> None:
    """The blocking command still waits for the reply to an earlier request."""
    proxy, server, client = scene
    client.send(command("GET", A2) + BLPOP)
    shared = server.accept()
    shared.expect(command("GET", A2))
    client.close()
    shared.send(NULL)
    proxy.wait_stats(lambda pool: pool["client_connections"] == 0, "the client is gone")
    while server.has_connection():
        server.accept().read_to_end()


def test_a_half_closed_client_gets_what_it_waited_for_no_longer(
    scene: tuple[ServedPools, ScriptedServer, Connection],
) -> None:
    _, server, client = scene
    client.send(BLPOP)
    private = server.accept()
    take_blpop(private)
    client.half_close()
    private.expect_closed()
    client.expect_closed()


def test_a_half_closed_client_gets_what_its_server_had_already(proxy: ServedPools, servers: list[RedisServer]) -> None:
    """The end of the client arrives together with a command that finds an element at once."""
    for round_ in range(100):
        assert servers[0].ask("RPUSH", A1, round_) == integer(1)
        with proxy.client() as client:
            client.send(BLPOP)
            client.half_close()
            assert client.read_to_end() == array(bulk(A1), bulk(str(round_)))
    assert servers[0].ask("LLEN", A1) == integer(0)


def test_a_server_that_says_nothing_is_not_waited_for(scene: tuple[ServedPools, ScriptedServer, Connection]) -> None:
    proxy, server, client = scene
    client.send(BLPOP)
    private = server.accept()
    take_blpop(private)
    client.close()
    proxy.wait_stats(lambda pool: pool["client_connections"] == 0, "the client is gone")
    private.expect_closed()


def test_quits_behind(proxy: ServedPools, client: Connection, servers: list[RedisServer]) -> None:
    client.send(BLPOP + command("QUIT") + command("SET", A2, "x"))
    wait_blocked(servers[0])
    assert servers[0].ask("RPUSH", A1, "x") == integer(1)
    client.expect(array(bulk(A1), bulk("x")) + OK)
    client.expect_closed()
    assert servers[0].ask("EXISTS", A2) == integer(0)


def test_resets_behind(proxy: ServedPools, client: Connection, servers: list[RedisServer]) -> None:
    client.send(command("HELLO", 3) + BLPOP + command("RESET") + command("GET", A2))
    assert client.reply().startswith(b"%7\r\n")
    wait_blocked(servers[0])
    assert servers[0].ask("RPUSH", A1, "x") == integer(1)
    client.expect(array(bulk(A1), bulk("x")) + b"+RESET\r\n" + NULL)


def test_gets_messages_while_it_waits(proxy: ServedPools, client: Connection, servers: list[RedisServer]) -> None:
    client.send(command("HELLO", 3) + command("SUBSCRIBE", "news") + BLPOP + command("PING"))
    assert client.reply().startswith(b"%7\r\n")
    client.expect(b">3\r\n" + bulk("subscribe") + bulk("news") + integer(1))
    wait_blocked(servers[0])
    with proxy.client() as other:
        for text in ("one", "two"):
            assert other.ask("PUBLISH", "news", text) == integer(1)
            client.expect(b">3\r\n" + bulk("message") + bulk("news") + bulk(text))
        assert other.ask("RPUSH", A1, "x") == integer(1)
    client.expect(array(bulk(A1), bulk("x")) + PONG)


def test_is_listed_as_any_other(proxy: ServedPools, client: Connection, servers: list[RedisServer]) -> None:
    client.send(command("CLIENT", "SETNAME", "waits") + BLPOP)
    wait_blocked(servers[0])
    with proxy.client() as other:
        assert b" name=waits " in other.ask("CLIENT", "LIST")
        assert other.ask("CLIENT", "UNBLOCK", 1).startswith(b"-ERR 'client|unblock' is not allowed")


# --- a server that takes its time ------------------------------------------------------------------------------------


def test_nothing_overtakes(scene: tuple[ServedPools, ScriptedServer, Connection]) -> None:
    proxy, server, client = scene
    with proxy.client() as witness:
        client.send(command("RPUSH", A1, "x") + BLPOP + command("GET", A2))
        shared = server.accept()
        shared.expect(command("RPUSH", A1, "x"))
        for _ in range(2):
            assert witness.ask("PING") == PONG
        assert not server.has_connection()
        shared.send(integer(1))
        private = server.accept()
        take_blpop(private)
        for _ in range(2):
            assert witness.ask("PING") == PONG
        assert shared.collect() == b""
        private.send(array(bulk(A1), bulk("x")))
        shared.expect(command("GET", A2))
        shared.send(NULL)
        client.expect(integer(1) + array(bulk(A1), bulk("x")) + NULL)


# --- servers that fail -----------------------------------------------------------------------------------------------


def test_a_killed_server(mortal: tuple[ServedPools, list[RedisServer]]) -> None:
    proxy, servers = mortal
    clients = [proxy.client() for _ in range(20)]
    for client in clients:
        client.send(BLPOP + command("PING"))
    waiting_elsewhere = proxy.client()
    waiting_elsewhere.send(command("BLPOP", B1, 0))
    wait_blocked(servers[0], 20)
    wait_blocked(servers[1], 1)
    servers[0].kill()
    for client in clients:
        assert client.reply() in (ENDED, RESET)
        client.expect(PONG)
    clients[0].send(BLPOP + command("GET", A1) + command("GET", B1))
    clients[0].expect(REFUSED * 2 + NULL)
    servers[0].start()
    for client in clients:
        client.send(BLPOP)
    wait_blocked(servers[0], 20)
    assert servers[0].ask("RPUSH", A1, *range(20)) == integer(20)
    assert {client.reply() for client in clients} == {array(bulk(A1), bulk(number)) for number in range(20)}
    assert servers[1].ask("RPUSH", B1, "x") == integer(1)
    waiting_elsewhere.expect(array(bulk(B1), bulk("x")))


def test_connections_that_are_killed_at_any_moment(mortal: tuple[ServedPools, list[RedisServer]]) -> None:
    """Each element is popped by one client or is still in the list; only replies in flight may be lost."""
    proxy, servers = mortal
    clients = [proxy.client() for _ in range(8)]
    popped: list[int] = []
    errors = pushed = 0
    for _ in range(60):
        for client in clients:
            client.send(BLPOP * 3)
        for words in (["RPUSH", A1, *range(pushed, pushed + 6)], ["CLIENT", "KILL", "TYPE", "normal"]):
            assert servers[0].ask(*words)[:1] == b":"
        servers[0].ask("RPUSH", A1, *range(pushed + 6, pushed + 12))
        pushed += 12
        servers[0].ask("RPUSH", A1, *["stop"] * 24)
        for client in clients:
            for reply in client.replies(3):
                if reply.startswith(b"-"):
                    assert reply in (ENDED, RESET)
                    errors += 1
                elif b"stop" not in reply:
                    popped.append(int(reply.split(b"\r\n")[4]))
        left = servers[0].ask("LRANGE", A1, 0, -1).split(b"\r\n")[2::2]
        popped += [int(value) for value in left if value != b"stop"]
        servers[0].ask("DEL", A1)
    assert len(set(popped)) == len(popped)
    assert pushed - errors <= len(popped) <= pushed
    for client in clients:
        client.close()


def test_wait_and_a_killed_server(mortal: tuple[ServedPools, list[RedisServer]]) -> None:
    proxy, servers = mortal
    client = proxy.client()
    client.send(command("WAIT", 5, 0) + command("PING"))
    for server in servers:
        wait_blocked(server)
    servers[2].kill()
    for server in servers[:2]:
        # Without replicas WAIT would wait for ever at the other servers.
        wait_blocked(server)
        assert server.ask("CLIENT", "UNBLOCK", blocked_client(server)) == integer(1)
    assert client.reply() in (ENDED, RESET)
    client.expect(PONG)
    client.send(command("WAIT", 0, 0) + command("SET", A1, "x") + command("BLPOP", B1, "0.001") + command("DEL", A1))
    client.expect(REFUSED + OK + b"*-1\r\n" + integer(1))
    servers[2].start()
    assert client.ask("WAIT", 0, 0) == integer(0)


def blocked_client(server: RedisServer) -> int:
    """The id of the only blocked client of the server."""
    [row] = [row for row in server.ask("CLIENT", "LIST").splitlines() if b" flags=b " in row]
    return int(row.split(b" ")[0].removeprefix(b"id="))


@pytest.mark.parametrize("reply", [b"", b"*2\r\n$2\r\nk0\r\n", b"*2\r\n$2\r\nk0\r\n$1\r\nx"])
def test_lost_before_all_of_the_reply(scene: tuple[ServedPools, ScriptedServer, Connection], reply: bytes) -> None:
    _, server, client = scene
    client.send(BLPOP + command("GET", A1))
    private = server.accept()
    take_blpop(private)
    private.send(reply)
    private.close()
    shared = server.accept()
    shared.expect(command("GET", A1))
    shared.send(bulk("v"))
    client.expect(ENDED + bulk("v"))
    client.send(BLPOP)
    second = server.accept()
    take_blpop(second)
    second.send(b"*-1\r\n")
    client.expect(b"*-1\r\n")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_idle_connection_is_lost(scene: tuple[ServedPools, ScriptedServer, Connection], how: str) -> None:
    proxy, server, client = scene
    client.send(BLPOP)
    private = server.accept()
    take_blpop(private)
    private.send(b"*-1\r\n")
    client.expect(b"*-1\r\n")
    getattr(private, how)()
    proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the connection is closed")
    client.send(BLPOP)
    second = server.accept()
    take_blpop(second)
    second.send(array(bulk(A1), bulk("x")))
    client.expect(array(bulk(A1), bulk("x")))


def test_a_reply_that_nobody_asked_for(scene: tuple[ServedPools, ScriptedServer, Connection]) -> None:
    """On an idle private connection: the reply must not reach the next client."""
    proxy, server, client = scene
    client.send(BLPOP)
    private = server.accept()
    take_blpop(private)
    private.send(b"*-1\r\n")
    client.expect(b"*-1\r\n")
    private.send(array(bulk(A1), bulk("not yours")))
    proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the connection is closed")
    with proxy.client() as other:
        other.send(BLPOP)
        second = server.accept()
        take_blpop(second)
        second.send(b"*-1\r\n")
        other.expect(b"*-1\r\n")


def test_not_reachable(scene: tuple[ServedPools, ScriptedServer, Connection]) -> None:
    _, server, client = scene
    server.refuse()
    client.send(BLPOP + command("WAIT", 0, 0) + BLPOP + command("PING"))
    client.expect(REFUSED * 3 + PONG)
    server.listen()
    client.send(BLPOP)
    private = server.accept()
    take_blpop(private)
    private.send(b"*-1\r\n")
    client.expect(b"*-1\r\n")


def test_an_ejected_server(configured: Configure) -> None:
    """Watched keys move to another server, as if they had changed; the next transaction is there."""
    with (
        RedisServer() as first,
        RedisServer() as second,
        configured(
            redis_pool(first, second, auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=60000)
        ) as proxy,
    ):
        key = keys_of(0, 2)[0]
        client, waiting = proxy.client(), proxy.client()
        client.send(command("WATCH", key) + command("MULTI") + command("SET", key, "1"))
        client.expect(OK * 2 + QUEUED)
        waiting.send(command("BLPOP", key, 0))
        wait_blocked(first)
        first.kill()
        assert waiting.reply() in (ENDED, RESET)
        proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the connections are closed")
        client.send(command("SET", key, "2") + command("EXEC"))
        client.expect(QUEUED + b"*-1\r\n")
        waiting.send(command("BLPOP", key, 0))
        wait_blocked(second)
        client.send(command("MULTI") + command("RPUSH", key, "x") + command("EXEC"))
        client.expect(OK + QUEUED + array(integer(1)))
        waiting.expect(array(bulk(key), bulk("x")))


def test_behind_a_password(configured: Configure) -> None:
    with RedisServer(password="secret") as server, configured(redis_pool(server, redis_auth="secret")) as proxy:
        client = proxy.client()
        no_auth = error("NOAUTH Authentication required")
        client.send(BLPOP + command("MULTI") + command("WATCH", A1) + command("EXEC") + command("AUTH", "secret"))
        client.expect(no_auth * 4 + OK)
        client.send(command("RPUSH", A1, "x") + BLPOP + command("MULTI") + command("GET", A2) + command("EXEC"))
        client.expect(integer(1) + array(bulk(A1), bulk("x")) + OK + QUEUED + array(NULL))


# --- the end of the proxy --------------------------------------------------------------------------------------------


def test_the_proxy_stops(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers)) as proxy:
        waiting, pipelining, watching, queueing = (proxy.client() for _ in range(4))
        waiting.send(BLPOP)
        pipelining.send(command("SET", A2, "x") + BLPOP + command("SET", A2, "y"))
        watching.send(command("WATCH", A1))
        queueing.send(command("MULTI") + command("SET", A3, "x"))
        pipelining.expect(OK)
        watching.expect(OK)
        queueing.expect(OK + QUEUED)
        wait_blocked(servers[0], 2)
        began = time.monotonic()
        assert proxy.terminate() == 0
        assert time.monotonic() - began < SOON
        for client in (waiting, pipelining, watching, queueing):
            client.expect_closed()
        wait_blocked(servers[0], 0)
        assert servers[0].ask("RPUSH", A1, "x") == integer(1)
        assert servers[0].ask("LLEN", A1) == integer(1)
        assert servers[0].ask("GET", A2) == bulk("x")
        assert servers[0].ask("EXISTS", A3) == integer(0)


def test_the_proxy_stops_and_exec_is_on_its_way() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server)) as proxy:
        client, waiting = proxy.client(), proxy.client()
        client.send(command("MULTI") + command("SET", A1, "x") + command("EXEC"))
        private = server.accept()
        private.expect(command("MULTI"))
        private.send(OK)
        private.expect(command("SET", A1, "x") + command("EXEC"))
        waiting.send(BLPOP)
        take_blpop(server.accept())
        proxy.process.terminate()
        wait_until(lambda: "SIGTERM" in proxy.log(), "the proxy has begun to stop")
        private.send(QUEUED + array(OK))
        client.expect(OK + QUEUED + array(OK))
        client.expect_closed()
        waiting.expect_closed()
        assert proxy.wait() == 0
