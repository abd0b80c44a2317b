"""``nutcracker doctor``: with real servers, and with a real nutcracker 0.5.0."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.ports import free_port
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool, run, to_yaml
from harness.resp import OK
from harness.servers import MemcachedServer, RedisServer, installed
from harness.waiting import wait_until
from twemproxy.commands.switching import DIFFERENCES

DOCUMENT = Path(__file__).parents[3] / "docs" / "differences.md"


def write(folder: Path, **pools: dict[str, object]) -> str:
    """The path of a configuration file with these pools."""
    path = folder / "my.yml"
    complete = {name: {"listen": f"127.0.0.1:{22121 + at}", **pool} for at, (name, pool) in enumerate(pools.items())}
    path.write_text(to_yaml(complete))
    return str(path)


def examine(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status and the findings of ``nutcracker doctor``."""
    done = run("doctor", "--json", *arguments)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)["findings"]


def messages(findings: list[dict[str, Any]], kind: str) -> list[str]:
    return [finding["message"] for finding in findings if finding["kind"] == kind]


def has_counted(original: Proxy) -> bool:
    """Whether the statistics of nutcracker have the error of a server and of a client."""
    pool = json.loads(original.stats_text())["alpha"]
    return bool(pool["client_err"] and pool["s01"]["server_err"])


def test_servers_and_their_versions(
    tmp_path: Path, running_servers: list[RedisServer], running_memcached: list[MemcachedServer]
) -> None:
    pools = {
        "alpha": redis_pool(*running_servers, timeout=400),
        "beta": memcached_pool(*running_memcached, timeout=400),
    }
    path = write(tmp_path, **pools)
    done = run("doctor", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r'^note: pool "alpha": servers that answer: 3 with redis \d+\.\d+\.\d+$', done.stdout, re.M)
    assert re.search(r'^note: pool "beta": servers that answer: 3 with memcached 1\.\d+\.\d+$', done.stdout, re.M)
    assert all(line.startswith("note: ") for line in done.stdout.splitlines())
    document = json.loads(run("doctor", path, "--json").stdout)
    assert [server["server"] for server in document["servers"]] == ["s00", "s01", "s02"] * 2


def test_a_server_that_does_not_answer(tmp_path: Path, running_servers: list[RedisServer]) -> None:
    closed = f"127.0.0.1:{free_port()}"
    status, findings = examine(write(tmp_path, alpha=redis_pool(running_servers[0], closed, timeout=400)))
    assert status == 1
    assert messages(findings, "error") == [f'server "s01" at {closed} gives no version: Connection refused']
    # The other protocol.
    status, findings = examine(write(tmp_path, alpha=memcached_pool(running_servers[0], timeout=400)))
    assert status == 1
    assert messages(findings, "error")[0].endswith("gives no version: it does not speak memcached's protocol")


def test_passwords(tmp_path: Path) -> None:
    with RedisServer(password="hunter2") as server:
        status, findings = examine(write(tmp_path, alpha=redis_pool(server, redis_auth="hunter2", timeout=400)))
        assert (status, messages(findings, "error")) == (0, [])
        status, findings = examine(write(tmp_path, alpha=redis_pool(server, timeout=400)))
        assert status == 1
        assert "NOAUTH Authentication required" in messages(findings, "error")[0]


def test_data_that_would_be_missing(tmp_path: Path) -> None:
    with RedisServer(password="hunter2") as server:
        pool = redis_pool(server, redis_auth="hunter2", redis_db=3, timeout=400)
        status, findings = examine(write(tmp_path, alpha=pool))
        assert status == 2
        [text] = messages(findings, "data")
        assert text.startswith("with redis_auth nutcracker does not select database 3: its data is in database 0")
        assert "hunter2" not in json.dumps(findings)


def test_errors_and_warnings_of_the_file(tmp_path: Path, running_servers: list[RedisServer]) -> None:
    path = write(tmp_path, alpha=redis_pool(*running_servers))
    status, findings = examine(path)
    assert status == 2
    assert messages(findings, "warning") == ['without "timeout" a request waits for ever for a server that is silent']
    status, findings = examine(write(tmp_path, alpha=redis_pool(*running_servers, timeout="soon")))
    assert status == 1
    assert [finding["kind"] for finding in findings] == ["error"]
    done = run("doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert "nutcracker doctor: no configuration file" in done.stderr or "error: " in done.stdout


def test_a_running_nutcracker(tmp_path: Path) -> None:
    """The original has had a failed connection, and a client that sent what it does not know."""
    with RedisServer() as first, RedisServer() as second:
        pools = {"alpha": redis_pool(first, second, timeout=400)}
        # It shows what it has counted after the interval of -i.
        with Proxy(pools, "-i", "50", command=[installed("nutcracker")]) as original:
            address = f"127.0.0.1:{original.stats_port}"
            path = str(original.configuration)
            client = original.client()
            [key], [other] = keys_of(0, 2), keys_of(1, 2)
            assert client.ask("SET", key, "x") == OK
            client.send(b"*1\r\n$7\r\nUNHEARD\r\n")
            assert client.read_to_end() == b""
            second.kill()
            assert original.client().ask("SET", other, "x").startswith(b"-ERR")
            wait_until(lambda: has_counted(original), "it has counted that")
            status, findings = examine(path, "--original", address)
            assert status == 1  # because of the server that is gone
            second.start()
            status, findings = examine(path, "--original", address)
            assert status == 2
            notes = messages(findings, "note")
            assert any(note.startswith("the original is nutcracker 0.5.0, up for 0.0 hours") for note in notes)
            assert any("errors of clients: probably commands that nutcracker does not know" in note for note in notes)
            assert any(line.startswith('server "s01": ') for line in messages(findings, "original"))
            other_file = write(tmp_path, alpha=redis_pool(first, timeout=400), gamma=redis_pool(second, timeout=400))
            status, findings = examine(other_file, "--original", address)
            lines = messages(findings, "original")
            assert any("the original has other servers, so keys move" in line for line in lines)
            assert "the original does not have it: it runs with another file" in lines


def test_an_original_that_cannot_be_read(tmp_path: Path, running_servers: list[RedisServer]) -> None:
    path = write(tmp_path, alpha=redis_pool(*running_servers, timeout=400))
    status, findings = examine(path, "--original", f"127.0.0.1:{free_port()}")
    assert status == 1
    assert "cannot be read: Connection refused" in messages(findings, "error")[0]
    done = run("doctor", path, "--original", "nowhere")
    assert done.returncode == 1
    assert "--original needs addresses as host:port" in done.stderr


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.text[:30])
def test_the_document_has_the_difference(difference: Any) -> None:
    _, _, section = DOCUMENT.read_text().partition(f"\n## {difference.section}\n")
    assert f"\n| {difference.original} | {difference.here} " in section.partition("\n## ")[0]
