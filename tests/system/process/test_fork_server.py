"""The fork server: with several workers, the workers are forks of one process."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.proc import descriptors, is_alive, process_tree, proportional_memory, state
from harness.proxy import PROGRAM, Proxy, redis_pool
from harness.resp import OK, bulk
from harness.servers import RedisServer
from harness.waiting import wait_until

WORKERS = 2
FORK_SERVER = "nutcracker: fork server"
MOST_MEMORY = 10 << 20
"""Bytes of proportional memory of a further worker. Measured: 5 MB; a worker that is no fork has 15 MB."""


def with_workers(count: int, program: str = str(PROGRAM)) -> list[str]:
    """A command with this number of workers. ``program``: that is run; empty: Python."""
    return [*([program] if program else [sys.executable, "-m", "twemproxy"]), "--workers", str(count)]


def title(pid: int) -> str:
    """The command line of a process as it is, with a space for the zero byte between two words; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().removesuffix("\0").replace("\0", " ")
    except OSError:
        return ""


def name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


def parent(pid: int) -> int:
    """The process id of the parent; 0 if the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def signals(pid: int) -> list[str]:
    """The blocked and the ignored signals."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("SigBlk", "SigIgn"))]


def children(proxy: Proxy, beginning: str) -> list[tuple[str, int]]:
    """The title and the process id of each child of the supervisor whose title begins like this."""
    found = [(title(pid), pid) for pid in proxy.processes()[1:]]
    return [(text, pid) for text, pid in found if text.startswith(beginning) and parent(pid) == proxy.process.pid]


def workers(proxy: Proxy, count: int = WORKERS) -> dict[str, int]:
    """The workers by title, when all of them run."""
    return wait_until(
        lambda: found if len(found := dict(children(proxy, "nutcracker: worker "))) == count else {}, "all workers run"
    )


def fork_server(proxy: Proxy, former: int = 0) -> int:
    """The fork server, when it is the only process that looks like one, and is not the ``former`` one."""

    def only() -> int:
        found = [pid for _, pid in children(proxy, FORK_SERVER)]
        return found[0] if len(found) == 1 and found[0] != former else 0

    return wait_until(only, "the fork server runs")


def wait_replaced(proxy: Proxy, worker: str, former: int) -> None:
    """Wait until the worker with this title is another process than the former one."""
    wait_until(lambda: workers(proxy)[worker] != former, "another worker runs")


def wait_ready(proxy: Proxy) -> None:
    wait_until(lambda: "ready: " in proxy.log(), "all workers are ready")


def wait_ended(processes: list[int]) -> None:
    wait_until(lambda: not any(map(is_alive, processes)), "the processes have ended")


@pytest.fixture
def proxy(servers: list[RedisServer]) -> Iterator[Proxy]:
    with Proxy(redis_pool(*servers), command=with_workers(WORKERS)) as running:
        wait_ready(running)
        yield running


def test_workers_are_children_of_the_supervisor_and_look_like_started_ones(proxy: Proxy) -> None:
    assert {title: name(pid) for title, pid in workers(proxy).items()} == {
        "nutcracker: worker 1": "nutcracker-w1",
        "nutcracker: worker 2": "nutcracker-w2",
    }
    assert (title(fork_server(proxy)), name(fork_server(proxy))) == (FORK_SERVER, "nutcracker-fork")
    assert len(proxy.processes()) == 1 + 1 + WORKERS
    assert not process_tree(fork_server(proxy))[1:]


def test_a_fork_and_a_started_worker_are_in_the_same_state(proxy: Proxy, servers: list[RedisServer]) -> None:
    forked = workers(proxy)["nutcracker: worker 1"]
    with Proxy(redis_pool(*servers), command=with_workers(1)) as other:
        wait_ready(other)
        assert not children(other, FORK_SERVER)
        started = workers(other, 1)["nutcracker: worker 1"]
        assert signals(forked) == signals(started)
        # The forked one also has its own inbox to write to, the inbox of the other worker, and its counters.
        assert len(descriptors(forked)) == len(descriptors(started)) + 3
        assert title(forked) == title(started)
        assert name(forked) == name(started)


def test_the_fork_server_has_only_its_socket(proxy: Proxy) -> None:
    assert len(descriptors(fork_server(proxy))) == 3


def test_workers_of_python_are_forked_too(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers), command=with_workers(WORKERS, program="")) as proxy:
        wait_ready(proxy)
        command = f"{sys.executable} -P -m twemproxy.worker."
        assert len(children(proxy, f"{command}fork_server")) == 1
        found = [pid for pid in process_tree(proxy.process.pid) if title(pid) == f"{command}main"]
        assert [parent(pid) for pid in found] == [proxy.process.pid] * WORKERS
        assert proxy.client().ask("SET", "a", "1") == OK


def test_a_further_worker_shares_most_of_its_memory(servers: list[RedisServer]) -> None:
    sums = []
    for count in (WORKERS, WORKERS + 2):
        with Proxy(redis_pool(*servers), command=with_workers(count)) as proxy:
            wait_ready(proxy)
            for number in range(200):
                assert proxy.client().ask("SET", f"k{number}", number) == OK
            sums.append(sum(map(proportional_memory, proxy.processes())))
    assert (sums[1] - sums[0]) / 2 < MOST_MEMORY


def test_all_workers_serve(proxy: Proxy) -> None:
    idle = set(workers(proxy).values())
    while idle:
        client = proxy.client()
        text = client.ask("INFO", "server")
        idle -= {pid for pid in idle if b"process_id:%d\r\n" % pid in text}


def test_a_worker_that_is_killed_is_forked_again(proxy: Proxy) -> None:
    proxy.expects_crash = True
    before = workers(proxy)
    os.kill(before["nutcracker: worker 2"], signal.SIGKILL)
    wait_replaced(proxy, "nutcracker: worker 2", before["nutcracker: worker 2"])
    assert workers(proxy)["nutcracker: worker 1"] == before["nutcracker: worker 1"]
    assert "is not forked" not in proxy.log()


def test_the_fork_server_is_replaced_and_workers_survive_it(proxy: Proxy) -> None:
    proxy.expects_crash = True
    before, server = workers(proxy), fork_server(proxy)
    os.kill(server, signal.SIGKILL)
    fork_server(proxy, former=server)
    assert "the fork server was killed by signal 9 (SIGKILL); another one starts" in proxy.log()
    assert workers(proxy) == before
    os.kill(before["nutcracker: worker 1"], signal.SIGKILL)
    wait_replaced(proxy, "nutcracker: worker 1", before["nutcracker: worker 1"])
    assert "is not forked" not in proxy.log()
    assert state(server) == ""


def test_a_worker_is_started_when_the_fork_server_does_not_answer(proxy: Proxy) -> None:
    proxy.expects_crash = True
    before, server = workers(proxy), fork_server(proxy)
    os.kill(server, signal.SIGSTOP)
    os.kill(before["nutcracker: worker 2"], signal.SIGKILL)
    wait_replaced(proxy, "nutcracker: worker 2", before["nutcracker: worker 2"])
    assert "worker 2 is not forked by the fork server" in proxy.log()
    assert "it has not answered within 1 s and is killed" in proxy.log()
    fork_server(proxy, former=server)
    assert state(server) == ""
    assert len(proxy.processes()) == 1 + 1 + WORKERS


def test_signals_to_the_fork_server_change_nothing(proxy: Proxy) -> None:
    server = fork_server(proxy)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(server, number)
    assert is_alive(server)
    assert fork_server(proxy) == server


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_supervisor(servers: list[RedisServer], sign: signal.Signals) -> None:
    with Proxy(redis_pool(*servers), command=with_workers(WORKERS)) as proxy:
        wait_ready(proxy)
        processes = proxy.processes()
        assert proxy.terminate(sign) == (0 if sign == signal.SIGTERM else -sign)
        wait_ended(processes)
        assert "fork server" not in proxy.log()


def test_after_an_upgrade_there_is_one_fork_server(proxy: Proxy) -> None:
    client = proxy.client()
    assert client.ask("SET", "a", "1") == OK
    before, server = workers(proxy), fork_server(proxy)
    for _ in range(2):
        proxy.upgrade()
        wait_ended(list(before.values()))
        following = fork_server(proxy, former=server)
        assert state(server) == ""
        assert not set(before.values()) & set(workers(proxy).values())
        before, server = workers(proxy), following
    assert client.ask("GET", "a") == bulk("1")
    assert len(proxy.processes()) == 1 + 1 + WORKERS
    assert "is not forked" not in proxy.log()
