"""Limits for clients, as plain numbers for compiled code.

Compiled-only.
"""

import contextlib
import os
import sys

import cython
from cython.cimports.posix.unistd import close
from cython.cimports.twemproxy.proxy.memory_limit import MemoryLimit

# Bytes of unread messages that a client may have if the configuration sets no limit.
MESSAGES_HIGH = 32 * 1024 * 1024


@cython.final
@cython.cclass
class Admission:
    """The number of a worker's clients, of all pools, and its limit; ``limit``: 0 for none.

    ``memory``: the limit of memory for all clients. ``spare``: a reserved descriptor, -1 without one; it makes it
    possible to refuse a client when descriptors have run out. ``lingering``: clients that have got their last reply,
    see ``proxy.client``.
    """

    def __init__(self, limit: int, memory: MemoryLimit) -> None:
        self.limit = limit
        self.memory = memory
        self.lingering = set()
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


@cython.final
@cython.cclass
class ClientLimits:
    """The limits for each client of a pool, in bytes; a very large number without a limit in the configuration.

    ``largest_request``: for one request. ``input``: for requests that a client sends while it does not read replies.
    ``replies``, ``messages``: for unread output of clients without and with subscriptions; ``output``: the smaller of
    the two.
    """

    def __init__(self, config) -> None:
        """``config``: a PoolConfig."""
        self.largest_request = config.max_request_bytes or sys.maxsize
        self.input = config.client_input_limit or sys.maxsize
        self.replies = config.client_output_limit or sys.maxsize
        self.messages = config.client_output_limit or MESSAGES_HIGH
        self.output = min(self.replies, self.messages)
