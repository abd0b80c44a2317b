"""The statistics at one time: the counters of all workers, summed, and the documents that contain them."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS, Metric
from twemproxy.stats.slots import CounterSlots

_SIGN_BIT = 1 << 63


class ServerSnapshot(NamedTuple):
    """The counters of a server."""

    name: str
    values: dict[str, int]
    """Values by metric name, in the order of ``SERVER_METRICS``."""


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


def take(tables: Sequence[Sequence[int]], slots: CounterSlots, names: Sequence[PoolNames]) -> Snapshot:
    """Read the counters of all workers, and return a snapshot.

    ``tables``: one per worker, its 64-bit words as unsigned numbers. ``names``: the pools to show; all have slots.
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
                    ServerSnapshot(server, _sum(tables, slots.of_server(pool, server), SERVER_METRICS))
                    for server in servers
                ),
            )
        )
    return Snapshot(_sum(tables, 0, PROCESS_METRICS), tuple(pools))


def _sum(tables: Sequence[Sequence[int]], position: int, metrics: Sequence[Metric]) -> dict[str, int]:
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


def render(snapshot: Snapshot, *, source: str, version: str, uptime: int, timestamp: int, full: bool = False) -> bytes:
    """Return the document of the statistics port, with the spacing of nutcracker 0.5.0 and a final newline.

    ``source``: the host name. ``uptime``: seconds since the start. ``timestamp``: seconds since the epoch. ``full``:
    whether each object ends with its metrics that nutcracker lacks.
    """
    head = (
        f'"service":"nutcracker", "source":{_quoted(source)}, "version":{_quoted(version)}, '
        f'"uptime":{uptime}, "timestamp":{timestamp}, '
    )
    pools = ",".join(
        _object(pool.name, pool.values, POOL_METRICS, full, ",".join(_server(server, full) for server in pool.servers))
        for pool in snapshot.pools
    )
    return f"{{{head}{_members(snapshot.values, PROCESS_METRICS, full, pools)}}}\n".encode()


def _server(server: ServerSnapshot, full: bool) -> str:
    return _object(server.name, server.values, SERVER_METRICS, full)


def _object(name: str, values: dict[str, int], metrics: Sequence[Metric], full: bool, objects: str = "") -> str:
    return f"{_quoted(name)}: {{{_members(values, metrics, full, objects)}}}"


def _members(values: dict[str, int], metrics: Sequence[Metric], full: bool, objects: str = "") -> str:
    """Return the members of an object: nutcracker's metrics, then ``objects``, then the added metrics if ``full``."""
    parts = [f'"{metric.name}":{values[metric.name]}' for metric in metrics if not metric.added]
    if objects:
        parts.append(objects)
    if full:
        parts += [f'"{metric.name}":{values[metric.name]}' for metric in metrics if metric.added]
    return ", ".join(parts)


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
