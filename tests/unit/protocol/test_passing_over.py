"""A request that is refused before it is complete: exactly this request is discarded, wherever it is cut."""

from typing import Any

import pytest
from feeding import COMPLETE, MALFORMED, NEED_MORE, Parser

from harness.flavours import Load
from harness.memcache import meta_set, store
from harness.resp import command

REST_OF_LINE, ARGUMENTS = -1, -2
NEXT = b"PING\r\n"


def rest(codec: Any, request: bytes, cut: int) -> bytes | None:
    """The stream after its first request, which is discarded from byte ``cut`` on; None if that is not possible yet.

    The other bytes arrive one by one.
    """
    stream = request + NEXT
    if codec.find_request(stream, 0, cut) != NEED_MORE or codec.find_rest(stream, 0, cut) == NEED_MORE:
        return None
    at, discard, arguments = codec.end, codec.discard, codec.discard_arguments
    while discard:
        if discard == REST_OF_LINE:
            return stream[stream.index(b"\n", at) + 1 :]
        if discard > 0:
            at += discard
            discard = ARGUMENTS if arguments else 0
            continue
        end = at + 1
        while (frame := codec.find_argument(stream, at, end)) == NEED_MORE:
            assert end < at + codec.needed
            end += 1
        assert frame == COMPLETE
        at, discard, arguments = codec.end, codec.discard, arguments - 1
    return stream[at:]


@pytest.mark.parametrize(
    "request_", [command("SET", "k", "v" * 20), command("SADD", "k", "", *range(12)), b"*1\r\n$10\r\n0123456789\r\n"]
)
def test_redis_requests(flavour: Load, request_: bytes) -> None:
    codec = Parser(flavour("twemproxy.protocol.redis.codec").RedisCodec())
    count = request_.index(b"\n") + 1
    for cut in range(1, len(request_)):
        assert rest(codec, request_, cut) == (NEXT if cut >= count else None), cut


def test_an_inline_request(flavour: Load) -> None:
    codec = Parser(flavour("twemproxy.protocol.redis.codec").RedisCodec())
    assert {rest(codec, b"get something\r\n", cut) for cut in range(1, 15)} == {NEXT}


@pytest.mark.parametrize("argument", [b"+1\r\n", b"$-1\r\n", b"$x\r\n", b"$536870913\r\n"])
def test_what_is_no_argument(flavour: Load, argument: bytes) -> None:
    codec = Parser(flavour("twemproxy.protocol.redis.codec").RedisCodec())
    assert codec.find_argument(argument, 0, len(argument)) == MALFORMED


@pytest.mark.parametrize(
    "request_", [store("set", "k", "v" * 20), store("cas", "k", "v", 7, "noreply"), meta_set("k", "value", "q")]
)
def test_data_blocks_are_never_taken_for_commands(flavour: Load, request_: bytes) -> None:
    codec = Parser(flavour("twemproxy.protocol.memcache.codec").MemcacheCodec())
    line = request_.index(b"\n") + 1
    for cut in range(1, len(request_)):
        assert rest(codec, request_, cut) == (NEXT if cut >= line else None), cut


def test_lines_of_keys(flavour: Load) -> None:
    codec = Parser(flavour("twemproxy.protocol.memcache.codec").MemcacheCodec())
    request = b"get one two three\r\n"
    assert [rest(codec, request, cut) for cut in (2, 5, 18)] == [None, NEXT, NEXT]
