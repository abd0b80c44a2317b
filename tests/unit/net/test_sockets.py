"""Connecting, and the names of peers."""

import errno
import os
import select
import socket
from pathlib import Path

import pytest

from harness.ports import free_port
from twemproxy.net.sockets import connect, peer_of


def test_connecting_to_a_listener(tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        for family, listener in ((socket.AF_INET, tcp), (socket.AF_UNIX, unix)):
            transport, error = connect(family, listener.getsockname(), (100, 20, 3))
            assert error == 0
            assert transport is not None
            assert not os.get_blocking(transport.fd)
            assert not os.get_inheritable(transport.fd)
            peer, _ = listener.accept()
            with peer, socket.socket(fileno=os.dup(transport.fd)) as connection:
                if family == socket.AF_INET:
                    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 100
                    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
                assert transport.write(b"x") == 1
                assert peer.recv(1) == b"x"


def test_connecting_to_nobody(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    missing = str(tmp_path / "missing")
    assert connect(socket.AF_UNIX, missing, None) == (None, errno.ENOENT)
    assert connect(socket.AF_UNIX, "x" * 200, None)[0] is None
    transport, error = connect(socket.AF_INET, ("127.0.0.1", free_port()), None)
    if transport is None:
        assert error == errno.ECONNREFUSED
    else:
        select.select([], [transport.fd], [], 10)
        with pytest.raises(OSError, match="read"):
            transport.read(1)
    del transport
    assert len(os.listdir("/proc/self/fd")) == before


def test_peers_are_named_and_their_sockets_left_open(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client:
            peer, _ = listener.accept()
            with peer:
                assert peer_of(peer.fileno()) == "{}:{}".format(*client.getsockname())
                client.send(b"x")
                assert peer.recv(1) == b"x"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = ours.fileno()
        assert peer_of(number) == "unix"
    assert peer_of(number) == "unknown"
    assert peer_of(-1) == "unknown"
