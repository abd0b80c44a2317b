"""``nutcracker top`` in a terminal, with reports that the tests make."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import pytest

from harness.proxy import environment, under_test
from harness.reporting import ReportingSocket, reporting
from harness.reports import Reports
from harness.terminal import Terminal
from twemproxy.commands.frames import Frame, age, duration, number, percent, size


@contextmanager
def top(folder: Path, reports: Reports, *options: str) -> Iterator[tuple[Terminal, ReportingSocket]]:
    """The sub-command in a terminal, with a socket that answers it. A report is asked for five times a second."""
    path = folder / "control.sock"
    with reporting(path, deepcopy(reports.advance(2))) as answering:
        command = [*under_test(), "top", "-C", str(path), "-i", "0.2", *options]
        with Terminal(command) as terminal:
            terminal.wait(lambda shown: "q quit" in shown.lines[-1])
            yield terminal, answering


def advance(reports: Reports, answering: ReportingSocket, requests: int = 4000) -> None:
    answering.report = deepcopy(reports.advance(2, requests))


def run(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*under_test(), "top", "-C", str(path), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(),
    )


def test_pools_their_servers_and_back(tmp_path: Path) -> None:
    reports = Reports(1)
    titles = ["POOL", "LIVE", "CLIENTS", "REQ/S", "ERR/S", "P50", "P99", "P99.9", "QUEUE"]
    with top(tmp_path, reports) as (terminal, answering):
        assert terminal.line("POOL").split() == titles
        assert terminal.is_marked("alpha")
        assert terminal.field("alpha", 3) == "-"  # one report makes no rate
        advance(reports, answering)
        terminal.wait(lambda shown: shown.field("alpha", 3) not in ("", "-"))
        terminal.press("down")
        terminal.wait(lambda shown: shown.is_marked("beta") and not shown.is_marked("alpha"))
        terminal.press("enter")
        terminal.wait(lambda shown: shown.line("SERVER") and shown.line("cache-8") and not shown.line("alpha"))
        terminal.wait(lambda shown: "beta, 8 servers" in shown.lines[-1])
        terminal.press("left")
        terminal.wait(lambda shown: shown.line("POOL") and shown.is_marked("beta"))
        terminal.press("k")
        terminal.wait(lambda shown: shown.is_marked("alpha"))
        terminal.press("q")
        assert terminal.ended() == 0


def test_figures_follow_the_reports(tmp_path: Path) -> None:
    reports = Reports(2, pools=1)
    with top(tmp_path, reports) as (terminal, answering):
        reports.fail(0, 50)
        reports.eject(0, 2)
        advance(reports, answering)
        terminal.wait(lambda shown: shown.line("alpha: cache-3 is ejected: no reply within 300 ms"))
        # Per second, of 50 in 2 seconds.
        terminal.wait(lambda shown: (shown.field("alpha  ", 1), shown.field("alpha  ", 4)) == ("7/8", "25"))
        reports.readmit(0, 2)
        advance(reports, answering)
        terminal.wait(lambda shown: shown.field("alpha  ", 1) == "8/8" and not shown.line("alpha: "))


def test_sorting(tmp_path: Path) -> None:
    def names(shown: Terminal) -> list[str]:
        return [line.split()[0] for line in shown.lines if line.startswith("cache-")]

    def is_sorted(shown: Terminal, words: str) -> bool:
        return words in shown.lines[-1] and len(names(shown)) == 8

    upwards = [f"cache-{number}" for number in range(1, 9)]
    reports = Reports(3, pools=1, is_skewed=True)
    reports.report["pools"][0]["servers"].reverse()  # the first one gets more than its share
    with top(tmp_path, reports, "--pool", "alpha") as (terminal, answering):
        advance(reports, answering)
        terminal.wait(lambda shown: shown.field("cache-8", 4) not in ("", "-"))
        terminal.wait(lambda shown: names(shown) == upwards[::-1])
        terminal.press("s")
        terminal.wait(lambda shown: is_sorted(shown, "by name") and names(shown) == upwards)
        for _ in range(4):
            terminal.press("s")
        terminal.wait(lambda shown: is_sorted(shown, "by REQ/S, largest first") and names(shown)[0] == "cache-8")
        terminal.wait(lambda shown: shown.is_marked("cache-8"))
        terminal.press("r")
        terminal.wait(lambda shown: is_sorted(shown, "by REQ/S, smallest first") and names(shown)[-1] == "cache-8")
        terminal.wait(lambda shown: shown.is_marked("cache-8"))  # the chosen line is that of the same server
        terminal.press("S")
        terminal.wait(lambda shown: is_sorted(shown, "by REQS"))


def test_help(tmp_path: Path) -> None:
    with top(tmp_path, Reports(4)) as (terminal, _):
        terminal.press("h")
        terminal.wait(lambda shown: "Enter, right" in "\n".join(shown.lines) and not shown.line("POOL"))
        terminal.press("h")
        terminal.wait(lambda shown: shown.line("POOL"))


def test_many_servers_scroll_and_another_size(tmp_path: Path) -> None:
    with top(tmp_path, Reports(5, pools=1, servers=100), "--pool", "alpha") as (terminal, _):
        terminal.wait(lambda shown: shown.line("cache-1 ") and not shown.line("cache-100"))
        terminal.press("end")
        terminal.wait(lambda shown: shown.is_marked("cache-100") and not shown.line("cache-1 "))
        terminal.resize(100, 40)
        terminal.wait(lambda shown: sum(line.startswith("cache-") for line in shown.lines) == 40 - 6)
        terminal.wait(lambda shown: shown.is_marked("cache-100"))


def test_a_proxy_that_does_not_answer(tmp_path: Path) -> None:
    reports = Reports(6)
    with top(tmp_path, reports) as (terminal, answering):
        answering.report = None
        terminal.wait(lambda shown: shown.lines[-1].startswith("no answer since") and shown.line("alpha"))
        advance(reports, answering)
        terminal.wait(lambda shown: "q quit" in shown.lines[-1])


def test_a_pool_that_is_removed_while_it_is_shown(tmp_path: Path) -> None:
    reports = Reports(7)
    with top(tmp_path, reports, "--pool", "beta") as (terminal, answering):
        reports.report["pools"].pop()
        advance(reports, answering)
        terminal.wait(lambda shown: shown.line("POOL") and shown.line("alpha"))


def test_without_a_terminal(tmp_path: Path) -> None:
    done = run(tmp_path / "control.sock")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("nutcracker top: needs a terminal; --once prints one frame as text, --json its figures\n")


def test_a_terminal_that_cannot_be_drawn_on(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    command = ["env", "TERM=unheard-of", *under_test(), "top", "-C", str(path)]
    with reporting(path, Reports(8).advance(2)), Terminal(command) as terminal:
        assert terminal.ended() == 1
        assert "--once prints one frame as text" in " ".join(terminal.lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pool", "gamma"), "there is no pool 'gamma'; there are: alpha, beta"),
        (("-i", "0"), "--interval is a number from 0.2 to 3600"),
        (("-i", "nan"), "--interval is a number from 0.2 to 3600"),
    ],
)
def test_options_that_are_wrong(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    path = tmp_path / "control.sock"
    with reporting(path, Reports(9).advance(2)):
        done = run(path, "--once", *options)
    assert (done.returncode, done.stderr) == (1, f"nutcracker top: {message}\n")


def test_once_fits_80_columns() -> None:
    reports = Reports(10, is_skewed=True)
    reports.report["pools"][0]["name"] = "a" * 60
    reports.report["pools"][0]["servers"][0]["name"] = "cache\x1b[31m\u4e16\u754c" * 9
    older = deepcopy(reports.advance(2))
    frame = Frame.of(reports.advance(2, 30_000), older)
    lines = frame.text(80).split("\n")
    assert all(len(line) <= 80 for line in lines)
    assert {line.split()[0] for line in lines[-2:]} == {"a" * 20, "beta"}
    frame.open("a" * 60)
    text = frame.text(80)
    assert "cache?[31m\u4e16\u754ccache " in text
    assert "\x1b" not in text
    assert {len(line) for line in text.split("\n") if line.startswith("cache-")} == {80}


def test_figures_in_few_characters() -> None:
    assert [number(value) for value in (None, 0, 7, 7.25, 123.4, 9999, 12_345, 999_999, 1_234_567)] == [
        *("-", "0", "7", "7.2", "123", "9999", "12.3k", "1000k", "1.23M"),
    ]
    assert [duration(value) for value in (None, 0, 999, 1000, 12_345, 999_400, 2_000_000)] == [
        *("-", "0us", "999us", "1.00ms", "12.3ms", "999ms", "2.00s"),
    ]
    assert [size(value) for value in (0, 1023, 1536, 5 << 40)] == ["0 B", "1023 B", "1.50 KB", "5.00 TB"]
    assert [age(value) for value in (5, 3700, 200_000)] == ["0 min 5 s", "1 h 1 min", "2 d 7 h"]
    assert [percent(value) for value in (None, 0, 0.002, 0.5, 1)] == ["-", "0.0%", "0.20%", "50.0%", "100.0%"]


def test_json_has_the_figures(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    reports = Reports(11)
    with reporting(path, reports.advance(2)):
        done = run(path, "--json", "-i", "0.2", "--pool", "beta")
    document = json.loads(done.stdout)
    assert (document["hostname"], document["ready"]) == ("proxy-7.example", True)
    assert [pool["name"] for pool in document["pools"]] == ["beta"]
    assert document["pools"][0]["servers"][0]["name"] == "cache-1"
