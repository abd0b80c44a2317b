"""A TCP relay between the proxy and a server, which disturbs connections as networks do."""

import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from harness.ports import free_port
from harness.waiting import wait_until

_CHUNK = 1 << 16
_TURN = 0.05
_REST = 0.001
"""Seconds of a pause."""
_RESET = struct.pack("ii", 1, 0)


class Manner:
    """How bytes are passed on. This manner changes nothing; other manners override a part of it."""

    delay = 0.0
    """Seconds for which bytes are held back."""
    for_new = False
    """Whether it is for new connections: the existing connections are reset when it begins and when it ends."""

    def budgets(self) -> tuple[int | None, int | None]:
        """The bytes of a new connection, to the server and from it, after which ``exhausted`` happens; None: never."""
        return None, None

    exhausted = ""
    """``reset``, ``stall`` or ``half-close``."""

    def piece(self) -> int:
        """The largest number of bytes to pass on next."""
        return _CHUNK

    def pause(self) -> float:
        """Seconds to wait after a piece is passed on."""
        return 0.0


class Bytewise(Manner):
    """One byte at a time, with pauses: without them the relay would take a whole processor."""

    def __init__(self) -> None:
        self._pieces = 0

    def piece(self) -> int:
        return 1

    def pause(self) -> float:
        self._pieces += 1
        return _REST if self._pieces % 64 == 0 else 0.0


class Halting(Manner):
    """A pause after every few bytes."""

    def __init__(self, choose: random.Random, most: int = 400) -> None:
        self._choose = choose
        self._most = most

    def piece(self) -> int:
        return self._choose.randint(1, self._most)

    def pause(self) -> float:
        return _REST


class Delayed(Manner):
    """All bytes arrive a little later."""

    def __init__(self, seconds: float) -> None:
        self.delay = seconds


class _Limited(Manner):
    """Something happens to every connection at a random byte."""

    for_new = True

    def __init__(self, choose: random.Random, most: int = 3000) -> None:
        self._choose = choose
        self._most = most

    def budgets(self) -> tuple[int | None, int | None]:
        budget = self._choose.randrange(1, self._most)
        return (budget, None) if self._choose.random() < 0.5 else (None, budget)


class Resetting(_Limited):
    """Both ends get a RST."""

    exhausted = "reset"


class Stalling(_Limited):
    """No more bytes are passed on in this direction."""

    exhausted = "stall"


class HalfClosing(_Limited):
    """This direction ends with a FIN; the other direction continues."""

    exhausted = "half-close"


class _Way:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, target: socket.socket, budget: int | None) -> None:
        self.source = source
        self.target = target
        self.budget = budget
        self.held = bytearray()
        self.ended = False
        self.stalled = False


class Relay:
    """A listening socket in front of a server, and a thread that passes bytes on in the current ``manner``."""

    def __init__(self, server_port: int, host: str = "127.0.0.1", port: int = 0) -> None:
        """``host``, ``port``: the address to listen at; port 0 is any free port."""
        self._server_port = server_port
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, port or free_port()))
        self._listener.listen(512)
        self._listener.setblocking(False)
        self.host = host
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self.happened = 0
        """The number of connections that were reset, stalled or half-closed."""
        self._manner = Manner()
        self._cut = False
        self._stopping = False
        self._ways: dict[socket.socket, _Way] = {}
        self._thread = threading.Thread(target=self._work, name="relay", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()

    @property
    def is_used(self) -> bool:
        """Whether there are connections."""
        return bool(self._ways)

    def lead_to(self, server_port: int) -> None:
        """Have new connections lead to another port."""
        self._server_port = server_port

    @contextmanager
    def behaving(self, manner: Manner) -> Iterator[None]:
        """Pass bytes on in this manner while the context lasts."""
        self._manner, self._cut = manner, manner.for_new
        try:
            yield
        finally:
            self._manner, self._cut = Manner(), manner.for_new
            wait_until(lambda: not self._cut, "the relay has ended what it did")

    def _work(self) -> None:
        while not self._stopping:
            if self._cut:
                self.happened += len(self._ways) // 2
                self._drop_all(self._reset)
                self._cut = False
            sources = [sock for sock, way in self._ways.items() if not way.ended and not way.held and not way.stalled]
            targets = [way.target for way in self._ways.values() if way.held]
            poll = select.poll()
            for sock in {self._listener, *sources, *targets}:
                wanted = 0 if sock in targets and sock not in sources else select.POLLIN
                poll.register(sock, wanted | (select.POLLOUT if sock in targets else 0))
            self._serve(poll)
        self._drop_all(self._drop)
        self._listener.close()

    def _drop_all(self, drop: Callable[[socket.socket], None]) -> None:
        while self._ways:
            drop(next(iter(self._ways)))

    def _serve(self, poll: select.poll) -> None:
        by_number = {sock.fileno(): sock for sock in self._ways}
        for descriptor, event in poll.poll(_TURN * 1000):
            if descriptor == self._listener.fileno():
                self._accept()
                continue
            sock = by_number[descriptor]
            if sock not in self._ways:
                continue
            if event & ~select.POLLOUT:
                self._take(self._ways[sock])
            if sock in self._ways and event & select.POLLOUT:
                other = self._ways[sock].target
                self._pass_on(self._ways[other])

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._server_port), timeout=5)
        except OSError:
            # To the proxy this looks like a server that is not there.
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            near.close()
            return
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        to_server, from_server = self._manner.budgets()
        self._ways[near] = _Way(near, far, to_server)
        self._ways[far] = _Way(far, near, from_server)

    def _take(self, way: _Way) -> None:
        if way.ended or way.held or way.stalled:
            return
        try:
            data = way.source.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._reset(way.source)
            return
        if not data:
            self._end(way)
            return
        way.held += data
        if self._manner.delay:
            self._hold(self._manner.delay)
        self._pass_on(way)

    def _hold(self, seconds: float) -> None:
        # The thread serves this server only, so holding the bytes of one connection holds all bytes.
        time.sleep(seconds)

    def _pass_on(self, way: _Way) -> None:
        size = len(way.held) if way.budget is None else min(len(way.held), way.budget)
        try:
            while size > 0:
                sent = way.target.send(way.held[: min(self._manner.piece(), size)])
                del way.held[:sent]
                size -= sent
                if way.budget is not None:
                    way.budget -= sent
                if size > 0 and (pause := self._manner.pause()):
                    self._hold(pause)
        except BlockingIOError:
            return
        except OSError:
            self._reset(way.source)
            return
        if way.budget == 0:
            self._exhaust(way)

    def _exhaust(self, way: _Way) -> None:
        way.budget = None
        way.held.clear()
        self.happened += 1
        if self._manner.exhausted == "stall":
            way.stalled = True
        elif self._manner.exhausted == "half-close":
            way.stalled = True
            way.target.shutdown(socket.SHUT_WR)
        else:
            self._reset(way.source)

    def _end(self, way: _Way) -> None:
        way.ended = True
        try:
            way.target.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(way.source)
            return
        if self._ways[way.target].ended or self._ways[way.target].stalled:
            self._drop(way.source)

    def _reset(self, sock: socket.socket) -> None:
        for end in (sock, self._ways[sock].target):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        other = self._ways[sock].target
        for end in (sock, other):
            del self._ways[end]
            end.close()
