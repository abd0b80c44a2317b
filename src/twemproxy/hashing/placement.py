"""The points of a pool's servers on the ring, one function per distribution.

A placement is a list of points (value, server index) in ascending order of value, and a modulus. A hash value, taken
modulo the modulus, belongs to the server of the first point with the same or a larger value; after the last point, to
the server of the first point. The modulus 0 means none, and so does 2**32 or more: hash values have 32 bits.
"""

import hashlib
import itertools
import struct
from collections.abc import Callable, Sequence

Point = tuple[int, int]
Placement = tuple[list[Point], int]

HASH_VALUES = 1 << 32
POINTS_PER_SERVER = 160
POINTS_PER_DIGEST = 4
LONGEST_DIGESTED = 272
"""Bytes of the text of a ketama point that are hashed."""

_single = struct.Struct("f")
_digest = struct.Struct("<4I")


def single(value: float) -> float:
    """``value`` rounded to single precision."""
    rounded: float = _single.unpack(_single.pack(value))[0]
    return rounded


def digests_of(weight: int, total_weight: int, live: int) -> int:
    """How many digests, of four points each, ketama gives a server of this weight.

    Each step is rounded to single precision, so with equal weights a server can get one digest less than a fair share.
    """
    share = single(single(weight) / single(total_weight))
    share = single(share * POINTS_PER_SERVER)
    share = single(share / POINTS_PER_DIGEST)
    share = single(share * single(live))
    return int(single(share + 1e-10))


def digest_counts(weights: Sequence[int]) -> list[int]:
    """How many digests each of the live servers gets.

    nutcracker's total weight wraps at 2**32. Then every server gets more points than its share, and nutcracker has
    memory for up to as many more points as ten servers have. Where there would be more points, the true total is used.
    """
    total = sum(weights)
    wrapped = total % HASH_VALUES
    if 0 < wrapped < total:
        counts = _counts(weights, wrapped)
        if sum(counts) * POINTS_PER_DIGEST <= (len(weights) + 10) * POINTS_PER_SERVER:
            return counts
    return _counts(weights, total)


def _counts(weights: Sequence[int], total: int) -> list[int]:
    """As ``digest_counts``, with this total weight."""
    of_weight = {weight: digests_of(weight, total, len(weights)) for weight in set(weights)}
    return [of_weight[weight] for weight in weights]


def digest_points(name: bytes, count: int) -> list[int]:
    """The values of the points of a server's first ``count`` digests: POINTS_PER_DIGEST of each, in order."""
    points: list[int] = []
    for i in range(count):
        text = b"%s-%d" % (name, i)
        points += _digest.unpack(hashlib.md5(text[:LONGEST_DIGESTED], usedforsecurity=False).digest())
    return points


def ketama(names: Sequence[bytes], weights: Sequence[int], live: Sequence[int]) -> Placement:
    """Points at the MD5 of ``name-0``, ``name-1``, …; their number is proportional to the server's weight."""
    packed: list[int] = []
    for index, count in zip(live, digest_counts([weights[index] for index in live]), strict=True):
        packed += [value << 32 | index for value in digest_points(names[index], count)]
    packed.sort()
    return [(point >> 32, point & 0xFFFFFFFF) for point in packed], 0


def modula(names: Sequence[bytes], weights: Sequence[int], live: Sequence[int]) -> Placement:
    """Each server has as many consecutive slots as its weight; its point is its last slot."""
    ends = list(itertools.accumulate(weights[index] for index in live))
    points = [(min(end, HASH_VALUES) - 1, index) for end, index in zip(ends, live, strict=True)]
    return points, ends[-1] if ends[-1] < HASH_VALUES else 0


def random(names: Sequence[bytes], weights: Sequence[int], live: Sequence[int]) -> Placement:
    """One slot per server, whatever its weight; the value that is looked up is a random number, not a hash."""
    return list(enumerate(live)), len(live)


PLACEMENTS: dict[str, Callable[[Sequence[bytes], Sequence[int], Sequence[int]], Placement]] = {
    "ketama": ketama,
    "modula": modula,
    "random": random,
}
"""Distribution to function; arguments: the pool's names and weights, and the indices of the live servers."""
