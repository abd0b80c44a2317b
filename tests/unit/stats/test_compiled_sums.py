"""Compiled functions add counters up as plain Python does, and touch nothing outside of the tables."""

import mmap
import random
from array import array
from typing import Final

import pytest

from twemproxy.stats.catalogue import SERVER_HISTOGRAMS, SERVER_METRICS
from twemproxy.stats.counters import CounterTable, add_up, cumulate, read
from twemproxy.stats.exposition import SERVER_BOUNDS, SERVER_EDGES
from twemproxy.stats.histograms import WORDS, added
from twemproxy.stats.slots import VERDICTS, WORD, CounterSlots
from twemproxy.stats.snapshot import PoolNames, Table, take, take_phases

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


@pytest.mark.parametrize("seed", range(5))
def test_snapshots_are_the_same(seed: int) -> None:
    random.seed(seed)
    slots = CounterSlots(NAMES)
    words = [[word % (1 << 50) for word in random_words(slots.used)] for _ in range(3)]
    shared = Plain([0] * slots.used)
    shared[slots.of_server("beta", "third") + VERDICTS] = 1
    plain = take([Plain(each) for each in words], slots, NAMES, shared)
    mixed: list[Table] = [Plain(words[0]), Mapped(words[1]), Mapped(words[2])]
    assert take([Mapped(each) for each in words], slots, NAMES, shared) == plain
    assert take(mixed, slots, NAMES, shared) == plain
    for pool in plain.pools:
        for server in pool.servers:
            slot = slots.of_server(pool.name, server.name)
            for tables in (mixed, [Plain(each) for each in words], [Mapped(each) for each in words]):
                phases = take_phases(tables, slot, server.values, SERVER_EDGES)
                for phase in {phase for _, phase in SERVER_HISTOGRAMS}:
                    parts = [each for (name, of), each in server.latency.items() if of == phase and name != "blocking"]
                    whole = added(parts)
                    below = [whole.below(bound) for bound in SERVER_BOUNDS]
                    assert phases.get(phase, [0] * (len(below) + 2)) == [*below, whole.number, whole.total]


def test_gauges_are_never_negative() -> None:
    position = [metric.name for metric in SERVER_METRICS].index("in_queue")
    words = [0] * (position + 1)
    words[position] = (1 << 64) - 5
    tables = [Mapped(words).compiled, Mapped([7] * (position + 1)).compiled]
    assert read(tables, position, b"0") == [7]
    assert read(tables, position, b">") == [(1 << 64) - 5]
    assert read(tables, position, b"+") == [2]


@pytest.mark.parametrize("position", [-1, 100 - WORDS + 1, 100, 1 << 40])
def test_what_is_outside_of_a_table_is_an_error(position: int) -> None:
    table = Mapped([1] * 100).compiled
    with pytest.raises(IndexError):
        add_up([table], (position,), WORDS)
    with pytest.raises(IndexError):
        cumulate([table], (position,), (1,), WORDS)
    with pytest.raises(IndexError):
        read([table], position, b"+" * WORDS)


def test_an_edge_behind_the_buckets_is_an_error() -> None:
    table = Mapped([1] * WORDS).compiled
    with pytest.raises(IndexError):
        cumulate([table], (0,), (WORDS,), WORDS)
