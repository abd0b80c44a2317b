"""A run needs the programs of its cases and no others, and measures what the installed ones allow."""

import shutil

import pytest
from benchmarks import command, machine
from benchmarks.cases import CASES, SINGLE_KEY
from benchmarks.machine import Programs

REDIS = [case for case in CASES if case.topology.protocol == "redis"]
MEMCACHED = [case for case in CASES if case.topology.protocol == "memcached"]
REDIS_PROGRAMS = {"redis-server": "/a", "redis-benchmark": "/b"}


def test_cases_ask_for_the_programs_of_their_protocol() -> None:
    assert command.programs_for(REDIS, with_memory=False) == ["nutcracker", "haproxy", *REDIS_PROGRAMS]
    assert command.programs_for(MEMCACHED, with_memory=False) == ["nutcracker", "haproxy", "memcached"]


def test_memory_asks_for_redis_whatever_the_cases() -> None:
    assert command.programs_for([], with_memory=False) == ["nutcracker", "haproxy"]
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
