"""Which configurations load, compared with the verdicts of nutcracker (tools/take_config_verdicts.py)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from twemproxy.config.loading import ConfigError, loads

CASES: dict[str, dict[str, Any]] = {
    case["name"]: case for case in json.loads((Path(__file__).parents[2] / "golden" / "config_cases.json").read_text())
}

WRAPPED = (
    *("listen /run/a 40000000000", "listen 127.0.0.1:4294967376", "servers 127.0.0.1:4294967376:1"),
    *("servers 127.0.0.1:6379:4294967297", "servers 127.0.0.1:6379:99999999999"),
    *("value timeout 4294967296", "value timeout 4294967297", "value timeout 99999999999999999999"),
)
"""Numbers that nutcracker takes modulo 2**32, and this proxy refuses."""

REFUSED = (*WRAPPED, 'listen "/run/a\\0b"')
"""All cases that only this proxy refuses; the last is a path with a NUL byte, which no socket can have."""

ACCEPTED = ("value reuseport true",)
"""Directives that are newer than the nutcracker of these verdicts."""

REASONS = {
    "servers 127.0.0.1:6379:2147483648": "invalid weight above 2147483647",
    "servers 127.0.0.1:6379:4294967296": "invalid weight above 2147483647",
    'value "timeout\\0" x': '"timeout\\u0000" is unknown, did you mean "timeout"?',
    "line timeout: *a": "alias token (18) is disallowed",
}
"""Reasons that differ from those of nutcracker."""


def load(case: dict[str, Any]) -> Any:
    return loads(case["text"].encode(errors="surrogateescape"), "nutcracker.yml")


def plain(text: str) -> str:
    """The text without quotes and colons, which nutcracker and this proxy place differently."""
    return re.sub(r"[\"':]", "", text)


def refused(case: dict[str, Any]) -> bool:
    name = case["name"]
    return name in REFUSED or (not case["accepted"] and name not in ACCEPTED)


def test_deviations_are_about_cases_that_exist() -> None:
    assert {*REFUSED, *ACCEPTED, *REASONS} <= CASES.keys()
    assert all(CASES[name]["accepted"] for name in REFUSED)
    assert not any(CASES[name]["accepted"] for name in ACCEPTED)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not refused(case)])
def test_what_nutcracker_accepts_loads(name: str) -> None:
    config = load(CASES[name])
    assert config.pools
    if "servers" in CASES[name]:
        assert [server.name for server in config.pools[0].servers] == CASES[name]["servers"]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if refused(case)])
def test_what_nutcracker_refuses_does_not_load(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(CASES[name])
    message = error.value.message
    for line in str(error.value).split("\n"):
        assert re.match(r"nutcracker\.yml:\d+:\d+: \S", line)
        assert line.isprintable()
    expected = REASONS.get(name) or plain(CASES[name].get("reason", ""))
    assert expected in (message if name in REASONS else plain(message))
