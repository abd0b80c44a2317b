"""Where memcached replies end, and which replies fit a request."""

from typing import Any

import pytest
from feeding import COMPLETE, MALFORMED, NEED_MORE, NOREPLY, QUIET, Feed, Parser, fields, messages, messages_when_cut
from hypothesis import example, given
from hypothesis import strategies as st
from memcache_streams import any_reply_stream, cuts, values

from harness.flavours import Both, Load
from twemproxy.protocol.memcache.commands import ERRORS, KIND_NAMES, REPLY_KINDS, WORDS, Follows

MODULE = "twemproxy.protocol.memcache.codec"
MOST_REPLY_LINE = 64 * 1024
GB = 1024 * 1024 * 1024

kinds = st.sampled_from(range(len(KIND_NAMES)))


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return Parser(flavour(MODULE).MemcacheCodec())


@pytest.fixture(scope="session")
def codecs(both_flavours: Both) -> tuple[Any, Any]:
    """(compiled, interpreted)."""
    fast, slow = both_flavours(MODULE)
    return Parser(fast.MemcacheCodec()), Parser(slow.MemcacheCodec())


def frame(codec: Any, reply: bytes, kind: str) -> int:
    """The Frame of all of ``reply``, which answers a request of this kind."""
    codec.expected = KIND_NAMES.index(kind)
    found = codec.find_reply(reply, 0, len(reply))
    if found == COMPLETE:
        assert codec.end == len(reply)
    assert isinstance(found, int)
    return found


# --- kinds -----------------------------------------------------------------------------------------------------------


def sample(word: str) -> bytes:
    """A complete reply that begins with this word."""
    follows = {known.name: known.follows for known in WORDS}.get(word, Follows.NOTHING_MORE)
    match follows:
        case Follows.BLOCK:
            return word.encode() + b" key 0 1\r\na\r\nEND\r\n"
        case Follows.LAST_BLOCK:
            return word.encode() + b" 1 f\r\na\r\n"
        case Follows.LINES:
            return word.encode() + b" a 1\r\nEND\r\n"
    return word.encode() + b"\r\n"


@pytest.mark.parametrize("kind", REPLY_KINDS)
def test_only_words_of_its_kind_answer_a_request(codec: Any, kind: str) -> None:
    words = REPLY_KINDS[kind].words.split()
    for word in [known.name for known in WORDS]:
        expected = COMPLETE if word in words + ERRORS.split() else MALFORMED
        assert frame(codec, sample(word), kind) == expected, word
    for number in (b"0\r\n", b"18446744073709551615\r\n", b"5  \r\n"):
        assert frame(codec, number, kind) == (COMPLETE if "#" in words else MALFORMED)
    for other in (
        b"\r\n",
        b"\n",
        b" OK\r\n",
        b"MN\r\n",
        b"ok\r\n",
        b"OKAY\r\n",
        b"-1\r\n",
        b"1x\r\n",
        b"\0\r\n",
        b"K\r\n",
    ):
        assert frame(codec, other, kind) == MALFORMED, other


@pytest.mark.parametrize("kind", REPLY_KINDS)
def test_words_may_have_more_behind_them(codec: Any, kind: str) -> None:
    for word in REPLY_KINDS[kind].words.split() + ERRORS.split():
        if word != "#" and sample(word).count(b"\n") == 1:
            for more in (b"", b" ", b" text", b"\ttext", b" \xff\x80", b" OK\r", b" \r\r"):
                assert frame(codec, word.encode() + more + b"\r\n", kind) == COMPLETE
            for on_rejected in (b"x", b"_", b"\x7f", b"\xa0"):
                assert frame(codec, word.encode() + on_rejected + b"\r\n", kind) == MALFORMED


@pytest.mark.parametrize("kind", REPLY_KINDS)
@pytest.mark.parametrize("unwanted", [0, QUIET, NOREPLY])
def test_what_a_client_does_not_want(codec: Any, kind: str, unwanted: int) -> None:
    """A quiet request suppresses some replies, but never errors; a request with noreply suppresses every reply."""
    suppressible = {"meta get": ["EN"], "meta set": ["HD"], "meta delete": ["HD"], "meta arithmetic": ["HD", "VA"]}
    codec.expected = KIND_NAMES.index(kind) | unwanted
    for word in REPLY_KINDS[kind].words.replace("#", "5").split() + ERRORS.split():
        expected = unwanted == NOREPLY or (unwanted == QUIET and word in suppressible.get(kind, []))
        assert codec.is_unwanted(sample(word)) == expected, word


@pytest.mark.parametrize("word", [word.name for word in WORDS])
def test_errors_are_three_words(codec: Any, word: str) -> None:
    error = word in ("ERROR", "CLIENT_ERROR", "SERVER_ERROR")
    assert codec.kinds(sample(word)) == (error, False, False)
    assert codec.kinds(word.encode() + b" text\r\n") == (error, False, False)


def test_other_replies_are_no_errors(codec: Any) -> None:
    for reply in (b"5\r\n", b"ERRORS\r\n", b"error\r\n", b"VALUE a 0 7\r\nERROR\r\n\r\nEND\r\n", b"SERVER_ERRO\r\n"):
        assert codec.kinds(reply) == (False, False, False)


def test_the_greeting_expects_a_version(codec: Any) -> None:
    assert KIND_NAMES[codec.handshake_expected] == "version"


# --- values ----------------------------------------------------------------------------------------------------------


@given(
    many=st.lists(values, max_size=4),
    last=st.sampled_from([b"END\r\n", b"ERROR\r\n", b"SERVER_ERROR out of memory\r\n"]),
)
def test_values_end_with_a_line(codec: Any, many: list[bytes], last: bytes) -> None:
    reply = b"".join(many) + last
    assert frame(codec, reply, "retrieval") == COMPLETE
    assert messages(codec, reply * 2, False)[0] == messages(codec, reply * 2, False, range(len(reply) * 2))[0]
    assert frame(codec, reply[: -len(last)] + b"STORED\r\n", "retrieval") == MALFORMED


@pytest.mark.parametrize("more", [b"", b" ", b" 77", b" 77 more ", b"  ", b" \r"])
@pytest.mark.parametrize("size", [0, 1, 2, 5, 70000])
def test_blocks_of_any_size(codec: Any, more: bytes, size: int) -> None:
    block = b"\r\n" * (size // 2) + b"x" * (size % 2)
    assert frame(codec, b"VALUE k 0 %d%s\r\n%s\r\nEND\r\n" % (size, more, block), "retrieval") == COMPLETE
    assert frame(codec, b"VA %d%s\r\n%s\r\n" % (size, more, block), "meta get") == COMPLETE
    assert frame(codec, b"VALUE k 0 0%d%s\r\n%s\r\nEND\r\n" % (size, more, block), "retrieval") == COMPLETE


@pytest.mark.parametrize("end", [b"\n\r", b"\r\r", b"xx", b"\n\n", b"\r "])
def test_a_block_that_ends_wrong_is_malformed(codec: Any, end: bytes) -> None:
    assert frame(codec, b"VALUE k 0 1\r\na" + end + b"END\r\n", "retrieval") == MALFORMED
    assert frame(codec, b"VA 1\r\na" + end, "meta get") == MALFORMED


@pytest.mark.parametrize(
    "header",
    [
        *(b"", b" ", b" k", b" k 0", b" k 0 ", b" k 0 x", b" k 0 -1", b" k 0 1x", b" k 0 +1", b" k  0 1", b"  k 0 1"),
        *(b" k 0  1", b"\tk 0 1", b" k\t0 1 1", b" k 0 1\t", b" k 0 1\0", b" k 0 1\r7", b" k 0 %d" % (GB + 1)),
        *(b" k 0 " + b"9" * 11, b" k 0 " + b"0" * 10 + b"1", b" k 0 " + b"9" * 30),
    ],
)
def test_a_broken_header_is_malformed(codec: Any, header: bytes) -> None:
    assert frame(codec, b"VALUE" + header + b"\r\na\r\nEND\r\n", "retrieval") == MALFORMED
    bare = header.replace(b" k 0", b"", 1)
    if b"k" not in bare:
        assert frame(codec, b"VA" + bare + b"\r\na\r\n", "meta arithmetic") == MALFORMED


@pytest.mark.parametrize("length", [10, 16384, GB])
def test_a_block_asks_for_exactly_what_is_missing(codec: Any, length: int) -> None:
    header = b"VALUE k 0 %d\r\n" % length
    assert frame(codec, header, "retrieval") == NEED_MORE
    assert codec.needed == len(header) + length + len(b"\r\nEND\r\n")
    header = b"VA %d\r\n" % length
    assert frame(codec, header, "meta get") == NEED_MORE
    assert codec.needed == len(header) + length + len(b"\r\n")


# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REPLY_KINDS)
def test_a_line_that_ends_in_a_bare_line_feed_is_malformed(codec: Any, kind: str) -> None:
    for word in REPLY_KINDS[kind].words.replace("#", "5").split() + ERRORS.split():
        for i, line_end in enumerate(sample(word).split(b"\r\n")[:-1]):
            parts = sample(word).split(b"\r\n")
            on_rejected = b"\r\n".join([*parts[:i], line_end + b"\n" + b"\r\n".join(parts[i + 1 :])])
            assert frame(codec, on_rejected + b"\r\nEND\r\n", kind) == MALFORMED, on_rejected


def test_figures_go_on_to_the_end(codec: Any) -> None:
    for last in (b"END\r\n", b"OK\r\n", b"RESET\r\n", b"SERVER_ERROR busy\r\n"):
        assert frame(codec, b"STAT a 1\r\nITEM b 2\r\nPREFIX c\r\nSTAT\r\n" + last, "stats") == COMPLETE
    for line in (b"VALUE a 0 1\r\na\r\n", b"STORED\r\n", b"\r\n", b"HD\r\n", b"12\r\n"):
        assert frame(codec, b"STAT a 1\r\n" + line, "stats") == MALFORMED


def test_long_replies_are_not_read_from_the_beginning_again(codec: Any) -> None:
    value = b"VALUE key 0 30\r\n" + b"x" * 30 + b"\r\n"
    for kind, line in (("retrieval", value), ("stats", b"STAT name value\r\n")):
        codec.expected = KIND_NAMES.index(kind)
        reply = line * 1000 + b"END\r\n"
        feed = Feed(codec, False)
        for i in range(len(reply) - 1):
            assert not list(feed.take(reply[i : i + 1]))
            assert i + 1 - feed.resume[0] <= len(line) + len(b"END\r\n")
        [message] = feed.take(reply[-1:])
        assert (message.frame, message.data) == (COMPLETE, reply)


@pytest.mark.parametrize("beyond", [-1, 0, 1, 5000])
def test_overlong_lines_are_the_same_however_cut(codec: Any, beyond: int) -> None:
    codec.expected = 0
    line = b"VERSION ".ljust(MOST_REPLY_LINE - 1 + beyond, b"x") + b"\r\n"
    whole = messages(codec, line, False)
    for ends in ([MOST_REPLY_LINE - 1], [MOST_REPLY_LINE], [MOST_REPLY_LINE + 1], range(0, len(line), 4096)):
        assert messages(codec, line, False, ends) == whole
    assert [message.frame for message in whole[0]] == [COMPLETE if beyond <= 0 else MALFORMED]


# --- streams in pieces -----------------------------------------------------------------------------------------------


@given(stream=any_reply_stream, kind=kinds, cuts=cuts)
@example(stream=b"VALUE k 0 1\r\na\r\nEND\r\n", kind=KIND_NAMES.index("retrieval"), cuts=[13, 16, 18])
@example(stream=b"VALUE k 0 1\r\nab ", kind=KIND_NAMES.index("retrieval"), cuts=[14])
def test_replies_are_the_same_however_cut(codec: Any, stream: bytes, kind: int, cuts: list[int]) -> None:
    codec.expected = kind
    whole = messages(codec, stream, False)
    assert messages_when_cut(codec, stream, False, cuts, whole, padding=b"END\r\n") == whole
    everywhere = range(len(stream))
    assert messages_when_cut(codec, stream, False, everywhere, whole, padding=b"x" * 9, beyond=b"\r\n") == whole


@given(stream=any_reply_stream, kind=kinds, beyond=st.binary(max_size=3) | st.sampled_from([b"\r\n", b"END\r\n", b"0"]))
def test_flavours_agree_on_replies_and_look_at_nothing_else(
    codecs: tuple[Any, Any], stream: bytes, kind: int, beyond: bytes
) -> None:
    compiled, interpreted = codecs
    for end in range(1, len(stream) + 1):
        compiled.expected = interpreted.expected = kind | QUIET
        found = interpreted.find_reply(stream[:end], 0, end)
        assert compiled.find_reply(stream[:end] + beyond, 0, end) == found
        assert fields(compiled) == fields(interpreted)
        if found == COMPLETE:
            reply = stream[: compiled.end]
            assert compiled.kinds(reply) == interpreted.kinds(reply)
            assert compiled.is_unwanted(reply) == interpreted.is_unwanted(reply)
