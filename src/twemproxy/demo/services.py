"""The processes of the demonstration. They start one after the other, and are stopped in the reverse order."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from twemproxy.demo.processes import Process, StartError, accepts, bindable, start
from twemproxy.demo.signals import StopSignals


class Service(NamedTuple):
    """A running process that listens."""

    name: str
    port: int
    """The port on 127.0.0.1 on which the process listens."""
    process: Process


class Services:
    """The processes, and a directory for their files. The exit of the context stops and removes them."""

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals
        self._processes: list[Process] = []
        self._stack = ExitStack()
        self.directory = Path(tempfile.mkdtemp(prefix="twemproxy-demo-"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the processes in reverse order, so that the proxy exits before its servers."""
        try:
            self._stack.close()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, name: str, preferred: int, command: Callable[[int], Sequence[str]]) -> Service:
        """Start a program and wait until it listens.

        ``preferred``: the port for the program, if this port is free. ``command``: returns the command line for a port.
        Raises StartError, or Stopped after a signal.
        """
        port = 0

        def launch(attempt: int) -> Process:
            nonlocal port
            self._signals.check()
            port = free_port(0 if attempt else preferred)
            return Process(command(port), self.directory / f"{name}.log")

        process = self._stack.enter_context(start(launch, lambda: accepts(port), self._signals.wait))
        self._processes.append(process)
        return Service(name, port, process)

    def wait_for_an_end(self) -> None:
        """Wait while all processes run. Raises StartError when a process has exited, or Stopped after a signal."""
        while True:
            for process in self._processes:
                if process.poll() is not None:
                    raise StartError(f"{process.name} ended by itself (status {process.returncode})")
            self._signals.wait(processes=[process.pid for process in self._processes])


def free_port(preferred: int) -> int:
    """Return the preferred port if it is free, otherwise another free port. Raises StartError."""
    port = bindable(preferred) or bindable(0)
    if not port:
        raise StartError("there is no free port on 127.0.0.1")
    return port
