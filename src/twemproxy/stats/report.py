"""The report: what the proxy does, as one JSON document for programs that show it.

Counters and histograms are totals since the start; who shows rates, or the latency of now, takes the difference of two
reports. docs/statistics.md describes the members.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from twemproxy.stats.catalogue import COMMAND_CLASSES, POOL_PHASES, SERVER_PHASES
from twemproxy.stats.histograms import BOUNDS
from twemproxy.stats.snapshot import SERVER, Columns, Latency, Rows
from twemproxy.stats.text import fill, fill_histogram

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


def _members(metrics: Columns) -> tuple[bytes | int | None, ...]:
    """A template of ``text.fill``: the name of the row, and its numbers as members of an object."""
    items: list[bytes | int | None] = [None]
    for name, place in metrics.places.items():
        items += [f',"{name}":'.encode(), place]
    return tuple(items)


_OF_SERVER: Final = _members(SERVER)
_EJECTED_AT: Final = SERVER.places["server_ejected_at"]


def server_part(
    facts: ServerFacts, row: Rows, is_ejected: bool, latency: Latency, why: str, excess: float | None, is_skewed: bool
) -> bytes:
    """The part of a server, as JSON.

    ``row``: its metrics. ``why``: it was ejected. ``excess``: how many times its share of the requests it got lately,
    None if that is not known. ``is_skewed``: whether that is much more than once.
    """
    since = row.words[_EJECTED_AT] / 1_000_000 if is_ejected else None
    head = _open(
        {
            "name": facts.name,
            "address": facts.address,
            "weight": facts.weight,
            "state": "ejected" if is_ejected else "live",
            "ejected_since": since,
            "ejected_why": why if is_ejected else "",
            "share": facts.share,
            "excess": excess,
            "is_skewed": is_skewed,
        }
    )
    return b"".join([fill(_OF_SERVER, [head], row.words, row.width), b',"latency":', _latency(latency), b"}"])


def pool_part(
    facts: PoolFacts,
    values: Mapping[str, int],
    latency: Latency,
    servers: Sequence[bytes],
    hot_keys: Sequence[Mapping[str, object]],
    slow: Sequence[Mapping[str, object]],
) -> Iterator[bytes]:
    """Yield the part of a pool, as JSON, in pieces.

    ``values``: of ``POOL_METRICS``, by name. ``servers``: their parts. ``hot_keys``, ``slow``: as documents have them.
    """
    yield _open(
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
            **values,
            "latency": msgspec.Raw(_latency(latency)),
        }
    )
    yield b',"servers":['
    yield b",".join(servers)
    yield b'],"hot_keys":%b,"slow":%b}' % (msgspec.json.encode(hot_keys), msgspec.json.encode(slow))


def document(facts: ProcessFacts, pools: Iterable[Iterable[bytes]], events: Sequence[Event]) -> Iterator[bytes]:
    """Yield the report, as JSON, in pieces. ``pools``: their parts."""
    members = {name: getattr(facts, name) for name in facts.__struct_fields__}
    yield _open({**members, "latency_bounds_us": BOUNDS})
    yield b',"pools":['
    for number, pool in enumerate(pools):
        if number > 0:
            yield b","
        yield from pool
    yield b'],"events":%b}' % msgspec.json.encode(events)


def _open(members: Mapping[str, object]) -> bytes:
    """An object as JSON, to which members can be added before its end."""
    return msgspec.json.encode(members).removesuffix(b"}")


def _latency(latency: Latency) -> bytes:
    """An object with the phases of each command class, as JSON."""
    # Joining takes half of the time of formatting.
    parts = []
    former = ""
    for (command_class, phase), histogram in latency.items():
        if command_class != former:
            parts.append(_BEGINNINGS[command_class, phase] if former else _BEGINNINGS[command_class, phase][2:])
            former = command_class
        else:
            parts.append(_FURTHER[phase])
        parts.append(fill_histogram(histogram.words))
    return b"".join([b"{", *parts, b"}}" if parts else b"}"])


_PHASES: Final = (*POOL_PHASES, *SERVER_PHASES)
_BEGINNINGS: Final = {
    (name, phase): f'}},"{name}":{{"{phase}":'.encode() for name in COMMAND_CLASSES for phase in _PHASES
}
"""Before the first phase of a command class that is not the first one."""
_FURTHER: Final = {phase: f',"{phase}":'.encode() for phase in _PHASES}
