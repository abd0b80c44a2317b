"""A server or proxy of the benchmark is ready when it gives the right reply."""

import sys
from pathlib import Path

import pytest
from benchmarks import wire
from benchmarks.processes import answering

from twemproxy.demo import processes
from twemproxy.demo.processes import StartError

ANSWERING = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    for reply in sys.argv[2:]:
        client = server.accept()[0]
        client.recv(100)
        client.sendall(reply.encode())
        client.close()
"""


def command(port: int, *replies: str) -> list[str]:
    return [sys.executable, "-c", ANSWERING, str(port), *replies]


def test_a_server_is_ready_when_it_gives_the_right_reply(tmp_path: Path) -> None:
    replies = ["-LOADING\r\n", "+PONG\r\n", "+more\r\n"]
    log = tmp_path / "server.log"
    with answering(lambda port: command(port, *replies), b"PING\r\n", b"+PONG\r\n", log) as (process, port):
        assert process.poll() is None
        with wire.connect(port) as connection:
            wire.ask(connection, b"PING\r\n", b"+more\r\n")
        assert process.wait_ended(20)


def test_the_last_wrong_reply_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_SECONDS", 1)
    replies = ["-NOAUTH\r\n"] * 10_000
    with (
        pytest.raises(StartError, match=r"(?s)server did not start: it was not ready after 1 s.*begins b'-NOAUT'"),
        answering(lambda port: command(port, *replies), b"PING\r\n", b"+PONG\r", tmp_path / "server.log"),
    ):
        raise AssertionError("it is ready")
