"""What happens now, from two reports of a proxy: rates, quantiles of latency, shares of the requests.

The dashboard computes the same, in ui/rates.js. A figure is None when it is not known: a rate before there are two
reports, a quantile without requests.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

Report = dict[str, Any]
"""The document with the figures of a proxy; a pool and a server of it are such dictionaries, too."""

CLASSES: Final = ("read", "write", "script", "blocking", "other")
TIMED_CLASSES: Final = tuple(name for name in CLASSES if name != "blocking")
"""Classes whose latency is shown: a command that waits for a key is not slow."""

_SKEW: Final = 2
"""A server is skewed when it gets more than this many times its part of the requests."""
_ENOUGH_REQUESTS: Final = 100
"""Fewer requests than this between two reports say nothing about shares."""

_Pairs = Sequence[tuple[Report, Report]]
"""Newer and older ``latency`` of pools or servers."""


class ServerFigures(msgspec.Struct, frozen=True):
    """What happens at a server. Rates are per second, times in microseconds, shares from 0 to 1."""

    name: str
    is_live: bool
    share: float
    """Of the keys."""
    traffic: float | None
    """Of the requests to all servers of the pool."""
    excess: float | None
    """How many times its part of the requests it gets, by its share of the keys of all live servers."""
    is_skewed: bool
    """Whether that is much more than once."""
    requests: float | None
    errors: float | None
    queue: int
    """Requests that wait for being written, and those that wait for their replies."""
    waiting_p99: float | None
    server_p50: float | None
    server_p99: float | None


class PoolFigures(msgspec.Struct, frozen=True):
    """What happens in a pool. Rates are per second, times in microseconds."""

    name: str
    clients: int
    servers_live: int
    requests: float | None
    errors: float | None
    """Of clients, and requests that were not forwarded."""
    queue: int
    p50: float | None
    p99: float | None
    p999: float | None
    servers: tuple[ServerFigures, ...]


class Figures(msgspec.Struct, frozen=True):
    """What happens in a proxy. Rates are per second, times in microseconds."""

    seconds: float | None
    """Between the two reports."""
    clients: int
    requests: float | None
    errors: float | None
    queue: int
    p50: float | None
    p99: float | None
    p999: float | None
    pools: tuple[PoolFigures, ...]


def figures(newer: Report, older: Report | None) -> Figures:
    """Return what happens between two reports of a proxy."""
    seconds = newer["now"] - older["now"] if older is not None and newer["now"] > older["now"] else None
    former = {pool["name"]: pool for pool in older["pools"]} if older is not None and seconds is not None else {}
    bounds = newer["latency_bounds_us"]
    pools = tuple(_pool(pool, former.get(pool["name"]), seconds, bounds) for pool in newer["pools"])
    pairs = [(pool["latency"], former[pool["name"]]["latency"]) for pool in newer["pools"] if pool["name"] in former]
    requests = None
    if older is not None and seconds is not None:
        requests = _per_second(newer["process"], older["process"], ("client_requests",), seconds)
    return Figures(
        seconds,
        sum(pool.clients for pool in pools),
        requests,
        None if seconds is None else sum(pool.errors or 0 for pool in pools),
        sum(pool.queue for pool in pools),
        *_percentiles(pairs, "whole", bounds),
        pools,
    )


def quantile(buckets: dict[int, int], share: float, bounds: Sequence[int]) -> float | None:
    """Return the value in microseconds that a ``share`` of the values do not exceed; None without values.

    ``buckets``: the number of values by the index of their bucket. ``bounds``: the lower bounds of all buckets. Values
    are taken as spread evenly over their bucket.
    """
    wanted = share * sum(buckets.values())
    seen = 0
    for bucket, count in sorted(buckets.items()):
        if seen + count >= wanted:
            upper = bucket + 1 if bucket + 1 < len(bounds) else bucket
            return bounds[bucket] + (bounds[upper] - bounds[upper - 1]) * (wanted - seen) / count
        seen += count
    return None


def growth(pairs: _Pairs, classes: Iterable[str], phase: str) -> dict[int, int]:
    """Return the growth of histograms, summed: the number of values by bucket, without empty buckets."""
    buckets: dict[int, int] = {}
    for newer, older in pairs:
        for name in classes:
            if (now := newer.get(name, {}).get(phase)) is None:
                continue
            then = older.get(name, {}).get(phase)
            former = then["buckets"] if then is not None and then["count"] <= now["count"] else {}
            for bucket, count in now["buckets"].items():
                if (more := count - former.get(bucket, 0)) > 0:
                    buckets[int(bucket)] = buckets.get(int(bucket), 0) + more
    return buckets


def _pool(newer: Report, older: Report | None, seconds: float | None, bounds: Sequence[int]) -> PoolFigures:
    former = {server["name"]: server for server in older["servers"]} if older is not None else {}
    total = sum(_requests(server, former.get(server["name"])) for server in newer["servers"])
    live = sum(server["share"] for server in newer["servers"] if server["state"] == "live")
    servers = tuple(
        _server(server, former.get(server["name"]), seconds, total, live, bounds) for server in newer["servers"]
    )
    requests = errors = None
    if older is not None and seconds is not None:
        requests = _per_second(newer, older, [f"replies_{name}" for name in CLASSES], seconds)
        errors = _per_second(newer, older, ("client_err", "forward_error"), seconds)
    return PoolFigures(
        newer["name"],
        newer["client_connections"],
        sum(server.is_live for server in servers),
        requests,
        errors,
        sum(server.queue for server in servers),
        *_percentiles([] if older is None else [(newer["latency"], older["latency"])], "whole", bounds),
        servers,
    )


def _server(
    newer: Report, older: Report | None, seconds: float | None, total: int, live: float, bounds: Sequence[int]
) -> ServerFigures:
    """``total``: requests to all servers of the pool. ``live``: the share of the keys of its live servers."""
    pairs = [] if older is None else [(newer["latency"], older["latency"])]
    waiting, server = growth(pairs, TIMED_CLASSES, "waiting"), growth(pairs, TIMED_CLASSES, "server")
    traffic = _requests(newer, older) / total if total > 0 else None
    is_live = newer["state"] == "live"
    excess = None
    if is_live and newer["share"] > 0 and traffic is not None and total >= _ENOUGH_REQUESTS:
        excess = traffic * live / newer["share"]  # the keys of ejected servers are at the live ones
    requests = errors = None
    if older is not None and seconds is not None:
        requests = _per_second(newer, older, ("requests",), seconds)
        errors = _per_second(newer, older, ("server_err", "server_timedout"), seconds)
    return ServerFigures(
        newer["name"],
        is_live,
        newer["share"],
        traffic,
        excess,
        excess is not None and excess > _SKEW,
        requests,
        errors,
        newer["in_queue"] + newer["out_queue"],
        quantile(waiting, 0.99, bounds),
        quantile(server, 0.5, bounds),
        quantile(server, 0.99, bounds),
    )


def _percentiles(pairs: _Pairs, phase: str, bounds: Sequence[int]) -> tuple[float | None, float | None, float | None]:
    buckets = growth(pairs, TIMED_CLASSES, phase)
    return quantile(buckets, 0.5, bounds), quantile(buckets, 0.99, bounds), quantile(buckets, 0.999, bounds)


def _increase(newer: int, older: int) -> int:
    """The growth of a counter. One that is less than before has begun anew."""
    return newer - older if newer >= older else newer


def _requests(newer: Report, older: Report | None) -> int:
    return 0 if older is None else _increase(newer["requests"], older["requests"])


def _per_second(newer: Report, older: Report, names: Iterable[str], seconds: float) -> float:
    return sum(_increase(newer[name], older[name]) for name in names) / seconds
