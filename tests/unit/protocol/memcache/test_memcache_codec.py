"""How memcached requests split, how their replies merge, and what the proxy says in that protocol."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from feeding import VALUES

Load = Callable[[str], ModuleType]
MODULE = "twemproxy.protocol.memcache.codec"


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return flavour(MODULE).MemcacheCodec()


def value(key: bytes, data: bytes, more: bytes = b"") -> bytes:
    """A value in a reply, ``more`` being behind its length."""
    return b"VALUE %s 0 %d%s\r\n%s\r\n" % (key, len(data), more, data)


# --- merging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [b"", b" 77", b" 77 more"])
def test_values_end_where_their_blocks_end(codec: Any, more: bytes) -> None:
    values = [value(b"a", b"x\r\nEND\r\n" * 9, more), value(b"b", b"", more), value(b"c", b"yz", more)]
    reply = b"".join(values) + b"END\r\n"
    assert codec.mergeable_part(reply, VALUES, [b"a", b"b", b"c"]) == values


@pytest.mark.parametrize("error", [b"ERROR", b"SERVER_ERROR out of memory", b"SERVER_ERROR at the END", b"ERROR END"])
def test_values_with_an_error_behind_are_not_mergeable(codec: Any, error: bytes) -> None:
    assert codec.mergeable_part(value(b"a", b"x") + error + b"\r\n", VALUES, [b"a", b"b"]) is None


def test_values_in_another_order_are_matched_by_key(codec: Any) -> None:
    a, b, c = value(b"a", b"1"), value(b"b", b"22", b" 7"), value(b"c", b"")
    assert codec.mergeable_part(c + a + b + b"END\r\n", VALUES, [b"a", b"b", b"c"]) == [a, b, c]


# --- what a new server connection says -------------------------------------------------------------------------------


def test_any_version_is_a_version(codec: Any) -> None:
    for version in (b"9" * 5000 + b".1", b"1." + b"9" * 5000, b"", b"1", b"one.two"):
        assert codec.handshake_problem("version", b"VERSION %s\r\n" % version) == ""
        assert codec.offer("version", b"VERSION %s\r\n" % version) == 1


@pytest.mark.parametrize("version", ["1.4.15", "1.5.22", "1.6", "1.6-rc1", "1.6.0", "1.6.9", "0.9.9.9"])
def test_older_servers_do_not_get_ms(codec: Any, version: str) -> None:
    """Before 1.6.10 the length was a flag, S; what has none got its data block taken for commands."""
    assert codec.offer("version", f"VERSION {version}\r\n".encode()) == 0
    assert "1.6.10" in codec.unmet()


@pytest.mark.parametrize("version", ["1.6.10", "1.6.18", "1.6.41", "1.7.0", "2.0.0", "10.0"])
def test_newer_servers_get_ms(codec: Any, version: str) -> None:
    assert codec.offer("version", f"VERSION {version}\r\n".encode()) == 1


# --- statistics ------------------------------------------------------------------------------------------------------


def test_a_server_that_says_anything_else_is_one_line_of_the_statistics(codec: Any) -> None:
    replies = [("a", b"STAT pid 1\r\nEND\r\n"), ("b", b"STAT\r\nEND\r\n")]
    assert codec.merge_in_words(replies) == b"STAT a:pid 1\r\nSTAT b:error STAT\r\nEND\r\n"
