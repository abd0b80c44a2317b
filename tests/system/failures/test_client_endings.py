"""Clients that half-close, vanish or reset, and the replies that other clients get."""

from harness.proxy import ServedPools, redis_pool
from harness.resp import OK, array, bulk, command
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure


def test_half_close_gets_its_replies_first(servers: list[RedisServer], proxy: ServedPools) -> None:
    client = proxy.client()
    client.send(command("SET", "a", "1") + command("MGET", "a", "b", "c", "d") + command("PING"))
    client.half_close()
    client.expect(OK + array(bulk("1"), *[b"$-1\r\n"] * 3) + b"+PONG\r\n")
    client.expect_closed()


def test_half_close_waits_for_a_slow_server(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        client.half_close()
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        peer.send(bulk("late"))
        client.expect(bulk("late"))
        client.expect_closed()
        proxy.wait_stats(lambda pool: pool["client_eof"] == 1 and pool["client_connections"] == 0, "the end is counted")


def test_half_a_request_is_dropped(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a") + command("SET", "b", "2")[:-3])
        client.half_close()
        peer = server.accept()
        peer.expect(command("GET", "a"))
        peer.send(bulk("1"))
        client.expect(bulk("1"))
        client.expect_closed()
        assert peer.collect() == b""


def test_idle_clients_come_and_go(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        for _ in range(50):
            proxy.client().close()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 0 and pool["client_eof"] == 50, "no client is left")
        assert proxy.pool_stats()["client_err"] == 0


def test_reset_is_an_error(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        assert client.ask("PING") == b"+PONG\r\n"
        client.reset()
        proxy.wait_stats(lambda pool: pool["client_err"] == 1 and pool["client_connections"] == 0, "the reset counts")


def test_replies_for_a_vanished_client_reach_nobody(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        vanishing, staying = proxy.client(), proxy.client()
        vanishing.send(command("GET", "a") + command("GET", "b"))
        peer = server.accept()
        assert [peer.request(), peer.request()] == [[b"GET", b"a"], [b"GET", b"b"]]
        staying.send(command("GET", "c"))
        assert peer.request() == [b"GET", b"c"]
        vanishing.reset()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 1, "the client is gone")
        peer.send(bulk("a") + bulk("b") + bulk("c"))
        staying.expect(bulk("c"))
        staying.send(command("GET", "d"))
        assert peer.request() == [b"GET", b"d"]
        peer.send(bulk("d"))
        staying.expect(bulk("d"))


def test_split_command_of_a_vanished_client(configured: Configure) -> None:
    with ScriptedServer() as first, ScriptedServer() as second, configured(redis_pool(first, second)) as proxy:
        keys = [f"k{i}" for i in range(10)]
        vanishing, staying = proxy.client(), proxy.client()
        vanishing.send(command("MGET", *keys) + command("MGET", *keys))
        peers = [first.accept(), second.accept()]
        parts = [peer.request()[1:] for peer in peers]
        vanishing.reset()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 1, "the client is gone")
        staying.send(command("MGET", *keys))
        for peer, part in zip(peers, parts, strict=True):
            assert [peer.request()[1:], peer.request()[1:]] == [part, part]
            peer.send(array(*map(bulk, part)) * 3)
        staying.expect(array(*map(bulk, keys)))


def test_partial_reply_for_a_vanished_client(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        vanishing, staying = proxy.client(), proxy.client()
        vanishing.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        staying.send(command("GET", "b"))
        assert peer.request() == [b"GET", b"b"]
        peer.send_pieces(b"$100000\r\n" + b"x" * 50000)
        vanishing.reset()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 1, "the client is gone")
        peer.send(b"x" * 50000 + b"\r\n" + bulk("b"))
        staying.expect(bulk("b"))


def test_clients_that_reset_at_every_byte(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers)) as proxy:
        stream = command("MSET", "k0", "1", "k1", "2", "k2", "3") + command("GET", "k0")
        for cut in range(1, len(stream) + 1):
            with proxy.client() as client:
                client.send(stream[:cut])
                client.reset()
        with proxy.client() as client:
            assert client.ask("MSET", "k0", "a", "k1", "b") == OK
            assert client.ask("MGET", "k0", "k1") == array(bulk("a"), bulk("b"))
        proxy.wait_stats(lambda pool: pool["client_connections"] == 0, "all clients are gone")
