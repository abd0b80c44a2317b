"""What clients may have at most: plain figures that compiled code compares with.

Compiled-only.
"""

import sys

import cython
from cython.cimports.twemproxy.proxy.memory_limit import MemoryLimit

# Bytes of messages that a client may leave untaken where the configuration does not say.
MESSAGES_HIGH = 32 * 1024 * 1024


@cython.final
@cython.cclass
class ClientCount:
    """How many clients a worker has, all pools together, and may have; ``limit`` 0 is no limit.

    ``memory``: what may be held for all of them.
    """

    def __init__(self, limit: int, memory: MemoryLimit) -> None:
        self.limit = limit
        self.memory = memory


@cython.final
@cython.cclass
class ClientLimits:
    """Those of each client of a pool, in bytes; where the configuration has none they are out of reach.

    ``replies`` and ``messages`` of subscriptions: what a client may leave untaken; ``output`` is the smaller one.
    """

    def __init__(self, config) -> None:
        """``config``: a PoolConfig."""
        self.largest_request = config.max_request_bytes or sys.maxsize
        self.replies = config.client_output_limit or sys.maxsize
        self.messages = config.client_output_limit or MESSAGES_HIGH
        self.output = min(self.replies, self.messages)
