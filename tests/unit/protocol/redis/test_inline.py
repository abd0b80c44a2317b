"""Inline requests: the arguments of a line, compared with those a real redis finds."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from feeding import REWRITE, SKIP
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.connection import Connection
from harness.resp import array, bulk, command
from harness.servers import RedisServer
from twemproxy.protocol.redis.errors import UNBALANCED_QUOTES
from twemproxy.protocol.redis.inline import UnbalancedQuotes, decode_request, encode_request, split_inline

Load = Callable[[str], ModuleType]
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


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class Echo:
    """Connections to a redis that tells the arguments it finds on a line."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis = redis
        self.connection: Connection = redis.connect()

    def arguments(self, line: bytes) -> bytes:
        """The reply to a line: an array of the arguments behind the first three, or an error."""
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


@given(arguments=st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_requests_are_written_and_read(arguments: list[bytes]) -> None:
    request = encode_request(arguments)
    assert request == command(*arguments)
    assert decode_request(request) == arguments


@given(line=st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), end=st.sampled_from([b"\n", b"\r\n"]))
def test_a_line_is_rewritten_or_passed_over(flavour: Load, line: bytes, end: bytes) -> None:
    codec: Any = flavour("twemproxy.protocol.redis.codec").RedisCodec()
    data = line.replace(b"*", b"+", 1) + end if line.startswith(b"*") else line + end
    frame = codec.find_request(data, 0, len(data))
    assert codec.end == len(data)
    if not data.strip(BLANKS):
        assert frame == SKIP
        return
    assert frame == REWRITE
    bare = data.removesuffix(b"\n").removesuffix(b"\r")
    try:
        arguments = split_inline(bare)
    except UnbalancedQuotes:
        with pytest.raises(ValueError, match=UNBALANCED_QUOTES):
            codec.rewrite(data)
    else:
        assert codec.rewrite(data) == (command(*arguments) if arguments else b"")


@pytest.mark.parametrize("line", [b"POST / HTTP/1.1\r\n", b"post /\n", b"Host: localhost:6379\r\n", b"HOST: x\n"])
def test_http_is_told_from_redis(flavour: Load, line: bytes) -> None:
    codec: Any = flavour("twemproxy.protocol.redis.codec").RedisCodec()
    assert codec.find_request(line, 0, len(line)) == REWRITE
    with pytest.raises(ValueError, match="HTTP"):
        codec.rewrite(line)
