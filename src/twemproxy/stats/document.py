"""The documents of the statistics port: nutcracker's, and the full one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

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
from twemproxy.stats.histograms import Histogram
from twemproxy.stats.slots import OF_POOL, OF_SERVER, Histograms
from twemproxy.stats.snapshot import (
    ANSWERED_AT_ONCE,
    POOL,
    Columns,
    HistogramPlaces,
    PoolPlace,
    Table,
    columns,
    histogram_places,
    is_ejected,
    summed,
    take_process,
    take_rows,
)
from twemproxy.stats.text import fill

Facts = dict[str, int | str]
"""Values by the name of a ``catalogue.Fact``."""


class ConfigFacts(NamedTuple):
    """The facts about the configuration."""

    process: Facts
    """Of ``PROCESS_FACTS``."""
    pools: dict[str, Facts]
    """Of ``POOL_FACTS``, by the name of the pool."""


_PIECE: Final = 25
"""Servers in a piece of the document."""

_EJECTED: Final = SERVER_FACTS[0].name
_SERVER: Final = columns(SERVER_METRICS, *(fact.name for fact in SERVER_FACTS))


def _members_of(names: Sequence[str]) -> tuple[bytes | int | None, ...]:
    """A template of ``text.fill``: the object of a server with these members. Its name ends with the open brace."""
    items: list[bytes | int | None] = [None]
    for name in names:
        items += [f'{", " if len(items) > 1 else ""}"{name}":'.encode(), _SERVER.places[name]]
    return (*items, b"}")


_ORIGINAL_NAMES: Final = [metric.name for metric in SERVER_METRICS if not metric.added]
_ORIGINAL: Final = _members_of(_ORIGINAL_NAMES)
_FULL: Final = _members_of([*_ORIGINAL_NAMES, *(name for name in _SERVER.places if name not in _ORIGINAL_NAMES)])


class _Quantiles(NamedTuple):
    """Quantiles of one phase."""

    names: tuple[str, ...]
    shares: tuple[float, ...]
    histograms: HistogramPlaces


def _quantiles_of(scope: Histograms, wanted: Columns, facts: Sequence[Fact]) -> tuple[_Quantiles, ...]:
    phases = dict.fromkeys(fact.phase for fact in facts)
    found = []
    for phase in phases:
        names, shares = zip(*((fact.name, fact.share) for fact in facts if fact.phase == phase), strict=True)
        found.append(_Quantiles(names, shares, histogram_places(scope, wanted, phase, ANSWERED_AT_ONCE)))
    return tuple(found)


_OF_POOL: Final = _quantiles_of(OF_POOL, POOL, POOL_LATENCY)
_OF_SERVER: Final = _quantiles_of(OF_SERVER, _SERVER, SERVER_LATENCY)


def render(
    tables: Callable[[], Sequence[Table]],
    shared: Table,
    pools: Sequence[PoolPlace],
    *,
    source: str,
    version: str,
    uptime: int,
    timestamp: int,
    facts: ConfigFacts | None = None,
) -> Iterator[bytes]:
    """Yield, in pieces, the document of the statistics port, with the spacing of nutcracker 0.5.0 and a final newline.

    Each piece is made of the counters at its time. ``tables``: returns the tables that are added up. ``shared``: the
    table that all workers write. ``source``: the host name. ``uptime``: seconds since the start. ``timestamp``: seconds
    since the epoch. ``facts``: with them it is the full document, in which each object ends with what nutcracker lacks.
    """
    values = take_process(tables())
    yield (
        f'{{"service":"nutcracker", "source":{_quoted(source)}, "version":{_quoted(version)}, '
        f'"uptime":{uptime}, "timestamp":{timestamp}, {_members(values, PROCESS_METRICS, False)}'
    ).encode()
    for number, pool in enumerate(pools):
        yield _pool(tables(), pool, "," if number else ", ")
        for start in range(0, len(pool.servers), _PIECE):
            yield _servers(tables(), shared, pool.servers[start : start + _PIECE], start == 0, facts is not None)
        if facts is not None:
            yield _end_of_pool(tables(), pool, facts.pools[pool.name])
        yield b"}"
    if facts is not None:
        known = [(fact.name, facts.process[fact.name]) for fact in PROCESS_FACTS]
        yield _added(values, PROCESS_METRICS, known)
    yield b"}\n"


def _pool(tables: Sequence[Table], pool: PoolPlace, separator: str) -> bytes:
    """The beginning of a pool."""
    values = take_rows(tables, (pool.slot,), POOL).values()
    return f"{separator}{_quoted(pool.name)}: {{{_members(values, POOL_METRICS, False)}".encode()


def _servers(
    tables: Sequence[Table], shared: Table, servers: Sequence[tuple[str, int]], first: bool, full: bool
) -> bytes:
    """The objects of some servers of a pool, given by their names and slots. ``first``: they begin with its first."""
    rows = take_rows(tables, tuple([slot for _, slot in servers]), _SERVER)
    names = [f",{_quoted(name)}: {{".encode() for name, _ in servers]
    if first:
        names[0] = names[0].replace(b",", b", ", 1)
    if full:
        for row, (_, slot) in enumerate(servers):
            rows.put(row, _EJECTED, is_ejected(slot, shared))
            of_row = rows.words[row * rows.width : (row + 1) * rows.width]
            for name, value in _quantiles(tables, slot, of_row, _OF_SERVER):
                rows.put(row, name, value)
    return fill(_FULL if full else _ORIGINAL, names, rows.words, rows.width)


def _end_of_pool(tables: Sequence[Table], pool: PoolPlace, facts: Mapping[str, int | str]) -> bytes:
    """What nutcracker does not say of a pool."""
    rows = take_rows(tables, (pool.slot,), POOL)
    known = [(fact.name, facts[fact.name]) for fact in POOL_FACTS if not fact.phase]
    latency = _quantiles(tables, pool.slot, rows.words, _OF_POOL)
    return _added(rows.values(), POOL_METRICS, [*known, *latency])


def _quantiles(
    tables: Sequence[Table], slot: int, values: Sequence[int], wanted: Sequence[_Quantiles]
) -> Iterator[tuple[str, int]]:
    """Yield the name and the value of quantiles; 0 without requests. ``values``: the row of the slot."""
    for names, shares, histograms in wanted:
        places = [slot + place for column, place in histograms if values[column] > 0]
        found = Histogram(summed(tables, *places)).quantiles(shares) if places else [0.0] * len(shares)
        yield from zip(names, map(round, found), strict=True)


def _members(values: Mapping[str, int], metrics: Sequence[Metric], added: bool) -> str:
    """Return the members for nutcracker's metrics, or for those that were added."""
    return ", ".join([f'"{metric.name}":{values[metric.name]}' for metric in metrics if metric.added == added])


def _added(values: Mapping[str, int], metrics: Sequence[Metric], facts: Sequence[tuple[str, int | str]]) -> bytes:
    """Return the members that nutcracker lacks, which follow others."""
    parts = [_members(values, metrics, True)]
    parts += [f'"{name}":{_quoted(value) if isinstance(value, str) else value}' for name, value in facts]
    return (", " + ", ".join(parts)).encode()


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
