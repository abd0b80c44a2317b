"""Where the servers of a pool lie on its continuum, one function per distribution.

A placement is a list of points (value, server index) in ascending order of value, and a modulus. The owner of
a hash value is that of the first point at or above the value modulo the modulus; past the last point, that of
the first. A modulus of 0 is none, which also stands for 2**32 and more: hash values have 32 bits.
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
"""Bytes of a ketama point's text that count."""

_single = struct.Struct("f")
_digest = struct.Struct("<4I")


def single(value: float) -> float:
    """``value`` rounded to single precision."""
    rounded: float = _single.unpack(_single.pack(value))[0]
    return rounded


def digests_of(weight: int, total_weight: int, live: int) -> int:
    """How many digests, of four points each, ketama gives a server of this weight.

    Every step is rounded to single precision, so equal weights can give one digest less than a fair share.
    """
    share = single(single(weight) / single(total_weight))
    share = single(share * POINTS_PER_SERVER)
    share = single(share / POINTS_PER_DIGEST)
    share = single(share * single(live))
    return int(single(share + 1e-10))


def digest_counts(weights: Sequence[int]) -> list[int]:
    """How many digests each of the live servers gets.

    nutcracker's total weight wraps at 2**32, which gives every server more points than its share; it survives
    as many points as ten more servers would have. Where there would be more, the true total counts.
    """
    total = sum(weights)
    wrapped = total % HASH_VALUES
    if 0 < wrapped < total:
        counts = [digests_of(weight, wrapped, len(weights)) for weight in weights]
        if sum(counts) * POINTS_PER_DIGEST <= (len(weights) + 10) * POINTS_PER_SERVER:
            return counts
    return [digests_of(weight, total, len(weights)) for weight in weights]


def ketama(names: Sequence[bytes], weights: Sequence[int], live: Sequence[int]) -> Placement:
    """Points at the MD5 of ``name-0``, ``name-1``, …; how many is in proportion to a server's weight."""
    packed: list[int] = []
    for index, count in zip(live, digest_counts([weights[index] for index in live]), strict=True):
        for i in range(count):
            text = b"%s-%d" % (names[index], i)
            digest = hashlib.md5(text[:LONGEST_DIGESTED], usedforsecurity=False).digest()
            packed += [value << 32 | index for value in _digest.unpack(digest)]
    packed.sort()
    return [(point >> 32, point & 0xFFFFFFFF) for point in packed], 0


def modula(names: Sequence[bytes], weights: Sequence[int], live: Sequence[int]) -> Placement:
    """As many slots in a row as a server has weight; its point is its last slot."""
    ends = list(itertools.accumulate(weights[index] for index in live))
    points = [(min(end, HASH_VALUES) - 1, index) for end, index in zip(ends, live, strict=True)]
    return points, ends[-1] if ends[-1] < HASH_VALUES else 0


def random(names: Sequence[bytes], weights: Sequence[int], live: Sequence[int]) -> Placement:
    """One slot per server, whatever its weight; the value looked up is drawn and not a hash."""
    return list(enumerate(live)), len(live)


PLACEMENTS: dict[str, Callable[[Sequence[bytes], Sequence[int], Sequence[int]], Placement]] = {
    "ketama": ketama,
    "modula": modula,
    "random": random,
}
"""Distribution to its placement; takes the pool's names and weights, and the live servers' indices."""
