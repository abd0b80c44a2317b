"""Checks the inputs that fuzzing has kept, and some new inputs; ``make fuzz`` checks many more."""

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from fuzz import corpus, guided
from fuzz.targets import TARGETS
from harness.flavours import interpreted

NEW = 100
"""The number of new inputs for each target."""
MOST_BYTES = 300_000


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_stays_right(name: str) -> None:
    target = TARGETS[name]
    check = target.check(interpreted)
    kept = corpus.read(name)
    assert len(kept) > 50
    for data in kept:
        assert len(data) <= target.longest
        check(data)
    for data in islice(guided.new_inputs(target, kept, seed=1), NEW):
        check(data)


def test_the_corpus_is_small() -> None:
    assert sum(sum(map(len, corpus.read(name))) for name in TARGETS) < MOST_BYTES


def test_a_run(tmp_path: Path) -> None:
    """Runs as ``make fuzz`` does, by coverage if atheris is installed."""
    done = _fuzz("memcached_replies", "--folder", str(tmp_path), "--runs", "200")
    assert done.returncode == 0, done.stdout
    [executed] = re.findall(r"stat::number_of_executed_units: +(\d+)", done.stdout)
    assert int(executed) >= 200
    if guided.guide():
        assert re.search(r"cov: [1-9]\d+ ", done.stdout)


def test_a_finding_ends_the_process_and_leaves_its_input(tmp_path: Path) -> None:
    """An input that fails a check is kept unchanged."""
    broken = (
        "import fuzz.memcached_parsers as m; m._check_reply = lambda *_: 1 / 0; from fuzz.guided import main; main()"
    )
    done = _run("-c", broken, "memcached_replies", "--folder", str(tmp_path), "--runs", "2000")
    assert done.returncode != 0
    [finding] = tmp_path.glob("crash-*")
    assert f"Test unit written to {finding}" in done.stdout
    again = _run("-c", broken, "memcached_replies", str(finding))
    for output in (done.stdout, again.stdout):
        assert "ZeroDivisionError" in output
    assert _fuzz("memcached_replies", str(finding)).returncode == 0


def _fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    return _run("-m", "fuzz.guided", *arguments)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python; ``stdout`` is all of its output."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=guided.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
