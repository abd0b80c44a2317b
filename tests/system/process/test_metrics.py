"""/metrics: what Prometheus' own parsers read from it, compared with the statistics and the table of metrics."""

import re
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as parse_text

from harness.http import get
from harness.proxy import Proxy, ServedPools, keys_of, memcached_pool, redis_pool
from harness.resp import OK
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until
from twemproxy.stats.exposition import FAMILIES, ORIGINAL, POOL_BOUNDS, PREFIX

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2 accepts."""

Labels = dict[str, str]


def parse_open_metrics(text: str) -> list[Metric]:
    return list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def families(proxy: ServedPools) -> dict[str, Metric]:
    """The metrics by name, from the text format."""
    answer = get(proxy, "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {family.name: family for family in parse_text(answer.body.decode())}


def values(found: dict[str, Metric], name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
    """The samples of a metric that have these labels, with their other labels."""
    for sample in found[PREFIX + name].samples:
        if labels.items() <= sample.labels.items():
            yield {key: value for key, value in sample.labels.items() if key not in labels}, sample.value


def value(found: dict[str, Metric], name: str, **labels: str) -> float:
    """The value of the only sample with these labels."""
    [(_, number)] = values(found, name, **labels)
    return number


@pytest.fixture
def used(configured: Configure, servers: list[RedisServer]) -> Iterator[ServedPools]:
    """A pool of three servers, of which two have got requests."""
    with configured(redis_pool(*servers)) as proxy:
        client = proxy.client()
        for key in (*keys_of(0, 3, 4), *keys_of(1, 3, 2)):
            assert client.ask("SET", key, "1") == OK
            client.ask("GET", key)
        proxy.wait_stats(lambda pool: pool["replies_read"] == 6, "the replies are counted")
        yield proxy


def test_figures_are_those_of_the_statistics(used: ServedPools) -> None:
    pool, found, stats = used.served_name(), families(used), used.pool_stats()
    for number in range(3):
        server = f"s{number:02d}"
        of_server = stats[server]
        for name, key in {
            "server_requests": "requests",
            "server_request_bytes": "request_bytes",
            "server_responses": "responses",
            "server_response_bytes": "response_bytes",
            "server_connections": "server_connections",
            "server_ejected": "ejected",
        }.items():
            assert value(found, name, pool=pool, server=server) == of_server[key]
        in_time = {
            labels["class"]: n for labels, n in values(found, "server_responses_in_time", pool=pool, server=server)
        }
        assert in_time == {each: of_server[f"responses_{each}"] for each in in_time}
    shares = [share for _, share in values(found, "server_key_space_ratio", pool=pool)]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(1)
    assert value(found, "pool_client_connections", pool=pool) == 1
    assert value(found, "pool_replies", pool=pool, **{"class": "read"}) == 6
    assert value(found, "ready") == 1
    assert value(found, "workers") == 1
    [(info, one)] = values(found, "pool_info", pool=pool)
    assert (one, info["protocol"], info["ring_fingerprint"]) == (1, "redis", stats["ring_fingerprint"])
    assert value(found, "client_requests") <= value(families(used), "worker_client_requests", worker="1")


def test_histograms_count_every_request(used: ServedPools) -> None:
    pool, found = used.served_name(), families(used)
    name = f"{PREFIX}request_duration_seconds"
    for command_class in ("read", "write"):
        for phase in ("whole", "writing"):
            samples = [
                sample
                for sample in found[name].samples
                if sample.labels.items() >= {"pool": pool, "class": command_class, "phase": phase}.items()
            ]
            buckets = [sample for sample in samples if sample.name == f"{name}_bucket"]
            bounds = [float(sample.labels["le"]) for sample in buckets]
            assert bounds == [*(bound / 1_000_000 for bound in POOL_BOUNDS), float("inf")]
            counts = [sample.value for sample in buckets]
            assert counts == sorted(counts)
            [total] = [sample.value for sample in samples if sample.name == f"{name}_sum"]
            [count] = [sample.value for sample in samples if sample.name == f"{name}_count"]
            assert count == counts[-1] == 6
            below = [0, *counts]
            least = sum((below[n + 1] - below[n]) * low for n, low in enumerate([0.0, *bounds[:-1]]))
            assert least <= total
    name = f"{PREFIX}server_duration_seconds"
    counted = {
        (sample.labels["server"], sample.labels["phase"]): sample.value
        for sample in found[name].samples
        if sample.name == f"{name}_count" and sample.labels["pool"] == pool
    }
    assert counted == {("s00", "waiting"): 8, ("s00", "server"): 8, ("s01", "waiting"): 4, ("s01", "server"): 4}


def test_both_formats_have_all_metrics_and_the_same_ones(used: ServedPools) -> None:
    found = families(used)
    answer = get(used, "/metrics", accept=PROMETHEUS)
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.body.endswith(b"# EOF\n")
    open_families = {family.name: family for family in parse_open_metrics(answer.body.decode())}
    assert list(open_families) == [PREFIX + family.name for family in FAMILIES]
    for family in FAMILIES:
        text_name = family.full_name.removesuffix("_total") if family.kind == "counter" else family.full_name
        text, other = found[text_name], open_families[PREFIX + family.name]
        assert (text.documentation, other.documentation) == (family.help, family.help)
        assert other.type == family.kind
        assert text.type == ("gauge" if family.kind == "info" else family.kind)
        same = {(sample.name, *sorted(sample.labels.items())) for sample in text.samples}
        assert {(sample.name, *sorted(sample.labels.items())) for sample in other.samples} == same
        for sample in other.samples:
            assert set(sample.labels) - {"le"} == set(family.labels)
            assert sample.name.startswith(family.full_name)


def test_promtool_finds_nothing_to_criticize(used: ServedPools) -> None:
    text = get(used, "/metrics").body
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_names_are_escaped(servers: list[RedisServer]) -> None:
    name = 'a\\b\\n"c"\u00e9'
    pool = {**redis_pool(), "servers": [f"{servers[0].address}:1 {name}"]}
    with Proxy({"alpha": pool}) as proxy:
        assert value(families(proxy), "server_requests", pool="alpha", server=name) == 0
        text = get(proxy, "/metrics", accept=PROMETHEUS).body.decode()
        assert name in {sample.labels.get("server") for family in parse_open_metrics(text) for sample in family.samples}


def test_an_ejected_server(configured: Configure, servers: list[RedisServer]) -> None:
    with ScriptedServer(listening=False) as dead:
        pool = redis_pool(
            servers[0], dead, auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=3600_000
        )
        with configured(pool) as proxy:
            [key] = keys_of(1, 2)
            proxy.client().ask("GET", key)
            name = proxy.served_name()
            wait_until(lambda: value(families(proxy), "server_ejected", pool=name, server="s01") == 1, "it is ejected")
            found = families(proxy)
            assert value(found, "pool_ejections", pool=name) == 1
            assert 0 < value(found, "server_ejected_seconds", pool=name, server="s01") < 60
            assert value(found, "server_ejected_seconds", pool=name, server="s00") == 0
            failures = value(found, "server_failures", pool=name, server="s01", reason="error")
            assert failures == proxy.server_stats("s01")["server_err"] > 0


def test_workers_turn(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0]), "--workers", "2") as proxy:
        wait_until(lambda: len(list(values(families(proxy), "worker_loop_turns"))) == 2, "both workers turn")
        before = {labels["worker"]: number for labels, number in values(families(proxy), "worker_loop_turns")}
        wait_until(
            lambda: all(n > before[labels["worker"]] for labels, n in values(families(proxy), "worker_loop_turns")),
            "the workers have turned once more, without clients",
        )
        found = families(proxy)
        for worker in ("1", "2"):
            assert value(found, "worker_loop_busy_seconds", worker=worker) > 0
            assert value(found, "worker_loop_longest_turn_seconds", worker=worker) > 0
            assert value(found, "worker_resident_memory_bytes", worker=worker) > 1_000_000


def test_names_of_exporters_for_nutcracker(servers: list[RedisServer]) -> None:
    pools = {"alpha": redis_pool(servers[0]), "beta": memcached_pool(servers[1].path)}
    with Proxy(pools, "--metrics-compat", "twemproxy") as proxy:
        assert proxy.client().ask("SET", "a", "1") == OK
        found, stats = families(proxy), proxy.stats()
        for scope in ORIGINAL.values():
            assert {f"twemproxy_{name}" for name in scope} <= set(found)
        [requests] = [each for each in found["twemproxy_requests"].samples if each.labels["pool"] == "alpha"]
        assert requests.labels == {"pool": "alpha", "server": "s00"}
        assert requests.value == stats["alpha"]["s00"]["requests"] == 1
        [uptime] = found["twemproxy_uptime"].samples
        assert abs(uptime.value - stats["uptime"]) <= 2
        text = get(proxy, "/metrics", accept=PROMETHEUS).body.decode()
        assert "twemproxy_requests" in {family.name for family in parse_open_metrics(text)}
    with Proxy(pools) as proxy:
        assert not [name for name in families(proxy) if re.match("twemproxy_", name)]
