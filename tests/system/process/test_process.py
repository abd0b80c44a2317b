"""The process: signals, drain, pid file, daemon, log file, exit statuses."""

import os
import signal
import stat
from functools import partial
from pathlib import Path

import pytest

from harness.ports import free_port
from harness.proc import descriptors, is_alive, is_listening, is_listening_on_path
from harness.proxy import Proxy, redis_pool, run, to_yaml, under_test
from harness.resp import OK, array, bulk, command
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.waiting import wait_until

STOPPING = [signal.SIGTERM, signal.SIGINT]


def configuration(directory: Path, **directives: object) -> Path:
    """A valid configuration file; ``directives`` are added to the directives of its pool, or replace them."""
    path = directory / "nutcracker.yml"
    pool = {"listen": f"127.0.0.1:{free_port()}", **redis_pool("127.0.0.1:1"), **directives}
    path.write_text(to_yaml({"alpha": pool}))
    return path


@pytest.mark.parametrize("sign", STOPPING)
def test_idle_proxy_ends_with_status_0(sign: signal.Signals) -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server)) as proxy:
        client = proxy.client()
        assert client.ask("PING") == b"+PONG\r\n"
        children = proxy.processes()
        assert proxy.terminate(sign) == 0
        client.expect_closed()
        assert not is_listening(proxy.port())
        assert not is_listening(proxy.stats_port)
        wait_until(lambda: not any(map(is_alive, children)), "every process is gone")


@pytest.mark.parametrize("sign", STOPPING)
def test_requests_in_flight_finish(sign: signal.Signals) -> None:
    with ScriptedServer() as first, ScriptedServer() as second, Proxy(redis_pool(first, second)) as proxy:
        client, idle = proxy.client(), proxy.client()
        keys = [f"k{i}" for i in range(8)]
        client.send(command("MGET", *keys) + command("PING"))
        peers = [first.accept(), second.accept()]
        parts = [peer.request()[1:] for peer in peers]
        proxy.process.send_signal(sign)
        wait_until(lambda: sign.name in proxy.log(), "the proxy is stopping")
        assert idle.ask("PING") == b"+PONG\r\n"
        for peer, part in zip(peers, parts, strict=True):
            peer.send(array(*map(bulk, part)))
        client.expect(array(*map(bulk, keys)) + b"+PONG\r\n")
        client.expect_closed()
        idle.expect_closed()
        assert proxy.wait() == 0


def test_all_that_was_read_is_answered() -> None:
    count = 3000
    with ScriptedServer() as server, Proxy(redis_pool(server), "-T", "50") as proxy:
        client = proxy.client()
        client.send(b"".join(command("GET", f"k{number}") for number in range(count)))
        peer = server.accept()
        assert peer.request() == [b"GET", b"k0"]
        proxy.wait_stats(lambda pool: pool["s00"]["requests"] > 10, "many requests are in flight")
        assert proxy.server_stats()["requests"] < count
        proxy.process.terminate()
        wait_until(lambda: "SIGTERM" in proxy.log(), "the proxy is stopping")
        peer.send(bulk(0))
        for number in range(1, count):
            assert peer.request() == [b"GET", b"k%d" % number]
            peer.send(bulk(number))
        client.expect(b"".join(map(bulk, range(count))))
        client.expect_closed()
        assert proxy.wait() == 0


def test_a_client_that_waits_for_its_hello_is_answered() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server), "-T", "50") as proxy:
        client = proxy.client()
        client.send(command("HELLO", "3") + command("PING"))
        peer = server.accept()
        assert peer.request()[:2] == [b"HELLO", b"3"]
        proxy.process.terminate()
        wait_until(lambda: "SIGTERM" in proxy.log(), "the proxy is stopping")
        peer.send(b"%1\r\n+proto\r\n:3\r\n")
        assert client.reply().startswith(b"%")
        client.expect(b"+PONG\r\n")
        client.expect_closed()
        assert proxy.wait() == 0


STOPS = "-ERR it does not answer, and the proxy stops (server {}:1 of pool {})\r\n"


def test_a_server_that_hangs_costs_other_pools_nothing(servers: list[RedisServer]) -> None:
    with ScriptedServer() as server:
        pools = {"hung": redis_pool(server), "well": redis_pool(*servers)}
        with Proxy(pools, "--drain-time", "15") as proxy:
            stuck, greeting, transaction, well = (proxy.client(pool) for pool in ["hung"] * 3 + ["well"])
            assert well.ask("SET", "k", "1") == OK
            stuck.send(command("GET", "a"))
            peer = server.accept()
            assert peer.request() == [b"GET", b"a"]
            greeting.send(command("HELLO", "3"))
            transaction.send(command("WATCH", "a"))
            server.accept()
            server.accept()
            proxy.process.terminate()
            wait_until(lambda: "SIGTERM" in proxy.log(), "the proxy is stopping")
            # Requests that wait for the server fail after a fifth of the time. Until then new clients are served.
            for _ in range(5):
                assert proxy.client("well").ask("GET", "k") == bulk("1")
            assert stuck.collect() == b""
            stuck.expect(STOPS.format(server.address, "hung").encode())
            stuck.expect_closed()
            well.expect_closed()
            assert b"the proxy stops" in transaction.read_to_end()
            greeting.read_to_end()
            assert proxy.wait() == 0
            assert peer.collect() == b""


def test_a_client_that_takes_nothing_does_not_hold_the_end_up(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(servers[0]), "-v", "6") as proxy:
        assert servers[0].ask("SET", "k", "x" * 1_000_000) == OK
        client = proxy.client()
        client.send(command("GET", "k") * 50)
        wait_until(lambda: proxy.stats()["memory_held"] > 1_000_000, "replies wait for the client")
        assert proxy.terminate() == 0
        assert "it does not read its replies, and the proxy stops" in proxy.log()


def test_a_client_that_waits_for_a_subscription_is_told_why_it_is_closed() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("SUBSCRIBE", "news"))
        assert server.accept().request()[1:] == [b"news"]
        assert proxy.terminate() == 0
        client.expect(b"-ERR the proxy stops\r\n")
        client.expect_closed()


def test_drain_time_of_nothing_ends_at_once() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server), "-T", "0") as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        server.accept().request()
        assert proxy.terminate() == 0
        client.expect(STOPS.format(server.address, "alpha").encode())
        client.expect_closed()


def test_second_signal_while_draining() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server), "-T", "1000") as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        proxy.process.terminate()
        wait_until(lambda: "SIGTERM" in proxy.log(), "the proxy is stopping")
        proxy.process.terminate()
        assert proxy.wait() == 0
        client.expect_closed()


def test_killed_supervisor_takes_its_workers_along() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server)) as proxy:
        client = proxy.client()
        assert client.ask("PING") == b"+PONG\r\n"
        processes = proxy.processes()
        proxy.process.kill()
        client.expect_closed()
        proxy.wait()
        wait_until(lambda: not any(map(is_alive, processes)), "every process is gone")


def test_killed_worker_is_replaced(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        proxy.expects_crash = True
        worker = proxy.processes()[-1]
        os.kill(worker, signal.SIGKILL)
        client.expect_closed()
        assert proxy.client().ask("GET", "a") == bulk("1")
        assert worker not in proxy.processes()


def test_hangup_reopens_the_log(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers)) as proxy:
        assert proxy.client().ask("SET", "a", "1") == OK
        moved = proxy.log_path.with_suffix(".1")
        proxy.log_path.rename(moved)
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(proxy.log_path.exists, "there is a new log file")
        assert "signal 1 (SIGHUP) received, reopening log file" in moved.read_text()
        size = moved.stat().st_size
        proxy.process.send_signal(signal.SIGTTIN)
        wait_until(lambda: "SIGTTIN" in proxy.log(), "the new file is written")
        assert moved.stat().st_size == size
        assert proxy.client().ask("SET", "a", "1") == OK


def test_log_level_signals(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers), "-v", "10") as proxy:
        for sign, line in [
            (signal.SIGTTIN, "up log level to 11"),
            (signal.SIGTTOU, "down log level to 10"),
            (signal.SIGTTOU, "down log level to 9"),
        ]:
            proxy.process.send_signal(sign)
            wait_until(partial(_says, proxy, line), f"the log says {line}")
        assert "signal 21 (SIGTTIN) received, up logging level" in proxy.log()
        assert "signal 22 (SIGTTOU) received, down logging level" in proxy.log()
        assert proxy.client().ask("SET", "a", "1") == OK


def _says(proxy: Proxy, line: str) -> bool:
    return line in proxy.log()


@pytest.mark.parametrize("sign", [signal.SIGUSR1, signal.SIGUSR2])
def test_user_signals_are_only_logged(servers: list[RedisServer], sign: signal.Signals) -> None:
    with Proxy(redis_pool(*servers)) as proxy:
        proxy.process.send_signal(sign)
        wait_until(lambda: f"({sign.name}) received" in proxy.log(), "the signal is logged")
        assert proxy.client().ask("SET", "a", "1") == OK


def test_broken_pipes_are_survived(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers)) as proxy:
        assert proxy.client().ask("SET", "a", "1") == OK
        for pid in proxy.processes():
            os.kill(pid, signal.SIGPIPE)
        assert proxy.client().ask("SET", "a", "1") == OK


def test_a_log_as_large_as_a_file_may_be_is_survived(tmp_path: Path, servers: list[RedisServer]) -> None:
    # Larger than the memory of the counters, which is a file, too.
    size, path = 64 << 20, tmp_path / "full.log"
    path.touch()
    os.truncate(path, size - 1)
    limited = ["sh", "-c", f'ulimit -f {size // 512}; exec "$@"', "sh", *under_test()]
    with Proxy(redis_pool(*servers), "-v", "11", "-o", str(path), command=limited) as proxy:
        assert proxy.client().ask("SET", "a", "1") == OK
        for pid in proxy.processes():
            os.kill(pid, signal.SIGXFSZ)
        assert proxy.client().ask("SET", "a", "1") == OK
        assert path.stat().st_size == size


def test_events_are_logged_at_info(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers), "-v", "6") as proxy:
        with proxy.client() as client:
            assert client.ask("SET", "a", "1") == OK
        proxy.wait_stats(lambda pool: pool["client_connections"] == 0, "the client is gone")
        wait_until(lambda: proxy.log().count("client") >= 2, "the client's connection and its end are logged")
        assert any(server.address in proxy.log() for server in servers)


def test_banner(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers), "-v", "0") as proxy:
        version = proxy.stats()["version"]
        assert f"nutcracker-{version} built for {os.uname().sysname} {os.uname().release}" in proxy.log()
        assert f"started on pid {proxy.process.pid}\n" in proxy.log()


@pytest.mark.parametrize("sign", STOPPING)
def test_pid_file_comes_and_goes(tmp_path: Path, sign: signal.Signals) -> None:
    path = tmp_path / "nutcracker.pid"
    with ScriptedServer() as server, Proxy(redis_pool(server), "-p", str(path)) as proxy:
        assert path.read_text() == str(proxy.process.pid)
        assert stat.S_IMODE(path.stat().st_mode) & 0o133 == 0
        assert proxy.terminate(sign) == 0
        assert not path.exists()


def test_daemon(tmp_path: Path, servers: list[RedisServer]) -> None:
    port, stats_port = free_port(), free_port()
    path = configuration(tmp_path, **{**redis_pool(*servers), "listen": f"127.0.0.1:{port}"})
    options = ["-a", "127.0.0.1", "-s", str(stats_port), "-o", "nutcracker.log", "-p", "nutcracker.pid"]
    result = run("-d", "-c", path.name, *options, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "")
    pid_file = tmp_path / "nutcracker.pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), "the daemon wrote its pid")
    pid = int(pid_file.read_text())
    try:
        wait_until(lambda: is_listening(port), "the daemon listens")
        assert os.getsid(pid) not in (os.getsid(0), pid), "the daemon could get a terminal again"
        assert Path(f"/proc/{pid}/cwd").resolve() == tmp_path.resolve()
        assert descriptors(pid)[:3] == ["/dev/null"] * 3
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid), "the daemon ended")
    assert not pid_file.exists()
    assert "started on pid" in (tmp_path / "nutcracker.log").read_text()


def test_daemon_leaves_nothing_writable_for_others(tmp_path: Path, servers: list[RedisServer]) -> None:
    files = {name: tmp_path / name for name in ("log", "pid", "stats", "pool")}
    path = configuration(tmp_path, **{**redis_pool(*servers), "listen": str(files["pool"])})
    before = os.umask(0)
    try:
        run(*["-d", "-c", str(path), "-p", str(files["pid"]), "-a", str(files["stats"]), "-o", str(files["log"])])
    finally:
        os.umask(before)
    wait_until(lambda: files["pid"].exists() and files["pid"].read_text(), "the daemon wrote its pid")
    pid = int(files["pid"].read_text())
    try:
        wait_until(lambda: is_listening_on_path(str(files["pool"])), "the daemon listens")
        assert [name for name, file in files.items() if file.stat().st_mode & 0o022] == []
        assert "Umask:\t0022\n" in Path(f"/proc/{pid}/status").read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid), "the daemon ended")


def test_test_mode(tmp_path: Path) -> None:
    path = configuration(tmp_path, timeout=400)
    result = run("-t", "-c", str(path))
    assert result.returncode == 0
    assert result.stderr == f"nutcracker: configuration file '{path}' syntax is ok\n"
    assert result.stdout == ""


def test_sub_commands_run_in_the_program(tmp_path: Path) -> None:
    path = configuration(tmp_path, timeout=400)
    result = run("check", str(path))
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{path}: nothing is wrong\n", "")
    result = run("plan", str(path), "--from", str(path))
    assert (result.returncode, result.stdout, result.stderr) == (0, "nothing changes\n", "")


def test_test_mode_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    path = configuration(tmp_path, tiemout=5)
    line = path.read_text().splitlines().index("  tiemout: 5") + 1
    result = run("-t", "-c", str(path))
    assert result.returncode == 1
    assert result.stderr.count(f"nutcracker: configuration file '{path}' syntax is invalid") == 1
    assert f"{path}:{line}:3" in result.stderr or f"{path.name}:{line}:3" in result.stderr
    assert 'did you mean "timeout"?' in result.stderr


def test_invalid_configuration_does_not_start(tmp_path: Path) -> None:
    pid_file = tmp_path / "nutcracker.pid"
    path = configuration(tmp_path, hash="nosuchhash")
    result = run("-c", str(path), "-p", str(pid_file), "-a", "127.0.0.1", "-s", str(free_port()))
    assert result.returncode == 1
    assert result.stderr.count("is not a valid hash") == 1
    assert not pid_file.exists()


def test_all_errors_are_named_at_the_start(tmp_path: Path) -> None:
    path = configuration(tmp_path, hash="nosuchhash", tiemout=5)
    result = run("-c", str(path), "-a", "127.0.0.1", "-s", str(free_port()))
    assert result.returncode == 1
    *lines, verdict = result.stderr.splitlines()
    errors = [line for line in lines if f"{path}:" in line]
    assert len(errors) == 2
    assert sum("is not a valid hash" in error for error in errors) == 1
    assert sum('did you mean "timeout"?' in error for error in errors) == 1
    assert verdict == f"nutcracker: configuration file '{path}' syntax is invalid"


def test_missing_configuration_does_not_start(tmp_path: Path) -> None:
    result = run("-c", str(tmp_path / "none.yml"))
    assert result.returncode == 1
    assert "No such file or directory" in result.stderr


def test_taken_listen_address_does_not_start(tmp_path: Path) -> None:
    pid_file = tmp_path / "nutcracker.pid"
    with ScriptedServer() as taken:
        path = configuration(tmp_path, listen=taken.address)
        result = run("-c", str(path), "-p", str(pid_file), "-a", "127.0.0.1", "-s", str(free_port()))
        assert result.returncode == 1
        assert "Address already in use" in result.stderr
        assert taken.address in result.stderr
        assert not pid_file.exists()


def test_taken_stats_address_does_not_start(tmp_path: Path) -> None:
    with ScriptedServer() as taken:
        port = taken.address.rpartition(":")[2]
        result = run("-c", str(configuration(tmp_path)), "-a", "127.0.0.1", "-s", port)
        assert result.returncode == 1
        assert "Address already in use" in result.stderr


def test_log_file_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "none" / "nutcracker.log"
    result = run("-c", str(configuration(tmp_path)), "-o", str(path))
    assert result.returncode == 1
    assert f"opening log file '{path}' failed: No such file or directory" in result.stderr


def test_pid_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "none" / "nutcracker.pid"
    stats = ["-a", "127.0.0.1", "-s", str(free_port())]
    result = run("-c", str(configuration(tmp_path)), "-p", str(path), *stats)
    assert result.returncode == 1
    assert f"opening pid file '{path}' failed: No such file or directory" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-x"], "nutcracker: invalid option -- 'x'"),
        (["-v", "many"], "nutcracker: option -v requires a number"),
        (["-s", "65536"], "nutcracker: option -s value 65536 is not a valid port"),
        (["-m", "511"], "nutcracker: mbuf chunk size must be between 512 and 16777216 bytes"),
        (["-c"], "nutcracker: option -c requires a file name"),
    ],
)
def test_wrong_options(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(message + "\n")
    assert "Usage: nutcracker" in result.stderr


def test_version() -> None:
    result = run("-V")
    assert result.returncode == 0
    assert result.stderr.startswith("This is nutcracker-")
    assert result.stdout == ""


def test_stale_unix_socket_is_replaced(tmp_path: Path, servers: list[RedisServer]) -> None:
    path = tmp_path / "nutcracker.sock"
    with ScriptedServer(path):
        pass
    assert path.is_socket()
    with Proxy({**redis_pool(*servers), "listen": str(path)}) as proxy:
        assert proxy.client().ask("PING") == b"+PONG\r\n"


def test_file_that_is_no_socket_is_kept(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    path = configuration(tmp_path, listen=precious)
    result = run("-c", str(path), "-a", "127.0.0.1", "-s", str(free_port()))
    assert result.returncode == 1
    assert precious.read_text() == "data"
