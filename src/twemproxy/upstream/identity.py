"""The ``run_id`` of INFO, which identifies this run of the proxy. Plain Python."""

import hashlib
import os
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def run_id(pool: str) -> str:
    """40 hexadecimal digits that stay the same for a pool while the proxy runs, even if a worker is replaced.

    The digits are derived from the supervisor, which is the worker's parent: its process id, its start time, and the
    system's boot id (see proc(5)).
    """
    supervisor = os.getppid()
    try:
        started = Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[19]
        boot = _BOOT_ID.read_text().strip()
    except (OSError, IndexError):
        started = boot = os.urandom(20).hex()
    return hashlib.sha256(f"{boot} {supervisor} {started} {pool}".encode()).hexdigest()[:40]
