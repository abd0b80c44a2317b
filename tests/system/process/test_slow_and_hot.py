"""The slow log and the hot keys of a proxy with several workers, for redis clients and on the command line."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, keys_of, redis_pool, run
from harness.resp import OK, command, error, integer
from harness.servers import RedisServer
from harness.workers import one_client_each, ready_workers
from twemproxy.protocol.redis.resp_decoder import parse

WORKERS = 3
SLOW = "for i = 1, 20000000 do end return redis.call('get', KEYS[1])"
"""A script that takes a tenth of a second or so."""
LIMIT = 40
"""Milliseconds of ``slowlog_ms``: other requests take less on a busy machine."""
[KEY] = keys_of(0, 2)


@pytest.fixture(scope="module")
def several(running_servers: list[RedisServer]) -> Iterator[Proxy]:
    pools = {
        "alpha": redis_pool(*running_servers[:2], slowlog_ms=LIMIT, allow_commands="slowlog|reset"),
        "beta": redis_pool(*running_servers[:2], slowlog_ms=60_000),
    }
    with Proxy(pools, "-w", str(WORKERS)) as proxy:
        yield proxy


@pytest.fixture
def clients(several: Proxy) -> Iterator[list[Connection]]:
    """A client of alpha for each worker."""
    yield one_client_each(several, ready_workers(several, WORKERS), "alpha")
    several.close_clients()


def test_all_workers_have_one_slow_log(several: Proxy, clients: list[Connection]) -> None:
    assert clients[0].ask("SLOWLOG", "RESET") == OK
    for number, client in enumerate(clients):
        client.ask("EVAL", SLOW, 1, KEY, f"argument {number}")
    for client in clients:
        assert client.ask("SLOWLOG", "LEN") == integer(WORKERS)
        entries: Any = parse(client.ask("SLOWLOG", "GET"))
        assert len(entries) == WORKERS
        identities = [entry[0] for entry in entries]
        assert identities == sorted(identities, reverse=True)
        for _, at, duration, arguments, address, server in entries:
            assert at > 1_700_000_000
            assert duration >= 1000 * LIMIT
            assert arguments[0] == b"EVAL"
            assert arguments[-1].endswith(b"...")
            assert address.startswith(b"127.0.0.1:")
            assert server == b"s00"
        newest = parse(client.ask("SLOWLOG", "GET", 1))
        assert newest == entries[:1]
        assert parse(client.ask("SLOWLOG", "GET", -1)) == entries
    assert clients[1].ask("SLOWLOG", "RESET") == OK
    assert clients[2].ask("SLOWLOG", "LEN") == integer(0)


def test_wrong_arguments(clients: list[Connection]) -> None:
    assert clients[0].ask("SLOWLOG", "GET", "many") == error("ERR value is not an integer or out of range")
    assert clients[0].ask("SLOWLOG", "GET", -2) == error("ERR count should be greater than or equal to -1")
    assert clients[0].ask("SLOWLOG", "GET", 1, 2).startswith(b"-ERR wrong number of arguments")


def test_only_with_permission_can_it_be_reset(several: Proxy) -> None:
    assert several.client("beta").ask("SLOWLOG", "RESET").startswith(b"-ERR")
    assert several.client("beta").ask("SLOWLOG", "LEN") == integer(0)


def test_the_command_line_shows_slow_requests(several: Proxy, clients: list[Connection]) -> None:
    clients[0].ask("SLOWLOG", "RESET")
    for client in clients:
        client.ask("EVAL", SLOW, 1, KEY)
    control = ("-C", str(several.control_socket))
    shown = run("slowlog", *control)
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert lines[0].split()[:5] == ["time", "whole", "waiting", "server", "writing"]
    assert len(lines) == WORKERS + 2
    assert all(" alpha  s00  127.0.0.1:" in line and "EVAL" in line for line in lines[1:-1])
    assert lines[-1] == "times in milliseconds"
    rows = json.loads(run("slowlog", *control, "--json", "--count", "2").stdout)
    assert len(rows) == 2
    for row in rows:
        assert row["whole_us"] == row["waiting_us"] + row["server_us"] + row["writing_us"] >= 1000 * LIMIT
    assert run("slowlog", *control, "--pool", "beta").stdout == "no slow requests\n"
    assert "there is no pool 'gamma'" in run("slowlog", *control, "--pool", "gamma").stderr


def test_the_command_line_shows_hot_keys(several: Proxy, clients: list[Connection]) -> None:
    for client in clients:
        client.send(300 * command("GET", "a hot\nkey") + command("SET", "large", "x" * 10_000))
        client.replies(301)
    control = ("-C", str(several.control_socket))
    found = json.loads(run("hotkeys", *control, "--json").stdout)
    assert list(found) == ["beta", "alpha"]
    assert found["alpha"][0]["key"] == "a hot\nkey"
    assert found["alpha"][0]["requests_per_second"] > 10
    assert found["alpha"][0]["server"] in ("s00", "s01")
    [largest] = json.loads(run("hotkeys", *control, "--json", "--by-size", "-n", "1", "-p", "alpha").stdout)["alpha"]
    assert (largest["key"], largest["largest"] > 10_000) == ("large", True)
    text = run("hotkeys", *control).stdout
    assert text.splitlines()[0].split() == ["pool", "requests/s", "±", "bytes/s", "largest", "server", "key"]
    assert any(line.startswith("alpha ") and line.endswith("  a hot\\nkey") for line in text.splitlines())
    assert 'pool "beta": no keys\n' in text
