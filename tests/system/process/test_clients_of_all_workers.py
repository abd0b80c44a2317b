"""Commands about clients with several workers: the replies are those of a proxy with one worker."""

import os
import re
import signal
from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool, run
from harness.resp import OK, array, bulk, command, error, integer
from harness.servers import MemcachedServer, RedisServer
from harness.subscribing import channels, confirmation, message, subscribe, wait_for_number, wait_for_silence
from harness.waiting import wait_until
from harness.workers import one_client_each, ready_workers, stopped, worker_of, worker_processes

WORKERS = 3
BODY = "return redis.call('incr', KEYS[1])"
PERMITTED = "client|kill client|unblock script|flush"
[A], [B] = (keys_of(index, 3) for index in range(2))
[ON_FIRST, ON_SECOND, ON_THIRD] = channels(3)


def number_of(client: Connection) -> int:
    """The number in the reply to CLIENT ID."""
    return int(client.ask("CLIENT", "ID")[1:-2])


def listed(client: Connection, *options: str | int) -> list[dict[str, str]]:
    """The fields of each line of CLIENT LIST."""
    text = client.ask("CLIENT", "LIST", *options).split(b"\r\n", 1)[1].decode()
    return [dict(field.split("=", 1) for field in line.split(" ")) for line in text.split("\n") if "=" in line]


def numbers_of(rows: list[dict[str, str]]) -> list[int]:
    return [int(row["id"]) for row in rows]


def is_known(client: Connection, digest: bytes, *servers: RedisServer) -> bool:
    """Whether the client's worker knows a script, which these servers do not know."""
    for server in servers:
        assert server.ask("SCRIPT", "FLUSH") == OK
    return not client.ask("EVALSHA", digest, 1, B).startswith(b"-NOSCRIPT")


def figure(client: Connection, section: str, name: str) -> int:
    """A figure in the reply to INFO."""
    found = re.search(rf"\b{name}:(\d+)".encode(), client.ask("INFO", section))
    assert found is not None
    return int(found[1])


@pytest.fixture(scope="module")
def several(running_servers: list[RedisServer]) -> Iterator[Proxy]:
    """A proxy with WORKERS workers and two pools."""
    pools = {name: redis_pool(*running_servers, allow_commands=PERMITTED) for name in ("alpha", "beta")}
    with Proxy(pools, "-w", str(WORKERS)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def processes(several: Proxy) -> list[int]:
    """The workers of ``several``."""
    return ready_workers(several, WORKERS)


@pytest.fixture
def clients(several: Proxy, processes: list[int], servers: list[RedisServer]) -> Iterator[list[Connection]]:
    """A client of alpha for each worker, alone in the pool."""
    found = one_client_each(several, processes, "alpha")
    wait_until(lambda: len(listed(found[0])) == WORKERS, "there are no other clients")
    yield found
    several.close_clients()
    with several.client("alpha") as last:
        wait_until(lambda: len(listed(last)) == 1, "the clients of the test are gone")
    wait_for_silence(*servers)


# --- CLIENT LIST -----------------------------------------------------------------------------------------------------


def test_every_client_sees_all_clients_of_its_pool(several: Proxy, clients: list[Connection]) -> None:
    other = several.client("beta")
    assert numbers_of(listed(other)) == [number_of(other)]
    numbers = [number_of(client) for client in clients]
    for index, client in enumerate(clients):
        assert client.ask("CLIENT", "SETNAME", f"client-{index}") == OK
    for client in clients:
        rows = listed(client)
        assert numbers_of(rows) == sorted(numbers)
        assert {row["name"] for row in rows} == {"client-0", "client-1", "client-2"}
        assert {row["addr"] for row in rows} == {"{}:{}".format(*each.sock.getsockname()) for each in clients}


def test_the_list_can_be_narrowed(clients: list[Connection]) -> None:
    numbers = [number_of(client) for client in clients]
    first, second, third = clients
    assert numbers_of(listed(first, "ID", numbers[2], 99999, numbers[0], numbers[2])) == sorted(numbers[::2])
    assert numbers_of(listed(first, "ID", *numbers, *range(50_000, 60_000))) == sorted(numbers)
    assert listed(first, "ID", 99999) == []
    subscribe(third, ON_FIRST)
    assert numbers_of(listed(second, "TYPE", "pubsub")) == [numbers[2]]
    assert numbers_of(listed(second, "TYPE", "normal")) == sorted(numbers[:2])


def test_a_long_list_is_complete(several: Proxy, clients: list[Connection]) -> None:
    """It takes many messages, and many turns."""
    more = [several.client("alpha") for _ in range(300)]
    numbers = sorted(number_of(client) for client in (*clients, *more))
    assert len({worker_of(client) for client in more}) == WORKERS
    for client in clients:
        assert numbers_of(listed(client)) == numbers


def test_a_stopped_worker_is_not_waited_for(several: Proxy, processes: list[int], clients: list[Connection]) -> None:
    first, _, third = clients
    numbers = [number_of(client) for client in clients]
    with stopped(processes[2:]):
        assert numbers_of(listed(first)) == sorted(numbers[:2])
        assert "worker 3 does not answer" in several.log()
        assert numbers_of(listed(first)) == sorted(numbers[:2])
    wait_until(lambda: numbers_of(listed(first)) == sorted(numbers), "the worker is asked again")
    assert numbers_of(listed(third)) == sorted(numbers)


def test_a_worker_that_was_killed_is_asked_again(running_servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*running_servers), "-w", "2") as proxy:
        proxy.expects_crash = True
        processes = ready_workers(proxy, 2)
        first, _ = one_client_each(proxy, processes)
        assert len(listed(first)) == 2
        os.kill(processes[1], signal.SIGKILL)
        wait_until(lambda: processes[1] not in (now := worker_processes(proxy)) and len(now) == 2, "another one runs")
        [_, second] = one_client_each(proxy, ready_workers(proxy, 2))
        wait_until(lambda: number_of(second) in numbers_of(listed(first)), "its clients are listed")


# --- CLIENT KILL and CLIENT UNBLOCK ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["id", "addr", "old form"])
def test_killing_a_client_of_another_worker(clients: list[Connection], by: str) -> None:
    killer, _, victim = clients
    number = number_of(victim)
    address = "{}:{}".format(*victim.sock.getsockname())
    words = {"id": ["ID", str(number)], "addr": ["ADDR", address], "old form": [address]}[by]
    assert killer.ask("CLIENT", "KILL", *words) == (OK if by == "old form" else integer(1))
    victim.expect_closed()
    wait_until(lambda: number not in numbers_of(listed(killer)), "it is gone")
    answer = error("ERR No such client") if by == "old form" else integer(0)
    assert killer.ask("CLIENT", "KILL", *words) == answer


def test_killing_clients_of_all_workers(several: Proxy, clients: list[Connection]) -> None:
    first, second, third = clients
    other = several.client("beta")
    subscribe(third, ON_FIRST)
    assert first.ask("CLIENT", "KILL", "TYPE", "pubsub") == integer(1)
    third.expect_closed()
    assert second.ask("CLIENT", "KILL", "LADDR", several.listens["alpha"], "SKIPME", "no") == integer(2)
    first.expect_closed()
    second.expect_closed()
    assert other.ask("PING") == b"+PONG\r\n"


def test_who_may_not_kill_others_asks_no_worker(running_servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*running_servers), "-w", "2") as proxy:
        first, second = one_client_each(proxy, ready_workers(proxy, 2))
        assert first.ask("CLIENT", "KILL", "ID", number_of(second)).startswith(b"-ERR 'client|kill' is not allowed")
        assert second.ask("PING") == b"+PONG\r\n"


@pytest.mark.parametrize("reason", [(), ("ERROR",)])
def test_unblocking_a_client_of_another_worker(
    clients: list[Connection], servers: list[RedisServer], reason: tuple[str, ...]
) -> None:
    waiting, _, other = clients
    number = number_of(waiting)
    assert other.ask("CLIENT", "UNBLOCK", number, *reason) == integer(0)
    waiting.send(command("BLPOP", A, 0))
    wait_until(lambda: b"flags=b" in servers[0].ask("CLIENT", "LIST"), "the client is blocked")
    assert other.ask("CLIENT", "UNBLOCK", number, *reason) == integer(1)
    waiting.expect(error("UNBLOCKED client unblocked via CLIENT UNBLOCK") if reason else b"*-1\r\n")
    assert other.ask("CLIENT", "UNBLOCK", 99999) == integer(0)


# --- INFO and stats --------------------------------------------------------------------------------------------------


def test_figures_are_those_of_all_workers(clients: list[Connection], servers: list[RedisServer]) -> None:
    first, second, third = clients
    first.send(command("BLPOP", A, 0))
    wait_until(lambda: b"flags=b" in servers[0].ask("CLIENT", "LIST"), "the client is blocked")
    subscribe(third, ON_FIRST)
    told = second.ask("INFO", "clients").split(b"\r\n")
    assert {b"connected_clients:3", b"blocked_clients:1", b"pubsub_clients:1", b"watching_clients:0"} <= {*told}


def test_counters_are_those_of_all_workers(clients: list[Connection]) -> None:
    first, second, third = clients
    before = figure(first, "proxy", "pool_requests")
    for client in clients:
        assert client.ask("SET", A, "x") == OK
    # The servers are asked for each INFO, too: three requests per reply.
    assert figure(second, "proxy", "pool_requests") >= before + 3
    assert figure(third, "proxy", "pool_requests") >= before + 6


def test_memcached_statistics_are_those_of_all_workers() -> None:
    with MemcachedServer() as server, Proxy(memcached_pool(server), "-w", "2") as proxy:
        clients = one_client_each(proxy, ready_workers(proxy, 2), memcached=True)
        for client in clients:
            client.send(b"get k\r\n")
            client.expect(b"END\r\n")
        for client in clients:
            client.send(b"stats proxy\r\n")
            told = client.read_until(b"END\r\n").split(b"\r\n")
            assert {b"STAT client_connections 2", b"STAT requests 2", b"STAT workers 2"} <= {*told}
            client.send(b"stats servers\r\n")
            told = client.read_until(b"END\r\n").split(b"\r\n")
            assert {b"STAT s00:requests 2", b"STAT s00:responses 2"} <= {*told}


# --- pub/sub ---------------------------------------------------------------------------------------------------------


def wait_published(client: Connection, channel: str, count: int, kind: str = "PUBLISH") -> None:
    """Publish until the reply is ``count``: a worker tells the others of its subscribers a moment later."""
    wait_until(lambda: client.ask(kind, channel, "x") == integer(count), f"{count} clients get a message")


def test_subscribers_of_all_workers_are_counted(
    several: Proxy, processes: list[int], clients: list[Connection], servers: list[RedisServer]
) -> None:
    publisher = clients[0]
    assert publisher.ask("PUBLISH", ON_SECOND, "x") == integer(0)
    groups = [one_client_each(several, processes, "alpha") for _ in range(2)]
    # A client per worker: that is what servers count.
    for client in groups[0]:
        subscribe(client, ON_SECOND)
    assert publisher.ask("PUBLISH", ON_SECOND, "x") == integer(3)
    assert publisher.ask("PUBSUB", "NUMSUB", ON_SECOND, ON_FIRST) == array(
        bulk(ON_SECOND), integer(3), bulk(ON_FIRST), integer(0)
    )
    for client in groups[1]:
        subscribe(client, ON_SECOND)
    for each in clients:
        wait_published(each, ON_SECOND, 6)
        assert each.ask("PUBSUB", "NUMSUB", ON_SECOND) == array(bulk(ON_SECOND), integer(6))
    with servers[1].connect() as direct:
        subscribe(direct, ON_SECOND)
        assert publisher.ask("PUBLISH", ON_SECOND, "x") == integer(7)
    wait_for_number(servers[1], ON_SECOND, 3)
    groups[1][2].close()
    wait_published(publisher, ON_SECOND, 5)
    groups[0][2].send(command("UNSUBSCRIBE", ON_SECOND))
    groups[0][2].read_until(confirmation("unsubscribe", ON_SECOND, 0))
    wait_published(publisher, ON_SECOND, 4)
    assert groups[1][0].has_received()
    groups[1][0].expect(message(ON_SECOND, "x"))


def test_patterns_and_shard_channels_of_all_workers_are_counted(
    several: Proxy, processes: list[int], clients: list[Connection]
) -> None:
    publisher = clients[1]
    for client in (each for _ in range(2) for each in one_client_each(several, processes, "alpha")):
        client.send(command("PSUBSCRIBE", "c*") + command("SSUBSCRIBE", ON_FIRST))
        client.expect(confirmation("psubscribe", "c*", 1) + confirmation("ssubscribe", ON_FIRST, 1))
    wait_published(publisher, ON_THIRD, 6)
    wait_published(publisher, ON_FIRST, 6, kind="SPUBLISH")
    assert publisher.ask("PUBSUB", "SHARDNUMSUB", ON_FIRST) == array(bulk(ON_FIRST), integer(6))
    assert publisher.ask("PUBSUB", "NUMPAT") == integer(1)
    assert publisher.ask("PUBLISH", "none", "x") == integer(0)


def test_a_topic_at_every_server_counts_each_client_once(clients: list[Connection]) -> None:
    publisher = clients[1]
    for client in clients[::2]:
        subscribe(client, "__keyspace@0__:k")
    wait_published(publisher, "__keyspace@0__:k", 2)
    wait_until(
        lambda: publisher.ask("PUBSUB", "NUMSUB", "__keyspace@0__:k") == array(bulk("__keyspace@0__:k"), integer(2)),
        "the clients are counted, not the servers",
    )


def test_a_killed_worker_has_no_subscribers(running_servers: list[RedisServer]) -> None:
    """Its clients are not counted; those of the other worker are counted by the one in its place."""
    with Proxy(redis_pool(*running_servers), "-w", "2") as proxy:
        proxy.expects_crash = True
        processes = ready_workers(proxy, 2)
        first, second = ([one_client_each(proxy, processes)[index] for _ in range(2)] for index in range(2))
        publisher, _ = one_client_each(proxy, processes)
        for client in (*first, *second):
            subscribe(client, ON_SECOND)
        wait_published(publisher, ON_SECOND, 4)
        os.kill(processes[1], signal.SIGKILL)
        wait_until(lambda: processes[1] not in (now := worker_processes(proxy)) and len(now) == 2, "another one runs")
        wait_published(publisher, ON_SECOND, 2)
        [_, third] = one_client_each(proxy, ready_workers(proxy, 2))
        wait_published(third, ON_SECOND, 2)


def test_workers_that_come_and_go(running_servers: list[RedisServer]) -> None:
    """The subscribers of a worker that leaves stay there for a while, and are counted as long as they are there."""
    directives = redis_pool(*running_servers, allow_commands=PERMITTED)
    with Proxy(directives, "-w", "1", "--drain-time", "3600") as proxy:
        first = proxy.client()
        early = [subscribe(proxy.client(), ON_SECOND) for _ in range(2)]
        assert first.ask("EVAL", BODY, 1, A).startswith(b":")
        digest = running_servers[0].ask("SCRIPT", "LOAD", BODY).split(b"\r\n")[1]
        assert run("workers", "2", "-C", str(proxy.control_socket)).returncode == 0
        processes = ready_workers(proxy, 2)
        [_, second] = one_client_each(proxy, processes)
        wait_published(second, ON_SECOND, 2)
        assert number_of(first) in numbers_of(listed(second))
        wait_until(lambda: is_known(second, digest, running_servers[1]), "the new worker knows the script")
        late = [one_client_each(proxy, processes)[1] for _ in range(2)]
        for client in late:
            subscribe(client, ON_SECOND)
        wait_published(first, ON_SECOND, 4)
        assert run("workers", "1", "-C", str(proxy.control_socket)).returncode == 0
        assert first.ask("PUBLISH", ON_SECOND, "x") == integer(4)
        late.pop().close()
        wait_published(first, ON_SECOND, 3)
        late.pop().close()
        wait_published(first, ON_SECOND, 2)
        for client in early:
            client.close()
        wait_published(first, ON_SECOND, 0)
    wait_for_silence(*running_servers)


def test_subscribers_that_an_upgrade_leaves_behind_are_counted(running_servers: list[RedisServer]) -> None:
    """They stay with the former process of the worker."""
    with Proxy(redis_pool(*running_servers), "-w", "1", "--drain-time", "3600") as proxy:
        early = [subscribe(proxy.client(), ON_SECOND) for _ in range(3)]
        proxy.upgrade()
        publisher = proxy.client()
        wait_published(publisher, ON_SECOND, 3)
        subscribe(proxy.client(), ON_SECOND)
        assert publisher.ask("PUBLISH", ON_SECOND, "x") == integer(4)
        for left in (3, 2, 1):
            early.pop().close()
            wait_published(publisher, ON_SECOND, left)
    wait_for_silence(*running_servers)


# --- scripts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [("EVAL", BODY, 1, A), ("SCRIPT", "LOAD", BODY)], ids=["EVAL", "SCRIPT LOAD"])
def test_a_script_that_one_worker_has_seen_is_known_to_all(
    clients: list[Connection], servers: list[RedisServer], shown: tuple[str | int, ...]
) -> None:
    digest = servers[0].ask("SCRIPT", "LOAD", BODY).split(b"\r\n")[1]
    first, second, third = clients

    def wait_known(client: Connection, known: bool) -> None:
        wait_until(lambda: is_known(client, digest, *servers) == known, f"the worker knows the script: {known}")

    assert first.ask("SCRIPT", "FLUSH") == OK
    for client in clients:
        wait_known(client, False)
    assert not second.ask(*shown).startswith(b"-")
    for client in (first, third):
        wait_known(client, True)


def test_a_new_worker_learns_the_scripts(running_servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*running_servers), "-w", "2") as proxy:
        proxy.expects_crash = True
        processes = ready_workers(proxy, 2)
        first, _ = one_client_each(proxy, processes)
        assert first.ask("EVAL", BODY, 1, A).startswith(b":")
        digest = running_servers[0].ask("SCRIPT", "LOAD", BODY).split(b"\r\n")[1]
        os.kill(processes[1], signal.SIGKILL)
        wait_until(lambda: processes[1] not in (now := worker_processes(proxy)) and len(now) == 2, "another one runs")
        [_, second] = one_client_each(proxy, ready_workers(proxy, 2))
        wait_until(lambda: is_known(second, digest, running_servers[1]), "the new worker knows the script")
