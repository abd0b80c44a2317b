"""The connections of clients at work, and one thread that serves them all."""

import random
import select
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import heappop, heappush
from types import TracebackType
from typing import Self

from faults.client import Client
from faults.ledger import Violation
from faults.tally import Tally
from harness.waiting import DEADLINE, wait_until

_CHUNK = 1 << 18
_TURN = 0.05
"""The seconds after which the thread checks whether it has to stop."""


class _Wire:
    """A client's connection, which is renewed when the proxy closes it."""

    def __init__(self, client: Client, port: int) -> None:
        self.client = client
        self.port = port
        self.unsent = b""
        self.sent_at = 0.0
        self.sock: socket.socket
        self.connect()

    def connect(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unsent = b""


class Load:
    """Clients that each send a pipeline, verify all its replies, and send the next pipeline, until ``stop``.

    The end of the context calls ``stop``, which raises the exception that ended the thread, if there is one.
    """

    def __init__(
        self, clients: Iterable[tuple[Client, int]], tally: Tally, *, pause: float = 0.0, churn: float = 0.0
    ) -> None:
        """``clients``: clients with their ports. ``pause``: mean seconds between two pipelines of a client. ``churn``:
        the probability that a client reconnects after a pipeline."""
        self.tally = tally
        self._pause = pause
        self._churn = churn
        self._epoll = select.epoll()
        self._wires: dict[int, _Wire] = {}
        self._due: list[tuple[float, int]] = []
        self._stopping = False
        self._died: BaseException | None = None
        for client, port in clients:
            self._register(_Wire(client, port))
        self.clients = [wire.client for wire in self._wires.values()]
        self._thread = threading.Thread(target=self._work, name="load", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let every client get its pending replies, and send no more; replies that do not come are violations."""
        self._stopping = True
        self._thread.join()
        for wire in self._wires.values():
            if wire.client.pending:
                self.tally.violation(Violation("lost", f"{len(wire.client.pending)} replies never came"))
                wire.client.lose()
            wire.sock.close()
        self._wires.clear()
        self._epoll.close()
        if self._died is not None:
            raise self._died

    def wait_answered(self, count: int) -> None:
        """Wait until ``count`` more replies have come."""
        target = self.tally.answered + count
        self._wait(lambda: self.tally.answered >= target, f"{count} more replies came")

    def wait_round(self, homes: Collection[int] | None = None) -> None:
        """Wait until every client of these homes has completed a pipeline that it began after this call."""
        targets = [(client, client.began + 1) for client in self.clients_of(homes)]
        self._wait(lambda: all(client.completed >= target for client, target in targets), "all clients were answered")

    def wait_well(self, homes: Collection[int] | None = None, clients: Sequence[Client] | None = None) -> None:
        """Wait until every client has completed a pipeline without errors that it began after this call."""
        awaited = {client: client.began + 1 for client in clients or self.clients_of(homes)}

        def well() -> bool:
            for client, target in list(awaited.items()):
                if client.completed >= target:
                    if client.failed >= target:
                        awaited[client] = client.began + 1
                    else:
                        del awaited[client]
            return not awaited

        self._wait(well, "all clients get answers without errors")

    def clients_of(self, homes: Collection[int] | None) -> Sequence[Client]:
        """The clients with one of these homes; None for all clients."""
        return [client for client in self.clients if homes is None or client.home in homes]

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(lambda: self._died is not None or condition(), what)
        if self._died is not None:
            raise self._died

    def _work(self) -> None:
        try:
            for descriptor in list(self._wires):
                self._begin(descriptor)
            while not self._stopping or self._drains():
                self._turn()
        except BaseException as error:
            self._died = error

    def _drains(self) -> bool:
        """Whether a client waits for replies, and has not waited for too long."""
        now = time.perf_counter()
        return any(wire.client.pending and now - wire.sent_at < DEADLINE for wire in self._wires.values())

    def _turn(self) -> None:
        now = time.perf_counter()
        while self._due and self._due[0][0] <= now:
            self._begin(heappop(self._due)[1])
        wait = min(_TURN, self._due[0][0] - now) if self._due else _TURN
        for descriptor, event in self._epoll.poll(max(wait, 0)):
            wire = self._wires[descriptor]
            if event & select.EPOLLOUT:
                self._send(wire)
            if event & ~select.EPOLLOUT:
                self._receive(wire)

    def _begin(self, descriptor: int) -> None:
        wire = self._wires.get(descriptor)
        if wire is None or self._stopping or wire.client.pending:
            return
        wire.unsent = wire.client.pipeline()
        wire.sent_at = time.perf_counter()
        self._send(wire)

    def _send(self, wire: _Wire) -> None:
        try:
            size = wire.sock.send(wire.unsent)
        except BlockingIOError:
            size = 0
        except OSError:
            # The next read reports the error.
            size = len(wire.unsent)
        wire.unsent = wire.unsent[size:]
        self._epoll.modify(wire.sock, select.EPOLLIN | (select.EPOLLOUT if wire.unsent else 0))

    def _receive(self, wire: _Wire) -> None:
        try:
            data = wire.sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._renew(wire, str(error))
            return
        if not data:
            self._renew(wire, "closed")
        elif not wire.client.take(data):
            self._renew(wire, "")
        elif not wire.client.pending:
            self._completed(wire)

    def _completed(self, wire: _Wire) -> None:
        now = time.perf_counter()
        self.tally.latency(wire.client.home, now - wire.sent_at)
        if wire.client.choose.random() < self._churn:
            self._renew(wire, "")
            return
        self._begin_later(wire, now)

    def _begin_later(self, wire: _Wire, now: float) -> None:
        if self._pause:
            heappush(self._due, (now + random.expovariate(1 / self._pause), wire.sock.fileno()))
        else:
            self._begin(wire.sock.fileno())

    def _renew(self, wire: _Wire, reason: str) -> None:
        """Replace the connection; ``reason``: why the proxy has closed it, if it has."""
        if reason:
            waiting = len(wire.client.pending)
            self.tally.violation(Violation("closed", f"by the proxy, with {waiting} replies to come: {reason}"))
        wire.client.lose()
        del self._wires[wire.sock.fileno()]
        wire.sock.close()
        wire.connect()
        self._register(wire)
        self._begin_later(wire, time.perf_counter())

    def _register(self, wire: _Wire) -> None:
        self._wires[wire.sock.fileno()] = wire
        self._epoll.register(wire.sock, select.EPOLLIN)
