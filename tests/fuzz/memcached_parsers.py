"""Fuzzes the parsers of memcached's text protocol: requests, and replies of every kind."""

import random
import re
from functools import partial
from typing import Any

from feeding import COMPLETE, MALFORMED, QUIET, REJECT, SCATTER, SLOW_PATH, STATUS, VALUES, Parser
from memcache_forwarding import check_stream
from memcache_tables import FORWARDED, REFUSED

from fuzz.checking import Check, agreed, found_in
from harness.command_streams import UNIQUE, calculating, retrieving
from harness.flavours import Load, compiled
from harness.memcache import reply_end
from twemproxy.protocol.memcache.commands import COMMANDS, KIND_NAMES, REPLY_KINDS, WORDS
from twemproxy.upstream.server_poll import Poll, Reply
from unit.fakes import fake_servers

MODULE = "twemproxy.protocol.memcache.codec"

# --- inputs ----------------------------------------------------------------------------------------------------------

_REQUESTS = [row.request for row in FORWARDED] + [row.line + b"\r\n" + row.block for row in REFUSED]
_REQUESTS += [made.request.replace(UNIQUE.encode(), b"7") for made in (*retrieving(400), *calculating(400))]
_REQUESTS = [data for data in _REQUESTS if len(data) < 1000]
REQUEST_TOKENS = [
    *(command.name.encode() + b" " for command in COMMANDS),
    *(
        b"\r\n",
        b"\n",
        b" ",
        b"  ",
        b" noreply",
        b"noreply ",
        b" q",
        b" b",
        b" k",
        b" v",
        b" S5",
        b" O1",
        b" T0",
        b" F7",
    ),
    *(b" C1", b" MS", b" N0", b" I", b" 0 0 1", b" 0 0 0", b" -1", b" 1 noreply", b"k", b"YWJj", b"AAEC/w==", b"YQ=="),
    *(b"x" * 250, b"x" * 251, b" " * 100, b"k " * 300, b"servers", b"sizes_enable", b"detail dump", b"QUJD=", b"Cg=="),
]
REPLY_TOKENS = [
    *(word.name.encode() for word in WORDS),
    *(
        b"\r\n",
        b"\n",
        b" ",
        b"VALUE a 0 1\r\nx\r\n",
        b"VALUE b 0 0 7\r\n\r\n",
        b"END\r\n",
        b"VA 1 kb\r\nx\r\n",
        b"HD q\r\n",
    ),
    *(b"STAT a 1\r\n", b"ITEM a [1 b; 0 s]\r\n", b"PREFIX a get 1\r\n", b"SERVER_ERROR out of memory\r\n", b"12\r\n"),
]


def request(source: random.Random) -> bytes:
    """One request."""
    return source.choice(_REQUESTS)


def reply(source: random.Random) -> bytes:
    """One reply of a server."""
    data = source.choice([b"", b"x", b"END\r\n", b"\r\n", source.randbytes(source.randrange(20))])
    more = source.choice([b"", b"", b" 7", b" 7 more"])
    values = [b"VALUE %s 0 %d%s\r\n%s\r\n" % (source.choice([b"a", b"b", b"c"]), len(data), more, data)]
    match source.randrange(4):
        case 0:
            return b"".join(values * source.randrange(4)) + source.choice([b"END\r\n", b"END\r\n", b"ERROR\r\n"])
        case 1:
            return b"VA %d%s\r\n%s\r\n" % (len(data), more, data)
        case 2:
            lines = [b"STAT a 1\r\n", b"STAT b\r\n", b"ITEM a [1 b; 0 s]\r\n", b"PREFIX a get 1\r\n"]
            return b"".join(source.choices(lines, k=source.randrange(4))) + b"END\r\n"
        case _:
            word = source.choice([*WORDS]).name.encode()
            return word + source.choice([b"", b" text", b" 1", b"\t"]) + b"\r\n"


# --- requests --------------------------------------------------------------------------------------------------------


class _Pool:
    """A pool, as far as statistics use it."""

    def __init__(self) -> None:
        self.poll = _Poll()
        self.servers = fake_servers(2)

    def statistics(self) -> list[tuple[str, object]]:
        return [("version", "1"), ("pid", 2)]

    def server_statistics(self) -> list[tuple[str, list[tuple[str, object]]]]:
        return [("s00", [("requests", 3)])]


def requests(load: Load) -> Check:
    """Checks client streams: how they are framed, and that a server would frame the forwarded bytes in the same way."""
    slow, fast = (
        Parser(load(MODULE).MemcacheCodec(["flush_all"])),
        Parser(compiled(MODULE).MemcacheCodec(["flush_all"])),
    )

    def check(data: bytes) -> None:
        slow.expected = fast.expected = 0
        for message in found_in(slow, fast, data, True, b"set a 0 0 3\r\n", b"\r\nget a\r\n"):
            if message.frame == MALFORMED:
                assert _is_line(message.meaning[0])
            elif message.frame == COMPLETE:
                _check_complete(slow, fast, message.data)
        check_stream(slow, data)

    return check


class _Client:
    """A client without pending replies."""

    def awaits_replies(self) -> bool:
        return False

    def wake(self) -> None:
        raise AssertionError("it does not wait")


class _Poll:
    """Two servers, of which one replies and one fails, at once."""

    def ask(self, request: bytes, client: _Client, kind: int) -> Poll:
        assert request.startswith(b"stats") and request.count(b"\n") == 1
        poll = Poll(kind)
        first, second = fake_servers(2)
        poll.replies = [
            Reply(first, "ok", b"STAT a 1\r\nEND\r\n"),
            Reply(second, "failed", b"SERVER_ERROR down\r\n"),
        ]
        poll.finish()
        return poll


def _check_plan(planned: Any, data: bytes) -> None:
    """Check that the plan leads to one reply, and that servers get the request unchanged."""
    match type(planned).__name__:
        case "Steps":
            while True:
                try:
                    assert next(planned.work) == b""
                except StopIteration as end:
                    _check_plan(end.value, data)
                    return
        case "Ask":
            assert [request for _, request in planned.requests] == [data, data]
            assert data.count(b"\n") == 1
            merged = planned.merge([("s00", b"END\r\n"), ("s01", b"SERVER_ERROR down\r\n")])
            assert reply_end(merged) == len(merged)
        case kind:
            assert kind == "Answer"
            assert planned.last or reply_end(planned.reply) == len(planned.reply)


def _is_line(said: bytes) -> bool:
    return said.endswith(b"\r\n") and said.count(b"\n") == 1


def _check_complete(slow: Any, fast: Any, data: bytes) -> None:
    """Check requests that are split, planned or refused; ``check_stream`` checks those that are forwarded whole."""
    for codec in (slow, fast):
        assert codec.find_request(data, 0, len(data)) == COMPLETE
    if slow.route == REJECT:
        assert _is_line(agreed(slow, fast, lambda codec: codec.refusal()))
    elif slow.route == SLOW_PATH:
        _check_plan(slow.plan(data, slow.session(_Pool(), _Client())), data)
    elif slow.route == SCATTER:
        number, items = slow.command, slow.items
        split = slow.split(data, 0)
        head, tail = agreed(slow, fast, lambda codec: codec.sub_request(data, items))
        whole = head + b"".join(item for _, item in split) + tail
        assert slow.find_request(whole, 0, len(whole)) == COMPLETE
        assert (slow.end, slow.command, slow.items, slow.route) == (len(whole), number, items, SCATTER)
        assert slow.split(whole, 0) == split


# --- replies ---------------------------------------------------------------------------------------------------------

_BLANKS = bytes(byte if byte >= 32 or byte in b"\r\n" else 32 for byte in range(256))
"""Maps control bytes to blanks: both end a word."""
_KEY = re.compile(rb"^VALUE ([^ \r\n]+) ", re.M)


def replies(load: Load) -> Check:
    """Checks server replies, as the replies to every kind of request."""
    slow, fast = Parser(load(MODULE).MemcacheCodec()), Parser(compiled(MODULE).MemcacheCodec())

    def check(data: bytes) -> None:
        if not data:
            return
        for kind, name in enumerate(KIND_NAMES):
            slow.expected = fast.expected = kind | QUIET
            if slow.find_reply(data, 0, len(data)) == MALFORMED:
                assert fast.find_reply(data, 0, len(data)) == MALFORMED
                continue
            found = [
                m.data for m in found_in(slow, fast, data, False, b"END\r\n", b"\r\nEND\r\n") if m.frame == COMPLETE
            ]
            for said in found:
                assert reply_end(said.translate(_BLANKS)) == len(said)
                _check_reply(slow, fast, said, kind)
                if name == "stats":
                    merged = slow.merge_replies([(f"s{i:02d}", said) for i, said in enumerate([said, *found])])
                    assert reply_end(merged.translate(_BLANKS)) == len(merged)

    return check


def _part(said: bytes, keys: list[bytes], codec: Any) -> Any:
    return codec.mergeable_part(said, VALUES, keys)


def _check_reply(slow: Any, fast: Any, said: bytes, kind: int) -> None:
    slow.expected = fast.expected = kind | QUIET
    words = [*REPLY_KINDS[KIND_NAMES[kind]].words.split(), "ERROR", "CLIENT_ERROR", "SERVER_ERROR"]
    first = said.translate(_BLANKS).split()[0]
    assert first.isdigit() or any(first.startswith(word.encode()) for word in words)
    agreed(slow, fast, lambda codec: (codec.kinds(said), codec.is_unwanted(said)))
    agreed(
        slow,
        fast,
        lambda codec: (
            codec.handshake.problem("version", said),
            codec.handshake.is_well(said),
            codec.handshake.features("", said),
        ),
    )
    agreed(slow, fast, lambda codec: codec.mergeable_part(said, STATUS, [b"a"]))
    if KIND_NAMES[kind] != "retrieval":
        return
    keys = _KEY.findall(said)
    for asked in (keys, keys[::-1], [*keys, b"a"], [b"a", b"b", b"a"]):
        if not asked:
            continue
        part = agreed(slow, fast, partial(_part, said, asked))
        if part is not None:
            merged = b"".join(part) + slow.merged_end()
            assert slow.find_reply(merged, 0, len(merged)) == COMPLETE
            assert slow.end == len(merged)
            assert len(part) == len(asked)
