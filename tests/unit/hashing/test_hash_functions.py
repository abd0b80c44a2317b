import binascii
import hashlib
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twemproxy.hashing import HASHES

GOLDEN = Path(__file__).parents[2] / "golden"
VECTORS = json.loads((GOLDEN / "hash.json").read_text())
LIVE = json.loads((GOLDEN / "live_hash.json").read_text())

NAMES = pytest.mark.parametrize("name", HASHES)
KEYS = st.binary(max_size=150)
ASCII_KEYS = st.binary(max_size=60).map(lambda key: bytes(byte & 0x7F for byte in key))


@pytest.fixture(scope="session")
def hash_bytes(flavour):
    return flavour("twemproxy.hashing.functions").hash_bytes


def test_vectors_cover_every_hash():
    assert set(VECTORS) == set(LIVE["values"]) == set(HASHES)


@NAMES
def test_vectors(hash_bytes, name):
    assert [[key, hash_bytes(name, bytes.fromhex(key))] for key, _ in VECTORS[name]] == VECTORS[name]


@NAMES
def test_values_taken_from_a_live_nutcracker(hash_bytes, name):
    assert [hash_bytes(name, bytes.fromhex(key)) for key in LIVE["keys"]] == LIVE["values"][name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("one_at_a_time", 2297466611),
        ("md5", 3195025439),
        ("crc16", 3662830516),
        ("crc32", 10542),
        ("crc32a", 2838417488),
        ("fnv1_64", 473199127),
        ("fnv1a_64", 1488911807),
        ("fnv1_32", 67176023),
        ("fnv1a_32", 280767167),
        ("hsieh", 3738850110),
        ("murmur", 4142305122),
        ("jenkins", 1442444624),
    ],
)
def test_apple(hash_bytes, name, value):
    assert hash_bytes(name, b"apple") == value


def test_an_unknown_hash_is_refused(hash_bytes):
    with pytest.raises(ValueError):
        hash_bytes("sha1", b"apple")


@NAMES
@given(key=KEYS)
def test_flavours_agree(both_flavours, name, key):
    compiled, interpreted = both_flavours("twemproxy.hashing.functions")
    value = compiled.hash_bytes(name, key)
    assert value == interpreted.hash_bytes(name, key)
    assert 0 <= value < 1 << 32


@given(key=st.binary(max_size=300))
def test_md5_is_the_head_of_the_digest(hash_bytes, key):
    assert hash_bytes("md5", key) == int.from_bytes(hashlib.md5(key).digest()[:4], "little")


@pytest.mark.parametrize("length", [0, 1, 54, 55, 56, 57, 63, 64, 65, 118, 119, 120, 128, 1000])
def test_md5_at_the_edges_of_a_block(hash_bytes, length):
    key = b"\x80" * length
    assert hash_bytes("md5", key) == int.from_bytes(hashlib.md5(key).digest()[:4], "little")


@given(key=KEYS)
def test_crc32a_is_zlibs(hash_bytes, key):
    assert hash_bytes("crc32a", key) == zlib.crc32(key)


@given(key=KEYS)
def test_crc32_keeps_15_bits(hash_bytes, key):
    assert hash_bytes("crc32", key) == (zlib.crc32(key) >> 16) & 0x7FFF


@given(key=KEYS)
def test_crc16_ends_in_xmodems_value(hash_bytes, key):
    assert hash_bytes("crc16", key) & 0xFFFF == binascii.crc_hqx(key, 0)


def fnv(key, basis, prime, bits, xor_first):
    value = basis
    for byte in key:
        mixed = (value ^ byte) * prime if xor_first else (value * prime) ^ byte
        value = mixed % (1 << bits)
    return value & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("name", "basis", "prime", "bits", "xor_first"),
    [
        ("fnv1_64", 0xCBF29CE484222325, 0x100000001B3, 64, False),
        ("fnv1a_64", 0xCBF29CE484222325, 0x100000001B3, 64, True),
        ("fnv1_32", 0x811C9DC5, 0x01000193, 32, False),
        ("fnv1a_32", 0x811C9DC5, 0x01000193, 32, True),
    ],
)
@given(key=ASCII_KEYS)
def test_fnv_is_the_published_one_for_ascii_keys(hash_bytes, name, basis, prime, bits, xor_first, key):
    assert hash_bytes(name, key) == fnv(key, basis, prime, bits, xor_first)
