"""``nutcracker plan --fleet`` with small statistics ports."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from twemproxy.cli import main

Captured = pytest.CaptureFixture[str]


def document(servers: tuple[str, ...] = ("a", "b"), ring: str = "r1", config: str = "c1", **pools: Any) -> bytes:
    """The full document of a proxy with the pool alpha."""
    alpha = {"client_eof": 0, **{server: {"server_eof": 0} for server in servers}, "ring_fingerprint": ring}
    head = {"service": "nutcracker", "source": "host", "uptime": 1, "curr_connections": 1}
    return json.dumps({**head, "alpha": alpha, **pools, "memory_held": 0, "config_fingerprint": config}).encode()


@contextmanager
def listening(listener: socket.socket, reply: bytes) -> Iterator[None]:
    """A statistics port that sends a reply to each reader that asks for the full document."""

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                asked = connection.recv(100)
                if not asked:
                    return
                assert asked == b"GET /stats.json\n"
                connection.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        with socket.socket(listener.family) as last:
            last.connect(listener.getsockname())
            last.shutdown(socket.SHUT_WR)
            thread.join()
        listener.close()


@pytest.fixture
def fleet() -> Iterator[Any]:
    """Starts a statistics port for each document; returns their addresses."""
    with ExitStack() as ports:

        def start(*replies: bytes) -> list[str]:
            addresses = []
            for reply in replies:
                listener = socket.create_server(("127.0.0.1", 0))
                ports.enter_context(listening(listener, reply))
                addresses.append(f"127.0.0.1:{listener.getsockname()[1]}")
            return addresses

        yield start


def run(capsys: Captured, *arguments: str) -> tuple[int, str, str]:
    return main(["plan", *arguments]), *capsys.readouterr()


def test_proxies_that_are_alike(capsys: Captured, fleet: Any) -> None:
    addresses = fleet(document(), document(), document())
    assert run(capsys, "--fleet", ",".join(addresses)) == (0, "3 proxies are alike\n", "")


def test_what_differs(capsys: Captured, fleet: Any) -> None:
    beta = {"ring_fingerprint": "r9", "x": {}}
    first, second, third = fleet(
        document(beta=beta), document(("a", "c"), "r2", "c2", beta=beta), document(("a", "b"), "r1", "c3")
    )
    status, out, err = run(capsys, "--fleet", f"{second},{first}, {third}")
    assert (status, err) == (2, "")
    assert out.splitlines() == [
        f"configuration fingerprint: c2 at {second}; c1 at {first}; c3 at {third}",
        f'ring fingerprint of pool "alpha": r1 at {first}, {third}; r2 at {second}',
        f'server "c" of pool "alpha": missing at {first}, {third}; present at {second}',
        f'server "b" of pool "alpha": present at {first}, {third}; missing at {second}',
        f'pool "beta": present at {second}, {first}; missing at {third}',
    ]


def test_document_for_programs(capsys: Captured, fleet: Any) -> None:
    first, second = fleet(document(), document(ring="r2"))
    status, out, _ = run(capsys, "--json", "--fleet", f"{first},{second}")
    assert status == 2
    found = json.loads(out)
    assert found["differences"] == [
        {"subject": 'ring fingerprint of pool "alpha"', "values": {"r1": [first], "r2": [second]}}
    ]
    assert found["proxies"][0] == {
        "address": first,
        "error": "",
        "config_fingerprint": "c1",
        "pools": {"alpha": {"ring_fingerprint": "r1", "servers": ["a", "b"]}},
    }


def test_a_proxy_without_fingerprints(capsys: Captured, fleet: Any) -> None:
    older = json.dumps({"service": "nutcracker", "alpha": {"a": {}, "b": {}}}).encode()
    first, second = fleet(document(), older)
    _, out, _ = run(capsys, "--fleet", f"{first},{second}")
    assert f"configuration fingerprint: c1 at {first}; none (another version) at {second}\n" in out


def test_a_proxy_that_cannot_be_read_is_an_error_and_the_others_are_compared(
    capsys: Captured, fleet: Any, tmp_path: Path
) -> None:
    first, second, other, wrong = fleet(document(), document(ring="r2"), b"HTTP/1.1 400", b"[]")
    nothing = str(tmp_path / "nothing.sock")
    status, out, _ = run(capsys, "--fleet", f"{first},{nothing},{second},{other},{wrong}")
    assert status == 1
    assert out.splitlines() == [
        f"{nothing}: the statistics cannot be read: No such file or directory",
        f"{other}: does not reply with the statistics of a proxy",
        f"{wrong}: does not reply with the statistics of a proxy",
        f'ring fingerprint of pool "alpha": r1 at {first}; r2 at {second}',
    ]


def test_a_unix_socket(capsys: Captured, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    with listening(listener, document()):
        assert run(capsys, "--fleet", path) == (0, "1 proxy is read\n", "")


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "\udcff", ""])
def test_hosts_that_are_none(capsys: Captured, host: str) -> None:
    status, out, err = run(capsys, "--fleet", f"{host}:1")
    assert (status, err) == (1, "")
    assert ": the statistics cannot be read: " in out


@pytest.mark.parametrize("address", ["", "host", "host:", "host:0", "host:65536", "host:x"])
def test_addresses_that_are_none(capsys: Captured, address: str) -> None:
    status, out, err = run(capsys, "--fleet", f"127.0.0.1:1,{address}")
    assert (status, out) == (1, "")
    needed = "--fleet needs addresses as host:port, or paths of unix sockets"
    assert err == f'nutcracker plan: {needed}: "{address}"\n'
