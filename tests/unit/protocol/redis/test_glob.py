"""Patterns of CONFIG GET, compared with the patterns of a real redis."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.flavours import Load
from harness.resp import integer
from harness.servers import RedisServer


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        (b"", b"", True),
        (b"*", b"", True),
        (b"?", b"", False),
        (b"**a**", b"bab", True),
        (b"a*b*c", b"axbxbxc", True),
        (b"a*b*c", b"axbxbxd", False),
        (b"max[cm]*[^y]", b"maxclients", True),
        (b"max[cm]*[^y]", b"maxmemory", False),
        (b"[a-c]", b"b", True),
        (b"[c-a]", b"b", True),
        (b"[^a-c]", b"b", False),
        (b"\\*", b"*", True),
        (b"\\*", b"a", False),
        (b"[\\]]", b"]", True),
        (b"[a", b"a", True),
        (b"[", b"a", False),
        (b"a\\", b"a\\", True),
        (b"\xff?", b"\xff\x00", True),
        (b"*a?" * 40, b"a" * 30, False),
    ],
)
def test_patterns(flavour: Load, pattern: bytes, name: bytes, matches: bool) -> None:
    assert flavour("twemproxy.protocol.redis.glob").glob_matches(pattern, name) == matches


@settings(max_examples=300)
@given(
    pattern=st.lists(
        st.sampled_from([b"*", b"?", b"a", b"b", b"[ab]", b"[^a]", b"[a-c]", b"\\a", b"\\*", b"[\\b-]"]), max_size=8
    ),
    name=st.lists(st.sampled_from([b"a", b"b", b"c", b"*"]), min_size=1, max_size=6),
)
def test_patterns_are_those_of_redis(
    flavour: Load, redis: RedisServer, pattern: list[bytes], name: list[bytes]
) -> None:
    """KEYS of redis uses the same patterns: it finds the only key of the server if the pattern matches."""
    key, wanted = b"".join(name), b"".join(pattern)
    redis.ask("FLUSHALL")
    redis.ask("SET", key, "1")
    found = redis.ask("EVAL", "return #redis.call('keys', ARGV[1])", "0", wanted)
    assert integer(flavour("twemproxy.protocol.redis.glob").glob_matches(wanted, key)) == found
