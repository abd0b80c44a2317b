"""The counters of the workers in shared memory, to which compiled code adds.

Compiled-only. A table of counters has one writer. Aligned 64-bit stores by a single writer need no lock: a process that
maps the same memory always reads whole values. The table that all workers write has atomic operations.
"""

import mmap
from array import array

import cython
from cython.cimports.twemproxy.libc.atomic import (
    ATOMIC_SEQ_CST,
    atomic_add,
    atomic_exchange,
    atomic_fence,
    atomic_load,
)


@cython.final
@cython.cclass
class CounterTable:
    """One table. The memory stays mapped as long as the table is referenced."""

    def __init__(self, memory) -> None:
        """Use ``memory`` as the table: a writable buffer (an ``mmap``) of whole 64-bit words."""
        self.memory = memory
        self.values = memoryview(memory).cast("Q")

    @cython.cfunc
    def at(self, position: cython.Py_ssize_t) -> cython.pointer[Counter]:
        """Return the address of a counter; raises IndexError outside the table."""
        if position < 0 or position >= self.values.shape[0]:
            raise IndexError("counter outside the table")
        return cython.address(self.values[position])

    def replace(self, position: int, expected: int, value: int) -> bool:
        """As ``replace_shared`` with the word at a position. Raises IndexError outside the table."""
        return replace_shared(self.at(position), expected, value)

    def add_words(self, other: CounterTable, position: int, count: int) -> None:
        """Add the ``count`` words, at least 1, of another table at a position to those of this one there.

        Raises IndexError outside the tables.
        """
        self.at(position + count - 1)
        add_words(self.at(position), [other], position, count)

    def add(self, position: int, n: int) -> None:
        """As ``add_shared`` with the word at a position. Raises IndexError outside the table."""
        add_shared(self.at(position), n)


@cython.final
@cython.cclass
class WorkerTables:
    """The tables that a worker process uses. ``own``: its counters. ``others``: those of the other processes.
    ``workers``: how many workers there are, at least 1; ``others`` may also have tables of processes that end soon.

    ``shared``: the table that all workers write. All tables have the same slots, see ``stats.slots``.
    """

    def __init__(self, own: CounterTable, shared: CounterTable) -> None:
        """The only process; ``others`` and ``workers`` can be replaced."""
        self.own = own
        self.shared = shared
        self.others = []
        self.workers = 1

    @cython.cfunc
    def at(self, position: cython.Py_ssize_t) -> cython.pointer[Counter]:
        """Return the address of a counter of this process; raises IndexError outside the table."""
        return self.own.at(position)

    @cython.cfunc
    def shared_at(self, position: cython.Py_ssize_t) -> cython.pointer[Counter]:
        """Return the address of a word that all workers write; raises IndexError outside the table."""
        return self.shared.at(position)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def sum(self, position: cython.Py_ssize_t) -> cython.longlong:
        """The sum of a counter or gauge over all processes. Raises IndexError outside the table.

        What this process has stored before is visible to any process that sums up later.
        """
        table: CounterTable
        total: cython.longlong
        value: cython.longlong
        atomic_fence(ATOMIC_SEQ_CST)
        total = cython.cast(cython.longlong, self.own.at(position)[0])
        for table in self.others:
            value = cython.cast(cython.longlong, table.at(position)[0])
            # A gauge below 0 is that of a process that was killed.
            if value > 0:
                total += value
        return total

    def latest(self, position: int) -> int:
        """The largest of a timestamp or a peak over all processes. Raises IndexError outside the table."""
        table: CounterTable
        found: cython.longlong = cython.cast(cython.longlong, self.own.at(position)[0])
        for table in self.others:
            found = max(found, cython.cast(cython.longlong, table.at(position)[0]))
        return found

    def figures(self, position: int, metrics) -> list:
        """(name, value) of each of these metrics of ``stats.catalogue`` in the slot at a position.

        Counters and gauges are sums over all processes; of the others it is the largest. Raises IndexError.
        """
        figures: list = []
        for place, metric in enumerate(metrics, position):
            is_sum = metric.kind in ("counter", "gauge")
            figures.append((metric.name, self.sum(place) if is_sum else self.latest(place)))
        return figures

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def sum_of_others(self, position: cython.Py_ssize_t) -> cython.longlong:
        """As ``sum``, without this process."""
        return self.sum(position) - cython.cast(cython.longlong, self.own.at(position)[0])


@cython.cfunc
@cython.exceptval(check=False)
def shared_value(word: cython.pointer[Counter]) -> Counter:
    """The value of a word that all workers write."""
    return atomic_load(word, ATOMIC_SEQ_CST)


@cython.cfunc
@cython.exceptval(check=False)
def add_shared(word: cython.pointer[Counter], n: Counter) -> Counter:
    """Add to a word that all workers write; returns the sum."""
    return atomic_add(word, n, ATOMIC_SEQ_CST)


@cython.cfunc
@cython.exceptval(check=False)
def replace_shared(word: cython.pointer[Counter], expected: Counter, value: Counter) -> cython.bint:
    """Replace a word that all workers write if it is as ``expected``; returns whether it was."""
    return atomic_exchange(word, cython.address(expected), value, False, ATOMIC_SEQ_CST, ATOMIC_SEQ_CST)


def map_table(descriptor: int) -> CounterTable:
    """The table in the shared memory of a descriptor, which can be closed then. Raises OSError."""
    return CounterTable(mmap.mmap(descriptor, 0))


def read(tables: list, positions: tuple, kinds: bytes) -> array:
    """The words from each of these positions on, of all these tables together, one row after the other.

    ``kinds``: how each word of a row is put together. ``+``: it is the sum. ``0``: it is the sum, and a negative number
    counts as 0. ``>``: it is the largest. A space: it is 0, and after the last other kind, it is in no table. Raises
    IndexError.
    """
    table: CounterTable
    words: cython.pointer[Counter]
    kind: cython.uchar
    place: cython.Py_ssize_t
    row: cython.Py_ssize_t
    position: cython.Py_ssize_t
    width: cython.Py_ssize_t = len(kinds)
    count: cython.Py_ssize_t = len(kinds.rstrip(b" "))
    found = array("Q", bytes(8 * width * len(positions)))
    values: cython.ulonglong[::1] = found
    if count == 0:
        return found
    for table in tables:
        row = 0
        for position in positions:
            table.at(position + count - 1)
            words = table.at(position)
            for place in range(count):
                kind = kinds[place]
                if kind == ord(">"):
                    values[row + place] = max(values[row + place], words[place])
                elif kind == ord("+") or (kind == ord("0") and cython.cast(cython.longlong, words[place]) > 0):
                    values[row + place] += words[place]
            row += width
    return found


@cython.cfunc
@cython.exceptval(-1, check=False)
def add_words(
    sums: cython.pointer[Counter], tables: list, position: cython.Py_ssize_t, count: cython.Py_ssize_t
) -> cython.int:
    """Add the ``count`` words at this position of all these tables to ``sums``. Raises IndexError."""
    table: CounterTable
    words: cython.pointer[Counter]
    place: cython.Py_ssize_t
    for table in tables:
        table.at(position + count - 1)
        words = table.at(position)
        for place in range(count):
            sums[place] += words[place]
    return 0


def add_up(tables: list, positions: tuple, count: int) -> array:
    """The ``count`` words, at least 1, at each of these positions of all these tables, added up word by word.

    Raises IndexError.
    """
    position: cython.Py_ssize_t
    found = array("Q", bytes(8 * count))
    sums: cython.ulonglong[::1] = found
    for position in positions:
        add_words(cython.address(sums[0]), tables, position, count)
    return found


def cumulate(tables: list, positions: tuple, histograms: tuple, rows, width: int, edges: tuple, count: int) -> array:
    """The histograms at each of these positions as one: a row of how many values are below each edge, how many there
    are at all, and their sum.

    ``histograms``: pairs of a column and a place. Where the word in the column of the row of ``rows``, which has
    ``width`` columns, is not 0, ``count`` words at this place behind the position of all these tables are added: the
    counts of the buckets, then the sum of the values. ``edges``: each is a number of buckets, in ascending order.
    Raises IndexError.
    """
    values: cython.ulonglong[::1] = rows
    scratch = array("Q", bytes(8 * count))
    sums: cython.ulonglong[::1] = scratch
    buckets: cython.Py_ssize_t = count - 1
    found = array("Q", bytes(8 * (len(edges) + 2) * len(positions)))
    counts: cython.ulonglong[::1] = found
    columns: cython.Py_ssize_t = width
    column: cython.Py_ssize_t
    offset: cython.Py_ssize_t
    position: cython.Py_ssize_t
    edge: cython.Py_ssize_t
    place: cython.Py_ssize_t
    row: cython.Py_ssize_t = 0
    at: cython.Py_ssize_t = 0
    below: Counter
    is_empty: cython.bint
    if columns * len(positions) != values.shape[0]:
        raise IndexError("there are other rows than that")
    for column, _ in histograms:
        if column < 0 or column >= columns:
            raise IndexError("a row has no such column")
    for edge in edges:
        if edge < 0 or edge > buckets:
            raise IndexError("more buckets than there are")
    for position in positions:
        is_empty = True
        for column, offset in histograms:
            if values[row + column] > 0:
                if is_empty:
                    for place in range(count):
                        sums[place] = 0
                    is_empty = False
                add_words(cython.address(sums[0]), tables, position + offset, count)
        row += columns
        if is_empty:
            at += len(edges) + 2
            continue
        below = 0
        place = 0
        for edge in edges:
            while place < edge:
                below += sums[place]
                place += 1
            counts[at] = below
            at += 1
        while place < buckets:
            below += sums[place]
            place += 1
        counts[at] = below
        counts[at + 1] = sums[buckets]
        at += 2
    return found
