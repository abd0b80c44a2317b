"""Limits mean the whole proxy: all of its workers together get exactly what the directive or option says."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from harness.connection import Connection
from harness.proxy import Proxy, redis_pool
from harness.servers import RedisServer
from harness.waiting import wait_until

WORKERS = 3
PONG = b"+PONG\r\n"
TOO_MANY_CLIENTS = b"-ERR max number of clients reached\r\n"


def worker_of(client: Connection) -> int:
    """The process id of the worker that serves a client."""
    return int(client.ask("INFO", "server").partition(b"process_id:")[2].split(b"\r\n")[0])


def spread(proxy: Proxy, count: int) -> dict[int, list[Connection]]:
    """This many new clients by the process id of their workers, more than one."""
    clients: dict[int, list[Connection]] = {}
    for client in [proxy.client() for _ in range(count)]:
        clients.setdefault(worker_of(client), []).append(client)
    assert len(clients) > 1
    return clients


def wait_clients(proxy: Proxy, count: int) -> None:
    """Wait until all workers serve, and there are this many clients."""

    def is_so() -> bool:
        stats = proxy.stats()
        return (stats["workers"], stats["alpha"]["client_connections"]) == (WORKERS, count)

    wait_until(is_so, f"{WORKERS} workers serve {count} clients")


# --- client_connections ----------------------------------------------------------------------------------------------


def expect_refused(proxy: Proxy, count: int) -> None:
    """Connect this many clients, which are all refused."""
    for _ in range(count):
        with proxy.client() as client:
            assert client.read_to_end() == TOO_MANY_CLIENTS


def asking(client: Connection) -> Connection:
    """The client, which has sent a request."""
    client.send(b"PING\r\n")
    return client


def test_exactly_as_many_clients_as_the_pool_may_have(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0], client_connections=10), "-w", str(WORKERS)) as proxy:
        wait_clients(proxy, 0)
        clients = spread(proxy, 10)
        expect_refused(proxy, 3 * WORKERS)
        for leaving in list(clients.values()):
            leaving.pop().close()
            wait_clients(proxy, 9)
            assert proxy.client().ask("PING") == PONG
            expect_refused(proxy, WORKERS)


def test_clients_that_connect_at_once_are_never_too_many(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0], client_connections=10), "-w", str(WORKERS)) as proxy:
        wait_clients(proxy, 0)
        with ThreadPoolExecutor(40) as threads:
            crowd = list(threads.map(lambda _: proxy.client(), range(40)))
            # A refused client may be closed before it has sent anything.
            answers = list(threads.map(lambda client: client.read_until(b"\r\n"), map(asking, crowd)))
        admitted = answers.count(PONG)
        assert admitted <= 10
        assert answers.count(TOO_MANY_CLIENTS) == 40 - admitted
        wait_clients(proxy, admitted)
        for _ in range(10 - admitted):
            assert proxy.client().ask("PING") == PONG
        expect_refused(proxy, WORKERS)


def test_clients_of_a_killed_worker_do_not_count(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0], client_connections=10), "-w", str(WORKERS)) as proxy:
        proxy.expects_crash = True
        wait_clients(proxy, 0)
        clients = spread(proxy, 10)
        worker, lost = clients.popitem()
        os.kill(worker, signal.SIGKILL)
        for client in lost:
            client.expect_closed()
        wait_clients(proxy, 10 - len(lost))
        for _ in lost:
            assert proxy.client().ask("PING") == PONG
        expect_refused(proxy, 3 * WORKERS)
