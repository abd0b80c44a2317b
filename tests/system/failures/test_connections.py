"""The number of connections: preconnect, server_connections, many clients."""

from pathlib import Path

from harness.proxy import Proxy, redis_pool
from harness.resp import OK, bulk, command
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure


def test_nothing_is_connected_before_it_is_needed(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        assert proxy.client().ask("PING") == b"+PONG\r\n"
        assert not server.has_connection()


def test_preconnect_makes_one_connection_per_server(configured: Configure) -> None:
    directives = {"preconnect": True, "server_connections": 3}
    with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        configured(redis_pool(first, second, **directives)) as proxy,
    ):
        first.accept()
        second.accept()
        proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 1, "the connection counts")
        assert not first.has_connection()
        assert not second.has_connection()


def test_preconnected_connection_is_used(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, preconnect=True)) as proxy:
        peer = server.accept()
        client = proxy.client()
        client.send(command("GET", "a"))
        assert peer.request() == [b"GET", b"a"]
        peer.send(OK)
        client.expect(OK)


def test_preconnect_makes_the_handshake(configured: Configure) -> None:
    directives = {"preconnect": True, "redis_auth": "pw", "redis_db": 2}
    with ScriptedServer() as server, configured(redis_pool(server, **directives)):
        peer = server.accept()
        assert peer.request() == [b"AUTH", b"pw"]
        peer.send(OK)
        assert peer.request() == [b"SELECT", b"2"]


def test_preconnect_to_a_dead_server_does_not_prevent_the_start(servers: list[RedisServer]) -> None:
    with ScriptedServer(listening=False) as dead, Proxy(redis_pool(servers[0], dead, preconnect=True)) as proxy:
        assert proxy.client().ask("SET", "k0", "1") in (OK, b"-ERR Connection refused\r\n")
        proxy.wait_stats(lambda pool: pool["s01"]["server_err"] >= 1, "the failure is counted")


def test_preconnect_failure_counts_as_a_failure(configured: Configure) -> None:
    directives = {"preconnect": True, "auto_eject_hosts": True, "server_failure_limit": 1}
    with ScriptedServer(listening=False) as dead, configured(redis_pool(dead, **directives)) as proxy:
        proxy.wait_stats(lambda pool: pool["server_ejects"] == 1, "the dead server is ejected")


def test_one_connection_by_default(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        clients = [proxy.client() for _ in range(8)]
        for client in clients:
            client.send(command("GET", "a"))
        peer = server.accept()
        for _ in clients:
            assert peer.request() == [b"GET", b"a"]
        assert not server.has_connection()


def test_server_connections_is_the_most_there_are(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, server_connections=3)) as proxy:
        clients = [proxy.client() for _ in range(30)]
        for client in clients:
            client.send(command("GET", "a"))
        peers = [server.accept() for _ in range(3)]
        proxy.wait_stats(lambda pool: pool["s00"]["requests"] == 30, "all requests arrived")
        proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] == 3, "the proxy is connected")
        assert not server.has_connection()
        for peer in peers:
            assert peer.request() == [b"GET", b"a"]


def test_a_client_keeps_its_connection(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, server_connections=3)) as proxy:
        client = proxy.client()
        client.send(b"".join(command("GET", f"k{i}") for i in range(16)))
        peer = server.accept()
        assert [peer.request() for _ in range(16)] == [[b"GET", b"k%d" % i] for i in range(16)]
        peer.send(OK * 16)
        client.expect(OK * 16)
        client.send(command("GET", "again"))
        assert peer.request() == [b"GET", b"again"]
        assert not server.has_connection()


def test_pools_share_no_connections(configured: Configure) -> None:
    with ScriptedServer() as server, configured({"alpha": redis_pool(server), "beta": redis_pool(server)}) as proxy:
        proxy.client("alpha").send(command("GET", "a"))
        assert server.accept().request() == [b"GET", b"a"]
        proxy.client("beta").send(command("GET", "b"))
        assert server.accept().request() == [b"GET", b"b"]


def test_five_hundred_clients(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers)) as proxy:
        clients = [proxy.client() for _ in range(500)]
        for number, client in enumerate(clients):
            client.send(b"".join(command("SET", f"c{number}", i) + command("GET", f"c{number}") for i in range(10)))
        for client in clients:
            client.expect(b"".join(OK + bulk(i) for i in range(10)))
        stats = proxy.pool_stats()
        assert stats["client_connections"] == 500
        assert [stats[server]["server_connections"] for server in ("s00", "s01", "s02")] == [1, 1, 1]
        for client in clients:
            client.close()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 0, "all clients are gone")


def test_clients_on_a_unix_socket(configured: Configure, tmp_path: Path, servers: list[RedisServer]) -> None:
    path = tmp_path / "nutcracker.sock"
    with configured({**redis_pool(*servers), "listen": f"{path} 0600"}) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        assert client.ask("GET", "a") == bulk("1")
        assert path.stat().st_mode & 0o777 == 0o600
