"""Requests of memcached's meta commands: their flags, and keys in base64."""

import base64
import re
from typing import Any

import pytest
from feeding import COMPLETE, QUIET, REJECT, TO_KEY, Parser, messages
from hypothesis import example, given
from hypothesis import strategies as st
from memcache_tables import BASE64, DUPLICATE, ERROR, FORMAT

from harness.flavours import Load
from twemproxy.protocol.memcache.commands import META_SET_FLAGS, MODES, FlagKind

MODULE = "twemproxy.protocol.memcache.codec"
WELL_FORMED = re.compile(rb"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}(==|[A-Za-z0-9+/](=|[A-Za-z0-9+/])))")
META = [b"mg", b"md", b"ma", b"me"]


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return Parser(flavour(MODULE).MemcacheCodec())


def refusal_of(codec: Any, request: bytes) -> bytes:
    """The error reply to a request, empty for a request that is forwarded."""
    assert codec.find_request(request, 0, len(request)) == COMPLETE
    if codec.route == TO_KEY:
        return b""
    assert codec.route == REJECT
    text = codec.refusal()
    assert isinstance(text, bytes)
    return text.removesuffix(b"\r\n")


# --- keys in base64 --------------------------------------------------------------------------------------------------


@given(key=st.binary(min_size=1, max_size=186), name=st.sampled_from(META), where=st.integers(0, 2))
@example(key=b"\0\r ", name=b"mg", where=0)
@example(key=b"\n", name=b"mg", where=0)
@example(key=b"x\r\nEND\r\n", name=b"ma", where=1)
@example(key=b"k" * 186, name=b"me", where=0)
@example(key=b"\xff" * 184, name=b"me", where=0)
def test_a_key_in_base64_is_routed_by_its_bytes(codec: Any, key: bytes, name: bytes, where: int) -> None:
    flags = [b"v", b"k"]
    flags.insert(where, b"b")
    written = base64.b64encode(key)
    for request in (
        b"%s %s %s\r\n" % (name, written, b" ".join(flags)),
        b"ms %s 1 %s\r\na\r\n" % (written, b" ".join(flags)),
    ):
        if b"\n" in key:
            # The reply repeats the key, whose line feed could make the rest look like a reply to another client.
            assert refusal_of(codec, request) == b"CLIENT_ERROR a key may not contain a line feed, not even in base64"
            continue
        assert refusal_of(codec, request) == b""
        assert codec.key_decoded
        assert codec.decoded_key() == key
        assert (codec.strip_start, codec.strip_end) == (0, 0)


@given(written=st.text("ABab01+/=_-", min_size=1, max_size=12).map(str.encode) | st.binary(min_size=1, max_size=9))
@example(written=b"=")
@example(written=b"====")
@example(written=b"A===")
@example(written=b"AA=A")
@example(written=b"=AAA")
@example(written=b"AAAA=AAA")
@example(written=b"AA==AAAA")
@example(written=b"QR==")
def test_what_is_no_base64_is_refused(codec: Any, written: bytes) -> None:
    if any(byte <= 32 or byte == 127 for byte in written):
        return
    good = WELL_FORMED.fullmatch(written) is not None
    for request, text in (
        (b"mg %s b\r\n", BASE64),
        (b"md %s b\r\n", BASE64),
        (b"ma %s q b\r\n", BASE64),
        (b"me %s b\r\n", FORMAT),
        (b"ms %s 1 b\r\na\r\n", BASE64),
    ):
        assert refusal_of(codec, request % written) == (b"" if good else text.encode())
    if good:
        assert codec.decoded_key() == base64.b64decode(written)


def test_the_next_request_has_its_key_as_it_is_spelt(codec: Any) -> None:
    assert refusal_of(codec, b"mg QUJD b\r\n") == b""
    assert codec.decoded_key() == b"ABC"
    request = b"mg QUJD\r\n"
    assert refusal_of(codec, request) == b""
    assert not codec.key_decoded
    assert request[codec.key_start : codec.key_end] == b"QUJD"


# --- quiet -----------------------------------------------------------------------------------------------------------


@given(
    name=st.sampled_from(META),
    flags=st.lists(st.sampled_from([b"v", b"k", b"t", b"Oq", b"T0", b"\xff", b"c"]), max_size=5),
    quiet=st.sampled_from([b"q", b"qq", b"q0", b"q\xff"]),
    where=st.integers(0, 5),
    blanks=st.integers(1, 3),
)
def test_quiet_is_cut_out_wherever_it_stands(
    codec: Any, name: bytes, flags: list[bytes], quiet: bytes, where: int, blanks: int
) -> None:
    between = b" " * blanks
    request = between.join([name, b"key", *flags[:where], quiet, *flags[where:]]) + b"\r\n"
    assert refusal_of(codec, request) == b""
    assert codec.expected & QUIET
    forwarded = request[: codec.strip_start] + request[codec.strip_end :]
    assert forwarded.split() == [name, b"key", *flags]
    assert refusal_of(codec, forwarded) == b""
    assert not codec.expected & QUIET
    assert codec.strip_start == codec.strip_end


def test_quiet_twice_is_refused_and_nothing_is_muted_by_it(codec: Any) -> None:
    assert refusal_of(codec, b"ms k 1 q v q\r\na\r\n") == DUPLICATE.encode()
    assert refusal_of(codec, b"mg k q v q0\r\n") == DUPLICATE.encode()


def test_a_key_named_like_a_flag_is_a_key(codec: Any) -> None:
    for request in (b"mg q\r\n", b"mg b\r\n", b"ms q 1\r\na\r\n", b"ms b 1\r\na\r\n"):
        assert refusal_of(codec, request) == b""
        assert (codec.expected & QUIET, codec.key_decoded, codec.strip_end) == (0, False, 0)


# --- flags of ms -----------------------------------------------------------------------------------------------------

ALL_FLAGS = b"c f h I k l s t u v P L F0 C1 E1 T0 N0 R0 O1 MS b q".split()
GOOD_TOKENS = {
    FlagKind.BARE: [b"", b"0", b"x", b"anything"],
    FlagKind.UNSIGNED_32: [b"0", b"4294967295"],
    FlagKind.UNSIGNED_64: [b"0", b"18446744073709551615"],
    FlagKind.SIGNED_32: [b"0", b"-1", b"2147483647"],
    FlagKind.OPAQUE: [b"", b"o" * 31, b"\xff"],
    FlagKind.MODE: [mode.encode() for mode in MODES],
}
BAD_TOKENS = {
    FlagKind.BARE: [b"\t", b"\0"],
    FlagKind.UNSIGNED_32: [b"", b"-1", b"x", b"4294967296"],
    FlagKind.UNSIGNED_64: [b"", b"-1", b"x", b"18446744073709551616"],
    FlagKind.SIGNED_32: [b"", b"-", b"x", b"2147483648"],
    FlagKind.OPAQUE: [b"o" * 32, b"\t"],
    FlagKind.MODE: [b"", b"X", b"SS", b"0", b"\t", b"\xff"],
}


def test_these_tests_know_every_flag() -> None:
    assert {flag[:1].decode() for flag in ALL_FLAGS} == set(META_SET_FLAGS)
    assert {*GOOD_TOKENS} == {*BAD_TOKENS} == {*FlagKind} - {FlagKind.UNKNOWN}
    assert [kind.value for kind in FlagKind] == list(range(7))


@pytest.mark.parametrize("byte", sorted({*range(256)} - {10, 13, 32}))
def test_every_letter_is_a_flag_of_ms_or_none(codec: Any, byte: int) -> None:
    letter, kind = bytes([byte]), META_SET_FLAGS.get(chr(byte), FlagKind.UNKNOWN)
    key = b"QUJD"
    for token in GOOD_TOKENS.get(kind, []):
        assert refusal_of(codec, b"ms %s 1 %s\r\na\r\n" % (key, letter + token)) == b""
        line = b"ms %s 1 %s %s\r\n" % (key, letter + token, letter + token)
        assert refusal_of(codec, line) == DUPLICATE.encode()
        assert codec.discard == 3
    for token in BAD_TOKENS.get(kind, [b"", b"1"]):
        line = b"ms %s 1 %s\r\n" % (key, letter + token)
        assert refusal_of(codec, line).startswith(b"CLIENT_ERROR ")
        assert codec.discard == 3


def test_more_flags_than_memcached_takes_are_refused_and_the_block_dropped(codec: Any) -> None:
    """memcached refuses such a request too, but executes its data block."""
    few, many = b" ".join(ALL_FLAGS[:16]), b" ".join(ALL_FLAGS[:17])
    found, _ = messages(codec, b"ms k 7 %s\r\nquit k\n\r\nms k 7 %s\r\nquit k\n\r\nmn\r\n" % (few, many), True)
    assert [message.meaning[1] for message in found][:2] == [TO_KEY, REJECT]
    assert found[1].meaning[-1] == b"CLIENT_ERROR options flags too long\r\n"
    assert found[2].data == b"mn\r\n"


def test_other_commands_leave_their_flags_to_the_server(codec: Any) -> None:
    flags = b" ".join(bytes([byte]) for byte in range(33, 256) if byte not in b"\x7fbq")
    for name in META:
        assert refusal_of(codec, b"%s k %s %s\r\n" % (name, flags, flags)) == b""


def test_the_first_thing_wrong_is_what_is_said(codec: Any) -> None:
    assert refusal_of(codec, b"ms k_ 1 % b Fx\r\na\r\n") == b"CLIENT_ERROR invalid flag"
    assert refusal_of(codec, b"ms k_ 1 b c c\r\na\r\n") == DUPLICATE.encode()
    assert refusal_of(codec, b"ms %s 1 c c\r\na\r\n" % (b"k" * 251)) == FORMAT.encode()


def test_too_few_arguments_are_refused_in_the_words_of_memcached(codec: Any) -> None:
    for line, text in ((b"ms", ERROR), (b"ms k", FORMAT), (b"mg", ERROR), (b"me", FORMAT)):
        assert refusal_of(codec, line + b"\r\n") == text.encode()
