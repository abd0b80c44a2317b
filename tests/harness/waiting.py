"""Waiting for a condition for which there is no event."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE = 15.0
"""Seconds after which a wait fails; the deadline only keeps a broken run from hanging."""


def wait_until(condition: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
    """Call ``condition`` until its result is true and return the result; AssertionError after the deadline."""
    end = time.monotonic() + deadline
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, f"waited {deadline:.0f} s in vain until {what}; last seen: {result!r}"
        time.sleep(0.002)
