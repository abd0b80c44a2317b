"""Ctrl-C and similar signals. They stop the demonstration only where it checks for them, never within a step."""

import os
import select
import signal
import socket
from collections.abc import Collection
from types import FrameType

from twemproxy.demo.processes import ENDING_SIGNALS


class Stopped(Exception):
    """A signal asked the demonstration to stop."""


class StopSignals:
    """Catches the signals in ``ENDING_SIGNALS``, from its creation until the process exits."""

    def __init__(self) -> None:
        self._asked = False
        self._awake, wakeup = socket.socketpair()
        self._awake.setblocking(False)
        wakeup.setblocking(False)
        self._wakeup = wakeup
        for number in ENDING_SIGNALS:
            signal.signal(number, self._note)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def check(self) -> None:
        """Raise Stopped if a signal has arrived."""
        if self._asked:
            raise Stopped

    def wait(self, seconds: float | None = None, processes: Collection[int] = ()) -> None:
        """Wait for ``seconds``, without a limit if None, or until one of the processes has exited.

        ``processes``: ids of child processes. Raises Stopped as soon as a signal arrives.
        """
        self.check()
        descriptors = [os.pidfd_open(process) for process in processes]
        try:
            select.select([self._awake.fileno(), *descriptors], [], [], seconds)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.check()
