"""A data plane in the process of a test, in a thread of its own."""

import mmap
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Self

from harness.connection import Connection
from harness.proxy import PoolDirectives, to_yaml
from harness.waiting import DEADLINE
from twemproxy.config.loading import loads
from twemproxy.config.pools import Config, PoolConfig
from twemproxy.ipc.messages import PoolSlots
from twemproxy.log import ERR
from twemproxy.net.event_loop import CallbackChannel
from twemproxy.stats.counters import CounterTable, WorkerTables
from twemproxy.stats.slots import OF_POOL, OF_SERVER
from twemproxy.stats.snapshot import POOL, SERVER, Latency, PoolSnapshot, Snapshot, take, take_latency, take_rows
from twemproxy.supervisor.statistics import Statistics
from twemproxy.upstream.server_pool import ring_builder
from twemproxy.worker.build import codec_of
from twemproxy.worker.data_plane import DataPlane


def configuration(pool: PoolDirectives) -> PoolConfig:
    """The configuration of a pool with these directives."""
    [config] = loads(to_yaml({"alpha": {"listen": "127.0.0.1:1", **pool}}).encode(), "nutcracker.yml").pools
    return config


class Counters:
    """The counter table of a data plane, for ``stats.snapshot``."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._words = memoryview(memory).cast("Q")
        self.compiled = CounterTable(memory)

    def __getitem__(self, position: int, /) -> int:
        return self._words[position]

    def words(self, position: int, count: int) -> bytes:
        """The words of a histogram."""
        return self._words[position : position + count].tobytes()


def new_data_plane(
    config: PoolConfig, codec: Any, statistics: Statistics | None = None, counters: mmap.mmap | None = None
) -> Any:
    """A data plane with one pool, without listeners.

    ``statistics``: where its counters are allocated; data planes with the same one are workers of one proxy.
    ``counters``: its table, None for a new one.
    """
    shared = -1 if statistics is None else statistics.shared.descriptor
    statistics = statistics or Statistics(Config((config,)))
    own = counters or mmap.mmap(-1, statistics.slots.size)
    tables = WorkerTables(CounterTable(own), CounterTable(mmap.mmap(shared, statistics.slots.size)))
    data_plane: Any = DataPlane(tables, ERR, 16384, 100, 0)
    slots = statistics.slots_of(config)
    pool = data_plane.new_pool(config, codec, slots, lambda *_: None, ring_builder(config))
    data_plane.pools.append(pool)
    return data_plane


def replace_settings(data_plane: Any, config: PoolConfig, slots: PoolSlots) -> None:
    """Replace the settings of the only pool of a data plane; call this in the thread of the data plane."""
    [pool] = data_plane.pools
    data_plane.update([(pool, pool.prepare(config, slots))])


class InProcess:
    """A data plane with one pool, and its clients."""

    def __init__(self, **pool: object) -> None:
        """``pool``: the directives; the pool listens on a free port whatever they say."""
        config = configuration(pool)
        self._statistics = Statistics(Config((config,)))
        memory = mmap.mmap(-1, self._statistics.slots.size)
        self._counters = Counters(memory)
        self.data_plane = new_data_plane(config, codec_of(config), self._statistics, memory)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.data_plane.serve(self.data_plane.pools, {config.listen.address: self._listener.fileno()})
        self.data_plane.accept()
        self._clients: list[Connection] = []
        self._calls: SimpleQueue[tuple[Callable[[], object], Future[Any]]] = SimpleQueue()
        self._ours, self._theirs = socket.socketpair()
        self.data_plane.loop.watch_reads(CallbackChannel(self._theirs.fileno(), self._call))
        self._thread = Thread(target=self.data_plane.run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()
        self.call(lambda: self.data_plane.drain(0, 0))
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "the data plane has not ended"
        # The data plane has closed the descriptor of the listener.
        self._listener.detach()
        self._ours.close()
        self._theirs.close()
        self._statistics.shared.close()

    def client(self) -> Connection:
        """A new client, which ends with the data plane."""
        client = Connection(socket.create_connection(self._listener.getsockname()))
        self._clients.append(client)
        return client

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function in the thread of the data plane, between two events; returns its result.

        When the data plane has ended, as after a hand-over, it is called here.
        """
        result: Future[Any] = Future()
        self._calls.put((function, result))
        self._ours.send(b"x")
        end = time.monotonic() + DEADLINE
        while not result.done() and time.monotonic() < end:
            if not self._thread.is_alive() and not result.done():
                self._call()
            wait([result], timeout=0.05)
        return result.result(0)

    def has_ended(self) -> bool:
        """Whether ``run`` of the data plane has returned."""
        return not self._thread.is_alive()

    def later(self, function: Callable[[], Any]) -> None:
        """Have a function called in the thread of the data plane, in a later turn."""
        self._calls.put((function, Future()))
        self._ours.send(b"x")

    def snapshot(self) -> PoolSnapshot:
        """The counters of the pool now."""
        [pool] = self._take().pools
        return pool

    def process_values(self) -> dict[str, int]:
        """The counters of the process now."""
        return self._take().values

    def _take(self) -> Snapshot:
        self.call(lambda: None)  # the turn before this call has ended
        statistics = self._statistics
        return take([self._counters], statistics.slots, statistics.names, statistics.shared)

    def latency(self, server: str = "") -> Latency:
        """The histograms of a server now, or those of the pool."""
        name, slots, tables = self.snapshot().name, self._statistics.slots, [self._counters]
        if not server:
            slot = slots.of_pool(name)
            return take_latency(tables, slot, OF_POOL, take_rows(tables, (slot,), POOL))
        slot = slots.of_server(name, server)
        return take_latency(tables, slot, OF_SERVER, take_rows(tables, (slot,), SERVER))

    def replace_settings(self, **pool: object) -> None:
        """Replace the settings of the pool; ``pool``: the directives."""
        config = configuration(pool)
        self.call(lambda: replace_settings(self.data_plane, config, self._statistics.slots_of(config)))
        self._statistics.show(Config((config,)))
        self._statistics.end_verdicts()

    def advance(self, milliseconds: int) -> None:
        """Let the clock of the data plane jump forward, and return when the timers that are due then have fired."""
        self.call(lambda: self.data_plane.loop.clock.advance(1000 * milliseconds))
        # The loop reads the clock in the next turn, and timers fire at its end.
        for _ in range(2):
            self.call(lambda: None)

    def _call(self) -> None:
        self._theirs.recv(1)
        function, result = self._calls.get()
        try:
            result.set_result(function())
        except Exception as error:
            result.set_exception(error)
