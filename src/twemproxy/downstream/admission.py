"""The number of a worker's clients, and its limit.

Compiled-only.
"""

import contextlib
import os

import cython
from cython.cimports.posix.unistd import close
from cython.cimports.twemproxy.proxy.memory_limit import MemoryLimit


@cython.final
@cython.cclass
class Admission:
    """The number of a worker's clients, of all pools, and its limit; ``limit``: 0 for none. ``awaited``: the clients
    that another process is about to hand over, which count for the limit.

    ``memory``: the limit of memory for all clients. ``spare``: a reserved descriptor, -1 without one; it makes it
    possible to refuse a client when descriptors have run out.
    """

    def __init__(self, limit: int, memory: MemoryLimit) -> None:
        self.limit = limit
        self.memory = memory
        self.spare = -1
        self.take_spare()

    def __dealloc__(self) -> None:
        self.give_spare_up()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_spare(self) -> cython.int:
        """Open a spare descriptor, if the system has one left."""
        if self.spare < 0:
            with contextlib.suppress(OSError):
                self.spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def give_spare_up(self) -> cython.void:
        """Close the spare descriptor, so that it can be used."""
        if self.spare >= 0:
            close(self.spare)
            self.spare = -1
