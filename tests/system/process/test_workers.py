"""Several workers: where clients are served, and what they notice when the number of workers changes or one dies."""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from harness.connection import Connection
from harness.proc import is_alive, process_tree
from harness.proxy import Proxy, environment, redis_pool, under_test
from harness.resp import NULL, OK, array, bulk, command
from harness.servers import RedisServer
from harness.waiting import wait_until
from harness.workers import worker_of, worker_processes


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


def workers(proxy: Proxy, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``nutcracker workers``."""
    return subprocess.run(
        [*under_test(), "workers", "-C", str(proxy.control_socket), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )


def resize(proxy: Proxy, number: int) -> None:
    """Change the number of workers."""
    done = workers(proxy, str(number))
    assert (done.stderr, done.returncode) == ("", 0)


@contextmanager
def proxy_of(server: RedisServer, number: int) -> Iterator[Proxy]:
    """A proxy in front of a server, when all of its workers accept clients."""
    with Proxy(redis_pool(server), "-w", str(number)) as proxy:
        wait_until(lambda: proxy.stats()["workers"] == number, "all workers are ready")
        yield proxy


def spread(clients: Sequence[Connection]) -> Counter[int]:
    """How many of the clients each worker serves."""
    return Counter(map(worker_of, clients))


def test_new_clients_are_spread_over_all_workers(server: RedisServer) -> None:
    with proxy_of(server, 3) as proxy:
        clients = [proxy.client() for _ in range(60)]
        assert all(client.ask("PING") == b"+PONG\r\n" for client in clients)
        found = spread(clients)
        assert len(found) == 3
        assert min(found.values()) >= 10
        assert proxy.stats()["workers"] == 3
        assert proxy.pool_stats()["client_connections"] == 60
        numbers = [int(client.ask("CLIENT", "ID")[1:]) for client in clients]
        assert sorted(numbers) == list(range(min(numbers), min(numbers) + 60)), "each has a number of its own"


def test_the_number_of_workers_changes(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        clients = [proxy.client() for _ in range(40)]
        names = [f"name{number}" for number in range(40)]
        for client, name in zip(clients, names, strict=True):
            assert client.ask("CLIENT", "SETNAME", name) == OK
        for number in (4, 2, 3, 1):
            resize(proxy, number)
            proxy.wait_stats(lambda stats: stats["client_connections"] == 40, "all clients are handed over")
            assert [client.ask("CLIENT", "GETNAME") for client in clients] == [bulk(name) for name in names]
            wait_until(lambda: len(worker_processes(proxy)) == number, "there are as many processes")  # noqa: B023
            assert set(spread(clients)) <= set(proxy.processes())
            assert proxy.stats()["workers"] == number
        assert proxy.pool_stats()["client_err"] == proxy.pool_stats()["client_eof"] == 0


def test_what_the_sub_command_says(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        assert workers(proxy).stdout == "1 worker\n"
        assert workers(proxy, "2").stdout == "2 workers\n"
        assert json.loads(workers(proxy, "--json").stdout) == {"type": "resized", "workers": 2, "auto": False}
        assert "as many as the system gives processors" in workers(proxy, "auto").stdout
        for wrong in ("0", "257", "many", "-1", "1.5"):
            done = workers(proxy, "--", wrong)
            assert done.returncode == 1
            assert f"'{wrong}' is neither a number from 1 to 256 nor 'auto'" in done.stderr


def test_requests_in_flight_while_the_number_changes(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    with proxy_of(server, 2) as proxy:
        clients = [proxy.client() for _ in range(20)]
        ended = Event()
        counts = [0] * len(clients)
        problems: list[str] = []

        def use(number: int) -> None:
            client = clients[number]
            while not ended.is_set():
                client.send(command("INCR", f"n{number}") * 10)
                client.expect(b"".join(b":%d\r\n" % each for each in range(counts[number] + 1, counts[number] + 11)))
                counts[number] += 10

        def run(number: int) -> None:
            try:
                use(number)
            except BaseException as error:
                problems.append(repr(error))

        threads = [Thread(target=run, args=(number,)) for number in range(len(clients))]
        for thread in threads:
            thread.start()
        for number in (3, 1, 2, 4, 1):
            resize(proxy, number)
        ended.set()
        for thread in threads:
            thread.join()
        assert problems == []
        assert [server.ask("GET", f"n{number}") for number in range(20)] == [bulk(str(count)) for count in counts]


def test_a_worker_that_leaves_waits_for_a_transaction(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    with proxy_of(server, 2) as proxy:
        clients = [proxy.client() for _ in range(8)]
        for client in clients:
            assert client.ask("MULTI") == OK
            assert client.ask("INCR", "a") == b"+QUEUED\r\n"
        resize(proxy, 1)
        assert len(worker_processes(proxy)) == 2, "the worker that leaves is there"
        for number, client in enumerate(clients, 1):
            assert client.ask("EXEC") == array(b":%d\r\n" % number)
            assert client.ask("GET", "missing") == NULL
        wait_until(lambda: len(worker_processes(proxy)) == 1, "it has left")
        assert all(client.ask("PING") == b"+PONG\r\n" for client in clients)


def test_only_the_clients_of_a_killed_worker_notice(server: RedisServer) -> None:
    with proxy_of(server, 3) as proxy:
        proxy.expects_crash = True
        for _ in range(5):
            clients = [proxy.client() for _ in range(30)]
            places = [worker_of(client) for client in clients]
            victim = places[0]
            os.kill(victim, signal.SIGKILL)
            for client, place in zip(clients, places, strict=True):
                if place == victim:
                    client.expect_closed()
                else:
                    assert client.ask("PING") == b"+PONG\r\n"
            wait_until(lambda: not is_alive(victim), "it is gone")  # noqa: B023
            wait_until(lambda: proxy.stats()["workers"] == 3, "another worker has its place")
            proxy.close_clients()
        proxy.wait_stats(lambda stats: stats["client_connections"] == 0, "no dead client is counted")


def test_clients_that_come_while_a_worker_is_away(server: RedisServer) -> None:
    with proxy_of(server, 3) as proxy:
        proxy.expects_crash = True
        first = proxy.client()
        victim = worker_of(first)
        os.kill(victim, signal.SIGKILL)
        clients = [proxy.client() for _ in range(30)]
        assert all(client.ask("PING") == b"+PONG\r\n" for client in clients)


def test_a_reload_reaches_all_workers(server: RedisServer) -> None:
    with Proxy({"alpha": redis_pool(server)}, "-w", "3") as proxy:
        wait_until(lambda: proxy.stats()["workers"] == 3, "all workers are ready")
        old = [proxy.client() for _ in range(12)]
        proxy.reload({"alpha": redis_pool(server, deny_commands="get"), "beta": redis_pool(server)})
        clients = [*old, *(proxy.client("alpha") for _ in range(12))]
        assert len(spread(clients)) == 3
        for client in clients:
            assert client.ask("GET", "a").startswith(b"-ERR")
        more = [proxy.client("beta") for _ in range(24)]
        assert len(spread(more)) == 3
        assert all(client.ask("GET", "missing") == NULL for client in more)
        proxy.reload({"alpha": redis_pool(server)})
        assert all(client.ask("GET", "missing") == NULL for client in clients)


def test_an_upgrade_replaces_all_workers(server: RedisServer) -> None:
    with proxy_of(server, 3) as proxy:
        clients = [proxy.client() for _ in range(30)]
        for number, client in enumerate(clients):
            assert client.ask("CLIENT", "SETNAME", f"name{number}") == OK
        before = set(spread(clients))
        resize(proxy, 2)
        proxy.upgrade()
        wait_until(lambda: len(worker_processes(proxy)) == 2, "the former workers have ended")
        for number, client in enumerate(clients):
            assert client.ask("CLIENT", "GETNAME") == bulk(f"name{number}")
        assert not before & set(spread(clients))
        assert workers(proxy).stdout == "2 workers\n", "the number that was wanted last stays"


def test_work_is_balanced(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        clients = [proxy.client() for _ in range(12)]
        idle = [proxy.client() for _ in range(12)]
        assert all(client.ask("PING") == b"+PONG\r\n" for client in (*clients, *idle))
        ended = Event()

        def use(client: Connection) -> None:
            while not ended.is_set():
                client.send(command("PING") * 50)
                client.expect(b"+PONG\r\n" * 50)

        threads = [Thread(target=use, args=(client,)) for client in clients[:-1]]
        try:
            for thread in threads:
                thread.start()
            resize(proxy, 3)
            wait_until(lambda: proxy.stats()["clients_moved"] >= 6, "new workers get clients with work")
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        found = spread(clients[:-1])
        assert len(found) == 3
        assert max(found.values()) <= 7
        assert all(client.ask("PING") == b"+PONG\r\n" for client in (*clients, *idle))


def test_the_end(server: RedisServer) -> None:
    with proxy_of(server, 3) as proxy:
        clients = [proxy.client() for _ in range(12)]
        for client in clients:
            client.send(command("SET", "a", "1"))
            client.wait_consumed()
        pids = process_tree(proxy.process.pid)
        assert proxy.terminate() == 0
        for client in clients:
            client.expect(OK)
            client.expect_closed()
        assert not any(map(is_alive, pids))
