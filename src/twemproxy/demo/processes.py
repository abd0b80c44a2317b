"""The processes of the demonstration. They start one after the other, and are always stopped at the end."""

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
"""Longest time for the exit of a process: longer than a proxy needs to finish its requests in flight."""

_POLL_SECONDS: Final = 0.02
_TAIL: Final = 2000
_IN_USE: Final = "ddress already in use"

PR_SET_PDEATHSIG: Final = 1
"""From Linux's prctl(2): sets the signal that a process gets when its parent dies."""

_libc = ctypes.CDLL(None)


class StartError(Exception):
    """The demonstration cannot run. The text is the reason."""


class Process(NamedTuple):
    """A running child process."""

    name: str
    port: int
    """The port on 127.0.0.1 on which the process listens."""
    child: subprocess.Popen[bytes]


def _end_with_parent() -> None:
    """Have the kernel end this child if the demonstration is killed; called in the child before its program starts."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def free_port(preferred: int) -> int:
    """Return the preferred port if it is free, otherwise another free port. Raises StartError."""
    for port in (preferred, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise StartError("there is no free port on 127.0.0.1")


class Processes:
    """The child processes, and a directory for their files. The exit of the context stops and removes them."""

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._running: list[Process] = []
        self.directory = Path(tempfile.mkdtemp(prefix="twemproxy-demo-"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the processes in reverse order, so that the proxy exits before its servers."""
        for process in reversed(self._running):
            _end(process.child)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, name: str, preferred: int, command: Callable[[int], Sequence[str]]) -> Process:
        """Start a program and wait until it listens.

        ``preferred``: the port for the program, if this port is free. ``command``: returns the command line for a port.
        Raises StartError, or Stopped after a signal.
        """
        log = self.directory / f"{name}.log"
        while True:
            self._signals.check()
            port = free_port(preferred)
            with log.open("wb") as output:
                # In a new session, so that Ctrl-C reaches only the demonstration, which stops its children in order.
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
        """Wait until the process listens; returns False if it has exited. Raises StartError after START_SECONDS."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if process.child.poll() is not None:
                return False
            with suppress(OSError), socket.create_connection(("127.0.0.1", process.port), timeout=1):
                return True
            self._signals.wait(_POLL_SECONDS)
        raise StartError(f"{process.name} did not listen on port {process.port} within {START_SECONDS:.0f} s")

    def wait_for_an_end(self) -> None:
        """Wait while all processes run. Raises StartError when a process has exited, or Stopped after a signal."""
        while True:
            for process in self._running:
                if process.child.poll() is not None:
                    raise StartError(f"{process.name} ended by itself (status {process.child.returncode})")
            self._signals.wait(processes=[process.child.pid for process in self._running])


def _end(child: subprocess.Popen[bytes]) -> None:
    """Terminate a child; if it does not exit within STOP_SECONDS, kill its process group."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
