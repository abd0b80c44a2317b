"""The program nutcracker: how tools find it, how it stops and reloads, and what the environment cannot change."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.proc import is_alive
from harness.proxy import PROGRAM, Proxy, redis_pool
from harness.resp import OK, bulk, command
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.waiting import wait_until
from twemproxy.demo.processes import Process

WORKERS_SIGNALS = [
    *[signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGTTIN, signal.SIGTTOU],
    *[signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGXFSZ],
]
"""The signals that a worker ignores."""


def program_in(folder: Path) -> Path:
    """A copy of the program, so that tools that look for this file do not find the proxies of other tests."""
    return Path(shutil.copy(PROGRAM, folder / "nutcracker"))


def output_of(*command: str | Path) -> str:
    """The standard output of a command that must succeed."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout


def found_by(*command: str | Path) -> set[int]:
    """The process ids that a tool prints."""
    return {int(word) for word in output_of(*command).split()}


def worker_of(proxy: Proxy) -> int:
    """The process id of the only worker; a proxy listens a little before it has one."""
    [worker] = wait_until(lambda: proxy.processes()[1:], "the worker is started")
    return worker


def text_of(pid: int, name: str) -> str:
    """The contents of a file in /proc/PID."""
    return Path(f"/proc/{pid}/{name}").read_text().rstrip("\n")


# What tools see


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program_in(tmp_path_factory.mktemp("sbin"))


@pytest.fixture(scope="module")
def running(program: Path, running_servers: list[RedisServer]) -> Iterator[Proxy]:
    with Proxy(redis_pool(*running_servers), "-p", "pid", command=[str(program)]) as proxy:
        yield proxy


def test_both_processes_are_the_program(running: Proxy, program: Path) -> None:
    assert [os.readlink(f"/proc/{pid}/exe") for pid in running.processes()] == [str(program)] * 2


def test_the_supervisor_has_its_own_name_and_command_line(running: Proxy, program: Path) -> None:
    assert text_of(running.process.pid, "comm") == "nutcracker"
    assert text_of(running.process.pid, "cmdline").split("\0")[:2] == [str(program), "-c"]


def test_the_worker_has_a_title(running: Proxy) -> None:
    worker = worker_of(running)
    assert output_of("ps", "-o", "args=", "-p", str(worker)).strip() == "nutcracker: worker 1"
    assert text_of(worker, "comm") == "nutcracker-w1"


@pytest.mark.parametrize("tool", [["pidof", "nutcracker"], ["pgrep", "-x", "nutcracker"]], ids=" ".join)
def test_one_process_is_found_by_name(running: Proxy, tool: list[str]) -> None:
    found = found_by(*tool)
    assert running.process.pid in found
    assert worker_of(running) not in found


def test_one_process_is_found_by_the_path_it_was_started_with(running: Proxy, program: Path) -> None:
    assert found_by("pgrep", "-f", f"^{program}") == {running.process.pid}


def test_both_processes_are_found_by_the_file(running: Proxy, program: Path) -> None:
    assert found_by("pidof", program) == set(running.processes())


@pytest.mark.parametrize("by", ["exec", "pid file"])
def test_init_scripts_do_not_start_it_twice(running: Proxy, program: Path, by: str) -> None:
    pid_file = ["--pidfile", str(running.directory / "pid")] if by == "pid file" else []
    start = ["start-stop-daemon", "--quiet", "--start", "--test", "--exec", str(program), *pid_file]
    assert subprocess.run(start, check=False, timeout=30).returncode == 1


# Stopping and reloading. Without a pid file both processes get the signal.


@pytest.fixture(params=["exec", "exec and pid file", "name and pid file"])
def lone(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy of the program, and start-stop-daemon --stop for it; its pid file is ``pid`` in the same folder."""
    program = program_in(tmp_path)
    by = request.param
    by_program = ["--name", "nutcracker"] if by.startswith("name") else ["--exec", str(program)]
    by_file = ["--pidfile", str(tmp_path / "pid")] if by.endswith("pid file") else []
    return program, ["start-stop-daemon", "--quiet", "--stop", *by_program, *by_file]


def test_stopping_lets_requests_in_flight_finish(lone: tuple[Path, list[str]]) -> None:
    program, stop = lone
    options = ["-p", str(program.with_name("pid")), "--drain-time=60"]
    with ScriptedServer() as server, Proxy(redis_pool(server), *options, command=[str(program)]) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        processes = proxy.processes()
        output_of(*stop)
        wait_until(lambda: "SIGTERM" in proxy.log(), "the proxy is stopping")
        peer.send(bulk("late"))
        client.expect(bulk("late"))
        client.expect_closed()
        assert proxy.wait() == 0
        assert not any(map(is_alive, processes))


def test_stopping_waits_for_the_end(lone: tuple[Path, list[str]], servers: list[RedisServer]) -> None:
    program, stop = lone
    options = ["-p", str(program.with_name("pid"))]
    with Proxy(redis_pool(*servers), *options, command=[str(program)]) as proxy:
        processes = proxy.processes()
        # The proxy is a child of this process, so its end is complete only after this process has waited for it.
        with Process([*stop, "--retry", "TERM/20"], program.with_name("stop.log")) as stopping:
            assert proxy.wait() == 0
            assert stopping.wait(30) == 0, stopping.output()
        assert not any(map(is_alive, processes))


def test_reloading_reopens_the_log(lone: tuple[Path, list[str]], servers: list[RedisServer]) -> None:
    program, stop = lone
    options = ["-p", str(program.with_name("pid"))]
    with Proxy(redis_pool(*servers), *options, command=[str(program)]) as proxy:
        worker = worker_of(proxy)
        proxy.log_path.rename(proxy.log_path.with_suffix(".1"))
        output_of(*stop, "--signal", "HUP")
        wait_until(proxy.log_path.exists, "there is a new log file")
        assert proxy.client().ask("SET", "a", "1") == OK
        assert worker_of(proxy) == worker


def test_it_is_killed_by_the_path_it_was_started_with(tmp_path: Path, servers: list[RedisServer]) -> None:
    program = program_in(tmp_path)
    with Proxy(redis_pool(*servers), command=[str(program)]) as proxy:
        output_of("pkill", "-f", f"^{program}")
        assert proxy.wait() == 0


def test_the_worker_ignores_the_supervisors_signals(running: Proxy) -> None:
    worker = worker_of(running)
    for number in WORKERS_SIGNALS:
        os.kill(worker, number)
    assert running.client().ask("SET", "a", "1") == OK
    assert worker_of(running) == worker


def test_a_worker_is_replaced_when_the_program_has_been(tmp_path: Path, servers: list[RedisServer]) -> None:
    program = program_in(tmp_path)
    with Proxy(redis_pool(*servers), command=[str(program)]) as proxy:
        proxy.expects_crash = True
        assert proxy.client().ask("SET", "a", "1") == OK
        worker = worker_of(proxy)
        program.unlink()
        program.write_text("#!/bin/false\n")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: f"worker {worker} was killed by signal 9 (SIGKILL)" in proxy.log(), "the end is reported")
        assert proxy.client().ask("SET", "a", "1") == OK
        assert text_of(worker_of(proxy), "cmdline").rstrip("\0") == "nutcracker: worker 1"


# What does not change the program


def hostile_environment(folder: Path) -> dict[str, str]:
    """Variables that each stop or change a Python, and modules that end a process when it imports them."""
    for module in ("socket", "sitecustomize", "usercustomize", "twemproxy", "startup"):
        (folder / f"{module}.py").write_text(f"import os; os.write(2, b'{module}.py ran'); os._exit(3)\n")
    return {
        "PYTHONPATH": str(folder),
        "PYTHONHOME": str(folder),
        "PYTHONSTARTUP": str(folder / "startup.py"),
        "PYTHONUSERBASE": str(folder),
        "PYTHONPLATLIBDIR": "nowhere",
        "PYTHONEXECUTABLE": "/bin/false",
        "__PYVENV_LAUNCHER__": "/bin/false",
        "PYTHONHASHSEED": "no number",
        "PYTHONMALLOC": "no allocator",
        "PYTHONIOENCODING": "no encoding",
        "PYTHONINSPECT": "1",
        "PYTHONDEVMODE": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONPROFILEIMPORTTIME": "1",
        "PYTHONMALLOCSTATS": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONNODEBUGRANGES": "1",
        "PYTHONTRACEMALLOC": "no number",
        "PYTHONASYNCIODEBUG": "1",
    }


def test_the_environment_of_python_is_ignored(
    tmp_path: Path, servers: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in hostile_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    with Proxy(redis_pool(*servers), command=["env", "-C", str(tmp_path), str(PROGRAM)]) as proxy:
        assert proxy.client().ask("SET", "a", "1") == OK
        assert proxy.terminate() == 0
        assert proxy.stderr_path.read_text() == ""


def test_names_are_utf_8_in_every_locale(tmp_path: Path) -> None:
    path = tmp_path / "größe.yml"
    path.write_text("größe:\n  listen: 127.0.0.1:1\n  redis: true\n  timeout: 9\n  servers:\n    - 127.0.0.1:1:1\n")
    for locale in ("C", "POSIX", "C.UTF-8", "nonsense"):
        result = subprocess.run(
            [PROGRAM, "-t", "-c", path], env={"LC_ALL": locale}, stderr=subprocess.PIPE, check=False, timeout=30
        )
        assert result.stderr.decode() == f"nutcracker: configuration file '{path}' syntax is ok\n"
