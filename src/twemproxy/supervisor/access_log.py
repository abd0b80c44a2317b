"""The access log of all workers: a pipe that they write to, and a thread that writes its lines to a file.

The file may be slow, or a pipe that nobody reads: only the thread waits for it, so neither the workers nor the event
loop of the supervisor do. The pipe then becomes full, and the workers drop their lines and count them. A write to the
pipe is some whole lines, which the system never mixes with those of another worker.

The pipe outlives an upgrade. The thread ends before it and starts again after it, so no line is lost in between.
"""

import asyncio
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from typing import Final

from twemproxy import log

PIPE_SIZE: Final = 1 << 20
"""Bytes of lines that wait for the thread; the size that any user may have (/proc/sys/fs/pipe-max-size)."""
READ_SIZE: Final = 1 << 16
"""Bytes that are read from the pipe at a time, and written to a regular file at a time."""
PIECE: Final = select.PIPE_BUF
"""Bytes that are written at a time to anything else: when it is ready for some, a pipe takes so many without a wait."""
END_TIME: Final = 1.0
"""Seconds that the thread has to write the last lines."""
TELL_INTERVAL: Final = 10.0
"""Seconds between two messages about lines that were dropped."""

_CLOSED: Final = -1
_STANDARD_OUTPUT: Final = 1

_logger = log.get_logger(__name__)


class AccessLogError(log.LogError):
    """The file of the access log cannot be opened, or does not take its last lines. The text is the reason."""


class AccessLog:
    """The pipe and the thread."""

    def __init__(self, path: str, pipe: tuple[int, int] | None, count: Callable[[int], None]) -> None:
        """Open the file, and the pipe unless another version of the program has passed it.

        ``path``: of the file; empty: standard output. ``pipe``: the descriptors of its ends, for reading and writing.
        ``count``: is called with numbers of lines that were dropped. Raises AccessLogError.
        """
        self._path = path
        self._count = count
        self._file = _open(path) if path else _STANDARD_OUTPUT if sys.stdout is not None else _CLOSED
        self._starts_line = _is_cut(path)
        self._is_regular = False
        self._look_at_file()
        self.pipe = pipe or _new_pipe()
        """The descriptors of the two ends of the pipe: reading, writing."""
        self._rest = b""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended = asyncio.Event()
        self._reopens = False
        self._stops = False
        self._untold = 0
        self._tell_at = 0.0

    def begin(self) -> None:
        """Write lines from now on; the thread starts with the first one. Further calls do nothing."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._stops = False
            if self._thread is None:
                self._loop.add_reader(self.pipe[0], self._start)

    def reopen(self) -> None:
        """Close the file and open its path again, after a rotation; the log says if that fails."""
        if self._path and self._loop is not None:
            self._reopens = True
            self._start()
            os.eventfd_write(self._wake, 1)

    async def pause(self) -> None:
        """Write no more lines, so that another version of the program can go on; ``begin`` goes on here.

        Lines stay in the pipe. Raises AccessLogError if the file is stuck, or cannot be opened by the other version.
        """
        self._leave_loop()
        self._stops = True
        os.eventfd_write(self._wake, 1)
        if not await self._has_ended():
            raise AccessLogError(f"{self._name} takes no lines of the access log")
        if self._path:
            os.close(_open(self._path))

    async def finish(self) -> None:
        """All workers have ended: write the lines that are left, for up to END_TIME."""
        if self._loop is not None and _is_readable(self.pipe[0]):
            self._start()
        self._leave_loop()
        # So the thread finds the end of the lines.
        os.close(self.pipe[1])
        if await self._has_ended():
            for each in (self.pipe[0], self._wake, *([self._file] if self._path else [])):
                os.close(each)

    @property
    def _name(self) -> str:
        return f"'{self._path}'" if self._path else "standard output"

    # --- in the event loop -----------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None and self._loop is not None:
            self._loop.remove_reader(self.pipe[0])
            if not self._path and _is_null(self._file):
                _logger.warning("the access log goes to standard output, which is /dev/null: use --access-log")
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, args=(self._loop,), daemon=True)
            self._thread.start()

    def _thread_ended(self) -> None:
        self._thread = None
        self._ended.set()
        if self._loop is not None:
            self._loop.add_reader(self.pipe[0], self._start)

    def _leave_loop(self) -> None:
        """Start the thread no more."""
        if self._loop is not None:
            self._loop.remove_reader(self.pipe[0])
            self._loop = None

    async def _has_ended(self) -> bool:
        """Wait until the thread has ended, for up to END_TIME; returns whether it has."""
        if self._thread is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(END_TIME):
                    await self._ended.wait()
        return self._thread is None

    def _dropped(self, lines: int, reason: str) -> None:
        self._count(lines)
        self._untold += lines
        now = asyncio.get_running_loop().time()
        if now >= self._tell_at:
            self._tell_at = now + TELL_INTERVAL
            _logger.warning(
                "dropped lines of the access log: %(lines)d (%(reason)s)", {"lines": self._untold, "reason": reason}
            )
            self._untold = 0

    # --- in the thread ---------------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        # The main thread gets them all, or has blocked them.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

        def tell(function: Callable[..., object], *arguments: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(function, *arguments)

        reading = self.pipe[0]
        try:
            while True:
                ready = _wait(reading, select.POLLIN, self._wake)
                self._obey(tell)
                if self._stops:
                    break
                if reading in ready:
                    lines = _read_lines(reading)
                    if not lines:
                        break
                    self._write(lines, tell)
        finally:
            tell(self._thread_ended)

    def _obey(self, tell: Callable[..., None]) -> None:
        """Open the file again, if that was asked for."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if not self._reopens:
            return
        self._reopens = False
        try:
            file = _open(self._path)
        except AccessLogError as error:
            tell(_logger.error, "%(reason)s", {"reason": error})
            return
        os.close(self._file)
        self._file = file
        self._rest = b""
        self._starts_line = _is_cut(self._path)
        self._look_at_file()

    def _look_at_file(self) -> None:
        with suppress(OSError):
            self._is_regular = stat.S_ISREG(os.fstat(self._file).st_mode)

    def _write(self, lines: bytes, tell: Callable[..., None]) -> None:
        """Write whole lines; those that the file does not take are dropped.

        A line of which a part was written is kept, so that the rest follows as soon as there is room.
        """
        cut = bool(self._rest)
        data = self._rest + lines
        self._rest = b""
        if self._starts_line:
            data, cut = b"\n" + data, True
            self._starts_line = False
        at = 0
        reason = ""
        while at < len(data) and not reason:
            file = self._file
            if file == _CLOSED:
                reason = "standard output is closed"
            elif not self._is_regular and not self._wait_for_file(tell):
                reason = f"{self._name} takes none"
            elif file == self._file:
                end = at + READ_SIZE if self._is_regular else data.rfind(b"\n", at, at + PIECE) + 1 or at + PIECE
                try:
                    at += os.write(file, memoryview(data)[at:end])
                except BlockingIOError:
                    continue
                except OSError as error:
                    reason = f"writing to {self._name} failed: {error.strerror}"
        if at == len(data):
            return
        if cut if at == 0 else data[at - 1] != ord("\n"):
            end = data.index(b"\n", at) + 1
            self._rest = data[at:end]
            at = end
        if dropped := data.count(b"\n", at):
            tell(self._dropped, dropped, reason)

    def _wait_for_file(self, tell: Callable[..., None]) -> bool:
        """Wait until the file, which is no regular one, takes something; False if the thread should end before."""
        while not self._stops:
            if self._file in _wait(self._file, select.POLLOUT, self._wake):
                return True
            self._obey(tell)
        return self._file in _wait(self._file, select.POLLOUT, self._wake, 0)


def _new_pipe() -> tuple[int, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writing, False)
    with suppress(OSError):  # the user has too many large pipes
        fcntl(writing, F_SETPIPE_SZ, PIPE_SIZE)
    return reading, writing


def _open(path: str) -> int:
    """Open the file to append to it; it is created with mode 0644. A pipe does not need a reader."""
    try:
        is_pipe = os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)
        how = os.O_RDWR if is_pipe else os.O_WRONLY | os.O_APPEND | os.O_CREAT
        return os.open(path, how | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise AccessLogError(f"opening access log '{path}' failed: {reason}") from error


def _is_cut(path: str) -> bool:
    """Whether the last line of a regular file has no end, as after a full disk."""
    with suppress(OSError, ValueError):
        if path and stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb") as file:
                return file.seek(0, os.SEEK_END) > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
    return False


def _is_null(descriptor: int) -> bool:
    with suppress(OSError):
        return os.fstat(descriptor).st_rdev == os.stat(os.devnull).st_rdev
    return False


def _wait(descriptor: int, event: int, wake: int, milliseconds: int | None = None) -> set[int]:
    """Wait until a descriptor is ready, or ``wake`` is readable; returns those that are."""
    poll = select.poll()
    poll.register(descriptor, event)
    poll.register(wake, select.POLLIN)
    return {ready for ready, _ in poll.poll(milliseconds)}


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))


def _read_lines(descriptor: int) -> bytes:
    """The next whole lines in the pipe, which has some; empty at its end."""
    data = os.read(descriptor, READ_SIZE)
    while data and not data.endswith(b"\n"):
        # The rest of a line is there, because it was written in one piece.
        data += os.read(descriptor, PIECE)
    return data
