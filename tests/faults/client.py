"""A client that owns its keys and verifies every reply."""

import random
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from faults.dialects import Dialect, Failure, UnfittingError
from faults.ledger import LOG_LENGTH, Counter, Log, Register, Violation
from faults.requests import Append, Create, Delete, Empty, Increment, Read, Request, SilentWrite, Write
from faults.tally import ROAMING, Tally

MOST_PIPELINED = 16


class Keys(NamedTuple):
    """The keys of a client."""

    registers: Sequence[Register]
    counters: Sequence[Counter]
    logs: Sequence[Log]


class Client:
    """One client without its connection: it makes the bytes to send and verifies the received bytes."""

    def __init__(self, dialect: Dialect, keys: Keys, tally: Tally, choose: random.Random) -> None:
        self.dialect = dialect
        self.keys = keys
        self.tally = tally
        self.choose = choose
        self.shards = {record.shard.index for records in keys for record in records}
        self.home = next(iter(self.shards)) if len(self.shards) == 1 else ROAMING
        """The shard of all its keys, or ROAMING."""
        self.pending: deque[Request] = deque()
        self.began = 0
        """The number of pipelines that were sent."""
        self.completed = 0
        """The number of pipelines that were answered."""
        self.failed = 0
        """The number of the last pipeline with an error."""
        self.failures = 0
        """How many pipelines had an error."""
        self._received = bytearray()

    def pipeline(self) -> bytes:
        """The bytes of the next pipeline. All earlier requests must be answered."""
        self.began += 1
        made = [self._request() for _ in range(self.choose.randint(1, MOST_PIPELINED))]
        # A silent request is never the last: it is settled by the reply to a later request.
        made.append(Read([self.choose.choice(self.keys.registers)]))
        self.pending.extend(made)
        return b"".join(request.encode(self.dialect) for request in made)

    def take(self, data: bytes) -> bool:
        """Verify received bytes; False if the connection cannot be used any more."""
        self._received += data
        start = 0
        while start < len(self._received):
            try:
                found = self.dialect.read(self._received, start)
            except UnfittingError as error:
                self.tally.violation(Violation("wrong", f"not of this protocol: {error}"))
                return False
            if found is None:
                break
            reply, start = found
            if not self._answer(reply):
                return False
        del self._received[:start]
        return True

    def lose(self) -> None:
        """The connection is lost: pending requests get no reply."""
        for request in self.pending:
            request.fail()
        if self.pending:
            self._note_failure()
        self.pending.clear()
        self._received.clear()
        self.completed = self.began

    def _answer(self, reply: object) -> bool:
        self._skip_silent()
        if not self.pending:
            self.tally.violation(Violation("duplicated", f"nobody asked for {reply!r}"[:200]))
            return False
        request = self.pending.popleft()
        self.tally.answered += 1
        if isinstance(reply, Failure):
            request.fail()
            self.tally.error(reply, request.shards)
            self._note_failure()
        else:
            try:
                for problem in request.settle(self.dialect, reply):
                    if problem is not None:
                        self.tally.violation(problem)
            except UnfittingError as error:
                self.tally.violation(Violation("shifted", f"{type(request).__name__} was answered {error}"))
                request.fail()
                return False
        if not self.pending:
            self.completed = self.began
        return True

    def _skip_silent(self) -> None:
        while self.pending and not self.pending[0].wants_reply:
            self.pending.popleft().fail()

    def _note_failure(self) -> None:
        if self.failed != self.began:
            self.failed = self.began
            self.failures += 1

    def _request(self) -> Request:
        choose, keys = self.choose, self.keys
        kind = choose.random()
        if kind < 0.30:
            return Read([choose.choice(keys.registers)])
        if kind < 0.55:
            return Write([choose.choice(keys.registers)])
        if kind < 0.67:
            return Read(choose.sample(keys.registers, choose.randint(2, len(keys.registers))))
        if kind < 0.72:
            if self.dialect.has_multi_set:
                return Write(choose.sample(keys.registers, choose.randint(2, len(keys.registers))))
            return SilentWrite([choose.choice(keys.registers)])
        if kind < 0.76:
            return Delete(choose.choice(keys.registers))
        if kind < 0.88:
            counter = choose.choice(keys.counters)
            return Increment(counter) if counter.exists or self.dialect.creates else Create(counter)
        log = choose.choice(keys.logs)
        if log.since >= LOG_LENGTH or not (log.exists or self.dialect.creates):
            return Empty(log)
        return Append(log) if kind < 0.95 else Read([log])
