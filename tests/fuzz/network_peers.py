"""The peers of a fuzzed proxy: careless clients, senseless servers, and clients that verify replies."""

import random
import select
import socket
import struct
import threading
from collections.abc import Sequence

from fuzz.network_streams import nonsense, stream
from harness import memcache, resp
from harness.connection import Connection, connect

_RESET = struct.pack("ii", 1, 0)
_PIECES = [1, 7, 100, 5000, 100_000]
_MOST_READ = 1 << 20
_PAUSE = 0.001
_PATIENCE = 0.05
"""Seconds for which a careless client waits until it can send again."""


class Peer(threading.Thread):
    """A thread that does its ``work`` until it is done, fails, or has to stop."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.stopping = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.failure = error

    def work(self) -> None:
        """The work of this peer; it ends soon after ``stopping`` is set."""
        raise NotImplementedError

    def stop(self) -> None:
        """Tell the thread to stop, and wait for its end."""
        self.stopping.set()
        self.join()


class CarelessClient(Peer):
    """Opens one connection after the other and sends anything; the bytes depend on the seed and the client's name only.

    It opens no more connections than each verifying client has pipelines answered: otherwise the proxy has too much
    work, which looks like a hang.
    """

    def __init__(
        self, name: str, seed: int, ports: Sequence[tuple[int, bool]], verifiers: Sequence["VerifyingClient"]
    ) -> None:
        """``ports``: (port, whether its pool is a redis pool)."""
        super().__init__(name)
        self.seed = seed
        self.ports = ports
        self.verifiers = verifiers
        self.connections = self.streams = self.bytes = 0

    def work(self) -> None:
        while not self.stopping.is_set():
            if self.connections > min(verifier.pipelines for verifier in self.verifiers):
                self.stopping.wait(_PAUSE)
                continue
            source = random.Random(f"{self.seed} {self.name} {self.connections}")
            port, redis = source.choice(self.ports)
            self.connections += 1
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.setblocking(False)
                try:
                    for _ in range(source.randrange(1, 6)):
                        self._send(sock, stream(source, redis), source)
                except OSError:
                    continue
                if source.random() < 0.3:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _send(self, sock: socket.socket, data: bytes, source: random.Random) -> None:
        """Send in pieces and read at times; what the proxy does not take soon is not sent."""
        view = memoryview(data)
        self.streams += 1
        while view and not self.stopping.is_set():
            if source.random() < 0.5 and select.select([sock], [], [], 0)[0] and not sock.recv(_MOST_READ):
                raise ConnectionResetError
            if not select.select([], [sock], [], _PATIENCE)[1]:
                return
            sent = sock.send(view[: source.choice(_PIECES)])
            self.bytes += sent
            view = view[sent:]


class SenselessServer(Peer):
    """Replies to anything with anything or nothing, and closes connections at any place."""

    def __init__(self, name: str, seed: int, redis: bool) -> None:
        """``redis``: whether the protocol is redis or memcached."""
        super().__init__(name)
        self.source = random.Random(f"{seed} {name}")
        self.redis = redis
        self.answers = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._clients: set[socket.socket] = set()

    @property
    def address(self) -> str:
        """``host:port``, the beginning of a ``servers`` entry."""
        return f"127.0.0.1:{self.port}"

    def work(self) -> None:
        while not self.stopping.is_set():
            for sock in select.select([self._listener, *self._clients], [], [], 0.05)[0]:
                if sock is self._listener:
                    client = sock.accept()[0]
                    client.setblocking(False)
                    self._clients.add(client)
                    continue
                try:
                    goes_on = self._answer(sock)
                except OSError:
                    goes_on = False
                if not goes_on:
                    self._clients.remove(sock)
                    sock.close()

    def stop(self) -> None:
        super().stop()
        for sock in (self._listener, *self._clients):
            sock.close()

    def _answer(self, sock: socket.socket) -> bool:
        """Reply; returns whether the connection continues."""
        asked = sock.recv(_MOST_READ)
        if not asked:
            return False
        source = self.source
        self.answers += 1
        said = nonsense(source, self.redis)
        if source.random() < 0.6:
            # A sensible reply comes first, so that the proxy reads further.
            said = (b"+PONG\r\n" if self.redis else b"VERSION 1.6.18\r\n") + said
        cut = source.randrange(len(said) + 1) if source.random() < 0.1 else len(said)
        sock.send(said[:cut])
        if source.random() < 0.1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return False
        return source.random() > 0.05


class VerifyingClient(Peer):
    """Sends requests whose replies it knows, in pipelines, on one connection that must stay open."""

    def __init__(self, name: str, seed: int, port: int) -> None:
        super().__init__(name)
        self.source = random.Random(f"{seed} {name}")
        self.keys = [f"verified:{name}:{number}" for number in range(12)]
        self.values: dict[str, bytes] = {}
        self.connection: Connection = connect("127.0.0.1", port)
        self.replies = self.pipelines = 0
        self._written = 0

    def work(self) -> None:
        while not self.stopping.wait(_PAUSE):
            self.verify()
        self.connection.close()

    def verify(self) -> None:
        """Send one pipeline, and verify every byte of its replies."""
        pairs = [self.exchange() for _ in range(self.source.choice([1, 3, 20]))]
        self.connection.send(b"".join(request for request, _ in pairs))
        for _, reply in pairs:
            self.connection.expect(reply)
            self.replies += 1
        self.pipelines += 1
        assert not self.connection.received, f"a reply too many: {bytes(self.connection.received[:200])!r}"

    def exchange(self) -> tuple[bytes, bytes]:
        """A request and its correct reply."""
        raise NotImplementedError

    def new_value(self, key: str) -> bytes:
        """A new value for the key; it contains the key and a number."""
        self._written += 1
        filling = b"." * self.source.choice([0, 0, 50, 3000])
        self.values[key] = value = b"%s=%d\r\n%s" % (key.encode(), self._written, filling)
        return value


class RedisVerifier(VerifyingClient):
    """A verifying client of a redis pool."""

    def exchange(self) -> tuple[bytes, bytes]:
        key = self.source.choice(self.keys)
        match self.source.randrange(4):
            case 0:
                return resp.command("SET", key, self.new_value(key)), resp.OK
            case 1:
                return resp.command("DEL", key), resp.integer(self.values.pop(key, None) is not None)
            case 2:
                keys = self.source.sample(self.keys, 4)
                return resp.command("MGET", *keys), resp.array(*(self._bulk(name) for name in keys))
            case _:
                return resp.command("GET", key), self._bulk(key)

    def _bulk(self, key: str) -> bytes:
        value = self.values.get(key)
        return resp.NULL if value is None else resp.bulk(value)


class MemcachedVerifier(VerifyingClient):
    """A verifying client of a memcached pool."""

    def exchange(self) -> tuple[bytes, bytes]:
        key = self.source.choice(self.keys)
        match self.source.randrange(4):
            case 0:
                return memcache.store("set", key, self.new_value(key)), memcache.STORED
            case 1:
                known = self.values.pop(key, None) is not None
                return f"delete {key}\r\n".encode(), memcache.DELETED if known else memcache.NOT_FOUND
            case 2:
                keys = self.source.sample(self.keys, 4)
                return f"get {' '.join(keys)}\r\n".encode(), b"".join(map(self._value, keys)) + memcache.END
            case _:
                return f"get {key}\r\n".encode(), self._value(key) + memcache.END

    def _value(self, key: str) -> bytes:
        value = self.values.get(key)
        return b"" if value is None else memcache.value(key, value)
