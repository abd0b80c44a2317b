"""What processes use of the machine, as the kernel says in /proc."""

import os
import time
from pathlib import Path
from typing import Final, NamedTuple

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGESIZE")


class Usage(NamedTuple):
    """What a process uses."""

    resident: int
    """Bytes of memory, with what the process shares with others."""
    cpu: float
    """Seconds of processor time since its start."""
    started_at: float
    """When it was started, in seconds since the epoch."""


def usage_of(pid: int) -> Usage | None:
    """What a process uses; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name of the program, in parentheses, may contain anything.
    fields = stat[stat.rindex(")") + 2 :].split()
    user, system, started, resident = (int(fields[number]) for number in (11, 12, 19, 21))
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - started / _TICKS
    return Usage(resident * _PAGE, (user + system) / _TICKS, time.time() - age)
