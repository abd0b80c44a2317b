"""What the workers ask and tell each other about the clients of a pool, see ``protocol.other_workers``. Plain Python.

A question goes to all other workers. A worker that is silent for PATIENCE is not waited for: it was killed or stopped,
and is not asked again before it has sent something. The supervisor asks, too, and is answered by messages of its own.
An answer is made in steps, in several turns of the event loop, and each part of it is sent at once.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from twemproxy import log
from twemproxy.ipc.inbox import EXPLAIN_CLIENT, SUPERVISOR, Audiences, Message, Notice, PoolKey, Question, Rows
from twemproxy.protocol.other_workers import Row
from twemproxy.protocol.redis.for_other_workers import ANSWERS, FOR_ANY_PROTOCOL, NOTICES
from twemproxy.protocol.redis.scripts import SCRIPTS
from twemproxy.worker.inbox import Outbox
from twemproxy.worker.inspection import explain_client

PATIENCE: Final = 1_000_000
"""Microseconds of silence after which a worker is not waited for."""
STEPS: Final = 2
"""Steps of answers per turn of the event loop, about a millisecond together."""
MOST_EARLY: Final = 100
"""Most messages about pools of another configuration that are kept."""
MOST_UNREAD: Final = 4
"""Most parts of answers, of some thousand bytes each, that the supervisor has not read."""
PAUSE: Final = 5_000
"""Microseconds until the next look at inboxes that were full, or not known yet."""

_logger = log.get_logger(__name__)


class _Inquiry:
    """A question of this worker, until it is done; see ``protocol.other_workers.Question``."""

    def __init__(
        self, client: Any, waiting: set[int], deadline: int, on_end: Callable[[], None], *, is_patient: bool
    ) -> None:
        """``waiting``: the workers that have not answered. ``on_end``: called by ``end``.

        ``is_patient``: whether a worker that does not answer in time is asked again.
        """
        self.is_patient = is_patient
        self.done = False
        self.rows: list[Row] = []
        self.waiting = waiting
        self.deadline = deadline
        self._clients = [client]
        self._on_end = on_end

    def wake_too(self, client: Any) -> None:
        """Wake this client, too."""
        self._clients.append(client)

    def look(self) -> None:
        """Wake the client if no worker is waited for any more."""
        if not self.waiting and not self.done:
            self.end()
            for client in self._clients:
                client.wake()

    def end(self) -> None:
        """No more rows are wanted."""
        self.done = True
        self._on_end()


class _Answer:
    """An answer of this worker, until it is complete."""

    def __init__(self, question: Question, steps: Iterator[Sequence[Row]], now: int) -> None:
        """``now``: the time, in microseconds."""
        self.question = question
        self.steps = steps
        self.went_on = now
        """When the last part was sent."""


class _Supervisor:
    """The way to the supervisor. ``unread``: how many messages it has not read yet.

    The socket has room for MOST_UNREAD, so that the worker never waits for the supervisor.
    """

    def __init__(self, send: Callable[[Rows], None]) -> None:
        self.unread = 0
        self._send = send

    def is_full(self) -> bool:
        """Whether it has to read some before it is sent more."""
        return self.unread >= MOST_UNREAD

    def send(self, message: Rows) -> None:
        """Send a part of an answer."""
        self.unread += 1
        self._send(message)


class _NewWorker:
    """What this worker has to learn from another one: a client of its own question.

    ``on_done``: called with the rows of the answer.
    """

    def __init__(self, on_done: Callable[[Sequence[Row]], None]) -> None:
        self.inquiry: _Inquiry | None = None
        self._on_done = on_done

    def wake(self) -> None:
        """The answer is complete."""
        if self.inquiry is not None:
            self._on_done(self.inquiry.rows)


class PoolElsewhere:
    """One pool in the other workers: a ``protocol.other_workers.OtherWorkers``."""

    def __init__(self, questions: "Questions", pool: Any) -> None:
        self._questions = questions
        self._pool = pool

    def are_there(self) -> bool:
        """Whether there are other workers."""
        return self._questions.are_others_there()

    def ask(self, what: str, arguments: Sequence[bytes], client: Any) -> _Inquiry:
        """Ask all of them."""
        return self._questions.ask(key_of(self._pool), what, arguments, client)

    def tell(self, what: str, arguments: Sequence[bytes]) -> None:
        """Send a notice to all of them."""
        self._questions.tell(key_of(self._pool), what, arguments)

    def tell_audiences(self, topics: Sequence[tuple[str, bytes, int, int]], anew: bool) -> None:
        """Tell all of them about topics; if one misses that, all will be told anew."""
        self._questions.tell_audiences(self._pool, topics, anew)


def key_of(pool: Any) -> PoolKey:
    """Which pool it is for the other workers."""
    config = pool.config
    return PoolKey(pool.slot, config.redis, config.redis_db, config.databases)


class Questions:
    """What one worker asks, answers and tells."""

    def __init__(self, data_plane: Any, worker: int, process: int) -> None:
        """``data_plane``: a ``worker.data_plane.DataPlane``. ``worker``: the number of this worker. ``process``: the id
        of this process.
        """
        self._data_plane = data_plane
        self._number = worker
        self._process = process
        self._others: dict[int, Outbox] = {}
        """The ways to the other workers, by their numbers."""
        self._told: list[Outbox] = []
        """The ways to the other processes that are told something."""
        self._has_met = self._is_leaving = False
        self._successor: list[Outbox] = []
        self._supervisor: _Supervisor | None = None
        self._asked = 0
        self._inquiries: dict[int, _Inquiry] = {}
        self._silent: set[int] = set()
        self._answers: deque[_Answer] = deque()
        self._late: set[Any] = set()
        self._early: deque[Notice | Audiences] = deque(maxlen=MOST_EARLY)
        self._deadline_timer = data_plane.timer(self._look)
        self._answer_timer = data_plane.timer(self._answer)
        self._late_timer = data_plane.timer(self._tell_late)

    def meet_supervisor(self, send: Callable[[Rows], None]) -> None:
        """The supervisor asks questions, too. ``send``: sends it rows."""
        self._supervisor = _Supervisor(send)

    def supervisor_took(self) -> None:
        """The supervisor has read some rows."""
        if self._supervisor is not None:
            self._supervisor.unread -= 1

    def elsewhere(self, pool: Any) -> PoolElsewhere:
        """A pool in the other workers."""
        return PoolElsewhere(self, pool)

    def _pools(self) -> list[Any]:
        return [*self._data_plane.pools, *self._data_plane.retired]

    def _pool(self, key: PoolKey) -> Any:
        """The pool with this key, None if there is none."""
        return next((pool for pool in self._pools() if key_of(pool) == key), None)

    def are_others_there(self) -> bool:
        """Whether there are other processes of workers."""
        return bool(self._told)

    def set_others(self, others: Mapping[int, Outbox]) -> None:
        """There are these other workers now, or other processes of them."""
        self._others = {} if self._is_leaving else dict(others)
        self._told = [*others.values(), *self._successor]
        self._silent.clear()
        for inquiry in list(self._inquiries.values()):
            inquiry.waiting &= self._others.keys()
            inquiry.look()
        self._tell_anew(self._pools())
        if not self._has_met and self._others:
            self._has_met = True
            for pool in self._pools():
                if pool.config.redis:
                    self._learn_scripts(key_of(pool), sorted(self._others))

    def hear_no_more(self, successor: Outbox | None) -> None:
        """The inbox is not read any more: ask nothing, and wait for no answer. ``successor``: the way to the process
        that has the number of this worker now; it is told what the other workers are told.
        """
        self._is_leaving = True
        self._others = {}
        if successor is not None:
            self._successor = [successor]
            self._told.append(successor)
            self._tell_anew(self._pools())
        for inquiry in list(self._inquiries.values()):
            inquiry.waiting.clear()
            inquiry.look()

    def _tell_anew(self, pools: Iterable[Any]) -> None:
        for pool in pools:
            pool.others_changed(_is_running)

    def _learn_scripts(self, key: PoolKey, workers: Sequence[int]) -> None:
        """Learn the scripts of the first of these workers that has some: this one is new."""
        if not workers:
            return

        def learn(rows: Sequence[Row]) -> None:
            pool = self._pool(key)
            if rows and pool is not None:
                for _, body in rows:
                    pool.codec.scripts.learn(body)
            else:
                self._learn_scripts(key, workers[1:])

        new = _NewWorker(learn)
        new.inquiry = self.ask(key, SCRIPTS, (), new, workers[:1])
        if new.inquiry.done:
            new.wake()

    # --- questions -------------------------------------------------------------------------------------------

    def ask(
        self, pool: PoolKey, what: str, arguments: Sequence[bytes], client: Any, workers: Sequence[int] | None = None
    ) -> _Inquiry:
        """See ``protocol.other_workers.OtherWorkers``. ``workers``: those that are asked, None for all."""
        self._asked += 1
        number = self._asked
        waiting = self._others.keys() - self._silent
        if workers is not None:
            waiting &= {*workers}
        deadline = self._data_plane.loop.now + PATIENCE

        def on_end() -> None:
            self._inquiries.pop(number, None)

        # A new worker asks a single one, which may be about to start, too.
        inquiry = _Inquiry(client, waiting, deadline, on_end, is_patient=workers is not None)
        inquiry.done = not waiting
        if waiting:
            self._inquiries[number] = inquiry
            self._deadline_timer.arm_by(deadline)
        for worker in sorted(waiting):
            message = Question(worker, self._number, self._process, number, pool, what, tuple(arguments))
            self._others[worker].send(message)
        return inquiry

    def _look(self) -> None:
        """A worker may have been silent for too long."""
        now = self._data_plane.loop.now
        for inquiry in list(self._inquiries.values()):
            if inquiry.deadline <= now:
                if not inquiry.is_patient:
                    for worker in sorted(inquiry.waiting - self._silent):
                        _logger.warning(
                            "worker %(other_worker)d does not answer: replies about all clients lack its clients",
                            {"other_worker": worker},
                        )
                    self._silent |= inquiry.waiting
                inquiry.waiting.clear()
                inquiry.look()
        if open_ones := [inquiry.deadline for inquiry in self._inquiries.values() if not inquiry.done]:
            self._deadline_timer.arm_by(min(open_ones))

    def _take_rows(self, message: Rows) -> None:
        self._silent.discard(message.worker)
        inquiry = self._inquiries.get(message.number) if message.process == self._process else None
        if inquiry is None or message.worker not in inquiry.waiting:
            return
        inquiry.rows += message.rows
        inquiry.deadline = self._data_plane.loop.now + PATIENCE
        if message.last:
            inquiry.waiting.discard(message.worker)
            inquiry.look()

    # --- answers ---------------------------------------------------------------------------------------------

    def _take_question(self, message: Question) -> None:
        if message.to == self._number:
            now = self._data_plane.loop.now
            self._answers.append(_Answer(message, self._steps_to(message), now))
            self._answer_timer.arm(now)

    def _steps_to(self, question: Question) -> Iterator[Sequence[Row]]:
        pool = self._pool(question.pool)
        if pool is not None and question.what == EXPLAIN_CLIENT:
            yield from explain_client(question.arguments, pool)
        elif pool is not None and (pool.config.redis or question.what in FOR_ANY_PROTOCOL):
            yield from ANSWERS[question.what](question.arguments, pool)

    def _answer(self) -> None:
        """Do the next steps of the answers, each in turn."""
        now = self._data_plane.loop.now
        left = STEPS
        waiting = 0
        while left > 0 and waiting < len(self._answers):
            answer = self._answers.popleft()
            worker = answer.question.worker
            outbox = self._supervisor if worker == SUPERVISOR else self._others.get(worker)
            if answer.went_on + PATIENCE < now:
                # Nobody waits for the rest.
                continue
            # A new worker may ask before this one knows of it.
            if outbox is not None and not outbox.is_full():
                left -= 1
                waiting = 0
                answer.went_on = now
                if not self._send_part(answer, outbox):
                    continue
            else:
                waiting += 1
            self._answers.append(answer)
        if self._answers:
            self._answer_timer.arm(now if left < STEPS else now + PAUSE)

    def _send_part(self, answer: _Answer, outbox: "Outbox | _Supervisor") -> bool:
        """Do the next step of an answer; returns whether more steps follow."""
        question = answer.question
        try:
            rows = next(answer.steps, None)
        except Exception:
            # A defect may end neither this worker nor, by the same question, all others.
            _logger.exception(
                "error inside the proxy, a question of worker %(other_worker)d has no answer",
                {"other_worker": question.worker},
            )
            rows = None
        if rows is None or rows:
            outbox.send(Rows(self._number, question.process, question.number, tuple(rows or ()), rows is None))
        return rows is not None

    # --- notices ---------------------------------------------------------------------------------------------

    def tell(self, pool: PoolKey, what: str, arguments: Sequence[bytes]) -> None:
        """See ``protocol.other_workers.OtherWorkers``."""
        message = Notice(self._process, pool, what, tuple(arguments))
        for outbox in self._told:
            if not outbox.is_full():
                outbox.send(message)

    def tell_audiences(self, pool: Any, topics: Sequence[tuple[str, bytes, int, int]], anew: bool) -> None:
        """See ``protocol.other_workers.OtherWorkers``."""
        message = Audiences(self._process, key_of(pool), tuple(topics), anew)
        for outbox in self._told:
            if outbox.is_full():
                self._late.add(pool)
                self._late_timer.arm_by(self._data_plane.loop.now + PATIENCE)
            else:
                outbox.send(message)

    def _tell_late(self) -> None:
        """Tell audiences anew that some worker has missed, when every worker reads its inbox."""
        if any(outbox.is_full() for outbox in self._told):
            self._late_timer.arm_by(self._data_plane.loop.now + PATIENCE)
            return
        late, self._late = self._late, set()
        self._tell_anew(pool for pool in self._pools() if pool in late)

    # --- the inbox -------------------------------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """Do what a message of another worker says; those about the clients themselves are not for here."""
        match message:
            case Question():
                self._take_question(message)
            case Rows():
                self._take_rows(message)
            case Notice() | Audiences() if message.process != self._process:
                if (pool := self._pool(message.pool)) is not None:
                    _hear(pool, message)
                else:
                    # The sender has another configuration already, or still.
                    self._early.append(message)

    def take_early(self) -> None:
        """Another configuration is served now: do what messages say that came before it."""
        early = list(self._early)
        self._early.clear()
        for message in early:
            if (pool := self._pool(message.pool)) is not None:
                _hear(pool, message)


def _hear(pool: Any, message: Notice | Audiences) -> None:
    """Have a pool know what another worker tells."""
    if isinstance(message, Notice):
        if pool.config.redis and message.what in NOTICES:
            NOTICES[message.what](message.arguments, pool)
    elif _is_running(message.process):
        pool.hear_audiences(message.process, message.topics, message.anew)


def _is_running(process: int) -> bool:
    """Whether a process with this id has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
