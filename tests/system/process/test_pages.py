"""The pages of the statistics port of a running proxy: the dashboard, and what probes ask."""

import os
import signal
from pathlib import Path

import pytest

from harness.http import get
from harness.proxy import Proxy, ServedPools, redis_pool
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.waiting import wait_until
from harness.workers import ready_workers, stopped
from twemproxy import ui

PAGES = ("/metrics", "/healthz", "/ready", "/stats.json", "/ui/report.json", *ui.FILES)


def test_the_dashboard(proxy: ServedPools) -> None:
    for path, (name, content_type) in ui.FILES.items():
        answer = get(proxy, path)
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, content_type, ui.read(name))
        assert answer.headers["content-security-policy"] == ui.CONTENT_SECURITY_POLICY
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    leading = get(proxy, "/", accept="text/html")
    assert (leading.status, leading.headers["location"]) == (302, "/ui")


def test_other_paths_of_the_dashboard_are_nutcrackers_document(proxy: ServedPools) -> None:
    for path in ("/ui/", "/ui/none.js", "/ui/../ui/ui.js", "/ui/%2e%2e/__init__.py", "/ui/__init__.py"):
        text = proxy.stats_text(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        assert text.startswith('{"service":"nutcracker"')


@pytest.mark.parametrize("path", PAGES)
def test_whoever_asks_from_elsewhere_gets_no_more(proxy: ServedPools, path: str) -> None:
    answer = get(proxy, path, "HEAD", origin="http://elsewhere.example", host="elsewhere.example")
    assert (answer.status, answer.body) == (200, b"")
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        text = proxy.stats_text(f"{method} {path} HTTP/1.1\r\nOrigin: http://elsewhere.example\r\n\r\n".encode())
        assert text.startswith('{"service":"nutcracker"')


def test_health_does_not_depend_on_servers() -> None:
    with ScriptedServer(listening=False) as dead, Proxy(redis_pool(dead, preconnect=True)) as proxy:
        assert proxy.client().ask("GET", "a").startswith(b"-ERR")
        for path, text in (("/healthz", b"ok\n"), ("/ready", b"ready\n")):
            answer = get(proxy, path)
            assert (answer.status, answer.body) == (200, text)


def test_a_worker_that_stands_still_is_not_healthy(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0]), "--workers", "2") as proxy:
        first, _ = ready_workers(proxy, 2)
        with stopped([first]):
            wait_until(lambda: get(proxy, "/healthz").status == 503, "the worker has not turned for some seconds")
            assert b"has not turned for" in get(proxy, "/healthz").body
            assert get(proxy, "/ready").status == 200
        wait_until(lambda: get(proxy, "/healthz").status == 200, "the worker turns again")


def test_a_stopping_proxy_is_healthy_and_not_ready(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0]), "--drain-delay", "60") as proxy:
        ready_workers(proxy, 1)
        assert get(proxy, "/ready").status == 200
        proxy.process.send_signal(signal.SIGTERM)
        wait_until(lambda: get(proxy, "/ready").status == 503, "it is not ready")
        assert get(proxy, "/ready").body == b"the proxy stops\n"
        assert get(proxy, "/healthz").status == 200
        assert proxy.terminate() == 0


def test_files_of_the_package_are_all_that_is_served() -> None:
    folder = Path(ui.__file__).parent
    assert {name for name, _ in ui.FILES.values()} <= set(os.listdir(folder))
