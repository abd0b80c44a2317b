"""Forwarding is safe: whatever a client sends, a server gets exactly one request, and replies to it exactly once."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from feeding import COMPLETE, NEED_MORE, REJECT, Parser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memcache_forwarding import check_stream
from memcache_streams import any_request_stream, damaged, garbage, request_streams, requests

from twemproxy.protocol.memcache.commands import COMMANDS

MODULE = "twemproxy.protocol.memcache.codec"


@pytest.fixture(scope="session")
def codec(flavour: Callable[[str], ModuleType]) -> Any:
    return Parser(flavour(MODULE).MemcacheCodec(["flush_all"]))


@settings(max_examples=150)
@given(stream=any_request_stream)
@example(stream=b"ms k 7 c f h I k l s t u v P L F0 C1 E1 T0 N0\r\nflush a\r\n")
@example(stream=b"set k 0 0 1 noreply \r\na\r\n")
@example(stream=b"flush_all noreply \n")
@example(stream=b"mg k qq q\r\n")
@example(stream=b"get k\r\r\n")
def test_what_is_forwarded_is_one_request(codec: Any, stream: bytes) -> None:
    check_stream(codec, stream)


@settings(max_examples=150)
@given(stream=damaged(requests))
def test_what_is_forwarded_of_a_damaged_request_is_one_request(codec: Any, stream: bytes) -> None:
    check_stream(codec, stream)


@given(stream=st.sampled_from([b"get ", b"set ", b"ms k ", b"mg ", b"delete ", b"stats ", b"version"]), rest=garbage)
def test_what_is_forwarded_of_a_garbled_line_is_one_request(codec: Any, stream: bytes, rest: bytes) -> None:
    check_stream(codec, stream + rest + b"\r\n")


@given(stream=request_streams)
def test_nothing_of_a_refused_request_is_forwarded(codec: Any, stream: bytes) -> None:
    """A refusal is one line, and the number of bytes to discard is valid."""
    at = 0
    while at < len(stream) and codec.find_request(stream, at, len(stream)) == COMPLETE:
        if codec.route == REJECT:
            reply = codec.refusal()
            assert reply.endswith(b"\r\n")
            assert reply.count(b"\n") == 1
            assert codec.discard >= -1
        at = codec.end


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_request_is_forwarded_with_its_last_byte(codec: Any, command: Any) -> None:
    for arguments in (b"", b" k", b" 0 k", b" k 1", b" k 0 0 1", b" k 0 0 1 7", b" k 0 0 1 noreply"):
        request = command.name.encode() + arguments + b"\r\n"
        for end in range(1, len(request)):
            assert codec.find_request(request, 0, end) == NEED_MORE
