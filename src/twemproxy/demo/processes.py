"""Child processes: each writes to a file, is awaited until it is ready, and is always stopped.

The demonstration starts its processes with this module. In the source tree the tests, the fuzzers and the benchmarks do
so, too; tests/harness/proc.py reads what the kernel tells about processes.
"""

import ctypes
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 15.0
"""Longest time for the exit of a process: longer than a proxy needs to finish its requests in flight."""

ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals with which a user ends a program."""

_POLL_SECONDS: Final = 0.005
_TAIL: Final = 4000
_IN_USE: Final = "ddress already in use"
_ATTEMPTS: Final = 10

PR_SET_PDEATHSIG: Final = 1
"""From Linux's prctl(2): sets the signal that a process gets when the thread that started it ends."""

_libc = ctypes.CDLL(None)


class StartError(Exception):
    """A process did not start. The text names it and contains the end of its output."""


class Process(subprocess.Popen[bytes]):
    """A program that runs as a child, with its output in a file. The end of the context stops it.

    It leads a session and a process group of its own: Ctrl-C in a terminal reaches only its parent, which stops its
    children in order. If its parent has only one thread, the child also gets SIGTERM when its parent is killed. With
    several threads it would get SIGTERM when the thread ends that started it.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *more_logs: Path,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the program, with an empty standard input. Raises OSError if it cannot be executed.

        ``log``: the file for its standard output and error, which is emptied before; the name of the file without its
        suffix is the name of the process. ``more_logs``: files that the program itself writes. ``folder``: its working
        directory. ``environment``: all of its variables. By default both are those of this process.
        """
        self.logs = (*more_logs, log)
        self.name = log.stem
        self._is_group_killed = False
        alone = len(os.listdir("/proc/self/task")) == 1
        with log.open("wb") as output:
            super().__init__(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=environment,
                start_new_session=True,
                preexec_fn=end_with_parent if alone else None,
            )

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def output(self) -> str:
        """Return what it has written to its logs so far."""
        return "".join(log.read_text(errors="replace") for log in self.logs if log.exists())

    def wait_ended(self, seconds: float) -> bool:
        """Wait for the end of the process, but not longer than ``seconds``; returns whether it has ended."""
        if self.poll() is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                end = select.poll()
                end.register(descriptor, select.POLLIN)
                end.poll(seconds * 1000)
            finally:
                os.close(descriptor)
        return self.poll() is not None

    def wait_ready(self, is_ready: Callable[[], bool], wait: Callable[[float], object] | None = None) -> bool:
        """Wait until ``is_ready`` returns true; returns False if the process has ended.

        ``wait``: waits for the given number of seconds between two calls of ``is_ready``; it may raise an exception to
        end the wait. By default that is ``wait_ended``. Raises StartError after START_SECONDS.
        """
        end = time.monotonic() + START_SECONDS
        while self.poll() is None:
            if is_ready():
                return self.poll() is None
            if time.monotonic() > end:
                raise StartError(self._failure(f"it was not ready after {START_SECONDS:.0f} s"))
            (wait or self.wait_ended)(_POLL_SECONDS)
        return False

    def stop(self, seconds: float = STOP_SECONDS, *, again: float = STOP_SECONDS) -> bool:
        """Terminate the process, and kill what is left of its group; harmless if it has ended.

        Returns False if the process did not end within ``seconds`` and was killed. ``again``: the seconds after which
        it gets the next SIGTERM.
        """
        end = time.monotonic() + seconds
        try:
            while self.poll() is None and (left := end - time.monotonic()) > 0:
                self.terminate()
                self.wait_ended(min(again, left))
            return self.poll() is not None
        finally:
            self.kill_group()

    def kill_group(self) -> None:
        """Kill the process and its descendants, except those in other process groups, and wait for its end.

        Harmless when it is called again.
        """
        # Later another group may have this number.
        if not self._is_group_killed:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._is_group_killed = True
        self.wait()

    def ended_early(self) -> StartError:
        """Return the error for a process that has ended when it should be ready."""
        return StartError(self._failure(f"it ended with status {self.returncode}"))

    def _failure(self, reason: str) -> str:
        return f"{self.name} did not start: {reason}\n{self.output()[-_TAIL:]}".rstrip()


def start(
    launch: Callable[[int], Process], is_ready: Callable[[], bool], wait: Callable[[float], object] | None = None
) -> Process:
    """Start a process that listens, and return it when it is ready; after an exception it is stopped.

    ``launch`` chooses free ports and starts the process. It gets the number of earlier attempts, and is called again
    when another program has taken one of the ports in the meantime. ``is_ready``, ``wait``: as for
    ``Process.wait_ready``. Raises StartError.
    """
    for attempt in range(_ATTEMPTS):
        process = launch(attempt)
        try:
            if process.wait_ready(is_ready, wait):
                return process
            if _IN_USE not in process.output() or attempt + 1 == _ATTEMPTS:
                raise process.ended_early()
        except BaseException:
            process.stop()
            raise
        process.stop()
    raise AssertionError("unreachable: the last attempt returns or raises")


def end_with_parent() -> None:
    """Let the kernel terminate this process when its parent ends; called in a child before its program starts."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def bindable(port: int, host: str = "127.0.0.1") -> int:
    """Return the port if a TCP socket can be bound to it now, otherwise 0; for port 0 any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Whether a program accepts a connection to this port on 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt from now on, as Ctrl-C does, so that contexts stop processes."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in ENDING_SIGNALS:
        signal.signal(number, interrupt)
