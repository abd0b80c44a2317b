"""The report: the same figures as the statistics, what the configuration says, and what has happened."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from harness.connection import connect_unix
from harness.http import report_of
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool
from harness.resp import OK
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until
from harness.workers import ready_workers, worker_processes
from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS
from twemproxy.stats.histograms import BOUNDS


@pytest.fixture
def server(servers: list[RedisServer]) -> RedisServer:
    return servers[0]


def ask_for_report(path: Path) -> dict[str, Any]:
    """The report, over the control socket."""
    with connect_unix(str(path)) as connection:
        connection.send(b'{"type":"report"}\n')
        answer = json.loads(connection.read_to_end())
    assert answer["type"] == "report"
    report = answer["report"]
    assert isinstance(report, dict)
    return report


def pool_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    [pool] = [pool for pool in report["pools"] if pool["name"] == name]
    assert isinstance(pool, dict)
    return pool


def events_of(report: dict[str, Any], kind: str, pool: str = "") -> list[dict[str, Any]]:
    return [event for event in report["events"] if event["kind"] == kind and event["pool"] == pool]


def test_a_new_proxy(server: RedisServer) -> None:
    pools = {
        "alpha": redis_pool(server, hash_tag="()", timeout=400, redis_auth="secret", deny_commands="eval"),
        "beta": {**memcached_pool(server.path), "distribution": "ketama"},
    }
    with Proxy(pools, "--workers", "2") as proxy:
        workers = ready_workers(proxy, 2)
        report = report_of(proxy)
        assert abs(report["now"] - time.time()) < 60
        assert report["now"] - 60 < report["started_at"] <= report["now"]
        assert (report["pid"], report["ready"]) == (proxy.process.pid, True)
        config = report["config"]
        assert (config["file"], config["generation"], config["last_reload"]) == (str(proxy.configuration), 1, None)
        assert len(config["fingerprint"]) == 16
        assert set(report["process"]) == {metric.name for metric in PROCESS_METRICS}
        assert sorted(worker["number"] for worker in report["workers"]) == [1, 2]
        assert sorted(worker["pid"] for worker in report["workers"]) == sorted(workers)
        assert report["latency_bounds_us"] == list(BOUNDS)
        assert [event["kind"] for event in report["events"]] == ["start"]

        beta, alpha = pool_of(report, "beta"), pool_of(report, "alpha")
        assert (alpha["protocol"], beta["protocol"]) == ("redis", "memcached")
        assert (alpha["hash_tag"], beta["hash_tag"]) == ("()", None)
        assert (alpha["hash"], alpha["distribution"], alpha["listen"]) == ("crc32a", "modula", proxy.listens["alpha"])
        assert alpha["settings"]["timeout"] == 400
        assert alpha["settings"]["redis_auth"] == "hidden"
        assert "secret" not in json.dumps(report)
        assert beta["settings"]["redis_auth"] == ""
        assert {"timeout", "redis_auth", "deny_commands", "hash", "distribution"} < set(alpha["changed"])
        assert "backlog" in alpha["settings"].keys() - set(alpha["changed"])
        assert {metric.name for metric in POOL_METRICS} < set(alpha)
        [part] = alpha["servers"]
        assert {metric.name for metric in SERVER_METRICS} < set(part)
        assert (part["name"], part["address"], part["weight"], part["share"]) == ("s00", server.address, 1, 1)
        assert (part["state"], part["ejected_since"], part["ejected_why"]) == ("live", None, "")
        assert (alpha["hot_keys"], alpha["slow"], alpha["latency"]) == ([], [], {})
        assert beta["servers"][0]["address"] == server.path


def test_both_ways_give_the_same_document(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        assert proxy.client().ask("SET", "a", "1") == OK
        ours, theirs = report_of(proxy), ask_for_report(proxy.control_socket)
        assert list(ours) == list(theirs)
        for name in ("version", "hostname", "pid", "config", "latency_bounds_us", "pools", "events"):
            assert ours[name] == theirs[name], name


def test_figures_are_those_of_the_statistics(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers)) as proxy:
        client = proxy.client()
        for key in (*keys_of(0, 3, 4), *keys_of(1, 3, 2)):
            assert client.ask("SET", key, "1") == OK
        pool = pool_of(report_of(proxy), proxy.served_name())
        stats = proxy.pool_stats()
        assert {metric.name: stats[metric.name] for metric in POOL_METRICS} == {
            metric.name: pool[metric.name] for metric in POOL_METRICS
        }
        assert [server["requests"] for server in pool["servers"]] == [4, 2, 0]
        whole = pool["latency"]["write"]["whole"]
        assert whole["count"] == sum(whole["buckets"].values()) == 6
        lowest = sum(BOUNDS[int(bucket)] * count for bucket, count in whole["buckets"].items())
        assert lowest <= whole["total_us"]
        assert set(pool["servers"][0]["latency"]["write"]) == {"waiting", "server"}
        assert pool["servers"][2]["latency"] == {}
        assert sum(server["share"] for server in pool["servers"]) == 1


def test_an_ejection_has_a_reason(configured: Configure, servers: list[RedisServer]) -> None:
    with ScriptedServer(listening=False) as dead:
        pool = redis_pool(*(servers[0], dead), auto_eject_hosts=True, server_failure_limit=2, server_retry_timeout=100)
        with configured(pool) as proxy:
            name, [key] = proxy.served_name(), keys_of(1, 2)
            client = proxy.client()
            client.ask("GET", key)
            client.ask("GET", key)
            wait_until(lambda: events_of(report_of(proxy), "ejected", name), "the supervisor knows of the ejection")
            report = report_of(proxy)
            live, ejected = pool_of(report, name)["servers"]
            assert (live["state"], ejected["state"]) == ("live", "ejected")
            assert ejected["ejected_why"] == "2 failures in a row, the last one: a connection failed"
            assert abs(ejected["ejected_since"] - time.time()) < 60
            [event] = events_of(report, "ejected", name)
            assert (event["server"], event["text"]) == ("s01", ejected["ejected_why"])
            dead.listen()
            peer = dead.accept()
            assert peer.request() == [b"PING"]
            peer.send(b"+PONG\r\n")
            wait_until(lambda: events_of(report_of(proxy), "readmitted", name), "the supervisor knows of the return")
            back = pool_of(report_of(proxy), name)["servers"][1]
            assert (back["state"], back["ejected_since"], back["ejected_why"]) == ("live", None, "")


def test_reloads_are_events(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        proxy.reload(redis_pool(server, timeout=123))
        report = report_of(proxy)
        assert report["config"]["generation"] == 2
        assert pool_of(report, "alpha")["settings"]["timeout"] == 123
        proxy.reload(redis_pool(server, timeout="nonsense"))
        report = report_of(proxy)
        assert report["config"]["last_reload"]["failed"]
        good, bad = events_of(report, "reload")
        assert 'directive "timeout" changes' in good["text"]
        assert bad["text"].startswith("failed: ")
        assert bad["text"] == report["config"]["last_reload"]["text"]


def test_the_death_of_a_worker_is_an_event(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        proxy.expects_crash = True
        [worker] = ready_workers(proxy, 1)
        os.kill(worker, signal.SIGKILL)
        wait_until(
            lambda: [each["pid"] for each in report_of(proxy)["workers"]] not in ([], [worker]), "another serves"
        )
        [event] = events_of(report_of(proxy), "worker")
        assert event["text"].startswith(f"worker {worker} ")
        assert [each["pid"] for each in report_of(proxy)["workers"]] == worker_processes(proxy)


def test_events_outlive_an_upgrade(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        proxy.reload(redis_pool(server, timeout=123))
        before = report_of(proxy)
        proxy.upgrade()
        after = report_of(proxy)
        assert after["events"][:-1] == before["events"]
        assert after["events"][-1]["kind"] == "upgrade"
        assert abs(after["started_at"] - before["started_at"]) < 1
