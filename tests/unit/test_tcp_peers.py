"""What the harness says of the other end of a connection is true of connections whose state the test knows."""

import socket
from collections.abc import Iterator

import pytest

from harness import tcp_peers
from harness.tcp_peers import has_read_all
from harness.waiting import wait_until


@pytest.fixture(params=["sock_diag", "the table in /proc"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The two ways to ask the kernel; the first one may be missing."""
    if request.param != "sock_diag":
        monkeypatch.setattr(tcp_peers, "_has_diagnostics", lambda family: False)
    return str(request.param)


@pytest.fixture
def ends(way: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        other, _ = server.accept()
        with other:
            yield one, other


def test_bytes_that_are_read(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    assert has_read_all(one)
    one.sendall(b"x" * 1000)
    assert not has_read_all(one)
    other.recv(999)
    assert not has_read_all(one)
    other.recv(1)
    wait_until(lambda: has_read_all(one), "the last byte is read")
    assert has_read_all(other)


def test_more_than_the_buffers_take(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    one.setblocking(False)
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            sent += one.send(b"x" * 65536)
    while sent:
        assert not has_read_all(one)
        sent -= len(other.recv(1 << 20))
    wait_until(lambda: has_read_all(one), "everything is read")


def test_an_end_that_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    one.sendall(b"x")
    other.recv(1)
    other.close()
    wait_until(lambda: has_read_all(one), "the other end is gone")


@pytest.mark.parametrize("way", ["sock_diag"], indirect=True)
def test_ipv6(way: str) -> None:
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as server,
        socket.create_connection(server.getsockname()[:2]) as one,
    ):
        other, _ = server.accept()
        with other:
            one.sendall(b"xy")
            assert not has_read_all(one)
            other.recv(2)
            wait_until(lambda: has_read_all(one), "both bytes are read")
