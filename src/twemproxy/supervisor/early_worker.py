"""The first worker process, started before the supervisor is loaded: both load at the same time.

This module imports little, so that it is loaded at once.
"""

import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Final, NamedTuple

from twemproxy.supervisor.open_files import raise_limit

INHERITANCE: Final = "NUTCRACKER_INHERITANCE"
"""The environment variable of ``supervisor.inheritance``."""
SUPERVISORS_SIGNALS: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""Blocked in a worker from its first instruction, because terminals and service managers also signal the worker."""


class WorkerProgram(NamedTuple):
    """The program of a worker, and its command line. The worker's standard input is the control socket."""

    path: str
    """The path of the executable."""
    command: tuple[str, ...]
    """The command line; its first word is argv[0]. ``{number}`` is replaced with the worker's number."""


WORKER_MODULE: Final = "twemproxy.worker.main"
NATIVE_WORKER: Final = WorkerProgram("/proc/self/exe", ("nutcracker: worker {number}",))
"""The program of this process, even if its file was replaced or removed; see ``twemproxy.launcher``."""
PYTHON_WORKER: Final = WorkerProgram(sys.executable, (sys.executable, "-P", "-m", WORKER_MODULE))


def spawn(program: WorkerProgram, number: int, control: socket.socket) -> int:
    """Start a worker; returns its process id. Raises OSError.

    ``control``: becomes its standard input. It waits for the first message, or for the end of the stream.
    """
    command = [word.replace("{number}", str(number)) for word in program.command]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return os.posix_spawn(
        program.path,
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, control.fileno(), 0)],
        setsigmask=mask | set(SUPERVISORS_SIGNALS),
    )


class EarlyWorker:
    """A worker that waits for its first message: its process id, and the supervisor's end of its control socket."""

    def __init__(self, program: WorkerProgram) -> None:
        """Start worker 1. Raises OSError."""
        # The worker ignores them from its first instruction, as this process does from now on.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        # The worker inherits it.
        raise_limit()
        self.control, theirs = socket.socketpair()
        with theirs:
            try:
                self.pid = spawn(program, 1, theirs)
            except BaseException:
                self.control.close()
                raise
        self.is_taken = False
        """Whether the supervisor has taken the worker over."""

    def take(self) -> tuple[int, socket.socket]:
        """Return the process id and the supervisor's end of the control socket, for a ``WorkerProcess``."""
        self.is_taken = True
        return self.pid, self.control

    def discard(self) -> None:
        """End the worker, unless it was taken: the proxy cannot start."""
        if not self.is_taken:
            self.control.close()
            with suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
