"""Limits mean the whole proxy: all of its workers together get exactly what the directive or option says."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.connection import Connection
from harness.ports import free_port
from harness.proxy import Proxy, redis_pool, run
from harness.resp import OK, array, bulk, command, error
from harness.servers import RedisServer
from harness.subscribing import confirmation
from harness.waiting import DEADLINE, wait_until
from harness.workers import worker_of

WORKERS = 3
PONG = b"+PONG\r\n"
TOO_MANY_CLIENTS = b"-ERR max number of clients reached\r\n"


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


# --- max_backend_connections -----------------------------------------------------------------------------------------

PAIR = ("-w", "2")
FOR_ONE = "for transactions and blocking commands"
BESIDE = "beside those of 'server_connections'"


def figure(server: RedisServer, name: str) -> int:
    """A figure of the section Clients of the server's INFO."""
    return int(server.ask("INFO", "clients").partition(f"{name}:".encode())[2].split(b"\r\n")[0])


def connections_to(server: RedisServer) -> int:
    """How many connections the server has, without the one that asks for it."""
    return figure(server, "connected_clients") - 1


def too_many(places: int, limit: int, what: str) -> str:
    """Why a connection gets no place."""
    return (
        f"all {places} connections to it {what} are in use: 'max_backend_connections' in its configuration, which is"
        f" {limit}, allows no more"
    )


def too_many_private(places: int, limit: int, what: str = FOR_ONE) -> bytes:
    """The error for a transaction or a blocking command."""
    return error(f"ERR {too_many(places, limit, what)} (server s00 of pool alpha)")


def test_connections_to_a_server_are_never_too_many() -> None:
    """Two workers have two places for shared requests. Of the other six, private connections get five."""
    with (
        RedisServer() as server,
        Proxy(redis_pool(server, max_backend_connections=8), *PAIR) as proxy,
        ThreadPoolExecutor(8) as threads,
    ):
        wait_until(lambda: proxy.stats()["workers"] == 2, "the workers serve")
        clients = [proxy.client() for _ in range(24)]
        assert len(set(map(worker_of, clients))) == 2
        blocking, transactions, (modern, *plain) = clients[:8], clients[8:16], clients[16:]
        refusal = too_many_private(5, 8)
        for attempt in range(10):
            for client in blocking:
                client.send(command("BLPOP", f"list:{attempt}", "0"))
            begun = list(threads.map(lambda client: client.ask("WATCH", "k"), transactions))
            assert set(begun) <= {OK, refusal}
            wait_until(
                lambda: figure(server, "blocked_clients") + sum(client.has_received() for client in blocking) == 8,
                "all clients are blocked or refused",
            )
            refused = [client for client in blocking if client.has_received()]
            assert [client.reply() for client in refused] == [refusal] * len(refused)
            assert 1 <= 8 - len(refused) + begun.count(OK) <= 5
            # Whoever shares connections finds one.
            assert modern.ask("HELLO", "3").startswith(b"%")
            assert modern.ask("GET", "k") == b"_\r\n"
            assert list(threads.map(lambda client: client.ask("GET", "k"), plain)) == [b"$-1\r\n"] * len(plain)
            assert connections_to(server) <= 8
            waiting = [client for client in blocking if client not in refused]
            for _ in waiting:
                plain[0].ask("RPUSH", f"list:{attempt}", "x")
            assert [client.reply() for client in waiting] == [array(bulk(f"list:{attempt}"), bulk("x"))] * len(waiting)
            for client, reply in zip(transactions, begun, strict=True):
                assert reply == refusal or client.ask("UNWATCH") == OK
            proxy.wait_stats(lambda pool: pool["private_connections"] == 0, "no client has a connection for itself")


def test_idle_connections_give_their_places_away(servers: list[RedisServer]) -> None:
    server = servers[0]
    with Proxy(redis_pool(server, max_backend_connections=3)) as proxy:
        first, second, third = (proxy.client() for _ in range(3))
        assert [client.ask("WATCH", "k") for client in (first, second)] == [OK] * 2
        assert third.ask("MULTI") == OK
        assert third.ask("SET", "k", "1") == too_many_private(2, 3)
        assert third.ask("DISCARD") == OK
        full = too_many(2, 3, BESIDE)
        nowhere = error(f"ERR no connection to server 's00' for subscriptions: {full}")
        assert third.ask("SUBSCRIBE", "channel") == nowhere
        assert third.ask("HELLO", "3").startswith(b"%")
        assert third.ask("GET", "k") == error(f"ERR {full} (server {server.address}:1 of pool alpha)")
        assert first.ask("UNWATCH") == OK
        assert third.ask("GET", "k") == b"_\r\n"
        assert second.ask("UNWATCH") == OK
        first.send(command("SUBSCRIBE", "channel"))
        first.expect(confirmation("subscribe", "channel", 1))
        assert proxy.server_stats()["server_further"] == 2
        assert proxy.server_stats()["server_private"] == 0
        assert second.ask("WATCH", "k") == too_many_private(2, 3, BESIDE)
        assert second.ask("SET", "k", "1") == OK
        # The connection for RESP3 is idle, and another one that clients share is needed.
        assert second.ask("SELECT", "1") == OK
        assert second.ask("GET", "k") == b"$-1\r\n"
        assert third.ask("GET", "k") == bulk("1")


def test_health_checks_need_no_place() -> None:
    health = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 50}
    with RedisServer() as server, Proxy(redis_pool(server, max_backend_connections=1, **health)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "k", "1") == OK
        assert client.ask("WATCH", "k") == too_many_private(0, 1)
        server.kill()
        wait_until(lambda: client.ask("GET", "k").startswith(b"-") and proxy.pool_stats()["server_ejects"], "ejected")
        server.start()
        wait_until(lambda: client.ask("SET", "k", "2") == OK, "the server gets requests again")


def test_fewer_connections_than_the_workers_need_are_refused(servers: list[RedisServer], tmp_path: Path) -> None:
    pool = redis_pool(*servers, server_connections=2, max_backend_connections=5)
    needs = '"max_backend_connections" is {}, but {} workers need {}: "server_connections" is 2'
    with Proxy(pool, *PAIR) as proxy:
        file = tmp_path / "nutcracker.yml"
        file.write_text(proxy.configuration.read_text())
        for options in (["-t"], []):
            started = run("-c", str(file), "-w", "3", "-s", str(free_port()), *options)
            assert started.returncode == 1
            assert f'{file}:7:28: pool "alpha": directive {needs.format(5, 3, 6)}' in started.stderr
        assert run("-t", "-c", str(file), "-w", "2").returncode == 0
        grown = run("workers", "3", "-C", str(proxy.control_socket))
        assert grown.returncode == 1
        assert f'pool "alpha": directive {needs.format(5, 3, 6)}' in grown.stderr
        wait_until(lambda: proxy.stats()["workers"] == 2, "the workers accept clients")
        failed = proxy.reload({**pool, "max_backend_connections": 3})
        assert failed["last_reload_failed"] == 1
        assert needs.format(3, 2, 4) in failed["last_reload"]
        assert proxy.reload({**pool, "max_backend_connections": 6})["last_reload_failed"] == 0
        assert run("workers", "3", "-C", str(proxy.control_socket)).returncode == 0
        assert proxy.stats()["workers"] == 3
