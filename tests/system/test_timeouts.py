"""Requests that a server does not answer in time."""

from harness.proxy import Proxy, keys_of, redis_pool
from harness.resp import OK, array, bulk, command, error
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer

TIMED_OUT = error("ERR Connection timed out")
TIMEOUT = 200
"""Milliseconds."""
LONG = 60000


def test_silent_server() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server, timeout=TIMEOUT)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a") + command("PING"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        client.expect(TIMED_OUT + b"+PONG\r\n")
        peer.expect_closed()
        client.send(command("GET", "b"))
        second = server.accept()
        assert second.request() == [b"GET", b"b"]
        second.send(bulk("b"))
        client.expect(bulk("b"))
        assert proxy.server_stats()["server_timedout"] == 1


def test_every_request_on_the_connection_fails_with_the_first() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server, timeout=TIMEOUT)) as proxy:
        first, second = proxy.client(), proxy.client()
        first.send(command("GET", "a") + command("GET", "b"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        second.send(command("GET", "c"))
        assert [peer.request(), peer.request()] == [[b"GET", b"b"], [b"GET", b"c"]]
        first.expect(TIMED_OUT * 2)
        second.expect(TIMED_OUT)
        peer.expect_closed()


def test_half_a_reply_is_no_reply() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server, timeout=TIMEOUT)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        peer.send(b"$10\r\nhalf")
        client.expect(TIMED_OUT)
        peer.expect_closed()


def test_split_command_times_out_once() -> None:
    with (
        ScriptedServer() as quick,
        ScriptedServer() as silent,
        Proxy(redis_pool(quick, silent, timeout=TIMEOUT)) as proxy,
    ):
        [a], [b] = keys_of(0, 2), keys_of(1, 2)
        client = proxy.client()
        client.send(command("MGET", a, b) + command("PING"))
        quick.answer(array(bulk("a")))
        silent.accept()
        client.expect(TIMED_OUT + b"+PONG\r\n")


def test_stopped_server() -> None:
    with RedisServer() as server, Proxy(redis_pool(server, timeout=TIMEOUT)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        server.pause()
        assert client.ask("GET", "a") == TIMED_OUT
        server.resume()
        assert client.ask("GET", "a") == bulk("1")


def test_answers_in_time_never_time_out() -> None:
    """Each request's clock is its own: a connection in use for longer than the timeout goes on."""
    with ScriptedServer() as server, Proxy(redis_pool(server, timeout=LONG)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = server.accept()
        for number in range(200):
            peer.request()
            peer.send(bulk(number))
            client.expect(bulk(number))
            client.send(command("GET", "a"))
        assert not server.has_connection()
        assert proxy.server_stats()["server_timedout"] == 0


def test_no_timeout_waits() -> None:
    with ScriptedServer() as server, ScriptedServer() as other:
        pools = {"alpha": redis_pool(server, timeout=0), "beta": redis_pool(other, timeout=TIMEOUT)}
        with Proxy(pools) as proxy:
            waiting, timed = proxy.client("alpha"), proxy.client("beta")
            waiting.send(command("GET", "a"))
            timed.send(command("GET", "a"))
            peer = server.accept()
            timed.expect(TIMED_OUT)
            timed.send(command("GET", "a"))
            timed.expect(TIMED_OUT)
            peer.send(bulk("late"))
            waiting.expect(bulk("late"))


def test_servers_that_take_no_connection_time_out() -> None:
    # A full accept queue: the kernel drops further SYNs, so connecting never ends.
    with ScriptedServer(backlog=0) as full, full.fill_up(), Proxy(redis_pool(full, timeout=TIMEOUT)) as proxy:
        assert proxy.client().ask("GET", "a") == TIMED_OUT


def test_handshake_is_timed_too() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server, timeout=TIMEOUT, redis_db=3)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"SELECT", b"3"]
        client.expect(TIMED_OUT)
        peer.expect_closed()
