"""The exit of a child process."""

import asyncio
import os
import signal
from collections.abc import Callable


def on_exit(pid: int, callback: Callable[[int], None]) -> None:
    """Call ``callback`` with the status, see waitpid(2), when a child has exited; it is reaped by then.

    Raises OSError if the system can watch no more processes.
    """
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)

    def reap() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        callback(status)

    loop.add_reader(descriptor, reap)


def describe_exit(status: int) -> str:
    """How a process exited, for the log. ``status``: see waitpid(2)."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"was killed by signal {-code} ({name})"
