"""Processes are awaited until they are ready, explain a failed start, and do not outlive their parent."""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from harness.ports import free_port
from harness.proc import is_alive, process_tree
from harness.proxy import environment
from harness.sources import ROOT
from harness.waiting import wait_until
from twemproxy.demo import processes
from twemproxy.demo.processes import Process, StartError, accepts, start

SLEEPING = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
os.write(1, b"%d%c" % (os.getpid(), 10))
time.sleep(60)
"""
LISTENING = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    time.sleep(60)
"""
PARENT = """
import sys, time
from pathlib import Path
from twemproxy.demo.processes import Process, end_on_signals
end_on_signals()
with Process([sys.executable, "-c", "import time; time.sleep(60)"], Path(sys.argv[1])) as process:
    print(process.pid, flush=True)
    time.sleep(60)
"""

FOLDERS = ("src/twemproxy/demo", "tests", "benchmarks", "tools")
ON_THEIR_OWN = {
    *("tests/clients/celery_worker.py", "tests/clients/nginx_modules.py"),
    *("tests/golden/take_vectors.py", "tools/take_config_verdicts.py"),
    "tests/suites/memcached_with_proxy.py",
    "tests/harness/terminal.py",
}
"""Programs that use no code of ours, one whose child has to stay in its group, and one with a terminal of its own."""


def children_of(parent: Process) -> list[int]:
    """The process id that a PARENT has printed."""
    wait_until(lambda: parent.output().endswith("\n"), "the child is started")
    return process_tree(parent.pid)[1:]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "program.log"


def test_a_stubborn_process_and_its_child_are_killed(log: Path) -> None:
    with Process([sys.executable, "-c", STUBBORN], log) as process:
        wait_until(lambda: process.output().count("\n") == 2, "both run")
        pids = [int(line) for line in process.output().split()]
        assert all(map(is_alive, pids))
        assert not process.stop(0.2, again=0.05)
        assert process.returncode == -signal.SIGKILL
    wait_until(lambda: not any(map(is_alive, pids)), "both are gone")


def test_a_process_is_stopped_after_an_exception(log: Path) -> None:
    with pytest.raises(ZeroDivisionError), Process(SLEEPING, log) as process:
        raise ZeroDivisionError
    assert process.returncode == -signal.SIGTERM
    assert process.stop()


@pytest.mark.parametrize("number", [*processes.ENDING_SIGNALS, signal.SIGKILL])
def test_a_process_ends_with_its_parent(tmp_path: Path, log: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "child.log")]
    with Process(command, log, environment=environment()) as parent:
        [child] = children_of(parent)
        parent.send_signal(number)
        assert parent.wait_ended(20)
        wait_until(lambda: not is_alive(child), "the child is gone")
        assert "KeyboardInterrupt" in parent.output() or number == signal.SIGKILL


def test_a_process_outlives_the_thread_that_started_it(log: Path) -> None:
    found: list[Process] = []
    thread = threading.Thread(target=lambda: found.append(Process(SLEEPING, log)))
    thread.start()
    thread.join()
    with found[0] as process:
        assert not process.wait_ended(0.1)


def test_the_end_of_a_process_ends_every_wait(log: Path) -> None:
    with Process(SLEEPING, log) as process:
        thread = threading.Thread(target=process.kill)
        thread.start()
        assert process.wait_ended(60)
        thread.join()
        assert not process.wait_ready(lambda: True)


def test_a_program_that_does_not_start_is_reported_with_its_output(log: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("and in its log\n")
    failing = [sys.executable, "-c", "import sys; sys.exit('no such pool')"]
    with pytest.raises(
        StartError, match=r"^program did not start: it ended with status 1\nand in its log\nno such pool$"
    ):
        start(lambda _: Process(failing, log, tmp_path / "own"), lambda: False)


def test_a_program_that_is_never_ready_is_reported_and_stopped(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_SECONDS", 0.1)
    started: list[Process] = []

    def launch(attempt: int) -> Process:
        started.append(Process(SLEEPING, log))
        return started[-1]

    with pytest.raises(StartError, match=r"^program did not start: it was not ready after 0 s$"):
        start(launch, lambda: False)
    assert [process.returncode for process in started] == [-signal.SIGTERM]


def test_a_port_that_another_program_takes_first_is_replaced(log: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], free_port()]

        def launch(attempt: int) -> Process:
            return Process([sys.executable, "-c", LISTENING, str(ports[attempt])], log)

        # The other program accepts connections, too.
        with start(launch, lambda: accepts(ports[1])) as process:
            assert process.poll() is None
            assert accepts(ports[1])


def test_a_wait_may_be_ended_by_an_exception(log: Path) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    started: list[Process] = []

    def launch(attempt: int) -> Process:
        started.append(Process(SLEEPING, log))
        return started[-1]

    with pytest.raises(KeyboardInterrupt):
        start(launch, lambda: False, interrupted)
    assert started[0].returncode == -signal.SIGTERM


def test_nothing_else_starts_processes_in_the_background() -> None:
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    starting = {str(path.relative_to(ROOT)) for path in sources if "subprocess.Po" + "pen(" in path.read_text()}
    assert starting == ON_THEIR_OWN


def test_a_process_has_a_session_of_its_own(log: Path) -> None:
    with Process(SLEEPING, log) as process:
        assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
