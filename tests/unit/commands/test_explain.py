"""``nutcracker explain`` with files: places, texts, JSON, exit statuses."""

import json
from pathlib import Path
from typing import Any

import pytest

import twemproxy
from twemproxy.cli import main

Captured = pytest.CaptureFixture[str]

ALPHA = """\
alpha:
  listen: 127.0.0.1:22121
  hash: murmur
  hash_tag: "{}"
  servers:
    - 10.0.0.1:6379:1 a
    - 10.0.0.2:6379:1 b
    - 10.0.0.3:6379:1 c
"""
BETA = """\
beta:
  listen: 127.0.0.1:22122
  distribution: random
  servers:
    - 10.0.0.4:6379:1 d
    - 10.0.0.5:6379:1 e
"""


@pytest.fixture
def explain(tmp_path: Path, capsys: Captured) -> Any:
    """Runs the sub-command for the text of a file; returns the status, standard output and standard error."""

    def explain(text: str, *arguments: str, against: str = "") -> tuple[int, str, str]:
        path, other = tmp_path / "my.yml", tmp_path / "other.yml"
        path.write_text(text)
        other.write_text(against)
        more = ["--against", str(other)] if against else []
        status = main(["explain", *arguments, "--config", str(path), *more])
        out, err = capsys.readouterr()
        return status, out.replace(f"{tmp_path}/", ""), err

    return explain


def test_a_key_of_a_file(explain: Any, tmp_path: Path) -> None:
    status, out, err = explain(ALPHA, "user:{7}:name")
    assert (status, err) == (0, "")
    after = twemproxy.Ring.from_config(tmp_path / "my.yml").without("b").locate("user:{7}:name")
    assert out.splitlines() == [
        'pool "alpha", key "user:{7}:name"',
        '  hashed part:  "7" (hash_tag "{}")',
        "  hash:         2315481433 (murmur)",
        "  point:        2324558024 (ketama)",
        '  server:       "b" at 10.0.0.2:6379',
        f'  if ejected:   "{after.server}" at {after.address}',
    ]
    assert after.server != "b"


def test_the_same_server_or_another_one(explain: Any) -> None:
    same = ALPHA.replace("10.0.0.2", "10.0.0.9")
    status, out, _ = explain(ALPHA, "user:{7}", against=same)
    assert status == 0
    assert '  with other.yml:  "b" at 10.0.0.9:6379, the same server\n' in out
    status, out, _ = explain(ALPHA, "user:{7}", against=ALPHA.replace(" b\n", " z\n"))
    assert status == 2
    assert out.endswith(", the key moves\n")
    status, out, _ = explain(ALPHA, "user:{7}", against=BETA)
    assert status == 0
    assert "no server: the file has no such pool" in out


def test_all_pools_or_one(explain: Any) -> None:
    _, out, _ = explain(ALPHA + BETA, "k")
    assert [line for line in out.splitlines() if line.startswith("pool")] == [
        'pool "beta", key "k"',
        'pool "alpha", key "k"',
    ]
    assert "server:  a random one for each request (distribution random)" in out
    _, out, _ = explain(ALPHA + BETA, "k", "--pool", "alpha")
    assert "beta" not in out
    status, out, err = explain(ALPHA + BETA, "k", "--pool", "gamma")
    assert (status, out) == (1, "")
    assert err == 'nutcracker explain: there is no pool "gamma": the pools are "beta", "alpha"\n'


def test_a_server_that_keeps_its_keys(explain: Any) -> None:
    text = ALPHA.replace("  servers", "  auto_eject_hosts: true\n  on_server_down: miss\n  servers")
    _, out, _ = explain(text, "k")
    assert "if ejected:  the proxy answers in its place (on_server_down miss)" in out


def test_the_only_server(explain: Any) -> None:
    text = "".join(line for line in ALPHA.splitlines(True) if not line.endswith((" b\n", " c\n")))
    _, out, _ = explain(text, "k")
    assert 'server:      "a" at 10.0.0.1:6379\n  if ejected:  none, it is the last server\n' in out


def test_json_of_any_bytes(explain: Any) -> None:
    status, out, _ = explain(ALPHA, "a\udcff", "b", "--json")
    assert status == 0
    first, second = json.loads(out)["keys"]
    assert (first["key"], second["key"]) == ("a\udcff", "b")
    [place] = first["pools"]
    assert place["hashed"] == "a\udcff"
    assert place["ejected"] is place["now"] is place["against"] is None
    assert place["place"]["server"] in "abc"


def test_errors(explain: Any, capsys: Captured) -> None:
    status, out, err = explain(ALPHA.replace("hash:", "hashh:"), "k")
    assert (status, out) == (1, "")
    assert 'directive "hashh" is unknown' in err
    assert main(["explain", "k", "-C", "/nowhere.sock"]) == 1
    assert "no proxy answers at '/nowhere.sock'" in capsys.readouterr().err
    assert main(["explain"]) == 1
