"""Service managers: sockets that they pass, what they are told, and a stop behind a load balancer."""

import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest

from harness.connection import connect
from harness.ports import free_port
from harness.proc import descriptors, is_listening
from harness.proxy import Proxy, redis_pool, under_test
from harness.resp import OK, bulk
from harness.servers import RedisServer
from harness.waiting import DEADLINE, wait_until

PASS_SOCKET = """
import os, socket, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


class Manager:
    """A service manager that reads what it is told."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(DEADLINE)
        self._socket.bind(self.path)

    def close(self) -> None:
        self._socket.close()

    def told(self) -> dict[str, str]:
        """The fields of the next message."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def wait(self, field: str) -> dict[str, str]:
        """The fields of the next message that has this one."""
        while field not in (told := self.told()):
            pass
        return told


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    with closing(Manager(tmp_path)) as made:
        monkeypatch.setenv("NOTIFY_SOCKET", made.path)
        yield made


def test_the_manager_is_told_of_start_reload_and_stop(server: RedisServer, manager: Manager) -> None:
    with Proxy(redis_pool(server)) as proxy:
        started = manager.told()
        assert (started["READY"], started["MAINPID"]) == ("1", str(proxy.process.pid))
        before = time.monotonic_ns() // 1000
        proxy.reload(redis_pool(server, timeout=400))
        reloading = manager.told()
        assert reloading["RELOADING"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert manager.told()["READY"] == "1"
        proxy.configuration.write_text("")
        proxy.reload()
        assert (manager.told()["RELOADING"], manager.told()["READY"]) == ("1", "1")
        proxy.terminate()
        assert manager.told()["STOPPING"] == "1"


def test_the_watchdog(server: RedisServer, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with Proxy(redis_pool(server)) as proxy:
        manager.wait("READY")
        assert [manager.told(), manager.told()] == [{"WATCHDOG": "1"}] * 2
        assert proxy.client().ask("PING") == b"+PONG\r\n"


def test_a_passed_socket_is_used_and_kept(server: RedisServer) -> None:
    port = free_port()
    program = shutil.which(under_test()[0])
    assert program
    command = [sys.executable, "-c", PASS_SOCKET, str(port), program, *under_test()[1:]]
    listen = f"127.0.0.1:{port}"
    with Proxy(redis_pool(server, listen=listen), command=command) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        elsewhere = f"127.0.0.1:{free_port()}"
        assert not proxy.reload(redis_pool(server, listen=elsewhere))["last_reload_failed"]
        # The socket stays open for a later configuration: the manager has it open, so nobody else could bind it.
        assert is_listening(port)
        assert not proxy.reload(redis_pool(server, listen=listen))["last_reload_failed"]
        assert proxy.client().ask("GET", "a") == client.ask("GET", "a") == bulk("1")


def test_a_passed_socket_stays_over_upgrades(server: RedisServer) -> None:
    port = free_port()
    program = shutil.which(under_test()[0])
    assert program
    command = [sys.executable, "-c", PASS_SOCKET, str(port), program, *under_test()[1:]]
    with Proxy(redis_pool(server, listen=f"127.0.0.1:{port}"), command=command) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        for _ in range(2):
            proxy.upgrade()
            assert proxy.client().ask("GET", "a") == client.ask("GET", "a") == bulk("1")


def test_a_passed_socket_that_no_pool_uses_is_named(server: RedisServer) -> None:
    port = free_port()
    program = shutil.which(under_test()[0])
    assert program
    command = [sys.executable, "-c", PASS_SOCKET, str(port), program, *under_test()[1:]]
    with Proxy(redis_pool(server), command=command) as proxy:
        assert proxy.client().ask("PING") == b"+PONG\r\n"
        assert f"no pool listens on ('127.0.0.1', {port})" in proxy.log()
        supervisor, worker = proxy.processes()
        assert os.readlink(f"/proc/{supervisor}/fd/3") not in descriptors(worker)


def test_new_clients_are_served_during_the_drain_delay(server: RedisServer) -> None:
    with Proxy(redis_pool(server), "--drain-delay", "60") as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        proxy.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "SIGTERM" in proxy.log(), "the proxy was told to stop")
        assert proxy.client().ask("GET", "a") == client.ask("GET", "a") == bulk("1")
        # A second signal ends the delay.
        assert proxy.terminate() == 0


def test_a_rolling_restart_behind_endpoints(server: RedisServer) -> None:
    """As in Kubernetes: the proxy is told to stop, its endpoint is removed later, and clients connect all the time."""
    errors: list[Exception] = []
    done = Event()
    with Proxy(redis_pool(server), "--drain-delay", "2") as old, Proxy(redis_pool(server)) as new:
        endpoint = [old]

        def connect_often() -> int:
            count = 0
            while not done.is_set():
                try:
                    with connect("127.0.0.1", endpoint[0].port()) as client:
                        for _ in range(3):
                            assert client.ask("INCR", "n").startswith(b":")
                            count += 1
                except (OSError, AssertionError) as error:
                    errors.append(error)
            return count

        server.ask("SET", "n", 0)
        with ThreadPoolExecutor() as pool:
            counts = [pool.submit(connect_often) for _ in range(4)]
            old.process.send_signal(signal.SIGTERM)
            before = int(server.ask("GET", "n").split(b"\r\n")[1])
            wait_until(lambda: int(server.ask("GET", "n").split(b"\r\n")[1]) > before + 500, "clients are served")
            assert old.process.poll() is None
            endpoint[0] = new
            assert old.wait() == 0
            done.set()
        assert errors == []
        assert server.ask("GET", "n") == bulk(str(sum(count.result() for count in counts)))


def test_a_watched_file_is_served_when_it_was_written(server: RedisServer) -> None:
    with Proxy(redis_pool(server), "--watch") as proxy:
        client = proxy.client()
        proxy.write_configuration(redis_pool(server, timeout=400))
        wait_until(lambda: proxy.stats()["config_generation"] == 2, "the file is served")
        proxy.configuration.write_text("bad")
        wait_until(lambda: proxy.stats()["last_reload_failed"] == 1, "the file is refused")
        assert client.ask("PING") == b"+PONG\r\n"


def test_a_link_that_is_swapped_as_in_kubernetes(server: RedisServer, tmp_path: Path) -> None:
    """The file is a link to ``..data/nutcracker.yml``, and ``..data`` is a link to a folder, which is replaced."""
    pool = redis_pool(server, listen=f"127.0.0.1:{free_port()}")
    with Proxy(pool) as proxy:
        text = proxy.configuration.read_text()
    for name, timeout in (("one", 1000), ("two", 2000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nutcracker.yml").write_text(f"{text}  timeout: {timeout}\n")
    data = tmp_path / "..data"
    data.symlink_to("one")
    link = tmp_path / "nutcracker.yml"
    link.symlink_to("..data/nutcracker.yml")
    with Proxy(pool, "--watch", "-c", str(link)) as proxy:
        wait_until(lambda: "ready: " in proxy.log(), "the proxy is ready")
        swapped = tmp_path / "..data_tmp"
        swapped.symlink_to("two")
        os.replace(swapped, data)
        wait_until(lambda: proxy.stats()["config_generation"] == 2, "the file is served")
        assert "from 1000 to 2000" in json.loads(proxy.stats_text(b"GET /stats.json\n"))["last_reload"]
