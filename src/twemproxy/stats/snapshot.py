"""The statistics at one time: the counters of all workers, summed, and the documents that contain them."""

import sys
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from twemproxy.stats.catalogue import (
    POOL_FACTS,
    POOL_LATENCY,
    POOL_METRICS,
    PROCESS_FACTS,
    PROCESS_METRICS,
    SERVER_FACTS,
    SERVER_LATENCY,
    SERVER_METRICS,
    Fact,
    Metric,
)
from twemproxy.stats.histograms import WORDS, Histogram, added, histogram
from twemproxy.stats.slots import OF_POOL, OF_SERVER, VERDICTS, WORD, CounterSlots, Histograms

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

    def __getitem__(self, position: int, /) -> int: ...

    def words(self, position: int, count: int) -> bytes:
        """The words of a histogram, in the byte order of the machine."""


def take(tables: Sequence[Table], slots: CounterSlots, names: Sequence[PoolNames], shared: Table) -> Snapshot:
    """Read the counters of all workers, and return a snapshot.

    ``tables``: one per process, its 64-bit words as unsigned numbers. ``names``: the pools to show; all have slots.
    ``shared``: the table that all workers write.
    Counters and gauges are summed; of timestamps, the latest counts. A negative gauge of a worker counts as 0, so that
    no gauge is negative.
    """
    pools = []
    for pool, servers in names:
        seen = []
        for server in servers:
            slot = slots.of_server(pool, server)
            values = _sum(tables, slot, SERVER_METRICS)
            latency = _latency(tables, slot, OF_SERVER, values)
            seen.append(ServerSnapshot(server, values, shared[slot + VERDICTS] % 2 == 1, latency))
        slot = slots.of_pool(pool)
        values = _sum(tables, slot, POOL_METRICS)
        pools.append(PoolSnapshot(pool, values, tuple(seen), _latency(tables, slot, OF_POOL, values)))
    return Snapshot(_sum(tables, 0, PROCESS_METRICS), tuple(pools))


def _latency(tables: Sequence[Table], slot: int, histograms: Histograms, values: dict[str, int]) -> Latency:
    """The histograms in a slot whose metrics have these values."""
    return {
        (command_class, phase): histogram(summed(tables, position))
        for (command_class, phase), position in histograms.places(slot)
        if values[f"{histograms.counter}_{command_class}"] > 0
    }


def summed(tables: Sequence[Table], position: int) -> list[int]:
    """The words of a histogram, each the sum over all tables.

    Nothing is carried from one word to the next, as long as each sum is less than 2^64: the words are added as one
    number, which is much faster.
    """
    total = sum(int.from_bytes(table.words(position, WORDS), sys.byteorder) for table in tables)
    return memoryview(total.to_bytes(WORD * WORDS, sys.byteorder)).cast("Q").tolist()


def _sum(tables: Sequence[Table], position: int, metrics: Sequence[Metric]) -> dict[str, int]:
    values = {}
    for offset, metric in enumerate(metrics, position):
        words = [table[offset] for table in tables]
        match metric.kind:
            case "timestamp":
                values[metric.name] = max(words, default=0)
            case "gauge":
                values[metric.name] = sum(word for word in words if word < _SIGN_BIT)
            case "counter":
                values[metric.name] = sum(words)
    return values


def render(
    snapshot: Snapshot, *, source: str, version: str, uptime: int, timestamp: int, facts: ConfigFacts | None = None
) -> bytes:
    """Return the document of the statistics port, with the spacing of nutcracker 0.5.0 and a final newline.

    ``source``: the host name. ``uptime``: seconds since the start. ``timestamp``: seconds since the epoch. ``facts``:
    with them it is the full document, in which each object ends with what nutcracker lacks.
    """
    head = (
        f'"service":"nutcracker", "source":{_quoted(source)}, "version":{_quoted(version)}, '
        f'"uptime":{uptime}, "timestamp":{timestamp}, '
    )
    full = facts is not None
    pools = []
    of_pool: list[tuple[str, int | str]] = []
    of_server: list[tuple[str, int | str]] = []
    for pool in snapshot.pools:
        servers = []
        for server in pool.servers:
            if facts:
                of_server = [(SERVER_FACTS[0].name, int(server.is_ejected)), *quantiles(server.latency, SERVER_LATENCY)]
            servers.append(_object(server.name, _members(server.values, SERVER_METRICS, full, added=of_server)))
        if facts:
            of_pool = [(fact.name, facts.pools[pool.name][fact.name]) for fact in POOL_FACTS if not fact.phase]
            of_pool += quantiles(pool.latency, POOL_LATENCY)
        pools.append(_object(pool.name, _members(pool.values, POOL_METRICS, full, ",".join(servers), of_pool)))
    of_process = [(fact.name, facts.process[fact.name]) for fact in PROCESS_FACTS] if facts else []
    return f"{{{head}{_members(snapshot.values, PROCESS_METRICS, full, ','.join(pools), of_process)}}}\n".encode()


def quantiles(latency: Latency, wanted: Sequence[Fact]) -> list[tuple[str, int]]:
    """Name and value of each of these quantiles; 0 without requests."""
    phases = {fact.phase for fact in wanted}
    merged = {
        phase: added([each for (name, of), each in latency.items() if of == phase and name != "blocking"])
        for phase in phases
    }
    return [(fact.name, round(merged[fact.phase].quantile(fact.share))) for fact in wanted]


def _object(name: str, members: str) -> str:
    return f"{_quoted(name)}: {{{members}}}"


def _members(
    values: dict[str, int],
    metrics: Sequence[Metric],
    full: bool,
    objects: str = "",
    added: Sequence[tuple[str, int | str]] = (),
) -> str:
    """Return the members of an object: nutcracker's metrics, then ``objects``, then, if ``full``, all that was added.

    ``added``: what is added beside metrics.
    """
    parts = [f'"{metric.name}":{values[metric.name]}' for metric in metrics if not metric.added]
    if objects:
        parts.append(objects)
    if full:
        parts += [f'"{metric.name}":{values[metric.name]}' for metric in metrics if metric.added]
        parts += [f'"{name}":{_quoted(value) if isinstance(value, str) else value}' for name, value in added]
    return ", ".join(parts)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
