"""What is forwarded is safe: whatever a client sends, a server gets one request, and its reply is the client's."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from feeding import COMPLETE, MUTED, NEED_MORE, QUIET, TO_ALL, TO_ANY, TO_EACH, TO_KEY, TO_NOBODY
from hypothesis import example, given, settings
from hypothesis import strategies as st
from memcache_streams import any_request_stream, damaged, garbage, request_streams, requests

from twemproxy.protocol.memcache.commands import COMMANDS, MOST_KEY, Form

MODULE = "twemproxy.protocol.memcache.codec"
FORWARDED = (TO_KEY, TO_ANY, TO_EACH, TO_ALL)
META = (Form.META, Form.META_SET)
# Where the last argument may be spelt like noreply: memcached takes it for a key there, or for the name of statistics.
KEYS_ONLY = (Form.RETRIEVAL, Form.RETRIEVAL_TOUCH, Form.STATS)
PLACE_OF_LENGTH = {Form.STORAGE: 4, Form.CAS: 4, Form.META_SET: 2}


@pytest.fixture(scope="session")
def codec(flavour: Callable[[str], ModuleType]) -> Any:
    return flavour(MODULE).MemcacheCodec(["flush_all"])


def check_forwarded(codec: Any, request: bytes) -> None:
    """Hold a request just framed, which is all of ``request``, to what every memcached has to find."""
    route, command, key_decoded = codec.route, codec.command, codec.key_decoded
    key = codec.decoded_key() if key_decoded else request[codec.key_start : codec.key_end]
    forwarded = request[: codec.cut_start] + request[codec.cut_end :]
    assert codec.swallow == 0
    form = COMMANDS[command].form
    line, newline, block = forwarded.partition(b"\n")
    assert newline == b"\n"
    line = line.removesuffix(b"\r")
    assert all(byte >= 32 and byte != 127 for byte in line)
    assert len(line) <= 2046 or form == Form.RETRIEVAL
    arguments = line.split()
    assert arguments[0].decode() == COMMANDS[command].name
    if form not in PLACE_OF_LENGTH:
        assert block == b""
    else:
        length = int(arguments[PLACE_OF_LENGTH[form]])
        assert (len(block), block[length:]) == (length + 2, b"\r\n")
        assert arguments[PLACE_OF_LENGTH[form]].isdigit()
    if form in META:
        flags = arguments[3:] if form == Form.META_SET else arguments[2:]
        assert not [flag for flag in flags if flag.startswith(b"q")]
        if form == Form.META_SET:
            assert len(flags) <= 16
    elif form not in KEYS_ONLY and len(arguments) > 2:
        assert arguments[-1] != b"noreply"
    if route == TO_KEY:
        assert 1 <= len(key) <= MOST_KEY
        if not key_decoded:
            assert key in arguments
    assert codec.find_request(forwarded, 0, len(forwarded)) == COMPLETE
    assert (codec.end, codec.route, codec.command) == (len(forwarded), route, command)
    assert forwarded[: codec.cut_start] + forwarded[codec.cut_end :] == forwarded
    assert not codec.expected & (QUIET | MUTED)
    if route == TO_KEY:
        assert key == (codec.decoded_key() if codec.key_decoded else forwarded[codec.key_start : codec.key_end])


def check_stream(codec: Any, stream: bytes) -> None:
    """Hold every request of a stream, and what begins at every line of it, to that."""
    starts = {0} | {at + 1 for at in range(len(stream)) if stream[at] == 10}
    for start in sorted(starts - {len(stream)}):
        if codec.find_request(stream, start, len(stream)) == COMPLETE and codec.route in FORWARDED:
            request = stream[start : codec.end]
            assert codec.find_request(request, 0, len(request)) == COMPLETE
            check_forwarded(codec, request)


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
    """What is swallowed begins where the refused request ends, and a refusal is one line."""
    at = 0
    while at < len(stream) and codec.find_request(stream, at, len(stream)) == COMPLETE:
        if codec.route == TO_NOBODY:
            reply = codec.refusal(stream[at : codec.end])
            assert reply.endswith(b"\r\n")
            assert reply.count(b"\n") == 1
            assert codec.swallow >= -1
        at = codec.end


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_request_is_forwarded_with_its_last_byte(codec: Any, command: Any) -> None:
    for arguments in (b"", b" k", b" 0 k", b" k 1", b" k 0 0 1", b" k 0 0 1 7", b" k 0 0 1 noreply"):
        request = command.name.encode() + arguments + b"\r\n"
        for end in range(1, len(request)):
            assert codec.find_request(request, 0, end) == NEED_MORE
