"""``nutcracker health`` and ``loglevel``."""

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from harness.proxy import Proxy, redis_pool, run
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.waiting import wait_until
from harness.workers import ready_workers, stopped, worker_processes


def command(proxy: Proxy, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a sub-command for this proxy."""
    return run(*arguments, "-C", str(proxy.control_socket))


def test_a_worker_that_does_nothing(running_servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*running_servers), "-w", "3") as proxy:
        processes = ready_workers(proxy, 3)
        done = command(proxy, "health")
        assert (done.returncode, done.stdout, done.stderr) == (0, "healthy\n", "")
        with stopped(processes[1:2]):
            for _ in range(2):
                done = command(proxy, "health", "--within", "0.2")
                assert (done.returncode, done.stdout) == (1, "")
                assert f"(process {processes[1]}) has done nothing for 0.2 s\n" in done.stderr
                assert done.stderr.count("\n") == 1
            document = json.loads(command(proxy, "health", "--within", "0.2", "--json").stdout)
            assert document["healthy"] is False
            assert {worker["pid"]: worker["turned"] for worker in document["workers"]} == {
                pid: pid != processes[1] for pid in processes
            }
        done = command(proxy, "health")
        assert (done.returncode, done.stdout, done.stderr) == (0, "healthy\n", "")


def test_it_does_not_depend_on_servers() -> None:
    """A proxy that stops is healthy, too, although it is not ready."""
    with ScriptedServer() as server, Proxy(redis_pool(server), "--drain-time", "30") as proxy:
        client = proxy.client()
        client.send(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n")
        peer = server.accept()
        peer.request()
        assert command(proxy, "health").returncode == 0
        proxy.process.terminate()
        wait_until(lambda: command(proxy, "ready").returncode == 1, "the proxy is not ready")
        assert command(proxy, "health").returncode == 0
        peer.send(b"$-1\r\n")
        client.expect(b"$-1\r\n")
        assert proxy.wait() == 0
        assert "no proxy answers" in command(proxy, "health").stderr


def test_a_worker_that_dies_again_and_again(running_servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*running_servers)) as proxy:
        proxy.expects_crash = True
        ready_workers(proxy, 1)

        def is_unhealthy() -> bool:
            for pid in worker_processes(proxy):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return "has died, and is not replaced yet" in command(proxy, "health").stderr

        wait_until(is_unhealthy, "the worker is replaced later")
        wait_until(lambda: command(proxy, "health").returncode == 0, "it is replaced")


@pytest.mark.parametrize("seconds", ["0", "-1", "31", "nan"])
def test_a_time_that_is_not_valid(seconds: str) -> None:
    done = run("health", f"--within={seconds}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--within needs a number of seconds above 0, and up to 30" in done.stderr


def test_log_level(running_servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*running_servers), "-w", "2") as proxy:
        assert command(proxy, "loglevel").stdout == "log level 5\n"
        ready_workers(proxy, 2)
        done = command(proxy, "loglevel", "6")
        assert (done.returncode, done.stdout, done.stderr) == (0, "log level 6\n", "")
        assert "up log level to 6" in proxy.log()
        client = proxy.client()
        assert client.ask("PING") == b"+PONG\r\n"
        assert "connected from" in proxy.log()
        proxy.upgrade()
        assert json.loads(command(proxy, "loglevel", "--json").stdout) == {"level": 6}
        assert command(proxy, "loglevel", "0").stdout == "log level 0\n"
        assert "down log level to 0" in proxy.log()
        for wrong in ("12", "x", "1.5"):
            done = command(proxy, "loglevel", wrong)
            assert (done.returncode, done.stderr) == (
                1,
                f"nutcracker loglevel: '{wrong}' is not a number from 0 to 11\n",
            )


def test_without_a_proxy(tmp_path: Path) -> None:
    for words in (["health"], ["loglevel", "5"], ["servers"], ["stats"], ["eject", "s00"], ["readmit", "s00"]):
        done = run(*words, "-C", str(tmp_path / "none.sock"))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"no proxy answers at '{tmp_path}/none.sock'" in done.stderr
