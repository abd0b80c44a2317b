"""Limits of memcached requests, and that it makes no difference how requests arrive."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from feeding import COMPLETE, MALFORMED, TO_NOBODY, messages

Load = Callable[[str], ModuleType]
MODULE = "twemproxy.protocol.memcache.codec"
MOST_LINE = 2048


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return flavour(MODULE).MemcacheCodec()


@pytest.fixture(scope="session")
def permissive(flavour: Load) -> Any:
    return flavour(MODULE).MemcacheCodec(["flush_all"])


# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("blanks", "frame"), [(100, COMPLETE), (101, MALFORMED), (2046, MALFORMED), (5000, MALFORMED)])
def test_long_lines_have_few_leading_blanks(codec: Any, blanks: int, frame: int) -> None:
    """memcached closes the connection otherwise, which clients share."""
    line = b" " * blanks + b"get " + b"k " * 2000 + b"\r\n"
    whole = messages(codec, line, True)
    assert whole[0][0].frame == frame
    for ends in ([blanks + 2], [MOST_LINE - 1], [MOST_LINE], [MOST_LINE + 1], range(0, len(line), 100)):
        assert messages(codec, line, True, ends) == whole


# --- lengths ---------------------------------------------------------------------------------------------------------

ODD_LENGTHS = [b"+5", b"\t5", b"5\t", b"\x0b\x0c\r+5", b"5\rx", b"5\0", b"5\0x", b"0" * 20 + b"5"]


@pytest.mark.parametrize("length", ODD_LENGTHS)
@pytest.mark.parametrize("line", [b"set k 0 0 %s", b"cas k 0 0 %s 1", b"ms k %s T0"])
def test_a_block_of_odd_length_is_dropped(codec: Any, line: bytes, length: bytes) -> None:
    """memcached reads such lengths in its own way, and takes the block as one."""
    found, _ = messages(codec, line % length + b"\r\nquit\n\r\nmn\r\n", True)
    assert found[0].meaning[-1] == b"CLIENT_ERROR bad command line format\r\n"
    assert [message.data for message in found[1:]] == [b"mn\r\n"]


@pytest.mark.parametrize("length", [b"-0", b"+0", b"-00"])
def test_an_empty_block_of_odd_length_is_dropped(codec: Any, length: bytes) -> None:
    found, _ = messages(codec, b"set k 0 0 %s\r\n\r\nmn\r\n" % length, True)
    assert [message.data for message in found[1:]] == [b"mn\r\n"]


@pytest.mark.parametrize(
    "length", [b"x", b"-5", b"5x", b"5-", b"+", b"-", b"+-5", b"0x5", b"5.0", b"\t", b"\0005", b"-" + b"9" * 20]
)
def test_what_is_no_length_has_no_block(codec: Any, length: bytes) -> None:
    found, _ = messages(codec, b"set k 0 0 %s\r\nmn\r\n" % length, True)
    assert found[0].meaning[-1] == b"CLIENT_ERROR bad command line format\r\n"
    assert [message.data for message in found[1:]] == [b"mn\r\n"]


# --- numbers ---------------------------------------------------------------------------------------------------------

UNSIGNED_32 = ([b"0", b"00", b"4294967295", b"00000000004294967295"], [b"4294967296", b"-1", b"-0", b"9" * 20])
SIGNED_32 = ([b"0", b"-0", b"2147483647", b"-1", b"-2147483648"], [b"2147483648", b"-2147483649", b"--1", b"-"])
UNSIGNED_64 = ([b"0", b"18446744073709551615"], [b"18446744073709551616", b"-1", b"99999999999999999999"])
NO_NUMBERS = [b"x", b"+1", b"1x", b"x1", b"1\t", b"\t1", b"0x1", b"1.0", b"0" * 21, b"1\0", b"\xb2", b"1\r"]
PLACES = [
    (b"set k %s 0 0\r\n\r\n", UNSIGNED_32),
    (b"set k 0 %s 0\r\n\r\n", SIGNED_32),
    (b"cas k 0 0 0 %s\r\n\r\n", UNSIGNED_64),
    (b"incr k %s\r\n", UNSIGNED_64),
    (b"decr k %s\r\n", UNSIGNED_64),
    (b"touch k %s\r\n", SIGNED_32),
    (b"gat %s k\r\n", SIGNED_32),
    (b"gats %s k k\r\n", SIGNED_32),
    (b"flush_all %s\r\n", SIGNED_32),
    (b"verbosity %s\r\n", UNSIGNED_32),
    (b"ms k 0 F%s\r\n\r\n", UNSIGNED_32),
    (b"ms k 0 C%s\r\n\r\n", UNSIGNED_64),
    (b"ms k 0 E%s\r\n\r\n", UNSIGNED_64),
    (b"ms k 0 T%s\r\n\r\n", SIGNED_32),
    (b"ms k 0 N%s\r\n\r\n", SIGNED_32),
    (b"ms k 0 R%s\r\n\r\n", SIGNED_32),
]


@pytest.mark.parametrize(("request_with", "numbers"), PLACES)
def test_numbers_have_the_bits_they_have(
    permissive: Any, request_with: bytes, numbers: tuple[list[bytes], list[bytes]]
) -> None:
    good, bad = numbers
    for number in good:
        [message], _ = messages(permissive, request_with % number, True)
        assert message.meaning[1] != TO_NOBODY, number
    for number in bad + NO_NUMBERS:
        found, _ = messages(permissive, request_with % number, True)
        assert [message.meaning[1] for message in found] == [TO_NOBODY], number
        assert found[0].meaning[-1].startswith(b"CLIENT_ERROR "), number
