"""The pid file and name lookups, each by itself."""

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest
from supervised import mode_of

from twemproxy.ipc.messages import Resolved
from twemproxy.supervisor import resolver
from twemproxy.supervisor.errors import StartError
from twemproxy.supervisor.pidfile import PidFile
from twemproxy.supervisor.resolver import MOST_AT_A_TIME, Resolver, look_up


def test_pid_file_has_the_pid_and_no_newline(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("what was there before is longer")
    before = os.umask(0o022)
    try:
        path.unlink()
        file = PidFile(str(path))
    finally:
        os.umask(before)
    assert path.read_text() == str(os.getpid())
    assert mode_of(path) == 0o644
    file.remove()
    assert not path.exists()
    file.remove()


def test_pid_file_replaces_a_longer_content(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text("12345678901234567890\n")
    PidFile(str(path))
    assert path.read_text() == str(os.getpid())


def test_pid_file_of_another_process_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    file = PidFile(str(path))
    path.write_text("1")
    file.remove()
    assert path.read_text() == "1"


def test_pid_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere" / "pid")
    with pytest.raises(StartError) as refused:
        PidFile(path)
    assert str(refused.value) == f"opening pid file '{path}' failed: No such file or directory"


def test_look_up_gives_numeric_addresses() -> None:
    assert look_up("127.0.0.1", 80).addresses == ((socket.AF_INET, "127.0.0.1", 0, 0),)
    assert look_up("::1", 80).addresses == ((socket.AF_INET6, "::1", 0, 0),)
    found = look_up("localhost", 80)
    assert found.addresses and not found.error
    assert (found.host, found.port) == ("localhost", 80)


@pytest.mark.parametrize("host", ["no.such.invalid", "a" * 70 + ".example", "..", "nul\0"])
def test_look_up_says_why_there_is_no_address(host: str) -> None:
    answer = look_up(host, 80)
    assert answer.error and not answer.addresses


def test_slow_look_ups_hold_up_neither_the_loop_nor_more_than_their_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    under_way: list[str] = []

    def slow(host: str, port: int) -> Resolved:
        under_way.append(host)
        release.wait(30)
        return Resolved(host, port, error="slow")

    monkeypatch.setattr(resolver, "look_up", slow)

    async def scenario() -> None:
        lookups = Resolver()
        asked = [asyncio.create_task(lookups.resolve(str(n), 1)) for n in range(MOST_AT_A_TIME + 5)]
        while len(under_way) < MOST_AT_A_TIME:
            await asyncio.sleep(0.001)
        assert not any(task.done() for task in asked)
        assert len(under_way) == MOST_AT_A_TIME
        release.set()
        answers = await asyncio.gather(*asked)
        assert [answer.host for answer in answers] == [str(n) for n in range(MOST_AT_A_TIME + 5)]

    asyncio.run(scenario())


def test_an_endless_look_up_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def endless(host: str, port: int) -> Resolved:
        release.wait()
        return Resolved(host, port)

    monkeypatch.setattr(resolver, "look_up", endless)

    async def scenario() -> None:
        asyncio.create_task(Resolver().resolve("h", 1))  # noqa: RUF006
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert threading.active_count() > 1
    release.set()
