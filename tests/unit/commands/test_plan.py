"""``nutcracker plan`` with files: differences, shares, counted keys, exit statuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from twemproxy.cli import main
from twemproxy.commands.comparison import compare
from twemproxy.config.loading import loads

Captured = pytest.CaptureFixture[str]

OLD = """\
alpha:
  listen: 127.0.0.1:22121
  hash_tag: "{}"
  servers:
    - h1:1:1 a
    - h2:1:1 b
    - h3:1:1 c
beta:
  listen: 127.0.0.1:22122
  redis: true
  redis_auth: hunter2
  servers:
    - h1:2:1
"""
GROWN = OLD.replace("    - h3:1:1 c\n", "    - h3:1:1 c\n    - h4:1:1 d\n")


@pytest.fixture
def run(tmp_path: Path, capsys: Captured) -> Any:
    """Runs the sub-command for two texts of files; returns the status, standard output and standard error."""

    def run(old: str, new: str, *arguments: str, keys: bytes | None = None) -> tuple[int, str, str]:
        (tmp_path / "old.yml").write_text(old)
        (tmp_path / "new.yml").write_text(new)
        if keys is not None:
            (tmp_path / "keys").write_bytes(keys)
            arguments = (*arguments, "--keys", str(tmp_path / "keys"))
        status = main(["plan", str(tmp_path / "new.yml"), "--from", str(tmp_path / "old.yml"), *arguments])
        return status, *capsys.readouterr()

    return run


def test_nothing_changes(run: Any) -> None:
    assert run(OLD, OLD) == (0, "nothing changes\n", "")


def test_a_change_without_keys_that_move(run: Any) -> None:
    status, out, err = run(OLD, OLD.replace("h2:1:1 b", "h5:1:1 b").replace("hunter2", "hunter3"))
    assert (status, err) == (0, "")
    assert out.splitlines()[:2] == [
        'pool "beta": directive "redis_auth" changes (new connections)',
        'pool "alpha": server "b" moves from h2:1 to h5:1 (at once)',
    ]
    assert "keys move" not in out
    assert "hunter" not in out
    assert "(new connections): applies to connections that are opened later" in out
    assert "a server that moves keeps its keys" in out


def test_hosts_are_not_looked_up(run: Any) -> None:
    elsewhere = OLD.replace("127.0.0.1:22121", "no.such.host.invalid:1")
    assert run(elsewhere, elsewhere) == (0, "nothing changes\n", "")


def test_keys_that_move(run: Any) -> None:
    status, out, _ = run(OLD, GROWN)
    assert status == 2
    lines = out.splitlines()
    assert lines[0] == 'pool "alpha": server "d" at h4:1 is added (at once)'
    start = next(position for position, line in enumerate(lines) if line.endswith("of the keys move"))
    shares = [float(line.split("%")[0]) for line in lines[start + 2 :]]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - float(lines[start].split()[2])) < 0.2
    assert all(line.endswith('to "d"') for line in lines[start + 2 :])
    assert "the proxy copies no data" in out


def test_document(run: Any) -> None:
    status, out, _ = run(OLD, GROWN, "--json")
    assert status == 2
    document = json.loads(out)
    assert document["moves_keys"] is True
    assert document["lines"] == ['pool "alpha": server "d" at h4:1 is added (at once)']
    assert document["old_fingerprint"] != document["new_fingerprint"]
    alpha = next(pool for pool in document["pools"] if pool["name"] == "alpha")
    beta = next(pool for pool in document["pools"] if pool["name"] == "beta")
    assert alpha["old_fingerprint"] != alpha["new_fingerprint"]
    assert beta["old_fingerprint"] == beta["new_fingerprint"]
    assert beta["moves"] == [] and beta["keys"] is None
    assert {move["to"] for move in alpha["moves"]} == {"d"}
    assert {move["from"] for move in alpha["moves"]} == {"a", "b", "c"}
    assert abs(sum(move["share"] for move in alpha["moves"]) - alpha["moved"]) < 1e-12
    assert document["changes"]["pools"][0]["servers"][0]["kind"] == "added"
    assert "hunter2" not in out


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_counted_keys_honour_tags_and_any_bytes(run: Any, end: bytes) -> None:
    keys = [b"\xff\x00%d\r" % i for i in range(500)] + [b"{same}%d" % i for i in range(100)] + [b""]
    text = b"\n".join([b"", *keys]) + end
    status, out, _ = run(OLD, GROWN, "--json", keys=text)
    assert status == 2
    counts = {pool["name"]: pool["keys"] for pool in json.loads(out)["pools"]}
    # The empty key is given once at the beginning; at the end, a line without an end is empty and no key.
    expected = compare(loads(OLD.encode(), ""), loads(GROWN.encode(), ""), [b"", *keys] if end else [b"", *keys[:-1]])
    alpha = next(pool for pool in expected.pools if pool.name == "alpha").keys
    assert alpha is not None
    assert counts["alpha"]["total"] == alpha.total == (602 if end else 601)
    assert counts["alpha"]["moved"] == alpha.moved > 0
    assert sum(move["keys"] for move in counts["alpha"]["moves"]) == alpha.moved
    assert counts["beta"] == {"total": alpha.total, "moved": 0, "moves": []}


def test_keys_with_one_tag_move_together(run: Any) -> None:
    keys = b"\n".join(b"%d{7}%d" % (i, i) for i in range(50))
    _, out, _ = run(OLD, GROWN, "--json", keys=keys)
    moved = next(pool for pool in json.loads(out)["pools"] if pool["name"] == "alpha")["keys"]["moved"]
    assert moved in (0, 50)


def test_keys_are_counted_for_people(run: Any) -> None:
    _, out, _ = run(OLD, GROWN, keys=b"".join(b"key:%d\n" % i for i in range(1000)))
    line = next(line for line in out.splitlines() if "given keys" in line)
    assert line.startswith("  of 1000 given keys, ")


def test_no_key_has_a_server_with_random(run: Any) -> None:
    random = OLD.replace('hash_tag: "{}"', "distribution: random")
    status, out, _ = run(random, GROWN, "--json", keys=b"a\nb\n")
    alpha = next(pool for pool in json.loads(out)["pools"] if pool["name"] == "alpha")
    assert status == 2
    assert alpha["keys"] is None
    assert "random" in alpha["estimate"]
    assert "(an estimate: with distribution" in run(random, GROWN)[1]


def test_a_renamed_pool_is_compared_with_itself(run: Any) -> None:
    status, out, _ = run(OLD, GROWN.replace("alpha:", "gamma:"), "--json")
    assert status == 2
    gamma = next(pool for pool in json.loads(out)["pools"] if pool["name"] == "gamma")
    assert gamma["old_name"] == "alpha"
    assert gamma["moved"] > 0


def test_many_moves_are_cut_for_people_only(run: Any) -> None:
    servers = "".join(f"    - h:{port}:1 s{port}\n" for port in range(1, 30))
    old = f"alpha:\n  listen: 127.0.0.1:1\n  distribution: modula\n  servers:\n{servers}"
    new = old.replace("- h:7:1", "- h:7:2")
    _, out, _ = run(old, new)
    assert len([line for line in out.splitlines() if "% from " in line]) == 20
    document = json.loads(run(old, new, "--json")[1])
    assert f"    and {len(document['pools'][0]['moves']) - 20} smaller ones; --json has all" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan"], "needs a file NEW, or --fleet"),
        (["plan", "new.yml", "-C", "/nowhere"], "no proxy answers at '/nowhere': No such file or directory"),
        (["plan", "new.yml", "--from", "none.yml"], "failed to open configuration 'none.yml': No such file"),
        (["plan", "new.yml", "--from", "bad.yml"], 'bad.yml:2:3: pool "alpha": directive "lisen" is unknown'),
        (["plan", "new.yml", "--from", "new.yml", "--keys", "none"], "failed to read keys from 'none': No such file"),
        (["plan", "new.yml", "--fleet", "h:1"], "--fleet compares running proxies, and goes with no file"),
    ],
)
def test_errors(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("new.yml").write_text(OLD)
    Path("bad.yml").write_text("alpha:\n  lisen: 127.0.0.1:1\n  servers:\n    - h:1:1\n")
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"nutcracker plan: {message}")
