"""How many processors the system gives the proxy."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from twemproxy import log

CGROUPS: Final = Path("/sys/fs/cgroup")
"""Where the cgroups are, see cgroups(7)."""
OWN_CGROUP: Final = Path("/proc/self/cgroup")
INTERVAL: Final = 5.0
"""Seconds between two looks how many processors there are."""

_logger = log.get_logger(__name__)


async def follow_processors(
    number: Callable[[], int], shortage: Callable[[int], str], resize: Callable[[int], Awaitable[object]]
) -> None:
    """Have as many workers as processors when their number changes, for ever.

    ``number``: of workers now, 0 while it does not depend on processors. ``shortage``: why there cannot be so many.
    ``resize``: changes the number.
    """
    refused = 0
    while True:
        await asyncio.sleep(INTERVAL)
        if number() not in (0, count := processors()):
            if problem := shortage(count):
                if count != refused:
                    text = "the system gives %(wanted)d processors, which is not followed: %(reason)s"
                    _logger.warning(text, {"wanted": count, "reason": problem})
                refused = count
                continue
            refused = 0
            log.always("the system gives %(wanted)d processors, changing the number of workers", {"wanted": count})
            await resize(count)


def processors(own_cgroup: Path = OWN_CGROUP, cgroups: Path = CGROUPS) -> int:
    """How many processors this process can use: the limit of its cgroup, rounded up, or those that it may run on; the
    smaller number, and at least 1.
    """
    return max(min([len(os.sched_getaffinity(0)), *_limits(own_cgroup, cgroups)]), 1)


def _limits(own_cgroup: Path, cgroups: Path) -> list[int]:
    """The limits of the cgroup and of those that contain it, each rounded up; empty if there is none.

    Source: cpu.max of version 2, cpu.cfs_quota_us of version 1, in the kernel's admin-guide/cgroup-v2 and
    scheduler/sched-bwc.
    """
    try:
        lines = own_cgroup.read_text().splitlines()
    except OSError:
        return []
    limits: list[int] = []
    for line in lines:
        if line.count(":") < 2:
            continue
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root = cgroups if (cgroups / "cgroup.controllers").exists() else cgroups / "unified"
            read = _limit_of_version_2
        elif "cpu" in controllers.split(","):
            root, read = cgroups / "cpu", _limit_of_version_1
        else:
            continue
        # In a container the own cgroup may be shown as a path outside of what is mounted.
        folder = root / path.lstrip("/")
        while True:
            limit = read(folder)
            if limit:
                limits.append(limit)
            if folder == root or root not in folder.parents:
                break
            folder = folder.parent
    return limits


def _limit_of_version_2(folder: Path) -> int:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return 0 if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return 0


def _limit_of_version_1(folder: Path) -> int:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return -(-quota // period) if quota > 0 else 0
    except (OSError, ValueError):
        return 0
