"""Warnings about a valid configuration: settings that work, and that operators regret."""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from twemproxy.config.addresses import default_name
from twemproxy.config.fingerprint import sharding_of
from twemproxy.config.key_space import MOST_SKEW, shares_by_weight
from twemproxy.config.numbers import share_text
from twemproxy.config.pools import Config, PoolConfig
from twemproxy.config.quoting import quoted, quoted_if_needed
from twemproxy.hashing.sharding import HASH_RANGES

_SHOWN: Final = 5
"""Most servers that a warning names."""

_PAIRS: Final = ("{}", "[]", "()", "<>")
_BRACKETS: Final = "".join(_PAIRS)

_FEWEST_FOR_MODULA: Final = 3
"""Servers. When one of two is ejected, no other keys than its own move."""


class ConfigWarning(msgspec.Struct, frozen=True):
    """One warning."""

    pool: str
    kind: str
    """A short name of the warning, for programs."""
    message: str
    """The text for people, in one line without the pool's name."""

    def __str__(self) -> str:
        return f"pool {quoted(self.pool)}: {self.message}"


def warnings(config: Config) -> list[ConfigWarning]:
    """Return the warnings about all pools, in the order of the configuration."""
    return [
        ConfigWarning(pool.name, kind, message)
        for pool in config.pools
        for kind, check in _CHECKS.items()
        for message in check(pool)
    ]


def notes(config: Config, access_log: str) -> list[str]:
    """Return what an operator of a valid configuration should know, a line each: where the access log goes.

    ``access_log``: the place, as ``where_access_log_goes`` names it.
    """
    return [
        f'pool {quoted(pool.name)}: "access_log_sample" is {share_text(pool.access_log_sample)}: '
        f"the access log goes to {access_log}"
        for pool in config.pools
        if pool.access_log_sample
    ]


def where_access_log_goes(path: str | None, daemonize: bool) -> str:
    """The place of the access log, for people. ``path``: of the option --access-log, empty without it, None if that is
    not known. ``daemonize``: the option of this name.
    """
    if path is None:
        return "the file of the option --access-log, without it to standard output"
    if path:
        return f"'{path}'"
    if daemonize:
        return "nowhere, because a daemon has no standard output: give the option --access-log"
    return "standard output, because there is no option --access-log"


def _uneven_shares(pool: PoolConfig) -> Iterator[str]:
    found = shares_by_weight(pool)
    if not found:
        return
    reason = ""
    if pool.hash in HASH_RANGES and pool.distribution == "ketama":
        bits = HASH_RANGES[pool.hash].bit_length() - 1
        reason = f'; hash "{pool.hash}" has only {bits} bits, and ketama needs 32: use "crc32a" or another hash'
    largest = max(found, key=lambda server: server.excess)
    if largest.excess > MOST_SKEW:
        yield (
            f"server {quoted(largest.name)} has {largest.share:.1%} of the keys, {largest.excess:.1f} times its share "
            f"by weight{reason}"
        )
    without = [server.name for server in found if not server.share]
    if without:
        yield f"{_listed(without)} no keys{reason}"
    small = [server.name for server in found if server.share and server.excess * MOST_SKEW < 1]
    if small:
        yield f"{_listed(small)} less than half of the share by weight{reason}"


def _listed(names: list[str]) -> str:
    """Return the names as the subject of a sentence, with its verb."""
    shown = ", ".join(quoted(name) for name in names[:_SHOWN])
    if len(names) == 1:
        return f"server {shown} gets"
    more = len(names) - _SHOWN
    return f"servers {shown}{f' and {more} more' if more > 0 else ''} get"


def _unnamed_servers(pool: PoolConfig) -> Iterator[str]:
    if sharding_of(pool).is_single or sharding_of(pool).is_random:
        return
    unnamed = [server for server in pool.servers if server.name == default_name(server.pname, server.address)]
    if unnamed:
        number = "1 server has" if len(unnamed) == 1 else f"{len(unnamed)} servers have"
        named = quoted_if_needed(f"{unnamed[0].pname} {unnamed[0].name}")
        yield (
            f"{number} no name, so another address moves keys to other servers; to keep them, add the present name "
            f"before an address changes, as in {named}"
        )


def _same_address(pool: PoolConfig) -> Iterator[str]:
    first: dict[object, str] = {}
    for server in pool.servers:
        other = first.setdefault(server.address, server.name)
        if other != server.name:
            place = quoted_if_needed(server.pname.rpartition(":")[0])
            yield f"servers {quoted(other)} and {quoted(server.name)} have the same address {place}"


def _no_timeout(pool: PoolConfig) -> Iterator[str]:
    if not pool.timeout:
        ejected = ", and is never ejected" if pool.auto_eject_hosts and not pool.health_check_interval else ""
        yield f'without "timeout" a request waits for ever for a server that is silent{ejected}'


def _useless_connect_timeout(pool: PoolConfig) -> Iterator[str]:
    if 0 < pool.timeout < pool.connect_timeout:
        yield (
            f'"connect_timeout" {pool.connect_timeout} is longer than "timeout" {pool.timeout}: requests that wait for '
            "the connection fail before"
        )


def _short_retry(pool: PoolConfig) -> Iterator[str]:
    if pool.auto_eject_hosts and pool.server_retry_timeout < pool.timeout:
        yield (
            f'"server_retry_timeout" {pool.server_retry_timeout} is shorter than "timeout" {pool.timeout}: an ejected '
            "server is probed again before a request to it would have failed"
        )


def _modula_ejection(pool: PoolConfig) -> Iterator[str]:
    if (
        pool.auto_eject_hosts
        and pool.on_server_down == "rehash"
        and pool.distribution == "modula"
        and len(pool.servers) >= _FEWEST_FOR_MODULA
    ):
        yield (
            'with distribution "modula" the ejection of one server moves keys of the other servers, too; use "ketama" '
            'or "on_server_down: error"'
        )


def _ignored_weights(pool: PoolConfig) -> Iterator[str]:
    if pool.distribution == "random" and len({server.weight for server in pool.servers}) > 1:
        yield 'distribution "random" ignores the weights of servers'


def _strange_hash_tag(pool: PoolConfig) -> Iterator[str]:
    tag = pool.hash_tag
    if tag and set(tag) <= set(_BRACKETS) and tag not in _PAIRS:
        usual = next(pair for pair in _PAIRS if tag[0] in pair)
        yield f'hash_tag {quoted(tag)} cuts no key such as a{usual[0]}b{usual[1]}c, as "{usual}" would'
    elif any(map(str.isalnum, tag)):
        yield f"hash_tag {quoted(tag)} has a letter or digit: it cuts ordinary keys, and their other parts do not count"


_CHECKS: Final[dict[str, Callable[[PoolConfig], Iterator[str]]]] = {
    "uneven-shares": _uneven_shares,
    "same-address": _same_address,
    "hash-tag": _strange_hash_tag,
    "modula-ejection": _modula_ejection,
    "short-retry": _short_retry,
    "connect-timeout": _useless_connect_timeout,
    "ignored-weights": _ignored_weights,
    "no-timeout": _no_timeout,
    "unnamed-servers": _unnamed_servers,
}
"""The kinds of warnings, and a function for each, which yields the messages for a pool."""

KINDS: Final = tuple(_CHECKS)
"""The kinds of warnings."""
