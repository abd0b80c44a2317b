"""What happens when time passes; the clock of the data plane jumps, so that no test waits."""

from harness.resp import NULL, OK, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from unit.in_process import InProcess

# In milliseconds. A test takes less than a minute of real time, which the clock counts, too.
MINUTE = 60_000
HOUR = 60 * MINUTE
TIMED_OUT = error("ERR Connection timed out")


def test_a_request_without_a_reply_fails_alone_and_a_silent_server_fails_later() -> None:
    with (
        ScriptedServer() as server,
        InProcess(redis=True, servers=[f"{server.address}:1 one"], timeout=HOUR) as proxy,
    ):
        early, late = proxy.client(), proxy.client()
        early.send(command("GET", "early"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"early"]
        proxy.advance(HOUR - 2 * MINUTE)
        late.send(command("GET", "late"))
        assert peer.request() == [b"GET", b"late"]
        assert not early.has_received()
        proxy.advance(2 * MINUTE)
        early.expect(TIMED_OUT)
        assert not late.has_received()
        proxy.advance(HOUR - 3 * MINUTE)
        assert not late.has_received()
        proxy.advance(MINUTE)
        late.expect(TIMED_OUT)
        assert not peer.has_ended()
        proxy.advance(2 * MINUTE)
        peer.expect_closed()


def test_a_server_that_answers_in_time_is_left_alone() -> None:
    with (
        ScriptedServer() as server,
        InProcess(redis=True, servers=[f"{server.address}:1 one"], timeout=HOUR) as proxy,
    ):
        client = proxy.client()
        client.send(command("GET", "k"))
        peer = server.accept()
        for _ in range(5):
            assert peer.request() == [b"GET", b"k"]
            proxy.advance(HOUR - MINUTE)
            peer.send(bulk("v"))
            client.expect(bulk("v"))
            client.send(command("GET", "k"))
        peer.request()
        peer.send(bulk("v"))
        client.expect(bulk("v"))
        proxy.advance(10 * HOUR)
        assert not peer.has_ended()


def test_a_request_behind_a_fence_has_a_deadline() -> None:
    """The server has sent half of a message, although no request waited for a reply, and the fence gets none."""
    with (
        ScriptedServer() as server,
        InProcess(redis=True, servers=[f"{server.address}:1 one"], timeout=HOUR) as proxy,
    ):
        client = proxy.client()
        client.send(command("EVAL", "return 1", 1, "k"))
        peer = server.accept_scripts()
        assert peer.request()[0] == b"EVAL"
        peer.answer(integer(1))
        client.expect(integer(1))
        peer.send(b">2\r\n")
        peer.wait_consumed()
        proxy.advance(MINUTE)
        [_] = peer.request()

        def in_one_turn() -> None:
            # Later the connection would count as stuck, and the request would go to another one.
            peer.send(b"+half\r\n")
            client.send(command("GET", "k"))

        proxy.call(in_one_turn)
        assert peer.request() == [b"GET", b"k"]
        peer.read_fence()
        proxy.advance(HOUR)
        client.expect(TIMED_OUT)
        proxy.advance(HOUR)
        peer.expect_closed()


def test_a_server_is_ejected_after_failures_and_returns_after_probes() -> None:
    with RedisServer() as live, ScriptedServer() as silent:
        pool = {
            "redis": True,
            "servers": [f"{live.address}:1 one", f"{silent.address}:1 two"],
            "timeout": HOUR,
            "auto_eject_hosts": True,
            "server_failure_limit": 2,
            "server_retry_timeout": 10 * HOUR,
            "probe_successes": 2,
        }
        with InProcess(**pool) as proxy:
            client = proxy.client()
            key = next(f"key{n}" for n in range(100) if server_of(proxy, f"key{n}") == "two")
            client.send(command("GET", key))
            peer = silent.accept()
            assert peer.request() == [b"GET", key.encode()]
            for _ in range(2):
                proxy.advance(HOUR)
                client.expect(TIMED_OUT)
                client.send(command("GET", key))
            client.expect(NULL)
            # The first probe is not answered; later ones are.
            for reply in (b"", b"+PONG\r\n", b"+PONG\r\n"):
                proxy.advance(8 * HOUR)
                assert not silent.has_connection()
                proxy.advance(3 * HOUR)
                probe = silent.accept()
                assert probe.request() == [b"PING"]
                if reply:
                    probe.send(reply)
                else:
                    proxy.advance(HOUR)
                probe.expect_closed()
            client.send(command("GET", key))
            peer = silent.accept()
            assert peer.request() == [b"GET", key.encode()]
            peer.send(bulk("v"))
            client.expect(bulk("v"))


def server_of(proxy: InProcess, key: str) -> str:
    """The name of a key's server."""
    name: str = proxy.call(lambda: proxy.data_plane.pools[0].server_of(key.encode()).name)
    return name


def test_an_idle_client_is_closed() -> None:
    with RedisServer() as server:
        pool = {"redis": True, "servers": [f"{server.address}:1 one"], "client_idle_timeout": HOUR}
        with InProcess(**pool) as proxy:
            idle, busy = proxy.client(), proxy.client()
            for client in (idle, busy):
                assert client.ask("PING") == b"+PONG\r\n"
            proxy.advance(HOUR - MINUTE)
            assert busy.ask("PING") == b"+PONG\r\n"
            proxy.advance(MINUTE)
            idle.expect_closed()
            proxy.advance(HOUR - 3 * MINUTE)
            assert busy.ask("PING") == b"+PONG\r\n"
            proxy.advance(HOUR)
            busy.expect_closed()


def test_a_client_that_waits_for_a_reply_is_not_idle() -> None:
    with ScriptedServer() as server:
        pool = {"redis": True, "servers": [f"{server.address}:1 one"], "client_idle_timeout": HOUR}
        with InProcess(**pool) as proxy:
            client = proxy.client()
            client.send(command("GET", "k"))
            peer = server.accept()
            for _ in range(3):
                proxy.advance(HOUR)
            peer.request()
            peer.send(bulk("v"))
            client.expect(bulk("v"))
            proxy.advance(HOUR)
            client.expect_closed()


def test_an_idle_limit_that_is_set_later_counts_from_the_last_request() -> None:
    with RedisServer() as server:
        pool = {"redis": True, "servers": [f"{server.address}:1 one"]}
        with InProcess(**pool) as proxy:
            client, other = proxy.client(), proxy.client()
            assert client.ask("PING") == other.ask("PING") == b"+PONG\r\n"
            proxy.advance(HOUR)
            assert other.ask("PING") == b"+PONG\r\n"
            proxy.replace_settings(**pool, client_idle_timeout=HOUR)
            client.expect_closed()
            proxy.advance(HOUR - MINUTE)
            assert other.ask("PING") == b"+PONG\r\n"
            proxy.replace_settings(**pool)
            proxy.advance(10 * HOUR)
            assert other.ask("PING") == b"+PONG\r\n"


def test_a_client_that_does_not_close_after_the_last_error_is_closed() -> None:
    with (
        RedisServer() as server,
        InProcess(redis=True, servers=[f"{server.address}:1 one"], client_input_limit=1 << 20) as proxy,
    ):
        client = proxy.client()
        key = "k" * 240
        assert client.ask("SET", key, "v" * 500) == OK
        client.send_until_stalled(command("GET", key) * 80_000, 5.0)
        assert b"-ERR more than 1048576 bytes" in client.read_to_end()
        for seconds, clients in ((0, 1), (20, 1), (10, 0)):
            proxy.advance(1000 * seconds)
            assert len(proxy.call(proxy.data_plane.clients)) == clients
