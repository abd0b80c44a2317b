"""A worker slot: the counters of one worker, and its process, which is replaced when it dies."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Final

import msgspec

from twemproxy import log
from twemproxy.ipc import descriptors
from twemproxy.ipc.control import WorkerHealth
from twemproxy.ipc.inbox import PACKET_SIZE, SUPERVISOR, PoolKey, Question, Rows
from twemproxy.ipc.messages import (
    Commit,
    Committed,
    Drain,
    HandingOver,
    HandOver,
    HealthChanged,
    Inspect,
    Inspected,
    Peers,
    Ping,
    Pong,
    Prepare,
    Prepared,
    Quiesce,
    Quiesced,
    Ready,
    Resolve,
    Start,
    TakenOver,
    TakeOver,
    Took,
    ToSupervisor,
    ToWorker,
    event_number,
)
from twemproxy.stats.report import EventKind
from twemproxy.supervisor.counter_memory import CounterMemory
from twemproxy.supervisor.early_worker import EarlyWorker, WorkerProgram
from twemproxy.supervisor.errors import StartError
from twemproxy.supervisor.fork_server import ForkServer
from twemproxy.supervisor.resolver import Resolver
from twemproxy.supervisor.statistics import Statistics
from twemproxy.supervisor.worker_process import OnMessage, WorkerProcess

FIRST_DELAY: Final = 0.1
"""A worker that dies is replaced at once. If the next one dies soon, it is replaced after so many seconds. The delay
doubles each time, up to LONGEST_DELAY.
"""
LONGEST_DELAY: Final = 10.0
STEADY_TIME: Final = 30.0
"""Seconds. A worker that has lived for longer is replaced at once."""
COMMIT_TIME: Final = 5.0
"""Seconds that a worker has to serve what it has prepared; then it is killed."""
READY_TIME: Final = 15.0
"""Seconds that a process which replaces another one has until it is ready; then the other one stays."""
ANSWER_TIME: Final = 2.0
"""Seconds of silence after which the answer of a worker to a question is not waited for."""
CUT_OFF_TIME: Final = 1.0
"""Seconds that a worker has for its exit after the time of its drain; then it is killed."""

Row = tuple[int, bytes]

_numbers: Final = count(1)
"""Numbers of questions."""

_logger = log.get_logger(__name__)


class WorkerFailed(StartError):
    """The first worker exited before it was ready. It is not replaced, because the next one would fail, too.

    The text says how the worker exited, or why it could not be started.
    """


class WorkerSlot:
    """Keeps one worker running. The counters outlive a process that dies, so that those that only grow never go back.

    A process can be replaced by another one, which takes its clients over. In the meantime the slot has two.
    """

    def __init__(
        self,
        program: WorkerProgram,
        number: int,
        statistics: Statistics,
        start: Callable[[], tuple[Start, Sequence[int]]],
        resolver: Resolver,
        early: EarlyWorker | None = None,
        slots: "Sequence[WorkerSlot]" = (),
        fork_server: Callable[[], ForkServer | None] = lambda: None,
    ) -> None:
        """Allocate the counters; ``run`` starts the process.

        ``number``: of the worker, from 1. ``statistics``: gets the counters. ``start``: returns the first message for a
        new process, and the descriptors that follow that of its inbox, see ``ipc.messages``. ``early``: the first
        process, if it was started already. ``slots``: of all workers, which may change; without them, this is the only
        worker. ``fork_server``: returns what forks the processes, None if they are started as programs. Raises OSError
        without memory for the counters.
        """
        self._slots = slots
        reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading.setblocking(False)
        writing.setblocking(False)
        self.inbox = (reading, writing)
        """The two ends of the inbox of the worker, see ``ipc.inbox``."""
        self._early = early
        self._fork_server = fork_server
        self._program = program
        self.number = number
        self._statistics = statistics
        self._start = start
        self._resolver = resolver
        self._memory = statistics.new_memory()
        self.ready = asyncio.Event()
        """Set when a process of this slot has reported ``Ready``."""
        self.quiesced = asyncio.Event()
        """Set when the requests that were in flight at ``quiesce`` have replies."""
        self._process: WorkerProcess | None = None
        self._inspecting = asyncio.Lock()
        self._preparing: WorkerProcess | None = None
        self._next: WorkerProcess | None = None
        self._former: dict[WorkerProcess, CounterMemory] = {}
        self._ends: asyncio.Queue[tuple[WorkerProcess, str]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiescing: set[WorkerProcess] = set()
        self._quiesce: Quiesce | None = None
        self._drain: Drain | None = None
        self._inquiries: dict[int, asyncio.Queue[Rows]] = {}
        self._pings: dict[WorkerProcess, asyncio.Task[Pong | None]] = {}
        self._draining = asyncio.Event()

    async def run(self) -> None:
        """Keep a process running, until it has exited after ``drain``.

        Raises WorkerFailed if the first process dies before it is ready.
        """
        delay = 0.0
        while not self._draining.is_set():
            started = asyncio.get_running_loop().time()
            end = await self._run_process()
            if self._draining.is_set():
                _logger.info("%(reason)s", {"worker": self.number, "reason": end})
                break
            if not self.ready.is_set():
                raise WorkerFailed(f"{end} before it was ready")
            self._statistics.clear_gauges(self._memory)
            if self._memory.places is not None:
                # The next process does not have the places of the other version.
                self._statistics.keep(self._memory)
                self._memory = self._statistics.new_memory()
                self.introduce_all()
            if asyncio.get_running_loop().time() - started > STEADY_TIME:
                delay = 0.0
            self._statistics.events.add("worker", end)
            _logger.log(
                log.ALERT,
                "%(reason)s; another worker starts %(action)s",
                {"worker": self.number, "reason": end, "action": f"in {delay:.1f} s" if delay else "now"},
            )
            await self._pause(delay)
            delay = min(delay * 2, LONGEST_DELAY) if delay else FIRST_DELAY
        while self._former:
            self._former_ended(*await self._ends.get())

    def adopt(
        self, pid: int, control: socket.socket, memory: CounterMemory, inbox: tuple[socket.socket, socket.socket]
    ) -> None:
        """Have ``run`` begin with a process that runs already. ``control``: our end of its control socket."""
        self._statistics.drop(self._memory)
        self._memory = memory
        self.close_inbox()
        self.inbox = inbox
        self._begin(WorkerProcess(pid, control, self._on_message))
        self.ready.set()

    def process(self) -> tuple[WorkerProcess, CounterMemory] | None:
        """The process and its counters, None while there is none."""
        return None if self._process is None else (self._process, self._memory)

    def is_settled(self) -> bool:
        """Whether the slot has one process, which is ready and has all messages that were sent to it."""
        process = self._process
        return process is not None and self.ready.is_set() and not self._former and not process.has_unsent()

    async def turns(self, seconds: float) -> WorkerHealth:
        """Whether the event loop of the process turns within ``seconds``; without a process it does not."""
        process = self._process
        if process is None:
            return WorkerHealth(self.number, 0, False)
        # One that is still waited for says the same as another one would.
        ping = self._pings.get(process)
        if ping is None:
            ping = self._pings[process] = asyncio.create_task(process.ask(Ping(), Pong))
            ping.add_done_callback(lambda _: self._pings.pop(process, None))
        await asyncio.wait([ping], timeout=seconds)
        return WorkerHealth(self.number, process.pid, ping.done() and ping.result() is not None)

    async def inquire(self, pool: PoolKey, what: str, arguments: Sequence[bytes]) -> list[Row] | None:
        """The answer of the processes to a question about a pool, see ``worker.questions``.

        None if a process is silent for ANSWER_TIME; what the others have answered is dropped.
        """
        rows: list[Row] = []
        for process in self._processes():
            number = next(_numbers)
            parts = self._inquiries[number] = asyncio.Queue()
            process.send(Question(self.number, SUPERVISOR, 0, number, pool, what, tuple(arguments)))
            try:
                while True:
                    async with asyncio.timeout(ANSWER_TIME):
                        part = await parts.get()
                    rows += part.rows
                    if part.last:
                        break
            except TimeoutError:
                return None
            finally:
                del self._inquiries[number]
        return rows

    @property
    def leaves(self) -> bool:
        """Whether the process has been told to exit for good."""
        return self._draining.is_set()

    def send(self, message: ToWorker) -> None:
        """Send a message to the process, if there is one, to former ones, and to one that is about to replace it."""
        for process in [*self._processes(), *([self._next] if self._next is not None else [])]:
            process.send(message)

    def _processes(self) -> list[WorkerProcess]:
        return [*([self._process] if self._process is not None else []), *self._former]

    # --- the other workers -----------------------------------------------------------------------------------

    @property
    def memory(self) -> CounterMemory:
        """The counters of the process, or of the next one."""
        return self._memory

    def introduce_all(self) -> None:
        """There are other processes: tell all processes of all workers, unless there is only one."""
        for slot in self._slots or (self,):
            slot.introduce()

    def introduce(self) -> None:
        """Tell the processes of this worker which other ones there are."""
        for process, memory in [*([(self._process, self._memory)] if self._process else []), *self._former.items()]:
            self._introduce(process, memory)

    def _introduce(self, process: WorkerProcess, memory: CounterMemory) -> None:
        """Tell a process with these counters which other ones there are."""
        others: list[WorkerSlot] = []
        former: list[CounterMemory] = []
        # Versions with other counters cannot read each other's.
        if memory.places is None:
            others = [slot for slot in self._slots if slot is not self and slot.memory.places is None]
            known = [memory, *(slot.memory for slot in others)]
            former = [each for each in self._statistics.memories if each.places is None and each not in known]
            if not (others or former or process.has_met):
                return
        inboxes = [slot.inbox[1].fileno() for slot in (self, *others)]
        memories = [*(slot.memory.descriptor for slot in others), *(each.descriptor for each in former)]
        process.has_met = True
        try:
            process.send(Peers(tuple(slot.number for slot in others), len(former)), [*inboxes, *memories])
        except OSError as error:
            _logger.error(
                "worker %(worker_pid)d does not know the other workers: %(reason)s",
                self._fields(process) | {"reason": error.strerror},
            )

    def close_inbox(self) -> None:
        """The worker has ended for good. Clients in its inbox lose their connections."""
        for end in self.inbox:
            end.close()

    async def prepare(self, prepare: Prepare, listeners: Sequence[int]) -> str:
        """Have the process prepare a reload; returns the problem, empty if there is none.

        ``listeners``: the descriptors of ``Prepare.opened``. A slot whose process is about to be replaced has nothing
        to prepare: the next process starts with the configuration that is in use by then.
        """
        self._preparing = self._process
        if self._process is None:
            return ""
        if self._memory.places is not None:
            return "a worker is of another version, which has other counters: upgrade or restart first"
        try:
            answer = await self._process.ask(
                prepare, Prepared, listeners, fits=lambda prepared: prepared.number == prepare.number
            )
        except OSError as error:
            return f"the listening sockets cannot be passed to a worker: {error.strerror}"
        return "a worker has exited meanwhile: try again, the log has the reason" if answer is None else answer.problem

    async def inspect(self, number: int) -> Inspected | None:
        """The process's answer to ``Inspect`` with this number; None if there is none, as of another version."""
        process = self._process
        if process is None or self._memory.places is not None:
            return None
        async with self._inspecting:
            return await process.ask(Inspect(number), Inspected, fits=lambda answer: answer.number == number)

    async def commit(self) -> None:
        """Have the process serve what it has prepared; returns when it does, or has exited.

        A process that was started in the meantime has the former configuration, and is replaced by another one.
        """
        process = self._process
        if process is None:
            return
        if process is not self._preparing:
            process.kill()
            return
        try:
            async with asyncio.timeout(COMMIT_TIME):
                await process.ask(Commit(), Committed)
        except TimeoutError:
            _logger.warning(
                "worker %(worker_pid)d does not take the new configuration and is killed", self._fields(process)
            )
            process.kill()

    async def replace(self, patience: float) -> str:
        """Start another process, and have it take the clients over; returns why that failed, empty if it did not.

        It returns when the other process accepts clients. The former one goes on with clients that it cannot hand over
        yet, for up to ``patience`` seconds. After a failure it goes on as before.
        """
        former = self._process
        if former is None:
            return "there is no worker to replace"
        try:
            memory = self._statistics.new_memory()
        except OSError as error:
            return f"no memory for the counters of another worker: {error.strerror}"
        try:
            process, problem = await self._start_ready(memory)
            self.introduce()
            if process is not None and self._process is former and not self._draining.is_set():
                problem = await self._connect(former, process, patience)
            else:
                problem = problem or "the worker to replace has ended"
        except OSError as error:
            problem = f"the workers cannot be connected: {error.strerror}"
        except BaseException:
            self._discard_next(memory)
            raise
        if process is None or problem:
            self._discard_next(memory)
            return problem
        self._next = None
        self._former[former] = self._memory
        self._memory = memory
        self._begin(process)
        self.introduce_all()
        loop = asyncio.get_running_loop()
        loop.call_later(patience, self._ask_to_leave, former, Drain(0, 0))
        return ""

    async def _connect(self, former: WorkerProcess, process: WorkerProcess, patience: float) -> str:
        """Have ``former`` hand its clients over to ``process``; returns why it does not, empty if it does.

        ``patience``: see ``replace``. Raises OSError.
        """
        hand_over = HandOver((self.number,), event_number(), patience)
        try:
            async with asyncio.timeout(COMMIT_TIME):
                answer = await former.ask(hand_over, HandingOver)
        except TimeoutError:
            answer = None
        if answer is None:
            _logger.warning("worker %(worker_pid)d does not hand its clients over and is killed", self._fields(former))
            former.kill()
            answer = HandingOver(0)
        if not answer.problem:
            process.send(TakeOver(answer.clients))
        return answer.problem

    def _discard_next(self, memory: CounterMemory) -> None:
        """Another process does not replace the present one. ``memory``: of its counters."""
        if self._next is not None:
            self._next.kill()
            self._next = None
        self._statistics.drop(memory)

    async def _start_ready(self, memory: CounterMemory) -> tuple[WorkerProcess | None, str]:
        """A process that is ready and accepts no clients yet; None and the reason if that fails."""
        ready = asyncio.get_running_loop().create_future()

        def on_message(process: WorkerProcess, message: ToSupervisor) -> None:
            if isinstance(message, Ready) and not ready.done():
                ready.set_result(None)
            self._on_message(process, message)

        try:
            process = self._next = await self._start_process(memory, on_message, accepts=False)
        except OSError as error:
            return None, f"a worker could not be started ({error.strerror or error})"
        end = asyncio.create_task(process.wait())
        await asyncio.wait([ready, end], timeout=READY_TIME, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            # ``_begin`` waits for the end from now on.
            end.cancel()
            return process, ""
        process.kill()
        timed_out = not end.done()
        how = await end
        return None, f"the new worker was not ready within {READY_TIME:.0f} s" if timed_out else f"the new worker {how}"

    async def _start_process(self, memory: CounterMemory, on_message: OnMessage, *, accepts: bool) -> WorkerProcess:
        """Start a process and send it its first message. Raises OSError."""
        process = await self._new_process(on_message)
        try:
            start, passed = self._start()
            start = msgspec.structs.replace(start, accepts=accepts, number=self.number)
            shared = self._statistics.shared.descriptor
            process.send(start, (memory.descriptor, shared, self.inbox[0].fileno(), *passed))
            self._introduce(process, memory)
        except BaseException:
            process.kill()
            raise
        return process

    def quiesce(self, patience: float) -> None:
        """Have the processes answer the requests in flight and keep serving; then ``quiesced`` is set.

        ``patience``: seconds of silence after which the requests to a server fail, from now on.
        """
        self._quiesce = Quiesce(patience)
        if self._process is None or not self.ready.is_set():
            self.quiesced.set()
            return
        self._quiescing = set(self._processes())
        for process in self._processes():
            process.send(self._quiesce)

    async def leave(self, to: Sequence[int], patience: float) -> str:
        """Have the process hand its clients over to other workers and exit, for good; returns why it does not.

        ``to``: the numbers of the other workers. It returns when the process accepts no more clients; the process goes
        on with those that it cannot hand over yet, for up to ``patience`` seconds. Then ``run`` returns.
        """
        process = self._process
        if process is not None:
            try:
                async with asyncio.timeout(COMMIT_TIME):
                    answer = await process.ask(HandOver(tuple(to), event_number(), patience), HandingOver)
            except TimeoutError:
                answer = None
            if answer is not None and answer.problem:
                return answer.problem
            if answer is None:
                _logger.warning(
                    "worker %(worker_pid)d does not hand its clients over and is killed", self._fields(process)
                )
                process.kill()
        self._draining.set()
        if process is not None:
            asyncio.get_running_loop().call_later(patience, self._ask_to_leave, process, Drain(0, 0))
        return ""

    def move_inbox(self, to: "WorkerSlot") -> None:
        """The worker has ended for good: give what is in its inbox to another worker."""
        with suppress(BlockingIOError):
            while True:
                packet, received = descriptors.receive(self.inbox[0], PACKET_SIZE)
                carried = [each for each in received if each != descriptors.LOST]
                try:
                    socket.send_fds(to.inbox[1], [packet], carried)
                finally:
                    for each in carried:
                        os.close(each)
        self.close_inbox()

    def drain(self, timeout: float, patience: float) -> None:
        """Have the processes finish the requests in flight within ``timeout`` seconds and exit; they are not replaced.

        ``patience``: as in ``quiesce``. Another call can shorten the time.
        """
        self._drain = Drain(timeout, patience)
        self._draining.set()
        for process in self._processes():
            self._ask_to_leave(process, self._drain)

    def _ask_to_leave(self, process: WorkerProcess, drain: Drain) -> None:
        process.send(drain)
        asyncio.get_running_loop().call_later(drain.timeout + CUT_OFF_TIME, self._kill, process)

    def _kill(self, process: WorkerProcess) -> None:
        if process in self._processes():
            _logger.warning("worker %(worker_pid)d does not exit and is killed", self._fields(process))
            process.kill()

    async def _run_process(self) -> str:
        """Run a process until it exits; returns how it exited, or why it could not be started, as text for the log."""
        if self._process is None:
            try:
                process = await self._start_process(self._memory, self._on_message, accepts=True)
            except OSError as error:
                return f"a worker could not be started ({error.strerror or error})"
            self._begin(process)
            if self.ready.is_set():
                # The others have to tell this one what they have told its predecessor.
                self.introduce_all()
            if self._quiesce is not None:
                process.send(self._quiesce)
            if self._drain is not None:
                self._ask_to_leave(process, self._drain)
        try:
            while True:
                process, end = await self._ends.get()
                if process is self._process:
                    return end
                self._former_ended(process, end)
        finally:
            if self._process is not None:
                self._process.kill()
            self._process = None

    async def _new_process(self, on_message: OnMessage) -> WorkerProcess:
        """A process that waits for its first message. Raises OSError."""
        early, self._early = self._early, None
        if early is not None:
            return WorkerProcess(*early.take(), on_message)
        return await WorkerProcess.start(self._program, self.number, on_message, self._fork_server())

    def _begin(self, process: WorkerProcess) -> None:
        """This is the process of the slot from now on."""
        self._process = process
        task = asyncio.create_task(self._await_end(process))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _await_end(self, process: WorkerProcess) -> None:
        end = f"worker {process.pid} {await process.wait()}"
        if process in self._quiescing:
            self._quiesced_by(process)
        self._ends.put_nowait((process, end))

    def _former_ended(self, process: WorkerProcess, end: str) -> None:
        """A process that was replaced has ended: its counters stay in the sums."""
        memory = self._former.pop(process, None)
        if memory is not None:
            if process.failed:
                _logger.warning(
                    "%(reason)s before it had handed all its clients over", {"worker": self.number, "reason": end}
                )
            else:
                _logger.info(
                    "%(reason)s, another worker has taken its clients over", {"worker": self.number, "reason": end}
                )
            self._statistics.keep(memory)
            if self._process is not None:
                self._process.send(TakenOver())
            self.introduce_all()

    def _fields(self, process: WorkerProcess) -> dict[str, object]:
        """The fields of a line of the log about a process of this worker."""
        return {"worker": self.number, "worker_pid": process.pid}

    async def _pause(self, seconds: float) -> None:
        """Wait for this time, or until a drain begins."""
        wait = asyncio.create_task(self._draining.wait())
        await asyncio.wait([wait], timeout=seconds)
        wait.cancel()

    def _on_message(self, process: WorkerProcess, message: ToSupervisor) -> None:
        match message:
            case Ready():
                _logger.info("worker %(worker_pid)d is ready", self._fields(process))
                self.ready.set()
            case Rows():
                process.send(Took())
                if message.number in self._inquiries:
                    self._inquiries[message.number].put_nowait(message)
            case Quiesced():
                self._quiesced_by(process)
            case HealthChanged():
                kind: EventKind = "ejected" if message.ejected else "readmitted"
                self._statistics.events.add(kind, message.why, message.pool, message.server)
            case Resolve():
                task = asyncio.create_task(self._answer(process, message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _quiesced_by(self, process: WorkerProcess) -> None:
        self._quiescing.discard(process)
        if not self._quiescing:
            self.quiesced.set()

    async def _answer(self, process: WorkerProcess, question: Resolve) -> None:
        process.send(await self._resolver.resolve(question.host, question.port))
