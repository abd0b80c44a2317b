"""The workers of the proxy: a slot each. Their number can change while they serve."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

from twemproxy import log
from twemproxy.ipc.messages import Start, ToWorker
from twemproxy.supervisor.counter_memory import CounterMemory
from twemproxy.supervisor.early_worker import EarlyWorker, WorkerProgram
from twemproxy.supervisor.errors import StartError
from twemproxy.supervisor.fork_server import ForkServer
from twemproxy.supervisor.inheritance import InheritedWorker
from twemproxy.supervisor.resolver import Resolver
from twemproxy.supervisor.statistics import Statistics
from twemproxy.supervisor.worker_slot import READY_TIME, WorkerSlot

_logger = log.get_logger(__name__)


class Workers:
    """The workers. ``slots``: those that accept clients, which are the workers from 1 on, unless a start has failed."""

    def __init__(
        self,
        program: WorkerProgram,
        statistics: Statistics,
        start: Callable[[], tuple[Start, Sequence[int]]],
        early: EarlyWorker | None,
    ) -> None:
        """None yet. ``program``: of a worker. ``statistics``, ``start``: see ``WorkerSlot``.

        ``early``: the first worker or the fork server, if it was started already.
        """
        self._program = program
        self._statistics = statistics
        self._start = start
        self._early = None if early is None or early.is_fork_server else early
        self._fork_server = None
        if program.fork_server:
            self._fork_server = ForkServer(program, early if self._early is None else None)
        self._resolver: Final = Resolver()
        self.slots: list[WorkerSlot] = []
        self._leaving: dict[WorkerSlot, asyncio.Task[None]] = {}
        self._runs: dict[WorkerSlot, asyncio.Task[None]] = {}
        self._failed = asyncio.Event()

    # --- the start -------------------------------------------------------------------------------------------

    def add(self) -> WorkerSlot:
        """Add a worker, which ``begin`` starts. Raises StartError."""
        used = {slot.number for slot in (*self.slots, *self._leaving)}
        number = next(number for number in range(1, len(used) + 2) if number not in used)
        early, self._early = self._early, None
        try:
            slot = WorkerSlot(
                *(self._program, number, self._statistics, self._start, self._resolver, early),
                slots=self.slots,
                fork_server=self._forking,
            )
        except OSError as error:
            raise StartError(f"no memory for the counters: {error.strerror}") from error
        self.slots.append(slot)
        return slot

    def adopt(self, worker: InheritedWorker, memory: CounterMemory) -> None:
        """Add a worker whose process runs already."""
        slot = self.add()
        reading, writing = worker.inbox
        slot.number = worker.number
        slot.adopt(
            worker.pid,
            socket.socket(fileno=worker.control),
            memory,
            (socket.socket(fileno=reading), socket.socket(fileno=writing)),
        )

    def begin(self) -> None:
        """Start the workers that were added."""
        self.start_fork_server()
        for slot in self.slots:
            run = self._runs[slot] = asyncio.create_task(slot.run())
            run.add_done_callback(self._run_ended)

    def _run_ended(self, run: "asyncio.Task[None]") -> None:
        if run in self._runs.values():
            self._failed.set()

    def _forking(self) -> ForkServer | None:
        """The fork server, if there are several workers."""
        return self._fork_server if len(self.slots) > 1 else None

    def start_fork_server(self) -> None:
        """Start the fork server, if there are several workers and it does not run."""
        if (server := self._forking()) is not None:
            try:
                server.start()
            except OSError as error:
                _logger.warning("the fork server cannot be started: %(reason)s", {"reason": error.strerror})

    async def stop_fork_server(self) -> None:
        """Have the fork server exit, if it runs."""
        if self._fork_server is not None:
            await self._fork_server.stop()

    # --- all workers -----------------------------------------------------------------------------------------

    def are_ready(self) -> bool:
        """Whether each worker has been ready."""
        return all(slot.ready.is_set() for slot in self.slots)

    async def wait_ready(self) -> None:
        """Wait until each worker has been ready."""
        for slot in self.slots:
            await slot.ready.wait()

    def are_settled(self) -> bool:
        """Whether each worker is ready, and none is being replaced or leaves."""
        return not self._leaving and all(slot.is_settled() for slot in self.slots)

    async def wait_failed(self) -> None:
        """Wait until a worker ends that is not replaced, as when the first one fails."""
        await self._failed.wait()

    async def wait_ended(self) -> None:
        """Wait until all workers have ended. Raises StartError if one could not start."""
        runs = [*self._runs.values(), *self._leaving.values()]
        if runs:
            await asyncio.wait(runs)
        for slot in self.slots:
            slot.close_inbox()
        for run in runs:
            run.result()

    def send(self, message: ToWorker) -> None:
        """Send a message to all processes of all workers."""
        for slot in (*self.slots, *self._leaving):
            slot.send(message)

    async def replace(self, patience: float) -> str:
        """Replace the process of each worker; returns why that failed, empty if it did not. See ``WorkerSlot``."""
        problem = ""
        for slot in self.slots:
            problem = problem or await slot.replace(patience)
        return problem

    def quiesce(self, patience: float) -> None:
        """Have all workers answer the requests in flight and keep serving, see ``WorkerSlot.quiesce``."""
        for slot in self.slots:
            slot.quiesce(patience)

    async def wait_quiesced(self) -> None:
        """Wait until the requests that were in flight at ``quiesce`` have replies."""
        for slot in self.slots:
            await slot.quiesced.wait()

    def drain(self, timeout: float, patience: float) -> None:
        """Have all workers finish the requests in flight and exit, see ``WorkerSlot.drain``."""
        for slot in (*self.slots, *self._leaving):
            slot.drain(timeout, patience)

    # --- their number ----------------------------------------------------------------------------------------

    async def resize(self, count: int, patience: float) -> str:
        """Have ``count`` workers, at least 1; returns why that failed, empty if it did not.

        A worker that leaves hands its clients over; those that it cannot hand over yet stay for up to ``patience``
        seconds. There is one call at a time, and no reload during it.
        """
        while len(self.slots) < count:
            if problem := await self._grow():
                return problem
        while len(self.slots) > count:
            if problem := await self._shrink(patience):
                return problem
        if count == 1:
            await self.stop_fork_server()
        return ""

    async def _grow(self) -> str:
        try:
            slot = self.add()
        except StartError as error:
            return str(error)
        run = self._runs[slot] = asyncio.create_task(slot.run())
        ready = asyncio.create_task(slot.ready.wait())
        await asyncio.wait([run, ready], timeout=READY_TIME, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if slot.ready.is_set():
            run.add_done_callback(self._run_ended)
            self._introduce()
            return ""
        self.slots.remove(slot)
        del self._runs[slot]
        slot.drain(0, 0)
        await asyncio.wait([run])
        self._statistics.drop(slot.memory)
        slot.close_inbox()
        problem = run.exception()
        return str(problem) if problem else f"the new worker was not ready within {READY_TIME:.0f} s"

    async def _shrink(self, patience: float) -> str:
        slot = self.slots[-1]
        if problem := await slot.leave([each.number for each in self.slots[:-1]], patience):
            return problem
        self.slots.remove(slot)
        run = self._runs.pop(slot)
        self._leaving[slot] = asyncio.create_task(self._wait_left(slot, run))
        self._introduce()
        return ""

    async def _wait_left(self, slot: WorkerSlot, run: "asyncio.Task[None]") -> None:
        """Wait until a worker has ended that has left."""
        await asyncio.wait([run])
        if self.slots:
            slot.move_inbox(self.slots[0])
        self._statistics.keep(slot.memory)
        del self._leaving[slot]
        self._introduce()

    def _introduce(self) -> None:
        """Tell all processes of all workers which other ones there are."""
        for slot in (*self.slots, *self._leaving):
            slot.introduce()
