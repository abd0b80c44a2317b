"""Requests that a server does not answer in time."""

from harness.memcache import END, server_error, value
from harness.proxy import keys_of, memcached_pool, redis_pool
from harness.resp import OK, array, bulk, command, error
from harness.scripted_server import ScriptedMemcached, ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

TIMED_OUT = error("ERR Connection timed out")
TIMEOUT = 200
"""Milliseconds."""
PATIENT = 1000
LONG = 60000


def test_silent_server(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, timeout=TIMEOUT)) as proxy:
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
        # The request timed out, and then the connection, after a second timeout without a byte from the server.
        assert proxy.server_stats()["server_timedout"] == 2


def test_late_replies_are_passed_over(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, timeout=PATIENT)) as proxy:
        first, second = proxy.client(), proxy.client()
        first.send(command("GET", "a") + command("GET", "b"))
        peer = server.accept()
        assert [peer.request(), peer.request()] == [[b"GET", b"a"], [b"GET", b"b"]]
        first.expect(TIMED_OUT * 2)
        second.send(command("GET", "c"))
        peer.send(bulk("a"))
        assert peer.request() == [b"GET", b"c"]
        peer.send(bulk("b") + bulk("c"))
        second.expect(bulk("c"))
        first.send(command("GET", "d"))
        assert peer.request() == [b"GET", b"d"]
        peer.send(bulk("d"))
        first.expect(bulk("d"))
        assert proxy.server_stats()["server_timedout"] == 2


def test_a_request_fails_alone_on_a_connection_that_makes_progress(configured: Configure) -> None:
    """Other requests keep the connection open: only overdue requests fail, each at its own deadline."""
    with ScriptedServer() as server, configured(redis_pool(server, timeout=PATIENT)) as proxy:
        slow, other = proxy.client(), proxy.client()
        slow.send(command("GET", "slow"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"slow"]
        peer.send(b"$1000\r\n")
        slow.expect(TIMED_OUT)
        other.send(command("GET", "a"))
        peer.send(b"-" * 500)
        assert peer.request() == [b"GET", b"a"]
        peer.send(b"-" * 500 + b"\r\n" + bulk("a"))
        other.expect(bulk("a"))
        assert proxy.server_stats()["server_timedout"] == 1
        assert not server.has_connection()


def test_a_silent_server_is_sent_nothing_until_it_speaks(configured: Configure) -> None:
    with ScriptedServer() as server, ScriptedServer() as clock:
        pools = {"alpha": redis_pool(server, timeout=PATIENT), "clock": redis_pool(clock, timeout=PATIENT // 2)}
        with configured(pools) as proxy:
            client, other = proxy.client("alpha"), proxy.client("alpha")
            client.send(command("GET", "a"))
            peer = server.accept()
            assert peer.request() == [b"GET", b"a"]
            client.expect(TIMED_OUT)
            # Half of the server's second timeout passes.
            assert proxy.client("clock").ask("GET", "a") == TIMED_OUT
            client.send(command("SET", "b", "1"))
            other.send(command("SET", "c", "1"))
            second = server.accept()
            peer.expect_closed()
            requests = [second.request(), second.request()]
            assert sorted(requests) == [[b"SET", b"b", b"1"], [b"SET", b"c", b"1"]]
            second.send(OK * 2)
            client.expect(OK)
            other.expect(OK)
            assert proxy.server_stats()["server_timedout"] == 2


def test_a_server_that_was_slow_to_begin_is_sent_nothing_when_it_is_silent_for_long_enough(
    configured: Configure,
) -> None:
    """Its silence began after the request, with the reply to SELECT."""
    with ScriptedServer() as server, ScriptedServer() as clock:
        pools = {
            "alpha": redis_pool(server, timeout=PATIENT, redis_db=3),
            "clock": redis_pool(clock, timeout=PATIENT // 4),
        }
        with configured(pools) as proxy:
            client, timer = proxy.client("alpha"), proxy.client("clock")
            client.send(command("GET", "a"))
            peer = server.accept()
            assert peer.request() == [b"SELECT", b"3"]
            assert timer.ask("GET", "a") == TIMED_OUT
            peer.send(OK)
            assert peer.request() == [b"GET", b"a"]
            client.expect(TIMED_OUT)
            for _ in range(2):
                assert timer.ask("GET", "a") == TIMED_OUT
            client.send(command("SET", "b", "1"))
            second = server.accept()
            peer.expect_closed()
            assert second.request() == [b"SELECT", b"3"]
            second.send(OK)
            assert second.request() == [b"SET", b"b", b"1"]
            second.send(OK)
            client.expect(OK)


def test_what_failed_before_it_was_sent_is_never_sent(configured: Configure) -> None:
    """The client would not learn that the request ran."""
    directives = {"timeout": PATIENT, "connect_timeout": LONG, "redis_db": 3}
    with ScriptedServer() as server, configured(redis_pool(server, **directives)) as proxy:
        client = proxy.client()
        client.send(command("SET", "a", "1") + command("SET", "b", "1"))
        peer = server.accept()
        assert peer.request() == [b"SELECT", b"3"]
        client.expect(TIMED_OUT * 2)
        client.send(command("GET", "c"))
        peer.send(OK)
        assert peer.request() == [b"GET", b"c"]
        peer.send(bulk("c"))
        client.expect(bulk("c"))


def test_requests_that_wait_for_a_connection_have_their_own_deadline(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, timeout=PATIENT, redis_db=3)) as proxy:
        first, second = proxy.client(), proxy.client()
        first.send(command("SET", "a", "1"))
        peer = server.accept()
        assert peer.request() == [b"SELECT", b"3"]
        proxy.wait_stats(lambda pool: pool["s00"]["in_queue"] == 1, "the request waits")
        first.expect(TIMED_OUT)
        second.send(command("SET", "b", "1"))
        peer = server.accept()
        assert peer.request() == [b"SELECT", b"3"]
        peer.send(OK)
        assert peer.request() == [b"SET", b"b", b"1"]
        peer.send(OK)
        second.expect(OK)


def test_memcached_late_replies_are_passed_over(configured: Configure) -> None:
    with ScriptedMemcached() as server, configured(memcached_pool(server, timeout=PATIENT)) as proxy:
        client = proxy.client()
        client.send(b"set a 0 0 1\r\n1\r\nget b\r\n")
        peer = server.accept()
        assert [peer.text_request(), peer.text_request()] == [b"set a 0 0 1\r\n1\r\n", b"get b\r\n"]
        client.expect(server_error("Connection timed out") * 2)
        client.send(b"get c\r\n")
        peer.send(b"STORED\r\n")
        assert peer.text_request() == b"get c\r\n"
        peer.send(value("b", "1") + END + value("c", "2") + END)
        client.expect(value("c", "2") + END)


def test_half_a_reply_is_no_reply(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, timeout=TIMEOUT)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        peer.send(b"$10\r\nhalf")
        client.expect(TIMED_OUT)
        peer.expect_closed()


def test_split_command_times_out_once(configured: Configure) -> None:
    with (
        ScriptedServer() as quick,
        ScriptedServer() as silent,
        configured(redis_pool(quick, silent, timeout=TIMEOUT)) as proxy,
    ):
        [a], [b] = keys_of(0, 2), keys_of(1, 2)
        client = proxy.client()
        client.send(command("MGET", a, b) + command("PING"))
        quick.answer(array(bulk("a")))
        silent.accept()
        client.expect(TIMED_OUT + b"+PONG\r\n")


def test_stopped_server(configured: Configure) -> None:
    with RedisServer() as server, configured(redis_pool(server, timeout=TIMEOUT)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        server.pause()
        assert client.ask("GET", "a") == TIMED_OUT
        server.resume()
        assert client.ask("GET", "a") == bulk("1")


def test_answers_in_time_never_time_out(configured: Configure) -> None:
    """Each request has its own deadline: a connection that is in use for longer than the timeout stays open."""
    with ScriptedServer() as server, configured(redis_pool(server, timeout=LONG)) as proxy:
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


def test_no_timeout_waits(configured: Configure) -> None:
    with ScriptedServer() as server, ScriptedServer() as other:
        pools = {"alpha": redis_pool(server, timeout=0), "beta": redis_pool(other, timeout=TIMEOUT)}
        with configured(pools) as proxy:
            waiting, timed = proxy.client("alpha"), proxy.client("beta")
            waiting.send(command("GET", "a"))
            timed.send(command("GET", "a"))
            peer = server.accept()
            timed.expect(TIMED_OUT)
            timed.send(command("GET", "a"))
            timed.expect(TIMED_OUT)
            peer.send(bulk("late"))
            waiting.expect(bulk("late"))


def test_servers_that_take_no_connection_time_out(configured: Configure) -> None:
    # The accept queue is full, so the kernel drops further SYNs, and a connection is never established.
    with ScriptedServer(backlog=0) as full, full.fill_up(), configured(redis_pool(full, timeout=TIMEOUT)) as proxy:
        assert proxy.client().ask("GET", "a") == TIMED_OUT


def test_connecting_has_a_timeout_of_its_own(configured: Configure) -> None:
    directives = {"timeout": LONG, "connect_timeout": TIMEOUT}
    with ScriptedServer(backlog=0) as full, full.fill_up(), configured(redis_pool(full, **directives)) as proxy:
        assert proxy.client().ask("GET", "a") == TIMED_OUT
        assert proxy.server_stats()["server_timedout"] == 2


def test_a_greeting_takes_no_longer_than_connecting_may(configured: Configure) -> None:
    directives = {"timeout": LONG, "connect_timeout": TIMEOUT, "redis_db": 3}
    with ScriptedServer() as server, configured(redis_pool(server, **directives)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        for _ in range(2):
            peer = server.accept()
            assert peer.request() == [b"SELECT", b"3"]
            peer.expect_closed()
        client.expect(TIMED_OUT)


def test_handshake_is_timed_too(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, timeout=TIMEOUT, redis_db=3)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"SELECT", b"3"]
        client.expect(TIMED_OUT)
        peer.expect_closed()
