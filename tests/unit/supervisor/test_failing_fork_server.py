"""Fork servers that fail: the answer is that no worker was forked, or a worker that is a child of this process."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from harness.proc import state
from harness.proxy import environment
from harness.waiting import wait_until
from twemproxy.supervisor.early_worker import WORKER_MODULE, WorkerProgram
from twemproxy.supervisor.fork_server import ForkServer

T = TypeVar("T")

ANSWER = """
import os, socket
from twemproxy.ipc.forking import *
requests = socket.socket(fileno=0)
def say(*messages):
    for message in messages:
        requests.send(message)
say(encode(Waiting()))
while requests.recv(MESSAGE_SIZE):
"""
"""The beginning of a fork server that has no need for the control socket."""

REAL = """
import os, signal
from twemproxy.worker import fork_server
"""


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    handler = Lines()
    logger = logging.getLogger("twemproxy.supervisor.fork_server")
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)


def program(code: str, path: str = sys.executable) -> WorkerProgram:
    """Workers whose fork server runs this Python code."""
    return WorkerProgram(path, (sys.executable, "-m", WORKER_MODULE), (sys.executable, "-c", code))


def children() -> set[int]:
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def fork(server: ForkServer, then: Callable[[int | None], T]) -> T:
    """Have a worker forked, and return what ``then`` makes of its process id, before its control socket is closed.

    The fork server is stopped then, and no child of this process is left, but for those that there were before.
    """
    before = children()

    async def run() -> T:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                pid = await server.fork(7, theirs)
            try:
                result = then(pid)
            finally:
                await server.stop()
        if pid is not None:
            assert os.waitpid(pid, 0)[1] >> 8 == 1
        return result

    result = asyncio.run(run())
    assert children() == before
    return result


def parent(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_worker_is_a_child_and_ends_when_its_control_socket_is_closed(logged: list[str]) -> None:
    assert fork(ForkServer(program(f"{REAL}fork_server.main()")), parent) == os.getpid()
    assert logged == []


@pytest.mark.parametrize(
    ("code", "path", "reason"),
    [
        ("", sys.executable, "it has ended"),
        ("", "/nowhere/python", "it cannot be started (No such file or directory)"),
        (f"{ANSWER} say(b'garbage')", sys.executable, "it has ended"),
        (f"{ANSWER} say(encode(Waiting()))", sys.executable, "it has said nothing"),
        (f"{ANSWER} say(encode(NotForked('no room')), encode(Waiting()))", sys.executable, "no room"),
        (f"{ANSWER} os._exit(0)", sys.executable, "it has ended"),
    ],
)
def test_why_no_worker_is_forked(code: str, path: str, reason: str, logged: list[str]) -> None:
    assert fork(ForkServer(program(code, path)), lambda pid: pid) is None
    beginning = "worker 7 is not forked by the fork server but started as a program: "
    assert [line for line in logged if line.startswith(beginning + reason)], logged


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["is killed", "stops"])
def test_a_worker_is_used_whose_fork_server_fails_behind_the_fork(number: signal.Signals, logged: list[str]) -> None:
    # The fork server would wait for the process between it and the worker.
    code = f"{REAL}os.waitpid = lambda *_: os.kill(os.getpid(), {int(number)})\nfork_server.main()"
    assert fork(ForkServer(program(code)), parent) == os.getpid()
    assert logged[:1] == ["the fork server was killed by signal 9 (SIGKILL); another one starts"]


def test_another_one_starts_before_a_worker_is_needed(logged: list[str]) -> None:
    server = ForkServer(program(f"{REAL}fork_server.main()"))

    async def run() -> None:
        first = server.start().pid
        ours, theirs = socket.socketpair()
        with ours, theirs:
            worker = await server.fork(1, theirs)
        os.kill(first, signal.SIGKILL)
        while server.start().pid == first:
            await asyncio.sleep(0.01)
        assert worker is not None
        wait_until(lambda: state(worker) == "Z", "the worker survives, and ends with its control socket")
        os.waitpid(worker, 0)
        await server.stop()

    asyncio.run(run())
    assert logged == ["the fork server was killed by signal 9 (SIGKILL); another one starts"]
