"""The files in contrib: they are well formed, name metrics of the proxy, and refer to each other correctly."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from twemproxy.stats.exposition import FAMILIES

CONTRIB = Path(__file__).parents[2] / "contrib"
RULES = yaml.safe_load((CONTRIB / "prometheus" / "nutcracker.rules.yml").read_text())
DASHBOARD = json.loads((CONTRIB / "grafana" / "nutcracker.json").read_text())

NAMES = {
    name
    for family in FAMILIES
    for name in (
        [f"{family.full_name}_{suffix}" for suffix in ("bucket", "sum", "count")]
        if family.kind == "histogram"
        else [family.full_name]
    )
}


def rules(kind: str) -> list[dict[str, Any]]:
    """The rules of a kind: ``alert`` or ``record``."""
    return [rule for group in RULES["groups"] for rule in group["rules"] if kind in rule]


def expressions() -> Iterator[str]:
    """All expressions of the rules and of the dashboard."""
    for kind in ("alert", "record"):
        yield from (rule["expr"] for rule in rules(kind))
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


def test_the_proxy_has_these_metrics() -> None:
    metrics = {name for each in expressions() for name in re.findall(r"(?<![\w:])nutcracker_\w+", each)}
    assert len(metrics) > 10
    assert metrics <= NAMES


def test_counters_are_rates() -> None:
    for each in expressions():
        if not each.startswith("label_values"):
            assert each.count("_total") == len(re.findall(r"rate\(nutcracker_\w+_total", each)), each


def test_recorded_series_exist() -> None:
    recorded = {rule["record"] for rule in rules("record")}
    used = {name for each in expressions() for name in re.findall(r"\b[a-z]+:nutcracker_\w+:\w+", each)}
    assert recorded and used <= recorded


def test_an_alert_says_what_to_do() -> None:
    alerts = rules("alert")
    assert len({alert["alert"] for alert in alerts}) == len(alerts) > 5
    for alert in alerts:
        assert alert["labels"]["severity"] in ("info", "warning", "critical")
        assert alert["annotations"]["summary"] and alert["annotations"]["description"].strip().endswith(".")


def test_panels_of_the_dashboard() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places) and max(x for x, _ in places) < 24
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD))) <= variables | {"__all"}


def test_rotation_signals_the_supervisor() -> None:
    text = (CONTRIB / "logrotate" / "nutcracker").read_text()
    assert text.count("{") == text.count("}") == 1
    assert 'kill -HUP "$(cat /run/nutcracker/nutcracker.pid)"' in text
