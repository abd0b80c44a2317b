"""Few file descriptors: surplus clients get an error, servers can still be reached, and no server is ejected."""

import resource
import signal
from functools import partial

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool, under_test
from harness.resp import OK, array, bulk, command, integer
from harness.servers import MemcachedServer, RedisServer
from harness.subscribing import subscribe
from harness.waiting import wait_until

FILES = 100
MANY_FILES = 400
TOO_MANY = "max number of clients reached"
NO_FILES = b"-ERR the proxy cannot connect to the server: Too many open files\r\n"


def with_files(count: int) -> list[str]:
    """The command under test with a limit of ``count`` descriptors."""
    return ["sh", "-c", f'ulimit -n {count}; exec "$@"', "sh", *under_test()]


def crowd(proxy: Proxy, refusal: bytes, request: bytes, reply: bytes) -> list[Connection]:
    """Connect clients until one gets the refusal, check that later ones get it, too; returns the accepted clients."""
    clients = []
    while True:
        client = proxy.client()
        client.send(request)
        first = client.read_until(b"\r\n")
        if first == refusal:
            client.read_to_end()
            break
        assert first == reply
        clients.append(client)
        assert len(clients) < MANY_FILES
    for _ in range(2 * FILES):
        # Every client gets the error, so no client is left in the accept queue.
        with proxy.client() as client:
            assert client.read_to_end() == refusal
    return clients


def test_servers_are_connected_to_when_clients_have_all_they_may(servers: list[RedisServer]) -> None:
    directives = {"blocking_connections": 2, "auto_eject_hosts": True, "server_failure_limit": 1}
    with Proxy(redis_pool(*servers, **directives), command=with_files(FILES)) as proxy:
        clients = crowd(proxy, f"-ERR {TOO_MANY}\r\n".encode(), command("PING"), b"+PONG\r\n")
        assert len(clients) == FILES - 32 - 1 - 3 - FILES // 20
        for index in range(3):
            [key] = keys_of(index, 3)
            assert clients[0].ask("SET", key, index) == OK
            assert clients[0].ask("GET", key) == bulk(index)
        assert clients[1].ask("HELLO", "3").startswith(b"%")
        assert clients[1].ask("MGET", *(keys_of(index, 3)[0] for index in range(3))) == array(*map(bulk, range(3)))
        subscribe(clients[2], "a", "b", "c", "d")
        clients[3].send(command("BLPOP", "list", "0"))
        assert clients[0].ask("RPUSH", "list", "x") == integer(1)
        assert clients[3].reply() == array(bulk("list"), bulk("x"))
        assert proxy.pool_stats()["server_ejects"] == 0


def test_clients_of_memcached_are_told_as_well() -> None:
    with MemcachedServer() as server, Proxy(memcached_pool(server), command=with_files(FILES)) as proxy:
        clients = crowd(proxy, f"SERVER_ERROR {TOO_MANY}\r\n".encode(), b"get none\r\n", b"END\r\n")
        assert len(clients) == FILES - 32 - 1 - 1
        assert clients[-1].ask_text(b"get a\r\n") == b"END\r\n"


@pytest.mark.parametrize("directive", ["client_connections", "both"])
def test_a_limit_of_the_pool(servers: list[RedisServer], directive: str) -> None:
    with Proxy(
        redis_pool(servers[0], client_connections=3), command=with_files(FILES) if directive == "both" else ()
    ) as proxy:
        clients = crowd(proxy, f"-ERR {TOO_MANY}\r\n".encode(), command("PING"), b"+PONG\r\n")
        assert len(clients) == 3
        clients.pop().close()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 2, "the client is gone")
        assert proxy.client().ask("PING") == b"+PONG\r\n"


def test_no_descriptor_for_a_server_is_not_the_servers_fault(servers: list[RedisServer]) -> None:
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1}
    with Proxy(redis_pool(*servers, **directives), command=with_files(MANY_FILES)) as proxy:
        clients = crowd(proxy, f"-ERR {TOO_MANY}\r\n".encode(), command("PING"), b"+PONG\r\n")
        [key] = keys_of(0, 3)
        assert clients[0].ask("SET", key, "1") == OK
        for number, client in enumerate(clients[1:]):
            client.send(command("BLPOP", f"nothing:{number}", "0"))
        # There are not enough for all of these clients, and the proxy does not serve them in the order of sending.
        refused = wait_until(lambda: [client for client in clients[1:] if client.has_received()], "a client is refused")
        assert refused[0].reply() == NO_FILES
        assert refused[0].ask("PING") == b"+PONG\r\n"
        assert clients[0].ask("GET", key) == bulk("1")
        assert proxy.pool_stats()["server_ejects"] == 0
        # There is no descriptor to accept clients with, either.
        for _ in range(FILES):
            with proxy.client() as late:
                assert late.read_to_end() == f"-ERR {TOO_MANY}\r\n".encode()
        for client in clients[1:]:
            client.close()
        proxy.wait_stats(lambda pool: pool["client_connections"] == 1, "the other clients are gone")
        assert proxy.client().ask("GET", key) == bulk("1")


def told(proxy: Proxy, times: int) -> bool:
    """Whether the log has reported at least ``times`` times that no client can be accepted."""
    return proxy.log().count("clients wait") >= times


def test_clients_wait_when_there_is_no_descriptor_to_turn_them_away_with(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0])) as proxy:
        first = proxy.client()
        assert first.ask("SET", "k", "1") == OK
        worker = proxy.processes()[-1]
        few_and_many = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        clients = [first]
        for times in (1, 2, 3):
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, few_and_many[1]))
            waiting = [proxy.client() for _ in range(3)]
            wait_until(partial(told, proxy, times), "no client can be accepted")
            # Connected clients are still served.
            assert {client.ask("GET", "k") for client in clients} == {bulk("1")}
            resource.prlimit(worker, resource.RLIMIT_NOFILE, few_and_many)
            clients += waiting
            assert {client.ask("GET", "k") for client in clients} == {bulk("1")}
        assert not told(proxy, 100)


def test_the_first_worker_has_the_raised_limit(servers: list[RedisServer]) -> None:
    command = ["sh", "-c", f'ulimit -S -n {FILES}; exec "$@"', "sh", *under_test()]
    with Proxy(redis_pool(servers[0]), command=command) as proxy:
        limits = {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in proxy.processes()}
        assert limits == {(resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2}


def test_a_worker_without_descriptors_is_neither_reloaded_nor_replaced(servers: list[RedisServer]) -> None:
    pool = redis_pool(servers[0])
    with Proxy(pool, command=with_files(FILES)) as proxy:
        clients = [proxy.client() for _ in range(FILES - 32 - 1 - 1 - FILES // 20)]
        for client in clients:
            assert client.ask("PING") == b"+PONG\r\n"
        stats = proxy.reload({"alpha": pool, **{f"pool{number}": pool for number in range(38)}})
        assert stats["last_reload"].startswith("failed: a worker can open no more files: raise the limit (ulimit -n)")
        # Private connections to the server take the rest.
        for client in clients:
            client.send(command("BLPOP", "nothing", "0"))
        wait_until(lambda: "Too many open files" in proxy.log(), "no descriptor is left")
        before = proxy.processes()
        proxy.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: "go on: a worker can open no more files" in proxy.log(), "the upgrade has failed")
        wait_until(lambda: proxy.processes() == before, "the other worker has ended")
        proxy.close_clients()
        assert proxy.client().ask("PING") == b"+PONG\r\n"
        assert not proxy.reload(redis_pool(servers[0], timeout=4000))["last_reload_failed"]


def test_clients_that_are_handed_over_have_their_places(servers: list[RedisServer]) -> None:
    refusal, greeting = f"-ERR {TOO_MANY}\r\n".encode(), b"+PONG\r\n"
    with Proxy(redis_pool(servers[0]), command=with_files(FILES)) as proxy:
        clients = crowd(proxy, refusal, command("PING"), greeting)
        for client in clients[:10]:
            client.send(command("BLPOP", "waiting", "0"))
        wait_until(lambda: b"blocked_clients:10" in servers[0].ask("INFO", "clients"), "clients are blocked")
        before = proxy.processes()
        proxy.upgrade()
        # More clients than the worker has places for; some clients are not handed over yet.
        for _ in range(len(clients)):
            with proxy.client() as client:
                assert client.read_to_end() == refusal
        for _ in range(10):
            assert servers[0].ask("RPUSH", "waiting", "x") == integer(1)
        for client in clients[:10]:
            client.expect(array(bulk("waiting"), bulk("x")))
        for client in clients:
            assert client.ask("PING") == greeting
        wait_until(lambda: len(proxy.processes()) == 2 and proxy.processes() != before, "the former worker has ended")
        clients.pop().close()
        proxy.wait_stats(lambda pool: pool["client_connections"] == len(clients), "the client is gone")
        assert proxy.client().ask("PING") == greeting
