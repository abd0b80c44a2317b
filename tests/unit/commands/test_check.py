"""``nutcracker check``: errors, warnings, servers that cannot be reached, exit statuses."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.ports import free_port
from harness.servers import RedisServer
from twemproxy.cli import main

Captured = pytest.CaptureFixture[str]

GOOD = "alpha:\n  listen: 127.0.0.1:1\n  timeout: 400\n  servers:\n    - 127.0.0.1:1:1 a\n"


@pytest.fixture
def run(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the sub-command for the text of a file, my.yml; returns the status and standard output."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, *arguments: str) -> tuple[int, str]:
        Path("my.yml").write_text(text)
        status = main(["check", "my.yml", *arguments])
        out, err = capsys.readouterr()
        assert err == ""
        return status, out

    return run


@pytest.fixture
def full_listener() -> Iterator[socket.socket]:
    """A listening socket whose backlog is full, so that connecting to it does not end."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener:
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        yield listener
        for client in waiting:
            client.close()


def test_nothing_is_wrong(run: Any) -> None:
    assert run(GOOD) == (0, "my.yml: nothing is wrong\n")
    status, out = run(GOOD, "--json")
    assert status == 0
    assert json.loads(out) == {"file": "my.yml", "errors": [], "warnings": [], "unreachable": [], "notes": []}


def test_the_number_of_workers_counts(run: Any) -> None:
    text = GOOD.replace("timeout: 400", "timeout: 400\n  max_backend_connections: 2")
    assert run(text)[0] == run(text, "-w", "2")[0] == 0
    assert run(text, "--workers", "3") == (
        1,
        'my.yml:4:28: pool "alpha": directive "max_backend_connections" is 2, but 3 workers need 3:'
        ' "server_connections" is 1\n',
    )


@pytest.mark.parametrize("number", ["0", "x", "auto", "257"])
def test_an_invalid_number_of_workers(capsys: Captured, number: str) -> None:
    assert main(["check", "my.yml", "-w", number]) == 1
    assert f"'{number}' is not a number from 1 to 256" in capsys.readouterr().err


def test_all_errors(run: Any) -> None:
    text = GOOD.replace("timeout: 400", "timeout: x\n  hahs: md5")
    status, out = run(text)
    assert status == 1
    assert out == (
        'my.yml:3:12: pool "alpha": directive "timeout" is not a number: "x"\n'
        'my.yml:4:3: pool "alpha": directive "hahs" is unknown, did you mean "hash"?\n'
    )
    status, out = run(text, "--json", "--connect")
    assert status == 1
    assert json.loads(out)["errors"][1] == {
        "line": 4,
        "column": 3,
        "message": 'pool "alpha": directive "hahs" is unknown, did you mean "hash"?',
    }


def test_a_file_that_cannot_be_read(run: Any, capsys: Captured) -> None:
    assert main(["check", "none.yml"]) == 1
    assert capsys.readouterr().out == "failed to open configuration 'none.yml': No such file or directory\n"


def test_warnings(run: Any) -> None:
    text = GOOD.replace("  timeout: 400\n", "")
    warning = 'without "timeout" a request waits for ever for a server that is silent'
    assert run(text) == (2, f'my.yml: warning: pool "alpha": {warning}\n')
    status, out = run(text, "--json")
    assert status == 2
    assert json.loads(out)["warnings"] == [{"pool": "alpha", "kind": "no-timeout", "message": warning}]


def test_servers_that_cannot_be_reached(run: Any, full_listener: socket.socket, tmp_path: Path) -> None:
    free, full = free_port(), full_listener.getsockname()[1]
    with RedisServer() as server:
        entries = [f"127.0.0.1:{server.port}:1 up", f"127.0.0.1:{free}:1 down", f"127.0.0.1:{full}:1 full"]
        entries += [f"{tmp_path}/s:1 unix", "no.such.host.invalid:1:1 unknown", f"a..b:{free}:1 odd"]
        text = GOOD.replace("    - 127.0.0.1:1:1 a\n", "".join(f"    - {entry}\n" for entry in entries))
        status, out = run(text.replace("timeout: 400", "timeout: 100"), "--connect", "--json")
    assert status == 1
    found = {server["server"]: server for server in json.loads(out)["unreachable"]}
    assert found.keys() == {"down", "full", "unix", "unknown", "odd"}
    assert found["down"] == {
        "pool": "alpha",
        "server": "down",
        "address": f"127.0.0.1:{free}",
        "reason": "Connection refused",
    }
    assert found["full"]["reason"] == "no answer in time"
    assert found["unix"]["reason"] == "No such file or directory"
    assert found["unknown"]["reason"] and found["odd"]["reason"]


def test_a_server_that_cannot_be_reached_is_an_error_in_a_line(run: Any) -> None:
    port = free_port()
    status, out = run(GOOD.replace("127.0.0.1:1:1", f"127.0.0.1:{port}:1"), "--connect")
    place = f'pool "alpha": server "a" at 127.0.0.1:{port}'
    assert (status, out) == (1, f"my.yml: error: {place} cannot be reached: Connection refused\n")


def test_an_address_is_tried_once_with_the_longest_limit_of_its_pools(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def connect(address: tuple[bytes, int], limit: float) -> socket.socket:
        tried.append((address, limit))
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    pools = [
        GOOD.replace("alpha", name).replace("listen: 127.0.0.1:1", f"listen: 127.0.0.1:{port}").replace("400", limit)
        for name, port, limit in (("a", 2, "300"), ("b", 3, "400"), ("c", 4, "100\n  connect_timeout: 90"))
    ]
    assert run("".join(pools), "--connect") == (0, "my.yml: nothing is wrong\n")
    assert tried == [((b"127.0.0.1", 1), 0.4)]
    assert run(GOOD.replace("400", "60000"), "--connect")[0] == 0
    assert run(GOOD.replace("400", "0"), "--connect")[0] == 2
    assert [limit for _, limit in tried[1:]] == [5.0, 5.0]


def test_servers_that_can_be_reached(run: Any) -> None:
    with RedisServer() as server:
        text = GOOD.replace("127.0.0.1:1:1", f"127.0.0.1:{server.port}:1")
        assert run(text, "--connect") == (0, "my.yml: nothing is wrong\n")
