"""What is measured and what it may cost: the table of cases and their targets.

A case is a fixed request, sent over and over by clients that each keep a number of them under way.
Every target is a median ratio ours/nutcracker within one run.
"""

from itertools import product
from typing import Literal, NamedTuple

Protocol = Literal["redis", "memcached"]
Operation = Literal["GET", "SET", "MGET", "MSET", "get", "set"]


class Target(NamedTuple):
    """The limits a case has to keep: the highest ratio of CPU per request, the lowest of throughput."""

    cpu: float
    throughput: float


class Topology(NamedTuple):
    """What stands behind the contenders."""

    protocol: Protocol
    servers: int


class Case(NamedTuple):
    """One row of the table."""

    topology: Topology
    operation: Operation
    """As the protocol spells it."""
    keys: int
    value_size: int
    """Bytes per value."""
    pipeline: int
    """Requests that a client sends before it waits for their replies."""
    clients: int
    target: Target
    by_default: bool
    """Part of a run that was not asked to be the full one."""

    @property
    def name(self) -> str:
        """Unique in the table; what ``--case`` looks into and what the report shows."""
        what = f"{NAME_PREFIX[self.topology.protocol]}{self.operation} {what_text(self.keys, self.value_size)}"
        return f"{what}, pipeline {self.pipeline}, {counted(self.clients, 'client')}"

    @property
    def splits(self) -> bool:
        """The request's keys lie on several servers, so that only a sharding proxy can serve it."""
        return self.keys > 1

    @property
    def shape(self) -> "Shape":
        """Its clients, and how much each of them has under way."""
        return Shape(self.topology.protocol, self.keys, self.value_size, self.pipeline, self.clients)

    @property
    def stores(self) -> bool:
        """The request brings values, instead of asking for them."""
        return self.operation in ("SET", "MSET", "set")

    @property
    def value(self) -> bytes:
        """What every key holds, before and after."""
        return b"x" * self.value_size


class Shape(NamedTuple):
    """What makes a wave of requests large."""

    protocol: Protocol
    keys: int
    value_size: int
    pipeline: int
    clients: int


class Reduction(NamedTuple):
    """That a case runs with fewer clients than its place in the table says."""

    clients: int
    reason: str
    """Goes on after "because"."""


NAME_PREFIX: dict[Protocol, str] = {"redis": "", "memcached": "memcached "}

KEY_SPACES = {3: 100_000, 1024: 20_000, 16384: 2_000}
"""How many keys hold a value of each size; fewer of the larger, so that a server needs 30 MB or less."""

NOT_BEHIND = Target(cpu=1.0, throughput=1.0)
"""What every case without a line of its own has to keep."""

SINGLE_KEY_TARGETS = {
    # (value size, pipeline, clients): for GET and for SET
    (3, 1, 50): Target(0.85, 1.0),
    (3, 1, 500): Target(0.75, 1.0),
    (3, 16, 50): Target(0.28, 1.5),
    (3, 100, 50): Target(0.10, 2.5),
    (3, 100, 500): Target(0.10, 2.5),
    (16384, 16, 50): Target(0.60, 1.0),
}

MULTI_KEY_TARGETS = {("MGET", 100): Target(0.40, 1.2)}

REPRESENTATIVE = {
    # (operation, value size, pipeline, clients): in the default run beside the cases that have a target
    ("GET", 3, 1, 1),
    ("GET", 1024, 16, 50),
    ("SET", 1024, 1, 50),
    ("GET", 16384, 1, 50),
}

MEMCACHED_TARGETS = {
    # pipeline: whatever the operation, its keys and the clients
    1: Target(0.85, 1.0),
    16: Target(0.30, 1.0),
    100: Target(0.15, 1.0),
}

MEMCACHED_REPRESENTATIVE = {
    # (operation, keys, pipeline, clients): in the default run beside those with 50 clients
    ("get", 1, 1, 500),
    ("get", 1, 100, 500),
}

MANY_PARTS = "nutcracker takes 32 KB for each server that a request goes to, over 10 GB for all of those"

REDUCED = {
    # What does not fit measures the machine's memory and not a proxy.
    Shape("redis", 1, 16384, 100, 500): Reduction(100, "one wave of replies to all of those is 800 MB"),
    Shape("memcached", 10, 3, 100, 500): Reduction(100, MANY_PARTS),
    Shape("memcached", 100, 3, 100, 500): Reduction(100, MANY_PARTS),
}

SINGLE_KEY = Topology("redis", servers=2)
MULTI_KEY = Topology("redis", servers=10)
MEMCACHED_SINGLE_KEY = Topology("memcached", servers=2)
MEMCACHED_MULTI_KEY = Topology("memcached", servers=10)


def size_text(size: int) -> str:
    """A size in bytes as people write it."""
    for unit, name in ((1024 * 1024, "MB"), (1024, "KB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def what_text(keys: int, value_size: int) -> str:
    """What a request carries: the size of its value, or the number of its keys."""
    return size_text(value_size) if keys == 1 else f"{keys} keys"


def counted(number: int, noun: str) -> str:
    """A number and its noun in the right form."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def clients_of(shape: Shape) -> int:
    """With how many clients a shape is measured."""
    return REDUCED[shape].clients if shape in REDUCED else shape.clients


def key_prefix(value_size: int) -> bytes:
    """What the names of the keys with values of that size begin with."""
    return b"key:%d:" % value_size


def key_name(value_size: int, number: int) -> bytes:
    """A key that holds a value of that size: twelve digits make all of them equally long."""
    return b"%s%012d" % (key_prefix(value_size), number)


def single_key_cases() -> list[Case]:
    """GET and SET in every size, depth and number of clients."""
    cases = []
    for size, pipeline, clients, operation in product((3, 1024, 16384), (1, 16, 100), (1, 50, 500), ("GET", "SET")):
        shape = (size, pipeline, clients)
        cases.append(
            Case(
                topology=SINGLE_KEY,
                operation="GET" if operation == "GET" else "SET",
                keys=1,
                value_size=size,
                pipeline=pipeline,
                clients=clients_of(Shape("redis", 1, size, pipeline, clients)),
                target=SINGLE_KEY_TARGETS.get(shape, NOT_BEHIND),
                by_default=shape in SINGLE_KEY_TARGETS or (operation, *shape) in REPRESENTATIVE,
            )
        )
    return cases


def multi_key_cases() -> list[Case]:
    """MGET and MSET over ten servers."""
    operations: tuple[Operation, ...] = ("MGET", "MSET")
    return [
        Case(
            topology=MULTI_KEY,
            operation=operation,
            keys=keys,
            value_size=3,
            pipeline=1,
            clients=50,
            target=MULTI_KEY_TARGETS.get((operation, keys), NOT_BEHIND),
            by_default=True,
        )
        for operation, keys in product(operations, (10, 100, 1000))
    ]


def memcached_case(operation: Operation, keys: int, value_size: int, pipeline: int, clients: int) -> Case:
    """One of the memcached cases."""
    return Case(
        topology=MEMCACHED_SINGLE_KEY if keys == 1 else MEMCACHED_MULTI_KEY,
        operation=operation,
        keys=keys,
        value_size=value_size,
        pipeline=pipeline,
        clients=clients_of(Shape("memcached", keys, value_size, pipeline, clients)),
        target=MEMCACHED_TARGETS[pipeline],
        by_default=clients == 50 or (operation, keys, pipeline, clients) in MEMCACHED_REPRESENTATIVE,
    )


def memcached_cases() -> list[Case]:
    """One key, get and set, over two servers; then get of many keys over ten."""
    operations: tuple[Operation, ...] = ("get", "set")
    depths = tuple(product((1, 16, 100), (50, 500)))
    return [
        *(memcached_case(operation, 1, 3, *depth) for depth in depths for operation in operations),
        *(memcached_case(operation, 1, 1024, 16, 50) for operation in operations),
        *(memcached_case("get", keys, 3, *depth) for keys in (10, 100) for depth in depths),
    ]


CASES = (*single_key_cases(), *multi_key_cases(), *memcached_cases())


def select(full: bool, substrings: list[str]) -> list[Case]:
    """The cases to run, in the table's order.

    Substrings are looked for in the names, regardless of case, and choose from the whole table.
    """
    if substrings:
        return [case for case in CASES if any(text.lower() in case.name.lower() for text in substrings)]
    return [case for case in CASES if full or case.by_default]
