"""The control socket and the sub-commands that use it."""

import json
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.connection import connect_unix
from harness.proxy import Proxy, environment, redis_pool, run, under_test
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.waiting import wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as made:
        yield made


def command(name: str, proxy: Proxy, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a sub-command for this proxy."""
    return subprocess.run(
        [*under_test(), name, "-C", str(proxy.control_socket), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=15,
        env=environment(),
    )


def test_only_the_owner_can_use_the_control_socket(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        assert stat.S_IMODE(proxy.control_socket.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(proxy.control_socket.stat().st_mode)
        proxy.terminate()
        assert not proxy.control_socket.exists()


def test_the_control_socket_is_beside_the_pid_file(server: RedisServer, tmp_path: Path) -> None:
    pid = tmp_path / "nutcracker.pid"
    with Proxy(redis_pool(server), "-p", str(pid)) as proxy:
        assert proxy.control_socket.exists()
    # The last of two options counts; without -C the path of the pid file does.
    with Proxy(redis_pool(server), "-p", str(pid), "-C", "") as proxy:
        assert not proxy.control_socket.exists()


def test_reload(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        proxy.write_configuration(redis_pool(server, timeout=400))
        done = command("reload", proxy)
        assert done.stderr == ""
        first, last = done.stdout.splitlines()
        assert first == 'pool "alpha": directive "timeout" changes from 0 to 400 (at once)'
        assert last == f"generation 2, fingerprint {proxy.stats()['config_fingerprint']}"
        assert done.returncode == 0
        done = command("reload", proxy, "--json")
        assert json.loads(done.stdout)["changes"] == []
        assert json.loads(done.stdout)["status"]["generation"] == 2


def test_all_errors_of_a_bad_file(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        proxy.write_configuration(redis_pool(server, timeout="soon", backlog="many"))
        done = command("reload", proxy)
        lines = done.stderr.splitlines()
        assert (done.returncode, len(lines)) == (1, 2)
        assert all(line.startswith(f"nutcracker reload: {proxy.configuration}:") for line in lines)
        assert "timeout" in lines[0] or "backlog" in lines[0]


def test_an_address_that_is_taken(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        proxy.write_configuration(redis_pool(server, listen=server.address))
        done = command("reload", proxy)
        assert done.returncode == 1
        assert f"listen on '{server.address}' failed: Address already in use" in done.stderr


def test_keys_do_not_move_by_mistake(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        proxy.write_configuration(redis_pool(server, server, server))
        done = command("reload", proxy)
        assert done.returncode == 1
        assert "pool 'alpha': 66.7 % of the keys move" in done.stderr
        assert "--max-moved 100 allows it" in done.stderr
        assert proxy.stats()["config_generation"] == 1
        assert command("reload", proxy, "--max-moved", "66").returncode == 1
        assert command("reload", proxy, "--max-moved", "67").returncode == 0
        assert proxy.stats()["config_generation"] == 2


def test_a_plan_begins_with_what_is_served(server: RedisServer, tmp_path: Path) -> None:
    with Proxy(redis_pool(server)) as proxy:
        new = tmp_path / "new.yml"
        new.write_text(proxy.configuration.read_text())
        same = command("plan", proxy, str(new))
        assert (same.returncode, same.stdout) == (0, "nothing changes\n")
        new.write_text(new.read_text() + f"    - {server.address}:1 other\n")
        more = command("plan", proxy, str(new))
        assert more.returncode == 2
        assert f'pool "alpha": server "other" at {server.address} is added (at once)' in more.stdout
        # A plan changes nothing.
        assert proxy.stats()["config_generation"] == 1


def test_a_terminal_is_asked(server: RedisServer) -> None:
    """``script`` of util-linux runs the command on a terminal."""
    with Proxy(redis_pool(server)) as proxy:
        proxy.write_configuration(redis_pool(server, server, server))
        words = " ".join([*under_test(), "reload", "-C", str(proxy.control_socket)])
        for answer, generation in (("n", 1), ("y", 2)):
            done = subprocess.run(
                ["script", "-qec", words, "/dev/null"],
                input=f"{answer}\n",
                capture_output=True,
                text=True,
                timeout=15,
                env=environment(),
            )
            assert "Reload? [y/N]" in done.stdout
            assert proxy.stats()["config_generation"] == generation, done.stdout


def test_ready() -> None:
    with ScriptedServer() as server, Proxy(redis_pool(server), "--drain-time", "30") as proxy:
        wait_until(lambda: command("ready", proxy).returncode == 0, "the proxy is ready")
        done = command("ready", proxy, "--json")
        assert json.loads(done.stdout)["pid"] == proxy.process.pid
        client = proxy.client()
        client.send(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n")
        peer = server.accept()
        peer.request()
        proxy.process.terminate()
        wait_until(lambda: "exiting" in proxy.log(), "the proxy stops")
        done = command("ready", proxy)
        assert (done.returncode, done.stderr) == (1, "nutcracker ready: the proxy is starting or stopping\n")
        assert command("reload", proxy).stderr == "nutcracker reload: the proxy stops\n"
        peer.send(b"$-1\r\n")
        client.expect(b"$-1\r\n")
        assert proxy.wait() == 0
        done = command("ready", proxy)
        assert done.returncode == 1
        assert f"no proxy answers at '{proxy.control_socket}'" in done.stderr


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (b"hello\n", "the request is not valid: JSON is malformed"),
        (b'{"type":"dance"}\n', "the request is not valid: Invalid value 'dance'"),
        (b"\n", "the request is not valid: "),
    ],
)
def test_a_bad_request_gets_an_error(server: RedisServer, request_: bytes, reason: str) -> None:
    with Proxy(redis_pool(server)) as proxy:
        with closing(connect_unix(str(proxy.control_socket))) as connection:
            connection.send(request_)
            answer = json.loads(connection.read_to_end())
        assert answer["type"] == "refused"
        assert answer["reasons"][0].startswith(reason)


def test_a_long_or_unfinished_request_is_dropped(server: RedisServer) -> None:
    with Proxy(redis_pool(server)) as proxy:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(proxy.control_socket))
            connection.sendall(b"x" * 70000)
            assert connection.recv(1) == b""
        with closing(connect_unix(str(proxy.control_socket))) as connection:
            connection.send(b'{"type"')
            connection.half_close()
            assert b"not valid" in connection.read_to_end()
        wait_until(lambda: command("ready", proxy).returncode == 0, "the proxy is ready")


def test_a_path_that_is_no_socket(server: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("keep me")
    configuration = tmp_path / "nutcracker.yml"
    configuration.write_text("a:\n  listen: 127.0.0.1:1\n  servers:\n    - 127.0.0.1:2:1\n")
    done = run("-c", str(configuration), "-C", str(path), "-a", "127.0.0.1", "-s", "1")
    assert done.returncode == 1
    assert path.read_text() == "keep me"
    assert os.path.isfile(path)
