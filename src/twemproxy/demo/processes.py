"""The processes of the demonstration: started one by one, and all of them stopped whatever happens."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from twemproxy.demo.signals import StopSignals

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 12.0
"""Longer than a proxy may take to let its requests in flight finish."""

_POLL_SECONDS: Final = 0.02
_TAIL: Final = 2000
_IN_USE: Final = "ddress already in use"

PR_SET_PDEATHSIG: Final = 1
"""Of Linux's prctl(2): the signal that a process gets when its parent dies."""

_libc = ctypes.CDLL(None)


class StartError(Exception):
    """The demonstration cannot run; the text says why."""


class Process(NamedTuple):
    """A running child."""

    name: str
    port: int
    """Where it listens, on 127.0.0.1."""
    child: subprocess.Popen[bytes]


def _end_with_parent() -> None:
    """In a child before it becomes the program: have it ended should the demonstration be killed."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def free_port(preferred: int) -> int:
    """The preferred port if nobody has it, else one that nobody has."""
    for port in (preferred, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise StartError("there is no free port on 127.0.0.1")


class Processes:
    """The children, and a directory for the files of all; leaving the context ends these and removes that."""

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._running: list[Process] = []
        self.directory = Path(tempfile.mkdtemp(prefix="twemproxy-demo-"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The last to start is the first to end, so the proxy ends before its servers do."""
        for process in reversed(self._running):
            _end(process.child)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, name: str, preferred: int, command: Callable[[int], Sequence[str]]) -> Process:
        """Start a program and wait until it listens.

        ``preferred``: the port it gets if that is free; ``command``: makes the command line for a port. Raises
        StartError, or Stopped when asked to end meanwhile.
        """
        log = self.directory / f"{name}.log"
        while True:
            self._signals.check()
            port = free_port(preferred)
            with log.open("wb") as output:
                # A session of its own: Ctrl-C is for the demonstration, which ends its children in order.
                child = subprocess.Popen(
                    command(port),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=_end_with_parent,
                )
            process = Process(name, port, child)
            self._running.append(process)
            if self._wait_until_it_listens(process):
                return process
            said = log.read_text(errors="replace")[-_TAIL:].strip()
            if _IN_USE not in said:
                raise StartError(f"{name} did not start (status {child.returncode}):\n{said}")
            self._running.remove(process)
            preferred = 0

    def _wait_until_it_listens(self, process: Process) -> bool:
        """Whether it came to listen; otherwise it has ended."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if process.child.poll() is not None:
                return False
            with suppress(OSError), socket.create_connection(("127.0.0.1", process.port), timeout=1):
                return True
            self._signals.wait(_POLL_SECONDS)
        raise StartError(f"{process.name} did not listen on port {process.port} within {START_SECONDS:.0f} s")

    def wait_for_an_end(self) -> None:
        """Wait as long as all run; StartError names the one that ended, Stopped says that we are to end."""
        while True:
            for process in self._running:
                if process.child.poll() is not None:
                    raise StartError(f"{process.name} ended by itself (status {process.child.returncode})")
            self._signals.wait(processes=[process.child.pid for process in self._running])


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a child politely; if it takes too long, it and what it started by force."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
