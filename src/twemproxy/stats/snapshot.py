"""The statistics of one moment: all workers' counters, summed, and nutcracker's document of them."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS, Metric
from twemproxy.stats.layout import CounterLayout

_SIGN_BIT = 1 << 63


class ServerSnapshot(NamedTuple):
    """A server's counters."""

    name: str
    values: dict[str, int]
    """By metric name, in the order of ``SERVER_METRICS``."""


class PoolSnapshot(NamedTuple):
    """A pool's counters, and its servers'."""

    name: str
    values: dict[str, int]
    """By metric name, in the order of ``POOL_METRICS``."""
    servers: tuple[ServerSnapshot, ...]


class Snapshot(NamedTuple):
    """Every counter of a configuration."""

    values: dict[str, int]
    """By metric name, in the order of ``PROCESS_METRICS``."""
    pools: tuple[PoolSnapshot, ...]


class PoolNames(NamedTuple):
    """What a pool and its servers are called."""

    pool: str
    servers: tuple[str, ...]


def take(tables: Sequence[Sequence[int]], layout: CounterLayout, names: Sequence[PoolNames]) -> Snapshot:
    """Read the counters of all workers.

    ``tables``: one per worker, its 64-bit words as unsigned numbers. ``names``: one per pool of the layout.
    Counters and gauges are summed, of timestamps the latest counts. No gauge is ever negative.
    """
    pools = []
    for position, server_positions, (pool, servers) in zip(layout.pools, layout.servers, names, strict=True):
        pools.append(
            PoolSnapshot(
                pool,
                _sum(tables, position, POOL_METRICS),
                tuple(
                    ServerSnapshot(server, _sum(tables, server_position, SERVER_METRICS))
                    for server, server_position in zip(servers, server_positions, strict=True)
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


def render(snapshot: Snapshot, *, source: str, version: str, uptime: int, timestamp: int) -> bytes:
    """The document of the statistics port, with nutcracker's spacing (contract 8.2) and a final newline.

    ``source``: the host's name; ``uptime``: seconds since the start; ``timestamp``: seconds since the epoch.
    """
    head = (
        f'"service":"nutcracker", "source":{_quoted(source)}, "version":{_quoted(version)}, '
        f'"uptime":{uptime}, "timestamp":{timestamp}, {_members(snapshot.values)}'
    )
    pools = ",".join(_pool_member(pool) for pool in snapshot.pools)
    return f"{{{head}, {pools}}}\n".encode() if pools else f"{{{head}}}\n".encode()


def _pool_member(pool: PoolSnapshot) -> str:
    servers = ",".join(f"{_quoted(server.name)}: {{{_members(server.values)}}}" for server in pool.servers)
    return f"{_quoted(pool.name)}: {{{_members(pool.values)}, {servers}}}"


def _members(values: dict[str, int]) -> str:
    return ", ".join(f'"{name}":{value}' for name, value in values.items())


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
