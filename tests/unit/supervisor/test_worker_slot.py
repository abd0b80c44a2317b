"""Workers that crash, hang or have to leave: clients wait, counters persist, and the end comes in time."""

import os
import re
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from supervised import Supervised, supervised

from harness.proc import is_alive
from harness.waiting import wait_until


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("exit 0", "exited with status 0"),
        ("exit 7", "exited with status 7"),
        ("kill 9", "was killed by signal 9 (SIGKILL)"),
        ("kill 11", "was killed by signal 11 (SIGSEGV)"),
    ],
)
def test_a_crashed_worker_is_replaced(tmp_path: Path, command: str, reason: str) -> None:
    with supervised(tmp_path, log_level=1) as proxy:
        worker, nothing = proxy.ask("pid", command)
        assert nothing == ""
        successor = proxy.ask("pid")[0]
        assert successor not in ("", worker)
        assert not is_alive(int(worker))
        assert f"worker {worker} {reason}; another worker starts now" in proxy.log


def test_clients_wait_while_there_is_no_worker(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        for when in ("now", "in 0.1 s", "in 0.2 s"):
            proxy.ask("exit 1")
            proxy.wait_log(f"another worker starts {when}")
        waiting = [proxy.client() for _ in range(5)]
        replies = {client.ask("pid") for client in waiting}
        assert len(replies) == 1
        assert "" not in replies


def test_counters_outlive_a_worker_and_gauges_do_not(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        proxy.ask("add requests 41", "add out_queue 3", "add server_ejected_at 99", "exit 1")
        proxy.ask("add requests 1")
        server = proxy.stats()["pool0"]["s0"]
        assert (server["requests"], server["out_queue"], server["server_ejected_at"]) == (42, 0, 99)


@pytest.mark.parametrize("command", ["close-control", "garbage"])
def test_a_worker_that_cannot_be_talked_to_is_replaced(tmp_path: Path, command: str) -> None:
    with supervised(tmp_path) as proxy:
        worker = proxy.ask("pid")[0]
        with proxy.client() as client:
            client.send(command)
            proxy.wait_log("another worker starts")
        assert proxy.ask("pid") != [worker]
        assert not is_alive(int(worker))


def test_one_workers_crash_leaves_the_other_alone(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2) as proxy, proxy.client() as client, proxy.client() as other:
        survivor = client.ask("pid")
        victim = other
        while victim.ask("pid") == survivor:
            victim = proxy.client()
        victim.ask("exit 1")
        victim.connection.close()
        assert client.ask("pid") == survivor


def test_a_worker_dies_with_its_supervisor(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        worker = int(proxy.ask("pid")[0])
        proxy.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_alive(worker), "the worker ends by itself")


# Draining


def refused(proxy: Supervised) -> bool:
    try:
        socket.create_connection(("127.0.0.1", proxy.port)).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        # The connection was in the queue of a listening socket that is just being closed.
        return False
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_finished(tmp_path: Path, number: signal.Signals) -> None:
    with supervised(tmp_path) as proxy:
        with proxy.client() as client:
            client.ask("pid")
            client.send("finish-when-drained")
            proxy.send_signal(number)
            assert re.fullmatch(r"finished, 9\.\d+ s to go", client.reply())
        assert proxy.end() == (0, "")


def test_it_serves_until_its_workers_have_settled(tmp_path: Path) -> None:
    with supervised(tmp_path, drain_time=50) as proxy:
        client = proxy.client()
        assert client.ask("never-quiesce") == "ok"
        proxy.send_signal(signal.SIGTERM)
        wait_until(lambda: client.ask("patience") == "10", "the worker has to quiesce")
        assert proxy.ask("patience") == ["10"]
        assert proxy.stats()["service"] == "nutcracker"
        assert client.ask("quiesce") == "ok"
        wait_until(lambda: refused(proxy), "new clients are refused")
        assert client.ask("pid")
        client.connection.close()
        assert proxy.end() == (0, "")


def test_a_worker_that_does_not_settle_has_a_part_of_the_drain_time(tmp_path: Path) -> None:
    with supervised(tmp_path, drain_time=1) as proxy:
        with proxy.client() as client:
            assert client.ask("never-quiesce") == "ok"
            client.send("finish-when-drained")
            proxy.send_signal(signal.SIGTERM)
            assert re.fullmatch(r"finished, 0(\.[01]\d*)? s to go", client.reply())
        assert proxy.end() == (0, "")


@pytest.mark.parametrize("drain_time", [0, 1000])
def test_the_end_at_once(tmp_path: Path, drain_time: int) -> None:
    with supervised(tmp_path, drain_time=drain_time) as proxy:
        with proxy.client() as client:
            assert client.ask("never-quiesce") == "ok"
            client.send("finish-when-drained")
            proxy.send_signal(signal.SIGTERM)
            if drain_time:
                proxy.wait_log("SIGTERM")
                proxy.send_signal(signal.SIGTERM)
            assert client.reply() == "finished, 0 s to go"
        assert proxy.end() == (0, "")


def test_a_worker_that_dies_while_it_settles_is_replaced(tmp_path: Path) -> None:
    with supervised(tmp_path, drain_time=1000) as proxy:
        client = proxy.client()
        assert client.ask("never-quiesce") == "ok"
        proxy.send_signal(signal.SIGTERM)
        wait_until(lambda: client.ask("patience") == "200", "the worker has to quiesce")
        client.ask("exit 1")
        # The next worker has nothing to quiesce.
        assert proxy.end() == (0, "")


def test_while_draining_nobody_is_accepted_and_a_second_signal_cuts_it_short(tmp_path: Path) -> None:
    path = tmp_path / "stats"
    with supervised(tmp_path, pid_file="pid", stats_addr=str(path)) as proxy:
        with proxy.client() as client:
            worker = int(client.ask("pid"))
            client.send("never-finish")
            proxy.send_signal(signal.SIGTERM)
            wait_until(lambda: refused(proxy), "new clients are refused")
            assert not path.exists()
            assert is_alive(worker)
            assert (tmp_path / "pid").exists()
            proxy.send_signal(signal.SIGINT)
            assert proxy.end() == (0, "")
            assert client.reply() == ""
        assert not is_alive(worker)
        assert "does not exit" not in proxy.log


def test_signals_at_the_very_end_change_nothing(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        while proxy.process.poll() is None:
            proxy.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                proxy.process.wait(0.001)
        assert proxy.end() == (0, "")


def test_a_worker_that_does_not_leave_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        worker = int(proxy.ask("never-leave", "pid")[1])
        proxy.send_signal(signal.SIGTERM)
        wait_until(lambda: refused(proxy), "it has begun to drain")
        proxy.send_signal(signal.SIGTERM)
        assert proxy.end() == (0, "")
        assert f"worker {worker} does not exit and is killed" in proxy.log
        assert not is_alive(worker)


def test_it_ends_while_no_worker_is_there(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        for when in ("now", "in 0.1 s", "in 0.2 s", "in 0.4 s", "in 0.8 s"):
            proxy.ask("exit 1")
            proxy.wait_log(f"another worker starts {when}")
        proxy.send_signal(signal.SIGTERM)
        assert proxy.end() == (0, "")


def test_a_signal_before_it_is_ready_ends_it(tmp_path: Path) -> None:
    proxy = Supervised(tmp_path, pid_file="pid", drain_time=1000)
    # The signal handlers are installed before the pid file is written.
    wait_until(lambda: (tmp_path / "pid").exists(), "it is starting")
    os.kill(proxy.process.pid, signal.SIGTERM)
    assert proxy.end()[0] == 0
    assert not (tmp_path / "pid").exists()
