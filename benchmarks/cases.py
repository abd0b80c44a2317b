"""The table of cases and their targets: what is measured, and what it may cost.

A case is a fixed request, which clients send repeatedly; each client has a number of these requests in flight. Every
target is a median ratio ours/nutcracker within one run.
"""

from itertools import product
from typing import Literal, NamedTuple

Protocol = Literal["redis", "memcached"]
Operation = Literal["GET", "SET", "MGET", "MSET", "RENAME", "SUNION", "LMOVE", "EVAL", "EVALSHA", "get", "set"]
Kind = Literal["string", "set", "list"]


class Target(NamedTuple):
    """The limits of a case: the highest ratio of CPU per request, and the lowest ratio of throughput."""

    cpu: float
    throughput: float


class Topology(NamedTuple):
    """The servers of the contenders."""

    protocol: Protocol
    servers: int


class Case(NamedTuple):
    """One row of the table."""

    topology: Topology
    operation: Operation
    """The command, as the protocol spells it."""
    keys: int
    value_size: int
    """Bytes per value."""
    pipeline: int
    """Requests that a client sends before it waits for their replies."""
    clients: int
    target: Target
    by_default: bool
    """Part of a run that was not asked to be the full one."""
    unix_socket: bool = False
    """The clients connect to a unix socket, as to a sidecar."""
    reconnects: bool = False
    """The clients connect anew for each request, as PHP without persistent connections."""
    whole_pool: bool = False
    """The number of servers is part of the name: the same request is measured with several numbers."""

    @property
    def name(self) -> str:
        """The name, unique in the table; ``--case`` searches it, and the report shows it."""
        what = f"{NAME_PREFIX[self.topology.protocol]}{self.operation} {what_text(self.keys, self.value_size)}"
        parts = [what, f"pipeline {self.pipeline}", counted(self.clients, "client")]
        if self.whole_pool:
            parts.append(counted(self.topology.servers, "server"))
        if self.unix_socket:
            parts.append("unix socket")
        if self.reconnects:
            parts.append("a connection per request")
        return ", ".join(parts)

    @property
    def splits(self) -> bool:
        """Whether the keys of the request are on several servers, so that only a sharding proxy can serve it."""
        return self.keys > 1

    @property
    def kind(self) -> Kind:
        """The type of the values."""
        return KINDS.get(self.operation, "string")

    @property
    def contents(self) -> "Contents":
        """What the servers must hold."""
        return Contents(self.kind, self.value_size)

    @property
    def shape(self) -> "Shape":
        """The shape of the case, see ``Shape``."""
        return Shape(self.topology.protocol, self.keys, self.value_size, self.pipeline, self.clients)

    @property
    def stores(self) -> bool:
        """Whether the request stores values; otherwise it reads them."""
        return self.operation in ("SET", "MSET", "set")

    @property
    def value(self) -> bytes:
        """The value of every key, before and after the case."""
        return b"x" * self.value_size


class Contents(NamedTuple):
    """Values of one type and size under every key of their key space."""

    kind: Kind
    value_size: int


class Shape(NamedTuple):
    """The properties that decide how many bytes are in flight."""

    protocol: Protocol
    keys: int
    value_size: int
    pipeline: int
    clients: int


class Reduction(NamedTuple):
    """The number of clients of a case that runs with fewer clients than its place in the table says."""

    clients: int
    reason: str
    """Follows "because" in a sentence."""


NAME_PREFIX: dict[Protocol, str] = {"redis": "", "memcached": "memcached "}

KEY_SPACES = {3: 100_000, 1024: 20_000, 16384: 2_000}
"""The number of keys for each size of values; fewer for larger sizes, so that a server needs 30 MB or less."""

KINDS: dict[Operation, Kind] = {"SUNION": "set", "LMOVE": "list"}
"""Types of values other than strings: a set or a list with one element."""

NOT_BEHIND = Target(cpu=1.0, throughput=1.0)
"""The target of every case without a target of its own."""

SINGLE_KEY_TARGETS = {
    # (value size, pipeline, clients): for GET and for SET
    (3, 1, 50): Target(0.85, 1.0),
    (3, 1, 500): Target(0.75, 1.0),
    (3, 16, 50): Target(0.28, 1.5),
    (3, 100, 50): Target(0.10, 2.5),
    (3, 100, 500): Target(0.10, 2.5),
    (16384, 16, 50): Target(0.60, 1.0),
}

COMMAND_LIMIT = 1.5
"""Our processor time for a command in a pool of one server, as a multiple of that of a GET: the limit."""

MULTI_KEY_TARGETS = {("MGET", 100): Target(0.40, 1.2)}

REPRESENTATIVE = {
    # (operation, value size, pipeline, clients): in the default run, in addition to the cases that have a target
    ("GET", 3, 1, 1),
    ("GET", 1024, 16, 50),
    ("SET", 1024, 1, 50),
    ("GET", 16384, 1, 50),
}

MEMCACHED_TARGETS = {
    # pipeline: for every operation, number of keys and number of clients
    1: Target(0.85, 1.0),
    16: Target(0.30, 1.0),
    100: Target(0.15, 1.0),
}

MEMCACHED_REPRESENTATIVE = {
    # (operation, keys, pipeline, clients): in the default run, in addition to the cases with 50 clients
    ("get", 1, 1, 500),
    ("get", 1, 100, 500),
}

MANY_PARTS = "nutcracker takes 32 KB for each server that a request goes to, over 10 GB for all of those"

REDUCED = {
    # Larger cases would measure the memory of the machine, not a proxy.
    Shape("redis", 1, 16384, 100, 500): Reduction(100, "one wave of replies to all of those is 800 MB"),
    Shape("memcached", 10, 3, 100, 500): Reduction(100, MANY_PARTS),
    Shape("memcached", 100, 3, 100, 500): Reduction(100, MANY_PARTS),
}

SINGLE_KEY = Topology("redis", servers=2)
MULTI_KEY = Topology("redis", servers=10)
ONE_SERVER = Topology("redis", servers=1)
MEMCACHED_SINGLE_KEY = Topology("memcached", servers=2)
MEMCACHED_MULTI_KEY = Topology("memcached", servers=10)


def size_text(size: int) -> str:
    """A size in bytes as text with a unit."""
    for unit, name in ((1024 * 1024, "MB"), (1024, "KB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def what_text(keys: int, value_size: int) -> str:
    """The size of a request's value, or the number of its keys, as text."""
    return size_text(value_size) if keys == 1 else f"{keys} keys"


def counted(number: int, noun: str) -> str:
    """A number with its noun in singular or plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def clients_of(shape: Shape) -> int:
    """The number of clients with which a shape is measured."""
    return REDUCED[shape].clients if shape in REDUCED else shape.clients


def key_prefix(value_size: int, kind: Kind = "string") -> bytes:
    """What the names of the keys with values of that type and size begin with."""
    return b"%s:%d:" % (b"key" if kind == "string" else kind.encode(), value_size)


def key_name(value_size: int, number: int, kind: Kind = "string") -> bytes:
    """A key that holds a value of that type and size: twelve digits make all of them equally long."""
    return b"%s%012d" % (key_prefix(value_size, kind), number)


def single_key_cases() -> list[Case]:
    """GET and SET with every size, pipeline and number of clients."""
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


def script_cases() -> list[Case]:
    """EVALSHA of a script with one key: the cost for clients that run scripts."""
    return [
        Case(
            topology=SINGLE_KEY,
            operation="EVALSHA",
            keys=1,
            value_size=3,
            pipeline=pipeline,
            clients=50,
            target=NOT_BEHIND,
            by_default=False,
        )
        for pipeline in (1, 16, 100)
    ]


def command_cases() -> list[Case]:
    """Commands that are not routed by their first key alone, beside a GET, in a pool of one server and of ten.

    The two keys of RENAME, SUNION and LMOVE are the same, so every proxy finds both at one server.
    """
    operations: tuple[Operation, ...] = ("GET", "RENAME", "SUNION", "LMOVE", "EVAL", "EVALSHA")
    return [
        Case(
            topology=topology,
            operation=operation,
            keys=1,
            value_size=3,
            pipeline=pipeline,
            clients=50,
            target=NOT_BEHIND,
            by_default=pipeline == 16,
            whole_pool=True,
        )
        for topology, pipeline, operation in product((ONE_SERVER, MULTI_KEY), (1, 16), operations)
    ]


def connection_cases() -> list[Case]:
    """GET by clients on a unix socket, and by clients that connect anew for each request."""
    basic = Case(SINGLE_KEY, "GET", 1, 3, pipeline=1, clients=50, target=NOT_BEHIND, by_default=True)
    return [
        *(basic._replace(pipeline=pipeline, unix_socket=True) for pipeline in (1, 16, 100)),
        basic._replace(reconnects=True, target=Target(0.85, 1.0)),
    ]


def memcached_case(operation: Operation, keys: int, value_size: int, pipeline: int, clients: int) -> Case:
    """A memcached case."""
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
    """get and set of one key over two servers, and get of several keys over ten servers."""
    operations: tuple[Operation, ...] = ("get", "set")
    depths = tuple(product((1, 16, 100), (50, 500)))
    return [
        *(memcached_case(operation, 1, 3, *depth) for depth in depths for operation in operations),
        *(memcached_case(operation, 1, 1024, 16, 50) for operation in operations),
        *(memcached_case("get", keys, 3, *depth) for keys in (10, 100) for depth in depths),
    ]


CASES = (
    *single_key_cases(),
    *connection_cases(),
    *script_cases(),
    *(case for case in command_cases() if case.topology == ONE_SERVER),
    *multi_key_cases(),
    *(case for case in command_cases() if case.topology == MULTI_KEY),
    *memcached_cases(),
)


def select(full: bool, substrings: list[str]) -> list[Case]:
    """The cases to run, in the order of the table.

    Substrings, if there are any, select from the whole table by name, regardless of case.
    """
    if substrings:
        return [case for case in CASES if any(text.lower() in case.name.lower() for text in substrings)]
    return [case for case in CASES if full or case.by_default]
