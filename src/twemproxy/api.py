"""What ``import twemproxy`` offers to Python programs: configurations, and where their keys are.

The names of this module are attributes of the package ``twemproxy``, which imports this module when one of them is used
for the first time. docs/python.md describes them. They stay as they are in all versions with the same first number.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from twemproxy.config.fingerprint import pool_fingerprint, sharding_of
from twemproxy.config.loading import ConfigError, Problem, load
from twemproxy.config.pools import Address, Config, ListenConfig, PoolConfig, ServerConfig
from twemproxy.hashing.ring import ring_of
from twemproxy.hashing.shares import shares

__all__ = [
    "Address",
    "Config",
    "ConfigError",
    "ListenConfig",
    "Location",
    "Moved",
    "PlacementError",
    "PoolConfig",
    "Problem",
    "Ring",
    "ServerConfig",
    "load_config",
    "moved",
]


class PlacementError(ValueError):
    """A key has no place: there is no such pool, no such server, no live server, or the distribution is ``random``.

    The text says what is wrong, for people.
    """


class Location(NamedTuple):
    """The place of a key in a pool."""

    server: str
    """The name of the server."""
    address: str
    """The address of the server as it is written in the file: ``host:port``, or the path of a unix socket."""
    hashed: bytes
    """The part of the key that is hashed: what the hash tag encloses, or the whole key."""
    hash: int
    """The hash of this part, 0 to 2**32 - 1; 0 if the part is empty."""
    point: int
    """The point of the ring to which the hash leads. With the distribution ``modula``: the last slot of the server."""


class Moved(NamedTuple):
    """A key that another configuration places on another server."""

    key: str | bytes
    old: Location
    new: Location


def load_config(path: str | os.PathLike[str]) -> Config:
    """Return the configuration in a file.

    Raises ConfigError, whose ``problems`` are all errors of the file, each with its line and column. No host name is
    looked up.
    """
    return load(os.fspath(path), resolve=False)


class Ring:
    """Finds the server of a key in a pool, exactly as the proxy does. It does not change.

    ``pool``: the name of the pool. ``servers``: the names of all servers of the pool in the order of the configuration,
    shorter names first, then by bytes. ``ejected``: the names of those that get no keys.
    """

    def __init__(self, pool: PoolConfig, ejected: Iterable[str] = ()) -> None:
        """The ring of a pool. ``ejected``: the names of servers that get no keys.

        Raises PlacementError if the pool has no server of such a name, or if no server is left.
        """
        self._config = pool
        self._sharding = sharding_of(pool)
        self.pool = pool.name
        self.servers = tuple(server.name for server in pool.servers)
        self.ejected = frozenset(ejected)
        if unknown := sorted(self.ejected.difference(self.servers)):
            raise PlacementError(f"pool '{pool.name}' has no server '{unknown[0]}': it has {_listed(self.servers)}")
        self._live = [name not in self.ejected for name in self.servers]
        if not any(self._live):
            raise PlacementError(f"pool '{pool.name}' has no server that is not ejected")
        self._ring = ring_of(self._sharding, self._live)

    @classmethod
    def from_config(cls, config: Config | str | os.PathLike[str], pool: str | None = None) -> "Ring":
        """Return the ring of a pool. ``config``: a configuration, or the path of its file. ``pool``: the name of the
        pool; it can be left out if there is one pool.

        Raises ConfigError as ``load_config``, or PlacementError if there is no such pool.
        """
        if not isinstance(config, Config):
            config = load_config(config)
        found = [each for each in config.pools if pool is None or each.name == pool]
        if len(found) != 1:
            problem = "several pools, and none of them is named" if found else f"no pool '{pool}'"
            names = _listed([each.name for each in config.pools])
            raise PlacementError(f"the configuration has {problem}: its pools are {names}")
        return cls(found[0])

    def __repr__(self) -> str:
        return f"<ring of pool {self.pool!r}, {len(self.servers)} servers, {len(self.ejected)} ejected>"

    @property
    def fingerprint(self) -> str:
        """The ring fingerprint of the pool, 16 hexadecimal digits: equal for pools that place every key equally while
        no server is ejected."""
        return pool_fingerprint(self._config)

    def locate(self, key: str | bytes) -> Location:
        """Return the place of a key. A text is encoded in UTF-8. Raises PlacementError with distribution ``random``."""
        if self._sharding.is_random:
            raise PlacementError(f"pool '{self.pool}' has the distribution random: no key has a server")
        encoded = key.encode() if isinstance(key, str) else key
        hash, point, index = self._ring.look_up(encoded)
        server = self._config.servers[index]
        return Location(server.name, server.pname.rpartition(":")[0], self._sharding.hashed_part(encoded), hash, point)

    def without(self, *servers: str) -> "Ring":
        """Return the ring of the same pool after the ejection of servers, by their names. Raises PlacementError."""
        return Ring(self._config, self.ejected.union(servers))

    def shares(self) -> dict[str, float]:
        """Return the share of the hash values that each server has, 0 to 1, by its name.

        It is the share of the keys as far as the hash spreads the keys evenly. With the distribution ``random`` it is
        the share of the requests.
        """
        found = shares(self._sharding, [index for index, live in enumerate(self._live) if live])
        return {name: count / found.total for name, count in zip(self.servers, found.counts, strict=True)}


def moved(old: Ring, new: Ring, keys: Iterable[str | bytes]) -> Iterator[Moved]:
    """Yield the keys that ``new`` places on a server of another name than ``old``, in their order.

    Raises PlacementError if one of the pools has the distribution ``random``.
    """
    for key in keys:
        before, after = old.locate(key), new.locate(key)
        if before.server != after.server:
            yield Moved(key, before, after)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
