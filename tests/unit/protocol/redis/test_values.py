"""Replies as Python values."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resp_streams import replies

from harness.resp import array, bulk, error, integer
from twemproxy.protocol.redis.resp_decoder import MOST_DEEP, Failure, elements, parse


def is_parsed(reply: bytes) -> bool:
    """Whether the reply can be parsed: a reply with an invalid integer cannot."""
    try:
        parse(reply)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (b"+OK\r\n", b"OK"),
        (error("ERR no"), Failure(b"ERR no")),
        (b"!6\r\nERR no\r\n", Failure(b"ERR no")),
        (integer(-5), -5),
        (bulk(""), b""),
        (bulk(b"\r\n"), b"\r\n"),
        (b"=5\r\ntxt:a\r\n", b"txt:a"),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"_\r\n", None),
        (b"#t\r\n", True),
        (b"#f\r\n", False),
        (b",1.5\r\n", b"1.5"),
        (b"(12345678901234567890\r\n", b"12345678901234567890"),
        (array(), []),
        (array(integer(1), array(bulk("a"), b"$-1\r\n")), [1, [b"a", None]]),
        (b"~2\r\n:1\r\n:2\r\n", [1, 2]),
        (b">1\r\n+x\r\n", [b"x"]),
        (b"%1\r\n+a\r\n:1\r\n", [b"a", 1]),
        (b"|1\r\n+ttl\r\n:3\r\n:7\r\n", 7),
        (array(b"|1\r\n+ttl\r\n:3\r\n:7\r\n", integer(8)), [7, 8]),
    ],
)
def test_values(reply: bytes, value: object) -> None:
    found = parse(reply)
    assert (found, type(found)) == (value, type(value))


@given(replies | st.binary(max_size=30))
def test_other_bytes_are_refused(data: bytes) -> None:
    """No other exception is raised, not even for a reply with an invalid integer."""
    try:
        parse(data)
    except (ValueError, IndexError):
        return


@pytest.mark.parametrize(
    "data", [b"", b"+", b"+OK\r\n+OK\r\n", b"?\r\n", b"$x\r\n", b"$5\r\nab\r\n", b"*1\r\n", b":x\r\n", b"\r\n"]
)
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse(data)


@pytest.mark.parametrize("head", [b"*1\r\n", b"|0\r\n", b"%1\r\n:1\r\n"])
def test_values_in_values_have_a_limit(head: bytes) -> None:
    assert parse(head * MOST_DEEP + b":1\r\n") is not None
    for depth in (MOST_DEEP + 1, 100_000):
        with pytest.raises(ValueError):
            parse(head * depth + b":1\r\n")


@given(st.lists(replies.filter(is_parsed), max_size=5), st.sampled_from([b"*", b"~"]))
def test_elements_are_as_they_came(parts: list[bytes], kind: bytes) -> None:
    assert elements(kind + b"%d\r\n" % len(parts) + b"".join(parts)) == parts


@pytest.mark.parametrize("reply", [b"+OK\r\n", bulk("a"), b"%1\r\n+a\r\n:1\r\n", b"$-1\r\n", b"*2\r\n:1\r\n", b""])
def test_what_has_no_elements(reply: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        elements(reply)


def test_nothing_has_no_elements() -> None:
    found: Any = elements(b"*-1\r\n")
    assert found == []
