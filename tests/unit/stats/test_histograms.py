"""The buckets of histograms, and quantiles."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from twemproxy.stats.histograms import BOUNDS, BUCKETS, Histogram, bucket_of, lower_bound


@given(st.integers(min_value=0, max_value=1 << 40))
def test_a_value_is_in_its_bucket(value: int) -> None:
    bucket = bucket_of(value)
    assert lower_bound(bucket) <= value
    assert bucket == BUCKETS - 1 or value < lower_bound(bucket + 1)


def test_buckets_are_in_order_and_a_quarter_wide_at_most() -> None:
    for low, high in pairwise(BOUNDS):
        assert low < high <= max(low * 1.25, low + 1)
    assert BOUNDS[-1] > 100_000_000


def test_a_negative_value_is_in_the_first_bucket() -> None:
    assert bucket_of(-5) == 0


def of(*values: int) -> Histogram:
    words = [0] * (BUCKETS + 1)
    for value in values:
        words[bucket_of(value)] += 1
        words[BUCKETS] += value
    return Histogram(words)


@given(st.lists(st.integers(min_value=0, max_value=100_000_000), min_size=1), st.floats(min_value=0.01, max_value=1))
def test_a_quantile_is_in_the_bucket_of_the_value(values: list[int], share: float) -> None:
    exact = sorted(values)[min(int(-(-len(values) * share // 1)), len(values)) - 1]
    found = of(*values).quantiles([share])[0]
    assert lower_bound(bucket_of(exact)) <= found <= lower_bound(bucket_of(exact) + 1)


def test_without_values_a_quantile_is_zero() -> None:
    assert of().quantiles([0.5, 0.99]) == [0, 0]


def test_the_sum_and_the_number_of_values() -> None:
    found = of(10, 63, 64, 65, 1000)
    assert (found.number, found.total, found.counts[bucket_of(64)]) == (5, 1202, 2)
