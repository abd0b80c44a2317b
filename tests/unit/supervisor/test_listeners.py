"""Listening sockets: options, modes, which files they replace, and which files they leave."""

import os
import socket
from pathlib import Path

import pytest
from supervised import mode_of

from twemproxy.config.pools import Address, ListenConfig, PoolConfig
from twemproxy.supervisor.errors import StartError
from twemproxy.supervisor.listeners import Listener, listen_for_stats, listen_on


def pool(address: Address, text: str, **directives: int) -> PoolConfig:
    permission = directives.pop("permission", 0)
    return PoolConfig("alpha", ListenConfig(text, address, permission), (), **directives)  # type: ignore[arg-type]


def option(listener: Listener, name: int) -> int:
    return listener.socket.getsockopt(socket.SOL_SOCKET, name)


def test_tcp_options() -> None:
    listener = listen_on(pool(Address("127.0.0.1"), "127.0.0.1:0"))
    assert option(listener, socket.SO_ACCEPTCONN)
    assert option(listener, socket.SO_REUSEADDR)
    assert not option(listener, socket.SO_REUSEPORT)
    assert not os.get_blocking(listener.socket.fileno())
    assert not listener.socket.get_inheritable()
    listener.close()


def test_two_listeners_with_reuseport_share_a_port() -> None:
    one = listen_on(pool(Address("127.0.0.1"), "127.0.0.1:0", reuseport=True))
    port = one.socket.getsockname()[1]
    two = listen_on(pool(Address("127.0.0.1", port), f"127.0.0.1:{port}", reuseport=True))
    one.close()
    two.close()


def test_a_port_in_use_is_refused_with_pool_address_and_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError) as refused:
            listen_on(pool(Address("127.0.0.1", port), f"127.0.0.1:{port}"))
        assert str(refused.value) == (f"pool 'alpha': listen on '127.0.0.1:{port}' failed: Address already in use")
        with pytest.raises(StartError, match=f"^statistics: listen on '127.0.0.1:{port}' failed: Address alr"):
            listen_for_stats("127.0.0.1", port)


def test_backlog_is_passed_as_it_is(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listener = listen_on(pool(Address(path=path), path, backlog=0))
    waiting = []
    for _ in range(2):
        waiting.append(socket.socket(socket.AF_UNIX))
        waiting[-1].setblocking(False)
    waiting[0].connect(path)
    with pytest.raises(BlockingIOError):  # a backlog of 0 leaves room for one connection
        waiting[1].connect(path)
    for client in waiting:
        client.close()
    listener.close()


@pytest.mark.parametrize(("umask", "permission", "mode"), [(0o022, 0, 0o755), (0o077, 0o666, 0o666), (0, 0o600, 0o600)])
def test_mode_of_a_unix_socket(tmp_path: Path, umask: int, permission: int, mode: int) -> None:
    path = tmp_path / "s"
    before = os.umask(umask)
    try:
        listener = listen_on(pool(Address(path=str(path)), str(path), permission=permission))
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert mode_of(path) == mode
    listener.close()
    assert not path.exists()


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
@pytest.mark.parametrize("permission", [0o600, 0o660, 0o666, 0o777])
def test_a_unix_socket_has_its_mode_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int, permission: int
) -> None:
    path = tmp_path / "s"
    modes = []

    class Watched(socket.socket):
        def bind(self, address: object) -> None:
            super().bind(address)  # type: ignore[arg-type]
            modes.append(mode_of(path))

    def chmod(*arguments: object) -> None:
        # By then another file than the socket may be at the path.
        raise AssertionError(arguments)

    monkeypatch.setattr(socket, "socket", Watched)
    monkeypatch.setattr(os, "chmod", chmod)
    before = os.umask(umask)
    try:
        listener = listen_on(pool(Address(path=str(path)), str(path), permission=permission))
    finally:
        os.umask(before)
    assert modes == [permission]
    assert mode_of(path) == permission
    listener.close()


def test_a_socket_in_the_way_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    listener = listen_on(pool(Address(path=str(path)), str(path)))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listener.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_anything_else_in_the_way_stays_and_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match=r"failed: the file at this path is not a socket$"):
        listen_on(pool(Address(path=str(path)), str(path)))
    assert os.path.lexists(path)


def test_the_file_of_another_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = listen_on(pool(Address(path=str(path)), str(path)))
    second = listen_on(pool(Address(path=str(path)), str(path)))
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "s"
    with pytest.raises(StartError, match="No such file or directory"):
        listen_on(pool(Address(path=str(path)), str(path)))


def test_stats_on_a_host_a_path_and_nowhere(tmp_path: Path) -> None:
    by_name = listen_for_stats("localhost", 0)
    assert by_name.socket.family in (socket.AF_INET, socket.AF_INET6)
    by_name.close()
    by_path = listen_for_stats(str(tmp_path / "stats"), 22222)
    assert by_path.socket.getsockname() == str(tmp_path / "stats")
    by_path.close()
    with pytest.raises(StartError, match=r"^statistics: listen on 'no\.such\.invalid:22222' failed: "):
        listen_for_stats("no.such.invalid", 22222)
