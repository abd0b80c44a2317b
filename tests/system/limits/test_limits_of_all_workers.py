"""Limits mean the whole proxy: all of its workers together get exactly what the directive or option says."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

from harness.connection import Connection
from harness.proxy import Proxy, redis_pool
from harness.resp import OK, bulk, command, error
from harness.servers import RedisServer
from harness.subscribing import confirmation
from harness.waiting import DEADLINE, wait_until

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


# --- blocking_connections --------------------------------------------------------------------------------------------


def spread_addresses(proxy: Proxy, first: int, count: int) -> list[Connection]:
    """This many new clients on more than one worker, each from an address of its own, 127.0.0.``first`` and so on."""
    clients = [
        Connection(
            socket.create_connection(
                ("127.0.0.1", proxy.port()), timeout=DEADLINE, source_address=(f"127.0.0.{first + number}", 0)
            )
        )
        for number in range(count)
    ]
    assert len(set(map(worker_of, clients))) > 1
    return clients


def test_exactly_as_many_private_connections_as_the_pool_may_have(servers: list[RedisServer]) -> None:
    full = error(
        "ERR all 4 private server connections of pool alpha are in use: 'blocking_connections' in its configuration"
        " allows more"
    )
    with Proxy(redis_pool(servers[0], blocking_connections=4), "-w", str(WORKERS)) as proxy:
        proxy.expects_crash = True
        wait_clients(proxy, 0)
        clients = spread_addresses(proxy, 2, 12)
        assert [client.ask("WATCH", "k") for client in clients[:4]] == [OK] * 4
        assert proxy.pool_stats()["private_connections"] == 4
        assert [client.ask("WATCH", "k") for client in clients[4:]] == [full] * 8
        assert clients[4].ask("BLPOP", "list", "0.01") == full
        # One that is given back can be had by a client of any worker, though a worker keeps it for the next client.
        for holder, next_one in zip(clients[:8], clients[4:], strict=True):
            assert holder.ask("UNWATCH") == OK
            proxy.wait_stats(lambda pool: pool["private_connections"] == 3, "a connection is given back")
            assert next_one.ask("WATCH", "k") == OK
            assert holder.ask("WATCH", "k") == full
        holders = clients[8:]
        victim = worker_of(clients[0])
        lost = [client for client in holders if worker_of(client) == victim]
        left = [client for client in clients if worker_of(client) != victim]
        os.kill(victim, signal.SIGKILL)
        wait_clients(proxy, len(left))
        assert proxy.pool_stats()["private_connections"] == 4 - len(lost)
        waiting = [client for client in left if client not in holders]
        assert [client.ask("WATCH", "k") for client in waiting[: len(lost)]] == [OK] * len(lost)
        assert waiting[len(lost)].ask("WATCH", "k") == full
        for client in clients:
            client.close()


# --- --max-memory ----------------------------------------------------------------------------------------------------

MEGA = 1 << 20
LIMIT = 8 * MEGA
LIMITED = ("-w", str(WORKERS), "--max-memory=8mb")
NO_ROOM = error("ERR out of memory: '--max-memory' leaves no room for more subscriptions")


def on_each_worker(proxy: Proxy, count: int = 1) -> list[list[Connection]]:
    """For each worker, ``count`` new clients that it serves."""
    clients: dict[int, list[Connection]] = {}
    for _ in range(100):
        client = proxy.client()
        mine = clients.setdefault(worker_of(client), [])
        if len(mine) < count:
            mine.append(client)
        if len(clients) == WORKERS and all(len(each) == count for each in clients.values()):
            return list(clients.values())
    raise AssertionError(f"clients are on {len(clients)} workers only")


def test_traffic_of_all_workers_is_bounded(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers), *LIMITED) as proxy:
        wait_clients(proxy, 0)
        groups = on_each_worker(proxy, 6)
        small = [group.pop() for group in groups]
        large = [group.pop() for group in groups]
        peak = 0
        for group in groups:
            for number, client in enumerate(group):
                request = command("SET", f"stalled:{number}", b"v" * (4 * MEGA))
                client.send_until_stalled(request[: 2 * MEGA], 0.02)
                peak = max(peak, proxy.stats()["memory_held"])
        wait_until(lambda: "large requests wait" in proxy.log(), "large requests wait")
        assert peak < 3 * LIMIT
        for client in small:
            client.send(b"".join(command("SET", f"small:{i}", i) + command("GET", f"small:{i}") for i in range(500)))
            client.expect(b"".join(OK + bulk(i) for i in range(500)))
        for client in large:
            assert client.ask("SET", "large", b"v" * MEGA) == OK
            assert proxy.stats()["memory_held"] < 3 * LIMIT
        for group in groups:
            for client in group:
                client.close()
        wait_until(lambda: proxy.stats()["memory_waiting"] == 0, "no client waits")


def test_large_requests_on_all_workers_succeed_in_the_end(servers: list[RedisServer]) -> None:
    value = b"v" * (2 * MEGA)
    with Proxy(redis_pool(*servers), *LIMITED) as proxy, ThreadPoolExecutor(30) as threads:
        wait_clients(proxy, 0)
        clients = [client for group in on_each_worker(proxy, 10) for client in group]
        answers = [threads.submit(client.ask, "SET", f"k{i}", value) for i, client in enumerate(clients)]
        peak = 0
        while not all(answer.done() for answer in answers):
            peak = max(peak, proxy.stats()["memory_held"])
        assert {answer.result() for answer in answers} == {OK}
        assert peak < 3 * LIMIT


def test_one_worker_may_use_what_the_others_leave(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0]), *LIMITED) as proxy:
        wait_clients(proxy, 0)
        [client], *_ = on_each_worker(proxy)
        request = command("SET", "k", b"v" * (5 * MEGA))
        client.send(request[: 4 * MEGA])
        # The share of a worker is less than 3 MB.
        wait_until(lambda: proxy.stats()["memory_held"] > 7 * MEGA // 2, "the worker holds more than its share")
        client.send(request[4 * MEGA :])
        client.expect(OK)
        assert proxy.stats()["memory_waits"] == 0


def test_subscriptions_of_all_workers_are_bounded(servers: list[RedisServer]) -> None:
    """All subscriptions may use half of the limit; a worker with less than its share of that is not concerned."""

    def subscribe(client: Connection, prefix: str, count: int) -> bytes:
        names = [f"{prefix}:{number}" for number in range(count)]
        client.send_until_stalled(command("SUBSCRIBE", *names))
        first = client.reply()
        if first != NO_ROOM:
            client.read_until(confirmation("subscribe", names[-1], count))
        return first

    with Proxy(redis_pool(*servers), *LIMITED) as proxy:
        wait_clients(proxy, 0)
        first, second, third = on_each_worker(proxy, 2)
        assert subscribe(first[0], "a", 6500) != NO_ROOM
        assert subscribe(second[0], "b", 6500) != NO_ROOM
        assert 2 * 6500 * 272 < proxy.stats()["memory_subscriptions"] < LIMIT // 2
        assert subscribe(third[0], "c", 3000) != NO_ROOM
        assert subscribe(third[1], "d", 6500) == NO_ROOM
        assert subscribe(first[1], "e", 3000) == NO_ROOM
        for client in (first[0], second[0]):
            client.close()
        wait_until(lambda: proxy.stats()["memory_subscriptions"] < MEGA, "there is memory again")
        assert subscribe(third[1], "d", 6500) != NO_ROOM
