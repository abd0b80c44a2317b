"""A run needs only the programs of its cases, and measures the cases whose programs are installed."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from benchmarks import command, contenders, machine
from benchmarks.cases import CASES, SINGLE_KEY
from benchmarks.machine import Programs

REDIS = [case for case in CASES if case.topology.protocol == "redis"]
MEMCACHED = [case for case in CASES if case.topology.protocol == "memcached"]
RIVALS = ["nutcracker", "predixy", "haproxy", "cc"]
REDIS_PROGRAMS = {"redis-server": "/a", "redis-benchmark": "/b"}


def test_cases_ask_for_the_programs_of_their_protocol() -> None:
    assert command.programs_for(REDIS, with_memory=False) == [*RIVALS, *REDIS_PROGRAMS]
    assert command.programs_for(MEMCACHED, with_memory=False) == [*RIVALS, "memcached"]


def test_memory_asks_for_redis_whatever_the_cases() -> None:
    assert command.programs_for([], with_memory=False) == RIVALS
    assert set(command.required(SINGLE_KEY.protocol)) <= set(command.programs_for([], with_memory=True))


def test_without_a_program_its_cases_cannot_be_measured() -> None:
    assert command.measurable(CASES, Programs([], REDIS_PROGRAMS)) == REDIS
    assert command.measurable(CASES, Programs([], {"memcached": "/c"})) == MEMCACHED
    programs = Programs([], {"redis-server": "/a"})
    assert command.measurable(REDIS, programs) == []
    problem = command.cannot_start(programs, REDIS, [])
    assert problem is not None
    assert "redis-benchmark is not installed (Debian package redis-tools)" in problem


def test_only_what_is_asked_for_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: f"/somewhere/{name}")
    programs = machine.find_programs("ours", ["redis-server"])
    assert programs.found == {"redis-server": "/somewhere/redis-server"}
    assert programs.missing(["redis-server", "haproxy"]) == ["haproxy is not installed (Debian package haproxy)"]


def test_the_absence_of_predixy_is_said_and_leaves_the_run_whole() -> None:
    programs = Programs([], REDIS_PROGRAMS)
    assert programs.missing(["predixy"]) == []
    assert programs.absent([*RIVALS]) == [
        "predixy takes no part: it is not on the PATH (github.com/joyieldInc/predixy; Debian has no package of it)."
    ]
    assert programs._replace(found={"predixy": "/p"}).absent(RIVALS) == []


def test_another_build_takes_part_when_asked_for() -> None:
    alone = machine.find_programs("ours", [])
    both = machine.find_programs("ours", [], "env A=1 before")
    assert contenders.available(alone) == ["ours"]
    assert contenders.available(both) == ["ours", "before"]
    assert contenders.command_of("before", both) == ["env", "A=1", "before"]


def test_another_build_that_does_not_run_is_named() -> None:
    problem = command.cannot_start(Programs(["echo"], REDIS_PROGRAMS, ["/nowhere/nutcracker"]), REDIS, REDIS)
    assert problem == "cannot run our proxy: /nowhere/nutcracker -V printed nothing"


def test_what_is_left_out_is_not_looked_for_and_makes_the_run_partial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    looked_for: list[str] = []

    def find(_ours: str | None, names: Iterable[str], before: str | None) -> Programs:
        looked_for.extend(names)
        return Programs(["echo"], dict.fromkeys(looked_for, "/a"), [before] if before else [])

    monkeypatch.setattr(machine, "find_programs", find)
    monkeypatch.setattr(command.Session, "run_cases", lambda *_: None)
    words = ["--without", "haproxy", "--case", "GET 3 B", "--output", str(tmp_path)]
    assert command.main(words) == 0
    assert "haproxy" not in looked_for
    assert "nutcracker" in looked_for
    assert "Without haproxy, as asked for." in capsys.readouterr().out
