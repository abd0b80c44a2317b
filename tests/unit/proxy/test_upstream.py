"""What a server connection is told of its server: addresses, how connecting began, and errors for clients."""

import errno
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.ports import free_port
from twemproxy.config.pools import Address, ListenConfig, PoolConfig, ServerConfig
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.proxy.pool_log import peer_of
from twemproxy.proxy.upstream import Upstream, error_text
from twemproxy.worker.messages import Resolved


class Questions:
    """A resolver that keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, Callable[[Resolved], None]]] = []

    def __call__(self, host: str, port: int, callback: Callable[[Resolved], None]) -> None:
        self.asked.append((host, port, callback))


def upstream(address: Address, resolver: Questions | None = None) -> Upstream:
    server = ServerConfig(name="s1", pname="s1:1", address=address, weight=1)
    pool = PoolConfig(name="p", listen=ListenConfig("127.0.0.1:1", Address("127.0.0.1", 1)), servers=(server,))
    return Upstream(pool, server, RedisCodec(), resolver or Questions())


@pytest.mark.parametrize(
    ("address", "candidates"),
    [
        (Address("127.0.0.1", 6379), [(socket.AF_INET, ("127.0.0.1", 6379))]),
        (Address("::1", 6379), [(socket.AF_INET6, ("::1", 6379, 0, 0))]),
        (Address(path="/run/redis.sock"), [(socket.AF_UNIX, "/run/redis.sock")]),
        (Address("localhost", 6379), None),
        (Address("redis-1.example", 6379), None),
    ],
)
def test_only_names_have_to_be_resolved(address: Address, candidates: list[tuple[int, object]] | None) -> None:
    server = upstream(address)
    assert server.candidates() == candidates
    if candidates:
        found = server.candidates()
        assert found is not None
        found.clear()
        assert server.candidates() == candidates


def test_resolved_addresses_are_in_order() -> None:
    resolver, heard = Questions(), []
    upstream(Address("redis-1.example", 6379), resolver).resolve(lambda *answer: heard.append(answer))
    [(host, port, callback)] = resolver.asked
    assert (host, port, heard) == ("redis-1.example", 6379, [])
    callback(
        Resolved(
            host=host,
            port=port,
            addresses=((socket.AF_INET6, "::1", 0, 2), (socket.AF_INET, "127.0.0.1", 0, 0)),
            error="",
        )
    )
    assert heard == [([(socket.AF_INET6, ("::1", 6379, 0, 2)), (socket.AF_INET, ("127.0.0.1", 6379))], "")]


def test_a_name_without_addresses() -> None:
    resolver, heard = Questions(), []
    upstream(Address("nowhere.example", 6379), resolver).resolve(lambda *answer: heard.append(answer))
    resolver.asked[0][2](Resolved(host="nowhere.example", port=6379, addresses=(), error="unknown host"))
    assert heard == [([], "unknown host")]


def test_connecting_to_a_listener(tmp_path: Path) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        for family, listener in ((socket.AF_INET, tcp), (socket.AF_UNIX, unix)):
            descriptor, began = upstream(Address("127.0.0.1", 1)).connect((family, listener.getsockname()))
            assert began in (0, errno.EINPROGRESS)
            assert not os.get_blocking(descriptor)
            assert not os.get_inheritable(descriptor)
            peer, _ = listener.accept()
            with peer, socket.socket(fileno=descriptor) as connection:
                if family == socket.AF_INET:
                    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                connection.send(b"x")
                assert peer.recv(1) == b"x"


def test_connecting_to_nobody(tmp_path: Path) -> None:
    server = upstream(Address("127.0.0.1", 1))
    before = len(os.listdir("/proc/self/fd"))
    missing = str(tmp_path / "missing")
    assert server.connect((socket.AF_UNIX, missing)) == (-1, errno.ENOENT)
    assert server.connect((socket.AF_UNIX, "x" * 200))[0] == -1
    descriptor, began = server.connect((socket.AF_INET, ("127.0.0.1", free_port())))
    if began:
        assert began == errno.EINPROGRESS
        select.select([], [descriptor], [], 10)
        os.close(descriptor)
    else:
        assert descriptor == -1
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (0, "unknown"),
        (errno.ECONNREFUSED, "Connection refused"),
        (errno.ETIMEDOUT, "Connection timed out"),
        (errno.EINVAL, "Invalid argument"),
        (errno.EHOSTDOWN, "Host is down"),
    ],
)
def test_errors_for_clients_are_the_systems_words(error: int, text: str) -> None:
    assert error_text(error) == text
    server = upstream(Address("127.0.0.1", 1))
    for _ in range(2):
        assert server.error_reply(error) == f"-ERR {text}\r\n".encode()


def test_a_failed_greeting_is_named_to_clients() -> None:
    reply = upstream(Address("127.0.0.1", 1)).explanation("AUTH failed: WRONGPASS no\r\nway")
    assert reply == b"-ERR AUTH failed: WRONGPASS no  way (server s1:1 of pool p)\r\n"


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
