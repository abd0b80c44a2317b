"""Histograms of latency: their buckets, in microseconds, and what is read from them.

A histogram is log-linear, as an HdrHistogram with two bits of precision: 4 buckets for each power of two, so a bucket
is at most a quarter as wide as its values. In a table of counters it takes ``WORDS`` words: the buckets, then the sum
of the values.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

BUCKETS: Final = 104
"""The last bucket has no upper bound; it begins at 117 seconds."""

WORDS: Final = BUCKETS + 1


def bucket_of(microseconds: int) -> int:
    """The bucket of a value; a negative value is in the first one."""
    if microseconds < 4:
        return max(microseconds, 0)
    power = microseconds.bit_length() - 1
    return min(4 * (power - 1) + ((microseconds >> (power - 2)) & 3), BUCKETS - 1)


def lower_bound(bucket: int) -> int:
    """The smallest value of a bucket, from 0 to BUCKETS - 1. That of BUCKETS is where one more would begin."""
    if bucket < 4:
        return bucket
    return (4 + bucket % 4) << (bucket // 4 - 1)


BOUNDS: Final = tuple(lower_bound(bucket) for bucket in range(BUCKETS))


class Histogram(NamedTuple):
    """Values that were counted."""

    words: Sequence[int]
    """How many values there are in each bucket, then the sum of all values in microseconds: ``WORDS`` words."""

    @property
    def counts(self) -> Sequence[int]:
        """How many values there are in each bucket."""
        return self.words[:BUCKETS]

    @property
    def total(self) -> int:
        """The sum of all values, in microseconds."""
        return self.words[BUCKETS]

    @property
    def number(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """Return the quantiles of these shares, from 0 to 1, in microseconds.

        The values of a bucket count as spread evenly over it. Without values all quantiles are 0.
        """
        seen = list(accumulate(self.counts))
        number = seen[-1]
        if number == 0:
            return [0.0] * len(shares)
        found = []
        for share in shares:
            wanted = share * number
            # The first bucket with which enough values are seen; for 0, the first one that has values.
            bucket = bisect_left(seen, wanted) if wanted > 0 else bisect_right(seen, 0)
            low, count = BOUNDS[bucket], self.words[bucket]
            found.append(low + (lower_bound(bucket + 1) - low) * (wanted - (seen[bucket] - count)) / count)
        return found
