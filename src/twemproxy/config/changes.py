"""The differences between two configurations, and what each of them does in a running proxy."""

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec

from twemproxy.config.directives import DIRECTIVES, Directive, Effect
from twemproxy.config.fingerprint import pool_fingerprint, sharding_of
from twemproxy.config.numbers import share_text
from twemproxy.config.pools import Address, Config, ListenConfig, PoolConfig, ServerConfig
from twemproxy.config.quoting import quoted, quoted_if_needed

HIDDEN: Final = "changed"
"""What is shown in place of the value of a secret."""

ServerChangeKind = Literal["added", "removed", "moved", "re-weighted"]


class DirectiveChange(msgspec.Struct, frozen=True):
    """A directive of a pool whose value differs."""

    name: str
    old: str
    """The value as it is written in a file, without quotes; HIDDEN for a secret. The same for ``new``."""
    new: str
    effect: Effect

    def __str__(self) -> str:
        if self.old == self.new == HIDDEN:
            return f'directive "{self.name}" changes'
        old, new = (quoted_if_needed(text) if text else "unset" for text in (self.old, self.new))
        return f'directive "{self.name}" changes from {old} to {new}'


class ServerChange(msgspec.Struct, frozen=True):
    """One difference of a server of a pool. A server is what has the same name in both configurations."""

    name: str
    kind: ServerChangeKind
    old: str
    """The address as it is written, or the weight of a server that is re-weighted; empty for a server that is added.
    ``new`` is the same in the new configuration, empty for a server that is removed."""
    new: str
    effect: Effect = "at once"

    def __str__(self) -> str:
        server = f"server {quoted(self.name)}"
        old, new = quoted_if_needed(self.old), quoted_if_needed(self.new)
        match self.kind:
            case "added":
                return f"{server} at {new} is added"
            case "removed":
                return f"{server} at {old} is removed"
            case "moved":
                return f"{server} moves from {old} to {new}"
            case "re-weighted":
                return f"{server} changes its weight from {old} to {new}"


class PoolChanges(msgspec.Struct, frozen=True):
    """The differences of a pool that both configurations have."""

    name: str
    old_name: str
    """Not ``name`` if the pool is renamed."""
    directives: tuple[DirectiveChange, ...]
    """In the order of the table of directives; ``servers`` is not among them."""
    servers: tuple[ServerChange, ...]
    """In the order of the new configuration; those that are removed come first."""
    moves_keys: bool
    """Whether keys may get another server: what places keys differs (``hashing.fingerprint``), and not both pools have
    the distribution ``random``, with which no key has a server."""

    @property
    def differences(self) -> tuple[DirectiveChange | ServerChange, ...]:
        """The differences of the directives and of the servers."""
        return *self.directives, *self.servers

    @property
    def is_renamed(self) -> bool:
        """Whether the pool had another name."""
        return self.name != self.old_name

    @property
    def effects(self) -> frozenset[Effect]:
        """The effects of all differences of the pool."""
        return frozenset(change.effect for change in self.differences)


class Line(NamedTuple):
    """A difference for people, in one line."""

    text: str
    pool: str = ""
    """The pool that it is about; empty for none. The same for ``server``."""
    server: str = ""


class Changes(msgspec.Struct, frozen=True):
    """All differences between two configurations. False if there is none."""

    added: tuple[str, ...]
    """The names of pools that only the new configuration has, in its order."""
    removed: tuple[str, ...]
    """The names of pools that only the old configuration has, in its order."""
    pools: tuple[PoolChanges, ...]
    """The pools that both have and that differ, in the order of the new configuration."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.pools)

    @property
    def renamed(self) -> dict[str, str]:
        """The old name of each pool that is renamed, by its new name."""
        return {pool.name: pool.old_name for pool in self.pools if pool.is_renamed}

    def lines(self) -> list[str]:
        """Return the differences for people, one line each, with their effects in parentheses."""
        return [line.text for line in self.described()]

    def described(self) -> list[Line]:
        """Return the same lines, each with what it is about."""
        lines = [Line(f"pool {quoted(name)} is removed (its address is closed)", name) for name in self.removed]
        lines += [Line(f"pool {quoted(name)} is added (its address is opened)", name) for name in self.added]
        for pool in self.pools:
            lines += _lines_of_pool(pool)
        return lines


def changes(old: Config, new: Config) -> Changes:
    """Return what differs. No difference is found exactly if the configurations are equal.

    Pools are the same if they have the same name. A pool whose name is gone and a pool with a new name are the same if
    they listen on the same address: then the pool is renamed.
    """
    old_pools = {pool.name: pool for pool in old.pools}
    former = former_names(old, new)
    differing = (_changes_of_pool(old_pools[former[pool.name]], pool) for pool in new.pools if pool.name in former)
    return Changes(
        added=tuple(pool.name for pool in new.pools if pool.name not in former),
        removed=tuple(name for name in old_pools if name not in former.values()),
        pools=tuple(found for found in differing if found.is_renamed or found.directives or found.servers),
    )


def former_names(old: Config, new: Config) -> dict[str, str]:
    """Return the old names of the pools that both configurations have, by new name; see ``changes``."""
    old_names = {pool.name for pool in old.pools}
    new_names = {pool.name for pool in new.pools}
    gone: dict[Address, list[str]] = {}
    for pool in old.pools:
        if pool.name not in new_names:
            gone.setdefault(pool.listen.address, []).append(pool.name)
    former = {}
    for pool in new.pools:
        if pool.name in old_names:
            former[pool.name] = pool.name
        elif candidates := gone.get(pool.listen.address):
            former[pool.name] = candidates.pop(0)
    return former


def _changes_of_pool(old: PoolConfig, new: PoolConfig) -> PoolChanges:
    both_random = sharding_of(old).is_random and sharding_of(new).is_random
    return PoolChanges(
        name=new.name,
        old_name=old.name,
        directives=tuple(_changed_directives(old, new)),
        servers=tuple(_changed_servers(old, new)),
        moves_keys=not both_random and pool_fingerprint(old) != pool_fingerprint(new),
    )


def _changed_directives(old: PoolConfig, new: PoolConfig) -> Iterator[DirectiveChange]:
    for directive in DIRECTIVES:
        former, value = getattr(old, directive.name), getattr(new, directive.name)
        if directive.name != "servers" and former != value:
            texts = (HIDDEN, HIDDEN) if directive.is_secret else (_shown(former), _shown(value))
            yield DirectiveChange(directive.name, *texts, _effect(directive, old, new))


def _effect(directive: Directive, old: PoolConfig, new: PoolConfig) -> Effect:
    if directive.name == "listen" and old.listen.address == new.listen.address:
        return "at once"  # only the mode of a unix socket, or the way in which the address is written
    return directive.effect


def _shown(value: Any) -> str:
    """Return a value of a directive as it is written in a file."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return share_text(value)
        case str():
            return value
        case ListenConfig():
            return value.text
    return " ".join(value)


def _changed_servers(old: PoolConfig, new: PoolConfig) -> Iterator[ServerChange]:
    former = {server.name: server for server in old.servers}
    remaining = {server.name for server in new.servers}
    for server in old.servers:
        if server.name not in remaining:
            yield ServerChange(server.name, "removed", _place(server), "")
    for server in new.servers:
        before = former.get(server.name)
        if before is None:
            yield ServerChange(server.name, "added", "", _place(server))
            continue
        if _place(before) != _place(server):
            yield ServerChange(server.name, "moved", _place(before), _place(server))
        if _weight(before) != _weight(server):
            yield ServerChange(server.name, "re-weighted", _weight(before), _weight(server))


def _place(server: ServerConfig) -> str:
    """Return the address of a server as it is written."""
    return server.pname.rpartition(":")[0]


def _weight(server: ServerConfig) -> str:
    """Return the weight of a server as it is written."""
    return server.pname.rpartition(":")[2]


def _lines_of_pool(pool: PoolChanges) -> Iterator[Line]:
    title = f"pool {quoted(pool.name)}:"
    if pool.is_renamed:
        yield Line(f"{title} is renamed, it was {quoted(pool.old_name)} (at once)", pool.name)
    for change in pool.differences:
        server = change.name if isinstance(change, ServerChange) else ""
        yield Line(f"{title} {change} ({change.effect})", pool.name, server)
