"""A program in a terminal: the test presses keys, and reads the screen."""

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from typing import Self

import pyte

from harness.proxy import environment
from harness.waiting import DEADLINE

KEYS = {"up": "\x1bOA", "down": "\x1bOB", "right": "\x1bOC", "left": "\x1bOD", "end": "\x1bOF", "enter": "\r"}
"""What the keys send while a program draws on the whole screen."""


class Terminal:
    """A terminal of 80 columns, as over ssh, with a program in it, which is ended with the context."""

    def __init__(self, command: Sequence[str], *, columns: int = 80, lines: int = 24) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._descriptor, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        # Processes of pytest-xdist have COLUMNS, which curses would take for the size for good.
        inherited = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES")}
        self._process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**inherited, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        os.close(terminal)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._descriptor)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen, without the spaces at their ends."""
        return [line.rstrip() for line in self._screen.display]

    def line(self, start: str) -> str:
        """The first line that begins with this text; empty if there is none."""
        return next((line for line in self.lines if line.startswith(start)), "")

    def is_marked(self, start: str) -> bool:
        """Whether the line that begins with this text is shown in reverse."""
        places = [place for place, line in enumerate(self.lines) if line.startswith(start)]
        return bool(places) and bool(self._screen.buffer[places[0]][0].reverse)

    def field(self, start: str, place: int) -> str:
        """A word of the first line that begins with this text, empty if it is not there."""
        words = self.line(start).split()
        return words[place] if place < len(words) else ""

    def press(self, key: str) -> None:
        """Press a key of ``KEYS``, or one with a character."""
        os.write(self._descriptor, KEYS.get(key, key).encode())

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._screen.resize(lines, columns)
        os.kill(self._process.pid, signal.SIGWINCH)

    def wait(self, condition: Callable[["Terminal"], object]) -> None:
        """Wait until the screen is as wanted. AssertionError, with the screen, if it does not become so.

        The program writes a frame in parts: what a test expects of a frame belongs in one condition.
        """
        end = time.monotonic() + DEADLINE
        while not condition(self):
            ready, _, _ = select.select([self._descriptor], [], [], max(0, end - time.monotonic()))
            assert ready, "\n".join(["the screen is", *self.lines])
            self._read()

    def ended(self) -> int:
        """Wait for the end of the program; returns its exit status."""
        end = time.monotonic() + DEADLINE
        while self._process.poll() is None:
            assert time.monotonic() < end, "\n".join(["it does not end; the screen is", *self.lines])
            if select.select([self._descriptor], [], [], 0.05)[0]:
                self._read()
        while select.select([self._descriptor], [], [], 0)[0] and self._read():
            pass
        return self._process.returncode

    def _read(self) -> bool:
        try:
            data = os.read(self._descriptor, 1 << 16)
        except OSError:  # no process has the terminal any more
            return False
        self._stream.feed(data)
        return bool(data)
