"""Long computations on the event loop, in steps between which other work goes on."""

import asyncio
import time
from collections.abc import Iterable
from typing import Final

STEP: Final = 0.001
"""Seconds of work between two rests."""

LEAST: Final = 1 << 16
"""Bytes of a part that is not joined with the next one."""


class Pace:
    """The steps of one computation."""

    def __init__(self) -> None:
        self._rest_at = time.monotonic() + STEP

    async def rest(self) -> None:
        """Let other work go on, if a step is over."""
        if time.monotonic() >= self._rest_at:
            await asyncio.sleep(0)
            self._rest_at = time.monotonic() + STEP


async def gather(parts: Iterable[bytes], pace: Pace) -> tuple[bytes, ...]:
    """All of these parts, which are made meanwhile; those of less than LEAST bytes are joined with the next ones.

    They are never all joined: copying some megabytes takes longer than a step.
    """
    gathered = []
    small: list[bytes] = []
    size = 0
    for part in parts:
        small.append(part)
        size += len(part)
        if size >= LEAST:
            gathered.append(b"".join(small))
            small.clear()
            size = 0
        await pace.rest()
    return (*gathered, b"".join(small))
