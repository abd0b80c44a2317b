"""Watches the configuration file (option --watch)."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final

INTERVAL: Final = 1.0
"""Seconds between two looks at the file."""

Identity = tuple[int, int, int, int]


def identity(path: str) -> Identity | None:
    """What differs when a file was written or replaced, symbolic links on its path included; None without a file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


async def watch(path: str, served: Identity | None, on_changed: Callable[[Identity], Awaitable[None]]) -> None:
    """Await ``on_changed(identity)`` each time that the file was changed, once it has stayed the same for INTERVAL.

    ``served``: the identity of the file that is served at first.

    Looking at the file, instead of having the kernel tell, works on every file system and follows symbolic links
    wherever they are swapped, as Kubernetes does with those of a ConfigMap. A file that is gone is waited for.
    """
    last = served
    while True:
        await asyncio.sleep(INTERVAL)
        now = identity(path)
        if now is not None and now == last and now != served:
            served = now
            await on_changed(now)
        last = now
