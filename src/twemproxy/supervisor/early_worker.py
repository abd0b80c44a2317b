"""The first process that the supervisor starts, before it is loaded itself: both load at the same time.

It is the worker, or with several workers the fork server (``worker.fork_server``).

This module imports little, so that it is loaded at once.
"""

import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from twemproxy.supervisor.open_files import passed_descriptors, raise_limit

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
    """The program of a worker, and its command line. The worker's standard input is the control socket.

    ``{number}`` is replaced with the worker's number.
    """

    path: str
    """The path of the executable."""
    command: tuple[str, ...]
    """The command line; its first word is argv[0]."""
    fork_server: tuple[str, ...] = ()
    """The command line of the fork server, no shorter than that of a worker; empty: each worker is started anew."""
    name: str = ""
    """The name (comm) of a worker that is forked; empty: that of the fork server. A started one sets it itself."""


WORKER_MODULE: Final = "twemproxy.worker.main"
FORK_SERVER_MODULE: Final = "twemproxy.worker.fork_server"
NATIVE_WORKER: Final = WorkerProgram(
    "/proc/self/exe", ("nutcracker: worker {number}",), ("nutcracker: fork server",), "nutcracker-w{number}"
)
"""The program of this process, even if its file was replaced or removed; see ``twemproxy.launcher``."""
PYTHON_WORKER: Final = WorkerProgram(
    sys.executable,
    (sys.executable, "-P", "-m", WORKER_MODULE),
    (sys.executable, "-P", "-m", FORK_SERVER_MODULE),
)


def with_number(words: Sequence[str], number: int) -> list[str]:
    """Words of a ``WorkerProgram`` for the worker with this number."""
    return [word.replace("{number}", str(number)) for word in words]


def spawn(program: WorkerProgram, number: int, control: socket.socket) -> int:
    """Start a worker; returns its process id. Raises OSError.

    ``control``: becomes its standard input. It waits for the first message, or for the end of the stream.
    """
    return _spawn(program.path, with_number(program.command, number), control)


def spawn_fork_server(program: WorkerProgram, requests: socket.socket) -> int:
    """Start a fork server; returns its process id. Raises OSError. ``requests``: becomes its standard input."""
    return _spawn(program.path, list(program.fork_server), requests)


def _spawn(path: str, command: list[str], standard_input: socket.socket) -> int:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return os.posix_spawn(
        path,
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, standard_input.fileno(), 0)],
        setsigmask=mask | set(SUPERVISORS_SIGNALS),
    )


class EarlyWorker:
    """A process that waits for its first message: its process id, and the supervisor's end of its socket."""

    def __init__(self, program: WorkerProgram, workers: int = 1) -> None:
        """Start worker 1, or the fork server if there will be several ``workers``. Raises OSError."""
        self.is_fork_server = workers > 1 and bool(program.fork_server)
        """Whether it is the fork server, otherwise it is worker 1."""
        # The worker ignores them from its first instruction, as this process does from now on.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)
        # The worker inherits it.
        raise_limit()
        # These the supervisor has for itself.
        for descriptor in passed_descriptors():
            with suppress(OSError):  # it is not open, as the supervisor will say
                os.set_inheritable(descriptor, False)
        kind = socket.SOCK_SEQPACKET if self.is_fork_server else socket.SOCK_STREAM
        self.control, theirs = socket.socketpair(type=kind)
        with theirs:
            try:
                self.pid = spawn_fork_server(program, theirs) if self.is_fork_server else spawn(program, 1, theirs)
            except BaseException:
                self.control.close()
                raise
        self.is_taken = False
        """Whether the supervisor has taken the process over."""

    def take(self) -> tuple[int, socket.socket]:
        """Return the process id and the supervisor's end of the socket, for a ``WorkerProcess`` or ``ForkServer``."""
        self.is_taken = True
        return self.pid, self.control

    def discard(self) -> None:
        """End the process, unless it was taken: the proxy cannot start."""
        if not self.is_taken:
            self.control.close()
            with suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
