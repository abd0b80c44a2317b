"""What a change from one configuration to another means for the keys: which share moves, from where to where."""

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from twemproxy.config.changes import Changes, changes
from twemproxy.config.fingerprint import config_fingerprint, sharding_of
from twemproxy.config.pools import Config, PoolConfig
from twemproxy.hashing.fingerprint import ring_fingerprint
from twemproxy.hashing.ring import ring_of
from twemproxy.hashing.shares import NO_MOVEMENT, movement

Server = str
"""A server's name."""


class Move(msgspec.Struct, frozen=True, rename={"origin": "from", "destination": "to"}):
    """The keys that a server loses to another one."""

    origin: Server
    destination: Server
    share: float
    """Of the keys of the pool, 0 to 1."""


class KeyMove(msgspec.Struct, frozen=True, rename={"origin": "from", "destination": "to"}):
    """The given keys that a server loses to another one."""

    origin: Server
    destination: Server
    keys: int


class KeyCounts(msgspec.Struct, frozen=True):
    """What becomes of the given keys in one pool."""

    total: int
    moved: int
    moves: tuple[KeyMove, ...]
    """Most keys first."""


class PoolPlan(msgspec.Struct, frozen=True):
    """A pool that both configurations have."""

    name: str
    old_name: str
    """Not ``name`` if the pool is renamed."""
    old_fingerprint: str
    """The ring fingerprint. The same for ``new_fingerprint``."""
    new_fingerprint: str
    moved: float
    """The share of the keys that get another server, 0 to 1."""
    moves: tuple[Move, ...]
    """Largest share first."""
    estimate: str
    """Why the shares are estimates; empty if they are exact."""
    keys: KeyCounts | None
    """None if no keys are given, or if no key has a server in both configurations (distribution ``random``)."""


class Plan(msgspec.Struct, frozen=True):
    """What a change of the configuration means."""

    changes: Changes
    old_fingerprint: str
    """The configuration fingerprint. The same for ``new_fingerprint``."""
    new_fingerprint: str
    pools: tuple[PoolPlan, ...]
    """The pools that both configurations have, in the order of the new one."""

    @property
    def moves_keys(self) -> bool:
        """Whether keys get another server."""
        return any(pool.moved > 0 or (pool.keys is not None and pool.keys.moved > 0) for pool in self.pools)


def compare(old: Config, new: Config, keys: Iterable[bytes] | None = None) -> Plan:
    """Return what the change from one configuration to the other means. ``keys``: counted in every pool."""
    found = changes(old, new)
    old_pools = {pool.name: pool for pool in old.pools}
    pairs = [
        (old_pools[found.renamed.get(pool.name, pool.name)], pool) for pool in new.pools if pool.name not in found.added
    ]
    counted = _count(pairs, keys) if keys is not None else [None] * len(pairs)
    return Plan(
        changes=found,
        old_fingerprint=config_fingerprint(old),
        new_fingerprint=config_fingerprint(new),
        pools=tuple(_pool_plan(*pair, counts) for pair, counts in zip(pairs, counted, strict=True)),
    )


def _pool_plan(old: PoolConfig, new: PoolConfig, keys: KeyCounts | None) -> PoolPlan:
    former, later = sharding_of(old), sharding_of(new)
    fingerprints = ring_fingerprint(former), ring_fingerprint(later)
    found = movement(former, later) if fingerprints[0] != fingerprints[1] else NO_MOVEMENT
    largest_first = sorted(found.counts.items(), key=lambda item: (-item[1], item[0]))
    moves = tuple(Move(a.decode(), b.decode(), count / found.total) for (a, b), count in largest_first)
    return PoolPlan(new.name, old.name, *fingerprints, found.share, moves, found.estimate, keys)


def _count(pairs: list[tuple[PoolConfig, PoolConfig]], keys: Iterable[bytes]) -> list[KeyCounts | None]:
    """Return what becomes of the keys in each pair of an old and a new pool."""
    counters: list[Counter[tuple[Server, Server]] | None] = []
    counting = []
    for old, new in pairs:
        if any(sharding_of(pool).is_random for pool in (old, new)):
            counters.append(None)
        else:
            counter: Counter[tuple[Server, Server]] = Counter()
            counters.append(counter)
            counting.append((counter, _server_of_key(old), _server_of_key(new)))
    for key in keys:
        for counter, former, later in counting:
            counter[former(key), later(key)] += 1
    return [None if counter is None else _key_counts(counter) for counter in counters]


def _key_counts(counter: Counter[tuple[Server, Server]]) -> KeyCounts:
    moves = [(pair, count) for pair, count in counter.items() if pair[0] != pair[1]]
    moves.sort(key=lambda item: (-item[1], item[0]))
    return KeyCounts(
        total=counter.total(),
        moved=sum(count for _, count in moves),
        moves=tuple(KeyMove(*pair, count) for pair, count in moves),
    )


def _server_of_key(pool: PoolConfig) -> Callable[[bytes], Server]:
    """Return a function that gives the name of a key's server while all servers are live."""
    ring = ring_of(sharding_of(pool))
    names = [server.name for server in pool.servers]
    return lambda key: names[ring.server_for(key)]
