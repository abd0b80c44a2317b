import bisect
import collections
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twemproxy.hashing import HASHES
from twemproxy.hashing.placement import ketama

GOLDEN = Path(__file__).parents[2] / "golden"
RING = json.loads((GOLDEN / "ring.json").read_text())
LIVE = json.loads((GOLDEN / "live_ring.json").read_text())

THREE = [b"10.0.0.1:6379", b"10.0.0.2:6379", b"10.0.0.3:6379"]


@pytest.fixture(scope="session")
def make_builder(flavour):
    """Makes a builder of rings; the default values are those of a pool, with equal weights."""
    make = flavour("twemproxy.hashing.ring").RingBuilder

    def with_defaults(names=THREE, weights=None, distribution="ketama", hash="fnv1a_64", hash_tag=b"", seed=1):
        return make(distribution, hash, hash_tag, names, weights or [1] * len(names), seed)

    return with_defaults


@pytest.fixture(scope="session")
def make_ring(make_builder):
    """Makes a ring of live servers, with the default values of ``make_builder``."""

    def with_defaults(names=THREE, *others, **named):
        return make_builder(names, *others, **named).build([True] * len(names))

    return with_defaults


@pytest.fixture(scope="session")
def hash_bytes(flavour):
    return flavour("twemproxy.hashing.functions").hash_bytes


@pytest.mark.parametrize("case", RING["cases"], ids=lambda case: f"{case['name']}-{case['hash']}")
def test_ring_vectors(make_builder, case):
    servers = case["servers_sorted"]
    builder = make_builder(
        [server["name"].encode() for server in servers],
        [server["weight"] for server in servers],
        case["distribution"],
        case["hash"],
        case.get("hash_tag", "").encode(),
    )
    live = [server["name"] not in case.get("ejected", ()) for server in servers]
    # Without a live server a pool keeps its ring.
    ring = builder.build(live if any(live) else [True] * len(live))
    assert [ring.server_for(bytes.fromhex(key)) for key in RING["keys"]] == case["idx"]
    if case["distribution"] == "ketama":
        points = ring.points()
        assert [list(point) for point in points[:12]] == case["continuum_head"]
        assert len(points) == case["ncontinuum"]
        of_server = collections.Counter(index for _, index in points)
        assert [of_server[server["idx"]] for server in servers] == [server["points"] for server in servers]


@pytest.mark.parametrize("pool", LIVE["pools"], ids=range(len(LIVE["pools"])))
def test_pools_asked_of_a_live_nutcracker(make_builder, pool):
    names = [name.encode() for name in pool["names"]]
    builder = make_builder(names, pool["weights"], pool["distribution"], pool["hash"], pool["hash_tag"].encode())
    ring = builder.build([index not in pool["ejected"] for index in range(len(names))])
    assert [ring.server_for(bytes.fromhex(key)) for key in LIVE["keys"]] == pool["owners"]


@pytest.mark.parametrize(
    ("tag", "key", "hashed"),
    [
        (b"{}", b"{user1}:ids", b"user1"),
        (b"{}", b"ids:{user1}", b"user1"),
        (b"{}", b"a{b}c{d}e", b"b"),
        (b"{}", b"a{b{c}d", b"b{c"),
        (b"{}", b"a}b{c}d", b"c"),
        (b"{}", b"x{}y", b"x{}y"),
        (b"{}", b"x{}y{z}", b"x{}y{z}"),
        (b"{}", b"x{user1", b"x{user1"),
        (b"{}", b"x}user1{", b"x}user1{"),
        (b"{}", b"{", b"{"),
        (b"{}", b"plain", b"plain"),
        (b"{}", b"{\x00}", b"\x00"),
        (b"$$", b"a$b$c", b"b"),
        (b"$$", b"a$$c$d$", b"a$$c$d$"),
        (b"$$", b"a$b", b"a$b"),
        (b"\xfe\xff", b"a\xfeb\xffc", b"b"),
        (b"", b"{user1}:ids", b"{user1}:ids"),
    ],
)
@pytest.mark.parametrize("distribution", ["ketama", "modula"])
def test_hash_tag(make_ring, tag, key, hashed, distribution):
    names = [b"server%03d" % i for i in range(101)]
    tagged = make_ring(names, distribution=distribution, hash="murmur", hash_tag=tag)
    untagged = make_ring(names, distribution=distribution, hash="murmur")
    assert tagged.server_for(key) == untagged.server_for(hashed)


@pytest.mark.parametrize("distribution", ["ketama", "modula"])
def test_an_empty_key_has_the_value_0(make_ring, distribution):
    ring = make_ring(distribution=distribution, hash="jenkins", hash_tag=b"{}")
    assert ring.server_for(b"") == ring.points()[0][1]


@pytest.mark.parametrize("distribution", ["ketama", "modula", "random"])
def test_a_single_server_owns_everything(make_ring, distribution):
    ring = make_ring([b"only"], distribution=distribution)
    assert {ring.server_for(key) for key in (b"", b"a", b"b", b"\xff" * 99)} == {0}


@pytest.mark.parametrize("distribution", ["ketama", "modula", "random"])
def test_only_live_servers_own_keys(make_builder, distribution):
    builder = make_builder(weights=[3, 1, 2], distribution=distribution)
    whole = builder.build([True, True, True])
    everything = whole.points()
    keys = [b"key-%d" % i for i in range(500)]
    assert {builder.build([True, False, True]).server_for(key) for key in keys} == {0, 2}
    assert builder.build([True, True, True]).points() == whole.points() == everything


def test_ejection_moves_only_the_keys_of_the_ejected(make_builder):
    builder = make_builder()
    keys = [b"key-%d" % i for i in range(500)]
    before, after = (
        [ring.server_for(key) for key in keys] for ring in map(builder.build, ([True] * 3, [True, False, True]))
    )
    assert [b for a, b in zip(before, after, strict=True) if a != 1] == [a for a in before if a != 1]


def test_of_equal_points_the_first_owns(make_ring):
    ring = make_ring([b"same", b"same"])
    assert len(ring.points()) == 320
    assert {ring.server_for(b"key-%d" % i) for i in range(300)} == {0}


def test_modula_with_huge_weights(make_ring, hash_bytes):
    weights = [4294967290, 4, 4294967295]
    ring = make_ring(weights=weights, distribution="modula", hash="murmur")
    keys = [b"key-%d" % i for i in range(200)]
    assert [ring.server_for(key) for key in keys] == [
        0 if hash_bytes("murmur", key) < weights[0] else 1 for key in keys
    ]


def test_random_draws_evenly_whatever_the_weights(make_ring):
    ring = make_ring(weights=[100, 1, 1], distribution="random", seed=3)
    draws = collections.Counter(ring.server_for(b"same key") for _ in range(6000))
    assert set(draws) == {0, 1, 2}
    assert all(1800 < count < 2200 for count in draws.values())


def test_random_follows_its_seed(make_ring):
    def draws(seed):
        ring = make_ring(distribution="random", seed=seed)
        return [ring.server_for(b"key") for _ in range(50)]

    assert draws(7) == draws(7)
    assert len({tuple(draws(seed)) for seed in range(20)}) == 20


def test_flavours_draw_alike(both_flavours):
    compiled, interpreted = (
        module.RingBuilder("random", "fnv1a_64", b"", THREE, [1, 1, 1], 12345).build([True] * 3)
        for module in both_flavours("twemproxy.hashing.ring")
    )
    assert [compiled.server_for(b"k") for _ in range(300)] == [interpreted.server_for(b"k") for _ in range(300)]


@given(
    distribution=st.sampled_from(["ketama", "modula"]),
    hash=st.sampled_from(HASHES),
    weights=st.lists(st.integers(1, 40) | st.integers(1, 2**31 - 1), min_size=2, max_size=12),
    keys=st.lists(st.binary(max_size=30), min_size=1, max_size=30),
    data=st.data(),
)
def test_the_owner_is_that_of_the_first_point_at_or_above(
    make_builder, hash_bytes, distribution, hash, weights, keys, data
):
    builder = make_builder([b"server%d" % i for i in range(len(weights))], weights, distribution, hash)
    live = data.draw(st.lists(st.booleans(), min_size=len(weights), max_size=len(weights)).filter(any))
    ring = builder.build(live)
    points = ring.points()
    assert points == sorted(points)
    assert {index for _, index in points} <= {index for index, alive in enumerate(live) if alive}
    slots = sum(weight for weight, alive in zip(weights, live, strict=True) if alive)
    for key in keys:
        value = hash_bytes(hash, key) if key else 0
        if distribution == "modula":
            value %= slots
        first = bisect.bisect_left(points, (value, -1))
        assert ring.server_for(key) == points[first % len(points)][1]


@given(
    weights=st.lists(st.integers(1, 3) | st.integers(1, 2**31 - 1), min_size=1, max_size=30),
    rounds=st.lists(st.sets(st.integers(0, 29)), max_size=5),
)
def test_ketama_points_are_the_same_however_servers_left_and_came_back(make_builder, weights, rounds):
    names = [b"server%d" % i for i in range(len(weights))]
    builder = make_builder(names, weights, "ketama", "fnv1a_64")
    for ejected in [set(), *rounds]:
        live = [index for index in range(len(weights)) if index not in ejected]
        if live:
            assert (
                builder.build([index in live for index in range(len(weights))]).points()
                == ketama(names, weights, live)[0]
            )


@pytest.mark.parametrize(
    "arguments",
    [
        {"distribution": "roundrobin"},
        {"hash": "sha1"},
        {"hash_tag": b"{"},
        {"hash_tag": b"{{}"},
        {"names": []},
        {"weights": [1, 2]},
        {"weights": [1, 0, 1]},
    ],
)
def test_what_makes_no_ring_is_refused(make_builder, arguments):
    with pytest.raises(ValueError):
        make_builder(**arguments)


@pytest.mark.parametrize("live", [[True, True], [True] * 4, [False] * 3, []])
def test_a_ring_needs_a_bool_for_each_server_and_a_live_server(make_builder, live):
    with pytest.raises(ValueError):
        make_builder().build(live)


def test_each_ring_draws_other_numbers(make_builder):
    builder = make_builder(distribution="random")
    rings = [builder.build([True] * 3) for _ in range(20)]
    assert len({tuple(ring.server_for(b"key") for _ in range(50)) for ring in rings}) == 20


@pytest.mark.parametrize("distribution", ["ketama", "modula", "random"])
@pytest.mark.parametrize("live", [[True] * 5, [True, False, True, True, False]])
def test_a_prepared_builder_builds_the_same_rings(flavour, distribution, live):
    make = flavour("twemproxy.hashing.ring").RingBuilder
    arguments = (distribution, "md5", b"", [b"s%d" % i for i in range(5)], [1, 3, 1, 2, 1], 7)
    prepared, other = make(*arguments), make(*arguments)
    steps = sum(1 for _ in prepared.prepare())
    assert steps > (5 if distribution == "ketama" else 0)
    for alive in (live, [True] * 5, live):
        assert prepared.build(alive).points() == other.build(alive).points()
