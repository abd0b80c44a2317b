"""The worker process. The supervisor starts it, see ``supervisor.worker_process.WorkerProgram``.

The worker's standard input is a unix stream socket, on which the supervisor first sends ``messages.Start``. The worker
exits after a drain, or when the supervisor is gone.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence

from twemproxy import log
from twemproxy.config.pools import Address, Config
from twemproxy.ipc import descriptors
from twemproxy.ipc.inbox import Accepted, Handed, Message, Question
from twemproxy.ipc.messages import (
    TO_WORKER,
    Abandon,
    Announce,
    Commit,
    Committed,
    Drain,
    HandingOver,
    HandOver,
    HealthChanged,
    Inspect,
    Inspected,
    MessageStream,
    Peers,
    Ping,
    Pong,
    Prepare,
    Prepared,
    Quiesce,
    Quiesced,
    Ready,
    ReopenLog,
    Resolve,
    Resolved,
    SetConfigStatus,
    SetLogLevel,
    Start,
    TakenOver,
    TakeOver,
    Took,
    ToSupervisor,
    encode,
)
from twemproxy.net.event_loop import CallbackChannel
from twemproxy.stats.counters import CounterTable, WorkerTables, map_table
from twemproxy.worker.balance import Balance
from twemproxy.worker.build import Update
from twemproxy.worker.data_plane import DataPlane
from twemproxy.worker.handing import Giver, Taker
from twemproxy.worker.inbox import Inbox, Outbox
from twemproxy.worker.inspection import inspect
from twemproxy.worker.questions import Questions

_logger = log.get_logger(__name__)

STANDARD_INPUT = 0
RECEIVE_SIZE = 65536

IGNORED_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGPIPE,
    signal.SIGTERM,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXFSZ,
)
"""Ignored, because a terminal also signals the worker. The supervisor sends messages instead."""


class SupervisorGone(Exception):
    """The supervisor's end of the control socket is closed."""


class Control:
    """The worker's end of the control socket."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(True)
        self._stream = MessageStream(TO_WORKER)
        self._descriptors: deque[int] = deque()

    def receive_start(self) -> tuple[Start, list[object]]:
        """Wait for the first message; returns it and those that have arrived with it.

        Raises SupervisorGone, or TypeError if the message is not ``Start``.
        """
        messages: list[object] = []
        while not messages:
            messages += self.receive()
        start = messages.pop(0)
        if not isinstance(start, Start):
            raise TypeError(f"the first message is {type(start).__name__} instead of Start")
        return start, messages

    def receive(self) -> list[object]:
        """Return the messages that have arrived; call this when the socket is readable. Raises SupervisorGone."""
        data, received = descriptors.receive(self.socket, RECEIVE_SIZE)
        if not data:
            raise SupervisorGone
        self._descriptors += received
        return list(self._stream.feed(data))

    def take_descriptors(self, number: int) -> list[int]:
        """Return the next descriptors: those of the oldest message whose descriptors were not taken yet.

        Raises ValueError if some were dropped on the way; then all are closed.
        """
        if descriptors.LOST in self._descriptors:
            while self._descriptors:
                if (each := self._descriptors.popleft()) != descriptors.LOST:
                    os.close(each)
            raise ValueError("a worker can open no more files: raise the limit (ulimit -n) and restart the proxy")
        return [self._descriptors.popleft() for _ in range(number)]

    def send(self, message: ToSupervisor) -> None:
        """Send a message to the supervisor; it is dropped if the supervisor is gone."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(encode(message))


class Resolutions:
    """The look-ups that the supervisor does for this worker, and the callbacks that wait for them."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._waiting: dict[tuple[str, int], list[Callable[[Resolved], None]]] = {}

    def __call__(self, host: str, port: int, callback: Callable[[Resolved], None]) -> None:
        """Look up a host; ``callback`` gets the result later. Calls for the same host and port share a look-up."""
        waiting = self._waiting.setdefault((host, port), [])
        waiting.append(callback)
        if len(waiting) == 1:
            self._control.send(Resolve(host, port))

    def answered(self, answer: Resolved) -> None:
        """Pass an answer of the supervisor to the callbacks that wait for it."""
        for callback in self._waiting.pop((answer.host, answer.port), []):
            callback(answer)


class Worker:
    """The worker: its data plane, and what it does for the supervisor."""

    def __init__(self, control: Control, start: Start) -> None:
        """Build the pools of the Start message, and accept clients."""
        self._control = control
        self._resolutions = Resolutions(control)
        own, shared, inbox, access_log = control.take_descriptors(4)
        tables = WorkerTables(_mapped(own), _mapped(shared))
        self.data_plane = DataPlane(tables, start.log.level, start.mbuf_size, start.client_limit, start.max_memory)
        self.data_plane.write_access_log(access_log, start.number)
        self.data_plane.facts = start.status.facts()
        self.data_plane.report_health(lambda *verdict: control.send(HealthChanged(*verdict)))
        self._number = start.number
        self._outboxes: dict[int, Outbox] = {}
        self._unknown = ""
        self._questions = Questions(self.data_plane, start.number, os.getpid())
        self._questions.meet_supervisor(control.send)
        self.data_plane.find_others(self._questions.elsewhere)
        self._taker = Taker(self.data_plane, start.number)
        self._balance = Balance(self.data_plane, start.number, lambda: self._outboxes)
        self._inbox = Inbox(self.data_plane.loop, inbox, self._on_packet)
        self._served = Config(())
        self._update: Update | None = None
        self._giver: Giver | None = None
        self._client_limit = start.client_limit
        self._sockets: dict[Address, int] = {}
        self._prepare(start, [pool.listen.address for pool in start.config.pools]).prepare()
        self._commit()
        if start.accepts:
            self._accept()
        self.data_plane.loop.watch_reads(CallbackChannel(control.socket.fileno(), self._receive))

    def _receive(self) -> None:
        try:
            messages = self._control.receive()
        except (SupervisorGone, ConnectionResetError):
            _logger.critical("the supervisor is gone; the worker exits")
            os._exit(1)
        for message in messages:
            self.on_message(message)

    def _accept(self) -> None:
        """Accept clients, and take those that other workers pass."""
        self.data_plane.accept()
        self._inbox.open()

    def _on_packet(self, message: Message, carried: list[int]) -> None:
        """Do what a message of another worker says."""
        match message:
            case Accepted():
                self._taker.take_accepted(message, carried)
            case Handed():
                self._taker.take_handed(message, carried)
            case _:
                self._questions.take(message)

    def _pass_on(self, worker: int, slots: Sequence[int], fds: Sequence[int]) -> bool:
        """Pass new clients to another worker; see ``downstream.placement``."""
        return self._outboxes[worker].send(Accepted(tuple(slots)), fds)

    def _meet(self, message: Peers) -> None:
        """There are other processes now."""
        count = len(message.workers)
        try:
            received = self._control.take_descriptors(1 + 2 * count + message.former)
        except ValueError as problem:
            self._unknown = str(problem)
            _logger.error("%(reason)s", {"reason": problem})
            return
        self._unknown = ""
        inboxes, rest = received[: 1 + count], received[1 + count :]
        outboxes = {}
        for number, descriptor in zip((self._number, *message.workers), inboxes, strict=True):
            if number in self._outboxes:
                # The inbox is the same for good, and a message may be on its way.
                outboxes[number] = self._outboxes.pop(number)
                os.close(descriptor)
            else:
                outboxes[number] = Outbox(self.data_plane.loop, descriptor)
        for outbox in self._outboxes.values():
            outbox.close()
        self._outboxes = outboxes
        tables = dict(zip(message.workers, map(_mapped, rest[:count]), strict=True))
        self.data_plane.set_peers(tables, [_mapped(each) for each in rest[count:]], self._pass_on)
        self._questions.set_others({number: outboxes[number] for number in message.workers})

    def on_message(self, message: object) -> None:
        """Do what a message of the supervisor says."""
        match message:
            case Peers():
                self._meet(message)
            case Resolved():
                self._resolutions.answered(message)
            case Prepare():
                self._prepare_beside(message)
            case Commit():
                self._commit()
                self._control.send(Committed())
            case Abandon():
                self._abandon()
            case HandOver():
                self._abandon()
                self._control.send(self._hand_over(message))
            case TakeOver():
                self.data_plane.await_clients(message.clients)
                self._taker.expect_former()
                self._accept()
            case TakenOver():
                self.data_plane.await_clients(0)
            case SetConfigStatus():
                self.data_plane.facts = message.status.facts()
            case Announce():
                self.data_plane.announce(message.number, message.seconds)
            case Quiesce():
                self.data_plane.quiesce(message.patience, lambda: self._control.send(Quiesced()))
            case Inspect():
                self._control.send(Inspected(message.number, inspect(self.data_plane)))
            case Drain():
                self.data_plane.drain(message.timeout, message.patience)
            case SetLogLevel():
                log.set_level(message.level)
                self.data_plane.set_verbosity(message.level)
            case Question():
                self._questions.take(message)
            case Took():
                self._questions.supervisor_took()
            case Ping():
                self._control.send(Pong())
            case ReopenLog():
                reopen_log()

    def _prepare(self, message: Start | Prepare, opened: Sequence[Address]) -> Update:
        """An update to the configuration of a message, which came with the listening sockets on the addresses
        ``opened``.
        """
        self._sockets = dict(zip(opened, self._control.take_descriptors(len(opened)), strict=True))
        self._client_limit = message.client_limit
        self._update = Update(self.data_plane, self._served, message.config, message.slots, self._resolutions)
        return self._update

    def _prepare_beside(self, message: Prepare) -> None:
        """Prepare while clients are served, and answer when that is done or has failed."""

        def answer(problem: str) -> None:
            self._control.send(Prepared(message.number, problem))

        try:
            update = self._prepare(message, message.opened)
        except ValueError as problem:
            answer(str(problem))
        else:
            update.prepare_beside(answer)

    def _hand_over(self, message: HandOver) -> HandingOver:
        """Begin to hand the clients over, if possible."""
        if not set(message.to) <= self._outboxes.keys():
            return HandingOver(0, self._unknown or "it does not know the workers that take its clients")
        self._inbox.close()
        self._questions.hear_no_more(self._outboxes[self._number] if self._number in message.to else None)
        self._giver = Giver(self.data_plane, self._number, self._outboxes, message.to, message.number, message.timeout)
        return HandingOver(len(self.data_plane.clients()))

    def _commit(self) -> None:
        """Serve what was prepared."""
        update, self._update = self._update, None
        if update is None:
            raise RuntimeError("nothing is prepared")
        sockets, self._sockets = self._sockets, {}
        self.data_plane.limit_clients(self._client_limit)
        update.commit(sockets)
        self._served = update.config
        self._taker.take_early()
        self._questions.take_early()

    def _abandon(self) -> None:
        """Drop what was prepared."""
        if self._update is not None:
            self._update.abandon()
            self._update = None
        for descriptor in self._sockets.values():
            os.close(descriptor)
        self._sockets.clear()


def _mapped(descriptor: int) -> CounterTable:
    """The table in the memory of a descriptor, which is closed."""
    try:
        return map_table(descriptor)
    finally:
        os.close(descriptor)


def serve(control: Control) -> None:
    """Serve the pools of the Start message, and of later ones, until a drain is complete."""
    start, others = control.receive_start()
    log.configure(start.log, start.number)
    worker = Worker(control, start)
    control.send(Ready())
    # Nearly all present objects live as long as the worker, so the garbage collector need not examine them again.
    gc.collect()
    gc.freeze()
    for message in others:
        worker.on_message(message)
    worker.data_plane.run()


def reopen_log() -> None:
    """Reopen the log file; if that fails, log the error and keep the old file."""
    try:
        log.reopen()
    except log.LogError as error:
        _logger.error("%(reason)s", {"reason": error})


def ignore_signals() -> None:
    """Ignore the signals that are for the supervisor."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def main() -> int:
    """Run a worker; returns its exit status: 0, or 1 if the supervisor is gone."""
    ignore_signals()
    control = Control(STANDARD_INPUT)
    try:
        serve(control)
    except (SupervisorGone, ConnectionResetError):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
