"""The page of the dashboard in a browser, with reports that the tests make."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest

from harness.browser import Browser, Page
from harness.dashboard import Dashboard, dashboard
from harness.reports import Reports
from twemproxy.commands.rates import figures

LAST_ROW = "#servers tbody tr:nth-last-child(2) th"


@contextmanager
def opened(browser: Browser, reports: Reports, **options: Any) -> Iterator[tuple[Page, Dashboard]]:
    """The page, with two reports."""
    older = deepcopy(reports.advance(2))
    with dashboard(older) as served, browser.page(served.url, **options) as page:
        page.wait("document.getElementById('state').innerText === 'ready'")
        ask_again(page, served, reports.advance(2, 3000))
        yield page, served


def ask_again(page: Page, served: Dashboard, report: dict[str, Any] | None) -> None:
    """Have the page ask for this report now."""
    served.document = report
    page.run("(() => { const pause = document.getElementById('pause'); pause.click(); pause.click(); })()")
    if report is None:
        page.wait("!document.getElementById('banner').hidden")
    else:
        page.wait(f"Number(document.getElementById('updated').dataset.at) === {report['now']}")


def names(page: Page) -> list[str]:
    """The servers whose rows are in the page."""
    return page.texts("#servers tbody th")


def test_figures_are_those_of_the_reports(browser: Browser) -> None:
    reports = Reports(1)
    older = deepcopy(reports.advance(2))
    with dashboard(older) as served, browser.page(served.url) as page:
        page.wait("document.getElementById('state').innerText === 'ready'")
        reports.fail(0, 30)
        newer = deepcopy(reports.advance(2, 3000))
        ask_again(page, served, newer)
        now = figures(newer, older)
        assert page.text("#tile-requests dd") == f"{now.requests:,.0f}"
        assert page.text("#tile-clients dd") == f"{now.clients}"
        assert page.text("#tile-queue dd") == f"{now.queue}"
        assert page.text("#tile-servers dd") == "16/16"
        assert page.text("#tile-errors dd") == f"{now.errors:.1f}"
        assert page.text("#tile-p50 dd") == f"{now.p50:.0f} µs"
        alpha = now.pools[0]
        row = page.texts("#pools tbody tr[aria-rowindex='2'] > *")
        assert row[0] == "alpha"
        assert row[3:6] == ["8 of 8", str(alpha.clients), f"{alpha.requests:,.0f}"]
        servers = [page.texts(f"#servers tbody tr[aria-rowindex='{place + 2}'] > *") for place in range(8)]
        for shown, server, reported in zip(servers, alpha.servers, newer["pools"][0]["servers"], strict=True):
            assert shown[:3] == [server.name, reported["address"], "live"]
            assert server.traffic is not None
            assert shown[4:6] == [f"{100 * server.share:.1f} %", f"{100 * server.traffic:.1f} %"]
        page.errors()
        origin = served.url.removesuffix("/ui")
        assert page.requested
        assert all(address.startswith(f"{origin}/") for address in page.requested)


def test_what_needs_attention(browser: Browser) -> None:
    reports = Reports(2, is_skewed=True)
    reports.eject(1, 3)
    with opened(browser, reports) as (page, served):
        lines = page.texts("#attention li")
        assert lines[0].startswith("Pool alpha: cache-1 gets ")
        assert "Pool beta: cache-4 is ejected (no reply within 300 ms)." in lines
        assert page.texts("#ring .skewed .name") == ["cache-1"]
        assert page.text("#tile-servers dd") == "15/16"
        assert "cache-4" in page.text("#timeline")
        assert page.texts("#events tbody tr[aria-rowindex='2'] td")[1:4] == ["ejected", "beta", "cache-4"]
        reports.readmit(1, 3)
        reports.report["config"]["last_reload"] = {
            "at": reports.report["now"],
            "failed": True,
            "text": "line 3: no pool",
        }
        ask_again(page, served, reports.advance(2))
        lines = page.texts("#attention li")
        assert lines[0] == "The last reload failed, and the former configuration is served: line 3: no pool"
        assert not [line for line in lines if "ejected" in line]


def test_another_pool(browser: Browser) -> None:
    reports = Reports(3)
    with opened(browser, reports) as (page, served):
        assert page.text("#pool-title") == "alpha"
        page.click("#pools tbody tr:nth-child(3) button")
        page.wait("document.getElementById('pool-title').innerText === 'beta'")
        assert page.text("#pool-facts").startswith("memcached on 0.0.0.0:22122")
        assert page.text("#hot tbody th") == reports.report["pools"][1]["hot_keys"][0]["key"]
        page.run("history.back()")
        page.wait("location.hash === ''")
        reports.report["pools"].pop()  # a reload has removed the chosen one
        ask_again(page, served, reports.advance(2))
        assert page.text("#pool-title") == "alpha"


def test_five_hundred_servers(browser: Browser) -> None:
    with opened(browser, Reports(4, pools=1, servers=500)) as (page, _):
        assert page.text("#servers .table-head span") == "500"
        assert len(names(page)) < 60  # the others are not in the page
        assert len(page.texts("#ring li")) == 12
        page.run("document.querySelector('#servers .scroll').scrollTop = 1e6")
        page.wait(f"document.querySelector('{LAST_ROW}').innerText === 'cache-500'")
        page.click("#servers thead th:first-child button")
        page.run("document.querySelector('#servers .scroll').scrollTop = 0")
        page.wait("document.querySelector('#servers tbody tr:nth-child(2) th').innerText === 'cache-1'")
        page.click("#servers thead th:first-child button")
        page.wait("document.querySelector('#servers tbody tr:nth-child(2) th').innerText === 'cache-500'")
        assert page.run("document.querySelector('#servers thead th').getAttribute('aria-sort')") == "descending"
        page.click("#servers input")
        page.type("10.0.1.7:")
        page.wait("document.querySelector('#servers .table-head span').innerText === '1 of 500'")
        assert names(page) == ["cache-257"]


def test_names_are_never_markup(browser: Browser) -> None:
    reports = Reports(5, pools=1)
    markup = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    pool = reports.report["pools"][0]
    for place in (reports.report, pool, pool["servers"][0], pool["hot_keys"][0], pool["slow"][0]):
        for name in (
            "hostname",
            "name",
            "listen",
            "address",
            "ejected_why",
            "key",
            "server",
            "client",
            "ring_fingerprint",
        ):
            if name in place:
                place[name] = markup
    pool["slow"][0]["command"] = ["GET", markup]
    pool["settings"]["timeout"] = markup
    reports.report["config"] |= {"file": markup, "last_reload": {"at": 1, "failed": True, "text": markup}}
    reports.eject(0, 0)
    reports.report["events"][-1]["text"] = markup
    with opened(browser, reports) as (page, _):
        assert page.text("#pool-title") == markup
        assert markup in names(page)
        assert page.text("#hot tbody th") == markup
        assert markup in page.text("#attention")
        assert page.run("document.querySelectorAll('img').length") == 1  # the icon
        assert page.run("document.querySelectorAll('body script').length") == 0
        assert "taken" not in page.run("document.title").removesuffix("nutcracker").replace(markup, "")


def test_a_proxy_that_does_not_answer(browser: Browser) -> None:
    reports = Reports(6)
    with opened(browser, reports) as (page, served):
        page.expects_network_errors = True
        ask_again(page, served, None)
        assert "has not answered since" in page.text("#banner")
        assert "it answers with status 503" in page.text("#banner")
        assert page.text("#state") == "no answer"
        assert names(page)[0] == "cache-1"  # the last figures stay
        ask_again(page, served, reports.advance(2))
        assert page.run("document.getElementById('banner').hidden")
        assert page.text("#state") == "ready"


def test_pause(browser: Browser) -> None:
    with opened(browser, Reports(7)) as (page, _):
        page.click("#pause")
        page.wait("document.getElementById('state').innerText === 'paused'")
        assert page.run("document.getElementById('pause').getAttribute('aria-pressed')") == "true"


def test_charts_with_the_keyboard_and_as_tables(browser: Browser) -> None:
    reports = Reports(8, pools=1)
    older = deepcopy(reports.report)
    with opened(browser, reports) as (page, _):
        newer = reports.report
        reads = newer["pools"][0]["replies_read"] - older["pools"][0]["replies_read"]
        assert reads > 0
        page.run("document.querySelector('#requests svg').focus()")
        page.press("End")
        page.wait("document.querySelector('#requests [role=status]').innerText.includes('read ')")
        spoken = page.text("#requests [role=status]")
        assert page.text("#requests .legend li:first-child b") in spoken
        assert not page.run("document.querySelector('#requests .tip').hidden")
        page.press("Escape")
        assert page.run("document.querySelector('#requests .tip').hidden")
        page.click("#latency summary")
        page.wait("document.querySelectorAll('#latency tbody tr').length === 1")
        cells = page.texts("#latency tbody td")
        assert cells == page.texts("#latency .legend b")
        page.run("(() => { const it = document.getElementById('latency-classes'); it.value = 'write'; "
                 "it.dispatchEvent(new Event('change')); })()")  # fmt: skip
        assert page.texts("#latency tbody td") == page.texts("#latency .legend b")


def test_every_control_has_a_name(browser: Browser) -> None:
    with opened(browser, Reports(9)) as (page, _):
        page.call("Accessibility.enable")
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        roles = ("button", "combobox", "searchbox", "checkbox", "link", "table", "region", "img", "image")
        controls = [node for node in nodes if node.get("role", {}).get("value") in roles and not node["ignored"]]
        unnamed = [node for node in controls if not node.get("name", {}).get("value")]
        assert len(controls) > 50
        assert unnamed == []
        headings = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "heading"]
        assert {"Pools", "Servers", "Hot keys", "Slow requests", "Configuration", "Workers"} <= set(headings)


CONTRAST = """(() => {
  const parse = (text) => {
    const numbers = text.match(/-?[0-9.]+(e-?[0-9]+)?/g).map(Number);
    const [r, g, b, a] = text.startsWith("color(") ? [...numbers.slice(0, 3).map((v) => v * 255), numbers[3] ?? 1] : [...numbers.slice(0, 3), numbers[3] ?? 1];
    return { r, g, b, a };
  };
  const over = (top, below) => ({ r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a), b: top.b * top.a + below.b * (1 - top.a), a: 1 });
  const backOf = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(parse(getComputedStyle(at).backgroundColor));
    return layers.reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const poor = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() === "" || element.getClientRects().length === 0) continue;
    seen += 1;
    const style = getComputedStyle(element);
    const back = backOf(element);
    const text = over(parse(element instanceof SVGElement ? style.fill : style.color), back);
    const [high, low] = [light(text), light(back)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) poor.push([walker.currentNode.data, ratio]);
  }
  return [seen, poor];
})()"""  # noqa: E501
"""The number of texts in the page, and those whose contrast is less than 4.5."""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast(browser: Browser, dark: bool) -> None:
    """WCAG 2, level AA."""
    reports = Reports(10, is_skewed=True)
    reports.eject(0, 3)
    with opened(browser, reports, dark=dark) as (page, served):
        seen, poor = page.run(CONTRAST)
        assert seen > 100
        assert poor == []
        page.expects_network_errors = True
        ask_again(page, served, None)
        assert page.run(CONTRAST)[1] == []


def test_colours_are_the_systems_or_those_chosen(browser: Browser) -> None:
    def is_dark() -> bool:
        dark: bool = page.run("getComputedStyle(document.body).backgroundColor === 'rgb(20, 20, 19)'")
        return dark

    with opened(browser, Reports(11)) as (page, served):
        assert not is_dark()
        page.prefer("dark")
        assert is_dark()
        page.run("(() => { const it = document.getElementById('theme'); it.value = 'light'; "
                 "it.dispatchEvent(new Event('change')); })()")  # fmt: skip
        assert not is_dark()
        page.load(served.url)
        page.wait("document.getElementById('state').innerText === 'ready'")
        assert not is_dark()  # it is remembered
        assert page.run("document.getElementById('theme').value") == "light"


def test_nothing_is_wider_than_the_screen(browser: Browser) -> None:
    reports = Reports(12, is_skewed=True)
    reports.report["pools"][0]["servers"][0]["name"] = "a-server-with-a-name-that-is-rather-long.example.org:6379:1"
    reports.report["pools"][0]["name"] = "a-pool-with-a-name-that-is-rather-long-for-a-telephone"
    reports.eject(0, 2)
    with opened(browser, reports) as (page, _):
        for width in (320, 390, 768, 1280, 1920):
            page.resize(width, 900)
            page.wait(f"innerWidth === {width} && document.querySelector('#errors svg').clientWidth <= {width}")
            assert page.run("document.documentElement.scrollWidth") == width
