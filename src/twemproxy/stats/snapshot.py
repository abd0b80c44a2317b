"""The statistics at one time: the counters of all workers, summed, and the documents that contain them."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import add
from typing import NamedTuple, Protocol

import msgspec

from twemproxy.stats.catalogue import (
    COMMAND_CLASSES,
    POOL_FACTS,
    POOL_LATENCY,
    POOL_METRICS,
    PROCESS_FACTS,
    PROCESS_METRICS,
    SERVER_FACTS,
    SERVER_LATENCY,
    SERVER_METRICS,
    SERVER_PHASES,
    Fact,
    Metric,
)
from twemproxy.stats.counters import CounterTable, add_up, cumulate, read
from twemproxy.stats.histograms import BUCKETS, WORDS, Histogram, added, histogram
from twemproxy.stats.slots import OF_POOL, OF_SERVER, VERDICTS, CounterSlots, Histograms

_SIGN_BIT = 1 << 63


class ServerSnapshot(NamedTuple):
    """The counters of a server."""

    name: str
    values: dict[str, int]
    """Values by metric name, in the order of ``SERVER_METRICS``."""
    is_ejected: bool
    latency: "Latency"


class PoolSnapshot(NamedTuple):
    """The counters of a pool, and those of its servers."""

    name: str
    values: dict[str, int]
    """Values by metric name, in the order of ``POOL_METRICS``."""
    servers: tuple[ServerSnapshot, ...]
    latency: "Latency"


Latency = dict[tuple[str, str], Histogram]
"""Histograms by (command class, phase), without empty ones. A server's have SERVER_PHASES, a pool's POOL_PHASES."""


class Snapshot(NamedTuple):
    """All counters of a configuration."""

    values: dict[str, int]
    """Values by metric name, in the order of ``PROCESS_METRICS``."""
    pools: tuple[PoolSnapshot, ...]


class PoolNames(NamedTuple):
    """The names of a pool and of its servers."""

    pool: str
    servers: tuple[str, ...]


Facts = dict[str, int | str]
"""Values by the name of a ``catalogue.Fact``."""


class ConfigFacts(NamedTuple):
    """The facts about the configuration."""

    process: Facts
    """Of ``PROCESS_FACTS``."""
    pools: dict[str, Facts]
    """Of ``POOL_FACTS``, by the name of the pool."""


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
        take_pool(tables, pool, tuple(take_server(tables, name, slot, shared) for name, slot in pool.servers))
        for pool in find(slots, names)
    ]
    return Snapshot(take_process(tables), tuple(pools))


def take_process(tables: Sequence[Table]) -> dict[str, int]:
    """The values of ``PROCESS_METRICS`` by name, as ``take`` reads them."""
    return _sum(tables, 0, _PROCESS)


def take_metrics_of_server(tables: Sequence[Table], slot: int) -> dict[str, int]:
    """The values of ``SERVER_METRICS`` by name, as ``take`` reads them."""
    return _sum(tables, slot, _SERVER)


def take_pool(
    tables: Sequence[Table], pool: PoolPlace, servers: tuple[ServerSnapshot, ...], latency: bool = True
) -> PoolSnapshot:
    """The part of a pool, as ``take`` reads it, with these parts of its servers. ``latency``: with its histograms."""
    values = _sum(tables, pool.slot, _POOL)
    return PoolSnapshot(pool.name, values, servers, _latency(tables, pool.slot, OF_POOL, values) if latency else {})


def take_server(tables: Sequence[Table], name: str, slot: int, shared: Table, latency: bool = True) -> ServerSnapshot:
    """The part of a server, as ``take`` reads it. ``latency``: with its histograms."""
    values = _sum(tables, slot, _SERVER)
    histograms = _latency(tables, slot, OF_SERVER, values) if latency else {}
    return ServerSnapshot(name, values, shared[slot + VERDICTS] % 2 == 1, histograms)


_CLASSES = tuple(name for name in COMMAND_CLASSES if name != "blocking")
"""Blocking commands wait for others, so their latency says nothing about servers."""

_PHASES = {
    phase: tuple((f"{OF_SERVER.counter}_{name}", positions[name, phase]) for name in _CLASSES)
    for positions in [dict(OF_SERVER.places(0))]
    for phase in SERVER_PHASES
}
"""By phase: the metric that counts the values of each histogram of a server, and the place of the histogram."""


def take_phases(
    tables: Sequence[Table], slot: int, values: dict[str, int], edges: tuple[int, ...]
) -> dict[str, list[int]]:
    """The latency of a server whose metrics have these values, of all command classes but ``blocking`` together.

    By phase: how many values there are below each edge, how many there are at all, and their sum in microseconds.
    ``edges``: numbers of buckets, in ascending order. Phases without values are left out.
    """
    compiled = [table.compiled for table in tables if table.compiled is not None]
    found: dict[str, list[int]] = {}
    for phase, histograms in _PHASES.items():
        places = tuple([slot + place for counter, place in histograms if values[counter] > 0])
        if not places:
            continue
        counts = cumulate(compiled, places, edges, WORDS)
        for table in tables:
            if table.compiled is None:
                words = summed([table], *places)
                below = list(accumulate(words[:BUCKETS]))
                counts = list(map(add, counts, [*(below[edge - 1] for edge in edges), below[-1], words[-1]]))
        found[phase] = counts
    return found


def _latency(tables: Sequence[Table], slot: int, histograms: Histograms, values: dict[str, int]) -> Latency:
    """The histograms in a slot whose metrics have these values."""
    return {
        (command_class, phase): histogram(summed(tables, position))
        for (command_class, phase), position in histograms.places(slot)
        if values[f"{histograms.counter}_{command_class}"] > 0
    }


def summed(tables: Sequence[Table], *positions: int) -> list[int]:
    """The words of the histograms at these positions of all tables, added up word by word."""
    words = add_up([table.compiled for table in tables if table.compiled is not None], positions, WORDS)
    for table in tables:
        if table.compiled is None:
            for position in positions:
                words = list(map(add, words, memoryview(table.words(position, WORDS)).cast("Q")))
    return words


_LARGEST, _SUM, _SUM_OF_POSITIVE = (ord(kind) for kind in ">+0")
_KINDS = {"counter": _SUM, "gauge": _SUM_OF_POSITIVE, "timestamp": _LARGEST, "peak": _LARGEST}
"""How the values of several tables are put together, see ``counters.read``."""


class _Scope(NamedTuple):
    """The metrics of a slot."""

    names: tuple[str, ...]
    kinds: bytes


def _scope(metrics: Sequence[Metric]) -> _Scope:
    return _Scope(tuple(metric.name for metric in metrics), bytes(_KINDS[metric.kind] for metric in metrics))


_PROCESS, _POOL, _SERVER = map(_scope, (PROCESS_METRICS, POOL_METRICS, SERVER_METRICS))


def _sum(tables: Sequence[Table], position: int, scope: _Scope) -> dict[str, int]:
    values = read([table.compiled for table in tables if table.compiled is not None], position, scope.kinds)
    for table in tables:
        if table.compiled is not None:
            continue
        for offset, kind in enumerate(scope.kinds):
            word = table[position + offset]
            if kind == _LARGEST:
                values[offset] = max(values[offset], word)
            elif kind == _SUM or word < _SIGN_BIT:
                values[offset] += word
    return dict(zip(scope.names, values, strict=True))


def render(
    snapshot: Snapshot, *, source: str, version: str, uptime: int, timestamp: int, facts: ConfigFacts | None = None
) -> Iterator[str]:
    """Yield, in pieces, the document of the statistics port, with the spacing of nutcracker 0.5.0 and a final newline.

    ``source``: the host name. ``uptime``: seconds since the start. ``timestamp``: seconds since the epoch. ``facts``:
    with them it is the full document, in which each object ends with what nutcracker lacks.
    """
    full = facts is not None
    yield (
        f'{{"service":"nutcracker", "source":{_quoted(source)}, "version":{_quoted(version)}, '
        f'"uptime":{uptime}, "timestamp":{timestamp}, '
    )
    yield _members(snapshot.values, PROCESS_METRICS, False)
    for number, pool in enumerate(snapshot.pools):
        yield f"{',' if number else ', '}{_quoted(pool.name)}: {{{_members(pool.values, POOL_METRICS, False)}"
        for place, server in enumerate(pool.servers):
            yield f"{',' if place else ', '}{_quoted(server.name)}: {{{_members(server.values, SERVER_METRICS, False)}"
            if full:
                ejected = [(SERVER_FACTS[0].name, int(server.is_ejected))]
                yield _added(server.values, SERVER_METRICS, [*ejected, *quantiles(server.latency, SERVER_LATENCY)])
            yield "}"
        if facts is not None:
            known = [(fact.name, facts.pools[pool.name][fact.name]) for fact in POOL_FACTS if not fact.phase]
            yield _added(pool.values, POOL_METRICS, [*known, *quantiles(pool.latency, POOL_LATENCY)])
        yield "}"
    if facts is not None:
        yield _added(
            snapshot.values, PROCESS_METRICS, [(fact.name, facts.process[fact.name]) for fact in PROCESS_FACTS]
        )
    yield "}\n"


def quantiles(latency: Latency, wanted: Sequence[Fact]) -> list[tuple[str, int]]:
    """Name and value of each of these quantiles; 0 without requests."""
    phases = {fact.phase for fact in wanted}
    merged = {
        phase: added([each for (name, of), each in latency.items() if of == phase and name != "blocking"])
        for phase in phases
    }
    return [(fact.name, round(merged[fact.phase].quantile(fact.share))) for fact in wanted]


def _members(values: dict[str, int], metrics: Sequence[Metric], added: bool) -> str:
    """Return the members for nutcracker's metrics, or for those that were added."""
    return ", ".join([f'"{metric.name}":{values[metric.name]}' for metric in metrics if metric.added == added])


def _added(values: dict[str, int], metrics: Sequence[Metric], facts: Sequence[tuple[str, int | str]]) -> str:
    """Return the members that nutcracker lacks, which follow others."""
    parts = [_members(values, metrics, True)]
    parts += [f'"{name}":{_quoted(value) if isinstance(value, str) else value}' for name, value in facts]
    return ", " + ", ".join(parts)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
