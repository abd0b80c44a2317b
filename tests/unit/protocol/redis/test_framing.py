"""Where messages end: in any stream, cut in any way, in both flavours of the code."""

from typing import Any

import pytest
from feeding import (
    COMPLETE,
    EMPTY,
    INLINE,
    MALFORMED,
    NEED_MORE,
    Feed,
    Parser,
    fields,
    messages,
    request_meaning,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from resp_streams import (
    any_reply_stream,
    any_request_stream,
    array_requests,
    cuts,
    replies,
    request_streams,
    requests,
)

from harness.flavours import Both, Load
from harness.resp import array, bulk, command, message_end
from twemproxy.protocol.redis.errors import PROTOCOL_ERRORS
from twemproxy.protocol.redis.inline import decode_request

MODULE = "twemproxy.protocol.redis.codec"
MAX_BULK = 512 * 1024 * 1024

BAD_MULTIBULK, BAD_BULK, NO_BULK, NO_BULK_END, BIG_INLINE = PROTOCOL_ERRORS[1:6]
BIG_MULTIBULK, BIG_BULK = PROTOCOL_ERRORS[6:8]


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return Parser(flavour(MODULE).RedisCodec())


@pytest.fixture(scope="session")
def codecs(both_flavours: Both) -> tuple[Any, Any]:
    """(compiled, interpreted)."""
    fast, slow = both_flavours(MODULE)
    return Parser(fast.RedisCodec()), Parser(slow.RedisCodec())


# --- streams in pieces -----------------------------------------------------------------------------------------------


@given(stream=any_request_stream, cuts=cuts)
@example(stream=b"*2\r\n$3\r\nGET\r\n:1\r\n", cuts=[13])
@example(stream=b"*2\r\n$3\r\nGET\r\n$x\r\n", cuts=[14])
@example(stream=b"*5\r\n$4\r\nMGET\r\n" + bulk(b"") * 3 + b"$\r\n", cuts=[33])
def test_requests_are_the_same_however_cut(codec: Any, stream: bytes, cuts: list[int]) -> None:
    whole = messages(codec, stream, True)
    assert messages(codec, stream, True, cuts, padding=b"*1\r\n$4\r\n") == whole
    assert messages(codec, stream, True, range(len(stream))) == whole


@given(stream=any_reply_stream, cuts=cuts)
def test_replies_are_the_same_however_cut(codec: Any, stream: bytes, cuts: list[int]) -> None:
    whole = messages(codec, stream, False)
    assert messages(codec, stream, False, cuts, padding=b"*1\r\n") == whole
    assert messages(codec, stream, False, range(len(stream))) == whole


@pytest.mark.parametrize("requests", [True, False], ids=["request", "reply"])
@pytest.mark.parametrize(
    "line",
    [b"*" + b"1" * 70000 + b"\r\n", b"*1\r\n$" + b"1" * 70000 + b"\r\n", b"x" * 70000 + b"\r\n", b"*x" + b"1" * 65534],
    ids=["count", "length", "inline", "count-at-the-limit"],
)
def test_overlong_lines_are_the_same_however_cut(codec: Any, line: bytes, requests: bool) -> None:
    whole = messages(codec, line, requests)
    for ends in (range(0, len(line), 16384), range(65530, 65545), [65535], [65536], [65537], [65538]):
        assert messages(codec, line, requests, ends) == whole


def test_long_statuses_are_the_same_however_cut(codec: Any) -> None:
    for length in (2**20 - 2, 2**20 - 1, 2**20, 2**20 + 9):
        line = b"+" + b"s" * length + b"\r\n"
        whole = messages(codec, line, False)
        assert messages(codec, line, False, [2**20, 2**20 + 1]) == whole
        assert (whole[0][0].frame == COMPLETE) == (length < 2**20)


# --- both flavours ---------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(stream=any_request_stream, beyond=st.binary(max_size=3) | st.sampled_from([b"\r\n", b"$1\r\n", b"0"]))
def test_flavours_agree_on_requests_and_look_at_nothing_else(
    codecs: tuple[Any, Any], stream: bytes, beyond: bytes
) -> None:
    """The interpreted codec gets no bytes after ``end``, so reading them would raise an IndexError."""
    compiled, interpreted = codecs
    for end in range(1, len(stream) + 1):
        frame = interpreted.find_request(stream[:end], 0, end)
        assert compiled.find_request(stream[:end] + beyond, 0, end) == frame
        assert fields(compiled) == fields(interpreted)


@settings(max_examples=200)
@given(stream=any_reply_stream, beyond=st.binary(max_size=3) | st.sampled_from([b"\r\n", b"$1\r\n", b"0"]))
def test_flavours_agree_on_replies_and_look_at_nothing_else(
    codecs: tuple[Any, Any], stream: bytes, beyond: bytes
) -> None:
    compiled, interpreted = codecs
    for end in range(1, len(stream) + 1):
        frame = interpreted.find_reply(stream[:end], 0, end)
        assert compiled.find_reply(stream[:end] + beyond, 0, end) == frame
        assert fields(compiled) == fields(interpreted)
        if frame == COMPLETE:
            reply = stream[: compiled.end]
            assert compiled.kinds(reply) == interpreted.kinds(reply)


@given(stream=any_request_stream, cuts=cuts)
def test_flavours_agree_when_fed(codecs: tuple[Any, Any], stream: bytes, cuts: list[int]) -> None:
    compiled, interpreted = codecs
    expected = messages(interpreted, stream, True, cuts)
    assert messages(compiled, stream, True, cuts, padding=b"\r\n", beyond=b"\r\n$") == expected


# --- well-formed messages --------------------------------------------------------------------------------------------


@given(stream=st.lists(replies, min_size=1, max_size=4))
def test_reply_ends_where_it_ends(codec: Any, stream: list[bytes]) -> None:
    found, rest = messages(codec, b"".join(stream), False)
    assert [message.data for message in found] == stream
    assert rest == b""
    assert all(message_end(reply) == len(reply) for reply in stream)


@given(reply=replies, data=st.data())
def test_a_reply_without_its_end_needs_more(codec: Any, reply: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(1, len(reply) - 1))
    assert codec.find_reply(reply[:end], 0, end) == NEED_MORE
    assert end < codec.needed <= len(reply)


@given(stream=st.lists(requests, min_size=1, max_size=5))
def test_request_ends_where_it_ends(codec: Any, stream: list[bytes]) -> None:
    found, rest = messages(codec, b"".join(stream), True)
    assert [message.data for message in found] == stream
    assert rest == b""
    for message in found:
        if message.data[:1] == b"*":
            assert message.frame == (EMPTY if message.data[1:2] in b"-0" else COMPLETE)
        else:
            assert message.frame == (INLINE if message.data.strip(b" \t\n\v\f\r") else EMPTY)


@given(request=array_requests, data=st.data())
def test_a_request_without_its_end_needs_more(codec: Any, request: bytes, data: st.DataObject) -> None:
    end = data.draw(st.integers(1, len(request) - 1))
    assert codec.find_request(request[:end], 0, end) == NEED_MORE
    assert end < codec.needed <= len(request)


@given(stream=request_streams, start=st.integers(1, 9))
def test_positions_are_positions_in_the_buffer(codec: Any, stream: bytes, start: int) -> None:
    alone, _ = messages(codec, stream, True)
    assert messages(codec, stream, True, padding=b"$" * start)[0] == alone


def test_long_requests_are_not_read_from_the_beginning_again(codec: Any) -> None:
    """When a request arrives byte by byte, framing resumes near the last byte, not at the beginning."""
    request = command("MSET", *(f"argument {i}" for i in range(1000)))
    feed = Feed(codec, True)
    before = -1
    for i in range(len(request) - 1):
        assert not list(feed.take(request[i : i + 1]))
        assert feed.resume[0] >= before
        before = feed.resume[0]
    assert len(request) - before < 40
    [message] = feed.take(request[-1:])
    assert (message.frame, message.data) == (COMPLETE, request)


def test_long_replies_are_not_read_from_the_beginning_again(codec: Any) -> None:
    reply = array(*(array(bulk(f"element {i}"), b"$-1\r\n") for i in range(1000)))
    feed = Feed(codec, False)
    for i in range(len(reply) - 1):
        assert not list(feed.take(reply[i : i + 1]))
    assert len(reply) - feed.resume[0] < 40
    [message] = feed.take(reply[-1:])
    assert (message.frame, message.data) == (COMPLETE, reply)


def test_deeply_nested_reply(codec: Any) -> None:
    reply = b"*1\r\n" * 50000 + b":1\r\n"
    assert messages(codec, reply, False)[0][0].data == reply


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [10, 16384, 2**31, 2**32 + 1, MAX_BULK])
def test_long_argument_asks_for_exactly_what_is_missing(codec: Any, length: int) -> None:
    header = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % length
    frame = codec.find_request(header, 0, len(header))
    if length > MAX_BULK:
        assert (frame, codec.malformation()) == (MALFORMED, f"-ERR {BAD_BULK}\r\n".encode())
    else:
        assert frame == NEED_MORE
        assert codec.needed == len(header) + length + 2


@pytest.mark.parametrize("kind", [b"$", b"!", b"="])
@pytest.mark.parametrize("length", [10, MAX_BULK, 2**31, 2**32])
def test_long_reply_asks_for_exactly_what_is_missing(codec: Any, kind: bytes, length: int) -> None:
    header = b"*2\r\n:1\r\n" + kind + b"%d\r\n" % length
    assert codec.find_reply(header, 0, len(header)) == NEED_MORE
    assert codec.needed == len(header) + length + 2


@pytest.mark.parametrize("kind", [b"*", b"~", b">", b"%", b"|"])
def test_huge_aggregates_wait_for_their_elements(codec: Any, kind: bytes) -> None:
    header = (kind + b"2147483647\r\n") * 100
    assert codec.find_reply(header, 0, len(header)) == NEED_MORE
    assert codec.needed == len(header) + 1


@pytest.mark.parametrize("kind", [b"*", b"~", b">", b"%", b"|", b"$", b"!", b"="])
def test_lengths_that_no_server_has(codec: Any, kind: bytes) -> None:
    for length in (2**32 + 1, 9999999999):
        header = b"*2\r\n:1\r\n" + kind + b"%d\r\n" % length
        assert codec.find_reply(header, 0, len(header)) == MALFORMED
    if kind in b"*~>%|":
        assert codec.find_reply(kind + b"2147483648\r\n", 0, 13) == MALFORMED


def test_number_of_arguments_has_the_limit_of_redis(codec: Any) -> None:
    assert codec.find_request(b"*2147483647\r\n", 0, 13) == NEED_MORE
    assert codec.find_request(b"*2147483648\r\n", 0, 13) == MALFORMED


# --- malformed -------------------------------------------------------------------------------------------------------

GET = b"*2\r\n$3\r\nGET\r\n"
MALFORMED_REQUESTS = {
    "count-empty": (b"*\r\n", BAD_MULTIBULK),
    "count-letters": (b"*abc\r\n", BAD_MULTIBULK),
    "count-then-letter": (b"*1a\r\n", BAD_MULTIBULK),
    "count-plus": (b"*+1\r\n", BAD_MULTIBULK),
    "count-blank": (b"* 1\r\n", BAD_MULTIBULK),
    "count-leading-zero": (b"*01\r\n", BAD_MULTIBULK),
    "count-minus": (b"*-\r\n", BAD_MULTIBULK),
    "count-minus-zero": (b"*-0\r\n", BAD_MULTIBULK),
    "count-two-minus": (b"*--1\r\n", BAD_MULTIBULK),
    "count-without-line-feed": (b"*1\rx", BAD_MULTIBULK),
    "count-32-bits": (b"*4294967297\r\n", BAD_MULTIBULK),
    "count-64-bits": (b"*18446744073709551617\r\n", BAD_MULTIBULK),
    "count-endless": (b"*" + b"1" * 65600, BIG_MULTIBULK),
    "bulk-other-kind": (GET + b":1\r\n", NO_BULK.format(found=":")),
    "bulk-line": (b"*1\r\nPING\r\n", NO_BULK.format(found="P")),
    "bulk-nested-array": (b"*1\r\n*1\r\n", NO_BULK.format(found="*")),
    "length-empty": (GET + b"$\r\n", BAD_BULK),
    "length-letters": (GET + b"$x\r\n", BAD_BULK),
    "length-null": (GET + b"$-1\r\n", BAD_BULK),
    "length-plus": (GET + b"$+1\r\n", BAD_BULK),
    "length-leading-zero": (GET + b"$01\r\n", BAD_BULK),
    "length-without-line-feed": (GET + b"$1\rx", BAD_BULK),
    "length-over-the-limit": (GET + b"$536870913\r\n", BAD_BULK),
    "length-32-bits": (GET + b"$4294967297\r\n", BAD_BULK),
    "length-64-bits": (GET + b"$18446744073709551617\r\n", BAD_BULK),
    "length-endless": (GET + b"$" + b"1" * 65600, BIG_BULK),
    "body-too-long": (GET + b"$1\r\nab\r\n", NO_BULK_END),
    "body-without-line-feed": (GET + b"$1\r\na\rx", NO_BULK_END),
    "inline-endless": (b"x" * 65600, BIG_INLINE),
}


@pytest.mark.parametrize("name", MALFORMED_REQUESTS)
def test_malformed_request_is_named_with_its_last_byte(codec: Any, name: str) -> None:
    data, problem = MALFORMED_REQUESTS[name]
    found, _ = messages(codec, command("PING") + data, True)
    assert [(message.frame, message.meaning) for message in found[1:]] == [
        (MALFORMED, (f"-ERR {problem}\r\n".encode(),))
    ]
    assert messages(codec, command("PING") + data, True, [*range(50), *range(65530, 65640)])[0] == found


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {ord(kind) for kind in "+-:$*_#,(!=~>%|"}))
def test_reply_of_an_unknown_kind_is_malformed(codec: Any, kind: int) -> None:
    for data in (bytes([kind]), b"*2\r\n:1\r\n" + bytes([kind])):
        assert codec.find_reply(data, 0, len(data)) == MALFORMED


@pytest.mark.parametrize(
    "data",
    [
        *(kind + length + b"\r\n" for kind in (b"$", b"*", b"%", b"!") for length in (b"", b"-", b"-2", b"01", b"x")),
        *(kind + b"-1\r\n" for kind in (b"%", b"~", b">", b"|", b"=", b"!")),
        *(b"$?\r\n", b"*?\r\n", b"$1\r\nab\r\n", b"$1\rx", b"$99999999999\r\n", b"+OK\rx", b":1\r\r\n", b"_\rx"),
    ],
)
def test_malformed_reply(codec: Any, data: bytes) -> None:
    for stream in (data, array(b":1\r\n", data)):
        found, _ = messages(codec, stream, False)
        assert [message.frame for message in found] == [MALFORMED]
        assert messages(codec, stream, False, range(len(stream)))[0] == found


# --- replies by kind -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kinds"),
    [
        (b"+OK\r\n", (False, False, False)),
        (b"$4\r\n-OOM\r\n", (False, False, False)),
        (b"-ERR x\r\n", (True, False, False)),
        (b"-\r\n", (True, False, False)),
        (b"!4\r\nBUSY\r\n", (True, False, False)),
        (b"-OOM command not allowed\r\n", (True, True, False)),
        (b"-OOM\r\n", (True, True, False)),
        (b"-OO\r\n", (True, False, False)),
        (b"-OOMS\r\n", (True, False, False)),
        (b"-oom x\r\n", (True, False, False)),
        (b"-BUSY Redis is busy\r\n", (True, True, False)),
        (b"-BUSYKEY Target key\r\n", (True, False, False)),
        (b"-LOADING Redis is loading\r\n", (True, True, False)),
        (b"-LOADINGS\r\n", (True, False, False)),
        (b"-LOADED x\r\n", (True, False, False)),
        (b">1\r\n+message\r\n", (False, False, True)),
        (b"*1\r\n>0\r\n", (False, False, False)),
    ],
)
def test_kinds_of_replies(codec: Any, reply: bytes, kinds: tuple[bool, bool, bool]) -> None:
    assert codec.kinds(reply) == kinds


# --- rewriting -------------------------------------------------------------------------------------------------------


@given(arguments=st.lists(st.binary(max_size=12), min_size=1, max_size=6))
def test_an_inline_request_becomes_the_array_it_stands_for(codec: Any, arguments: list[bytes]) -> None:
    escaped = [b'"' + b"".join(b"\\x%02x" % byte for byte in argument) + b'"' for argument in arguments]
    line = b" ".join(escaped) + b"\r\n"
    assert codec.find_request(line, 0, len(line)) == INLINE
    rewritten = codec.rewrite(line)
    assert decode_request(rewritten) == arguments
    assert request_meaning(codec, rewritten) == request_meaning(codec, command(*arguments))
