"""Upgrade: the process goes on as another version of the program, and clients are handed over."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from harness.ports import free_port
from harness.proc import descriptors
from harness.proxy import PROGRAM, Proxy, environment, keys_of, redis_pool, under_test
from harness.resp import NULL, OK, array, bulk, command
from harness.servers import RedisServer
from harness.waiting import DEADLINE, wait_until
from twemproxy.commands.control import describe
from twemproxy.demo.processes import Process


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


def run_upgrade(proxy: Proxy) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*under_test(), "upgrade", "-C", str(proxy.control_socket)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )


def has_one_worker(proxy: Proxy, before: list[int]) -> bool:
    """Whether the supervisor is the same process, and has one worker, which is another one."""
    now = proxy.processes()
    return len(now) == 2 and now[0] == before[0] and now[1] != before[1]


def test_clients_stay_connected(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        clients = [proxy.client() for _ in range(50)]
        for number, client in enumerate(clients):
            assert client.ask("SET", f"k{number}", number) == OK
            assert client.ask("CLIENT", "SETNAME", f"name{number}") == OK
        before = proxy.processes()
        done = run_upgrade(proxy)
        assert done.stderr == ""
        assert done.stdout.startswith("version ")
        assert done.returncode == 0
        wait_until(lambda: has_one_worker(proxy, before), "the former worker has ended")
        for number, client in enumerate(clients):
            assert client.ask("GET", f"k{number}") == bulk(str(number))
            assert client.ask("CLIENT", "GETNAME") == bulk(f"name{number}")
        assert proxy.client().ask("PING") == b"+PONG\r\n"


def test_counters_numbers_and_sockets_stay(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        client = proxy.client()
        for _ in range(10):
            assert client.ask("SET", "a", "1") == OK
        number = int(client.ask("CLIENT", "ID")[1:])
        before = proxy.stats()
        process = proxy.processes()
        proxy.upgrade()
        wait_until(lambda: has_one_worker(proxy, process), "the former worker has ended")
        # The former worker may end before the new one has made a client of what it has received.
        proxy.wait_stats(lambda stats: stats["client_connections"] == 1, "the client has been taken over")
        after = proxy.stats()
        assert after["alpha"]["s00"]["requests"] == before["alpha"]["s00"]["requests"]
        assert after["alpha"]["client_connections"] == 1
        assert after["total_connections"] >= before["total_connections"]
        assert after["config_generation"] == before["config_generation"]
        assert after["uptime"] >= before["uptime"]
        assert client.ask("CLIENT", "ID") == b":%d\r\n" % number
        assert int(proxy.client().ask("CLIENT", "ID")[1:]) > number
        proxy.reload(redis_pool(server, timeout=4000))
        assert proxy.stats()["config_generation"] == 2


def test_upgrades_in_a_row_leave_nothing_open(server: RedisServer) -> None:
    with Proxy(redis_pool(server), "-p", "pid") as proxy:
        clients = [proxy.client() for _ in range(10)]

        def use() -> None:
            for client in clients:
                assert client.ask("SET", "a", "1") == OK

        use()
        proxy.upgrade()
        wait_until(lambda: len(proxy.processes()) == 2, "the former worker has ended")
        use()
        opened = [len(descriptors(pid)) for pid in proxy.processes()]
        for _ in range(4):
            process = proxy.processes()
            proxy.upgrade()
            wait_until(lambda: has_one_worker(proxy, process), "the former worker has ended")  # noqa: B023
            use()
        assert [len(descriptors(pid)) for pid in proxy.processes()] == opened
        assert (proxy.directory / "pid").read_text() == str(proxy.process.pid)
        proxy.terminate()
        assert not (proxy.directory / "pid").exists()
        assert not proxy.control_socket.exists()


def test_a_reload_before_the_last_client_is_handed_over(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    with Proxy(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("BLPOP", "list", "0"))
        wait_until(lambda: b"blocked_clients:1" in server.ask("INFO", "clients"), "the client is blocked")
        before = proxy.processes()
        proxy.upgrade()
        # Another pool has its place; the client stays in the pool that it knows.
        assert not proxy.reload(redis_pool(server, databases=4))["last_reload_failed"]
        server.ask("RPUSH", "list", "element")
        client.expect(array(bulk("list"), bulk("element")))
        wait_until(lambda: has_one_worker(proxy, before), "the former worker has ended")
        assert client.ask("SET", "a", "1") == OK
        assert proxy.client().ask("SELECT", "4").startswith(b"-ERR")


def test_pipelined_requests_of_many_clients_during_upgrades(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    with Proxy(redis_pool(server)) as proxy:
        clients = [proxy.client() for _ in range(20)]
        total = 0
        for _ in range(3):
            process = proxy.processes()
            for name, client in enumerate(clients):
                client.send(b"".join(command("INCR", f"n{name}") for _ in range(200)))
            proxy.upgrade()
            for name, client in enumerate(clients):
                client.send(b"".join(command("INCR", f"n{name}") for _ in range(200)))
            for client in clients:
                client.expect(b"".join(b":%d\r\n" % (total + i) for i in range(1, 401)))
            total += 400
            wait_until(lambda: has_one_worker(proxy, process), "the former worker has ended")  # noqa: B023


def test_a_blocked_client_and_a_subscriber_stay_until_they_let_go(server: RedisServer) -> None:
    with Proxy(redis_pool(server), "--drain-time", "60") as proxy:
        blocked, subscriber, idle = proxy.client(), proxy.client(), proxy.client()
        blocked.send(command("BLPOP", "list", 0))
        subscriber.send(command("SUBSCRIBE", "c"))
        subscriber.expect(array(bulk("subscribe"), bulk("c"), b":1\r\n"))
        assert idle.ask("PING") == b"+PONG\r\n"
        wait_until(lambda: b"blocked_clients:1" in server.ask("INFO", "clients"), "the client is blocked")
        process = proxy.processes()
        proxy.upgrade()
        assert len(proxy.processes()) == 3
        assert idle.ask("RPUSH", "list", "x") == b":1\r\n"
        blocked.expect(array(bulk("list"), bulk("x")))
        assert blocked.ask("GET", "missing") == NULL
        assert idle.ask("PUBLISH", "c", "m").startswith(b":")
        subscriber.expect(array(bulk("message"), bulk("c"), bulk("m")))
        subscriber.send(command("UNSUBSCRIBE"))
        subscriber.expect(array(bulk("unsubscribe"), bulk("c"), b":0\r\n"))
        wait_until(lambda: has_one_worker(proxy, process), "the former worker has ended")
        assert subscriber.ask("PING") == b"+PONG\r\n"


def test_after_the_drain_time_those_that_stay_are_closed(server: RedisServer) -> None:
    with Proxy(redis_pool(server), "--drain-time", "1") as proxy:
        subscriber, idle = proxy.client(), proxy.client()
        subscriber.send(command("SUBSCRIBE", "c"))
        subscriber.expect(array(bulk("subscribe"), bulk("c"), b":1\r\n"))
        process = proxy.processes()
        proxy.upgrade()
        subscriber.expect_closed()
        wait_until(lambda: has_one_worker(proxy, process), "the former worker has ended")
        assert idle.ask("PING") == b"+PONG\r\n"


def test_a_client_of_a_replaced_pool_keeps_its_database(server: RedisServer) -> None:
    """It goes on in the new pool, if that has the database; otherwise it is closed after the drain time."""
    server.ask("FLUSHALL")
    with Proxy(redis_pool(server, databases=8), "--drain-time", "2") as proxy:
        default, second, sixth = (proxy.client() for _ in range(3))
        for client, database in ((default, None), (second, 2), (sixth, 6)):
            if database is not None:
                assert client.ask("SELECT", database) == OK
            assert client.ask("SET", "k", f"in {database}") == OK
        assert not proxy.reload(redis_pool(server, databases=4, redis_db=3))["last_reload_failed"]
        process = proxy.processes()
        proxy.upgrade()
        assert default.ask("GET", "k") == bulk("in None")
        assert second.ask("GET", "k") == bulk("in 2")
        sixth.expect_closed()
        wait_until(lambda: has_one_worker(proxy, process), "the former worker has ended")
        assert default.ask("GET", "k") == bulk("in None")
        assert proxy.client().ask("GET", "k") == NULL


def test_a_stop_after_an_upgrade(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        client = proxy.client()
        assert client.ask("PING") == b"+PONG\r\n"
        proxy.upgrade()
        assert proxy.terminate() == 0
        client.expect_closed()


def test_a_worker_that_dies_after_an_upgrade_is_replaced(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        proxy.expects_crash = True
        process = proxy.processes()
        proxy.upgrade()
        wait_until(lambda: has_one_worker(proxy, process), "the former worker has ended")
        _, worker = proxy.processes()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: len(proxy.processes()) == 2 and proxy.processes()[1] != worker, "another worker runs")
        assert proxy.client().ask("PING") == b"+PONG\r\n"


needs_program = pytest.mark.skipif(under_test() != [str(PROGRAM)], reason="replaces the file of the program")

BROKEN = [
    ("#!/bin/sh\necho this version is broken; exit 3\n", "cannot take over: this version is broken"),
    ("#!/bin/sh\nkill -SEGV $$\n", "its status is -11"),
    ("no program at all", "cannot be executed: Exec format error"),
    ("#!/bin/sh\nsleep 60\n", "has not answered within 10 s"),
    (None, "cannot be executed: No such file or directory"),
]


@needs_program
@pytest.mark.parametrize(("text", "reason"), BROKEN, ids=["fails", "crashes", "no program", "too slow", "gone"])
def test_a_broken_version_changes_nothing(server: RedisServer, tmp_path: Path, text: str | None, reason: str) -> None:
    program = tmp_path / "nutcracker"
    shutil.copy2(PROGRAM, program)
    with Proxy(redis_pool(server), "-C", str(tmp_path / "control"), command=[str(program)]) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        before = proxy.processes()
        program.unlink()
        if text is not None:
            program.write_text(text)
            program.chmod(0o755)
        done = subprocess.run(
            [*under_test(), "upgrade", "-C", str(tmp_path / "control")],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment(),
        )
        assert done.returncode == 1
        assert reason in done.stderr
        assert proxy.processes() == before
        assert client.ask("GET", "a") == proxy.client().ask("GET", "a") == bulk("1")
        assert "upgrade failed, the running version goes on: " in proxy.log()
        # With a program that works the next upgrade succeeds.
        program.unlink(missing_ok=True)
        shutil.copy2(PROGRAM, program)
        proxy.upgrade()
        assert client.ask("GET", "a") == bulk("1")


def test_inherit_is_for_the_proxy_itself() -> None:
    done = subprocess.run([*under_test(), "inherit"], capture_output=True, text=True, timeout=15, env=environment())
    assert done.returncode == 1
    assert "this sub-command is for the proxy itself" in done.stdout


PAUSING = """#!/bin/sh
if [ "$1" = inherit ]; then read -r _ < '{gate}'; fi
exec '{program}' "$@"
"""


@contextmanager
def pausing_proxy(server: RedisServer, folder: Path, *options: str) -> Iterator[Proxy]:
    """A proxy whose next upgrade waits until somebody writes a line to the pipe ``gate`` of the folder."""
    program, gate = folder / "nutcracker", folder / "gate"
    shutil.copy2(PROGRAM, program)
    os.mkfifo(gate)
    arguments = ["-C", str(folder / "control.sock"), *options]
    with Proxy(redis_pool(server), *arguments, command=[str(program)]) as proxy:
        assert proxy.client().ask("PING") == b"+PONG\r\n"
        program.unlink()
        program.write_text(PAUSING.format(gate=gate, program=PROGRAM))
        program.chmod(0o755)
        yield proxy


@contextmanager
def upgrade_under_way(server: RedisServer, folder: Path, *options: str) -> Iterator[tuple[Proxy, Callable[[], None]]]:
    """A proxy whose upgrade has begun and waits, and a function that has it go on."""
    with pausing_proxy(server, folder, *options) as proxy:
        proxy.process.send_signal(signal.SIGUSR2)
        # The check of the other version reads it by now.
        with (folder / "gate").open("w") as opened:
            yield proxy, partial(print, file=opened, flush=True)


def sub_command(name: str, folder: Path) -> list[str]:
    """The command line of a sub-command for a proxy of ``pausing_proxy``."""
    return [*under_test(), name, "-C", str(folder / "control.sock")]


@needs_program
def test_a_stop_during_an_upgrade_is_not_lost(server: RedisServer, tmp_path: Path) -> None:
    with upgrade_under_way(server, tmp_path, "--drain-delay", "60") as (proxy, go_on):
        proxy.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "SIGTERM" in proxy.log(), "the proxy was told to stop")
        go_on()
        wait_until(lambda: "the running version goes on: the proxy stops" in proxy.log(), "the upgrade has ended")
        assert proxy.client().ask("PING") == b"+PONG\r\n"
        # A second signal ends the delay.
        assert proxy.terminate() == 0


@needs_program
def test_a_reload_during_an_upgrade_is_not_lost(server: RedisServer, tmp_path: Path) -> None:
    with upgrade_under_way(server, tmp_path) as (proxy, go_on):
        proxy.write_configuration(redis_pool(server, timeout=4000))
        proxy.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "SIGUSR1" in proxy.log(), "the proxy was told to reload")
        go_on()
        wait_until(lambda: "reload: generation 2" in proxy.log(), "the file is served")
        assert proxy.log().index("has taken over from version") < proxy.log().index("reload: generation 2")


@needs_program
def test_a_file_that_was_written_during_an_upgrade_is_served(server: RedisServer, tmp_path: Path) -> None:
    with upgrade_under_way(server, tmp_path, "--watch") as (proxy, go_on):
        proxy.write_configuration(redis_pool(server, timeout=4000))
        go_on()
        wait_until(lambda: "reload: generation 2" in proxy.log(), "the file is served")


@needs_program
def test_sub_commands_during_an_upgrade_are_refused(server: RedisServer, tmp_path: Path) -> None:
    with upgrade_under_way(server, tmp_path) as (proxy, go_on):
        for name in ("reload", "upgrade"):
            done = subprocess.run(
                sub_command(name, tmp_path), capture_output=True, text=True, timeout=60, env=environment()
            )
            assert (done.returncode, done.stdout) == (1, "")
            assert "the proxy is being upgraded: try again when that has ended" in done.stderr
        go_on()
        wait_until(lambda: "has taken over from version" in proxy.log(), "the other version has taken over")


@needs_program
def test_a_sub_command_whose_upgrade_is_ended_by_a_stop_says_so(server: RedisServer, tmp_path: Path) -> None:
    with pausing_proxy(server, tmp_path) as proxy:
        command = Process(sub_command("upgrade", tmp_path), tmp_path / "output", environment=environment())
        with command, (tmp_path / "gate").open("w"):
            assert proxy.terminate() == 0
            assert command.wait(DEADLINE) == 1
            assert command.output() == "nutcracker upgrade: the proxy stops\n"


def test_clients_of_a_former_pool_do_not_come_to_the_pool_that_has_its_name(server: RedisServer) -> None:
    with Proxy(redis_pool(server), "--drain-time", "1") as proxy:
        former = proxy.client()
        assert former.ask("SET", "a", "0") == OK
        proxy.reload(redis_pool(server, redis_db=1))
        present = proxy.client()
        assert present.ask("SET", "a", "1") == OK
        process = proxy.processes()
        proxy.upgrade()
        assert former.ask("GET", "a") == bulk("0")
        former.expect_closed()
        wait_until(lambda: has_one_worker(proxy, process), "the former worker has ended")
        assert present.ask("GET", "a") == bulk("1")


def test_an_ejected_server_stays_ejected_and_returns(server: RedisServer) -> None:
    other = f"127.0.0.1:{free_port()}"
    directives = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 300}
    with Proxy(redis_pool(server, other, **directives)) as proxy:
        client = proxy.client()
        [key] = keys_of(1, 2)
        assert client.ask("SET", key, "1") == b"-ERR Connection refused\r\n"
        assert client.ask("SET", key, "1") == OK
        process = proxy.processes()
        proxy.upgrade()
        wait_until(lambda: has_one_worker(proxy, process), "the former worker has ended")
        assert client.ask("GET", key) == bulk("1")
        assert proxy.pool_stats()["server_ejects"] == 1
        with RedisServer(port=int(other.rpartition(":")[2])) as returned:
            wait_until(lambda: client.ask("GET", key) == NULL, "the server has its keys again")
            assert client.ask("SET", key, "2") == OK
            assert returned.ask("GET", key) == bulk("2")


def test_readers_of_the_statistics_and_sub_commands_get_answers_during_upgrades(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy, ThreadPoolExecutor(2) as threads:
        ended = Event()

        def read() -> None:
            before = 0
            while not ended.is_set():
                total = proxy.stats()["total_connections"]
                assert total >= before
                before = total

        def ask() -> None:
            while not ended.is_set():
                assert describe(str(proxy.control_socket)).pid == proxy.process.pid

        asking = [threads.submit(read), threads.submit(ask)]
        try:
            for _ in range(3):
                process = proxy.processes()
                with ExitStack() as held:
                    clients = [held.enter_context(proxy.client()) for _ in range(50)]
                    for client in clients:
                        assert client.ask("PING") == b"+PONG\r\n"
                    proxy.upgrade()
                    wait_until(lambda: has_one_worker(proxy, process), "the former worker has ended")  # noqa: B023
        finally:
            ended.set()
        for each in asking:
            each.result()


def test_a_log_that_cannot_be_opened_again_changes_nothing(server: RedisServer, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    with Proxy(redis_pool(server), "-o", str(folder / "nutcracker.log")) as proxy:
        client = proxy.client()
        assert client.ask("PING") == b"+PONG\r\n"
        folder.rename(tmp_path / "elsewhere")
        before = proxy.processes()
        done = run_upgrade(proxy)
        assert done.returncode == 1
        assert f"opening log file '{folder}/nutcracker.log' failed: No such file or directory" in done.stderr
        assert proxy.processes() == before
        assert client.ask("PING") == b"+PONG\r\n"
