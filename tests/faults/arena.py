"""Servers and relays, their pools behind one proxy, the clients of a pool, and faults of a server."""

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from types import TracebackType
from typing import Self

from faults.catalogue import POOLS, Fault, Setup, Victim
from faults.client import Client, Keys
from faults.dialects import Dialect, Server
from faults.ledger import Counter, Log, Register, Shard
from faults.relay import Relay
from faults.tally import Tally
from harness.connection import Connection
from harness.names import Names
from harness.ports import free_host
from harness.proxy import Proxy
from harness.waiting import wait_until

SERVERS = 3
REGISTERS = 6
"""The number of registers that a client has on each server of its keys."""

_serial = count()


class Pool:
    """A pool of an arena."""

    def __init__(self, arena: "Arena", name: str, setup: Setup) -> None:
        self.arena = arena
        self.name = f"{arena.dialect.name}_{name}"
        """The name of the pool in the configuration."""
        self.setup = setup
        self.shards: list[Shard] = []

    @property
    def directives(self) -> dict[str, object]:
        """The directives of the pool."""
        addresses = {
            "directly": [server.address for server in self.arena.servers],
            "by relay": [relay.address for relay in self.arena.relays],
            "by name": [f"{self.arena.host(index)}:{one.port}" for index, one in enumerate(self.arena.servers)],
        }
        return self.arena.dialect.directives(addresses[self.setup.reach], **self.setup.directives)

    def clients(self, connection: Connection, tally: Tally, per_server: int, roaming: int) -> list[Client]:
        """New clients: ``per_server`` for each server, with all keys on it, and ``roaming`` with keys on all servers.

        ``connection`` leads through the proxy: keys are stored through it to find their servers, and then deleted.
        Earlier clients are forgotten: trouble concerns only the clients of the last call.
        """
        self.shards = [Shard(index) for index in range(SERVERS)]
        return self.more_clients(connection, tally, per_server, roaming)

    def more_clients(self, connection: Connection, tally: Tally, per_server: int, roaming: int) -> list[Client]:
        """As ``clients``, in addition to the present clients."""
        dialect, choose = self.arena.dialect, self.arena.choose
        each = REGISTERS + 2
        on_server = [iter(keys) for keys in self._placed(connection, each * (per_server + roaming))]

        def make(shards: Sequence[Shard]) -> Client:
            keys = [(key, shard) for shard in shards for key in islice(on_server[shard.index], each)]
            groups = [keys[first : first + each] for first in range(0, len(keys), each)]
            owned = Keys(
                [Register(key, shard) for group in groups for key, shard in group[2:]],
                [Counter(*group[0]) for group in groups],
                [Log(*group[1]) for group in groups],
            )
            return Client(dialect, owned, tally, random.Random(choose.random()))

        homes = [make([shard]) for shard in self.shards for _ in range(per_server)]
        return homes + [make(self.shards) for _ in range(roaming)]

    def _placed(self, connection: Connection, wanted: int) -> list[list[bytes]]:
        """At least ``wanted`` keys on each server; no client has had these keys before."""
        dialect = self.arena.dialect
        placed: list[list[bytes]] = [[] for _ in range(SERVERS)]
        while min(map(len, placed)) < wanted:
            keys = [b"%s:%d" % (b"k" * (number % 30 + 1), number) for number in islice(_serial, SERVERS * wanted)]
            connection.send(b"".join(dialect.set(key, b"x") for key in keys))
            connection.expect(dialect.stored * len(keys))
            for server, found in zip(self.arena.servers, placed, strict=True):
                found += sorted(dialect.present(server, keys))
            connection.send(b"".join(dialect.delete(key) for key in keys))
            connection.expect(dialect.deleted * len(keys))
        return placed

    def audit(self, clients: Sequence[Client], tally: Tally) -> None:
        """Compare the servers' counters with the increments that clients sent; the load must be over."""
        for client in clients:
            for counter in client.keys.counters:
                numbers = [self.arena.dialect.counted(server, counter.key) for server in self.arena.servers]
                problem = counter.audit(numbers)
                if problem is not None:
                    tally.violation(problem)


class Arena:
    """Three servers of one protocol, each with relays and a name, and every kind of pool of these servers.

    The pools differ in their directives, but each key has the same server in all of them.
    """

    def __init__(self, dialect: Dialect, choose: random.Random, names: Names) -> None:
        """``names``: the names of the proxy that serves the pools."""
        self.dialect = dialect
        self.choose = choose
        self.names = names
        self.pools = {name: Pool(self, name, setup) for name, setup in POOLS.items()}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.servers: list[Server] = []
            for _ in range(SERVERS):
                server = self.dialect.server()
                self.servers.append(server)
                stack.push(server)
            self.relays = [stack.enter_context(Relay(server.port)) for server in self.servers]
            self.others = [
                stack.enter_context(Relay(server.port, free_host(server.port), server.port)) for server in self.servers
            ]
            for index in range(SERVERS):
                self.names.set(self.host(index), "127.0.0.1")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, value, trace)

    @property
    def directives(self) -> dict[str, dict[str, object]]:
        """The directives of each pool, for the proxy's configuration."""
        return {pool.name: pool.directives for pool in self.pools.values()}

    def host(self, index: int) -> str:
        """The host name of a server."""
        return f"{self.dialect.name}-{index}.test"

    def touched(self, fault: Fault) -> list[Pool]:
        """The pools that notice the fault: all, or those with the same ``reach`` if it is on the way to the server."""
        reach = POOLS[fault.pool].reach
        return [pool for pool in self.pools.values() if reach in ("directly", pool.setup.reach)]

    @contextmanager
    def trouble(self, index: int, fault: Fault) -> Iterator[None]:
        """Inflict the fault on a server while the context lasts; it excuses wrong replies until ``recovered``."""
        for pool in self.touched(fault):
            for shard in pool.shards[index : index + 1]:
                shard.begin_trouble(may_lose=fault.loses, may_move=pool.setup.ejects)
        server, relay, other = self.servers[index], self.relays[index], self.others[index]
        victim = Victim(self.dialect, server, relay, self.choose, self.names, self.host(index), other)
        with fault.inflict(victim):
            yield

    def recovered(self, index: int, fault: Fault) -> None:
        """The server is well again: from now on clients accept nothing that only the trouble excused."""
        for pool in self.touched(fault):
            for shard in pool.shards[index : index + 1]:
                shard.end_trouble()


class Ejections:
    """The servers that a proxy has ejected and not readmitted, according to its log."""

    def __init__(self, proxy: Proxy) -> None:
        self._log = proxy.log_path
        self._read = 0
        self._ejected: set[tuple[str, int]] = set()
        self._new: set[tuple[str, int]] = set()

    def has(self, pool: Pool, index: int) -> bool:
        """Whether this server is ejected."""
        self._read_on()
        return (pool.name, index) in self._ejected

    def take(self, pool: Pool) -> set[int]:
        """The servers of the pool that were ejected since the last call, even if they are back."""
        self._read_on()
        taken = {entry for entry in self._new if entry[0] == pool.name}
        self._new -= taken
        return {index for _, index in taken}

    def _read_on(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._read)
            lines, end, _ = log.read().rpartition(b"\n")
        self._read += len(lines) + len(end)
        for name, server, event in _EVENT.findall(lines.decode(errors="replace")):
            entry = (name, int(server))
            if event == "ejected":
                self._ejected.add(entry)
                self._new.add(entry)
            else:
                self._ejected.discard(entry)

    def wait_back(self, pool: Pool, index: int) -> None:
        """Wait until the server is not ejected."""
        wait_until(lambda: not self.has(pool, index), f"server {index} of {pool.name} is back")


_EVENT = re.compile(r"(\w+): server 's(\d+)' (ejected|is back)")
