"""What the slow log shows of a request."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from twemproxy.protocol.memcache.codec import MemcacheCodec
from twemproxy.protocol.memcache.shown_arguments import shown_arguments


def test_a_line_is_shown_without_its_value() -> None:
    assert shown_arguments(b"set k 0 0 5\r\nvalue\r\n") == [b"set", b"k", b"0", b"0", b"5"]


def test_a_long_line_is_cut() -> None:
    assert shown_arguments(b"get key:1 key:2 ke") == [b"get", b"key:1", b"key:2", b"ke..."]


@given(st.binary(max_size=80))
def test_any_bytes(head: bytes) -> None:
    codec: Any = MemcacheCodec()
    assert codec.arguments_of(head) == shown_arguments(head)
