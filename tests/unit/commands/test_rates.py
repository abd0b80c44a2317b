"""What happens between two reports, as ``nutcracker top`` and the dashboard compute it."""

import json
import subprocess
from copy import deepcopy
from random import Random
from typing import Any

import msgspec
import pytest

from harness.reports import Report, Reports
from harness.sources import SOURCES
from twemproxy.commands.rates import CLASSES, figures, quantile
from twemproxy.stats.catalogue import COMMAND_CLASSES
from twemproxy.stats.histograms import BOUNDS, BUCKETS, Histogram


def pair(seed: int = 1, **changes: Any) -> tuple[Report, Report]:
    """Two reports, the newer one first, with 4 seconds between them."""
    reports = Reports(seed, **changes)
    older = deepcopy(reports.advance(2))
    return reports.advance(4), older


def test_the_classes_are_those_of_the_catalogue() -> None:
    assert CLASSES == COMMAND_CLASSES


def test_rates_are_differences_per_second() -> None:
    newer, older = pair()
    newer["pools"][0] |= {"forward_error": 12, "client_err": 4}
    newer["pools"][0]["servers"][1]["server_timedout"] += 8
    now = figures(newer, older)
    pool = now.pools[0]
    assert now.seconds == 4
    assert now.requests == (newer["process"]["client_requests"] - older["process"]["client_requests"]) / 4
    assert pool.errors == 4
    assert [server.errors for server in pool.servers[:2]] == [0, 2]
    first, before = newer["pools"][0]["servers"][0], older["pools"][0]["servers"][0]
    assert pool.servers[0].requests == (first["requests"] - before["requests"]) / 4
    assert sum(server.traffic or 0 for server in pool.servers) == pytest.approx(1)


def test_before_there_are_two_reports_rates_are_unknown() -> None:
    newer, _ = pair()
    now = figures(newer, None)
    assert (now.seconds, now.requests, now.errors, now.p50) == (None, None, None, None)
    assert now.clients == sum(pool["client_connections"] for pool in newer["pools"])
    assert now.pools[0].requests is None
    assert now.pools[0].servers[0].traffic is None
    assert figures(newer, newer).requests is None  # no time has passed


def test_what_is_new_has_no_rate_yet() -> None:
    newer, older = pair()
    del older["pools"][1]
    del older["pools"][0]["servers"][2]
    now = figures(newer, older)
    assert now.pools[1].requests is None
    assert now.pools[0].servers[2].requests is None
    assert now.pools[0].servers[2].traffic == 0


def test_a_counter_that_begins_anew_counts_from_zero() -> None:
    newer, older = pair()
    for server in older["pools"][0]["servers"]:
        server["requests"] = 10**9
    started = newer["pools"][0]["servers"][0]["requests"]
    assert figures(newer, older).pools[0].servers[0].requests == started / 4


def test_quantiles_are_those_of_the_time_between_the_reports() -> None:
    newer, older = pair()
    one = {"count": 1000, "total_us": 0, "buckets": {"40": 1000}}
    more = {"count": 1100, "total_us": 0, "buckets": {"40": 1050, "60": 50}}
    older["pools"][0]["latency"] = {"read": {"whole": one}, "blocking": {"whole": one}}
    newer["pools"][0]["latency"] = {"read": {"whole": more}, "blocking": {"whole": {**one, "buckets": {"100": 9}}}}
    pool = figures(newer, older).pools[0]
    assert pool.p50 == BOUNDS[41]
    assert pool.p99 == pytest.approx(BOUNDS[60] + 0.98 * (BOUNDS[61] - BOUNDS[60]))


def test_quantiles_are_those_of_the_histogram() -> None:
    random = Random(3)
    for _ in range(50):
        counts = [random.randrange(100) if random.random() < 0.2 else 0 for _ in range(BUCKETS)]
        counts[random.choice([0, BUCKETS - 1])] += 1
        buckets = {bucket: count for bucket, count in enumerate(counts) if count}
        for share in (0.01, 0.5, 0.99, 0.999, 1):
            assert quantile(buckets, share, BOUNDS) == pytest.approx(Histogram([*counts, 0]).quantiles([share])[0])
    assert quantile({}, 0.5, BOUNDS) is None


def test_a_server_with_more_than_twice_its_part_is_skewed() -> None:
    newer, older = pair(is_skewed=True)
    assert [server.name for server in figures(newer, older).pools[0].servers if server.is_skewed] == ["cache-1"]
    quiet = deepcopy(older)
    quiet["now"] = newer["now"]
    quiet["pools"][0]["servers"][0]["requests"] += 20  # too few to say anything
    assert not any(server.is_skewed for server in figures(quiet, older).pools[0].servers)


def test_who_serves_the_keys_of_ejected_servers_is_not_skewed() -> None:
    reports = Reports(5, pools=1, servers=4)
    for server in range(1, 4):
        reports.eject(0, server)
    older = deepcopy(reports.advance(2))
    alone = figures(reports.advance(2), older).pools[0].servers[0]
    assert alone.traffic == 1
    assert alone.excess == pytest.approx(1)
    assert not alone.is_skewed


def test_the_dashboard_computes_the_same() -> None:
    pairs: list[tuple[Report, Report | None]] = []
    for seed in range(12):
        newer, older = pair(seed, is_skewed=seed % 2 == 1)
        if seed % 3 == 1:
            older["pools"].pop()
            older["pools"][0]["servers"].pop(3)
        if seed % 3 == 2:
            older["pools"][0]["servers"][0]["requests"] = 10**9
            older["pools"][0]["latency"]["read"]["whole"]["count"] = 10**9
            newer["pools"][0]["servers"][1]["state"] = "ejected"
        pairs.append((newer, None if seed == 0 else older))
    script = f"""
        import {{ readFileSync }} from "node:fs";
        const {{ figures }} = await import("data:text/javascript," + encodeURIComponent(readFileSync({json.dumps(str(SOURCES / "ui" / "rates.js"))}, "utf8")));
        const pairs = JSON.parse(readFileSync(0, "utf8"));
        console.log(JSON.stringify(pairs.map(([newer, older]) => figures(newer, older))));
    """  # noqa: E501
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    for reports, there in zip(pairs, json.loads(done.stdout), strict=True):
        same(msgspec.to_builtins(figures(*reports)), there)


def same(here: Any, there: Any) -> None:
    if isinstance(here, dict):
        assert sorted(here) == sorted(there)
        for name, value in here.items():
            same(value, there[name])
    elif isinstance(here, list | tuple):
        assert len(here) == len(there)
        for one, other in zip(here, there, strict=True):
            same(one, other)
    else:
        assert (here is None) == (there is None)
        assert here == pytest.approx(there)
