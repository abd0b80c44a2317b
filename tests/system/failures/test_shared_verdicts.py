"""auto_eject_hosts with several workers: what one of them finds out about a server counts for all."""

import os
import signal
from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proc import descriptors, is_alive, proc_address, stands_still, tcp_rows
from harness.proxy import Proxy, keys_of, redis_pool
from harness.resp import OK, bulk, error, integer
from harness.servers import RedisServer
from harness.waiting import wait_until

REFUSED = error("ERR Connection refused")
LIMIT = 2
LONG = 3600_000
"""A server_retry_timeout, in milliseconds, that does not pass during a test."""
EJECTING = {"auto_eject_hosts": True, "server_failure_limit": LIMIT}
WORKERS = 3
KEYS = keys_of(1, 3, 20)
"""Keys of the server that the tests kill."""


@pytest.fixture
def own_servers() -> Iterator[list[RedisServer]]:
    """Three servers that a test may kill."""
    with RedisServer() as first, RedisServer() as second, RedisServer() as third:
        yield [first, second, third]


def start(servers: list[RedisServer], **directives: object) -> Proxy:
    return Proxy(redis_pool(*servers, **EJECTING, **directives), "-w", str(WORKERS))


def worker_of(proxy: Proxy, client: Connection) -> int:
    """The process id of the worker that serves a client; 0 while no worker has accepted it."""
    ends = (proc_address(client.sock.getpeername()), proc_address(client.sock.getsockname()))
    inodes = {row[9] for row in tcp_rows() if (row[1], row[2]) == ends}
    for pid in proxy.processes()[1:]:
        if {f"socket:[{inode}]" for inode in inodes} & set(descriptors(pid)):
            return pid
    return 0


def clients_of(proxy: Proxy, *former: int) -> dict[int, Connection]:
    """A client of each worker, by its process id; ``former``: workers that have ended."""
    found: dict[int, Connection] = {}

    def has_all() -> bool:
        client = proxy.client()
        assert client.ask("PING") == b"+PONG\r\n"
        found.setdefault(worker_of(proxy, client), client)
        assert not found.keys() & {0, *former}
        return len(found) == WORKERS

    wait_until(lambda: proxy.stats()["workers"] == WORKERS, "all workers accept clients")
    wait_until(has_all, "each worker has a client")
    return found


def eject(client: Connection) -> None:
    """Have the worker of a client eject the killed server."""
    for _ in range(LIMIT):
        assert client.ask("SET", KEYS[0], "x") == REFUSED
    # The worker has ended the turn in which it has replied.
    assert client.ask("SET", KEYS[0], "x") == OK


def test_a_key_has_the_same_server_in_all_workers(own_servers: list[RedisServer]) -> None:
    with start(own_servers, server_retry_timeout=LONG) as proxy:
        clients = list(clients_of(proxy).values())
        for client in clients:
            assert client.ask("SET", KEYS[0], "1") == OK
        own_servers[1].kill()
        eject(clients[0])
        assert [proxy.server_stats(name)["ejected"] for name in ("s00", "s01", "s02")] == [0, 1, 0]
        for key in KEYS:
            for number, client in enumerate(clients):
                assert client.ask("SET", key, str(number)) == OK
                assert [each.ask("GET", key) for each in clients] == [bulk(str(number))] * WORKERS
            assert {own_servers[index].ask("EXISTS", key) for index in (0, 2)} == {integer(0), integer(1)}
        stats = proxy.pool_stats()
        assert (stats["server_ejects"], stats["forward_error"]) == (1, LIMIT)
        assert proxy.log().count("server 's01' ejected") == 1


def test_a_server_that_keeps_its_keys_is_down_in_all_workers(own_servers: list[RedisServer]) -> None:
    with start(own_servers, server_retry_timeout=LONG, on_server_down="error") as proxy:
        first, *others = clients_of(proxy).values()
        own_servers[1].kill()
        for _ in range(LIMIT):
            assert first.ask("GET", KEYS[0]) == REFUSED
        down = first.ask("GET", KEYS[0])
        assert b"s01" in down
        assert [client.ask("GET", KEYS[0]) for client in others] == [down] * len(others)


def test_a_server_returns_for_all_workers_at_once(own_servers: list[RedisServer]) -> None:
    with start(own_servers, server_retry_timeout=100) as proxy:
        first, *others = clients_of(proxy).values()
        for round_ in range(1, 4):
            own_servers[1].kill()
            wait_until(lambda: proxy.server_stats("s01")["server_connections"] == 0, "the connections are closed")
            eject(first)
            for client in others:
                assert client.ask("SET", KEYS[0], "elsewhere") == OK
            own_servers[1].start()
            wait_until(lambda times=round_: proxy.log().count("'s01' is back") == times, "it is back")  # type: ignore[misc]
            for number, client in enumerate((*others, first)):
                assert client.ask("SET", KEYS[0], str(number)) == OK
                assert own_servers[1].ask("GET", KEYS[0]) == bulk(str(number))
            assert proxy.server_stats("s01")["ejected"] == 0
            # The worker that ejects is another one each time.
            first, *others = *others, first
        assert proxy.pool_stats()["server_ejects"] == 3


def test_a_server_returns_although_the_worker_that_ejected_it_was_killed(own_servers: list[RedisServer]) -> None:
    with start(own_servers, server_retry_timeout=200, timeout=200) as proxy:
        proxy.expects_crash = True
        clients = clients_of(proxy)
        [victim, *_] = clients
        own_servers[1].kill()
        eject(clients.pop(victim))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not is_alive(victim), "the worker is dead")
        for client in clients.values():
            assert client.ask("SET", KEYS[0], "elsewhere") == OK
        own_servers[1].start()
        wait_until(lambda: "'s01' is back" in proxy.log(), "the server is back")
        for client in (*clients.values(), *clients_of(proxy, victim).values()):
            assert client.ask("SET", KEYS[0], "back") == OK
            assert own_servers[1].ask("GETDEL", KEYS[0]) == bulk("back")


def test_a_worker_that_stood_still_goes_by_what_others_have_found_out(own_servers: list[RedisServer]) -> None:
    """It has ejected the server, so another worker has to probe it."""
    with start(own_servers, server_retry_timeout=200, timeout=200) as proxy:
        clients = clients_of(proxy)
        [pid, *_] = clients
        client = clients.pop(pid)
        own_servers[1].kill()
        eject(client)
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: stands_still(pid), "the worker stands still")
            client.send(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$4\r\nlate\r\n" % (len(KEYS[0]), KEYS[0].encode()))
            own_servers[1].start()
            wait_until(lambda: "'s01' is back" in proxy.log(), "the server is back")
        finally:
            os.kill(pid, signal.SIGCONT)
        client.expect(OK)
        assert own_servers[1].ask("GET", KEYS[0]) == bulk("late")


def test_a_new_worker_begins_with_the_verdicts(own_servers: list[RedisServer]) -> None:
    with start(own_servers, server_retry_timeout=LONG) as proxy:
        proxy.expects_crash = True
        clients = clients_of(proxy)
        [ejecting, victim, *_] = clients
        own_servers[1].kill()
        eject(clients[ejecting])
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not is_alive(victim), "the worker is dead")
        for client in clients_of(proxy, victim).values():
            assert client.ask("SET", KEYS[0], "elsewhere") == OK
        stats = proxy.pool_stats()
        assert (stats["server_ejects"], stats["forward_error"]) == (1, LIMIT)


def test_an_ejected_server_that_is_removed_and_added_again_is_live(own_servers: list[RedisServer]) -> None:
    directives = {**EJECTING, "server_retry_timeout": LONG}
    with start(own_servers, server_retry_timeout=LONG) as proxy:
        clients = clients_of(proxy).values()
        own_servers[1].kill()
        eject(next(iter(clients)))
        proxy.reload(redis_pool(own_servers[0], **directives))
        own_servers[1].start()
        proxy.reload(redis_pool(*own_servers, **directives))
        for client in clients:
            assert client.ask("SET", KEYS[0], "again") == OK
            assert own_servers[1].ask("GETDEL", KEYS[0]) == bulk("again")
