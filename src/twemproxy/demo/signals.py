"""Ctrl-C and its kin, seen only where the demonstration waits: it is never torn between two steps."""

import os
import select
import signal
import socket
from collections.abc import Collection
from types import FrameType
from typing import Final

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Somebody asked the demonstration to end."""


class StopSignals:
    """Catches ``STOPPING`` from the moment it is made, for the rest of the process's life."""

    def __init__(self) -> None:
        self._asked = False
        self._awake, wakeup = socket.socketpair()
        self._awake.setblocking(False)
        wakeup.setblocking(False)
        self._wakeup = wakeup
        for number in STOPPING:
            signal.signal(number, self._note)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def check(self) -> None:
        """Raise Stopped if it was asked for."""
        if self._asked:
            raise Stopped

    def wait(self, seconds: float | None = None, processes: Collection[int] = ()) -> None:
        """Wait, for ever if no ``seconds`` are given, or until one of the processes has ended.

        ``processes``: ids of children. Raises Stopped as soon as it is asked for.
        """
        self.check()
        descriptors = [os.pidfd_open(process) for process in processes]
        try:
            select.select([self._awake.fileno(), *descriptors], [], [], seconds)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.check()
