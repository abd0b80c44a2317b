"""The supervisor's side of the fork server (``worker.fork_server``): its start, its requests and its replacement.

With more than one worker, the workers are forks of one process, so that they share the memory of what it has loaded.
"""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from typing import Final

import msgspec

from twemproxy import log
from twemproxy.ipc.forking import (
    FROM_FORK_SERVER,
    MESSAGE_SIZE,
    Forked,
    ForkWorker,
    FromForkServer,
    NotForked,
    Waiting,
    encode,
)
from twemproxy.process import adopt_orphans
from twemproxy.supervisor.child import describe_exit, on_exit
from twemproxy.supervisor.early_worker import EarlyWorker, WorkerProgram, spawn_fork_server, with_number

START_TIME: Final = 10.0
"""Seconds that a fork server has to load."""
ANSWER_TIME: Final = 1.0
"""Seconds that it has for an answer; then it is killed."""
LEAVE_TIME: Final = 1.0
"""Seconds that it has for its exit; then it is killed."""

_logger = log.get_logger(__name__)


class _NotForked(Exception):
    """No worker was forked. The text is the reason."""


class _Process:
    """A running fork server."""

    def __init__(self, pid: int, requests: socket.socket) -> None:
        """``pid``: of a child of this process. ``requests``: our end of its socket."""
        self.pid = pid
        self._requests = requests
        self._requests.setblocking(False)
        self._is_waiting = False
        self._is_asked = False
        self.ended = asyncio.Event()
        """Set when it has exited and was reaped."""

    def kill(self) -> None:
        """Kill the process, if it has not exited."""
        if not self.ended.is_set():
            os.kill(self.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Have it exit, and wait until it has."""
        self._requests.close()
        try:
            async with asyncio.timeout(LEAVE_TIME):
                await self.ended.wait()
        except TimeoutError:
            self.kill()
            await self.ended.wait()

    def end(self) -> bool:
        """The process has ended and was reaped; returns whether it had loaded."""
        self.ended.set()
        if not self._is_waiting:
            with suppress(OSError):
                self._is_waiting = bool(self._requests.recv(MESSAGE_SIZE, socket.MSG_PEEK))
        # A worker that it has forked may still be announced.
        if not self._is_asked:
            self._requests.close()
        return self._is_waiting

    async def fork(self, request: ForkWorker, control: socket.socket) -> int:
        """Return the process id of another worker, which is a child of this process.

        ``control``: the worker's end of its control socket. Raises _NotForked.
        """
        self._is_asked = True
        try:
            return await self._fork(request, control)
        finally:
            self._is_asked = False
            if self.ended.is_set():
                self._requests.close()

    async def _fork(self, request: ForkWorker, control: socket.socket) -> int:
        try:
            if not self._is_waiting:
                async with asyncio.timeout(START_TIME):
                    await self._receive()
                self._is_waiting = True
        except TimeoutError:
            self.kill()
            raise _NotForked(f"it has not loaded within {START_TIME:.0f} s and is killed") from None
        except OSError as error:
            raise _NotForked("it has ended before it had loaded") from error
        # Only while it forks: the orphans of other commands belong to init.
        adopt_orphans(True)
        try:
            socket.send_fds(self._requests, [encode(request)], [control.fileno()])
            return await self._answer()
        except OSError as error:
            raise _NotForked("it has ended") from error
        finally:
            adopt_orphans(False)

    async def _answer(self) -> int:
        answer: Forked | NotForked | None = None
        try:
            async with asyncio.timeout(ANSWER_TIME):
                while not isinstance(message := await self._receive(), Waiting):
                    answer = message
        except TimeoutError:
            problem = f"it has not answered within {ANSWER_TIME:.0f} s and is killed"
        except OSError:
            problem = "it has ended"
        else:
            if isinstance(answer, Forked):
                return answer.worker
            raise _NotForked("it has said nothing" if answer is None else answer.problem)
        self.kill()
        if not isinstance(answer, Forked):
            raise _NotForked(problem)
        # The worker runs. It is ours when the process between has ended, which is ours when the fork server has.
        await self.ended.wait()
        with suppress(ChildProcessError):  # the fork server has reaped it
            os.waitpid(answer.parent, 0)
        return answer.worker

    async def _receive(self) -> FromForkServer:
        """The next message. Raises OSError when the process has ended."""
        data = await asyncio.get_running_loop().sock_recv(self._requests, MESSAGE_SIZE)
        if not data:
            raise ConnectionResetError
        try:
            return FROM_FORK_SERVER.decode(data)
        except msgspec.DecodeError as error:
            self.kill()
            raise ConnectionResetError(0, str(error)) from error


class ForkServer:
    """Keeps one fork server running, from ``start`` to ``stop``."""

    def __init__(self, program: WorkerProgram, early: EarlyWorker | None = None) -> None:
        """``program``: with a fork server. ``early``: the first process, if it was started already."""
        self._program = program
        self._early = early
        self._process: _Process | None = None
        self._turn = asyncio.Lock()

    def start(self) -> _Process:
        """Return the process, which is started unless it runs. Raises OSError."""
        if self._process is not None:
            return self._process
        early, self._early = self._early, None
        if early is not None:
            pid, ours = early.take()
        else:
            ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
            with theirs:
                try:
                    pid = spawn_fork_server(self._program, theirs)
                except BaseException:
                    ours.close()
                    raise
        process = _Process(pid, ours)
        try:
            on_exit(pid, lambda status: self._ended(process, status))
        except OSError:
            process.kill()
            os.waitpid(pid, 0)
            process.end()
            raise
        self._process = process
        return process

    async def fork(self, number: int, control: socket.socket) -> int | None:
        """Return the process id of another worker, a child of this process; None if that fails, and the log says why.

        ``number``: of the worker. ``control``: its end of its control socket.
        """
        title = " ".join(with_number(self._program.command, number))
        [name] = with_number((self._program.name,), number)
        request = ForkWorker(os.fsencode(title), os.fsencode(name))
        async with self._turn:
            try:
                return await self.start().fork(request, control)
            except OSError as error:
                problem = f"it cannot be started ({error.strerror})"
            except _NotForked as error:
                problem = str(error)
            except BaseException:
                # Its next answer would belong to this request.
                process, self._process = self._process, None
                if process is not None:
                    process.kill()
                raise
        _logger.warning(
            "worker %(worker)d is not forked by the fork server but started as a program: %(reason)s",
            {"worker": number, "reason": problem},
        )
        return None

    async def stop(self) -> None:
        """Have the process exit, and wait until it has; ``start`` and ``fork`` start another one."""
        async with self._turn:
            process, self._process = self._process, None
            if process is not None:
                await process.stop()

    def _ended(self, process: _Process, status: int) -> None:
        has_loaded = process.end()
        if process is not self._process:
            return
        self._process = None
        how = describe_exit(status)
        if not has_loaded:
            # The next one may fail, too, so it starts when a worker is needed.
            _logger.warning("the fork server %(reason)s before it had loaded", {"reason": how})
            return
        _logger.warning("the fork server %(reason)s; another one starts", {"reason": how})
        try:
            self.start()
        except OSError as error:
            _logger.warning("another fork server cannot be started: %(reason)s", {"reason": error.strerror})
