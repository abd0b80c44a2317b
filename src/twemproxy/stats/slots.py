"""Where the counters of each pool and server are in the counter tables of the workers.

A table is shared memory of 64-bit words. All tables of a supervisor have the same slots, which the supervisor allocates
and tells the workers. The memory of a table is reserved for more slots than the first configuration needs; the kernel
provides it when it is written.

Each worker process writes a table of its own and reads those of the others. One more table has the words that all
workers write, with atomic operations; there, a slot has the words of ``catalogue.POOL_SHARED`` and so on instead of
counters.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from twemproxy.stats.catalogue import (
    POOL_HISTOGRAMS,
    POOL_METRICS,
    POOL_SHARED,
    PROCESS_METRICS,
    PROCESS_SHARED,
    SERVER_HISTOGRAMS,
    SERVER_METRICS,
    SERVER_SHARED,
    Metric,
    SharedWord,
)
from twemproxy.stats.histograms import WORDS as HISTOGRAM_WORDS

WORD = 8
"""Bytes of a counter."""

SPARE_WORDS = 1 << 21
"""Words for later slots, for about two thousand servers."""


VERDICTS = [word.name for word in SERVER_SHARED].index("verdicts")
"""Where this word is in the slot of a server, in the table that workers share."""

BY_HAND = 1 << 62
"""The bit of this word that says that the server was ejected by hand: health checks do not put it back."""

HEALTH_CHANGES = [word.name for word in PROCESS_SHARED].index("health_changes")
"""Where this word is in the table that workers share."""


class Layout(msgspec.Struct, frozen=True):
    """The slots, and the metrics of each kind of slot, for a process with another catalogue."""

    capacity: int
    slots: tuple[tuple[tuple[str, ...], int], ...]
    """(identity, position) of each slot."""
    process: tuple[str, ...]
    """The names of the metrics of the process, in order. The same for ``pool`` and ``server``."""
    pool: tuple[str, ...]
    server: tuple[str, ...]
    process_shared: tuple[str, ...]
    """The names of the words of the process that workers share, in order. The same for ``pool`` and ``server``."""
    pool_shared: tuple[str, ...]
    server_shared: tuple[str, ...]
    pool_histograms: tuple[tuple[str, str], ...] = ()
    """The histograms of a pool, in order. The same for ``server_histograms``."""
    server_histograms: tuple[tuple[str, str], ...] = ()
    histogram_words: int = 0


class Histograms(NamedTuple):
    """The histograms that follow the metrics of a slot."""

    metrics: int
    """How many metrics there are."""
    names: tuple[tuple[str, str], ...]
    """(command class, phase) of each histogram."""
    counter: str
    """Begins the name of the metric that counts the values of a command class."""

    @property
    def words(self) -> int:
        """Words of the slot."""
        return self.metrics + len(self.names) * HISTOGRAM_WORDS

    def places(self, slot: int) -> Iterator[tuple[tuple[str, str], int]]:
        """Yield (command class, phase) and the position of each histogram of a slot."""
        for number, name in enumerate(self.names):
            yield name, slot + self.metrics + number * HISTOGRAM_WORDS


OF_POOL = Histograms(len(POOL_METRICS), POOL_HISTOGRAMS, "replies")
OF_SERVER = Histograms(len(SERVER_METRICS), SERVER_HISTOGRAMS, "responses")


_POOL_NAMES = [metric.name for metric in POOL_METRICS]
_SERVER_NAMES = [metric.name for metric in SERVER_METRICS]


class Places(NamedTuple):
    """Where the words of this process are in the tables of another one: their position there by that here."""

    counters: dict[int, int]
    """In tables of counters."""
    shared: dict[int, int]
    """In the table that workers share."""
    histograms: dict[int, int]
    """Of the first word of each histogram; the others follow it."""


def _names(words: Sequence[Metric | SharedWord]) -> tuple[str, ...]:
    return tuple(word.name for word in words)


def _place(
    places: dict[int, int], here: int, words: Sequence[Metric | SharedWord], there: int, names: Sequence[str]
) -> None:
    """Add the places of the words of one slot. ``here``, ``there``: its positions. ``names``: of the words there."""
    for offset, word in enumerate(words):
        if word.name in names:
            places[here + offset] = there + names.index(word.name)


def _place_histograms(
    places: dict[int, int], here: int, histograms: Histograms, there: int, names: Sequence[tuple[str, str]]
) -> None:
    """Add the places of the histograms of one slot. ``there``: the position of the first one there."""
    for name, position in histograms.places(here):
        if name in names:
            places[position] = there + names.index(name) * HISTOGRAM_WORDS


class SlotsFull(Exception):
    """The tables have no room for another slot."""


class CounterSlots:
    """The slots: the position of the first counter of the process (0), of each pool and of each server, in words.

    A pool is identified by its name, a server by the names of its pool and its own. A slot belongs to its identity for
    good: a server that is removed and added again continues with its counters.
    """

    def __init__(self, pools: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Allocate slots for ``pools``: (name, names of servers) of each, in order."""
        self._slots: dict[tuple[str, ...], int] = {}
        self.used = len(PROCESS_METRICS)
        """Words that are allocated."""
        needed = self.used + sum(OF_POOL.words + len(servers) * OF_SERVER.words for _, servers in pools)
        self.capacity = 2 * needed + SPARE_WORDS
        """Words of a table."""
        for pool, servers in pools:
            self.of_pool(pool)
            for server in servers:
                self.of_server(pool, server)

    def layout(self) -> Layout:
        """What another process needs to read tables with these slots."""
        return Layout(
            self.capacity,
            tuple(self._slots.items()),
            _names(PROCESS_METRICS),
            _names(POOL_METRICS),
            _names(SERVER_METRICS),
            _names(PROCESS_SHARED),
            _names(POOL_SHARED),
            _names(SERVER_SHARED),
            POOL_HISTOGRAMS,
            SERVER_HISTOGRAMS,
            HISTOGRAM_WORDS,
        )

    def take_over(self, layout: Layout) -> Places | None:
        """Allocate the slots of another process, before any table is made.

        Returns None if tables of that process have the same words in the same places, as with an equal catalogue;
        otherwise where each word is there. There is room for all of them.
        """
        same = layout == msgspec.structs.replace(self.layout(), capacity=layout.capacity, slots=layout.slots)
        if same:
            self._slots = dict(layout.slots)
            self.capacity = layout.capacity
            ends = [slot + _histograms(identity).words for identity, slot in layout.slots]
            self.used = max(ends, default=len(PROCESS_METRICS))
            return None
        # No table exists yet, so there is room for all slots that the other process has ever had.
        count = sum(_histograms(identity).words for identity, _ in layout.slots)
        self.capacity = max(self.capacity, 2 * (self.used + count) + SPARE_WORDS)
        places = Places({}, {}, {})
        has_histograms = layout.histogram_words == HISTOGRAM_WORDS
        _place(places.counters, 0, PROCESS_METRICS, 0, layout.process)
        _place(places.shared, 0, PROCESS_SHARED, 0, layout.process_shared)
        for identity, there in layout.slots:
            if identity[1:]:
                here = self._slot(identity)
                _place(places.counters, here, SERVER_METRICS, there, layout.server)
                _place(places.shared, here, SERVER_SHARED, there, layout.server_shared)
                first, names = there + len(layout.server), layout.server_histograms
            else:
                here = self._slot(identity)
                _place(places.counters, here, POOL_METRICS, there, layout.pool)
                _place(places.shared, here, POOL_SHARED, there, layout.pool_shared)
                first, names = there + len(layout.pool), layout.pool_histograms
            if has_histograms:
                _place_histograms(places.histograms, here, _histograms(identity), first, names)
        return places

    def of_pool(self, pool: str) -> int:
        """The slot of a pool, allocated by the first call. Raises SlotsFull."""
        return self._slot((pool,))

    def of_server(self, pool: str, server: str) -> int:
        """The slot of a server, allocated by the first call. Raises SlotsFull."""
        return self._slot((pool, server))

    def rename(self, former_names: Mapping[str, str]) -> None:
        """Give the slots of renamed pools, and of their servers, to their new names.

        ``former_names``: former name by name; pools with equal names stay. The slots of a removed pool whose name
        another pool has now are given up, with their servers.
        """
        names = {former: name for name, former in former_names.items() if name != former}
        taken = set(names.values())
        self._slots = {
            (names.get(pool, pool), *server): slot
            for (pool, *server), slot in self._slots.items()
            if pool not in taken or pool in names
        }

    def pools(self) -> Iterator[int]:
        """Yield the slot of each pool that has one."""
        return (slot for identity, slot in self._slots.items() if not identity[1:])

    def servers(self) -> Iterator[tuple[str, str, int]]:
        """Yield the name of the pool, the name, and the slot of each server that has one."""
        for (pool, *server), slot in self._slots.items():
            if server:
                yield pool, server[0], slot

    def _slot(self, identity: tuple[str, ...]) -> int:
        if identity not in self._slots:
            words = _histograms(identity).words
            if self.used + words > self.capacity:
                raise SlotsFull(f"no room for the counters of '{'/'.join(identity)}': restart the proxy")
            self._slots[identity] = self.used
            self.used += words
        return self._slots[identity]

    @property
    def size(self) -> int:
        """Size of a table in bytes."""
        return self.capacity * WORD

    def kinds(self) -> Iterator[tuple[int, str]]:
        """Yield the position and the kind of each metric."""
        scopes: list[tuple[int, Sequence[Metric]]] = [(0, PROCESS_METRICS)]
        scopes += [(slot, SERVER_METRICS if identity[1:] else POOL_METRICS) for identity, slot in self._slots.items()]
        for position, metrics in scopes:
            yield from ((offset, metric.kind) for offset, metric in enumerate(metrics, position))

    def histograms(self) -> Iterator[tuple[int, int]]:
        """Yield the positions of each histogram, and of the counter that is 0 as long as nothing is in it."""
        for identity, slot in self._slots.items():
            scope, metrics = (OF_SERVER, _SERVER_NAMES) if identity[1:] else (OF_POOL, _POOL_NAMES)
            for (command_class, _), position in scope.places(slot):
                yield position, slot + metrics.index(f"{scope.counter}_{command_class}")


def _histograms(identity: tuple[str, ...]) -> Histograms:
    """The histograms in the slot of a pool or of a server."""
    return OF_SERVER if identity[1:] else OF_POOL
