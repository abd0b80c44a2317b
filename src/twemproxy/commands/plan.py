"""``nutcracker plan``: what a new configuration file changes, and which keys move."""

import argparse
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from twemproxy.commands import fleet
from twemproxy.commands.comparison import Plan, PoolPlan, compare
from twemproxy.commands.control import add_option, describe
from twemproxy.commands.frame import ERROR_STATUS, CommandError, print_json
from twemproxy.config.directives import EFFECTS
from twemproxy.config.loading import ConfigError, load
from twemproxy.config.pools import Config
from twemproxy.config.quoting import quoted

DESCRIPTION = """\
Compare a new configuration file with that of the running proxy, or with another file: the differences and their effects
in a running proxy, and the share of the keys that move to another server. Or compare the proxies of a fleet, by their
statistics.
"""

_MOST_MOVES: Final = 20
"""Most moves of one pool that are shown to people."""

_SERVER_EFFECTS: Final = {
    "added": "an added server gets requests at once, its connections open with the first of them",
    "removed": "a removed server gets no new requests; its connections close after the replies to earlier ones",
    "moved": "a server that moves keeps its keys; its connections follow to the new address after the replies to "
    "earlier requests",
}
"""What becomes of the connections to a server, by the kind of its change."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("new", metavar="NEW", nargs="?", help="the new configuration file")
    parser.add_argument(
        "--from", metavar="OLD", dest="old", help="the present configuration file (default: that of the running proxy)"
    )
    add_option(parser)
    parser.add_argument("--keys", metavar="FILE", help="also count which of these keys move; one key per line")
    parser.add_argument(
        "--fleet",
        metavar="HOST:PORT,...",
        help="compare running proxies, by the addresses of their statistics",
    )


def run(options: argparse.Namespace) -> int:
    if options.fleet is not None:
        if options.new or options.old or options.keys:
            raise CommandError("--fleet compares running proxies, and goes with no file")
        return _compare_fleet(options)
    if not options.new:
        raise CommandError("needs a file NEW, or --fleet")
    new = _load(options.new)
    old = _load(options.old) if options.old else describe(options.control_socket).config
    plan = compare(old, new, _read_keys(options.keys) if options.keys else None)
    if options.json:
        print_json(_document(plan))
    else:
        print("\n".join(_lines(plan)))
    return 2 if plan.moves_keys else 0


def _load(path: str) -> Config:
    try:
        return load(path, resolve=False)
    except ConfigError as error:
        raise CommandError(str(error)) from error


def _read_keys(path: str) -> Iterator[bytes]:
    """Yield the keys of a file. Raises CommandError."""
    try:
        with open(path, "rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")
    except OSError as error:
        raise CommandError(f"failed to read keys from '{path}': {error.strerror}") from error


def _document(plan: Plan) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(plan)
    document["moves_keys"] = plan.moves_keys
    document["lines"] = plan.changes.lines()
    return document


def _lines(plan: Plan) -> Iterator[str]:
    """Yield the lines for people."""
    if not plan.changes:
        yield "nothing changes"
    yield from plan.changes.lines()
    effects = {effect for pool in plan.changes.pools for effect in pool.effects}
    explained = [f"({effect}): {text}" for effect, text in EFFECTS.items() if effect in effects]
    kinds = {server.kind for pool in plan.changes.pools for server in pool.servers}
    explained += [text for kind, text in _SERVER_EFFECTS.items() if kind in kinds]
    if plan.moves_keys:
        explained.append(
            "the proxy copies no data: a key that moves is missing at its new server until it is written again"
        )
    if explained:
        yield from ["", *explained]
    for pool in plan.pools:
        if pool.old_fingerprint != pool.new_fingerprint or pool.keys is not None:
            yield from ["", *_lines_of_pool(pool)]


def _lines_of_pool(pool: PoolPlan) -> Iterator[str]:
    title = f"pool {quoted(pool.name)}:"
    if pool.moves and pool.estimate:
        yield f"{title} about {_percent(pool.moved)} of the keys move (an estimate: {pool.estimate})"
    elif pool.moves:
        yield f"{title} {_percent(pool.moved)} of the keys move"
    else:
        yield f"{title} no key moves"
    if pool.old_fingerprint != pool.new_fingerprint:
        yield f"  ring fingerprint: {pool.old_fingerprint} before, {pool.new_fingerprint} after"
    yield from _moves((_percent(move.share), move.origin, move.destination) for move in pool.moves)
    if pool.keys is not None:
        yield f"  of {pool.keys.total} given keys, {pool.keys.moved} move"
        yield from _moves((str(move.keys), move.origin, move.destination) for move in pool.keys.moves)


def _moves(moves: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    more = 0
    for position, (amount, origin, destination) in enumerate(moves):
        if position < _MOST_MOVES:
            yield f"    {amount:>7} from {quoted(origin)} to {quoted(destination)}"
        else:
            more += 1
    if more:
        yield f"    and {more} smaller ones; --json has all"


def _percent(share: float) -> str:
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{share * 100:.1f} %"


def _compare_fleet(options: argparse.Namespace) -> int:
    found = fleet.compare(fleet.parse_addresses(options.fleet))
    if options.json:
        print_json(msgspec.to_builtins(found))
    else:
        print("\n".join(found.lines()))
    if any(proxy.error for proxy in found.proxies):
        return ERROR_STATUS
    return 2 if found.differences else 0
