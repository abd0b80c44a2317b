"""The counters of worker processes that have ended: those that only grow stay in the sums."""

import mmap
from collections.abc import Mapping, Sequence
from typing import Final

from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS, Metric
from twemproxy.stats.counters import CounterTable
from twemproxy.stats.histograms import WORDS
from twemproxy.stats.slots import OF_POOL, OF_SERVER, CounterSlots, Histograms, Places
from twemproxy.stats.snapshot import Columns, Table, columns, summed, take_rows


def _growing(metrics: Sequence[Metric]) -> Columns:
    """The columns of metrics that never become less; the others are 0."""
    places, kinds = columns(metrics)
    growing = [metric.kind in ("counter", "timestamp") for metric in metrics]
    return Columns(places, bytes(kind if grows else ord(" ") for kind, grows in zip(kinds, growing, strict=True)))


_PROCESS: Final = _growing(PROCESS_METRICS)
_POOL: Final = _growing(POOL_METRICS)
_SERVER: Final = _growing(SERVER_METRICS)


class EndedCounters:
    """The sums, in a table like that of a worker, which is made when there are any."""

    def __init__(self) -> None:
        self._words = memoryview(b"").cast("Q")
        self.compiled: CounterTable | None = None
        """The table, see ``stats.snapshot.Table``; None if there are no sums."""

    def __getitem__(self, position: int, /) -> int:
        return self._words[position]

    def words(self, position: int, count: int) -> bytes:
        """The ``count`` words of the histogram at a position."""
        return self._words[position : position + count].tobytes()

    def metrics(self, slots: CounterSlots) -> dict[int, int]:
        """The sums that are not 0, without histograms, by position."""
        if self.compiled is None:
            return {}
        return {position: self[position] for position, _ in slots.kinds() if self[position] > 0}

    def histograms(self, slots: CounterSlots) -> dict[int, list[int]]:
        """The words of each histogram that is not empty, by the position of the first one."""
        if self.compiled is None:
            return {}
        return {
            position: self._words[position : position + WORDS].tolist()
            for position, counter in slots.histograms()
            if self[counter] > 0
        }

    def take_over(
        self,
        metrics: Mapping[int, int],
        histograms: Mapping[int, Sequence[int]],
        places: Places | None,
        slots: CounterSlots,
    ) -> None:
        """Go on with the sums of another version. ``places``: where they are there, None if at the same positions.

        ``slots``: of this version.
        """
        if not metrics:
            return
        words = self._table(slots)
        if places is not None:
            metrics = {here: metrics[there] for here, there in places.counters.items() if there in metrics}
            histograms = {here: histograms[there] for here, there in places.histograms.items() if there in histograms}
        for position, value in metrics.items():
            words[position] = value
        for first, values in histograms.items():
            for position, value in enumerate(values, first):
                words[position] = value

    def count(self, position: int, n: int, slots: CounterSlots) -> None:
        """Add to a sum. ``position``: in the table of ``slots``."""
        self._table(slots)[position] += n

    def keep(self, memory: Table, slots: CounterSlots) -> None:
        """Add the counters of a process that has ended. ``slots``: those of its table."""
        self._table(slots)
        self._keep(memory, (0,), _PROCESS, None)
        self._keep(memory, tuple(slots.pools()), _POOL, OF_POOL)
        self._keep(memory, tuple(slot for _, _, slot in slots.servers()), _SERVER, OF_SERVER)

    def _keep(self, memory: Table, slots: tuple[int, ...], wanted: Columns, scope: Histograms | None) -> None:
        rows = take_rows([memory], slots, wanted)
        sums = take_rows([self, memory], slots, wanted)
        places = (
            []
            if scope is None
            else [(wanted.places[f"{scope.counter}_{name}"], place) for (name, _), place in scope.places(0)]
        )
        for row, slot in enumerate(slots):
            first = row * rows.width
            self._words[slot : slot + rows.width] = memoryview(sums.words)[first : first + rows.width]
            for column, place in places:
                if rows.words[first + column] > 0:
                    self._add_histogram(memory, slot + place)

    def _add_histogram(self, memory: Table, position: int) -> None:
        if self.compiled is not None and memory.compiled is not None:
            self.compiled.add_words(memory.compiled, position, WORDS)
        else:
            self._words[position : position + WORDS] = memoryview(summed([self, memory], position))

    def _table(self, slots: CounterSlots) -> memoryview:
        """The words of the table, which is made if there is none."""
        if self.compiled is None:
            # The system provides memory only for what is not 0.
            memory = mmap.mmap(-1, slots.size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self.compiled = CounterTable(memory)
            self._words = memoryview(memory).cast("Q")
        return self._words
