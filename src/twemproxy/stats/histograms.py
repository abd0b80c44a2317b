"""Histograms of latency: their buckets, in microseconds, and what is read from them.

A histogram is log-linear, as an HdrHistogram with two bits of precision: 4 buckets for each power of two, so a bucket
is at most a quarter as wide as its values. In a table of counters it takes ``WORDS`` words: the buckets, then the sum
of the values.
"""

from collections.abc import Sequence
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

    counts: tuple[int, ...]
    """How many values there are in each bucket."""
    total: int
    """The sum of all values, in microseconds."""

    @property
    def number(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def below(self, microseconds: int) -> int:
        """How many values are less than this one, which must be the lower bound of a bucket."""
        return sum(self.counts[: bucket_of(microseconds)])

    def quantile(self, share: float) -> float:
        """The value in microseconds that a ``share`` of the values do not exceed, from 0 to 1; 0 without values.

        Values are taken as spread evenly over their bucket.
        """
        wanted = share * self.number
        seen = 0
        for bucket, count in enumerate(self.counts):
            if count > 0 and seen + count >= wanted:
                low = lower_bound(bucket)
                return low + (lower_bound(bucket + 1) - low) * (wanted - seen) / count
            seen += count
        return 0.0


def histogram(words: Sequence[int]) -> Histogram:
    """The histogram in ``WORDS`` words of a table."""
    return Histogram(tuple(words[:BUCKETS]), words[BUCKETS])


def added(histograms: Sequence[Histogram]) -> Histogram:
    """One histogram with the values of all of these."""
    if not histograms:
        return Histogram((0,) * BUCKETS, 0)
    counts = tuple(map(sum, zip(*(each.counts for each in histograms), strict=True)))
    return Histogram(counts, sum(each.total for each in histograms))
