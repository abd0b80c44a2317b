"""An exception in the proxy's own code closes one connection, and leaves no memory behind."""

import mmap
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.resp import command
from twemproxy.config.loading import load
from twemproxy.log import ERR
from twemproxy.protocol.redis import builtin_commands
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.proxy.data_plane import DataPlane
from twemproxy.stats.counters import CounterTable
from twemproxy.stats.layout import CounterLayout

POOL = "alpha:\n  listen: 127.0.0.1:1\n  redis: true\n  servers:\n    - 127.0.0.1:1:1\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


@pytest.fixture
def data_plane(tmp_path: Path, listener: socket.socket) -> DataPlane:
    """A data plane with one pool, in this process; its event loop runs when the test runs it."""
    file = tmp_path / "nutcracker.yml"
    file.write_text(POOL)
    [pool] = load(str(file)).pools
    layout = CounterLayout([1])
    table = CounterTable(mmap.mmap(-1, layout.size))
    made = DataPlane(ERR, 16384, 100, 0)
    made.add_pool(pool, RedisCodec([], []), table, layout.pools[0], layout.servers[0], lambda *_: None)
    made.listen([listener.fileno()])
    return made


def fail(*_: object) -> bytes:
    raise RuntimeError("on purpose")


def closed_after(data_plane: DataPlane, listener: socket.socket, *pieces: bytes) -> bytes:
    """What a client receives that sends these bytes, piece by piece, and waits for the end."""
    received = b""
    with socket.create_connection(listener.getsockname()) as client:
        client.setblocking(False)
        for piece in pieces:
            client.sendall(piece)
            data_plane.loop.run_once()
        while True:
            try:
                part = client.recv(1000)
            except BlockingIOError:
                data_plane.loop.run_once()
                continue
            except ConnectionResetError:
                return received
            if not part:
                return received
            received += part


@pytest.mark.parametrize("split", [0, 5], ids=["whole", "in two parts"])
def test_a_defect_closes_the_client_and_leaks_nothing(
    data_plane: DataPlane, listener: socket.socket, split: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = command("LOLWUT") + b"x" * 30_000
    pieces = [request[:split], request[split:]] if split else [request]
    monkeypatch.setitem(builtin_commands.ANSWERS, b"lolwut", fail)
    held = []
    for _ in range(40):
        assert closed_after(data_plane, listener, *pieces) == b""
        held.append(data_plane.loop.blocks.allocated)
    assert held[-1] == held[3]
