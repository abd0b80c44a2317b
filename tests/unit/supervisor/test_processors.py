"""How many processors there are: the affinity mask and the limits of the cgroup, of both versions."""

import os
from pathlib import Path

import pytest

from twemproxy.supervisor.processors import processors


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may run on 16 processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


def found(folder: Path, own: str, files: dict[str, str]) -> int:
    """The number with this content of /proc/self/cgroup, and these files of the cgroups."""
    (folder / "own").write_text(own)
    for name, text in files.items():
        path = folder / "cgroups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return processors(folder / "own", folder / "cgroups")


def test_without_a_limit_it_is_the_affinity_mask(tmp_path: Path) -> None:
    assert processors(tmp_path / "missing", tmp_path) == 16
    assert found(tmp_path, "0::/a\n", {"cgroup.controllers": "", "a/cpu.max": "max 100000\n"}) == 16


@pytest.mark.parametrize(("text", "count"), [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1)])
def test_version_2_is_rounded_up(tmp_path: Path, text: str, count: int) -> None:
    assert found(tmp_path, "0::/a\n", {"cgroup.controllers": "", "a/cpu.max": text}) == count


def test_the_tightest_of_all_parents_counts(tmp_path: Path) -> None:
    files = {"cgroup.controllers": "", "a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"}
    assert found(tmp_path, "0::/a/b\n", files) == 3


def test_a_cgroup_that_is_not_mounted_here(tmp_path: Path) -> None:
    files = {"cgroup.controllers": "", "cpu.max": "400000 100000"}
    assert found(tmp_path, "0::/docker/1234\n", files) == 4


def test_version_1(tmp_path: Path) -> None:
    own = "12:cpu,cpuacct:/a\n3:memory:/a\n0::/a\n"
    files = {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1"}
    assert found(tmp_path, own, files) == 3


def test_what_cannot_be_read_is_no_limit(tmp_path: Path) -> None:
    assert found(tmp_path, "0::/a\n", {"cgroup.controllers": "", "a/cpu.max": "what?"}) == 16
    assert found(tmp_path, "broken\n", {}) == 16
