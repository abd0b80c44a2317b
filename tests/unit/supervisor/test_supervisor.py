"""The supervisor: start, failed starts, signals, statistics and the end, with scripted workers."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from supervised import GRACE, Client, Supervised, configure, mode_of, read_to_end, supervised

from harness.proc import descriptors, is_alive, process_tree
from harness.waiting import wait_until

BANNER = "nutcracker: nutcracker-"


def test_a_whole_life(tmp_path: Path) -> None:
    with supervised(tmp_path, pid_file="pid", mbuf_size=4096) as proxy:
        pid = proxy.process.pid
        assert (tmp_path / "pid").read_text() == str(pid)
        system = os.uname()
        first, second = proxy.log.splitlines()[:2]
        assert first.endswith(f" built for {system.sysname} {system.release} {system.machine} started on pid {pid}")
        assert BANNER in first
        assert BANNER not in second
        assert "rabbit" not in second
        assert proxy.ask("mbuf", "descriptors") == ["4096", "5"]
        worker = int(proxy.ask("pid")[0])
        assert process_tree(pid) == [pid, worker]
        proxy.send_signal(signal.SIGTERM)
        assert proxy.end() == (0, "")
        assert not is_alive(worker)
        assert not (tmp_path / "pid").exists()
        assert "signal 15 (SIGTERM) received, exiting\n" in proxy.log


def test_the_client_limit_follows_the_limit_on_open_files(tmp_path: Path) -> None:
    preamble = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (60, 80))\n"
    with supervised(tmp_path, preamble=preamble) as proxy:
        assert proxy.ask("limit", "files") == [str(80 - 2 - 80 // 20 - 32), "80"]
        assert "WARN supervisor.served_config: at most 42 clients: of 80 open files (ulimit -n), 2 are" in proxy.log


def test_workers_share_the_memory(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2, max_memory=(16 << 20) + 1) as proxy:
        assert proxy.ask("memory") == [str((16 << 20) + 1)]


def test_the_banner_is_never_filtered(tmp_path: Path) -> None:
    proxy = Supervised(tmp_path, log_level=0, mode="exit")
    status, said = proxy.end()
    assert status == 1
    assert len(proxy.log.splitlines()) == 2
    assert said.startswith("nutcracker: worker ")


# Failed starts


def check_refused(proxy: Supervised, reason: str, *more: str) -> None:
    """Check that it ended with status 1 and gave the reason on standard error and in the log, once each."""
    status, said = proxy.end()
    assert said.splitlines() == [f"nutcracker: {reason}", *more]
    assert status == 1
    assert proxy.log.count(reason) == 1
    assert not (proxy.folder / "pid").exists()


def test_no_configuration(tmp_path: Path) -> None:
    proxy = Supervised(tmp_path, conf_file="missing.yml", pid_file="pid")
    check_refused(proxy, "failed to open configuration 'missing.yml': No such file or directory")


def test_a_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("alpha:\n  listen: 127.0.0.1:1\n  lisen: 3\n  servers:\n    - a:1:1\n")
    proxy = Supervised(tmp_path, conf_file="bad.yml", pid_file="pid")
    status, said = proxy.end()
    reason, verdict = said.splitlines()
    assert status == 1
    assert reason.startswith("nutcracker: bad.yml:3:3: ")
    assert verdict == "nutcracker: configuration file 'bad.yml' syntax is invalid"
    assert proxy.log.count(reason.removeprefix("nutcracker: ")) == 1
    assert not (tmp_path / "pid").exists()


def test_no_log_file(tmp_path: Path) -> None:
    proxy = Supervised(tmp_path, log_path="nowhere/log", pid_file="pid")
    assert proxy.end() == (1, "opening log file 'nowhere/log' failed: No such file or directory\n")


def test_no_pid_file(tmp_path: Path) -> None:
    proxy = Supervised(tmp_path, pid_file="nowhere/pid")
    check_refused(proxy, "opening pid file 'nowhere/pid' failed: No such file or directory")


def test_a_pool_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        configure(tmp_path, f"{tmp_path}/first", where)
        proxy = Supervised(tmp_path, pid_file="pid")
        check_refused(proxy, f"pool 'pool1': listen on '{where}' failed: Address already in use")
    assert not (tmp_path / "first").exists()


def test_the_stats_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        proxy = Supervised(tmp_path, stats_port=port, pid_file="pid")
        check_refused(proxy, f"statistics: listen on '127.0.0.1:{port}' failed: Address already in use")


def test_a_worker_that_dies_before_it_is_ready(tmp_path: Path) -> None:
    proxy = Supervised(tmp_path, mode="exit", pid_file="pid")
    status, said = proxy.end()
    assert status == 1
    assert said.startswith("nutcracker: worker ")
    assert said.endswith(" exited with status 3 before it was ready\n")
    assert not (tmp_path / "pid").exists()


def test_without_a_log_file_the_reason_is_said_once(tmp_path: Path) -> None:
    proxy = Supervised(tmp_path, conf_file="missing.yml", log_path="")
    _, said = proxy.end()
    assert said.count("failed to open configuration") == 1
    assert not proxy.log


# Signals


def test_signals_that_end_it(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        proxy.send_signal(signal.SIGINT)
        assert proxy.end() == (0, "")
        assert "signal 2 (SIGINT) received, exiting\n" in proxy.log


def test_the_log_level_goes_up_and_down_in_all_processes(tmp_path: Path) -> None:
    with supervised(tmp_path, log_level=10) as proxy:
        proxy.send_signal(signal.SIGTTIN)
        proxy.wait_log("signal 21 (SIGTTIN) received, up logging level\n")
        proxy.wait_log("up log level to 11\n")
        wait_until(lambda: proxy.ask("level") == ["11"], "the worker follows")
        proxy.send_signal(signal.SIGTTIN)
        wait_until(lambda: proxy.log.count("(SIGTTIN)") == 2, "the second signal is logged")
        assert proxy.log.count("up log level") == 1
        proxy.send_signal(signal.SIGTTOU)
        proxy.wait_log("signal 22 (SIGTTOU) received, down logging level\n")
        proxy.wait_log("down log level to 10\n")
        wait_until(lambda: proxy.ask("level") == ["10"], "the worker follows")


def test_a_new_worker_has_the_level_of_the_moment(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        proxy.send_signal(signal.SIGTTIN)
        proxy.wait_log("up log level to 6\n")
        proxy.ask("exit 1")
        assert proxy.ask("level") == ["6"]


def test_the_log_file_is_reopened_by_all_processes(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        old = tmp_path / "nutcracker.log.1"
        proxy.log_path.rename(old)
        proxy.send_signal(signal.SIGHUP)
        wait_until(proxy.log_path.exists, "there is a new file")
        assert old.read_text().endswith("signal 1 (SIGHUP) received, reopening log file\n")
        assert not proxy.log

        def worker_writes_to_the_new() -> bool:
            proxy.ask("log hello")
            return "hello" in proxy.log

        wait_until(worker_writes_to_the_new, "the worker has followed")


def test_a_log_file_that_cannot_be_reopened_is_kept(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        moved = tmp_path / "moved"
        proxy.log_path.rename(moved)
        proxy.log_path.mkdir()
        proxy.send_signal(signal.SIGHUP)
        wait_until(lambda: "failed: Is a directory" in moved.read_text(), "the reason is in the old file")
        proxy.log_path.rmdir()
        assert proxy.ask("level") == ["5"]


def test_workers_do_not_hear_the_supervisors_signals(tmp_path: Path) -> None:
    expected = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGTTIN, signal.SIGTTOU}
    with supervised(tmp_path) as proxy:
        worker, blocked = proxy.ask("pid", "blocked")
        assert {int(number) for number in blocked.split()} >= expected
        for number in expected:
            os.kill(int(worker), number)
        assert proxy.ask("pid") == [worker]


# Statistics


def test_statistics_are_fresh_at_every_look(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        for count in (1, 2, 3):
            proxy.ask("add requests 1")
            assert proxy.stats()["pool0"]["s0"]["requests"] == count
        document = proxy.stats()
        assert document["service"] == "nutcracker"
        assert document["source"] == socket.gethostname()
        assert document["uptime"] >= 0


def test_statistics_of_several_workers_are_summed(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2) as proxy:
        by_worker: dict[str, Client] = {}

        def reached_both() -> bool:
            client = proxy.client()
            by_worker.setdefault(client.ask("pid"), client)
            return len(by_worker) == 2

        wait_until(reached_both, "both workers have a client")
        for client in by_worker.values():
            client.ask("add requests 5")
        assert proxy.stats()["pool0"]["s0"]["requests"] == 10


def test_statistics_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "stats"
    with supervised(tmp_path, stats_addr=str(path)) as proxy:
        with socket.socket(socket.AF_UNIX) as reader:
            reader.connect(str(path))
            assert read_to_end(reader).startswith(b'{"service":"nutcracker", ')
        proxy.send_signal(signal.SIGTERM)
        proxy.end()
        assert not path.exists()


def test_a_line_of_statistics_per_interval_at_level_debug(tmp_path: Path) -> None:
    line = " client and 0 server connections; since the last line 7 requests, "
    with supervised(tmp_path, log_level=6, stats_interval=50) as proxy:
        proxy.ask("add requests 100")
        proxy.send_signal(signal.SIGTTIN)
        proxy.wait_log("server connections; since the last line 0 requests")
        proxy.ask("add requests 7")
        proxy.wait_log(line)
        assert "100 requests" not in proxy.log
        proxy.send_signal(signal.SIGTTOU)
        proxy.wait_log("down log level to 6")


# Sockets and the background


def test_pools_listen_in_pool_order(tmp_path: Path) -> None:
    sockets = [tmp_path / f"s{number}" for number in range(3)]
    configure(tmp_path, *(f"{path} 0660" for path in sockets))
    with supervised(tmp_path) as proxy:
        assert [mode_of(path) for path in sockets] == [0o660] * 3
        for path in sockets:
            with proxy.client(path) as client:
                assert client.ask("pools") == "3"
        proxy.send_signal(signal.SIGTERM)
        assert proxy.end()[0] == 0
        assert not any(path.exists() for path in sockets)


def test_more_pools_than_one_message_takes_descriptors(tmp_path: Path) -> None:
    sockets = [tmp_path / f"s{number}" for number in range(300)]
    configure(tmp_path, *map(str, sockets))
    with supervised(tmp_path) as proxy:
        assert proxy.client(sockets[-1]).ask("descriptors") == "304"


def test_into_the_background(tmp_path: Path) -> None:
    proxy = Supervised(tmp_path, daemonize=True, pid_file="pid")
    pid = 0
    try:
        assert proxy.end() == (0, "")
        proxy.wait_log("ready: ")
        pid = int((tmp_path / "pid").read_text())
        assert pid != proxy.process.pid
        assert os.getsid(pid) != os.getsid(0)
        assert os.getsid(pid) != pid, "a session leader could get a terminal"
        assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)
        assert descriptors(pid)[:3] == ["/dev/null"] * 3
        assert "Umask:\t0022" in Path(f"/proc/{pid}/status").read_text()
        os.kill(pid, signal.SIGHUP)
        proxy.wait_log("signal 1 (SIGHUP) received, reopening log file")
        assert len(proxy.ask("pid")) == 1
    finally:
        if pid:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not is_alive(pid), "it has ended")
    assert not (tmp_path / "pid").exists()


def test_a_bad_configuration_in_the_background_is_in_the_log(tmp_path: Path) -> None:
    proxy = Supervised(tmp_path, daemonize=True, conf_file="missing.yml")
    assert proxy.end() == (0, "")
    proxy.wait_log("failed to open configuration 'missing.yml'")


def test_idle_it_does_nothing(tmp_path: Path) -> None:
    with supervised(tmp_path) as proxy:
        proxy.ask("resolve localhost 80")
        proxy.stats()
        status = Path(f"/proc/{proxy.process.pid}/status")

        def switches() -> list[str]:
            return [line for line in status.read_text().splitlines() if "ctxt_switches" in line]

        def sleeps_through() -> bool:
            before = switches()
            time.sleep(1.5)
            return switches() == before

        # The last wakeups are for the end of the statistics reader and of the lookup thread.
        wait_until(sleeps_through, "it does not wake up any more")


def test_a_late_answer_to_a_reload_is_not_the_answer_to_the_next_one(tmp_path: Path) -> None:
    preamble = "import twemproxy.supervisor.served_config as served\nserved.PREPARE_TIME = 0.2\n"
    with supervised(tmp_path, preamble=preamble) as proxy:
        proxy.ask("prepare-late")
        configuration = tmp_path / "nutcracker.yml"
        configuration.write_text(configuration.read_text() + "  timeout: 100\n")
        proxy.send_signal(signal.SIGUSR1)
        proxy.wait_log("a worker has not prepared it within")
        proxy.send_signal(signal.SIGUSR1)
        wait_until(lambda: "reload: generation 2" in proxy.log or "is late" in proxy.log, "the reload has ended")
        assert "reload: generation 2" in proxy.log
        assert "this answer is late" not in proxy.log


def test_a_reload_that_a_stop_ends_does_not_tell_the_manager_that_the_proxy_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(GRACE)
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        proxy = Supervised(tmp_path)
        proxy.wait_ready()
        assert manager.recv(4096).startswith(b"READY=1")
        # The worker does not answer, so the reload is under way.
        proxy.ask("prepare-late")
        configuration = tmp_path / "nutcracker.yml"
        configuration.write_text(configuration.read_text() + "  timeout: 100\n")
        proxy.send_signal(signal.SIGUSR1)
        assert manager.recv(4096).startswith(b"RELOADING=1")
        proxy.send_signal(signal.SIGTERM)
        assert proxy.end() == (0, "")
        assert manager.recv(4096).startswith(b"STOPPING=1")
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
        assert "Traceback" not in proxy.log
