"""Limits of memcached requests, and requests that arrive in pieces."""

from typing import Any

import pytest
from feeding import (
    COMPLETE,
    MALFORMED,
    NEED_MORE,
    NOREPLY,
    REJECT,
    REST_OF_LINE,
    SCATTER,
    TO_KEY,
    Feed,
    Parser,
    fields,
    messages,
)
from hypothesis import example, given
from hypothesis import strategies as st
from memcache_streams import any_request_stream, cuts, requests
from memcache_tables import BAD_BLOCKS, FORMAT, FORWARDED, LONG_LINE, REFUSED, TOO_LARGE

from harness.flavours import Both, Load

MODULE = "twemproxy.protocol.memcache.codec"
MOST_KEY = 250
MOST_LINE = 2048
MOST_KEYS_LINE = 16 * 1024 * 1024
GB = 1024 * 1024 * 1024
MOST_DECLARED = 2147483645


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return Parser(flavour(MODULE).MemcacheCodec())


@pytest.fixture(scope="session")
def permissive(flavour: Load) -> Any:
    return Parser(flavour(MODULE).MemcacheCodec(["flush_all", "verbosity"]))


@pytest.fixture(scope="session")
def codecs(both_flavours: Both) -> tuple[Any, Any]:
    """(compiled, interpreted)."""
    fast, slow = both_flavours(MODULE)
    return Parser(fast.MemcacheCodec()), Parser(slow.MemcacheCodec())


# --- streams in pieces -----------------------------------------------------------------------------------------------


@given(stream=any_request_stream, cuts=cuts)
@example(stream=b"set k 0 0 2\r\nab\r\nset k 0 0 2\r\nabc\r\nmn\r\n", cuts=[13, 28, 32])
def test_requests_are_the_same_however_cut(codec: Any, stream: bytes, cuts: list[int]) -> None:
    whole = messages(codec, stream, True)
    assert messages(codec, stream, True, cuts, padding=b"get \r\n") == whole
    assert messages(codec, stream, True, range(len(stream)), padding=b"x" * 9, beyond=b"\r\n") == whole


def test_requests_of_the_tables_are_the_same_however_cut(permissive: Any) -> None:
    streams = [row.request for row in FORWARDED] + [row.line + b"\r\n" + row.block for row in REFUSED]
    streams += [b"set k 0 0 5\r\n" + block.data for block in BAD_BLOCKS]
    for stream in streams:
        whole = messages(permissive, stream + b"mn\r\n", True)
        for cut in range(1, len(stream)):
            assert messages(permissive, stream + b"mn\r\n", True, [cut]) == whole


@given(stream=st.lists(requests, min_size=1, max_size=4).map(b"".join), start=st.integers(1, 9))
def test_positions_are_positions_in_the_buffer(codec: Any, stream: bytes, start: int) -> None:
    assert messages(codec, stream, True, padding=b"\n" * start) == messages(codec, stream, True)


@given(stream=any_request_stream, beyond=st.binary(max_size=3) | st.sampled_from([b"\r\n", b" k\r\n", b"0"]))
def test_flavours_agree_on_requests_and_look_at_nothing_else(
    codecs: tuple[Any, Any], stream: bytes, beyond: bytes
) -> None:
    """The interpreted codec gets no bytes after ``end``, so reading them would raise an IndexError."""
    compiled, interpreted = codecs
    for end in range(1, len(stream) + 1):
        frame = interpreted.find_request(stream[:end], 0, end)
        assert compiled.find_request(stream[:end] + beyond, 0, end) == frame
        assert fields(compiled) == fields(interpreted)
        assert compiled.decoded_key() == interpreted.decoded_key()


@given(stream=any_request_stream, cuts=cuts)
def test_flavours_agree_when_fed(codecs: tuple[Any, Any], stream: bytes, cuts: list[int]) -> None:
    compiled, interpreted = codecs
    expected = messages(interpreted, stream, True, cuts)
    assert messages(compiled, stream, True, cuts, padding=b"\r\n", beyond=b" k\r\n") == expected


@given(request=st.sampled_from([row.request for row in FORWARDED]), data=st.data())
def test_a_request_without_its_end_needs_more(permissive: Any, request: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(1, len(request) - 1))
    assert permissive.find_request(request[:end], 0, end) == NEED_MORE
    assert end < permissive.needed <= len(request)


def test_long_lines_are_not_read_from_the_beginning_again(codec: Any) -> None:
    """When a line arrives byte by byte, each byte is read once: framing resumes after the last byte."""
    line = b"get " + b" ".join(b"key%d" % i for i in range(1000)) + b"\r\n"
    feed = Feed(codec, True)
    for i in range(len(line) - 1):
        assert not list(feed.take(line[i : i + 1]))
        assert (feed.resume, feed.needed) == ((i + 1, 0), i + 2)
    [message] = feed.take(line[-1:])
    assert (message.frame, message.data, message.meaning[1]) == (COMPLETE, line, SCATTER)


@pytest.mark.parametrize("line", [b"set k 0 0 %d", b"cas k 0 0 %d 1", b"ms k %d T0", b"append k 0 0 %d noreply"])
@pytest.mark.parametrize("length", [0, 1, 16384, GB])
def test_a_block_asks_for_exactly_what_is_missing(codec: Any, line: bytes, length: int) -> None:
    head = line % length + b"\r\n"
    assert codec.find_request(head, 0, len(head)) == NEED_MORE
    assert (codec.needed, codec.at) == (len(head) + length + 2, 0)


# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("blanks", "frame"), [(100, COMPLETE), (101, MALFORMED), (2046, MALFORMED), (5000, MALFORMED)])
def test_long_lines_have_few_leading_blanks(codec: Any, blanks: int, frame: int) -> None:
    """With more blanks memcached would close the server connection, which clients share."""
    line = b" " * blanks + b"get " + b"k " * 2000 + b"\r\n"
    whole = messages(codec, line, True)
    assert whole[0][0].frame == frame
    for ends in ([blanks + 2], [MOST_LINE - 1], [MOST_LINE], [MOST_LINE + 1], range(0, len(line), 100)):
        assert messages(codec, line, True, ends) == whole


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(
    "head", [b"delete k", b"gat 0 k k", b"set k 0 0 9999", b"mg k", b"stats items", b"nothing", b""]
)
def test_a_line_has_2048_bytes(codec: Any, head: bytes, end: bytes) -> None:
    for length in (MOST_LINE, MOST_LINE + 1):
        line = head.ljust(length - len(end)) + end
        frame = codec.find_request(line, 0, len(line))
        assert (frame == MALFORMED) == (length > MOST_LINE)
        whole = messages(codec, line, True)
        for ends in ([MOST_LINE - 1], [MOST_LINE], range(0, len(line), 64), range(2040, 2050)):
            assert messages(codec, line, True, ends) == whole
    assert codec.malformation() == LONG_LINE.encode() + b"\r\n"


def test_a_line_without_end_is_not_waited_for(codec: Any) -> None:
    for line, most in ((b"x" * 3000, MOST_LINE), (b"gat 0 " + b"k" * 3000, MOST_LINE), (b" " * 3000, MOST_LINE)):
        assert codec.find_request(line, 0, most - 1) == NEED_MORE
        assert codec.find_request(line, 0, most) == MALFORMED


@pytest.mark.parametrize("name", [b"get", b"gets"])
def test_a_line_of_keys_has_16_mb(both_flavours: Both, name: bytes) -> None:
    compiled = Parser(both_flavours(MODULE)[0].MemcacheCodec())
    line = name + b" " + b"a b " * (MOST_KEYS_LINE // 4)
    whole = line[: MOST_KEYS_LINE - 2] + b"\r\n"
    longer = line[: MOST_KEYS_LINE - 1] + b"\r\n"
    assert compiled.find_request(whole, 0, len(whole)) == COMPLETE
    assert (compiled.route, compiled.end) == (SCATTER, MOST_KEYS_LINE)
    assert compiled.find_request(longer, 0, len(longer)) == MALFORMED
    assert compiled.find_request(longer, 0, MOST_KEYS_LINE - 1) == NEED_MORE
    assert compiled.find_request(longer, 0, MOST_KEYS_LINE) == MALFORMED


@pytest.mark.parametrize(
    "request_with",
    [
        *(b"get %s\r\n", b"gats 0 k %s\n", b"set %s 0 0 0\r\n\r\n", b"incr %s 1\r\n", b"touch %s 1\r\n"),
        *(b"delete %s\r\n", b"mg %s v\r\n", b"ms %s 0\r\n\r\n", b"me %s\n"),
    ],
)
def test_a_key_has_250_bytes(codec: Any, request_with: bytes) -> None:
    for length in (1, MOST_KEY, MOST_KEY + 1, 1000):
        [message], _ = messages(codec, request_with % (b"k" * length), True)
        if length > MOST_KEY:
            assert message.meaning[-2:] == (message.meaning[-2], FORMAT.encode() + b"\r\n")
        assert (message.meaning[1] == REJECT) == (length > MOST_KEY)


@pytest.mark.parametrize("byte", sorted({*range(33), 127} - {10, 13, 32}))
@pytest.mark.parametrize(
    "request_with", [b"get a%cb\r\n", b"set a%cb 0 0 0\r\n\r\n", b"mg a%cb v\r\n", b"delete a%cb\n"]
)
def test_a_key_has_no_control_characters(codec: Any, request_with: bytes, byte: int) -> None:
    [message], _ = messages(codec, request_with % byte, True)
    assert message.meaning[1] == REJECT


# --- lengths ---------------------------------------------------------------------------------------------------------

ODD_LENGTHS = [b"+5", b"\t5", b"5\t", b"\x0b\x0c\r+5", b"5\rx", b"5\0", b"5\0x", b"0" * 20 + b"5"]


@pytest.mark.parametrize("length", ODD_LENGTHS)
@pytest.mark.parametrize("line", [b"set k 0 0 %s", b"cas k 0 0 %s 1", b"ms k %s T0"])
def test_a_block_of_odd_length_is_dropped(codec: Any, line: bytes, length: bytes) -> None:
    """memcached parses such a length in its own way and reads that many bytes, so the block must be discarded."""
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


@pytest.mark.parametrize("line", [b"set k 0 0 %d", b"cas k 0 0 %d 1", b"ms k %d T0", b"add k 0 0 %d noreply"])
@pytest.mark.parametrize("length", [GB + 1, MOST_DECLARED])
def test_what_no_memcached_takes_is_refused_and_dropped(codec: Any, line: bytes, length: int) -> None:
    head = line % length + b"\r\n"
    assert codec.find_request(head, 0, len(head)) == COMPLETE
    assert (codec.route, codec.end, codec.discard) == (REJECT, len(head), length + 2)
    assert codec.refusal() == TOO_LARGE.encode() + b"\r\n"
    assert bool(codec.expected & NOREPLY) == line.endswith(b"noreply")


def test_a_length_that_is_too_long_for_anyone_ends_the_connection(codec: Any) -> None:
    head = b"set k 0 0 %d\r\n" % (MOST_DECLARED + 1)
    assert codec.find_request(head, 0, len(head)) == MALFORMED
    assert codec.malformation() == FORMAT.encode() + b"\r\n"


def test_a_bad_block_is_seen_with_its_last_declared_byte(codec: Any) -> None:
    head = b"set k 0 0 3\r\n"
    assert codec.find_request(head + b"abc\r", 0, len(head) + 4) == NEED_MORE
    assert codec.find_request(head + b"abcde", 0, len(head) + 5) == COMPLETE
    assert (codec.route, codec.discard) == (REJECT, REST_OF_LINE)
    assert codec.find_request(head + b"abc\r\n", 0, len(head) + 5) == COMPLETE
    assert (codec.route, codec.discard) == (TO_KEY, 0)


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
        assert message.meaning[1] != REJECT, number
    for number in bad + NO_NUMBERS:
        found, _ = messages(permissive, request_with % number, True)
        assert [message.meaning[1] for message in found] == [REJECT], number
        assert found[0].meaning[-1].startswith(b"CLIENT_ERROR "), number
