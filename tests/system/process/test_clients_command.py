"""``nutcracker clients`` and ``explain --client``: the clients of all workers."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool, run
from harness.resp import OK
from harness.resp import command as request
from harness.scripted_server import ScriptedMemcached, ScriptedServer
from harness.servers import MemcachedServer, RedisServer
from harness.waiting import wait_until
from harness.workers import one_client_each, ready_workers, stopped

WORKERS = 3
MANY = 300
[KEY] = keys_of(0, 3)


@pytest.fixture(scope="module")
def several(running_servers: list[RedisServer], running_memcached: list[MemcachedServer]) -> Iterator[Proxy]:
    """A proxy with WORKERS workers, and a pool of each protocol."""
    pools = {"alpha": redis_pool(*running_servers), "beta": memcached_pool(*running_memcached)}
    with Proxy(pools, "-w", str(WORKERS)) as proxy:
        yield proxy


@pytest.fixture
def clients(several: Proxy) -> Iterator[list[Connection]]:
    """A client of alpha for each worker, alone in the pool."""
    found = one_client_each(several, ready_workers(several, WORKERS), "alpha")
    wait_until(lambda: len(listed(several)) == WORKERS, "there are no other clients")
    yield found
    several.close_clients()
    wait_until(lambda: listed(several) == [], "the clients of the test are gone")


def command(proxy: Proxy, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a sub-command for this proxy."""
    return run(*arguments, "-C", str(proxy.control_socket))


def listed(proxy: Proxy, *options: str) -> list[dict[str, Any]]:
    """The clients that ``nutcracker clients`` shows."""
    done = command(proxy, "clients", "--json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)["clients"]
    assert isinstance(found, list)
    return found


def explained(proxy: Proxy, client: Connection) -> dict[str, Any]:
    """What ``nutcracker explain`` says of the work of a client."""
    done = command(proxy, "explain", "--client", "{}:{}".format(*client.sock.getsockname()), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    [found] = json.loads(done.stdout)["clients"]
    assert isinstance(found["work"], dict)
    return found["work"]


def number_of(client: Connection) -> str:
    """The number in the reply to CLIENT ID."""
    return client.ask("CLIENT", "ID")[1:-2].decode()


def test_clients_of_all_workers(several: Proxy, clients: list[Connection]) -> None:
    for index, client in enumerate(clients):
        assert client.ask("CLIENT", "SETNAME", f"client-{index}") == OK
    found = listed(several)
    assert [one["id"] for one in found] == sorted((number_of(client) for client in clients), key=int)
    assert {one["worker"] for one in found} == {1, 2, 3}
    assert {one["pool"] for one in found} == {"alpha"}
    assert {one["name"] for one in found} == {f"client-{index}" for index in range(WORKERS)}
    lines = command(several, "clients").stdout.splitlines()
    assert lines[0].split()[:5] == ["pool", "id", "address", "worker", "name"]
    assert len(lines) == WORKERS + 1
    names = [one["name"] for one in listed(several, "--filter", "name=client-[01]", "--filter", "command=client*")]
    assert sorted(names) == ["client-0", "client-1"]
    assert listed(several, "--filter", "nothing=x") == []


def test_memcached_clients(several: Proxy) -> None:
    client = several.client("beta")
    client.send(b"get a\r\n")
    client.expect(b"END\r\n")
    [one] = listed(several, "--pool", "beta")
    assert (one["pool"], one["cmd"]) == ("beta", "get")
    assert one["addr"] == "{}:{}".format(*client.sock.getsockname())
    out = command(several, "explain", "--client", one["id"], "--pool", "beta").stdout
    assert "  server connections:  those that all clients of the pool share\n" in out
    done = command(several, "clients", "--kill", one["id"], "--pool", "beta")
    assert (done.returncode, done.stdout) == (0, f"client {one['id']} is closed\n")
    assert client.read_to_end() == b""


def test_many_clients(several: Proxy) -> None:
    """Their lines are many messages of each worker."""
    numbers = set()
    for _ in range(MANY):
        client = several.client("alpha")
        numbers.add(number_of(client))
    assert {one["id"] for one in listed(several)} == numbers
    several.close_clients()
    wait_until(lambda: listed(several) == [], "the clients of the test are gone")


def test_kill(several: Proxy, clients: list[Connection]) -> None:
    for client in clients:
        done = command(several, "clients", "--pool", "alpha", "--kill", number_of(client))
        assert done.returncode == 0, done.stderr
        assert client.read_to_end() == b""
    done = command(several, "clients", "--pool", "alpha", "--kill", "1000000")
    assert (done.returncode, done.stderr) == (1, "nutcracker clients: pool 'alpha' has no client 1000000\n")
    done = command(several, "clients", "--kill", "1")
    assert "each pool numbers its clients, name the pool: 'beta', 'alpha'" in done.stderr
    for wrong in (["--kill", "x"], ["--kill", "1", "--filter", "id=1"], ["--filter", "id"], ["--pool", "gamma"]):
        done = command(several, "clients", *wrong)
        assert (done.returncode, done.stdout) == (1, "")


def test_a_worker_that_does_not_answer(several: Proxy, clients: list[Connection]) -> None:
    processes = ready_workers(several, WORKERS)
    with stopped(processes[:1]):
        done = command(several, "clients", "--json")
        assert done.returncode == 1
        document = json.loads(done.stdout)
        assert len(document["clients"]) == WORKERS - 1
        [silent] = document["silent_workers"]
        assert f"the clients of worker {silent} are missing: it does not answer" in done.stderr
    wait_until(lambda: len(listed(several)) == WORKERS, "it answers again")


def test_explain_a_client(several: Proxy, clients: list[Connection]) -> None:
    first, second, third = clients
    assert first.ask("CLIENT", "SETNAME", "app") == OK
    out = command(several, "explain", "--client", number_of(first)).stdout
    address = "{}:{}".format(*first.sock.getsockname())
    assert out.splitlines()[0] == f'pool "alpha", client {number_of(first)} from {address}'
    assert '  name:                "app"\n' in out
    assert "those that clients with the same settings share (database 0, RESP2)" in out
    assert second.ask("SELECT", 3) == OK
    assert second.ask("MULTI") == OK
    assert (
        "one of its own for its transaction (database 3"
        in command(several, "explain", "--client", "{}:{}".format(*second.sock.getsockname())).stdout
    )
    assert second.ask("DISCARD") == OK
    third.send(b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n")
    third.read_until(b":1\r\n")
    third_address = "{}:{}".format(*third.sock.getsockname())
    out = command(several, "explain", "--client", third_address, "--pool", "alpha").stdout
    assert "those for subscriptions" in out
    assert (
        json.loads(command(several, "explain", "--client", third_address, "--json").stdout)["clients"][0]["sub"] == "1"
    )
    [subscribed] = explained(several, third)["connections"]
    assert (subscribed["use"], subscribed["state"], subscribed["topics"]) == ("subscriptions", "ready", 1)
    done = command(several, "explain", "--client", "nobody")
    assert (done.returncode, done.stderr) == (1, 'nutcracker explain: there is no client "nobody"\n')
    done = command(several, "explain", "--client", "1", KEY)
    assert "goes with no key" in done.stderr


def test_private_connections_of_a_client(several: Proxy, clients: list[Connection]) -> None:
    transaction, blocked, idle = clients
    assert transaction.ask("WATCH", KEY) == OK
    [used] = explained(several, transaction)["connections"]
    assert (used["server"], used["use"], used["state"], used["kept"]) == ("s00", "private", "ready", True)
    assert (used["to_send"], used["sent"], used["own"], used["waits_for_ever"]) == (0, 0, 0, False)
    assert transaction.ask("UNWATCH") == OK
    blocked.send(request("BLPOP", KEY, 0) + request("GET", KEY))

    def waits() -> bool:
        return any(connection["sent"] for connection in explained(several, blocked)["connections"])

    wait_until(waits, "the blocking request is at the server")
    work = explained(several, blocked)
    [used] = work["connections"]
    assert (used["server"], used["use"], used["state"]) == ("s00", "private", "ready")
    assert (used["sent"], used["own"], used["waits_for_ever"]) == (1, 1, True)
    assert [name for name, _ in work["pauses"]] == ["release"]
    out = command(several, "explain", "--client", number_of_blocked(several)).stdout
    assert "  takes no request:    its private connections are released after the last reply\n" in out
    assert (
        '  "s00", its own, waits for as long as it takes, ready: 0 requests to send (0 bytes), 1 sent, 1 of them' in out
    )
    assert explained(several, idle) == {"state": "open", "pauses": [], "full_server": None, "connections": []}


def number_of_blocked(proxy: Proxy) -> str:
    """The number of the client that waits in a blocking request."""
    [one] = listed(proxy, "--filter", "flags=b")
    return str(one["id"])


@pytest.mark.parametrize("protocol", ["redis", "memcached"])
def test_queues_of_a_client_at_a_server_that_hangs(protocol: str) -> None:
    redis = protocol == "redis"
    get, other = (request("GET", "a"), request("GET", "b")) if redis else (b"get a\r\n", b"get b\r\n")
    with ScriptedServer() if redis else ScriptedMemcached() as server:
        directives = redis_pool(server, max_pipeline=4) if redis else memcached_pool(server, max_pipeline=4)
        with Proxy(directives) as proxy:
            first, second = proxy.client(), proxy.client()
            first.send(get)
            peer = server.accept()
            peer.read_until(get)
            second.send(5 * other)
            peer.read_until(4 * other)
            work = wait_until(lambda: (found := explained(proxy, second))["pauses"] and found, "it is paused")
            assert [name for name, _ in work["pauses"]] == ["window"]
            [used] = work["connections"]
            assert (used["server"], used["use"], used["state"]) == ("s00", "shared", "ready")
            assert (used["to_send"], used["sent"], used["own"]) == (0, 5, 4)
            [used] = explained(proxy, first)["connections"]
            assert (used["sent"], used["own"]) == (5, 1)
            out = command(proxy, "explain", "--client", "{}:{}".format(*second.sock.getsockname())).stdout
            assert "  takes no request:    as many requests are in flight as it may have\n" in out
