"""The shares of servers and of keys that move, compared with counted hash values and counted keys."""

import bisect
import collections
import itertools
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twemproxy.hashing import DISTRIBUTIONS, HASHES
from twemproxy.hashing.functions import hash_bytes
from twemproxy.hashing.placement import ketama, modula
from twemproxy.hashing.ring import RingBuilder
from twemproxy.hashing.sharding import Sharding
from twemproxy.hashing.shares import movement, overlaps, shares

KEYS = 100_000
LARGEST_WEIGHT = (1 << 31) - 1
UNEVEN = {"hsieh": 0.2}
"""Hash functions that do not spread random keys evenly over their values."""
KEYED = [(distribution, hash) for distribution in ("ketama", "modula") for hash in HASHES]


def sharding(servers=3, distribution="ketama", hash="md5", hash_tag=b"", weights=None, first=0):
    names = tuple(b"server%04d" % i for i in range(first, first + servers))
    return Sharding(distribution, hash, hash_tag, names, tuple(weights or [1] * servers))


def ring_of(one):
    ring = RingBuilder(one.distribution, one.hash, one.hash_tag, one.names, one.weights, 1).build(
        [True] * len(one.names)
    )
    return lambda key: one.names[ring.server_for(key)]


def random_keys(count=KEYS):
    """Keys whose hashes are random, because their bytes are."""
    return [
        hash_bytes("md5", b"%d" % i).to_bytes(4, "big") + hash_bytes("md5", b"+%d" % i).to_bytes(4, "big")
        for i in range(count)
    ]


def owner(placement, value):
    points, modulus = placement
    values = [value for value, _ in points]
    at = bisect.bisect_left(values, value % modulus if modulus else value)
    return points[at % len(points)][1]


def counted(first, second, values):
    pairs = ((owner(first, value), owner(second, value)) for value in range(values))
    return dict(collections.Counter(pairs))


def within_bounds(counted_keys, share, unevenness=0.0):
    """Whether a count is within five standard deviations of what the share says.

    ``unevenness``: how much more or less the hash function gives to some values, relative to the share.
    """
    deviation = math.sqrt(share * (1 - share) * KEYS)
    return abs(counted_keys - share * KEYS) <= 5 * deviation + unevenness * share * KEYS + 1


small_weights = st.lists(st.integers(1, 40), min_size=1, max_size=4)
small_modula = small_weights.map(lambda weights: modula([b"x"] * len(weights), weights, range(len(weights))))
small_points = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 3)), min_size=1, max_size=12)
small_ring = small_points.map(lambda points: (sorted(points), 0))
placements = st.one_of(small_modula, small_ring)


@given(placements, placements, st.integers(1, 3000))
def test_overlaps_are_what_counting_says(first, second, values):
    assert overlaps(first, second, values) == counted(first, second, values)


@given(small_weights, small_weights, st.integers(1, 64), st.integers(1, 64), st.integers(1, 5000))
def test_moduli_with_common_factors(weights, others, factor, other_factor, values):
    first = modula([b"x"] * len(weights), [weight * factor for weight in weights], range(len(weights)))
    second = modula([b"x"] * len(others), [weight * other_factor for weight in others], range(len(others)))
    assert overlaps(first, second, values) == counted(first, second, values)


@given(st.lists(st.integers(1, LARGEST_WEIGHT), min_size=2, max_size=4), st.integers(1, LARGEST_WEIGHT))
def test_large_moduli_are_counted_completely(weights, more):
    old = sharding(len(weights), "modula", weights=weights)
    new = sharding(len(weights) + 1, "modula", weights=[*weights, more])
    found = movement(old, new)
    both = shares(old), shares(new)
    for position, name in enumerate(new.names):
        gets = sum(count for (_, to), count in found.counts.items() if to == name)
        loses = sum(count for (origin, _), count in found.counts.items() if origin == name)
        had = both[0].counts[position] if position < len(weights) else 0
        assert had - loses + gets == both[1].counts[position]
    assert movement(old, old).counts == {}


def test_one_more_slot_moves_what_wraps():
    """By hand: v mod 2**31 and v mod (2**31 + 1), each with its first slot on one server."""
    old = sharding(2, "modula", weights=[1, LARGEST_WEIGHT])
    new = sharding(2, "modula", weights=[1, LARGEST_WEIGHT + 1])
    # Old: 0 and 2**31 are the first server's; new: 0 and 2**31 + 1.
    assert movement(old, new).counts == {
        (b"server0000", b"server0001"): 1,
        (b"server0001", b"server0000"): 1,
    }
    assert movement(old, new).total == 1 << 32


@pytest.fixture(scope="module")
def key_of_value():
    """A key for each of the 32768 values of crc32."""
    keys: dict[int, bytes] = {}
    for i in itertools.count():
        key = b"key:%d" % i
        keys.setdefault(hash_bytes("crc32", key), key)
        if len(keys) == 1 << 15:
            return [keys[value] for value in range(1 << 15)]


@pytest.mark.parametrize("new_servers", [1, 3, 4, 7, 40])
@pytest.mark.parametrize(("old_distribution", "new_distribution"), [*itertools.product(DISTRIBUTIONS[:2], repeat=2)])
def test_every_value_of_crc32_through_the_ring(key_of_value, old_distribution, new_distribution, new_servers):
    old = sharding(3, old_distribution, "crc32", weights=[5, 4000, 31])
    new = sharding(new_servers, new_distribution, "crc32", weights=[i * i + 3 for i in range(new_servers)], first=1)
    old_ring, new_ring = ring_of(old), ring_of(new)
    places = collections.Counter((old_ring(key), new_ring(key)) for key in key_of_value)
    found = movement(old, new)
    assert not found.estimate
    scale = found.total // (1 << 15)
    assert found.counts == {pair: count * scale for pair, count in places.items() if pair[0] != pair[1]}
    for one, side in ((old, 0), (new, 1)):
        counts: collections.Counter[bytes] = collections.Counter()
        for pair, count in places.items():
            counts[pair[side]] += count
        result = shares(one)
        assert [counts[name] * result.total for name in one.names] == [count << 15 for count in result.counts]


@pytest.fixture(scope="module")
def keys():
    return random_keys()


@pytest.mark.parametrize(("distribution", "hash"), KEYED)
def test_counted_keys_have_the_shares(keys, distribution, hash):
    uneven = UNEVEN.get(hash, 0.0)
    old = sharding(5, distribution, hash, weights=[1, 2, 3, 4, 7])
    new = sharding(6, distribution, hash, weights=[1, 2, 3, 4, 9, 1], first=1)
    old_ring, new_ring = ring_of(old), ring_of(new)
    places = collections.Counter((old_ring(key), new_ring(key)) for key in keys)
    result = shares(old)
    assert sum(result.counts) == result.total
    for name, count in zip(old.names, result.counts, strict=True):
        keys_of_server = sum(number for pair, number in places.items() if pair[0] == name)
        assert within_bounds(keys_of_server, count / result.total, uneven)
    found = movement(old, new)
    for pair in itertools.product(old.names, new.names):
        if pair[0] != pair[1]:
            assert within_bounds(places[pair], found.counts.get(pair, 0) / found.total, uneven)


@pytest.mark.parametrize(("old_distribution", "new_distribution"), [*itertools.permutations(DISTRIBUTIONS[:2])])
def test_another_distribution_of_the_same_hash_is_exact(keys, old_distribution, new_distribution):
    old, new = sharding(5, old_distribution, "murmur"), sharding(4, new_distribution, "murmur", weights=[1, 2, 3, 4])
    old_ring, new_ring = ring_of(old), ring_of(new)
    moved = sum(old_ring(key) != new_ring(key) for key in keys)
    found = movement(old, new)
    assert not found.estimate
    assert within_bounds(moved, found.share)


def test_another_hash_is_an_estimate(keys):
    old, new = sharding(4, hash="md5", weights=[1, 2, 3, 4]), sharding(4, hash="murmur", weights=[4, 3, 2, 1])
    old_ring, new_ring = ring_of(old), ring_of(new)
    moved = sum(old_ring(key) != new_ring(key) for key in keys)
    found = movement(old, new)
    assert "hash" in found.estimate
    assert abs(moved / KEYS - found.share) < 0.01


def test_another_hash_tag_is_an_estimate():
    found = movement(sharding(4), sharding(4, hash_tag=b"{}"))
    assert "hash_tag" in found.estimate
    assert 0.7 < found.share < 0.8


def test_no_key_has_a_server_with_random():
    old = sharding(4, "random", weights=[1, 2, 3, 4])
    assert shares(old) == ((1, 1, 1, 1), 4)
    assert movement(old, sharding(3, "random")).counts == {}
    found = movement(old, sharding(4))
    assert "random" in found.estimate
    assert math.isclose(found.share, 0.75)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_single_server_has_everything(distribution):
    single = sharding(1, distribution, "crc32", weights=[7])
    assert shares(single) == ((1,), 1)
    assert movement(single, sharding(1, "modula", "murmur")).counts == {}
    several = sharding(2, hash="murmur", weights=[1, 3])
    found = movement(single, several)
    assert not found.estimate
    assert found.counts == {(b"server0000", b"server0001"): shares(several).counts[1]}
    assert found.total == shares(several).total
    assert movement(several, single).counts == {(b"server0001", b"server0000"): shares(several).counts[1]}


def test_a_server_without_points_has_no_share():
    assert shares(sharding(2, weights=[100000, 1])).counts == (1 << 32, 0)
    assert shares(sharding(2, hash="crc32", weights=[1, 1])).total == 1 << 15


def test_weights_beyond_the_number_of_hash_values():
    result = shares(sharding(3, "modula", weights=[LARGEST_WEIGHT] * 3))
    assert result.counts == (LARGEST_WEIGHT, LARGEST_WEIGHT, 2)


@pytest.mark.parametrize(("old_distribution", "new_distribution"), [*itertools.product(DISTRIBUTIONS[:2], repeat=2)])
def test_a_thousand_servers_take_seconds(old_distribution, new_distribution):
    old = sharding(1000, old_distribution, weights=[i % 7 + 60 for i in range(1000)])
    new = sharding(1001, new_distribution, weights=[i % 5 + 60 for i in range(1001)])
    start = time.process_time()
    found = movement(old, new)
    assert time.process_time() - start < 10
    assert 0 < found.share < 1


def test_points_of_equal_value_belong_to_the_first():
    names = [b"same", b"same"]
    ring = ketama(names, [1, 1], [0, 1])
    assert overlaps(ring, ring, 1 << 32) == {(0, 0): 1 << 32}
