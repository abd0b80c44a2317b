"""A worker's place: the counters it writes, and a process that is replaced whenever it dies."""

import asyncio
import mmap
import os
from collections.abc import Callable, Sequence
from typing import Final

from twemproxy import log
from twemproxy.stats.layout import CounterLayout
from twemproxy.supervisor.errors import StartError
from twemproxy.supervisor.resolver import Resolver
from twemproxy.supervisor.worker_process import WorkerProcess, WorkerProgram
from twemproxy.worker.messages import Drain, Ready, Resolve, Settle, Settled, Start, ToSupervisor, ToWorker

FIRST_DELAY: Final = 0.1
"""Seconds before a dead worker is replaced; doubled each time up to LONGEST_DELAY."""
LONGEST_DELAY: Final = 10.0
STEADY_TIME: Final = 30.0
"""A worker that lived this many seconds starts the delays from the beginning."""
CUT_OFF_TIME: Final = 1.0
"""Seconds a worker has to leave after its drain is over; then it is killed."""

_logger = log.get_logger(__name__)


class WorkerFailed(StartError):
    """The first worker ended before it served, and another one in its place would, too; the text says how."""


class WorkerSlot:
    """Keeps one worker running. The counters outlive it, so nothing that only grows ever goes back."""

    def __init__(
        self,
        program: WorkerProgram,
        number: int,
        layout: CounterLayout,
        start: Callable[[], Start],
        listeners: Sequence[int],
        resolver: Resolver,
    ) -> None:
        """``number``: the worker's, from 1; ``start``: makes the first message to a new process.

        ``listeners``: the listening sockets.

        Raises OSError when there is no memory for the counters.
        """
        self._program = program
        self._number = number
        self._layout = layout
        self._start = start
        self._resolver = resolver
        self._memory_descriptor = os.memfd_create("twemproxy counters", os.MFD_CLOEXEC)
        os.ftruncate(self._memory_descriptor, layout.size)
        self.table = memoryview(mmap.mmap(self._memory_descriptor, layout.size)).cast("Q")
        """The counters, as unsigned 64-bit words."""
        self._descriptors = (self._memory_descriptor, *listeners)
        self.ready = asyncio.Event()
        """Set when a process of this slot has served."""
        self.settled = asyncio.Event()
        """Set when what ``settle`` asked for is done."""
        self._process: WorkerProcess | None = None
        self._settle: Settle | None = None
        self._drain: Drain | None = None
        self._draining = asyncio.Event()
        self._kill_timer: asyncio.TimerHandle | None = None
        self._answers: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep a process serving, until it has left after ``drain``.

        Raises WorkerFailed when the first one dies before it is ready.
        """
        delay = FIRST_DELAY
        while not self._draining.is_set():
            started = asyncio.get_running_loop().time()
            end = await self._run_process()
            if self._draining.is_set():
                _logger.info("%s", end)
                return
            if not self.ready.is_set():
                raise WorkerFailed(f"{end} before it was ready")
            for position in self._layout.gauges():
                self.table[position] = 0
            if asyncio.get_running_loop().time() - started > STEADY_TIME:
                delay = FIRST_DELAY
            _logger.log(log.ALERT, "%s; another worker starts in %.1f s", end, delay)
            await self._pause(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    def send(self, message: ToWorker) -> None:
        """Tell the process something, if there is one."""
        if self._process is not None:
            self._process.send(message)

    def settle(self, patience: float) -> None:
        """Have the process answer what is in flight and go on serving; ``settled`` is set then.

        ``patience``: seconds that silent servers get from now on.
        """
        self._settle = Settle(patience)
        if self._process is None or not self.ready.is_set():
            self.settled.set()
        else:
            self._process.send(self._settle)

    def drain(self, timeout: float, patience: float) -> None:
        """Let the process finish what is in flight, for ``timeout`` seconds at most, and start no other one.

        ``patience``: as in ``settle``. Another call can make the time shorter.
        """
        self._drain = Drain(timeout, patience)
        self._draining.set()
        if self._process is not None:
            self._ask_to_leave(self._process, self._drain)

    def _ask_to_leave(self, process: WorkerProcess, drain: Drain) -> None:
        process.send(drain)
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        loop = asyncio.get_running_loop()
        self._kill_timer = loop.call_later(drain.timeout + CUT_OFF_TIME, self._kill, process)

    def _kill(self, process: WorkerProcess) -> None:
        _logger.warning("worker %d does not exit and is killed", process.pid)
        process.kill()

    async def _run_process(self) -> str:
        """Run a process to its end; gives how it ended."""
        try:
            process = await WorkerProcess.spawn(
                self._program, self._number, self._start(), self._descriptors, self._on_message
            )
        except OSError as error:
            return f"a worker could not be started ({error.strerror or error})"
        self._process = process
        if self._settle is not None:
            process.send(self._settle)
        if self._drain is not None:
            self._ask_to_leave(process, self._drain)
        try:
            return f"worker {process.pid} {await process.wait()}"
        finally:
            self._process = None
            process.kill()
            if self._kill_timer is not None:
                self._kill_timer.cancel()

    async def _pause(self, seconds: float) -> None:
        """Wait, but not for the end of the time when there is a drain."""
        wait = asyncio.create_task(self._draining.wait())
        await asyncio.wait([wait], timeout=seconds)
        wait.cancel()

    def _on_message(self, process: WorkerProcess, message: ToSupervisor) -> None:
        match message:
            case Ready():
                _logger.info("worker %d is ready", process.pid)
                self.ready.set()
            case Settled():
                self.settled.set()
            case Resolve():
                answer = asyncio.create_task(self._answer(process, message))
                self._answers.add(answer)
                answer.add_done_callback(self._answers.discard)

    async def _answer(self, process: WorkerProcess, question: Resolve) -> None:
        process.send(await self._resolver.resolve(question.host, question.port))
