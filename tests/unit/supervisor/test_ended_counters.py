"""The sums of processes that have ended: what only grows stays, from this version and from another one."""

import random
from collections.abc import Iterator

import pytest

from twemproxy.stats.histograms import WORDS
from twemproxy.stats.slots import OF_SERVER, CounterSlots, Places
from twemproxy.stats.snapshot import SERVER, PoolNames, Table, find, take, take_latency, take_rows
from twemproxy.supervisor.counter_memory import CounterMemory
from twemproxy.supervisor.ended_counters import EndedCounters

NAMES = [PoolNames("alpha", ("first", "second")), PoolNames("beta", ("third",))]


@pytest.fixture
def slots() -> CounterSlots:
    slots = CounterSlots(NAMES)
    slots.capacity = slots.used
    return slots


@pytest.fixture
def memories(slots: CounterSlots) -> Iterator[list[CounterMemory]]:
    """The counters of three processes."""
    memories = [CounterMemory.allocate(slots.size) for _ in range(3)]
    source = random.Random(7)
    for memory in memories:
        for position in range(slots.used):
            memory[position] = source.choice([0, source.randrange(1 << 40)])
        for position, counter in slots.histograms():
            if memory[counter] == 0:
                for place in range(WORDS):
                    memory[position + place] = 0
    yield memories
    for memory in memories:
        memory.close()


def growing(slots: CounterSlots, memories: list[CounterMemory]) -> dict[int, int]:
    """The sums that are not 0, by position."""
    sums = {}
    for position, kind in slots.kinds():
        if kind in ("counter", "timestamp"):
            values = [memory[position] for memory in memories]
            sums[position] = max(values) if kind == "timestamp" else sum(values)
    return {position: value for position, value in sums.items() if value}


def histograms(slots: CounterSlots, memories: list[CounterMemory]) -> dict[int, list[int]]:
    """The words of the histograms that are not empty, by position."""
    found = {}
    for position, counter in slots.histograms():
        filled = [memory for memory in memories if memory[counter]]
        if filled:
            found[position] = [sum(memory[position + place] for memory in filled) for place in range(WORDS)]
    return found


def test_what_only_grows_is_kept(slots: CounterSlots, memories: list[CounterMemory]) -> None:
    ended = EndedCounters()
    assert (ended.compiled, ended.metrics(slots), ended.histograms(slots)) == (None, {}, {})
    for memory in memories:
        ended.keep(memory, slots)
    assert ended.metrics(slots) == growing(slots, memories)
    assert ended.histograms(slots) == histograms(slots, memories)


def test_the_sums_are_those_of_the_processes(slots: CounterSlots, memories: list[CounterMemory]) -> None:
    """Before the gauges of the process that ends are missing."""
    for memory in memories:
        for position, kind in slots.kinds():
            if kind in ("gauge", "peak"):
                memory.clear(position)
    ended = EndedCounters()
    ended.keep(memories[0], slots)
    before: list[Table] = [*memories]
    after: list[Table] = [ended, *memories[1:]]
    expected = take(before, slots, NAMES, memories[0])
    assert take(after, slots, NAMES, memories[0]) == expected
    for place in find(slots, NAMES):
        for _, slot in place.servers:
            row = take_rows(before, (slot,), SERVER)
            assert take_latency(after, slot, OF_SERVER, row) == take_latency(before, slot, OF_SERVER, row)


def test_another_version_goes_on_with_the_sums(slots: CounterSlots, memories: list[CounterMemory]) -> None:
    former, same, moved, none = (EndedCounters() for _ in range(4))
    for memory in memories:
        former.keep(memory, slots)
    metrics, words = former.metrics(slots), former.histograms(slots)
    same.take_over(metrics, words, None, slots)
    assert (same.metrics(slots), same.histograms(slots)) == (metrics, words)
    there = {position + 1000: value for position, value in metrics.items()}
    places = Places(
        {position: position + 1000 for position, _ in slots.kinds()},
        {},
        {position: position + 5 for position, _ in slots.histograms()},
    )
    moved.take_over(there, {position + 5: each for position, each in words.items()}, places, slots)
    assert (moved.metrics(slots), moved.histograms(slots)) == (metrics, words)
    none.take_over({}, {}, None, slots)
    assert none.compiled is None


def test_a_process_of_another_version_is_kept(slots: CounterSlots, memories: list[CounterMemory]) -> None:
    [memory, *_] = memories
    counters = {position: position for position, _ in slots.kinds()}
    places = {position: position for position, _ in slots.histograms()}
    [missing, *_] = [position for position, counter in slots.histograms() if memory[counter]]
    del places[missing]
    other = CounterMemory(memory.descriptor, counters, places)
    ended = EndedCounters()
    ended.keep(other, slots)
    assert other.compiled is None
    assert ended.metrics(slots) == growing(slots, [memory])
    assert ended.histograms(slots) == {**histograms(slots, [memory]), missing: [0] * WORDS}
