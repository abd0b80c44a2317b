"""What a client knows of its keys, and which replies it therefore accepts.

No other client writes these keys, and replies come in the order of requests. So when a reply is checked, the outcome of
every earlier request is known: acknowledged or failed. A failed request may have been executed, and may still be
executed while its bytes are in some buffer.
"""

import re
from typing import NamedTuple

LOG_LENGTH = 40
"""The number of entries after which a log is emptied."""

FILLER = bytes(range(33, 127)) * 256


class Violation(NamedTuple):
    """A reply that is not allowed; its kind is wrong, shifted, stale, lost, duplicated or closed."""

    kind: str
    text: str


class Shard:
    """A server of the pool, as clients see it: whether it is in trouble, and what trouble may do to its data."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.in_trouble = False
        self.epoch = 0
        """Counts the beginnings and ends of trouble."""
        self.may_lose = False
        """Whether trouble so far may have deleted data."""
        self.may_move = False
        """Whether trouble so far may have moved requests to other servers, and back to old data."""

    def begin_trouble(self, *, may_lose: bool, may_move: bool) -> None:
        """A fault of the server begins."""
        self.may_lose |= may_lose
        self.may_move |= may_move
        self.in_trouble = True
        self.epoch += 1

    def end_trouble(self) -> None:
        """The fault is over: requests that clients sent before have been executed, or never will be."""
        self.epoch += 1
        self.in_trouble = False


class Record:
    """A key, with its requests: sent, acknowledged, or of unknown outcome. Sequence numbers begin at 1."""

    def __init__(self, key: bytes, shard: Shard) -> None:
        self.key = key
        self.shard = shard
        self.sent = 0
        """The sequence number of the last request."""
        self.resolved = 0
        """The last sequence number whose outcome is known."""
        self.loose: set[int] = set()
        """Failed requests that may be executed nevertheless, now or later."""
        self._clean_epoch = 0
        self._premature: set[int] = set()

    def send(self) -> int:
        """The sequence number of a request that is sent now."""
        self.sent += 1
        return self.sent

    def fail(self, sequence: int) -> None:
        """The request with this number has an unknown outcome."""
        self.resolved = sequence
        self.loose.add(sequence)
        self._premature.discard(sequence)

    @property
    def is_clean(self) -> bool:
        """Whether trouble has neither begun nor ended since the key was last written without trouble."""
        return self._clean_epoch == self.shard.epoch

    @property
    def may_be_missing(self) -> bool:
        """Whether trouble may be the reason for a missing value."""
        return not self.is_clean and (self.shard.may_lose or self.shard.may_move)

    @property
    def may_be_old(self) -> bool:
        """Whether trouble may be the reason for an older value."""
        return not self.is_clean and self.shard.may_move

    def _acknowledge(self, sequence: int, epoch: int) -> Violation | None:
        """A request that was sent in this epoch of its shard has been executed."""
        self.resolved = sequence
        if sequence in self._premature:
            self._premature.discard(sequence)
            return Violation("shifted", f"{self.key!r}: an earlier reply knew of request {sequence} already")
        return None

    def _written(self, epoch: int) -> None:
        if epoch == self.shard.epoch and not self.shard.in_trouble:
            self._clean_epoch = epoch
            self.loose.clear()

    def _is_ahead(self, sequence: int) -> bool:
        """Whether the request is sent and not answered; then it is recorded, because it must fail."""
        if self.resolved < sequence <= self.sent:
            self._premature.add(sequence)
            return True
        return False

    def _foreign(self, value: bytes) -> Violation:
        kind = "shifted" if _OWNER.match(value) else "wrong"
        return Violation(kind, f"{self.key!r}: {value[:60]!r} of {len(value)} bytes")


_OWNER = re.compile(rb"<[^ >]+ [0-9]+>")
_ENTRY = re.compile(rb"<([^ >]+) ([0-9]+)>")


class Register(Record):
    """A key that is set, read and deleted."""

    def __init__(self, key: bytes, shard: Shard) -> None:
        super().__init__(key, shard)
        self.current = 0
        """The last write that was acknowledged."""
        self._deletions: set[int] = {0}

    def value(self, sequence: int) -> bytes:
        """The value that the write with this number stores: key and number are in it and determine every byte."""
        head = b"<%s %d>" % (self.key, sequence)
        return head + FILLER[sequence % 94 : sequence % 94 + _length(sequence)]

    def send_deletion(self) -> int:
        """The sequence number of a deletion that is sent now."""
        sequence = self.send()
        self._deletions.add(sequence)
        return sequence

    def acknowledge(self, sequence: int, epoch: int) -> Violation | None:
        """A write or deletion succeeded."""
        problem = self._acknowledge(sequence, epoch)
        self.current = sequence
        self._written(epoch)
        self._deletions = {one for one in self._deletions if one in self.loose or one >= sequence}
        return problem

    def check(self, value: bytes | None) -> Violation | None:
        """Check that a read may return this value; None is a miss."""
        if value is None:
            if self.current in self._deletions or self.loose & self._deletions or self.may_be_missing:
                return None
            return self._check_nothing()
        match = _ENTRY.match(value)
        if match is None or match[1] != self.key:
            return self._foreign(value)
        sequence = int(match[2])
        if not 0 < sequence <= self.sent or value != self.value(sequence):
            return Violation("wrong", f"{self.key!r}: {value[:60]!r} was never written")
        if sequence == self.current or sequence in self.loose or self._is_ahead(sequence):
            return None
        if self.may_be_old:
            return None
        return Violation("stale", f"{self.key!r}: {sequence} instead of {self.current}")

    def _check_nothing(self) -> Violation | None:
        for sequence in self._deletions:
            if self._is_ahead(sequence):
                return None
        return Violation("stale", f"{self.key!r}: nothing instead of {self.current}")


class Counter(Record):
    """A key that is incremented: its number shows whether an increment was lost or executed twice."""

    def __init__(self, key: bytes, shard: Shard) -> None:
        super().__init__(key, shard)
        self.seen = 0
        """The last number that an increment returned."""
        self.acknowledged = 0
        self.unknown = 0
        """The number of failed increments."""
        self.exists = False

    def fail(self, sequence: int) -> None:
        super().fail(sequence)
        self.unknown += 1

    def create(self) -> None:
        """The counter was created again, with 0."""
        self.exists = True
        self.seen = 0

    def check(self, sequence: int, number: int | None, epoch: int) -> Violation | None:
        """Check that an increment may return this number; None means that there is no such key."""
        if number is None:
            self.resolved = sequence
            if not self.exists or self.may_be_missing:
                self.exists = False
                return None
            return Violation("stale", f"{self.key!r}: no counter instead of {self.seen + 1}")
        problem = self._acknowledge(sequence, epoch) or self._judge(number)
        self.acknowledged += 1
        self.exists = True
        if problem is None and number > self.seen + 1:
            # Failed increments of this number were executed: their outcome is known now.
            for one in sorted(self.loose)[: number - self.seen - 1]:
                self.loose.discard(one)
        self.seen = number
        self._written(epoch)
        return problem

    def _judge(self, number: int) -> Violation | None:
        if self.seen < number <= self.seen + 1 + len(self.loose):
            return None
        if (self.may_be_missing or self.may_be_old) and 0 < number <= self.acknowledged + self.unknown + 1:
            return None
        kind = "stale" if number <= self.seen else "duplicated"
        return Violation(kind, f"{self.key!r}: {number} after {self.seen}, with {len(self.loose)} unknown")

    def audit(self, numbers: list[int]) -> Violation | None:
        """Check that the numbers of all servers add up to no more increments than were sent."""
        most = self.acknowledged + self.unknown
        if sum(numbers) > most:
            return Violation("duplicated", f"{self.key!r}: servers count {numbers}, {most} were sent")
        return None


class Log(Record):
    """A key that is appended to: its value shows which appends were executed, how often, and in which order."""

    def __init__(self, key: bytes, shard: Shard) -> None:
        super().__init__(key, shard)
        self.entries: list[int] = []
        """Acknowledged appends since the log was emptied."""
        self.exists = False
        self._muddled = False
        """Whether it is unknown when the log was emptied."""
        self.since = 0
        """The number of appends that were sent since the last request to empty the log."""

    def entry(self, sequence: int) -> bytes:
        """The bytes that the append with this number adds."""
        return b"<%s %d>" % (self.key, sequence)

    def fail_emptying(self, sequence: int) -> None:
        """It is unknown whether the log was emptied."""
        self.fail(sequence)
        self._muddled = True

    def emptied(self, sequence: int, epoch: int) -> Violation | None:
        """The log was emptied."""
        problem = self._acknowledge(sequence, epoch)
        self.entries.clear()
        self.exists = True
        self._muddled = False
        self._written(epoch)
        return problem

    def appended(self, sequence: int, done: bool, epoch: int) -> Violation | None:
        """An append was executed, or refused because the key was missing."""
        if not done:
            self.resolved = sequence
            if not self.exists or self.may_be_missing or self._muddled:
                self.exists = False
                return None
            return Violation("stale", f"{self.key!r}: nothing to append to")
        self.entries.append(sequence)
        return self._acknowledge(sequence, epoch)

    def check(self, value: bytes | None) -> Violation | None:
        """Check that a read may return this value; None is a miss."""
        if value is None:
            if not self.exists or self.may_be_missing or self._muddled:
                return None
            return Violation("stale", f"{self.key!r}: nothing instead of {len(self.entries)} entries")
        came = [(match[1], int(match[2])) for match in _ENTRY.finditer(value)]
        numbers = [number for key, number in came if key == self.key]
        if b"".join(self.entry(number) for number in numbers) != value or max(numbers, default=0) > self.sent:
            return self._foreign(value)
        if len(set(numbers)) < len(numbers):
            return Violation("duplicated", f"{self.key!r}: {numbers}")
        if self._muddled or self.may_be_missing or self.may_be_old:
            return None
        acknowledged = set(self.entries)
        if [number for number in numbers if number in acknowledged] != self.entries:
            return Violation("stale", f"{self.key!r}: {numbers} instead of {self.entries}")
        for number in numbers:
            if number not in acknowledged and number not in self.loose and not self._is_ahead(number):
                return Violation("stale", f"{self.key!r}: {numbers} instead of {self.entries}")
        return None


def _length(sequence: int) -> int:
    """The number of bytes after the head of a value: usually few, sometimes more than fits a block or a segment."""
    if sequence % 97 == 0:
        return 20_000
    return 5_000 if sequence % 31 == 0 else sequence * 7 % 60
