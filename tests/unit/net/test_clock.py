"""The clock of the event loop."""

import time
from typing import Any

import pytest

from twemproxy.net.clock import Clock

make_clock: Any = Clock


def test_it_is_the_monotonic_clock_in_microseconds() -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    clock = make_clock()
    assert before <= clock.now <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_it_can_jump_forward_only() -> None:
    clock = make_clock()
    before = clock.now
    clock.advance(3_600_000_000)
    assert clock.now == before + 3_600_000_000
    with pytest.raises(ValueError, match="does not go backward"):
        clock.advance(-1)
