"""One worker process: it is started, controlled over a socket, and reaped."""

import asyncio
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from twemproxy import log
from twemproxy.ipc import descriptors
from twemproxy.ipc.messages import TO_SUPERVISOR, MessageStream, ToSupervisor, ToWorker, encode
from twemproxy.supervisor.child import describe_exit, on_exit
from twemproxy.supervisor.early_worker import WorkerProgram, spawn
from twemproxy.supervisor.fork_server import ForkServer

LEAVE_TIME: Final = 1.0
"""Longest time in seconds between a worker's exit and the end of its socket, in either order; then it is killed."""

_RECEIVE_SIZE: Final = 65536

_logger = log.get_logger(__name__)


Answer = TypeVar("Answer")

OnMessage = Callable[["WorkerProcess", ToSupervisor], None]


class WorkerProcess:
    """A running worker."""

    def __init__(self, pid: int, control: socket.socket, on_message: OnMessage) -> None:
        """Take over a worker, which is a child of this process. ``control``: our end of its control socket.

        ``on_message``: called with each message from the worker, except answers to ``ask``.
        """
        self.pid = pid
        """The process id."""
        self._socket = control
        self._on_message = on_message
        self._stream = MessageStream(TO_SUPERVISOR)
        self._unsent: deque[tuple[bytes, Sequence[int]]] = deque()
        self._awaited: dict[type, tuple[asyncio.Future[Any], Callable[[Any], bool]]] = {}
        self._closed = asyncio.Event()
        self.has_met = False
        """Whether the process was told of other ones."""
        self._exited = asyncio.Event()
        self._status = 0
        self._loop = asyncio.get_running_loop()
        self._socket.setblocking(False)
        on_exit(pid, self._reaped)
        self._loop.add_reader(self._socket, self._receive)

    @classmethod
    async def start(
        cls, program: WorkerProgram, number: int, on_message: OnMessage, fork_server: ForkServer | None = None
    ) -> "WorkerProcess":
        """Start the worker with this number; its first message must be ``Start``.

        ``on_message``: see the constructor. ``fork_server``: forks the worker; without it, or if it fails, the worker
        is started as a program. Raises OSError if the system cannot start the worker.
        """
        ours, theirs = socket.socketpair()
        try:
            pid = None if fork_server is None else await fork_server.fork(number, theirs)
            return cls(spawn(program, number, theirs) if pid is None else pid, ours, on_message)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    @property
    def failed(self) -> bool:
        """Whether it has exited with another status than 0."""
        return self._status != 0

    @property
    def descriptor(self) -> int:
        """The descriptor of our end of the control socket."""
        return self._socket.fileno()

    def has_unsent(self) -> bool:
        """Whether some messages are not in the control socket yet."""
        return bool(self._unsent)

    def send(self, message: ToWorker, descriptors: Sequence[int] = ()) -> None:
        """Send the worker a message, which is dropped if the control socket is closed, as after an exit.

        ``descriptors``: sent with it, see ``ipc.messages``; the caller may close them at once. Raises OSError if they
        cannot be duplicated; then nothing is sent.
        """
        if self._closed.is_set():
            return
        self._unsent.append((encode(message), _duplicates(descriptors)))
        if len(self._unsent) == 1:
            self._flush()

    async def ask(
        self,
        question: ToWorker,
        answer: type[Answer],
        descriptors: Sequence[int] = (),
        *,
        fits: Callable[[Answer], bool] = lambda _: True,
    ) -> Answer | None:
        """Send the worker a message and return its answer, the next message of this class; None if the worker exits.

        ``fits``: whether such a message is the answer; others are dropped, as late answers to earlier questions. There
        is one question with an answer of a class at a time. Raises OSError as ``send`` does.
        """
        self.send(question, descriptors)
        if self._closed.is_set():
            return None
        awaited = self._loop.create_future()
        self._awaited[answer] = (awaited, fits)
        try:
            found: Answer | None = await awaited
            return found
        finally:
            del self._awaited[answer]

    def kill(self) -> None:
        """Kill the process, if it has not exited."""
        if not self._exited.is_set():
            os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> str:
        """Wait until the process has exited and its messages are handled; returns how it exited, for the log."""
        ends = [asyncio.create_task(self._closed.wait()), asyncio.create_task(self._exited.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(ends, timeout=LEAVE_TIME)
        self.kill()
        self._close()
        await asyncio.wait(ends)
        return describe_exit(self._status)

    def _flush(self) -> None:
        """Send what the control socket takes now; the rest follows when it takes more."""
        self._loop.remove_writer(self._socket)
        while self._unsent:
            data, carried = self._unsent[0]
            try:
                data, left = descriptors.send(self._socket, data, carried)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._flush)
                return
            except OSError:  # the worker has closed the socket: its exit is noticed elsewhere
                self._drop_unsent()
                return
            for each in carried[: len(carried) - len(left)]:
                os.close(each)
            if data:
                self._unsent[0] = (data, left)
            else:
                self._unsent.popleft()

    def _drop_unsent(self) -> None:
        for _, carried in self._unsent:
            for each in carried:
                os.close(each)
        self._unsent.clear()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        try:
            messages = self._stream.feed(data)
        except msgspec.DecodeError as error:
            _logger.critical(
                "worker %(worker_pid)d sent an invalid message: %(reason)s", {"worker_pid": self.pid, "reason": error}
            )
            self._close()
            return
        for message in messages:
            if type(message) not in self._awaited:
                self._on_message(self, message)
                continue
            awaited, fits = self._awaited[type(message)]
            if not awaited.done() and fits(message):
                awaited.set_result(message)

    def _close(self) -> None:
        """Close the control socket."""
        if not self._closed.is_set():
            self._closed.set()
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._drop_unsent()
            self._socket.close()
            for awaited, _ in self._awaited.values():
                if not awaited.done():
                    awaited.set_result(None)

    def _reaped(self, status: int) -> None:
        self._status = status
        self._exited.set()


def _duplicates(descriptors: Sequence[int]) -> list[int]:
    """Duplicates of these descriptors. Raises OSError."""
    made: list[int] = []
    try:
        for each in descriptors:
            made.append(os.dup(each))
    except OSError:
        for each in made:
            os.close(each)
        raise
    return made
