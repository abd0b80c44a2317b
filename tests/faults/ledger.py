"""What a client knows of its keys, and what it therefore accepts as an answer.

Nobody else writes a client's keys, and its replies come in the order of its requests. So when a reply is looked at, the
outcome of everything before it is known: acknowledged, or failed, which means that it may have been executed, and may
still be for as long as its bytes lie in some buffer.
"""

import re
from typing import NamedTuple

LOG_LENGTH = 40
"""Entries after which a log is emptied."""

FILLER = bytes(range(33, 127)) * 256


class Violation(NamedTuple):
    """A reply that must not be: wrong, shifted, stale, lost, duplicated or closed; and what it was."""

    kind: str
    text: str


class Shard:
    """A server of the pool, as clients know it: whether it is in trouble, and what trouble may do to its data."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.in_trouble = False
        self.epoch = 0
        """Counts the beginnings and the ends of trouble."""
        self.may_lose = False
        """Whether trouble so far may have taken data away."""
        self.may_move = False
        """Whether trouble so far may have led requests to other servers, and back to old data."""

    def begin_trouble(self, *, may_lose: bool, may_move: bool) -> None:
        """Something is going to happen to the server."""
        self.may_lose |= may_lose
        self.may_move |= may_move
        self.in_trouble = True
        self.epoch += 1

    def end_trouble(self) -> None:
        """All is well again, and what clients sent before has been executed or never will be."""
        self.epoch += 1
        self.in_trouble = False


class Record:
    """A key: what has been sent, acknowledged, and may be. Sequence numbers begin at 1."""

    def __init__(self, key: bytes, shard: Shard) -> None:
        self.key = key
        self.shard = shard
        self.sent = 0
        """The last sequence number."""
        self.resolved = 0
        """The last sequence number whose outcome is known."""
        self.loose: set[int] = set()
        """Those that failed and may be executed nevertheless, now or later."""
        self._clean_epoch = 0
        self._premature: set[int] = set()

    def send(self) -> int:
        """The sequence number of a request that is sent now."""
        self.sent += 1
        return self.sent

    def fail(self, sequence: int) -> None:
        """The request of that number has an unknown outcome."""
        self.resolved = sequence
        self.loose.add(sequence)
        self._premature.discard(sequence)

    @property
    def is_clean(self) -> bool:
        """Whether nothing has happened to the server since the key was last written without trouble."""
        return self._clean_epoch == self.shard.epoch

    @property
    def may_be_missing(self) -> bool:
        """Whether trouble can be why there is no value."""
        return not self.is_clean and (self.shard.may_lose or self.shard.may_move)

    @property
    def may_be_old(self) -> bool:
        """Whether trouble can be why an older value is there."""
        return not self.is_clean and self.shard.may_move

    def _acknowledge(self, sequence: int, epoch: int) -> Violation | None:
        """A request that was sent in that epoch of its shard has been executed."""
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
        """Whether it was sent and is not answered yet. Then it is remembered, for it must fail now."""
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
        """What the write of that number stores: it names key and number, and every byte of it follows from them."""
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
        """Whether a read may give this; None is a miss."""
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
    """A key that is incremented: a number that says whether an increment was lost, or executed twice."""

    def __init__(self, key: bytes, shard: Shard) -> None:
        super().__init__(key, shard)
        self.seen = 0
        """The last answer."""
        self.acknowledged = 0
        self.unknown = 0
        """How many failed."""
        self.exists = False

    def fail(self, sequence: int) -> None:
        super().fail(sequence)
        self.unknown += 1

    def create(self) -> None:
        """It was made anew, with 0."""
        self.exists = True
        self.seen = 0

    def check(self, sequence: int, number: int | None, epoch: int) -> Violation | None:
        """Whether an increment may give this; None says that there is no such key."""
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
            # So many of those that failed were executed: they are settled.
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
        """What servers hold of it in the end: all together no more than was ever asked for."""
        most = self.acknowledged + self.unknown
        if sum(numbers) > most:
            return Violation("duplicated", f"{self.key!r}: servers count {numbers}, {most} were sent")
        return None


class Log(Record):
    """A key that is appended to: what is in it shows which writes were executed, how often and in which order."""

    def __init__(self, key: bytes, shard: Shard) -> None:
        super().__init__(key, shard)
        self.entries: list[int] = []
        """Appends that were acknowledged since it was emptied."""
        self.exists = False
        self._muddled = False
        """Whether it is unknown since when."""
        self.since = 0
        """Appends sent since it was asked to be emptied."""

    def entry(self, sequence: int) -> bytes:
        """What the append of that number adds."""
        return b"<%s %d>" % (self.key, sequence)

    def fail_emptying(self, sequence: int) -> None:
        """Whether it was emptied is unknown."""
        self.fail(sequence)
        self._muddled = True

    def emptied(self, sequence: int, epoch: int) -> Violation | None:
        """It is empty."""
        problem = self._acknowledge(sequence, epoch)
        self.entries.clear()
        self.exists = True
        self._muddled = False
        self._written(epoch)
        return problem

    def appended(self, sequence: int, done: bool, epoch: int) -> Violation | None:
        """An append was done, or refused because there was nothing to append to."""
        if not done:
            self.resolved = sequence
            if not self.exists or self.may_be_missing or self._muddled:
                self.exists = False
                return None
            return Violation("stale", f"{self.key!r}: nothing to append to")
        self.entries.append(sequence)
        return self._acknowledge(sequence, epoch)

    def check(self, value: bytes | None) -> Violation | None:
        """Whether a read may give this."""
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
    """Bytes behind the head of a value: mostly few, now and then more than fits a block, or a segment."""
    if sequence % 97 == 0:
        return 20_000
    return 5_000 if sequence % 31 == 0 else sequence * 7 % 60
