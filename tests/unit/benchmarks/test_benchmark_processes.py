"""Child processes never outlive the benchmark, and our proxy is never taken for the original nutcracker."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import machine, processes
from benchmarks.processes import StartError, running, wait_until_answers

FORKING_AND_STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
os.write(1, b"%d%c" % (os.getpid(), 10))
time.sleep(60)
"""

KILLED_PARENT = """
import os, signal, sys
from pathlib import Path
from benchmarks.processes import running
with running([sys.executable, "-c", "import time; time.sleep(60)"], Path(sys.argv[1])) as process:
    print(process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll a condition for at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_stubborn_child_and_its_child_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    log = tmp_path / "child.log"
    with running([sys.executable, "-c", FORKING_AND_STUBBORN], log):
        wait_for(lambda: log.read_text().count("\n") == 2)
        pids = [int(line) for line in log.read_text().split()]
        assert all(alive(pid) for pid in pids)
    wait_for(lambda: not any(alive(pid) for pid in pids))


def test_a_child_ends_when_the_benchmark_is_killed(tmp_path: Path) -> None:
    root = Path(processes.__file__).parents[1]
    command = [sys.executable, "-c", KILLED_PARENT, str(tmp_path / "child.log")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30, check=False)
    pid = int(done.stdout)
    wait_for(lambda: not alive(pid))


def test_a_program_that_ends_at_once_is_reported_with_what_it_wrote(tmp_path: Path) -> None:
    log = tmp_path / "proxy.log"
    with (
        running([sys.executable, "-c", "import sys; sys.exit('no such pool')"], log) as process,
        pytest.raises(StartError, match=r"(?s)proxy did not start: it ended with status 1.*no such pool"),
    ):
        wait_until_answers(process, 1, log, b"", b"+PONG\r\n")


def test_a_script_that_calls_itself_nutcracker_is_not_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "nutcracker"
    script.write_text("#!/bin/sh\necho This is nutcracker-0.5.0\n")
    script.chmod(0o755)
    assert machine.version_of([str(script), "-V"]) == "This is nutcracker-0.5.0"
    monkeypatch.setattr(machine, "NUTCRACKER_FOLDERS", (str(tmp_path),))
    assert machine.find_original() is None


def test_ours_may_be_any_command_line() -> None:
    assert machine.find_programs("python -m 'my proxy'").ours == ["python", "-m", "my proxy"]
