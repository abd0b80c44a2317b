"""Transactions on slow, unreachable, refusing and failing servers: replies in order, no transaction half done."""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import OK, array, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

PONG, QUEUED = b"+PONG\r\n", b"+QUEUED\r\n"
ABORTED = error("EXECABORT Transaction discarded because of previous errors.")
LOST = error("EXECABORT Transaction discarded because its server connection was lost, nothing of it was executed")
FAILED = error("ERR the server connection of the transaction or blocking command failed")
REFUSED, TIMED_OUT, ENDED, RESET = (
    error(f"ERR {text}")
    for text in ("Connection refused", "Connection timed out", "unknown", "Connection reset by peer")
)
NO_PERMISSION = error("NOPERM this user has no permissions to run the 'multi' command")
MULTI, EXEC, UNWATCH = (command(word) for word in ("MULTI", "EXEC", "UNWATCH"))
[A1, A2], [B1], [C1] = keys_of(0, 3, 2), keys_of(1, 3), keys_of(2, 3)
SETS = command("SET", A1, "1") + command("SET", A2, "2")
TIMEOUT = 200
"""Milliseconds."""


class Play:
    """A proxy whose pool is one scripted server, with a client and a second client that shows progress."""

    def __init__(self, proxy: ServedPools, server: ScriptedServer) -> None:
        self.proxy, self.server = proxy, server
        self.client, self._witness = proxy.client(), proxy.client()

    def end(self) -> None:
        """Restore the initial state of the proxy and the server."""
        self.client.close()
        self._witness.close()
        self.server.reset()
        self.lost()

    def lost(self) -> None:
        """Wait until the proxy has noticed that it has no server connection."""
        self.proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 0, "the connection is closed")

    def settled(self) -> None:
        """Wait until the proxy has processed everything that was sent to it."""
        for _ in range(2):
            assert self._witness.ask("PING") == PONG

    def begun(self) -> Connection:
        """The client sends MULTI and SETS, and the server queues them; returns the server's end of the connection."""
        self.client.send(MULTI + SETS)
        peer = self.server.accept()
        peer.expect(MULTI)
        peer.send(OK)
        peer.expect(SETS)
        peer.send(QUEUED * 2)
        self.client.expect(OK + QUEUED * 2)
        return peer

    def works(self) -> None:
        """A whole transaction of the client succeeds, on a new connection."""
        peer = self.begun()
        self.client.send(EXEC)
        peer.expect(EXEC)
        peer.send(array(OK, OK))
        self.client.expect(array(OK, OK))


@pytest.fixture(scope="module")
def stages(configured: Configure) -> Iterator[dict[str, tuple[ServedPools, ScriptedServer]]]:
    """Two proxies with one scripted server each; the pool of ``short`` has a short ``timeout``."""
    with (
        ScriptedServer() as server,
        ScriptedServer() as other,
        configured(redis_pool(server)) as proxy,
        configured(redis_pool(other, timeout=TIMEOUT)) as short,
    ):
        yield {"long": (proxy, server), "short": (short, other)}


@pytest.fixture
def play(stages: dict[str, tuple[ServedPools, ScriptedServer]]) -> Iterator[Play]:
    play = Play(*stages["long"])
    yield play
    play.end()


@pytest.fixture
def impatient(stages: dict[str, tuple[ServedPools, ScriptedServer]]) -> Iterator[Play]:
    """A play whose pool has a short ``timeout``."""
    play = Play(*stages["short"])
    yield play
    play.end()


# --- nothing overtakes -----------------------------------------------------------------------------------------------


def test_what_was_sent_before_is_done_before(play: Play) -> None:
    play.client.send(command("SET", "k", "before") + MULTI + SETS + EXEC + command("GET", "k"))
    shared = play.server.accept()
    shared.expect(command("SET", "k", "before"))
    play.settled()
    assert not play.server.has_connection()
    shared.send(OK)
    private = play.server.accept()
    private.expect(MULTI)
    play.settled()
    # Commands to queue wait until the server has replied to MULTI.
    assert private.collect() == b""
    private.send(OK)
    private.expect(SETS + EXEC)
    private.send(QUEUED * 2)
    play.client.expect(OK * 2 + QUEUED * 2)
    play.settled()
    # Requests after EXEC wait until the server has replied to EXEC.
    assert shared.collect() == b""
    private.send(array(OK, OK))
    shared.expect(command("GET", "k"))
    shared.send(bulk("after"))
    play.client.expect(array(OK, OK) + bulk("after"))
    assert private.collect() == b""


def test_watch_and_reads_in_turn(play: Play) -> None:
    play.client.send(command("GET", "k") + command("WATCH", A1) + command("GET", A1) + MULTI + SETS + EXEC)
    shared = play.server.accept()
    shared.expect(command("GET", "k"))
    play.settled()
    assert not play.server.has_connection()
    shared.send(bulk("0"))
    private = play.server.accept()
    private.expect(command("WATCH", A1))
    play.settled()
    assert shared.collect() == b""
    private.send(OK)
    shared.expect(command("GET", A1))
    play.settled()
    assert private.collect() == b""
    shared.send(bulk("1"))
    private.expect(MULTI)
    private.send(OK)
    private.expect(SETS + EXEC)
    private.send(QUEUED * 2 + array(OK, OK))
    play.client.expect(bulk("0") + OK + bulk("1") + OK + QUEUED * 2 + array(OK, OK))


def test_other_clients_go_on_meanwhile(play: Play) -> None:
    peer = play.begun()
    other = play.proxy.client()
    other.send(command("GET", "k"))
    play.server.answer(bulk("v"))
    other.expect(bulk("v"))
    play.client.send(EXEC)
    peer.expect(EXEC)
    assert other.ask("PING") == PONG
    peer.send(array(OK, OK))
    play.client.expect(array(OK, OK))


# --- a server that refuses -------------------------------------------------------------------------------------------


def test_multi_is_refused(play: Play) -> None:
    play.client.send(MULTI + SETS + EXEC + MULTI)
    peer = play.server.accept()
    peer.expect(MULTI)
    peer.send(NO_PERMISSION)
    play.client.expect(OK + NO_PERMISSION * 2 + ABORTED + OK)
    peer.expect_closed()
    play.client.send(command("DISCARD"))
    play.client.expect(OK)
    play.works()


def test_multi_is_refused_where_something_is_watched(play: Play) -> None:
    play.client.send(command("WATCH", A1) + MULTI + SETS + EXEC)
    peer = play.server.accept()
    peer.expect(command("WATCH", A1))
    peer.send(OK)
    peer.expect(MULTI)
    peer.send(NO_PERMISSION)
    play.client.expect(OK * 2 + NO_PERMISSION * 2 + ABORTED)
    peer.expect_closed()
    play.works()


def test_what_was_queued_without_keys_is_refused(configured: Configure) -> None:
    """In a pool of two servers the first key selects the server, which gets MULTI and the commands before this key."""
    with ScriptedServer() as first, ScriptedServer() as second, configured(redis_pool(first, second)) as proxy:
        client = proxy.client()
        key = keys_of(1, 2)[0]
        client.send(MULTI + command("ECHO", "x") + command("SET", key, "1") + EXEC)
        peer = second.accept()
        peer.expect(MULTI + command("ECHO", "x"))
        peer.send(OK + error("ERR no echo"))
        client.expect(OK + QUEUED + error("ERR no echo") + ABORTED)
        peer.expect_closed()
        assert not first.has_connection()


# --- a server that disconnects ---------------------------------------------------------------------------------------


def test_lost_after_watch(play: Play) -> None:
    play.client.send(command("WATCH", A1))
    peer = play.server.accept()
    peer.expect(command("WATCH", A1))
    peer.send(OK)
    play.client.expect(OK)
    peer.close()
    play.lost()
    play.client.send(command("GET", A1))
    shared = play.server.answer(bulk("v"))
    play.client.expect(bulk("v"))
    play.client.send(MULTI + SETS + EXEC + command("PING"))
    play.client.expect(OK + FAILED * 2 + ABORTED + PONG)
    assert not play.server.has_connection()
    assert shared.collect() == b""
    play.works()


@pytest.mark.parametrize("ending", [EXEC, command("DISCARD"), UNWATCH, command("RESET")])
def test_a_lost_watch_ends(play: Play, ending: bytes) -> None:
    play.client.send(command("WATCH", A1))
    play.server.answer(OK).close()
    play.client.expect(OK)
    play.lost()
    in_transaction = ending in (EXEC, command("DISCARD"))
    play.client.send(MULTI * in_transaction + ending)
    play.client.expect(OK * in_transaction + {EXEC: LOST, command("RESET"): b"+RESET\r\n"}.get(ending, OK))
    play.works()


def test_lost_with_watch_on_its_way(play: Play) -> None:
    play.client.send(command("WATCH", A1) + command("WATCH", A2) + MULTI + SETS + EXEC + command("PING"))
    peer = play.server.accept()
    peer.expect(command("WATCH", A1) + command("WATCH", A2) + MULTI)
    peer.send(OK)
    peer.close()
    play.client.expect(OK + ENDED + OK + ENDED * 2 + ABORTED + PONG)
    play.works()


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_lost_with_a_part_queued(play: Play, answered: int) -> None:
    play.client.send(MULTI + SETS)
    peer = play.server.accept()
    peer.expect(MULTI)
    peer.send(OK)
    peer.expect(SETS)
    peer.send(QUEUED * answered)
    play.client.expect(OK + QUEUED * answered)
    peer.close()
    play.client.expect(ENDED * (2 - answered))
    play.lost()
    play.client.send(EXEC + command("PING"))
    play.client.expect(LOST + PONG)
    assert not play.server.has_connection()
    play.works()


def test_lost_and_more_to_queue(play: Play) -> None:
    play.begun().close()
    play.lost()
    play.client.send(SETS + command("GET", A1) + EXEC)
    play.client.expect(FAILED * 3 + ABORTED)
    assert not play.server.has_connection()
    play.works()


@pytest.mark.parametrize("reply", [b"", b"*2\r\n+OK\r\n", b"*2\r\n+OK\r\n+O"])
def test_lost_before_all_of_the_reply_to_exec(play: Play, reply: bytes) -> None:
    """It is unknown whether the transaction was executed, so the reply is an error and EXEC is not sent again."""
    peer = play.begun()
    play.client.send(EXEC + command("PING") + EXEC)
    peer.expect(EXEC)
    peer.send(reply)
    peer.close()
    play.client.expect(ENDED + PONG + error("ERR EXEC without MULTI"))
    assert not play.server.has_connection()
    play.works()


def test_reset_before_the_reply_to_exec(play: Play) -> None:
    peer = play.begun()
    play.client.send(EXEC + command("PING"))
    peer.expect(EXEC)
    peer.reset()
    play.client.expect(error("ERR Connection reset by peer") + PONG)
    play.works()


def test_not_reachable(play: Play) -> None:
    play.server.refuse()
    play.client.send(MULTI + SETS + EXEC + command("PING"))
    play.client.expect(OK + REFUSED * 2 + ABORTED + PONG)
    play.client.send(MULTI + command("PING") + EXEC + command("WATCH", A1) + MULTI + SETS + EXEC)
    play.client.expect(OK + REFUSED + ABORTED + REFUSED + OK + REFUSED * 2 + ABORTED)
    play.server.listen()
    play.works()


def test_a_failed_watch_can_be_given_up(play: Play) -> None:
    play.server.refuse()
    assert play.client.ask("WATCH", A1) == REFUSED
    play.server.listen()
    assert play.client.ask("UNWATCH") == OK
    play.works()


def test_a_killed_server(mortal: tuple[ServedPools, list[RedisServer]]) -> None:
    """The server is empty after its restart, so keys that exist later were set later."""
    proxy, servers = mortal
    watching, queueing, both = clients = [proxy.client() for _ in range(3)]
    for client in (watching, both):
        assert client.ask("WATCH", A1, A2) == OK
    for client in (queueing, both):
        client.send(MULTI + SETS)
        client.expect(OK + QUEUED * 2)
    servers[0].kill()
    proxy.wait_stats(lambda stats: stats["s00"]["server_connections"] == 0, "the connections are closed")
    servers[0].start()
    watching.send(MULTI + SETS + EXEC)
    watching.expect(OK + FAILED * 2 + ABORTED)
    assert queueing.ask("EXEC") == both.ask("EXEC") == LOST
    for client in clients:
        assert client.ask("EXISTS", A1, A2) == integer(0)
    for client in clients:
        client.send(command("WATCH", A1) + MULTI + SETS + EXEC + command("DEL", A1, A2))
        client.expect(OK * 2 + QUEUED * 2 + array(OK, OK) + integer(2))


def test_connections_that_are_killed_at_any_moment(mortal: tuple[ServedPools, list[RedisServer]]) -> None:
    """A transaction that EXEC confirms was executed completely; a transaction with EXECABORT was not executed."""
    proxy, servers = mortal
    work = MULTI + command("INCR", A1) + command("INCR", A2) + EXEC
    clients = [proxy.client() for _ in range(6)]
    confirmed = unknown = denied = 0
    for _ in range(60):
        for client in clients:
            client.send(work * 5)
        assert servers[0].ask("CLIENT", "KILL", "TYPE", "normal")[:1] == b":"
        for client in clients:
            for _ in range(5):
                client.expect(OK)
                queued, reply = client.replies(2), client.reply()
                if reply.startswith(b"*2\r\n:"):
                    assert queued == [QUEUED] * 2
                    first, second = reply.split(b"\r\n")[1:3]
                    assert first == second
                    confirmed += 1
                elif reply.startswith(b"-EXECABORT "):
                    denied += 1
                else:
                    assert queued == [QUEUED] * 2 or all(word in (QUEUED, ENDED, RESET) for word in queued)
                    assert reply in (ENDED, RESET)
                    unknown += 1
    with proxy.client() as client:
        counted = client.ask("MGET", A1, A2).split(b"\r\n")[2::2]
        assert counted[0] == counted[1]
        assert confirmed <= int(counted[0]) <= confirmed + unknown
        assert client.ask("DEL", A1, A2) == integer(2)
    assert confirmed + unknown + denied == 1800
    for client in clients:
        client.close()


# --- timeouts --------------------------------------------------------------------------------------------------------


def test_multi_is_not_answered_in_time(impatient: Play) -> None:
    impatient.client.send(MULTI + SETS + EXEC + command("PING"))
    peer = impatient.server.accept()
    peer.expect(MULTI)
    impatient.client.expect(OK + TIMED_OUT * 2 + ABORTED + PONG)
    peer.expect_closed()


def test_exec_is_not_answered_in_time(impatient: Play) -> None:
    peer = impatient.begun()
    impatient.client.send(EXEC + command("PING"))
    peer.expect(EXEC)
    impatient.client.expect(TIMED_OUT + PONG)
    peer.expect_closed()
    impatient.works()


def test_a_client_may_take_its_time(impatient: Play) -> None:
    """The timeout is for servers: a client may take any time between its requests."""
    peer = impatient.begun()
    other = impatient.proxy.client()
    other.send(command("GET", "k"))
    impatient.server.accept()
    # When this request has timed out, the transaction has been open for longer than the timeout.
    other.expect(TIMED_OUT)
    impatient.client.send(EXEC)
    peer.expect(EXEC)
    peer.send(array(OK, OK))
    impatient.client.expect(array(OK, OK))


def test_a_connection_that_has_waited_is_impatient_again(impatient: Play) -> None:
    client, server = impatient.client, impatient.server
    client.send(command("BLPOP", A1, 0))
    private = server.accept()
    private.expect(command("CLIENT", "ID") + command("BLPOP", A1, 0))
    private.send(integer(7))
    with impatient.proxy.client() as other:
        # When this request has timed out, BLPOP has waited for longer than the timeout.
        other.send(command("GET", A1))
        other.expect(TIMED_OUT)
    private.send(array(bulk(A1), bulk("x")))
    client.expect(array(bulk(A1), bulk("x")))
    client.send(MULTI + command("GET", A1) + EXEC)
    private.expect(MULTI)
    client.expect(OK + TIMED_OUT + ABORTED)
    private.expect_closed()


def test_wait_is_not_prepared_in_time(impatient: Play) -> None:
    """WAIT itself has no timeout, but the request that the proxy sends before it has one."""
    impatient.client.send(command("WAIT", 0, 0) + command("PING"))
    peer = impatient.server.accept()
    assert peer.request()[0] == b"PUBLISH"
    impatient.client.expect(TIMED_OUT + PONG)
    peer.expect_closed()


def test_what_is_watched_survives_a_failed_wait(mortal: tuple[ServedPools, list[RedisServer]]) -> None:
    proxy, servers = mortal
    client, other = proxy.client(), proxy.client()
    servers[2].kill()
    client.send(command("WATCH", A1) + command("WAIT", 0, 0))
    client.expect(OK + REFUSED)
    assert other.ask("SET", A1, "theirs") == OK
    client.send(MULTI + SETS + EXEC)
    client.expect(OK + QUEUED * 2 + b"*-1\r\n")
    assert client.ask("GET", A1) == bulk("theirs")
    assert client.ask("WATCH", A1) == OK
    client.send(command("WAIT", 0, 0) + MULTI + SETS + EXEC + command("DEL", A1, A2))
    client.expect(REFUSED + OK + QUEUED * 2 + array(OK, OK) + integer(2))
    servers[2].start()


def test_every_wait_is_for_what_was_written_before_it(play: Play) -> None:
    """WAIT is about the writes of its own connection, so the proxy first writes something on this connection."""
    play.client.send(command("WATCH", A1))
    private = play.server.answer(OK)
    play.client.expect(OK)
    shared: Connection | None = None
    for _ in range(3):
        play.client.send(command("SET", A2, "1") + command("WAIT", 1, 0))
        shared = shared or play.server.accept()
        shared.expect(command("SET", A2, "1"))
        shared.send(OK)
        assert private.request()[0] == b"PUBLISH"
        private.send(integer(0))
        private.expect(command("WAIT", 1, 0))
        private.send(integer(1))
        play.client.expect(OK + integer(1))


def test_a_watch_that_failed_can_be_tried_again(configured: Configure) -> None:
    """EXEC does nothing after that, as after a change of a key: what was watched before may have changed."""
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("WATCH", "k"))
        peer = server.accept()
        peer.expect(command("WATCH", "k"))
        peer.close()
        assert client.reply().startswith(b"-")
        client.send(command("WATCH", "k"))
        server.answer(OK)
        client.expect(OK)
        assert client.ask("MULTI") == OK
        assert client.ask("GET", "k") == b"+QUEUED\r\n"
        assert client.ask("EXEC") == b"*-1\r\n"
