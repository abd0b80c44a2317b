"""Clients and servers behind a transport that is no plain socket: one that is as awkward as it may be, and TLS."""

import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Thread
from typing import Any, Protocol

import pytest

from harness.resp import bulk, command
from harness.servers import RedisServer
from harness.waiting import DEADLINE, wait_until
from twemproxy.net.transport import PlainTransport, PythonTransport, WantRead, WantWrite
from unit.in_process import InProcess

INVERTED = bytes(range(255, -1, -1))
HELLO = b"\x05"
CHUNK = 65536
LARGE = b"%07d" * 200_000 % tuple(range(200_000))


class Awkward(PythonTransport):
    """All bits are inverted, and every operation takes as many turns and does as little at a time as it may."""

    def __init__(self, plain: PlainTransport) -> None:
        super().__init__(plain)
        self.greeted = False
        self.calls = 0
        self.received = b""
        self.held = b""
        self.ends = 0

    def every(self, n: int) -> bool:
        self.calls += 1
        return self.calls % n == 0

    def handshake(self) -> None:
        if not self.greeted:
            self.plain.write(HELLO)
            self.greeted = True
        if self.plain.read(1) != HELLO:
            raise ConnectionResetError(104, "no handshake")

    def read(self, most: int) -> bytes:
        if self.every(3):
            raise WantWrite
        if not self.received:
            self.received = self.plain.read(CHUNK).translate(INVERTED)
        data = self.received[: min(most, 5000)]
        self.received = self.received[len(data) :]
        self.buffered = len(self.received)
        return data

    def write(self, data: bytes) -> int:
        if self.every(2) and self.plain.has_input():
            raise WantRead
        if self.held:
            self.push()
        self.held = data[:3000].translate(INVERTED)
        self.unsent = len(self.held)
        return self.unsent

    def push(self) -> None:
        while self.held:
            if self.every(3):
                raise WantWrite
            self.held = self.held[self.plain.write(self.held[:1999]) :]
            self.unsent = len(self.held)

    def end(self) -> None:
        self.push()
        self.ends += 1
        if self.ends < 3:
            raise WantWrite


class Peer(Protocol):
    """The other end of a connection, without blocking."""

    def fileno(self) -> int: ...

    def send(self, data: bytes) -> int: ...

    def recv(self, most: int) -> bytes: ...

    def close(self) -> None: ...


class AwkwardPeer:
    def __init__(self, sock: socket.socket, server_side: bool) -> None:
        self.sock = sock
        sock.settimeout(DEADLINE)
        sock.sendall(HELLO)
        assert sock.recv(1) == HELLO
        sock.setblocking(False)

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, data: bytes) -> int:
        return self.sock.send(data.translate(INVERTED))

    def recv(self, most: int) -> bytes:
        return self.sock.recv(most).translate(INVERTED)

    def close(self) -> None:
        self.sock.close()


def context(server_side: bool) -> ssl.SSLContext:
    """TLS without certificates, which only TLS 1.2 has."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers("aNULL:@SECLEVEL=0")
    if not server_side:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


class Tls(PythonTransport):
    """TLS of Python's standard library, in memory."""

    def __init__(self, plain: PlainTransport, server_side: bool) -> None:
        super().__init__(plain)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context(server_side).wrap_bio(self.incoming, self.outgoing, server_side)
        self.held = b""

    def push(self) -> None:
        self.held += self.outgoing.read()
        while self.held:
            self.unsent = len(self.held)
            self.held = self.held[self.plain.write(self.held) :]
        self.unsent = 0

    def advance(self, step: Callable[[], Any]) -> Any:
        """Call a function of the TLS object; what it wants to read is read first, if there is something."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self.push()
                data = self.plain.read(CHUNK)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            else:
                return result

    def handshake(self) -> None:
        self.advance(self.tls.do_handshake)
        self.push()

    def read(self, most: int) -> bytes:
        self.buffered = 0
        try:
            data: bytes = self.advance(lambda: self.tls.read(most))
        except ssl.SSLZeroReturnError:
            return b""
        self.buffered = self.tls.pending() + self.incoming.pending
        return data

    def write(self, data: bytes) -> int:
        self.push()
        accepted = self.tls.write(data)
        with suppress(WantWrite):
            self.push()
        return accepted

    def end(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.push()


def tls_peer(sock: socket.socket, server_side: bool) -> ssl.SSLSocket:
    sock.settimeout(DEADLINE)
    peer = context(server_side).wrap_socket(sock, server_side)
    peer.setblocking(False)
    return peer


class Kind:
    """A kind of transport: ``transport(plain, server_side)``, and ``peer(socket, server_side)`` of the other end."""

    def __init__(self, transport: Callable[[PlainTransport, bool], PythonTransport], peer: Any) -> None:
        self.transport = transport
        self.peer: Callable[[socket.socket, bool], Peer] = peer


KINDS = {"awkward": Kind(lambda plain, _: Awkward(plain), AwkwardPeer), "TLS": Kind(Tls, tls_peer)}
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def move(peer: Peer, data: bytes) -> tuple[int, bytes | None]:
    """Send and receive what is possible now: (bytes sent, bytes received), None at the end."""
    sent, received = 0, b""
    with suppress(*NOT_NOW):
        sent = peer.send(data[:CHUNK]) if data else 0
    try:
        received = peer.recv(CHUNK)
    except NOT_NOW:
        return sent, b""
    return sent, received or None


def exchange(peer: Peer, data: bytes, length: int) -> bytes:
    """Send the data; returns what was received when this is at least ``length`` bytes, or at the end."""
    received = b""
    while len(received) < length:
        sent, more = move(peer, data)
        data = data[sent:]
        if more is None:
            break
        received += more
        if not more and not sent:
            assert select.select([peer], [peer] if data else [], [], DEADLINE) != ([], [], [])
    return received


def relay(listener: socket.socket, kind: Kind, address: tuple[str, int]) -> None:
    """Accept connections and pass their bytes on to a server, until the listener is closed."""

    def pass_on(sock: socket.socket) -> None:
        ends: tuple[Peer, Peer] = kind.peer(sock, True), socket.create_connection(address)
        ends[1].setblocking(False)  # type: ignore[attr-defined]
        waiting = [b"", b""]
        while True:
            for here, there in ((0, 1), (1, 0)):
                sent, more = move(ends[here], waiting[here])
                waiting[here] = waiting[here][sent:]
                if more is None:
                    for end in ends:
                        end.close()
                    return
                waiting[there] += more
            select.select(ends, [], [], 0.002)

    while True:
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        Thread(target=pass_on, args=[accepted], daemon=True).start()


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def behind(kind: Kind, redis: RedisServer) -> Iterator[int]:
    """The port of a server that is reached through a transport of this kind."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=relay, args=[listener, kind, ("127.0.0.1", redis.port)], daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(DEADLINE)


def proxy_of(kind: Kind, port: int, *, clients: bool, servers: bool) -> InProcess:
    """A proxy whose connections to clients or servers have a transport of this kind."""
    proxy = InProcess(redis=True, servers=[f"127.0.0.1:{port}:1"])
    pool = proxy.data_plane.pools[0]
    if clients:
        pool.client_transport = lambda plain: kind.transport(plain, True)
    if servers:
        pool.server_transport = lambda plain: kind.transport(plain, False)
    return proxy


def large_traffic() -> tuple[bytes, bytes]:
    """Requests and their replies: pipelined ones, large ones, a split one."""
    requests = [command("SET", f"k{i}", "v" * i) for i in range(300)] + [command("GET", f"k{i}") for i in range(300)]
    replies = [b"+OK\r\n"] * 300 + [bulk("v" * i) for i in range(300)]
    requests += [command("SET", "large", LARGE), command("GET", "large"), command("MGET", "k1", "large", "k2")]
    replies += [b"+OK\r\n", bulk(LARGE), b"*3\r\n" + bulk("v") + bulk(LARGE) + bulk("vv")]
    return b"".join(requests), b"".join(replies)


def test_clients_behind_a_transport(kind: Kind, redis: RedisServer) -> None:
    requests, replies = large_traffic()
    with proxy_of(kind, redis.port, clients=True, servers=False) as proxy:
        peer = kind.peer(proxy.client().sock, False)
        assert exchange(peer, requests, len(replies)) == replies
        assert exchange(peer, command("QUIT"), 1000) == b"+OK\r\n"
        peer.close()


def test_servers_behind_a_transport(kind: Kind, behind: int) -> None:
    requests, replies = large_traffic()
    with proxy_of(kind, behind, clients=False, servers=True) as proxy:
        client = proxy.client()
        client.send(requests)
        client.expect(replies)


def test_both_sides_behind_a_transport(kind: Kind, behind: int) -> None:
    requests, replies = large_traffic()
    with proxy_of(kind, behind, clients=True, servers=True) as proxy:
        peers = [kind.peer(proxy.client().sock, False) for _ in range(3)]
        for peer in peers:
            assert exchange(peer, requests, len(replies)) == replies
        for peer in peers:
            peer.close()
        wait_until(lambda: proxy.call(proxy.data_plane.clients) == [], "the proxy has closed the clients")


def test_a_client_whose_handshake_fails_is_closed(kind: Kind, redis: RedisServer) -> None:
    with proxy_of(kind, redis.port, clients=True, servers=False) as proxy:
        client = proxy.client()
        client.send(command("PING"))
        client.read_to_end()
        assert proxy.call(proxy.data_plane.clients) == []


def test_a_server_whose_handshake_fails_is_an_error(kind: Kind) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        proxy_of(kind, listener.getsockname()[1], clients=False, servers=True) as proxy,
    ):
        client = proxy.client()
        client.send(command("GET", "key"))
        for _ in range(2):
            # The request was not written, so it is sent once more.
            listener.accept()[0].close()
        assert client.reply().startswith(b"-ERR ")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_defect_of_a_transport_closes_its_connection(redis: RedisServer) -> None:
    class Defective(PythonTransport):
        def read(self, most: int) -> bytes:
            return b"x" * (most + 1)

    with InProcess(redis=True, servers=[f"127.0.0.1:{redis.port}:1"]) as proxy:
        pool = proxy.data_plane.pools[0]
        pool.client_transport = Defective
        bad = proxy.client()
        bad.send(command("PING"))
        bad.expect_closed()
        pool.client_transport = None
        assert proxy.client().ask("SET", "key", "value") == b"+OK\r\n"
