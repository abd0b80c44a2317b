"""What a client can ask: the bytes of each request, and what its answer has to be."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from faults.dialects import Dialect
from faults.ledger import Counter, Log, Record, Register, Violation


class Request(ABC):
    """One request, from its sending to its answer. Making it takes its place in the ledger."""

    wants_reply = True

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.epochs = [record.shard.epoch for record in records]
        self.shards = frozenset(record.shard.index for record in records)

    @abstractmethod
    def encode(self, dialect: Dialect) -> bytes:
        """Its bytes."""

    @abstractmethod
    def settle(self, dialect: Dialect, reply: object) -> Iterator[Violation | None]:
        """Look at the reply, which is no failure. Raises ``UnfittingError`` when it is no answer to this."""

    @abstractmethod
    def fail(self) -> None:
        """It has an error or nothing for an answer."""


class Read(Request):
    """Keys are read: registers and logs, one or many."""

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
    """Registers are set, one or many."""

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
    """A register is set, and no reply wanted: nobody will ever say whether it was."""

    wants_reply = False


class Delete(Request):
    """A register is deleted."""

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
    """A counter is incremented."""

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
    """A counter is made where there is none."""

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
    """A log gets an entry."""

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
    """A log is emptied."""

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
