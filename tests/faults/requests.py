"""The requests of a client: their bytes, and the replies that they allow."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from faults.dialects import Dialect
from faults.ledger import Counter, Log, Record, Register, Violation


class Request(ABC):
    """One request, from sending to its reply. Creating the object enters the request into the ledger."""

    wants_reply = True

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.epochs = [record.shard.epoch for record in records]
        self.shards = frozenset(record.shard.index for record in records)

    @abstractmethod
    def encode(self, dialect: Dialect) -> bytes:
        """The bytes of the request."""

    @abstractmethod
    def settle(self, dialect: Dialect, reply: object) -> Iterator[Violation | None]:
        """Check a reply that is no error, and yield violations; ``UnfittingError`` if it is no reply to this."""

    @abstractmethod
    def fail(self) -> None:
        """The request got an error or no reply."""


class Read(Request):
    """Reads keys: one or several registers, or logs."""

    def __init__(self, records: Sequence[Register | Log]) -> None:
        super().__init__(records)
        self.read = records

    def encode(self, dialect: Dialect) -> bytes:
        return dialect.get([record.key for record in self.read])

    def settle(self, dialect: Dialect, reply: object) -> Iterator[Violation | None]:
        values = dialect.values(reply, [record.key for record in self.read])
        return (record.check(value) for record, value in zip(self.read, values, strict=True))

    def fail(self) -> None:
        pass


class Write(Request):
    """Sets one register or several registers."""

    def __init__(self, registers: Sequence[Register]) -> None:
        super().__init__(registers)
        self.registers = registers
        self.sequences = [register.send() for register in registers]

    def encode(self, dialect: Dialect) -> bytes:
        pairs = [
            (register.key, register.value(sequence))
            for register, sequence in zip(self.registers, self.sequences, strict=True)
        ]
        return dialect.set_many(pairs) if len(pairs) > 1 else dialect.set(*pairs[0], silent=not self.wants_reply)

    def settle(self, dialect: Dialect, reply: object) -> Iterator[Violation | None]:
        if not dialect.is_stored(reply):
            yield Violation("wrong", f"{self.registers[0].key!r}: {reply!r} to a set")
        for register, sequence, epoch in zip(self.registers, self.sequences, self.epochs, strict=True):
            yield register.acknowledge(sequence, epoch)

    def fail(self) -> None:
        for register, sequence in zip(self.registers, self.sequences, strict=True):
            register.fail(sequence)


class SilentWrite(Write):
    """Sets a register without a reply: the outcome stays unknown."""

    wants_reply = False


class Delete(Request):
    """Deletes a register."""

    def __init__(self, register: Register) -> None:
        super().__init__([register])
        self.register = register
        self.sequence = register.send_deletion()

    def encode(self, dialect: Dialect) -> bytes:
        return dialect.delete(self.register.key)

    def settle(self, dialect: Dialect, reply: object) -> Iterator[Violation | None]:
        dialect.is_deleted(reply)
        yield self.register.acknowledge(self.sequence, self.epochs[0])

    def fail(self) -> None:
        self.register.fail(self.sequence)


class Increment(Request):
    """Increments a counter."""

    def __init__(self, counter: Counter) -> None:
        super().__init__([counter])
        self.counter = counter
        self.sequence = counter.send()

    def encode(self, dialect: Dialect) -> bytes:
        return dialect.increment(self.counter.key)

    def settle(self, dialect: Dialect, reply: object) -> Iterator[Violation | None]:
        yield self.counter.check(self.sequence, dialect.number(reply), self.epochs[0])

    def fail(self) -> None:
        self.counter.fail(self.sequence)


class Create(Request):
    """Creates a counter that is missing."""

    def __init__(self, counter: Counter) -> None:
        super().__init__([counter])
        self.counter = counter

    def encode(self, dialect: Dialect) -> bytes:
        return dialect.create(self.counter.key)

    def settle(self, dialect: Dialect, reply: object) -> Iterator[Violation | None]:
        if dialect.is_stored(reply):
            self.counter.create()
        yield None

    def fail(self) -> None:
        pass


class Append(Request):
    """Appends an entry to a log."""

    def __init__(self, log: Log) -> None:
        super().__init__([log])
        self.log = log
        self.sequence = log.send()
        log.since += 1

    def encode(self, dialect: Dialect) -> bytes:
        return dialect.append(self.log.key, self.log.entry(self.sequence))

    def settle(self, dialect: Dialect, reply: object) -> Iterator[Violation | None]:
        yield self.log.appended(self.sequence, dialect.is_appended(reply), self.epochs[0])

    def fail(self) -> None:
        self.log.fail(self.sequence)


class Empty(Request):
    """Empties a log."""

    def __init__(self, log: Log) -> None:
        super().__init__([log])
        self.log = log
        self.sequence = log.send()
        log.since = 0

    def encode(self, dialect: Dialect) -> bytes:
        return dialect.set(self.log.key, b"")

    def settle(self, dialect: Dialect, reply: object) -> Iterator[Violation | None]:
        if not dialect.is_stored(reply):
            yield Violation("wrong", f"{self.log.key!r}: {reply!r} to a set")
        yield self.log.emptied(self.sequence, self.epochs[0])

    def fail(self) -> None:
        self.log.fail_emptying(self.sequence)
