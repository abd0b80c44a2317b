"""The statistics at one time: the counters of all workers, summed, and the documents that contain them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from twemproxy.stats.catalogue import (
    POOL_FACTS,
    POOL_METRICS,
    PROCESS_FACTS,
    PROCESS_METRICS,
    SERVER_FACTS,
    SERVER_METRICS,
    Metric,
)
from twemproxy.stats.slots import VERDICTS, CounterSlots

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


def take(tables: Sequence[Table], slots: CounterSlots, names: Sequence[PoolNames], shared: Table) -> Snapshot:
    """Read the counters of all workers, and return a snapshot.

    ``tables``: one per process, its 64-bit words as unsigned numbers. ``names``: the pools to show; all have slots.
    ``shared``: the table that all workers write.
    Counters and gauges are summed; of timestamps, the latest counts. A negative gauge of a worker counts as 0, so that
    no gauge is negative.
    """
    pools = []
    for pool, servers in names:
        pools.append(
            PoolSnapshot(
                pool,
                _sum(tables, slots.of_pool(pool), POOL_METRICS),
                tuple(
                    ServerSnapshot(
                        server,
                        _sum(tables, slots.of_server(pool, server), SERVER_METRICS),
                        shared[slots.of_server(pool, server) + VERDICTS] % 2 == 1,
                    )
                    for server in servers
                ),
            )
        )
    return Snapshot(_sum(tables, 0, PROCESS_METRICS), tuple(pools))


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
    for pool in snapshot.pools:
        servers = ",".join(
            _object(server.name, _members(server.values, SERVER_METRICS, full, added=_server_facts(server)))
            for server in pool.servers
        )
        added = [(fact.name, facts.pools[pool.name][fact.name]) for fact in POOL_FACTS] if facts else []
        pools.append(_object(pool.name, _members(pool.values, POOL_METRICS, full, servers, added)))
    added = [(fact.name, facts.process[fact.name]) for fact in PROCESS_FACTS] if facts else []
    return f"{{{head}{_members(snapshot.values, PROCESS_METRICS, full, ','.join(pools), added)}}}\n".encode()


def _server_facts(server: ServerSnapshot) -> list[tuple[str, int | str]]:
    """The values of ``SERVER_FACTS``."""
    return [(SERVER_FACTS[0].name, int(server.is_ejected))]


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
