"""The ring fingerprint: equal for equal placement, and its text has one meaning."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twemproxy.hashing import DISTRIBUTIONS, HASHES
from twemproxy.hashing.fingerprint import canonical_text, ring_fingerprint
from twemproxy.hashing.ring import RingBuilder
from twemproxy.hashing.sharding import Sharding

KEYS = [b"key:%d" % i for i in range(200)] + [b"a{%d}b" % i for i in range(100)]


def sharding(**changed):
    return Sharding("ketama", "fnv1a_64", b"", (b"a", b"b"), (1, 2))._replace(**changed)


@pytest.mark.parametrize(
    ("given_sharding", "text"),
    [
        (sharding(), b'["ketama","fnv1a_64","",[["a",1],["b",2]]]'),
        (sharding(names=(b"b", b"a"), weights=(2, 1)), b'["ketama","fnv1a_64","",[["a",1],["b",2]]]'),
        (sharding(names=(b"bb", b"c")), b'["ketama","fnv1a_64","",[["c",2],["bb",1]]]'),
        (sharding(hash_tag=b'"}', names=("é".encode(), b'"')), rb'["ketama","fnv1a_64","\"}",[["\"",2],["\u00e9",1]]]'),
        (sharding(hash_tag=b"\xfe\xff"), rb'["ketama","fnv1a_64","\udcfe\udcff",[["a",1],["b",2]]]'),
        (sharding(distribution="random"), b'["random",["a","b"]]'),
        (sharding(names=(b"a",), weights=(7,), distribution="random"), b'["a"]'),
    ],
)
def test_text(given_sharding, text):
    assert canonical_text(given_sharding) == text
    assert ring_fingerprint(given_sharding) == hashlib.sha256(text).hexdigest()[:16]


def shardings():
    servers = st.dictionaries(st.sampled_from([b"a", b"b", b"cc", b"dd"]), st.integers(1, 2), min_size=1, max_size=3)
    return st.builds(
        lambda distribution, hash, tag, found: Sharding(distribution, hash, tag, tuple(found), tuple(found.values())),
        st.sampled_from(DISTRIBUTIONS[:2]),
        st.sampled_from(HASHES[:3]),
        st.sampled_from([b"", b"{}"]),
        servers.map(lambda found: dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))),
    )


def owners_of_keys(one):
    ring = RingBuilder(one.distribution, one.hash, one.hash_tag, one.names, one.weights, 1).build(
        [True] * len(one.names)
    )
    return [one.names[ring.server_for(key)] for key in KEYS]


@given(shardings(), shardings())
def test_equal_fingerprints_place_keys_equally(first, second):
    owners = [owners_of_keys(one) for one in (first, second)]
    same = ring_fingerprint(first) == ring_fingerprint(second)
    assert owners[0] == owners[1] or not same
    assert same == (first == second or (first.names == second.names and first.is_single))
