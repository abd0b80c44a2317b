"""Compiled functions add counters up as plain Python does, and touch nothing outside of the tables."""

import mmap
import random
from array import array
from collections.abc import Sequence
from typing import Final

import pytest

from twemproxy.stats.catalogue import SERVER_METRICS, SERVER_PHASES
from twemproxy.stats.counters import CounterTable, add_up, cumulate, read
from twemproxy.stats.exposition import EDGES
from twemproxy.stats.histograms import WORDS
from twemproxy.stats.slots import OF_SERVER, VERDICTS, WORD, CounterSlots
from twemproxy.stats.snapshot import (
    ANSWERED_AT_ONCE,
    SERVER,
    Latency,
    PoolNames,
    Table,
    histogram_places,
    take,
    take_cumulated,
    take_latency,
    take_rows,
)

NAMES = [PoolNames("alpha", ("first", "second")), PoolNames("beta", ("third",))]


class Plain(list[int]):
    """A table that compiled functions cannot read."""

    compiled: Final = None

    def words(self, position: int, count: int) -> bytes:
        return array("Q", self[position : position + count]).tobytes()


class Mapped(Plain):
    """The same words in memory."""

    def __init__(self, words: list[int]) -> None:
        super().__init__(words)
        memory = mmap.mmap(-1, WORD * len(words))
        memory.write(array("Q", words).tobytes())
        self.compiled = CounterTable(memory)  # type: ignore[misc, assignment]


def random_words(size: int) -> list[int]:
    """Counters, some of them 0, some of them negative as gauges of a process that was killed."""
    kinds = (lambda: 0, lambda: random.randrange(1 << 40), lambda: (1 << 64) - random.randrange(1, 100))
    return [random.choices(kinds, (5, 10, 1))[0]() for _ in range(size)]


SERVER_EDGES: Final = EDGES["server"]
PHASES: Final = {phase: histogram_places(OF_SERVER, SERVER, phase, ANSWERED_AT_ONCE) for phase in SERVER_PHASES}


@pytest.mark.parametrize("seed", range(5))
def test_snapshots_are_the_same(seed: int) -> None:
    random.seed(seed)
    slots = CounterSlots(NAMES)
    words = [[word % (1 << 50) for word in random_words(slots.used)] for _ in range(3)]
    shared = Plain([0] * slots.used)
    shared[slots.of_server("beta", "third") + VERDICTS] = 1
    plain: list[Table] = [Plain(each) for each in words]
    mixed: list[Table] = [Plain(words[0]), Mapped(words[1]), Mapped(words[2])]
    mapped: list[Table] = [Mapped(each) for each in words]
    expected = take(plain, slots, NAMES, shared)
    assert take(mapped, slots, NAMES, shared) == expected
    assert take(mixed, slots, NAMES, shared) == expected
    servers = [(slots.of_server(pool.name, server.name), server) for pool in expected.pools for server in pool.servers]
    positions = tuple(slot for slot, _ in servers)
    for tables in (plain, mixed, mapped):
        rows = take_rows(tables, positions, SERVER)
        assert rows.words.tolist() == [value for _, server in servers for value in server.values.values()]
        latencies = [latency_of(tables, slot) for slot in positions]
        assert latencies == [latency_of(plain, slot) for slot in positions]
        for phase, places in PHASES.items():
            assert take_cumulated(tables, positions, rows, places, SERVER_EDGES).tolist() == [
                number for latency in latencies for number in cumulated(latency, phase)
            ]


def latency_of(tables: Sequence[Table], slot: int) -> Latency:
    return take_latency(tables, slot, OF_SERVER, take_rows(tables, (slot,), SERVER))


def cumulated(latency: Latency, phase: str) -> list[int]:
    """How many values of this phase are below each edge, how many there are, and their sum."""
    histograms = [each for (name, of), each in latency.items() if of == phase and name != "blocking"]
    below = [sum(sum(each.counts[:edge]) for each in histograms) for edge in SERVER_EDGES]
    return [*below, sum(each.number for each in histograms), sum(each.total for each in histograms)]


def test_gauges_are_never_negative() -> None:
    position = [metric.name for metric in SERVER_METRICS].index("in_queue")
    words = [0] * (position + 1)
    words[position] = (1 << 64) - 5
    tables = [Mapped(words).compiled, Mapped([7] * (position + 1)).compiled]
    assert read(tables, (position,), b"0").tolist() == [7]
    assert read(tables, (position,), b">").tolist() == [(1 << 64) - 5]
    assert read(tables, (position,), b"+").tolist() == [2]


def test_a_column_that_is_in_no_table_is_zero() -> None:
    tables = [Mapped([3, 4, 5]).compiled, Mapped([30, 40, 50]).compiled]
    assert read(tables, (0, 1), b"+> ").tolist() == [33, 40, 0, 44, 50, 0]
    assert read(tables, (0,), b"+ >").tolist() == [33, 0, 50]
    assert read(tables, (5,), b" ").tolist() == [0]


@pytest.mark.parametrize("position", [-1, 100 - WORDS + 1, 100, 1 << 40])
def test_what_is_outside_of_a_table_is_an_error(position: int) -> None:
    table = Mapped([1] * 100).compiled
    with pytest.raises(IndexError):
        add_up([table], (position,), WORDS)
    with pytest.raises(IndexError):
        cumulate([table], (position,), ((0, 0),), array("Q", [1]), 1, (1,), WORDS)
    with pytest.raises(IndexError):
        read([table], (position,), b"+" * WORDS)


@pytest.mark.parametrize(
    ("histograms", "rows", "edges"),
    [
        pytest.param(((0, 0),), [1], (WORDS,), id="an edge behind the buckets"),
        pytest.param(((0, 0),), [1], (-1,), id="a negative edge"),
        pytest.param(((1, 0),), [1], (1,), id="a column behind the row"),
        pytest.param(((-1, 0),), [1], (1,), id="a column before the row"),
        pytest.param(((0, 0),), [1, 1], (1,), id="more rows than positions"),
        pytest.param(((0, 0),), [], (1,), id="fewer rows than positions"),
        pytest.param(((0, 1),), [1], (1,), id="a histogram that ends behind the table"),
    ],
)
def test_histograms_that_do_not_fit_are_an_error(
    histograms: tuple[tuple[int, int], ...], rows: list[int], edges: tuple[int, ...]
) -> None:
    table = Mapped([1] * WORDS).compiled
    with pytest.raises(IndexError):
        cumulate([table], (0,), histograms, array("Q", rows), 1, edges, WORDS)
