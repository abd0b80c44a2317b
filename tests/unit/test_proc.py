"""What the harness reads from /proc is true of processes whose state the test knows."""

import os
import signal
import socket
import sys
from pathlib import Path

from harness import proc
from harness.waiting import wait_until
from twemproxy.demo.processes import Process

SLEEPING = [sys.executable, "-c", "import time; time.sleep(60)"]
GROWING = """
import mmap, time
for size in (64 << 20, 1):
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE)
    memory.write(b"x" * size)
print("done", flush=True)
time.sleep(60)
"""
NO_PID = 1 << 30
"""No process has this number."""


def test_processor_time_grows_with_work() -> None:
    before, seconds = proc.cpu_nanoseconds(os.getpid()), proc.cpu_seconds(os.getpid())
    machine, times = proc.machine_seconds(), os.times()
    while os.times().user + os.times().system - times.user - times.system < 0.05:
        pass
    assert proc.cpu_nanoseconds(os.getpid()) - before >= 30_000_000
    assert proc.cpu_seconds(os.getpid()) - seconds >= 0.03
    assert proc.machine_seconds() - machine >= 0.03


def test_a_tree_begins_with_its_root(tmp_path: Path) -> None:
    with Process(SLEEPING, tmp_path / "log") as process:
        assert proc.process_tree(process.pid) == [process.pid]
        assert proc.process_tree(os.getpid())[0] == os.getpid()
        assert process.pid in proc.process_tree(os.getppid())


def test_a_process_stops_goes_on_and_ends(tmp_path: Path) -> None:
    with Process(SLEEPING, tmp_path / "log") as process:
        assert proc.is_alive(process.pid)
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: proc.stands_still(process.pid), "it stands still")
        assert proc.state(process.pid) == "T"
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: not proc.stands_still(process.pid), "it goes on")
        process.kill()
        wait_until(lambda: proc.state(process.pid) == "Z", "it has ended")
        assert not proc.is_alive(process.pid)
    assert proc.state(process.pid) == ""
    assert not proc.is_alive(process.pid)


def test_memory_and_its_peak(tmp_path: Path) -> None:
    with Process([sys.executable, "-c", GROWING], tmp_path / "log") as process:
        wait_until(process.output, "it has grown")
        now, peak = proc.anonymous_memory(process.pid), proc.peak_memory(process.pid)
        assert now < 64 << 20 < peak
        assert now <= proc.memory(process.pid)["VmRSS"]
        assert 0 < proc.proportional_memory(process.pid) <= proc.memory(process.pid)["VmRSS"]


def test_descriptors(tmp_path: Path) -> None:
    with Process(SLEEPING, tmp_path / "log") as process:
        assert proc.descriptors(process.pid)[:3] == ["/dev/null", *[str(tmp_path / "log")] * 2]


def test_a_process_that_does_not_exist() -> None:
    assert proc.process_tree(NO_PID) == [NO_PID]
    assert proc.state(NO_PID) == ""
    assert proc.memory(NO_PID) == {}
    assert proc.anonymous_memory(NO_PID) == proc.peak_memory(NO_PID) == proc.proportional_memory(NO_PID) == 0
    assert proc.descriptors(NO_PID) == []


def test_listening_and_unread_bytes(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        assert proc.is_listening(port)
        assert proc.is_listening(port, host)
        assert not proc.is_listening(port, "127.0.0.2")
        with socket.create_connection((host, port)) as client, server.accept()[0]:
            client.sendall(b"12345")
            wait_until(lambda: proc.unread(host, port) == 5, "the bytes have arrived")
    assert not proc.is_listening(port)
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        assert not proc.is_listening_on_path(path)
        local.listen()
        assert proc.is_listening_on_path(path)
    assert not proc.is_listening_on_path(path)
