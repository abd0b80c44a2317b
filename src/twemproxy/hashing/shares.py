"""How many of the hash values each server has, and how many get another server when the placement changes.

All numbers are exact counts of hash values. They are shares of the keys as far as the hash function spreads the keys
evenly over its values: ``hsieh`` does not, and the FNV functions do not for a few hundred short keys with numbers.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from twemproxy.hashing.placement import PLACEMENTS, Placement, Point
from twemproxy.hashing.sharding import Sharding

Overlaps = dict[tuple[int, int], int]
"""The number of hash values by (server in one placement, server in another), without pairs that have none."""

Arc = tuple[int, int]
"""(end, server): the server has the values from the end of the arc before, or 0, up to this end, which is exclusive."""


class Shares(NamedTuple):
    """The share of each server of a pool."""

    counts: tuple[int, ...]
    """In the order of ``Sharding.names``."""
    total: int
    """The sum of the counts. The share of a server is its count divided by this."""


class Movement(NamedTuple):
    """The share of the keys that get another server."""

    counts: dict[tuple[bytes, bytes], int]
    """By (name of the former server, name of the new server), without keys that stay at the same name."""
    total: int
    """A count divided by this is a share of all keys."""
    estimate: str = ""
    """Why the counts are estimates; empty if they are exact."""

    @property
    def share(self) -> float:
        """The share of all keys that get another server."""
        return sum(self.counts.values()) / self.total


NO_MOVEMENT = Movement({}, 1)
"""Every key stays."""


def shares(sharding: Sharding, live: Sequence[int] | None = None) -> Shares:
    """Return the share of each server. With the distribution ``random`` it is a share of the requests.

    ``live``: the indices of the servers that have keys, in ascending order, at least one; None for all.
    """
    servers = len(sharding.names)
    owners = range(servers) if live is None else live
    if sharding.is_single or sharding.is_random:
        return Shares(tuple(int(index in owners) for index in range(servers)), len(owners))
    points, modulus = _placement(sharding, owners)
    values = sharding.hash_values
    counts = [0] * servers
    if 0 < modulus < values:
        before = 0
        for end, server in _arcs(points, modulus):
            counts[server] += _below(values, end, modulus) - _below(values, before, modulus)
            before = end
    else:
        before = 0
        for end, server in _arcs(points, values):
            counts[server] += end - before
            before = end
    return Shares(tuple(counts), values)


def movement(old: Sharding, new: Sharding) -> Movement:
    """Return the share of the keys that get another server.

    It is exact if both pools hash keys in the same way, or one has a single server. Otherwise the share of each pair of
    servers is the product of their shares, as if a key's former server said nothing about its new one.
    """
    if old.is_random and new.is_random:
        return NO_MOVEMENT
    estimate = _reason_for_estimate(old, new)
    if estimate or old.is_single or new.is_single:
        former, later = shares(old), shares(new)
        counts = {
            (i, j): count * other
            for i, count in enumerate(former.counts)
            for j, other in enumerate(later.counts)
            if count and other
        }
        total = former.total * later.total
    else:
        total = old.hash_values
        counts = overlaps(_placement(old), _placement(new), total)
    pairs = (((old.names[i], new.names[j]), count) for (i, j), count in counts.items())
    return Movement({pair: count for pair, count in pairs if pair[0] != pair[1]}, total, estimate)


def _reason_for_estimate(old: Sharding, new: Sharding) -> str:
    if old.is_random or new.is_random:
        return 'with distribution "random" no key has a server'
    if old.is_single or new.is_single:
        return ""
    if old.hash != new.hash:
        return "another hash places every key anew"
    if old.hash_tag != new.hash_tag:
        return "another hash_tag places every key anew that has a tag, and this is the share if all have one"
    return ""


def overlaps(first: Placement, second: Placement, values: int) -> Overlaps:
    """Return how many of the hash values from 0 to ``values``, exclusive, each pair of servers has in common.

    The first server of a pair is one of the first placement.
    """
    (points, modulus), (other_points, other_modulus) = first, second
    is_modular, other_is_modular = 0 < modulus < values, 0 < other_modulus < values
    if is_modular and other_is_modular:
        if modulus < other_modulus:
            return _transposed(overlaps(second, first, values))
        return _overlaps_of_moduli(
            _arcs(points, modulus), modulus, _arcs(other_points, other_modulus), other_modulus, values
        )
    if is_modular:
        return _transposed(overlaps(second, first, values))
    arcs = _arcs(points, values)
    if other_is_modular:
        return _overlaps_with_modulus(arcs, _arcs(other_points, other_modulus), other_modulus)
    return _overlaps_of_arcs(arcs, _arcs(other_points, values))


def _placement(sharding: Sharding, live: Sequence[int] | None = None) -> Placement:
    """Return the points of the servers. ``live``: as in ``shares``."""
    owners = range(len(sharding.names)) if live is None else live
    return PLACEMENTS[sharding.distribution](sharding.names, sharding.weights, owners)


def _transposed(found: Overlaps) -> Overlaps:
    return {(second, first): count for (first, second), count in found.items()}


def _arcs(points: Iterable[Point], end: int) -> list[Arc]:
    """Return the arcs of a placement, cut at ``end``, in ascending order."""
    arcs: list[Arc] = []
    owner = None
    reached = 0
    for value, server in points:
        owner = server if owner is None else owner
        upper = min(value + 1, end)
        if upper > reached:
            arcs.append((upper, server))
            reached = upper
    assert owner is not None
    return [*arcs, (end, owner)] if reached < end else arcs


def _below(value: int, limit: int, modulus: int) -> int:
    """Return how many of the numbers below ``value`` are, modulo ``modulus``, below ``limit``."""
    rounds, rest = divmod(value, modulus)
    return rounds * limit + min(rest, limit)


def _overlaps_of_arcs(first: list[Arc], second: list[Arc]) -> Overlaps:
    found: Overlaps = {}
    start, j = 0, 0
    for end, server in first:
        while start < end:
            other_end, other = second[j]
            upper = min(end, other_end)
            pair = (server, other)
            found[pair] = found.get(pair, 0) + upper - start
            start = upper
            j += other_end == upper
    return found


def _overlaps_with_modulus(arcs: list[Arc], slots: list[Arc], modulus: int) -> Overlaps:
    """As ``overlaps``; ``slots``: the arcs of the second placement, to which hash values modulo ``modulus`` belong."""
    rounds: dict[int, int] = {}
    rests: dict[int, list[tuple[int, int]]] = {}
    start = 0
    for end, server in arcs:
        for bound, sign in ((start, -1), (end, 1)):
            whole, rest = divmod(bound, modulus)
            rounds[server] = rounds.get(server, 0) + sign * whole
            rests.setdefault(server, []).append((rest, sign))
        start = end
    found: Overlaps = {}
    for server, signed in rests.items():
        signed.sort()
        # For each limit: the sum of sign * _below(bound, limit), of the rests that are below the limit, and the others.
        smaller, larger = 0, sum(sign for _, sign in signed)
        position, before = 0, 0
        for limit, other in slots:
            while position < len(signed) and signed[position][0] < limit:
                rest, sign = signed[position]
                smaller += sign * rest
                larger -= sign
                position += 1
            below = rounds[server] * limit + smaller + larger * limit
            if below != before:
                found[server, other] = found.get((server, other), 0) + below - before
            before = below
    return found


def _overlaps_of_moduli(first: list[Arc], modulus: int, second: list[Arc], smaller: int, values: int) -> Overlaps:
    """As ``overlaps``, for hash values modulo ``modulus`` and modulo ``smaller``, which is not larger.

    The hash values are divided into blocks of ``modulus`` values, in each of which the first servers have the same
    positions. A block begins at some offset in the slots of the second servers. Offsets repeat after
    ``smaller / gcd`` blocks, so there are at most as many different ones as the square root of the number of values.
    """
    blocks, last = divmod(values, modulus)
    period = smaller // math.gcd(modulus, smaller)
    rounds, rest = divmod(blocks, period)
    offsets = sorted((k * modulus % smaller, rounds + (k < rest)) for k in range(min(blocks, period)))
    above = _excess(offsets)
    last_offset = blocks * modulus % smaller

    limits = [0, *(end for end, _ in second)]

    def below(bound: int) -> list[int]:
        """Return, for each limit, how many of the first ``bound`` positions of all blocks are in slots below it.

        Each number is too large by the same one for every bound: the values below the offset of each block count, too.
        """
        whole, start = divmod(bound, smaller)
        # In a block with this offset, _below(offset + start, limit, smaller) is min(offset + start, limit), and when
        # the positions wrap around, min(offset + start - smaller, limit) more.
        constant = blocks * start + above(0) + above(smaller - start)
        in_last = last_offset + min(bound, last)
        return [
            constant
            + whole * blocks * limit
            - above(limit - start)
            - above(limit - start + smaller)
            + _below(in_last, limit, smaller)
            for limit in limits
        ]

    found: Overlaps = {}
    before = below(0)
    for bound, server in first:
        counts = below(bound)
        for position, (_, other) in enumerate(second):
            upper, lower = position + 1, position
            count = counts[upper] - before[upper] - counts[lower] + before[lower]
            if count:
                found[server, other] = found.get((server, other), 0) + count
        before = counts
    return found


def _excess(weighted: list[tuple[int, int]]) -> Callable[[int], int]:
    """Return a function of a bound: the sum of weight * (number - bound) over the numbers above the bound.

    ``weighted``: (number, weight) in ascending order.
    """
    numbers = [number for number, _ in weighted]
    weights = [0, *accumulate(weight for _, weight in weighted)]
    sums = [0, *accumulate(number * weight for number, weight in weighted)]
    weight, total = weights[-1], sums[-1]

    def above(bound: int) -> int:
        position = bisect_left(numbers, bound)
        return total - sums[position] - bound * (weight - weights[position])

    return above
