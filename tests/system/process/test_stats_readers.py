"""Programs that were written for nutcracker read what they expect, beside the pages for HTTP."""

from collections.abc import Iterator

import pytest

from harness import stats_readers
from harness.http import get
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool
from harness.resp import OK
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.stats_readers import POOL, SERVER, Value
from harness.waiting import wait_until


@pytest.fixture(scope="module")
def busy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """Two pools after some requests and an ejection, so that all that was added to the statistics has values."""
    with RedisServer() as first, RedisServer() as second, ScriptedServer(listening=False) as dead:
        pools = {
            "alpha": redis_pool(*(first, second, dead), auto_eject_hosts=True, server_failure_limit=1),
            "beta": memcached_pool(second.path),
        }
        with Proxy(pools, "--workers", "2", "--metrics-compat", "twemproxy") as proxy:
            client = proxy.client("alpha")
            for key in (*keys_of(0, 3, 5), *keys_of(1, 3, 3)):
                assert client.ask("SET", key, "1") == OK
            client.ask("GET", *keys_of(2, 3))
            wait_until(lambda: proxy.server_stats("s02", "alpha")["ejected"] == 1, "the server is ejected")
            yield proxy


def expected(proxy: Proxy) -> set[tuple[str, str, str]]:
    """Name, pool and server of each value that a program reports."""
    names = {(name, "", "") for name in stats_readers.GLOBAL}
    for pool, servers in (("alpha", ("s00", "s01", "s02")), ("beta", ("s00",))):
        names |= {(name, pool, "") for name in POOL}
        names |= {(name, pool, server) for name in SERVER for server in servers}
    return names


def check(proxy: Proxy, values: set[Value]) -> None:
    assert {value[:3] for value in values} == expected(proxy)
    found = {value[:3]: value.value for value in values}
    assert found["requests", "alpha", "s00"] == 5
    assert found["responses", "alpha", "s01"] == 3
    assert found["server_ejects", "alpha", ""] == 1
    assert found["server_ejected_at", "alpha", "s02"] > 0
    assert found["client_connections", "alpha", ""] == 1


def test_datadog(busy: Proxy) -> None:
    check(busy, stats_readers.datadog(busy.stats_port))


def test_telegraf(busy: Proxy) -> None:
    check(busy, stats_readers.telegraf(busy.stats_port, ["alpha", "beta"]))


def test_an_exporter_with_a_parser_of_yaml(busy: Proxy) -> None:
    check(busy, stats_readers.exporter_with_yaml(busy.stats_port))


def test_exporters_with_one_read(busy: Proxy) -> None:
    check(busy, stats_readers.exporter_with_one_read(busy.stats_port))


def test_one_read_brings_fourteen_servers() -> None:
    """As many as with nutcracker: nothing of ours is in this document."""
    with ScriptedServer() as server, Proxy(redis_pool(*[server] * 14)) as proxy:
        values = stats_readers.exporter_with_one_read(proxy.stats_port)
        assert len({value.server for value in values}) == 15


@pytest.mark.parametrize("path", ["/", "/stats", "/metrics/", "/index.html", "/api/stats.json"])
def test_an_exporter_with_a_client_for_http(busy: Proxy, path: str) -> None:
    check(busy, stats_readers.exporter_with_http(busy.stats_port, path))


def test_programs_and_pages_at_the_same_time(busy: Proxy) -> None:
    for _ in range(5):
        assert get(busy, "/metrics").status == 200
        check(busy, stats_readers.datadog(busy.stats_port))
        assert get(busy, "/ui/report.json").status == 200
        check(busy, stats_readers.exporter_with_one_read(busy.stats_port))
        assert get(busy, "/healthz").status == 200
        check(busy, stats_readers.exporter_with_http(busy.stats_port, "/"))
