"""The counters of worker processes that have ended: those that only grow stay in the sums."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import add
from typing import Final

from twemproxy.stats.histograms import WORDS
from twemproxy.stats.slots import WORD, CounterSlots, Places
from twemproxy.supervisor.counter_memory import CounterMemory

_NONE = bytes(WORD * WORDS)


class EndedCounters:
    """The sums, by position as in the table of a process."""

    compiled: Final = None
    """See ``stats.snapshot.Table``."""

    def __init__(self) -> None:
        self.metrics: Counter[int] = Counter()
        self.histograms: dict[int, list[int]] = {}
        """The words of each histogram that is not empty."""

    def __getitem__(self, position: int, /) -> int:
        return self.metrics.get(position, 0)

    def words(self, position: int, count: int) -> bytes:
        """The words of the histogram at a position."""
        found = self.histograms.get(position)
        return _NONE if found is None else array("Q", found).tobytes()

    def take_over(
        self, metrics: Mapping[int, int], histograms: Mapping[int, Sequence[int]], places: Places | None
    ) -> None:
        """Go on with the sums of another version. ``places``: where they are there, None if at the same positions."""
        if places is None:
            self.metrics.update(metrics)
            self.histograms.update({position: list(words) for position, words in histograms.items()})
        else:
            self.metrics.update({here: metrics.get(there, 0) for here, there in places.counters.items()})
            self.histograms.update(
                {here: list(histograms[there]) for here, there in places.histograms.items() if there in histograms}
            )

    def keep(self, memory: CounterMemory, slots: CounterSlots) -> None:
        """Add the counters of a process that has ended."""
        for position, counter in slots.histograms():
            if memory[counter] > 0:
                words = memoryview(memory.words(position, WORDS)).cast("Q")
                former = self.histograms.get(position)
                self.histograms[position] = words.tolist() if former is None else list(map(add, former, words))
        for position, kind in slots.kinds():
            match kind:
                case "counter":
                    self.metrics[position] += memory[position]
                case "timestamp":
                    self.metrics[position] = max(self.metrics[position], memory[position])
