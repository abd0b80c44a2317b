"""The dashboard of a proxy at work: what it shows is what the statistics say."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from faults.client import Client, Keys
from faults.dialects import Dialect, Memcached, Redis
from faults.ledger import Counter, Log, Register, Shard
from faults.load import Load
from faults.tally import Tally
from harness.browser import Browser, Page
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool
from harness.servers import MemcachedServer, RedisServer
from harness.waiting import wait_until
from twemproxy.commands.rates import Report, figures

REPORT = "/ui/report.json"


def clients(dialect: Dialect, port: int, tally: Tally, number: int) -> Iterator[tuple[Client, int]]:
    """Clients that verify every reply, each with keys of its own."""
    for client in range(number):
        keys = [b"%s:%d:%d" % (dialect.name.encode(), client, key) for key in range(12)]
        shard = Shard(0)
        owned = Keys([Register(key, shard) for key in keys[:10]], [Counter(keys[10], shard)], [Log(keys[11], shard)])
        yield Client(dialect, owned, tally, Random(client)), port


@contextmanager
def load(proxy: Proxy, tally: Tally) -> Iterator[None]:
    """A verifying load on both pools."""
    all_clients = [
        *clients(Redis(), proxy.port("alpha"), tally, 6),
        *clients(Memcached(), proxy.port("beta"), tally, 3),
    ]
    with Load(all_clients, tally, pause=0.005):
        yield


def reports_of(page: Page) -> list[Report]:
    """The reports that the page has got, oldest first."""
    return [json.loads(text) for text in page.answers(REPORT)]


def shown_report(page: Page) -> tuple[Report, Report]:
    """The report that the page shows, and the one with which the page compares it."""
    page.run("document.getElementById('pause').getAttribute('aria-pressed') === 'true' || "
             "document.getElementById('pause').click()")  # fmt: skip
    at = float(page.run("document.getElementById('updated').dataset.at"))
    reports = [report for report in reports_of(page) if report["now"] <= at]
    newer = reports[-1]
    assert newer["now"] == at
    older = next(report for report in reports if newer["now"] - report["now"] <= 10)
    return newer, older


def next_report(page: Page) -> None:
    """Wait until the page shows another report."""
    at = page.run("document.getElementById('updated').dataset.at")
    page.wait(f"document.getElementById('updated').dataset.at !== '{at}'")


def go_on(page: Page) -> None:
    """End the pause."""
    page.click("#pause")
    next_report(page)


def in_full(text: str) -> float:
    """The number in a text such as 1,234 or 12.3 k."""
    digits, _, unit = text.replace(",", "").partition(" ")
    return float(digits) * {"": 1, "k": 1e3, "M": 1e6}[unit]


def same(text: str, value: float | None) -> None:
    """Whether a figure on the page is this value, with the digits that are shown."""
    assert value is not None
    assert abs(in_full(text) - value) <= max(0.5, value * 0.005), (text, value)


def test_under_load(browser: Browser) -> None:
    tally = Tally()
    with RedisServer() as first, RedisServer() as second, RedisServer() as third, MemcachedServer() as cache:
        # fmt: off
        pools: dict[str, Any] = {
            "alpha": redis_pool(first, second, third, auto_eject_hosts=True, server_failure_limit=1,
                                server_retry_timeout=200, timeout=2000),
            "beta": memcached_pool(cache),
        }
        # fmt: on
        with Proxy(pools) as proxy, browser.page(f"http://127.0.0.1:{proxy.stats_port}/") as page:
            # A browser is led to the page.
            page.wait("document.getElementById('state').innerText === 'ready'")
            assert page.run("location.pathname") == "/ui"
            with load(proxy, tally):
                page.wait("document.querySelectorAll('#requests path.line[d^=M]').length === 5")
                _compare_rates(page)
                go_on(page)
                page.click("#pools tbody tr[aria-rowindex='3'] button")
                page.wait("document.getElementById('pool-title').innerText === 'beta'")
                assert page.texts("#servers tbody th") == ["s00"]
                page.click("#pools tbody tr[aria-rowindex='2'] button")
                page.wait("document.getElementById('pool-title').innerText === 'alpha'")
            assert tally.violations == {}
            assert tally.answered > 100
            for _ in range(2):  # the page may have asked for the first one before the end of the load
                next_report(page)
            _compare_counters(page, proxy)
            go_on(page)
            _eject_and_readmit(page, proxy, second)


def _compare_rates(page: Page) -> None:
    newer, older = shown_report(page)
    now = figures(newer, older)
    assert now.requests is not None and now.requests > 0
    same(page.text("#tile-requests dd"), now.requests)
    same(page.text("#tile-clients dd"), now.clients)
    assert now.clients >= 9
    pools = sorted(now.pools, key=lambda pool: pool.name)
    for place, pool in enumerate(pools):
        row = page.texts(f"#pools tbody tr[aria-rowindex='{place + 2}'] > *")
        assert row[0] == pool.name
        same(row[5], pool.requests)
    for place, server in enumerate(pools[0].servers):
        row = page.texts(f"#servers tbody tr[aria-rowindex='{place + 2}'] > *")
        assert row[0] == server.name
        same(row[6], server.requests)
        assert server.traffic is not None
        assert row[4:6] == [f"{100 * server.share:.1f} %", f"{100 * server.traffic:.1f} %"]
        assert row[8].endswith("s")  # of a unit of time


def _compare_counters(page: Page, proxy: Proxy) -> None:
    """Without load nothing changes: the report has the counters of the statistics."""
    newer, _ = shown_report(page)
    stats = proxy.stats()
    assert newer["process"]["client_requests"] == stats["client_requests"] > 100
    for pool in newer["pools"]:
        document = stats[pool["name"]]
        for name in ("client_err", "forward_error", "server_ejects", "replies_read", "replies_write", "fragments"):
            assert pool[name] == document[name]
        for server in pool["servers"]:
            for name in ("requests", "responses", "request_bytes", "response_bytes", "server_err"):
                assert server[name] == document[server["name"]][name]


def _eject_and_readmit(page: Page, proxy: Proxy, server: RedisServer) -> None:
    server.kill()
    key = keys_of(1, 3)[0]

    def is_ejected() -> bool:
        with proxy.client("alpha") as client:
            client.ask("GET", key)
        return bool(proxy.stats()["alpha"]["s01"]["ejected"])

    wait_until(is_ejected, "the server is ejected")
    page.wait("document.querySelector('#tile-servers dd').innerText === '3/4'")
    page.wait("document.querySelector('#attention').innerText.includes('Pool alpha: s01 is ejected')")
    page.wait("document.querySelector('#events tbody').innerText.includes('ejected')")
    assert page.texts("#servers tr.ejected th") == ["s01"]
    assert page.run("document.querySelectorAll('#timeline rect.ejection').length") == 1
    server.start()
    page.wait("document.querySelector('#tile-servers dd').innerText === '4/4'")
    page.wait("document.querySelector('#events tbody').innerText.includes('readmitted')")
    page.wait("document.querySelector('#attention').innerText === ''")
