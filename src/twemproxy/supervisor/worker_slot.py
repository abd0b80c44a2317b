"""A worker slot: the counters of one worker, and its process, which is replaced when it dies."""

import asyncio
import mmap
import os
from collections.abc import Callable, Sequence
from typing import Final

from twemproxy import log
from twemproxy.ipc.messages import (
    Commit,
    Committed,
    Drain,
    Prepare,
    Prepared,
    Quiesce,
    Quiesced,
    Ready,
    Resolve,
    Start,
    ToSupervisor,
    ToWorker,
)
from twemproxy.stats.slots import CounterSlots
from twemproxy.supervisor.errors import StartError
from twemproxy.supervisor.resolver import Resolver
from twemproxy.supervisor.worker_process import WorkerProcess, WorkerProgram

FIRST_DELAY: Final = 0.1
"""Seconds before a dead worker is replaced. The delay doubles each time, up to LONGEST_DELAY."""
LONGEST_DELAY: Final = 10.0
STEADY_TIME: Final = 30.0
"""Seconds. After a worker has lived for longer, the next delay is FIRST_DELAY."""
COMMIT_TIME: Final = 5.0
"""Seconds that a worker has to serve what it has prepared; then it is killed."""
CUT_OFF_TIME: Final = 1.0
"""Seconds that a worker has for its exit after the time of its drain; then it is killed."""

_logger = log.get_logger(__name__)


class WorkerFailed(StartError):
    """The first worker exited before it was ready. It is not replaced, because the next one would fail, too.

    The text says how the worker exited, or why it could not be started.
    """


class WorkerSlot:
    """Keeps one worker running. The counters outlive the process, so that those that only grow never go back."""

    def __init__(
        self,
        program: WorkerProgram,
        number: int,
        counters: CounterSlots,
        start: Callable[[], tuple[Start, Sequence[int]]],
        resolver: Resolver,
    ) -> None:
        """Allocate the counters; ``run`` starts the process.

        ``number``: of the worker, from 1. ``start``: returns the first message for a new process, and the
        descriptors of the listening sockets, one per pool, in pool order. Raises OSError without memory for the
        counters.
        """
        self._program = program
        self._number = number
        self._counters = counters
        self._start = start
        self._resolver = resolver
        self._memory_descriptor = os.memfd_create("twemproxy counters", os.MFD_CLOEXEC)
        os.ftruncate(self._memory_descriptor, counters.size)
        self.table = memoryview(mmap.mmap(self._memory_descriptor, counters.size)).cast("Q")
        """The counters, as unsigned 64-bit words."""
        self.ready = asyncio.Event()
        """Set when a process of this slot has reported ``Ready``."""
        self.quiesced = asyncio.Event()
        """Set when the requests that were in flight at ``quiesce`` have replies."""
        self._process: WorkerProcess | None = None
        self._preparing: WorkerProcess | None = None
        self._prepared: asyncio.Future[str] | None = None
        self._committed: asyncio.Future[None] | None = None
        self._quiesce: Quiesce | None = None
        self._drain: Drain | None = None
        self._draining = asyncio.Event()
        self._kill_timer: asyncio.TimerHandle | None = None
        self._answers: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep a process running, until it has exited after ``drain``.

        Raises WorkerFailed if the first process dies before it is ready.
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
            for position in self._counters.gauges():
                self.table[position] = 0
            if asyncio.get_running_loop().time() - started > STEADY_TIME:
                delay = FIRST_DELAY
            _logger.log(log.ALERT, "%s; another worker starts in %.1f s", end, delay)
            await self._pause(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    def send(self, message: ToWorker) -> None:
        """Send a message to the process, if there is one."""
        if self._process is not None:
            self._process.send(message)

    async def prepare(self, prepare: Prepare, listeners: Sequence[int]) -> str:
        """Have the process prepare a reload; returns the problem, empty if there is none.

        ``listeners``: the descriptors of ``Prepare.opened``. A slot whose process is about to be replaced has nothing
        to prepare: the next process starts with the configuration that is in use by then.
        """
        self._preparing = self._process
        if self._process is None:
            return ""
        self._prepared = asyncio.get_running_loop().create_future()
        self._process.send(prepare, listeners)
        return await self._prepared

    async def commit(self) -> None:
        """Have the process serve what it has prepared; returns when it does, or has exited.

        A process that was started in the meantime has the former configuration, and is replaced by another one.
        """
        if self._process is None:
            return
        if self._process is not self._preparing:
            self._process.kill()
            return
        self._committed = asyncio.get_running_loop().create_future()
        self._process.send(Commit())
        try:
            await asyncio.wait_for(self._committed, COMMIT_TIME)
        except TimeoutError:
            if self._process is self._preparing:
                _logger.warning("worker %d does not take the new configuration and is killed", self._process.pid)
                self._process.kill()

    def quiesce(self, patience: float) -> None:
        """Have the process answer the requests in flight and keep serving; then ``quiesced`` is set.

        ``patience``: seconds of silence after which the requests to a server fail, from now on.
        """
        self._quiesce = Quiesce(patience)
        if self._process is None or not self.ready.is_set():
            self.quiesced.set()
        else:
            self._process.send(self._quiesce)

    def drain(self, timeout: float, patience: float) -> None:
        """Have the process finish the requests in flight within ``timeout`` seconds and exit; it is not replaced.

        ``patience``: as in ``quiesce``. Another call can shorten the time.
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
        """Run a process until it exits; returns how it exited, or why it could not be started, as text for the log."""
        try:
            process = WorkerProcess(self._program, self._number, self._on_message)
        except OSError as error:
            return f"a worker could not be started ({error.strerror or error})"
        start, listeners = self._start()
        process.send(start, (self._memory_descriptor, *listeners))
        self._process = process
        if self._quiesce is not None:
            process.send(self._quiesce)
        if self._drain is not None:
            self._ask_to_leave(process, self._drain)
        try:
            return f"worker {process.pid} {await process.wait()}"
        finally:
            self._process = None
            process.kill()
            if self._prepared is not None and not self._prepared.done():
                self._prepared.set_result("a worker has exited")
            if self._committed is not None and not self._committed.done():
                self._committed.set_result(None)
            if self._kill_timer is not None:
                self._kill_timer.cancel()

    async def _pause(self, seconds: float) -> None:
        """Wait for this time, or until a drain begins."""
        wait = asyncio.create_task(self._draining.wait())
        await asyncio.wait([wait], timeout=seconds)
        wait.cancel()

    def _on_message(self, process: WorkerProcess, message: ToSupervisor) -> None:
        match message:
            case Ready():
                _logger.info("worker %d is ready", process.pid)
                self.ready.set()
            case Prepared():
                if self._prepared is not None and not self._prepared.done():
                    self._prepared.set_result(message.problem)
            case Committed():
                if self._committed is not None and not self._committed.done():
                    self._committed.set_result(None)
            case Quiesced():
                self.quiesced.set()
            case Resolve():
                answer = asyncio.create_task(self._answer(process, message))
                self._answers.add(answer)
                answer.add_done_callback(self._answers.discard)

    async def _answer(self, process: WorkerProcess, question: Resolve) -> None:
        process.send(await self._resolver.resolve(question.host, question.port))
