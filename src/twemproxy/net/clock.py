"""The clock of an event loop: microseconds that do not count the time in which the process was late.

Compiled-only.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.libc.clock import CLOCK_MONOTONIC, clock_gettime, timespec

# Microseconds of a turn that the clock counts.
LONG_TURN = cython.declare(cython.const[int64_t], 20_000)


@cython.cfunc
@cython.exceptval(check=False)
def nanoseconds() -> int64_t:
    """The time of the monotonic clock, in nanoseconds."""
    time = cython.declare(timespec)
    clock_gettime(CLOCK_MONOTONIC, cython.address(time))
    return cython.cast(int64_t, time.tv_sec) * 1_000_000_000 + time.tv_nsec


@cython.final
@cython.cclass
class Clock:
    """``now``: the time of the last reading, in microseconds of the monotonic clock. ``real``: the same with the time
    that is not counted.

    ``late``: microseconds that are not counted: the proxy was late then, and no peer must be blamed for that.
    ``moved``: microseconds that were added by ``advance``.
    """

    def __cinit__(self) -> None:
        self.now = self.read()

    @cython.cfunc
    @cython.exceptval(check=False)
    def read(self) -> int64_t:
        self.real = self.read_real()
        return self.real - self.late

    @cython.cfunc
    @cython.exceptval(check=False)
    def read_real(self) -> int64_t:
        """The present time in microseconds, with the time that is not counted; for measuring."""
        return nanoseconds() // 1000 + self.moved

    @cython.cfunc
    @cython.exceptval(check=False)
    def end_turn(self) -> int64_t:
        """Update and return ``now``; a turn's time above LONG_TURN is not counted."""
        now: int64_t = self.read()
        if now - self.now > LONG_TURN:
            self.late += now - self.now - LONG_TURN
            now = self.now + LONG_TURN
        self.now = now
        return now

    @cython.cfunc
    @cython.exceptval(check=False)
    def end_wait(self, longest: int64_t) -> int64_t:
        """Update and return ``now`` after a wait of up to ``longest`` microseconds, negative for any time.

        A wait that took LONG_TURN longer is not counted at all: the process did not run for an unknown part of it, and
        what has arrived since then is not processed yet.
        """
        now: int64_t = self.read()
        if longest >= 0 and now - self.now > longest + LONG_TURN:
            self.late += now - self.now
            now = self.now
        self.now = now
        return now

    def advance(self, microseconds: int) -> None:
        """Let the clock jump forward, so that a test need not wait. Raises ValueError if it would go backward."""
        if microseconds < 0:
            raise ValueError("a clock does not go backward")
        self.moved += microseconds
        self.now += microseconds
