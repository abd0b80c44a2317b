"""The statistics at one time: the counters of all workers, summed."""

from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import add
from typing import Final, NamedTuple, Protocol

from twemproxy.stats.catalogue import COMMAND_CLASSES, POOL_METRICS, PROCESS_METRICS, SERVER_METRICS, Metric
from twemproxy.stats.counters import CounterTable, add_up, cumulate, read
from twemproxy.stats.histograms import BUCKETS, WORDS, Histogram
from twemproxy.stats.slots import OF_POOL, OF_SERVER, VERDICTS, CounterSlots, Histograms

_SIGN_BIT = 1 << 63


class ServerSnapshot(NamedTuple):
    """The counters of a server."""

    name: str
    values: dict[str, int]
    """Values by metric name, in the order of ``SERVER_METRICS``."""
    is_ejected: bool


class PoolSnapshot(NamedTuple):
    """The counters of a pool, and those of its servers."""

    name: str
    values: dict[str, int]
    """Values by metric name, in the order of ``POOL_METRICS``."""
    servers: tuple[ServerSnapshot, ...]


class Snapshot(NamedTuple):
    """All counters of a configuration."""

    values: dict[str, int]
    """Values by metric name, in the order of ``PROCESS_METRICS``."""
    pools: tuple[PoolSnapshot, ...]


Latency = dict[tuple[str, str], Histogram]
"""Histograms by (command class, phase), without empty ones. A server's have SERVER_PHASES, a pool's POOL_PHASES."""


class PoolNames(NamedTuple):
    """The names of a pool and of its servers."""

    pool: str
    servers: tuple[str, ...]


class Table(Protocol):
    """The counters of a process, by position."""

    @property
    def compiled(self) -> CounterTable | None:
        """The same, if they are in the memory of a worker of this version."""

    def __getitem__(self, position: int, /) -> int: ...

    def words(self, position: int, count: int) -> bytes:
        """The words of a histogram, in the byte order of the machine."""


class PoolPlace(NamedTuple):
    """Where the counters of a pool and of its servers are."""

    name: str
    slot: int
    servers: tuple[tuple[str, int], ...]
    """The name and the slot of each server."""


def find(slots: CounterSlots, names: Sequence[PoolNames]) -> list[PoolPlace]:
    """Where the counters of these pools are; all have slots. Places stay right when pools are renamed or removed."""
    return [
        PoolPlace(pool, slots.of_pool(pool), tuple((server, slots.of_server(pool, server)) for server in servers))
        for pool, servers in names
    ]


def take(tables: Sequence[Table], slots: CounterSlots, names: Sequence[PoolNames], shared: Table) -> Snapshot:
    """Read the counters of all workers, and return a snapshot.

    ``tables``: one per process, its 64-bit words as unsigned numbers. ``names``: the pools to show; all have slots.
    ``shared``: the table that all workers write.
    Counters and gauges are summed; of timestamps and peaks, the largest counts. A negative gauge of a worker counts as
    0, so that no gauge is negative.
    """
    pools = [
        PoolSnapshot(
            pool.name,
            take_rows(tables, (pool.slot,), POOL).values(),
            tuple([take_server(tables, name, slot, shared) for name, slot in pool.servers]),
        )
        for pool in find(slots, names)
    ]
    return Snapshot(take_process(tables), tuple(pools))


def take_process(tables: Sequence[Table]) -> dict[str, int]:
    """The values of ``PROCESS_METRICS`` by name, as ``take`` reads them."""
    return take_rows(tables, (0,), PROCESS).values()


def take_server(tables: Sequence[Table], name: str, slot: int, shared: Table) -> ServerSnapshot:
    """The part of a server, as ``take`` reads it."""
    return ServerSnapshot(name, take_rows(tables, (slot,), SERVER).values(), is_ejected(slot, shared))


def is_ejected(slot: int, shared: Table) -> bool:
    """Whether the server with this slot is ejected. ``shared``: the table that all workers write."""
    return shared[slot + VERDICTS] % 2 == 1


_LARGEST, _SUM, _SUM_OF_POSITIVE, _NOTHING = (ord(kind) for kind in ">+0 ")
_KINDS = {"counter": _SUM, "gauge": _SUM_OF_POSITIVE, "timestamp": _LARGEST, "peak": _LARGEST}
"""How the values of several tables are put together, see ``counters.read``."""
_WORD = (1 << 64) - 1


class Columns(NamedTuple):
    """What a row of numbers has of a process, a pool or a server."""

    places: dict[str, int]
    """The place of each column, by its name."""
    kinds: bytes
    """How the values of several tables are put together, see ``counters.read``."""


def columns(metrics: Sequence[Metric], *further: str) -> Columns:
    """Columns with the names of metrics. ``further``: names of more columns, which are 0 until they are set."""
    names = (*(metric.name for metric in metrics), *further)
    kinds = bytes(_KINDS[metric.kind] for metric in metrics) + b" " * len(further)
    return Columns({name: place for place, name in enumerate(names)}, kinds)


PROCESS, POOL, SERVER = map(columns, (PROCESS_METRICS, POOL_METRICS, SERVER_METRICS))


class Rows(NamedTuple):
    """Numbers of several processes, pools or servers."""

    columns: Columns
    words: "array[int]"
    """One row after the other."""

    @property
    def width(self) -> int:
        """How many columns there are."""
        return len(self.columns.kinds)

    def put(self, row: int, name: str, value: int) -> None:
        """Set the number of a row in a column."""
        self.words[row * self.width + self.columns.places[name]] = value

    def values(self) -> dict[str, int]:
        """The numbers of the only row by the names of their columns."""
        return dict(zip(self.columns.places, self.words, strict=True))

    def column(self, name: str) -> "array[int]":
        """The numbers of all rows in a column."""
        return self.words[self.columns.places[name] :: self.width]


def take_rows(tables: Sequence[Table], slots: tuple[int, ...], wanted: Columns) -> Rows:
    """A row for each of these slots, whose numbers are put together as ``take`` says."""
    compiled, others = _divided(tables)
    rows = Rows(wanted, read(compiled, slots, wanted.kinds))
    words = rows.words
    for table in others:
        place = 0
        for slot in slots:
            for offset, kind in enumerate(wanted.kinds):
                if kind != _NOTHING:
                    word = table[slot + offset]
                    if kind == _LARGEST:
                        words[place] = max(words[place], word)
                    elif kind == _SUM or word < _SIGN_BIT:
                        words[place] = words[place] + word & _WORD
                place += 1
    return rows


HistogramPlaces = tuple[tuple[int, int], ...]
"""Histograms of a slot that are taken together. Of each one: the column of the metric that is 0 as long as it is empty,
and its place behind the position of the slot."""


def histogram_places(scope: Histograms, wanted: Columns, phase: str, classes: Sequence[str]) -> HistogramPlaces:
    """The histograms of a phase of these command classes. ``wanted``: the columns of the rows of their slots."""
    places = dict(scope.places(0))
    return tuple((wanted.places[f"{scope.counter}_{name}"], places[name, phase]) for name in classes)


ANSWERED_AT_ONCE = tuple(name for name in COMMAND_CLASSES if name != "blocking")
"""Blocking commands wait for others, so their latency says nothing about servers."""


def take_cumulated(
    tables: Sequence[Table], slots: tuple[int, ...], rows: Rows, histograms: HistogramPlaces, edges: tuple[int, ...]
) -> "array[int]":
    """A row for each of these slots, of these histograms of it together.

    It has how many values are below each edge, how many there are at all, and their sum in microseconds. ``rows``:
    those of the slots. ``edges``: numbers of buckets, in ascending order.
    """
    compiled, others = _divided(tables)
    counts = cumulate(compiled, slots, histograms, rows.words, rows.width, edges, WORDS)
    for table in others:
        for row, slot in enumerate(slots):
            first = row * rows.width
            places = [slot + place for column, place in histograms if rows.words[first + column] > 0]
            if places:
                words = summed([table], *places)
                below = [0, *accumulate(words[:BUCKETS])]
                start = row * (len(edges) + 2)
                for place, count in enumerate([*(below[edge] for edge in edges), below[-1], words[-1]], start):
                    counts[place] += count
    return counts


def take_latency(tables: Sequence[Table], slot: int, scope: Histograms, row: Rows) -> Latency:
    """The histograms in a slot whose metrics are this row."""
    compiled, others = _divided(tables)
    words = row.words
    return {
        name: Histogram(_summed(compiled, others, (slot + place,)))
        for name, column, place in _HISTOGRAMS[scope.counter]
        if words[column] > 0
    }


_HISTOGRAMS: Final = {
    scope.counter: [(name, metrics.places[f"{scope.counter}_{name[0]}"], place) for name, place in scope.places(0)]
    for scope, metrics in ((OF_POOL, POOL), (OF_SERVER, SERVER))
}
"""Of each histogram: its name, the column of the metric that counts its values, and its place behind the slot."""


def summed(tables: Sequence[Table], *positions: int) -> "array[int]":
    """The words of the histograms at these positions of all tables, added up word by word."""
    return _summed(*_divided(tables), positions)


def _summed(compiled: list[CounterTable], others: list[Table], positions: tuple[int, ...]) -> "array[int]":
    words = add_up(compiled, positions, WORDS)
    for table in others:
        for position in positions:
            words = array("Q", map(add, words, memoryview(table.words(position, WORDS)).cast("Q")))
    return words


def _divided(tables: Sequence[Table]) -> tuple[list[CounterTable], list[Table]]:
    """The tables that compiled functions can read, and the others."""
    compiled, others = [], []
    for table in tables:
        if table.compiled is not None:
            compiled.append(table.compiled)
        else:
            others.append(table)
    return compiled, others
