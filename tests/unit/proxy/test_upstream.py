"""The server of a server connection: how connecting begins, and errors for clients."""

import errno
import os
import select
import socket
from pathlib import Path

import pytest

from harness.ports import free_port
from twemproxy.config.pools import Address, ListenConfig, PoolConfig, ServerConfig
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.proxy.pool_log import peer_of
from twemproxy.proxy.upstream import Upstream, error_text


class FakePool:
    """A pool, and a resolver that is used only for servers with a name."""

    def __call__(self, host: str, port: int, callback: object) -> None:
        raise AssertionError("nothing has to be looked up")

    def __init__(self, config: PoolConfig) -> None:
        self.config = config

    def now(self) -> int:
        return 0

    def look_by(self, moment: int) -> None:
        raise AssertionError("nothing has to be looked at")


def upstream(address: Address) -> Upstream:
    server = ServerConfig(name="s1", pname="s1:1", address=address, weight=1)
    pool = PoolConfig(name="p", listen=ListenConfig("127.0.0.1:1", Address("127.0.0.1", 1)), servers=(server,))
    fake = FakePool(pool)
    return Upstream(fake, server, RedisCodec(), fake)


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


def test_clients_learn_why_a_name_has_no_address() -> None:
    reply = upstream(Address("127.0.0.1", 1)).unresolved_reply("no such name")
    assert reply == b"-ERR Host is down: no such name (server s1:1 of pool p)\r\n"


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
