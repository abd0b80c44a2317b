"""Long computations on the event loop, in steps between which other work goes on."""

import asyncio
import time
from collections.abc import Iterable
from typing import Final

STEP: Final = 0.001
"""Seconds of work between two rests."""


class Pace:
    """The steps of one computation."""

    def __init__(self) -> None:
        self._rest_at = time.monotonic() + STEP

    async def rest(self) -> None:
        """Let other work go on, if a step is over."""
        if time.monotonic() >= self._rest_at:
            await asyncio.sleep(0)
            self._rest_at = time.monotonic() + STEP


async def joined(pieces: Iterable[bytes], pace: Pace) -> bytearray:
    """All of these pieces, which are made meanwhile."""
    text = bytearray()
    for piece in pieces:
        text += piece
        await pace.rest()
    return text
