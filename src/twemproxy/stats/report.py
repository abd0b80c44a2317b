"""The report: what the proxy does, as one JSON document for programs that show it.

Counters and histograms are totals since the start; who shows rates, or the latency of now, takes the difference of two
reports. docs/statistics.md describes the members.
"""

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from twemproxy.stats.histograms import BOUNDS, Histogram
from twemproxy.stats.snapshot import Latency, PoolSnapshot, ServerSnapshot

MOST_EVENTS: Final = 200
"""Events that are remembered."""

EventKind = Literal["reload", "ejected", "readmitted", "worker", "upgrade", "start"]


class Event(msgspec.Struct, frozen=True):
    """Something that has happened to the proxy."""

    at: float
    """Seconds since the epoch."""
    kind: EventKind
    pool: str
    """Empty if it is about no pool; the same for ``server``."""
    server: str
    text: str
    """What has happened, for people."""


class Events:
    """The last MOST_EVENTS events, oldest first."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._ejections: dict[tuple[str, str], str] = {}

    def add(self, kind: EventKind, text: str, pool: str = "", server: str = "") -> None:
        """Something has happened now."""
        self._add(Event(time.time(), kind, pool, server, text))

    def _add(self, event: Event) -> None:
        self._events.append(event)
        if event.kind == "ejected":
            self._ejections[event.pool, event.server] = event.text
        elif event.kind == "readmitted":
            self._ejections.pop((event.pool, event.server), None)

    def take_over(self, events: Iterable[Event]) -> None:
        """Go on with the events of another version of the program."""
        for event in events:
            self._add(event)

    def all(self) -> tuple[Event, ...]:
        """The events, oldest first."""
        return tuple(self._events)

    def why_ejected(self, pool: str, server: str) -> str:
        """Why a server was ejected that has not been put back; empty if that is not known."""
        return self._ejections.get((pool, server), "")


class ServerFacts(NamedTuple):
    """What the configuration says of a server."""

    name: str
    address: str
    """As it is written: ``host:port``, or the path of a unix socket."""
    weight: int
    share: float
    """Its part of the key space while no server is ejected, from 0 to 1."""


class PoolFacts(NamedTuple):
    """What the configuration says of a pool."""

    name: str
    protocol: Literal["redis", "memcached"]
    listen: str
    hash: str
    distribution: str
    hash_tag: str
    """Two characters, or empty."""
    ring_fingerprint: str
    settings: dict[str, Any]
    """The values of the other directives by name, without secrets."""
    changed: tuple[str, ...]
    """The directives whose values differ from the defaults."""
    servers: tuple[ServerFacts, ...]


class ProcessFacts(msgspec.Struct, frozen=True):
    """What the report says of the proxy as a whole. Times are in seconds since the epoch."""

    version: str
    hostname: str
    pid: int
    now: float
    started_at: float
    ready: bool
    config: Mapping[str, Any]
    process: Mapping[str, int]
    workers: Sequence[Mapping[str, int]]


def server_part(facts: ServerFacts, server: ServerSnapshot, why: str) -> bytes:
    """The part of a server, as JSON. ``why``: it was ejected."""
    since = server.values["server_ejected_at"] / 1_000_000 if server.is_ejected else None
    return msgspec.json.encode(
        {
            "name": facts.name,
            "address": facts.address,
            "weight": facts.weight,
            "state": "ejected" if server.is_ejected else "live",
            "ejected_since": since,
            "ejected_why": why if server.is_ejected else "",
            "share": facts.share,
            **server.values,
            "latency": _latency(server.latency),
        }
    )


def pool_part(
    facts: PoolFacts,
    pool: PoolSnapshot,
    servers: Sequence[bytes],
    hot_keys: Sequence[Mapping[str, object]],
    slow: Sequence[Mapping[str, object]],
) -> bytes:
    """The part of a pool, as JSON. ``servers``: their parts. ``hot_keys``, ``slow``: as documents have them."""
    return msgspec.json.encode(
        {
            "name": facts.name,
            "protocol": facts.protocol,
            "listen": facts.listen,
            "hash": facts.hash,
            "distribution": facts.distribution,
            "hash_tag": facts.hash_tag or None,
            "ring_fingerprint": facts.ring_fingerprint,
            "settings": facts.settings,
            "changed": facts.changed,
            **pool.values,
            "latency": _latency(pool.latency),
            "servers": [msgspec.Raw(server) for server in servers],
            "hot_keys": hot_keys,
            "slow": slow,
        }
    )


def document(facts: ProcessFacts, pools: Sequence[bytes], events: Sequence[Event]) -> bytes:
    """The report, as JSON. ``pools``: their parts."""
    return msgspec.json.encode(
        {
            **{name: getattr(facts, name) for name in facts.__struct_fields__},
            "latency_bounds_us": BOUNDS,
            "pools": [msgspec.Raw(pool) for pool in pools],
            "events": events,
        }
    )


def _latency(latency: Latency) -> dict[str, dict[str, Any]]:
    parts: dict[str, dict[str, Any]] = {}
    for (command_class, phase), histogram in latency.items():
        parts.setdefault(command_class, {})[phase] = _histogram(histogram)
    return parts


def _histogram(histogram: Histogram) -> dict[str, Any]:
    buckets = {str(bucket): count for bucket, count in enumerate(histogram.counts) if count}
    return {"count": sum(buckets.values()), "total_us": histogram.total, "buckets": buckets}
