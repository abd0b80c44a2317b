"""A codec fed as connections feed it: in pieces, resumed where it stopped, its buffer moved between two looks."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

NEED_MORE, COMPLETE, SKIP, REWRITE, MALFORMED = range(5)
TO_KEY, TO_ANY, TO_ONLY, TO_EACH, TO_ALL, TO_SAME, PLANNED, TO_NOBODY = range(8)
VALUES, SUM, STATUS, IN_WORDS = range(4)
QUIET, MUTED = 0x40, 0x80
REST_OF_LINE = -1

FIELDS = (
    "end",
    "needed",
    "resume_at",
    "resume_left",
    "command",
    "problem",
    "found",
    "route",
    "merge",
    "items",
    "key_start",
    "key_end",
    "item_start",
    "item_end",
    "key_decoded",
    "cut_start",
    "cut_end",
    "swallow",
    "expected",
    "demand",
)


@dataclass(frozen=True)
class Message:
    """What was found, in terms that do not depend on where in a buffer it stood."""

    frame: int
    data: bytes
    meaning: tuple[Any, ...] = ()


def fields(codec: Any) -> tuple[int, ...]:
    """Everything a codec leaves for its caller."""
    return tuple(getattr(codec, name) for name in FIELDS)


def meaning(codec: Any, data: bytes, start: int) -> tuple[Any, ...]:
    """What a complete request just found at ``start`` of ``data`` asks for.

    What is forwarded and what is expected is there when it is not simply the request and its reply.
    """
    found: tuple[Any, ...] = (codec.command, codec.route)
    if codec.expected or codec.cut_end > codec.cut_start:
        found += (codec.expected, data[start : codec.cut_start or start] + data[codec.cut_end or start : codec.end])
    if codec.route == TO_NOBODY:
        return (*found, codec.refusal(data[start : codec.end]))
    if codec.route == TO_KEY:
        return (*found, codec.decoded_key() if codec.key_decoded else data[codec.key_start : codec.key_end])
    if codec.route == TO_EACH:
        return (*found, codec.merge, codec.items, tuple(codec.split(data, start, codec.end)))
    return found


def request_meaning(codec: Any, request: bytes) -> tuple[Any, ...]:
    """``meaning`` of a request that is all of ``request``."""
    assert codec.find_request(request, 0, len(request)) == COMPLETE
    assert codec.end == len(request)
    return meaning(codec, request, 0)


class Feed:
    """The receiving side of one connection, as ``net.stream`` and its owners are.

    ``padding`` stands before the bytes at hand, ``beyond`` behind them: neither may be looked at.
    """

    def __init__(self, codec: Any, requests: bool, padding: bytes = b"", beyond: bytes = b"") -> None:
        self.codec = codec
        self.find = codec.find_request if requests else codec.find_reply
        self.requests = requests
        self.padding = padding
        self.beyond = beyond
        self.tail = b""
        self.needed = 0
        self.resume = (0, 0)
        self.broken = False
        self.swallow = 0
        self.longest_needed = 0

    def take(self, piece: bytes) -> Iterator[Message]:
        """The messages that end with this piece, and a last one if it cannot go on."""
        self.tail += piece
        if len(self.tail) < self.needed or self.broken:
            return
        buffer = self.padding + self.tail + self.beyond
        start, end = len(self.padding), len(self.padding) + len(self.tail)
        while start < end:
            if self.swallow:
                start = self.drop(buffer, start, end)
                continue
            frame = self.find(buffer, start, end, *self.resume)
            if frame == NEED_MORE:
                self.resume = (self.codec.resume_at, self.codec.resume_left)
                self.needed = self.codec.needed
                self.longest_needed = max(self.longest_needed, self.needed)
                assert self.needed > end - start, "it asks for what it has"
                assert 0 <= self.resume[0] <= end - start
                break
            self.resume = (0, 0)
            if frame == MALFORMED:
                self.broken = True
                if self.requests:
                    assert self.codec.problem > 0
                    yield Message(frame, b"", (self.codec.malformation(),))
                else:
                    yield Message(frame, b"")
                return
            stop = self.codec.end
            assert start < stop <= end
            assert self.longest_needed <= stop - start, "it asked for more than the message has"
            about = meaning(self.codec, buffer, start) if self.requests and frame == COMPLETE else ()
            self.swallow = self.codec.swallow if self.requests else 0
            yield Message(frame, buffer[start:stop], about)
            self.needed = self.longest_needed = 0
            start = stop
        self.tail = buffer[start:end]

    def drop(self, buffer: bytes, start: int, end: int) -> int:
        """Pass over what a refused request still has to come, as clients' connections do."""
        if self.swallow == REST_OF_LINE:
            newline = buffer.find(b"\n", start, end)
            self.swallow = REST_OF_LINE if newline < 0 else 0
            return end if newline < 0 else newline + 1
        dropped = min(self.swallow, end - start)
        self.swallow -= dropped
        return start + dropped


def messages(
    codec: Any, stream: bytes, requests: bool, cuts: list[int] | range = range(0), **around: bytes
) -> tuple[list[Message], bytes]:
    """The messages of a stream that arrives in pieces that end at ``cuts``, and its unfinished rest."""
    feed = Feed(codec, requests, **around)
    ends = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    found = [message for a, b in pairwise(ends) for message in feed.take(stream[a:b])]
    return found, b"" if feed.broken else feed.tail


LATE = len(b"END\r\n")
"""A value of memcached is looked at with the END that must follow: so late it may be seen that it ends wrong."""


def messages_when_cut(
    codec: Any,
    stream: bytes,
    requests: bool,
    cuts: list[int] | range,
    whole: tuple[list[Message], bytes],
    **around: bytes,
) -> tuple[list[Message], bytes]:
    """``messages`` of a stream whose messages are ``whole`` in one piece, with LATE bytes more if it takes them to see
    that the last is malformed."""
    found = messages(codec, stream, requests, cuts, **around)
    if found != whole and whole[0] and whole[0][-1].frame == MALFORMED:
        return messages(codec, stream + bytes(LATE), requests, cuts, **around)
    return found
