"""What clients may have at most: plain figures that compiled code compares with.

Compiled-only.
"""

import sys

import cython


@cython.final
@cython.cclass
class ClientCount:
    """How many clients a worker has, all pools together, and may have; ``limit`` 0 is no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit


@cython.final
@cython.cclass
class ClientLimits:
    """Those of each client of a pool, in bytes; where the configuration has none they are out of reach."""

    def __init__(self, config) -> None:
        """``config``: a PoolConfig."""
        self.largest_request = config.max_request_bytes or sys.maxsize
