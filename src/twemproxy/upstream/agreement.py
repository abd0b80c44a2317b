"""The workers agree on where the channels of a pool are, after its route table has changed.

Plain Python. Each worker replaces its route table in a turn of its own. So that no message between clients of different
workers is lost, a worker asks the others until

- all route channels as it does, and no message that one of them has published by former routes is on its way: then it
  may unsubscribe at former servers (``may_leave``);
- all have the subscriptions of their clients where the routes lead: then its clients may publish there
  (``may_publish``).

Answers are cheap and an agreement is rare and short, so a worker asks again every PAUSE.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final

from twemproxy.config.pools import PoolConfig
from twemproxy.protocol.other_workers import CHANNELS, NO_OTHER_WORKERS, OtherWorkers, Question

PAUSE: Final = 3_000
"""Microseconds between two questions."""
PATIENCE: Final = 2_000_000
"""Microseconds without progress after which a worker does not wait for the agreement."""
OTHER_ROUTES: Final = -1
"""In place of a number: the worker has other routes."""

State = tuple[int, int]
"""Of one worker: (messages on their way by former routes, subscriptions that are not where the routes lead)."""


class Agreement:
    """The agreement of one pool. ``is_open``: it is not reached.

    ``may_leave``, ``may_publish``: see the module. Both are true while the agreement is not open.
    """

    def __init__(self, pool: Any, state: Callable[[], State], on_progress: Callable[[], None]) -> None:
        """``pool``: a ``upstream.server_pool.ServerPool``. ``state``: that of this worker.

        ``on_progress``: called when ``may_leave`` or ``may_publish`` has become true after ``begin``.
        """
        self._pool = pool
        self._state = state
        self._on_progress = on_progress
        self._timer = pool.timer(self._ask)
        self.others: OtherWorkers = NO_OTHER_WORKERS
        """The other workers; can be replaced."""
        self.is_open = False
        self.may_leave = self.may_publish = True
        self._question: Question | None = None
        self._used: _Digest | None = None
        self._prepared: _Digest | None = None
        self._agreed: _Places | None = _Places(pool)
        """Where channels were at the last agreement; None if topics may have left there."""
        self._digest = b""
        """Of the places where channels are; empty while nobody has asked for it."""
        self._to_do = 0
        self._progress_at = 0

    def prepare(self, config: PoolConfig) -> None:
        """The pool may get this configuration: prepare for that, so that ``begin`` takes less time."""
        if self.others.are_there():
            self._prepared = _Digest(config)

    def begin(self) -> None:
        """The pool has another route table, which may route channels otherwise."""
        if not self.others.are_there() and self._state()[0] == 0:
            # There is nobody to agree with.
            self._digest = b""
            was_open = self.is_open
            self._close()
            if was_open:
                self._on_progress()
            return
        before = self._digest
        self._digest = b""
        if self._present_digest() == before:
            return
        if self.is_open:
            self._agreed = None
        self.is_open = True
        self.may_leave = self.may_publish = False
        self._to_do = -1
        self._progress_at = self._pool.now()
        self._end_question()
        self._ask()

    def has_moved(self, name: bytes, server: Any) -> bool:
        """Whether a message on a channel, published at ``server`` now, would have gone elsewhere before ``begin``."""
        if self._agreed is None or self._agreed.address(server) != _Places(self._pool).address(server):
            return True
        return not self._pool.is_random() and self._agreed.routes.server_of_all([name]) is not server

    def answer(self, digest: bytes) -> State:
        """The answer to another worker, which has routes with this digest."""
        return self._state() if digest == self._present_digest() else (OTHER_ROUTES, OTHER_ROUTES)

    def wake(self) -> None:
        """The question is answered."""
        question = self._question
        self._question = None
        if question is not None and self.is_open:
            self._look([(number, int(text)) for number, text in question.rows])

    def _ask(self) -> None:
        if not self.is_open or self._question is not None:
            return
        question = self.others.ask(CHANNELS, (self._present_digest(),), self)
        self._question = question
        if question.done:
            self.wake()

    def _end_question(self) -> None:
        if self._question is not None:
            self._question.end()
            self._question = None

    def _look(self, others: Sequence[State]) -> None:
        """Look at the states of the other workers, and at that of this one."""
        now = self._pool.now()
        before = (self.may_leave, self.may_publish)
        own = self._state()
        to_do = sum(own) + sum(map(sum, others))
        if to_do != self._to_do:
            self._to_do = to_do
            self._progress_at = now
        late = self._progress_at + PATIENCE <= now
        # For its own subscriptions, this worker holds back the messages of each channel that misses one.
        self.may_publish = late or all(missing == 0 for _, missing in others)
        self.may_leave = self.may_leave or late or all(on_the_way == 0 for on_the_way, _ in (own, *others))
        if self.may_leave and self.may_publish:
            self._close()
        else:
            self._timer.arm(now + PAUSE)
        if before != (self.may_leave, self.may_publish):
            self._on_progress()

    def _close(self) -> None:
        self.is_open = False
        self.may_leave = self.may_publish = True
        self._agreed = _Places(self._pool)
        self._end_question()

    def _present_digest(self) -> bytes:
        """A digest of all that determines where a channel is now."""
        if not self._digest:
            config, routes = self._pool.config, self._pool.routes
            if self._used is None or self._used.config is not config:
                is_prepared = self._prepared is not None and self._prepared.config is config
                self._used = self._prepared if is_prepared else _Digest(config)
                self._prepared = None
            assert self._used is not None
            live = {*routes.live}
            ejected = bytes(server not in live for server in routes.servers)
            self._digest = blake2b(self._used.digest + ejected, digest_size=16).digest()
        return self._digest


class _Digest:
    """The digest of what a configuration says of the places of channels."""

    def __init__(self, config: PoolConfig) -> None:
        facts = [config.hash, config.distribution, config.hash_tag, *config.servers]
        self.config = config
        self.digest = blake2b(repr(facts).encode(), digest_size=16).digest()


class _Places:
    """Where the channels of a pool are: the route table, and the addresses of its servers."""

    def __init__(self, pool: Any) -> None:
        self.routes = pool.routes
        self._configs = pool.config.servers

    def address(self, server: Any) -> object:
        """The address of a server, None if it is not there."""
        try:
            return self._configs[self.routes.servers.index(server)].address
        except ValueError:
            return None
