"""The counters of a worker in shared memory, to which compiled code adds.

Compiled-only. A table has one writer. Aligned 64-bit stores by a single writer need no lock: a process that maps the
same memory always reads whole values.
"""

import cython


@cython.final
@cython.cclass
class CounterTable:
    """The table of one worker. The memory stays mapped as long as the table is referenced."""

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
