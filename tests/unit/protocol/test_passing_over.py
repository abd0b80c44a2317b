"""A request that is refused before it is whole: however it is cut, exactly that request is dropped."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from feeding import COMPLETE, MALFORMED, NEED_MORE

from harness.memcache import meta_set, store
from harness.resp import command

Load = Callable[[str], ModuleType]

REST_OF_LINE, ARGUMENTS = -1, -2
NEXT = b"PING\r\n"


def rest(codec: Any, request: bytes, cut: int) -> bytes | None:
    """What is left of a stream when its first request was dropped that began with ``cut`` bytes; None: it cannot be.

    The rest comes byte by byte.
    """
    stream = request + NEXT
    if codec.find_request(stream, 0, cut) != NEED_MORE or codec.find_rest(stream, 0, cut) == NEED_MORE:
        return None
    at, swallow, arguments = codec.end, codec.swallow, codec.swallow_arguments
    while swallow:
        if swallow == REST_OF_LINE:
            return stream[stream.index(b"\n", at) + 1 :]
        if swallow > 0:
            at += swallow
            swallow = ARGUMENTS if arguments else 0
            continue
        end = at + 1
        while (frame := codec.find_argument(stream, at, end)) == NEED_MORE:
            assert end < at + codec.needed
            end += 1
        assert frame == COMPLETE
        at, swallow, arguments = codec.end, codec.swallow, arguments - 1
    return stream[at:]


@pytest.mark.parametrize(
    "request_", [command("SET", "k", "v" * 20), command("SADD", "k", "", *range(12)), b"*1\r\n$10\r\n0123456789\r\n"]
)
def test_redis_requests(flavour: Load, request_: bytes) -> None:
    codec = flavour("twemproxy.protocol.redis.codec").RedisCodec()
    count = request_.index(b"\n") + 1
    for cut in range(1, len(request_)):
        assert rest(codec, request_, cut) == (NEXT if cut >= count else None), cut


def test_an_inline_request(flavour: Load) -> None:
    codec = flavour("twemproxy.protocol.redis.codec").RedisCodec()
    assert {rest(codec, b"get something\r\n", cut) for cut in range(1, 15)} == {NEXT}


@pytest.mark.parametrize("argument", [b"+1\r\n", b"$-1\r\n", b"$x\r\n", b"$536870913\r\n"])
def test_what_is_no_argument(flavour: Load, argument: bytes) -> None:
    codec = flavour("twemproxy.protocol.redis.codec").RedisCodec()
    assert codec.find_argument(argument, 0, len(argument)) == MALFORMED


@pytest.mark.parametrize(
    "request_", [store("set", "k", "v" * 20), store("cas", "k", "v", 7, "noreply"), meta_set("k", "value", "q")]
)
def test_data_blocks_are_never_taken_for_commands(flavour: Load, request_: bytes) -> None:
    codec = flavour("twemproxy.protocol.memcache.codec").MemcacheCodec()
    line = request_.index(b"\n") + 1
    for cut in range(1, len(request_)):
        assert rest(codec, request_, cut) == (NEXT if cut >= line else None), cut


def test_lines_of_keys(flavour: Load) -> None:
    codec = flavour("twemproxy.protocol.memcache.codec").MemcacheCodec()
    request = b"get one two three\r\n"
    assert [rest(codec, request, cut) for cut in (2, 5, 18)] == [None, NEXT, NEXT]
