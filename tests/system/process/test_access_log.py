"""The access log of a running proxy: its lines, its file, and that it never stops a request."""

import json
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.command_streams import UNIQUE, calculating, retrieving
from harness.command_streams import Command as MemcachedCommand
from harness.connection import Connection
from harness.proxy import Proxy, keys_of, memcached_pool, redis_pool, run, to_yaml
from harness.redis_streams import GROUPS, pieces
from harness.resp import OK, bulk, command
from harness.servers import MemcachedServer, RedisServer
from harness.waiting import wait_until
from harness.workers import one_client_each, ready_workers, stopped, worker_processes
from twemproxy.proxy.access_line import FIELDS
from twemproxy.supervisor.access_log import TELL_INTERVAL

NAMES = list(FIELDS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def parsed(data: bytes) -> list[dict[str, Any]]:
    """Lines of an access log, each of which must be whole and complete."""
    assert not data or data.endswith(b"\n")
    lines = [json.loads(line) for line in data.split(b"\n")[:-1]]
    assert all(list(line) == NAMES for line in lines)
    return lines


def lines_of(path: Path, count: int) -> list[dict[str, Any]]:
    """The lines of a file, exactly ``count``."""
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= count, f"there are {count} lines")
    lines = parsed(path.read_bytes())
    assert len(lines) == count
    return lines


def figures(proxy: Proxy) -> tuple[int, int]:
    """How many lines were made, and how many of them were dropped."""
    stats = proxy.stats()
    return stats["access_log_lines"], stats["access_log_dropped"]


def settled(proxy: Proxy) -> tuple[int, int]:
    """``figures`` when each request has its line, in a proxy that logs all of them."""

    def has_settled() -> bool:
        stats = proxy.stats()
        return bool(stats["access_log_lines"] == stats["client_requests"])

    # A line is made after the reply was written.
    wait_until(has_settled, "all lines are made")
    return figures(proxy)


def logged(*servers: RedisServer, share: object = 1, **directives: object) -> dict[str, object]:
    return redis_pool(*servers, access_log_sample=share, **directives)


def ping(client: Connection, count: int) -> None:
    client.send(count * command("PING"))
    client.expect(count * b"+PONG\r\n")


def test_redis_requests(servers: list[RedisServer], path: Path) -> None:
    with Proxy(logged(*servers[:2]), "-A", str(path)) as proxy:
        client = proxy.client()
        [here], [there] = keys_of(0, 2), keys_of(1, 2)
        assert client.ask("SET", here, "the value") == OK
        client.ask("MGET", here, there)
        assert client.ask("LPUSH", here, "x").startswith(b"-WRONGTYPE")
        client.send(f"GET {here}\r\n".encode())
        assert client.reply() == bulk("the value")
        assert client.ask("AUTH", "the password").startswith(b"-ERR")
        assert client.ask("HELLO", "2", "AUTH", "default", "the password").startswith(b"-")
        assert client.ask("THEPASSWORD", "the password").startswith(b"-ERR unknown command")
        assert client.ask("EVAL", "return 'the script'", 1, there, "an argument") == bulk("the script")
        assert client.ask("FLUSHALL").startswith(b"-ERR")
        assert client.ask("DBSIZE").startswith(b":")
        assert client.ask("LPUSH", "list{0}", "element") == b":1\r\n"
        client.ask("BLPOP", "list{0}", 0)
        assert client.ask("MULTI") == OK
        assert client.ask("INCR", "n") == b"+QUEUED\r\n"
        client.ask("EXEC")
        client.ask("PUBLISH", "channel", "a message")
        number = int(client.ask("CLIENT", "ID")[1:])
        address = "{}:{}".format(*client.sock.getsockname())
        lines = lines_of(path, 17)
        assert figures(proxy) == (17, 0)
    assert [(line["command"], line["key"], line["keys"]) for line in lines] == [
        ("set", here, 1),
        ("mget", here, 2),
        ("lpush", here, 1),
        ("get", here, 1),
        ("auth", "", 0),
        ("hello", "", 0),
        ("", "", 0),
        ("eval", there, 1),
        ("flushall", "", 0),
        ("dbsize", "", 0),
        ("lpush", "list{0}", 1),
        ("blpop", "list{0}", 1),
        ("multi", "", 0),
        ("incr", "n", 1),
        ("exec", "", 0),
        ("publish", "", 0),
        ("client", "", 0),
    ]
    by_name = {line["command"]: line for line in lines}
    assert (by_name["set"]["server"], by_name["set"]["servers"]) == ("s00", 1)
    assert by_name["mget"]["servers"] == by_name["dbsize"]["servers"] == 2
    assert {name: by_name[name]["error"] for name in ("set", "auth", "flushall", "exec")} == {
        "set": "",
        "auth": "ERR",
        "flushall": "ERR",
        "exec": "",
    }
    assert lines[2]["error"] == "WRONGTYPE"
    assert lines[2]["reply_from"] == by_name["mget"]["reply_from"] == by_name["exec"]["reply_from"] == "server"
    assert by_name["auth"]["reply_from"] == by_name["flushall"]["reply_from"] == "proxy"
    assert by_name["get"]["reply_bytes"] == len(bulk("the value"))
    assert by_name["set"]["request_bytes"] == len(command("SET", here, "the value"))
    for line in lines:
        assert (line["pool"], line["worker"], line["client_id"]) == ("alpha", 1, number)
        assert line["client_address"] == address
        assert line["whole_us"] == line["waiting_us"] + line["server_us"] + line["writing_us"]
        assert line["time"].endswith("Z") and not line["closed"]
    text = path.read_text().lower()
    assert not [word for word in ("password", "value", "script", "argument", "message") if word in text]


def test_memcached_requests(memcached_servers: list[MemcachedServer], path: Path) -> None:
    pool = memcached_pool(*memcached_servers[:2], access_log_sample=1)
    with Proxy(pool, "--access-log", str(path)) as proxy:
        client = proxy.client()
        [here], [there] = keys_of(0, 2), keys_of(1, 2)
        assert client.ask_text(f"set {here} 0 0 5\r\nvalue\r\n".encode()) == b"STORED\r\n"
        client.ask_text(f"get {here} {there}\r\n".encode())
        client.send(f"set {there} 0 0 1 noreply\r\nx\r\n".encode())
        assert client.ask_text(f"incr {here} 1\r\n".encode()).startswith(b"CLIENT_ERROR")
        assert client.ask_text(b"mg Zm9v b v\r\n") == b"EN\r\n"
        assert client.ask_text(b"nonsense\r\n") == b"ERROR\r\n"
        assert client.ask_text(b"version\r\n").startswith(b"VERSION")
        lines = lines_of(path, 7)
    assert [(line["command"], line["key"], line["keys"], line["error"]) for line in lines] == [
        ("set", here, 1, ""),
        ("get", here, 2, ""),
        ("set", there, 1, ""),
        ("incr", here, 1, "CLIENT_ERROR"),
        ("mg", "foo", 1, ""),
        ("", "", 0, "ERROR"),
        ("version", "", 0, ""),
    ]
    assert lines[1]["servers"] == 2
    assert lines[2]["reply_bytes"] == 0
    assert lines[5]["reply_from"] == "proxy"


def test_each_request_of_all_workers_has_one_line(servers: list[RedisServer], path: Path) -> None:
    workers, count = 3, 300
    with Proxy(logged(*servers), "-w", str(workers), "-A", str(path)) as proxy:
        clients = one_client_each(proxy, ready_workers(proxy, workers))
        before = settled(proxy)[0]
        for number, client in enumerate(clients):
            client.send(b"".join(command("GET", f"{number}-{place}-{200 * 'x'}") for place in range(count)))
        for client in clients:
            client.replies(count)
        lines = lines_of(path, before + workers * count)[-workers * count :]
        assert figures(proxy) == (before + workers * count, 0)
    keys = [line["key"].rsplit("-", 1)[0] for line in lines]
    assert sorted(keys) == sorted(f"{number}-{place}" for number in range(workers) for place in range(count))
    assert Counter(line["worker"] for line in lines) == Counter({1: count, 2: count, 3: count})
    for worker in range(1, workers + 1):
        places = [int(line["key"].split("-")[1]) for line in lines if line["worker"] == worker]
        assert places == list(range(count))


def test_a_tenth_of_the_requests(servers: list[RedisServer], path: Path) -> None:
    """Within seven standard deviations: a false failure has a probability below 1e-11."""
    with Proxy(logged(*servers, share=0.1), "-A", str(path)) as proxy:
        client, count = proxy.client(), 20_000
        for _ in range(count // 100):
            ping(client, 100)
        wait_until(lambda: path.read_bytes().count(b"\n") == figures(proxy)[0], "all lines are written")
        chosen, dropped = figures(proxy)
        assert abs(chosen - 0.1 * count) < 7 * (count * 0.1 * 0.9) ** 0.5
        assert dropped == 0
        parsed(path.read_bytes())


def test_a_reload_switches_it_on_and_off(servers: list[RedisServer], path: Path) -> None:
    with Proxy(redis_pool(*servers), "-A", str(path)) as proxy:
        client = proxy.client()
        client.ask("GET", "before")
        proxy.serve({"alpha": logged(*servers)})
        client.ask("GET", "on")
        proxy.serve({"alpha": logged(*servers, share=0)})
        client.ask("GET", "off")
        proxy.serve({"alpha": logged(*servers, share="1.0")})
        client.ask("GET", "on again")
        assert [line["key"] for line in lines_of(path, 2)] == ["on", "on again"]


def test_pools_have_shares_of_their_own(servers: list[RedisServer], path: Path) -> None:
    pools = {"loud": logged(servers[0]), "quiet": redis_pool(servers[0])}
    with Proxy(pools, "-A", str(path)) as proxy:
        proxy.client("quiet").ask("GET", "quiet")
        proxy.client("loud").ask("GET", "loud")
        assert [(line["pool"], line["key"]) for line in lines_of(path, 1)] == [("loud", "loud")]


def test_without_the_option_lines_go_to_standard_output(servers: list[RedisServer]) -> None:
    with Proxy(logged(servers[0])) as proxy:
        proxy.client().ask("GET", "key")
        assert [line["key"] for line in lines_of(proxy.stderr_path, 1)] == ["key"]


def test_a_rotation(servers: list[RedisServer], path: Path) -> None:
    with Proxy(logged(servers[0]), "-w", "2", "-A", str(path)) as proxy:
        client = proxy.client()
        client.ask("GET", "one")
        lines_of(path, 1)
        moved = path.rename(path.with_suffix(".1"))
        client.ask("GET", "two")
        assert [line["key"] for line in lines_of(moved, 2)] == ["one", "two"]
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(path.exists, "there is a new file")
        client.ask("GET", "three")
        assert [line["key"] for line in lines_of(path, 1)] == ["three"]
        assert len(lines_of(moved, 2)) == 2


def test_a_rotation_before_the_first_line(servers: list[RedisServer], path: Path) -> None:
    with Proxy(logged(servers[0]), "-A", str(path)) as proxy:
        path.unlink()
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(path.exists, "there is a new file")
        proxy.client().ask("GET", "one")
        lines_of(path, 1)


def test_a_rotation_that_fails_keeps_the_file(servers: list[RedisServer], path: Path) -> None:
    with Proxy(logged(servers[0]), "-A", str(path)) as proxy:
        client = proxy.client()
        client.ask("GET", "one")
        moved = path.rename(path.with_suffix(".1"))
        path.mkdir()
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: f"opening access log '{path}' failed: Is a directory" in proxy.log(), "the log says why")
        client.ask("GET", "two")
        assert [line["key"] for line in lines_of(moved, 2)] == ["one", "two"]


def test_a_pipe_that_nobody_reads(servers: list[RedisServer], path: Path) -> None:
    os.mkfifo(path)
    with Proxy(logged(servers[0]), "-w", "2", "-A", str(path)) as proxy:
        client, count = proxy.client(), 10_000
        ping(client, count)
        made, dropped = settled(proxy)
        assert made == count
        # The pipe of the workers has 1 MB, the named one 64 KB, and the thread has as much.
        assert 0 < dropped < count
        wait_until(lambda: "dropped lines of the access log: " in proxy.log(), "the log says so")
        # From now on somebody reads.
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        data = b""

        def received() -> int:
            nonlocal data
            with suppress(BlockingIOError):
                data += os.read(reader, 1 << 20)
            return data.count(b"\n")

        wait_until(lambda: received() == made - dropped, "all other lines are there")
        ping(client, 1)
        wait_until(lambda: received() == made - dropped + 1, "the next line is there")
        assert figures(proxy) == (made + 1, dropped)
        os.close(reader)
        parsed(data)


def test_a_proxy_stops_although_nobody_reads(servers: list[RedisServer], path: Path) -> None:
    os.mkfifo(path)
    with Proxy(logged(servers[0]), "-A", str(path)) as proxy:
        ping(proxy.client(), 10_000)
        assert proxy.terminate() == 0


def test_a_full_device(servers: list[RedisServer]) -> None:
    began = time.monotonic()
    with Proxy(logged(servers[0]), "-A", "/dev/full") as proxy:
        client, count = proxy.client(), 1000
        ping(client, count)
        wait_until(lambda: figures(proxy) == (count, count), "all lines are dropped")
        wait_until(lambda: "dropped lines of the access log: " in proxy.log(), "the log says so")
        assert "(writing to '/dev/full' failed: No space left on device)" in proxy.log()
        ping(client, count)
        wait_until(lambda: figures(proxy) == (2 * count, 2 * count), "all lines are dropped")
        told = proxy.log().count("dropped lines of the access log: ")
        assert 1 <= told <= 1 + (time.monotonic() - began) // TELL_INTERVAL


def test_a_line_that_was_cut_is_completed(servers: list[RedisServer], path: Path) -> None:
    """A limit on the size of files has the effect of a full disk."""
    with Proxy(logged(servers[0]), "-A", str(path)) as proxy:
        client = proxy.client()
        ping(client, 10)
        lines_of(path, 10)
        limit = path.stat().st_size + 100
        resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        ping(client, 5)
        wait_until(lambda: figures(proxy) == (15, 4), "all lines but the one that was cut are dropped")
        assert path.stat().st_size == limit
        resource.prlimit(proxy.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ping(client, 1)
        lines_of(path, 12)
        assert figures(proxy) == (16, 4)


def test_a_file_that_ends_in_a_cut_line(servers: list[RedisServer], path: Path) -> None:
    path.write_bytes(b'{"time":"20')
    with Proxy(logged(servers[0]), "-A", str(path)) as proxy:
        ping(proxy.client(), 2)
        wait_until(lambda: path.read_bytes().count(b"\n") == 3, "the lines are there")
        assert len(parsed(path.read_bytes().partition(b"\n")[2])) == 2


def test_an_upgrade_keeps_it(servers: list[RedisServer], path: Path) -> None:
    with Proxy(logged(servers[0]), "-w", "2", "-A", str(path)) as proxy:
        client = proxy.client()
        ping(client, 100)
        lines_of(path, 100)
        former = worker_processes(proxy)
        proxy.upgrade()
        ping(client, 100)
        wait_until(lambda: not set(former) & set(worker_processes(proxy)), "the former workers have ended")
        ping(client, 100)
        lines_of(path, 300)
        assert figures(proxy) == (300, 0)


def test_lines_that_wait_outlive_an_upgrade(servers: list[RedisServer], path: Path) -> None:
    """The supervisor is stopped while lines arrive, and finds the signal first when it goes on."""
    with Proxy(logged(servers[0]), "-A", str(path)) as proxy:
        client = proxy.client()
        # A stopped supervisor would not let a worker that has just started accept the client.
        ping(client, 1)
        with stopped([proxy.process.pid]):
            ping(client, 99)
            proxy.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: "has taken over from version" in proxy.log(), "the other version has taken over")
        ping(client, 100)
        lines_of(path, 200)
        assert figures(proxy) == (200, 0)


def test_an_upgrade_without_the_file_fails(servers: list[RedisServer], path: Path) -> None:
    with Proxy(logged(servers[0]), "-A", str(path)) as proxy:
        client = proxy.client()
        ping(client, 1)
        lines_of(path, 1)
        moved = path.rename(path.with_suffix(".1"))
        path.mkdir()
        proxy.process.send_signal(signal.SIGUSR2)
        reason = f"the running version goes on: opening access log '{path}' failed: Is a directory"
        wait_until(lambda: reason in proxy.log(), "the log says why")
        ping(client, 1)
        lines_of(moved, 2)


def test_an_upgrade_although_nobody_reads(servers: list[RedisServer], path: Path) -> None:
    os.mkfifo(path)
    with Proxy(logged(servers[0]), "-A", str(path)) as proxy:
        client = proxy.client()
        ping(client, 10_000)
        made, dropped = settled(proxy)
        proxy.upgrade()
        ping(client, 1)
        # What the thread had read is dropped.
        wait_until(lambda: figures(proxy)[0] == made + 1, "there is one more line")
        assert figures(proxy)[1] >= dropped


def test_a_worker_that_is_killed(servers: list[RedisServer], path: Path) -> None:
    with Proxy(logged(servers[0]), "-A", str(path)) as proxy:
        proxy.expects_crash = True
        ping(proxy.client(), 10)
        lines_of(path, 10)
        [worker] = worker_processes(proxy)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: worker_processes(proxy) not in ([worker], []), "there is another worker")
        ping(proxy.client(), 10)
        lines_of(path, 20)
        assert figures(proxy) == (20, 0)


def test_the_last_lines_before_the_end(servers: list[RedisServer], path: Path) -> None:
    with Proxy(logged(servers[0]), "-w", "2", "-A", str(path)) as proxy:
        client = proxy.client()
        client.send(50 * command("PING") + command("BLPOP", "nothing", 0))
        client.expect(50 * b"+PONG\r\n")
        assert proxy.terminate() == 0
    lines = lines_of(path, 51)
    assert lines[-1]["command"] == "blpop"


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "nutcracker.yml"
    pool = {"listen": "127.0.0.1:22121", "servers": ["127.0.0.1:11211:1"], "timeout": 400}
    file.write_text(to_yaml({"alpha": {**pool, "access_log_sample": 0.25}, "beta": {**pool, "listen": "/tmp/b"}}))
    return file


def test_a_file_that_cannot_be_opened(configuration: Path) -> None:
    done = run("-c", str(configuration), "-A", "/nowhere/access.log", "-s", "1")
    assert done.returncode == 1
    assert "nutcracker: opening access log '/nowhere/access.log' failed: No such file or directory\n" in done.stderr


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ((), "standard output, because there is no option --access-log"),
        (("-A", "access.log"), "'access.log'"),
        (("-d",), "nowhere, because a daemon has no standard output: give the option --access-log"),
    ],
)
def test_the_test_of_a_configuration_says_where_the_lines_go(
    configuration: Path, options: tuple[str, ...], place: str
) -> None:
    done = run("-t", "-c", str(configuration), *options)
    assert done.returncode == 0
    note = f'nutcracker: note: pool "alpha": "access_log_sample" is 0.25: the access log goes to {place}\n'
    assert done.stderr.count("note:") == done.stderr.count(note) == 1


def test_check_says_where_the_lines_go(configuration: Path) -> None:
    note = (
        'pool "alpha": "access_log_sample" is 0.25: the access log goes to the file of the option --access-log, '
        "without it to standard output"
    )
    assert f"{configuration}: note: {note}\n" in run("check", str(configuration)).stdout
    assert json.loads(run("check", "--json", str(configuration)).stdout)["notes"] == [note]


def received_bytes(client: Connection, requests: list[bytes], last: bytes, last_reply: bytes) -> int:
    """Send the requests and ``last``; returns how many bytes come up to the end of the reply to that."""
    client.send(b"".join(requests) + last)
    return len(client.read_until(last_reply))


def test_any_mixture_of_redis_requests(servers: list[RedisServer], path: Path) -> None:
    """Each request has a line, and the lines together have all bytes that the client gets."""
    with Proxy(logged(*servers, hash_tag='"{}"'), "-A", str(path)) as proxy:
        client = proxy.client()
        count = received = 0
        for name, make in GROUPS.items():
            requests = [made.request for piece in pieces(make, 100, name) for made in piece]
            received += received_bytes(client, requests, command("ECHO", f"end of {name}"), bulk(f"end of {name}"))
            count += len(requests) + 1
            lines = lines_of(path, count)
            assert lines[-1]["command"] == "echo", name
            assert sum(line["reply_bytes"] for line in lines) == received, name
        assert count > 1000
        assert figures(proxy) == (count, 0)
    assert {line["reply_from"] for line in lines} == {"server", "proxy"}
    assert not [line for line in lines if line["closed"]]


@pytest.mark.parametrize("make", [retrieving, calculating])
def test_any_mixture_of_memcached_requests(
    memcached_servers: list[MemcachedServer], path: Path, make: Callable[[int], list[MemcachedCommand]]
) -> None:
    with Proxy(memcached_pool(*memcached_servers, access_log_sample=1), "-A", str(path)) as proxy:
        requests = [made.request.replace(UNIQUE.encode(), b"1") for made in make(1000)]
        received = received_bytes(proxy.client(), requests, b"mn\r\n", b"MN\r\n")
        lines = lines_of(path, len(requests) + 1)
        assert sum(line["reply_bytes"] for line in lines) == received
        assert figures(proxy) == (len(requests) + 1, 0)
