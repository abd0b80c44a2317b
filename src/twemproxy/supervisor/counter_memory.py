"""The shared memory of a table: the counters of one worker process, or what all workers write, see ``stats.slots``."""

import mmap
import os
from collections.abc import Iterable, Mapping

from twemproxy.stats.counters import CounterTable
from twemproxy.stats.slots import WORD


class CounterMemory:
    """The memory: its descriptor, which the worker gets, and its words by position."""

    def __init__(
        self,
        descriptor: int,
        places: Mapping[int, int] | None = None,
        histogram_places: Mapping[int, int] | None = None,
    ) -> None:
        """Map the memory of a descriptor, which belongs to this object from now on. Raises OSError.

        ``places``, ``histogram_places``: for the memory of another version, see ``stats.slots.Places``.
        """
        self.descriptor = descriptor
        self.places = places
        self._histogram_places = histogram_places or {}
        self._mapped = mmap.mmap(descriptor, 0)
        self._words = memoryview(self._mapped).cast("Q")
        self.compiled = CounterTable(self._mapped) if places is None else None
        """The same memory for compiled functions; None if it is that of another version."""

    def __getitem__(self, position: int, /) -> int:
        """The unsigned 64-bit word at a position of this version; 0 if another version does not have it."""
        if self.places is None:
            return self._words[position]
        place = self.places.get(position, -1)
        return self._words[place] if place >= 0 else 0

    def words(self, position: int, count: int) -> bytes:
        """The ``count`` words of the histogram at a position of this version; zeros if another version lacks it."""
        if self.places is not None:
            position = self._histogram_places.get(position, -1)
            if position < 0:
                return bytes(WORD * count)
        return self._words[position : position + count].tobytes()

    def __setitem__(self, position: int, value: int, /) -> None:
        """Set a word of a table of this version."""
        self._words[position] = value

    def clear(self, position: int) -> None:
        """Set a word to 0."""
        place = position if self.places is None else self.places.get(position, -1)
        if place >= 0:
            self._words[place] = 0

    def replace(self, position: int, expected: int, value: int) -> bool:
        """Replace a word of a table of this version, which other processes write, too, if it is as ``expected``.

        Returns whether it was. No other process writes the word in between.
        """
        return bool(CounterTable(self._mapped).replace(position, expected, value))

    def add(self, position: int, n: int) -> None:
        """Add to a word of a table of this version, which other processes write, too."""
        CounterTable(self._mapped).add(position, n)

    def copy(self, other: "CounterMemory", positions: Iterable[int]) -> None:
        """Set the words at these positions to those of ``other``."""
        for position in positions:
            self._words[position] = other[position]

    @classmethod
    def allocate(cls, size: int) -> "CounterMemory":
        """New memory of ``size`` bytes, all 0. Raises OSError."""
        descriptor = os.memfd_create("nutcracker counters", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            return cls(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Give the memory back; a worker that has mapped it keeps it."""
        self.compiled = None
        self._words.release()
        self._mapped.close()
        os.close(self.descriptor)
