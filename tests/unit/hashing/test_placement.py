import pytest

from twemproxy.hashing import DISTRIBUTIONS
from twemproxy.hashing.placement import PLACEMENTS, digest_counts, ketama, modula, random

# Server counts up to 400 whose equal shares are less than 40 digests in single precision.
SHORT_SHARES = {
    *(25, 47, 50, 55, 61, 71, 94, 100, 107, 109, 110, 115, 122, 142, 159, 163, 188, 193, 200, 209, 214),
    *(
        218,
        219,
        220,
        230,
        237,
        243,
        244,
        279,
        284,
        293,
        299,
        301,
        305,
        313,
        318,
        319,
        326,
        376,
        386,
        397,
        400,
    ),
}
LARGEST_WEIGHT = (1 << 31) - 1


def test_every_distribution_has_a_placement():
    assert tuple(PLACEMENTS) == DISTRIBUTIONS


def test_equal_weights_give_39_digests_where_single_precision_says_so():
    counts = {servers: set(digest_counts([1] * servers)) for servers in range(1, 401)}
    assert counts == {servers: {39 if servers in SHORT_SHARES else 40} for servers in range(1, 401)}


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ([1, 2, 5], [15, 30, 75]),
        ([30, 10, 20], [60, 20, 40]),
        ([2, 1], [53, 26]),
        ([100000, 1], [79, 0]),
        ([4, 3, 3, 3], [49, 36, 36, 36]),
        ([4294967295, 1], [80, 0]),
        ([LARGEST_WEIGHT] * 2, [40, 40]),
    ],
)
def test_digests_go_by_weight(weights, counts):
    assert digest_counts(weights) == counts


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ([LARGEST_WEIGHT] * 3, [120] * 3),
        ([LARGEST_WEIGHT] * 4, [80] * 4),
        ([LARGEST_WEIGHT] * 5, [40] * 5),
        ([((1 << 33) - 8) // 10] * 10, [80] * 10),
        ([((1 << 33) - 8) // 11] * 11, [40] * 11),
    ],
)
def test_a_total_weight_that_wraps_counts_while_nutcracker_survives_it(weights, counts):
    assert digest_counts(weights) == counts


def test_text_beyond_272_bytes_does_not_count():
    name = b"x" * 272
    assert ketama([name], [1], [0]) == ketama([name + b"y"], [1], [0])
    assert len({value for value, _ in ketama([name], [1], [0])[0]}) == 4
    assert len({value for value, _ in ketama([name[:-2]], [1], [0])[0]}) > 4


def test_equal_points_are_in_order_of_index():
    points, modulus = ketama([b"same", b"same", b"same"], [1, 1, 1], [0, 2])
    assert [index for _, index in points] == [0, 2] * 160
    assert modulus == 0


def test_modula_ends_a_servers_slots_at_its_point():
    assert modula([b"a", b"b", b"c"], [2, 1, 3], [0, 1, 2]) == ([(1, 0), (2, 1), (5, 2)], 6)
    assert modula([b"a", b"b", b"c"], [2, 1, 3], [0, 2]) == ([(1, 0), (4, 2)], 5)


def test_modula_with_more_slots_than_hash_values():
    points, modulus = modula([b"a", b"b", b"c"], [4294967295, 1, 7], [0, 1, 2])
    assert points == [(4294967294, 0), (4294967295, 1), (4294967295, 2)]
    assert modulus == 0


def test_random_ignores_weights():
    assert random([b"a", b"b", b"c"], [9, 1, 5], [0, 2]) == ([(0, 0), (1, 2)], 2)
