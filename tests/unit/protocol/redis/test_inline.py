"""Inline requests: the arguments of a line, compared with the arguments that a real redis finds."""

from typing import Any

import pytest
from feeding import EMPTY, INLINE, Parser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.connection import Connection
from harness.flavours import Load
from harness.resp import array, bulk, command
from harness.servers import RedisServer
from twemproxy.protocol.redis.errors import UNBALANCED_QUOTES
from twemproxy.protocol.redis.inline import UnbalancedQuotes, split_inline

UNBALANCED = f"-ERR {UNBALANCED_QUOTES}\r\n".encode()
BLANKS = b" \t\n\v\f\r"

LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [b'"', b"'", b"\\", b'\\"', b"\\'", b"\\\\", b"\\x", b"\\xaF", b"\\n", b"\\q", b" ", b" ", b"  "]
        ),
        st.sampled_from(
            [b"\t", b"\v", b"\f", b"\r", b"a", b"x", b"0", b'"a b"', b"'c d'", b'" "', b"''", b'""', b"\xff"]
        ),
        st.binary(min_size=1, max_size=3).map(lambda some: some.replace(b"\n", b"n").replace(b"\0", b"0")),
    ),
    max_size=14,
).map(b"".join)


class Echo:
    """A connection to a redis that returns the arguments it finds on a line."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis = redis
        self.connection: Connection = redis.connect()

    def arguments(self, line: bytes) -> bytes:
        """The reply to a line: an array of the arguments after the first three, or an error."""
        self.connection.send(line)
        reply = self.connection.reply()
        if reply == UNBALANCED:
            self.connection.expect_closed()
            self.connection = self.redis.connect()
        return reply


@pytest.fixture(scope="module")
def echo(redis: RedisServer) -> Echo:
    return Echo(redis)


@settings(max_examples=700)
@given(line=LINES, before=st.sampled_from([b"", b" ", b"\t\v\f\r "]), end=st.sampled_from([b"\n", b"\r\n"]))
@example(line=b"a\vb \fc\v", before=b"", end=b"\n")
@example(line=b'a"b"\v"c"', before=b"", end=b"\r\n")
@example(line=b"\\x41 \"\\x41\\x4\\xg1\" '\\x41'", before=b"", end=b"\n")
@example(line=b"a\r", before=b"", end=b"\r\n")
@example(line=b"'a\\'b' 'c\\\\' '\\", before=b"", end=b"\n")
def test_arguments_are_those_redis_finds(echo: Echo, line: bytes, before: bytes, end: bytes) -> None:
    whole = before + b"EVAL 'return ARGV' 0 " + line
    found = echo.arguments(whole + end)
    if end == b"\n":
        whole = whole.removesuffix(b"\r")
    try:
        arguments = split_inline(whole)
    except UnbalancedQuotes:
        assert found == UNBALANCED
    else:
        assert arguments[:3] == [b"EVAL", b"return ARGV", b"0"]
        assert found == array(*map(bulk, arguments[3:]))


@given(arguments=st.lists(st.binary(max_size=10), max_size=6), blanks=st.lists(st.sampled_from([b" ", b"\t", b"\r"])))
def test_quoted_arguments_come_back(arguments: list[bytes], blanks: list[bytes]) -> None:
    gap = b" " + b"".join(blanks)
    quoted = [b'"' + b"".join(b"\\x%02X" % byte for byte in argument) + b'"' for argument in arguments]
    assert split_inline(gap.join(quoted)) == arguments
    assert split_inline(gap + gap.join(quoted) + gap) == arguments


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (b"", []),
        (b" \t\v\f\r", []),
        (b"PING", [b"PING"]),
        (b"SET k 'a b' EX 10", [b"SET", b"k", b"a b", b"EX", b"10"]),
        (b"set a\"b c\" 'd'", [b"set", b"ab c", b"d"]),
        (rb'"\n\r\t\b\a\x00\xfF\"\\\q"', [b'\n\r\t\b\a\x00\xff"\\q']),
        (rb'"\x4" "\xg0" "\x"', [b"x4", b"xg0", b"x"]),
        (rb"'\n\x41\\\' \"'", [rb"\n\x41\\' " + rb"\""]),
        (b"''", [b""]),
        (b'"" ""', [b"", b""]),
        (b"\\n \\", [b"\\n", b"\\"]),
    ],
)
def test_quoting(line: bytes, arguments: list[bytes]) -> None:
    assert split_inline(line) == arguments


@pytest.mark.parametrize("line", [b'"', b"'", b'a"', b'"a', b'"a"b', b"'a'b", b"''\"\"", b'"a\\"', b"'a\\'", b'a "\\'])
def test_unbalanced_quotes(line: bytes) -> None:
    with pytest.raises(UnbalancedQuotes):
        split_inline(line)


@given(arguments=st.lists(st.binary(max_size=20), min_size=1, max_size=8), most=st.integers(1, 9))
def test_requests_are_written_and_read(flavour: Load, arguments: list[bytes], most: int) -> None:
    inline: Any = flavour("twemproxy.protocol.redis.inline")
    request = inline.encode_request(arguments)
    assert request == command(*arguments)
    assert inline.count_arguments(request) == len(arguments)
    assert inline.decode_request(request) == arguments
    found: list[bytes] = []
    some, at = inline.decode_some(request, 0, most)
    while some:
        assert len(some) <= most
        found += some
        some, at = inline.decode_some(request, at, most)
    assert (found, at) == (arguments, len(request))
    assert inline.decode_some(request, 0, most, 5) == (
        [a[:5] for a in arguments[:most]],
        inline.decode_some(request, 0, most)[1],
    )


@pytest.mark.parametrize("request_", [b"*1\r\n$5\r\nabc\r\n", b"*1\r\n$x\r\n", b"*1\r\n$99999999999999999999\r\n"])
def test_an_argument_that_is_cut_off_is_not_read(flavour: Load, request_: bytes) -> None:
    with pytest.raises(ValueError, match=r"bulk string|cut off"):
        flavour("twemproxy.protocol.redis.inline").decode_request(request_)


def is_http(line: bytes) -> bool:
    """Whether a line may be HTTP, which is neither rewritten nor skipped."""
    return b"HTTP/" in line or (line.split()[:1] != [] and line.split()[0].upper() in (b"POST", b"HOST:"))


@given(
    line=st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")).filter(lambda line: not is_http(line)),
    end=st.sampled_from([b"\n", b"\r\n"]),
)
def test_a_line_is_rewritten_or_passed_over(flavour: Load, line: bytes, end: bytes) -> None:
    codec: Any = Parser(flavour("twemproxy.protocol.redis.codec").RedisCodec())
    data = line.replace(b"*", b"+", 1) + end if line.startswith(b"*") else line + end
    frame = codec.find_request(data, 0, len(data))
    assert codec.end == len(data)
    if not data.strip(BLANKS):
        assert frame == EMPTY
        return
    assert frame == INLINE
    bare = data.removesuffix(b"\n").removesuffix(b"\r")
    try:
        arguments = split_inline(bare)
    except UnbalancedQuotes:
        with pytest.raises(ValueError, match=UNBALANCED_QUOTES):
            codec.rewrite(data)
    else:
        assert codec.rewrite(data) == (command(*arguments) if arguments else b"")
