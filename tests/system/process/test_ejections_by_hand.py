"""``nutcracker eject`` and ``readmit``, and what ``nutcracker servers`` and ``stats`` say meanwhile."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from harness.http import report_of
from harness.proxy import Proxy, environment, keys_of, memcached_pool, redis_pool, run, under_test
from harness.resp import OK, error
from harness.servers import MemcachedServer, RedisServer
from harness.waiting import wait_until
from harness.workers import one_client_each, ready_workers, worker_processes

KEYS = keys_of(1, 3, 20)
"""Keys of the second of three servers."""
WORKERS = 3
EJECTING = {"auto_eject_hosts": True, "server_failure_limit": 1}
LONG = 3600_000
"""A server_retry_timeout, in milliseconds, that does not pass during a test."""


@pytest.fixture(scope="module")
def several(running_servers: list[RedisServer]) -> Iterator[Proxy]:
    """A proxy with WORKERS workers."""
    with Proxy(redis_pool(*running_servers), "-w", str(WORKERS)) as proxy:
        yield proxy


def command(proxy: Proxy, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a sub-command for this proxy."""
    return run(*arguments, "-C", str(proxy.control_socket))


def succeed(proxy: Proxy, *arguments: str) -> str:
    """The output of a sub-command."""
    done = command(proxy, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(proxy: Proxy, *arguments: str) -> str:
    """The error of a sub-command."""
    done = command(proxy, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def failing_pool(first: RedisServer, second: RedisServer, retry_timeout: int) -> dict[str, object]:
    """A pool that ejects a server after one failure. ``retry_timeout``: milliseconds between probes."""
    return redis_pool(first, second, auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=retry_timeout)


def server_of(proxy: Proxy, name: str = "s01") -> dict[str, Any]:
    """What ``nutcracker servers`` says about a server of the only pool."""
    servers = json.loads(succeed(proxy, "servers", "--json"))["servers"]
    [found] = [server for server in servers if server["name"] == name]
    assert isinstance(found, dict)
    return found


def test_all_workers_follow_at_once(several: Proxy, servers: list[RedisServer]) -> None:
    clients = one_client_each(several, ready_workers(several, WORKERS))
    for round_ in range(3):
        out = succeed(several, "eject", "s01", "--reason", f"round {round_}")
        assert out == f'pool "alpha": server "s01" at {servers[1].address} is ejected until nutcracker readmit s01\n'
        for number, client in enumerate(clients):
            assert client.ask("SET", KEYS[number], "x") == OK
            assert servers[1].ask("EXISTS", KEYS[number]) == b":0\r\n"
        assert server_of(several)["by_hand"]["reason"] == f"round {round_}"
        out = succeed(several, "readmit", "s01")
        assert out == f'pool "alpha": server "s01" at {servers[1].address} is readmitted\n'
        for number, client in enumerate(clients):
            assert client.ask("SET", KEYS[number], "x") == OK
            assert servers[1].ask("DEL", KEYS[number]) == b":1\r\n"
    assert several.log().count("pool alpha: server 's01' is ejected by hand until it is readmitted: round 1") == 1
    assert several.log().count("pool alpha: server 's01' is readmitted by hand") == 3
    assert several.pool_stats()["server_ejects"] == 0


def test_what_is_shown(several: Proxy, servers: list[RedisServer]) -> None:
    lines = succeed(several, "servers").splitlines()
    assert lines[0].split()[:5] == ["pool", "server", "address", "weight", "share"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["alpha", f"s0{index}", server.address, "1"] for index, server in enumerate(servers)
    ]
    assert all(line.endswith("  live") and " 33.3 % " in line for line in lines[1:])
    succeed(several, "eject", servers[1].address, "--for", "3600", "--reason", "new disk")
    try:
        line = succeed(several, "servers", "--pool", "alpha").splitlines()[2]
        assert re.search(r" 0\.0 % .* ejected since 20\S+ \S+ \S+ by hand until 20\S+ \S+ \S+: \"new disk\"$", line)
        assert server_of(several, "s00")["share"] == 0.5
        assert several.server_stats("s01")["ejected"] == 1
        [head, row, _, rest] = succeed(several, "stats").splitlines()
        assert head.split()[:4] == ["pool", "clients", "servers", "ejected"]
        assert row.split()[0] == "alpha"
        assert row.split()[2:4] == ["3", "1"]
        assert rest.endswith(f"{WORKERS} workers")
        document = json.loads(succeed(several, "stats", "--json"))
        assert document["process"]["workers"] == WORKERS
        assert [server["state"] for server in document["pools"][0]["servers"]] == ["live", "ejected", "live"]
        assert document.keys() == report_of(several).keys()
        done = command(several, "explain", KEYS[0])
        assert "by hand until" in done.stdout
        assert '"new disk"' in done.stdout
    finally:
        succeed(several, "readmit", "s01")


def test_colours_are_for_terminals(several: Proxy) -> None:
    """``script`` of util-linux runs the command on a terminal."""
    words = " ".join([*under_test(), "servers", "-C", str(several.control_socket)])
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        done = subprocess.run(
            ["script", "-qec", words, "/dev/null"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=15,
            env={**environment(), "TERM": "xterm", **variables},
        )
        assert ("\x1b[1mpool" in done.stdout) == coloured
    assert "\x1b" not in succeed(several, "servers")


def test_a_health_check_does_not_end_it(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers, **EJECTING, server_retry_timeout=20)) as proxy:
        server = servers[1]
        assert server.ask("CONFIG", "RESETSTAT") == OK
        succeed(proxy, "eject", "s01")
        client = proxy.client()
        assert client.ask("SET", KEYS[0], "x") == OK
        wait_until(lambda: b"cmdstat_ping:" in server.ask("INFO", "commandstats"), "the server is probed")
        # The next probe would follow after 20 ms: the worker has handled the reply when it has served some requests.
        for _ in range(20):
            assert client.ask("SET", KEYS[0], "x") == OK
        assert server_of(proxy)["state"] == "ejected"
        assert server.ask("EXISTS", KEYS[0]) == b":0\r\n"
        succeed(proxy, "readmit", "s01")
        assert client.ask("SET", KEYS[0], "x") == OK
        assert server.ask("DEL", KEYS[0]) == b":1\r\n"


@pytest.mark.parametrize("probed", [True, False])
def test_it_ends_by_itself(servers: list[RedisServer], probed: bool) -> None:
    directives = {**EJECTING, "server_retry_timeout": LONG} if probed else {}
    with Proxy(redis_pool(*servers, **directives)) as proxy:
        out = succeed(proxy, "eject", "s01", "--for", "0.3", "--json")
        ejection = json.loads(out)
        assert ejection["until"] - ejection["since"] == pytest.approx(0.3)
        client = proxy.client()
        wait_until(
            lambda: "the time of the ejection of server 's01' by hand has passed" in proxy.log(), "it has passed"
        )
        # Every worker looks at the verdicts before it reads a request.
        wait_until(lambda: client.ask("PING") == b"+PONG\r\n" and server_of(proxy)["state"] == "live", "it is back")
        assert ("it returns after it answers probes" in proxy.log()) == probed
        assert client.ask("SET", KEYS[0], "x") == OK
        assert servers[1].ask("DEL", KEYS[0]) == b":1\r\n"


def test_a_dead_server_stays_ejected_after_the_end() -> None:
    [key] = keys_of(1, 2)
    with RedisServer() as first, RedisServer() as second, Proxy(failing_pool(first, second, 50)) as proxy:
        second.kill()
        succeed(proxy, "eject", "s01", "--for", "0.1")
        wait_until(lambda: "has passed" in proxy.log(), "the time has passed")
        client = proxy.client()
        assert client.ask("SET", key, "x") == OK
        assert server_of(proxy)["by_hand"] is None
        assert server_of(proxy)["state"] == "ejected"
        second.start()
        wait_until(lambda: proxy.server_stats("s01")["ejected"] == 0, "it is back")
        assert client.ask("SET", key, "x") == OK
        assert second.ask("EXISTS", key) == b":1\r\n"


def test_readmit_a_server_that_had_failed() -> None:
    [key] = keys_of(1, 2)
    with RedisServer() as first, RedisServer() as second, Proxy(failing_pool(first, second, LONG)) as proxy:
        second.kill()
        client = proxy.client()
        assert client.ask("SET", key, "x") == error("ERR Connection refused")
        wait_until(lambda: proxy.server_stats("s01")["ejected"] == 1, "it is ejected")
        second.start()
        succeed(proxy, "readmit", "s01")
        assert client.ask("SET", key, "x") == OK
        assert second.ask("EXISTS", key) == b":1\r\n"
        assert proxy.log().count("server 's01' is back") == 0


def test_it_outlives_a_worker_an_upgrade_and_a_reload(servers: list[RedisServer]) -> None:
    pool = redis_pool(*servers)
    with Proxy(pool, "-w", "2") as proxy:
        proxy.expects_crash = True
        succeed(proxy, "eject", "s01", "--for", "3600", "--reason", "why")
        expected = server_of(proxy)["by_hand"]
        first = ready_workers(proxy, 2)
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: len({*worker_processes(proxy)} - {first[0]}) == 2, "another worker has its place")
        proxy.upgrade()
        assert server_of(proxy)["by_hand"] == expected
        proxy.reload({"beta": {**pool, "listen": proxy.listens["alpha"], "timeout": 3000}})
        assert server_of(proxy)["by_hand"] == {**expected, "pool": "beta"}
        for client in (proxy.client("beta") for _ in range(4)):
            assert client.ask("SET", KEYS[0], "x") == OK
            assert servers[1].ask("EXISTS", KEYS[0]) == b":0\r\n"
        # A server that is added again is live.
        proxy.reload(redis_pool(servers[0]))
        proxy.reload(pool)
        assert server_of(proxy)["state"] == "live"
        assert server_of(proxy)["by_hand"] is None


def test_what_cannot_be_ejected(running_servers: list[RedisServer]) -> None:
    address = running_servers[0].address
    pools = {
        "alpha": redis_pool(*running_servers),
        "beta": redis_pool(*running_servers[:2]),
        "keeps": redis_pool(running_servers[0], auto_eject_hosts=True, on_server_down="error"),
        "twice": redis_pool(running_servers[0], running_servers[0]),
    }
    with Proxy(pools) as proxy:
        assert refused(proxy, "eject", "s09") == "nutcracker eject: no pool has a server 's09'\n"
        assert refused(proxy, "eject", "s00", "--pool", "gamma").startswith(
            "nutcracker eject: there is no pool 'gamma': the pools are 'beta', 'alpha', 'keeps', 'twice'"
        )
        assert "server 's01' is in several pools, name one: 'beta', 'alpha', 'twice'" in refused(proxy, "eject", "s01")
        assert f"several servers have the address '{address}', name one: 's00', 's01'" in refused(
            proxy, "eject", address, "--pool", "twice"
        )
        assert "a number of seconds up to" in refused(proxy, "eject", "s02", "--for", "-1")
        assert "one line of up to 200 printable characters" in refused(proxy, "eject", "s02", "--reason", "a\nb")
        assert "server 's02' of pool 'alpha' is not ejected" in refused(proxy, "readmit", "s02")
        assert "there is no pool" in refused(proxy, "servers", "--pool", "gamma")
        succeed(proxy, "eject", "s01", "--pool", "beta")
        assert "it is the last live server of pool 'beta'" in refused(proxy, "eject", "s00", "--pool", "beta")
        # It is ejected already, so this changes the reason.
        succeed(proxy, "eject", "s01", "--pool", "beta", "--reason", "another")
        # The proxy answers in its place.
        succeed(proxy, "eject", "s00", "--pool", "keeps")
        assert proxy.client("keeps").ask("GET", "k").startswith(b"-ERR ")


def test_a_memcached_pool(memcached_servers: list[MemcachedServer]) -> None:
    with Proxy(memcached_pool(*memcached_servers)) as proxy:
        succeed(proxy, "eject", "s01")
        client = proxy.client()
        client.send(f"set {KEYS[0]} 0 0 1\r\nx\r\n".encode())
        client.expect(b"STORED\r\n")
        client.send(b"version\r\n")
        assert client.read_until(b"\r\n").startswith(b"VERSION")
        assert memcached_servers[1].ask(f"get {KEYS[0]}\r\n".encode()) == b"END\r\n"
