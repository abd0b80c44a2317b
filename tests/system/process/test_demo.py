"""The demo prints the expected lines, runs until it gets a signal, and leaves no process or file behind."""

import glob
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from harness.connection import connect
from harness.waiting import wait_until
from twemproxy.demo.processes import ENDING_SIGNALS, Process

SECONDS = 30.0
CHILDREN = 5
"""Three servers, the proxy's supervisor and its worker."""


class Demo:
    """A running demo; all of its files are in a directory of its own."""

    def __init__(self, files: Path, *options: str) -> None:
        self.files = files
        self.process = Process(
            [sys.executable, "-m", "twemproxy.demo", *options],
            files.with_suffix(".output"),
            environment={**os.environ, "TMPDIR": str(files)},
        )

    def said(self) -> str:
        return self.process.output()

    def children(self) -> list[int]:
        """Every other running process with an open file of the demo: each of its processes has one, for its output."""
        found = set()
        for link in glob.glob("/proc/[0-9]*/fd/*"):
            # The process may have ended in the meantime.
            with suppress(OSError):
                if os.readlink(link).startswith(f"{self.files}/"):
                    found.add(int(link.split("/")[2]))
        return sorted(found - {self.process.pid})

    def wait_until_it_stays(self) -> None:
        wait_until(lambda: "Ctrl-C stops everything" in self.said() or self.process.poll() is not None, "the demo runs")
        assert self.process.poll() is None, self.said()

    def expect_nothing_left(self) -> None:
        assert self.children() == [], self.said()
        assert list(self.files.iterdir()) == [], self.said()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill_group()
        for pid in self.children():
            # Without its parent the process may have ended by itself.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    directory = tmp_path / "files"
    directory.mkdir()
    return directory


@pytest.fixture
def demo(files: Path) -> Iterator[Demo]:
    """A demo that keeps running."""
    with Demo(files) as demo:
        yield demo


def test_once(files: Path) -> None:
    with Demo(files, "--once") as demo:
        assert demo.process.wait(SECONDS) == 0, demo.said()
        said = demo.said()
        shares = re.search(r"(\d+) on apple, (\d+) on berry, (\d+) on cherry", said)
        assert shares is not None, said
        assert sum(int(count) for count in shares.groups()) == 300
        assert all(int(count) > 0 for count in shares.groups())
        assert "'name 7'" in said
        assert "gathered from 3 servers" in said
        assert "1000 replies from 3 servers, in order" in said
        assert "'keys' is not allowed in this pool" in said
        assert said.endswith("Stopped; nothing is left behind.\n")
        demo.expect_nothing_left()


@pytest.mark.parametrize("sign", ENDING_SIGNALS)
def test_it_keeps_running_until_told_to_end(demo: Demo, sign: signal.Signals) -> None:
    demo.wait_until_it_stays()
    address = re.search(r"nutcracker +127\.0\.0\.1:(\d+)", demo.said())
    assert address is not None
    with connect("127.0.0.1", int(address[1])) as client:
        assert client.ask("GET", "user:1") == b"$6\r\nname 1\r\n"
    assert len(demo.children()) == CHILDREN
    demo.process.send_signal(sign)
    assert demo.process.wait(SECONDS) == 0, demo.said()
    assert demo.said().endswith("Stopped; nothing is left behind.\n")
    demo.expect_nothing_left()


@pytest.mark.parametrize("children", range(1, CHILDREN + 1))
def test_ended_in_the_middle_of_its_start(demo: Demo, children: int) -> None:
    wait_until(lambda: len(demo.children()) >= children, f"{children} processes are started")
    demo.process.terminate()
    assert demo.process.wait(SECONDS) == 0, demo.said()
    demo.expect_nothing_left()


def test_its_processes_do_not_outlive_its_sudden_death(demo: Demo) -> None:
    demo.wait_until_it_stays()
    demo.process.kill()
    wait_until(lambda: not demo.children(), "every process is gone")


def test_two_at_a_time(demo: Demo, tmp_path: Path) -> None:
    demo.wait_until_it_stays()
    files = tmp_path / "other"
    files.mkdir()
    with Demo(files, "--once") as other:
        assert other.process.wait(SECONDS) == 0, other.said()
        other.expect_nothing_left()


def test_a_process_that_ends_by_itself_is_named(demo: Demo) -> None:
    demo.wait_until_it_stays()
    servers = [pid for pid in demo.children() if b"valkey-server" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(servers[1], signal.SIGKILL)
    assert demo.process.wait(SECONDS) == 1
    assert re.search(r"(apple|berry|cherry) ended by itself \(status -9\)", demo.said())
    demo.expect_nothing_left()
