"""One worker process: it is spawned, controlled over a socket, and reaped."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from twemproxy import log
from twemproxy.ipc.messages import MessageStream, Start, ToSupervisor, ToWorker, encode


class WorkerProgram(NamedTuple):
    """The program of a worker, and its command line. The worker's standard input is the control socket."""

    path: str
    """The path of the executable."""
    command: tuple[str, ...]
    """The command line; its first word is argv[0]. ``{number}`` is replaced with the worker's number."""


NATIVE_WORKER: Final = WorkerProgram("/proc/self/exe", ("nutcracker: worker {number}",))
"""The program of this process, even if its file was replaced or removed; see ``twemproxy.launcher``."""
PYTHON_WORKER: Final = WorkerProgram(sys.executable, (sys.executable, "-P", "-m", "twemproxy.worker.main"))
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
LEAVE_TIME: Final = 1.0
"""Longest time in seconds between a worker's exit and the end of its socket, in either order; then it is killed."""

_DESCRIPTORS_AT_A_TIME: Final = 250
"""Descriptors per sendmsg(2); the kernel's limit is 253 (SCM_MAX_FD)."""
_FIRST_PART: Final = 32768
"""Bytes that a new socket accepts without blocking."""

_logger = log.get_logger(__name__)


class WorkerProcess(asyncio.Protocol):
    """A running worker, which is also the asyncio protocol of its control socket. Use ``spawn`` to create one."""

    def __init__(self, on_message: Callable[["WorkerProcess", ToSupervisor], None]) -> None:
        self._on_message = on_message
        self._stream = MessageStream(for_worker=False)
        self._closed = asyncio.Event()
        self._exited = asyncio.Event()
        self._transport: asyncio.Transport
        self._process: subprocess.Popen[bytes]

    @classmethod
    async def spawn(
        cls,
        program: WorkerProgram,
        number: int,
        start: Start,
        descriptors: Sequence[int],
        on_message: Callable[["WorkerProcess", ToSupervisor], None],
    ) -> "WorkerProcess":
        """Start the worker with this number, and send it the first message ``start``.

        ``descriptors``: sent with this message, see ``ipc``. ``on_message``: called with each message from
        the worker. Raises OSError if the system cannot start the worker.
        """
        self = cls(on_message)
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            rest = _send_with_descriptors(ours, encode(start), descriptors)
            self._process = _spawn(program, number, theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._watch_exit()
        self._transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
        self._transport.write(rest)
        return self

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, message: ToWorker) -> None:
        """Send the worker a message. The message is dropped if the control socket is closed, as after an exit."""
        if not self._transport.is_closing():
            self._transport.write(encode(message))

    def kill(self) -> None:
        """Kill the process, if it has not exited."""
        self._process.kill()

    async def wait(self) -> str:
        """Wait until the process has exited and its messages are handled; returns how it exited, for the log."""
        ends = [asyncio.create_task(self._closed.wait()), asyncio.create_task(self._exited.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(ends, timeout=LEAVE_TIME)
        self.kill()
        self._transport.abort()
        await asyncio.wait(ends)
        return _describe(self._process.returncode)

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the worker, as asyncio.Protocol; an invalid message closes the control socket."""
        try:
            messages = self._stream.feed(data)
        except msgspec.DecodeError as error:
            _logger.critical("worker %d sent an invalid message: %s", self.pid, error)
            self._transport.abort()
            return
        for message in messages:
            self._on_message(self, message)  # type: ignore[arg-type]

    def connection_lost(self, error: Exception | None) -> None:
        """Note that the control socket is closed, as asyncio.Protocol."""
        self._closed.set()

    def _watch_exit(self) -> None:
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(self._process.pid)

        def reap() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._process.wait()
            self._exited.set()

        loop.add_reader(descriptor, reap)


def _spawn(program: WorkerProgram, number: int, control: socket.socket) -> subprocess.Popen[bytes]:
    command = [word.replace("{number}", str(number)) for word in program.command]
    # Blocked, not ignored, so that a signal for the supervisor is delivered after the call.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SUPERVISORS_SIGNALS)
    try:
        return subprocess.Popen(command, executable=program.path, stdin=control.fileno())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _send_with_descriptors(to: socket.socket, data: bytes, descriptors: Sequence[int]) -> bytes:
    """Send all descriptors with the beginning of ``data``; returns the part of ``data`` that is not sent yet."""
    for first in range(0, len(descriptors), _DESCRIPTORS_AT_A_TIME):
        some = descriptors[first : first + _DESCRIPTORS_AT_A_TIME]
        is_last = first + _DESCRIPTORS_AT_A_TIME >= len(descriptors)
        sent = socket.send_fds(to, [data[: _FIRST_PART if is_last else 1]], list(some))
        data = data[sent:]
    return data


def _describe(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "unknown"
    return f"was killed by signal {-status} ({name})"
