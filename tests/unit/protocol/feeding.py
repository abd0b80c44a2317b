"""A codec that is fed as connections feed it: in pieces, resumed where it stopped, in a buffer that moves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from types import FunctionType
from typing import Any

from harness.flavours import compiled, interpreted

NEED_MORE, COMPLETE, EMPTY, INLINE, MALFORMED, FOREIGN = range(6)
TO_KEY, TO_ANY, SINGLE_SERVER, SCATTER, BROADCAST, COLOCATED, SLOW_PATH, REJECT, TO_CHANNEL = range(9)
VALUES, SUM, STATUS, CUSTOM = range(4)
QUIET, NOREPLY = 0x40, 0x80
REST_OF_LINE = -1

CURSOR_FIELDS = ("at", "left", "needed", "length")
REQUEST_FIELDS = (
    "command",
    "arguments",
    "problem",
    "found",
    "route",
    "merge",
    "items",
    "items_start",
    "items_end",
    "key_start",
    "key_end",
    "key_decoded",
    "prefix_start",
    "prefix_end",
    "strip_start",
    "strip_end",
    "discard",
    "discard_arguments",
    "expected",
    "required_features",
    "profile_needed",
    "retryable",
    "remembers_script",
)


class Parser:
    """A codec with a cursor and a request, as one connection uses them for all its messages.

    It has the attributes of all three. ``expected`` is that of the last framed request, or the value that a test sets.
    """

    def __init__(self, codec: Any) -> None:
        self.codec = codec
        values = _values_for(codec)
        self.cursor: Any = values.Cursor()
        self.request: Any = values.Request()
        self.confined = False
        self._expected: int | None = None
        self._new_cursor = values.Cursor
        self._start = 0

    def __getattr__(self, name: str) -> Any:
        for holder in (self.cursor, self.request):
            if hasattr(holder, name):
                return getattr(holder, name)
        return getattr(self.codec, name)

    @property
    def end(self) -> int:
        """The position after the last framed message."""
        return int(self._start + self.cursor.length)

    @property
    def expected(self) -> int:
        """That of the last framed request, unless a test has set another one since."""
        return int(self.request.expected if self._expected is None else self._expected)

    @expected.setter
    def expected(self, expected: int) -> None:
        self._expected = expected

    def find_request(self, data: bytes, start: int, end: int, at: int = 0, left: int = 0) -> int:
        """Frame the request at ``start`` and return the Frame; ``at`` and ``left`` resume earlier framing."""
        self._start = start
        self._expected = None
        self.cursor = self._new_cursor(at, left)
        return int(self.codec.find_request(data, start, end, self.cursor, self.request, self.confined))

    def find_reply(self, data: bytes, start: int, end: int, at: int = 0, left: int = 0) -> int:
        """As ``find_request``, for the reply to a request with ``expected``."""
        self._start = start
        self.cursor = self._new_cursor(at, left)
        return int(self.codec.find_reply(data, start, end, self.expected, self.cursor))

    def find_rest(self, data: bytes, start: int, end: int) -> int:
        """Find out how to discard the request whose last framing returned NEED_MORE; returns the Frame."""
        return int(self.codec.find_rest(data, start, end, self.cursor, self.request))

    def find_argument(self, data: bytes, start: int, end: int) -> int:
        """As ``find_rest``, for the argument at ``start``."""
        self._start = start
        return int(self.codec.find_argument(data, start, end, self.cursor, self.request))

    def split(self, data: bytes, start: int) -> Any:
        """(key, item) for every key of the last framed request."""
        return self.codec.split(data, start, self.request)

    def sub_request(self, data: bytes, items: int) -> Any:
        """The beginning and the end of a sub-request of the last framed request, with this number of items."""
        return self.codec.sub_request(data, self.request, items)

    def found_keys(self, data: bytes) -> Any:
        """The keys that ``next_key`` finds in the last framed request, which is ``data``; None if it finds none."""
        return self.codec.found_keys(data, 0, self.request)

    def has_script(self, data: bytes) -> bool:
        """Whether the script of the last framed request, which is ``data``, is remembered."""
        return bool(self.codec.has_script_of(data, 0, self.request))

    def key(self, data: bytes) -> bytes:
        """The key of the last framed request, which is ``data``."""
        request = self.request
        return bytes(request.decoded_key() if request.key_decoded else data[request.key_start : request.key_end])

    def refusal(self) -> bytes:
        """The error reply to the last framed request."""
        return bytes(self.codec.refusal(self.request))

    def malformation(self) -> bytes:
        """The error reply to MALFORMED bytes."""
        return bytes(self.codec.malformation(self.request))

    def only_refusal(self, servers: int) -> bytes:
        """The error reply to the last framed request in a pool of this number of servers."""
        return bytes(self.codec.only_refusal(self.request, servers))

    def keys(self, data: bytes, servers: int) -> Any:
        """All keys of the last framed request, which is ``data``."""
        return self.codec.keys(data, self.request, servers)

    def plan(self, data: bytes, session: Any) -> Any:
        """The plan for the last framed request, which is ``data``."""
        return self.codec.plan(data, self.request, session)

    def missing(self) -> bytes:
        """The form of a missing value among merged values."""
        return bytes(self.codec.missing(self.expected))

    def is_unwanted(self, reply: bytes) -> bool:
        """Whether the client does not want this reply to a request with ``expected``."""
        return bool(self.codec.is_unwanted(reply, self.expected))


def _values_for(codec: Any) -> Any:
    """The module ``protocol.request`` in the codec's flavour."""
    name = "twemproxy.protocol.request"
    return interpreted(name) if isinstance(type(codec).find_request, FunctionType) else compiled(name)


@dataclass(frozen=True)
class Message:
    """A framed message, described independently of its position in a buffer."""

    frame: int
    data: bytes
    meaning: tuple[Any, ...] = ()


def fields(parser: Any) -> tuple[int, ...]:
    """The fields of the cursor and of the request after framing."""
    of_cursor = (getattr(parser.cursor, name) for name in CURSOR_FIELDS)
    of_request = (getattr(parser.request, name) for name in REQUEST_FIELDS)
    return (*of_cursor, *of_request)


def meaning(codec: Any, data: bytes, start: int) -> tuple[Any, ...]:
    """The meaning of a complete request that was just framed at ``start`` of ``data``.

    It includes ``expected`` and the forwarded bytes if ``expected`` is not 0 or bytes are cut out of the request.
    """
    request = codec.request
    found: tuple[Any, ...] = (request.command, request.route)
    data = data[start : codec.end]
    if request.expected or request.strip_end > request.strip_start:
        cut = data[: request.strip_start] + data[request.strip_end :] if request.strip_end else data
        found += (request.expected, cut)
    if request.route == REJECT:
        return (*found, codec.refusal())
    if request.route in (TO_KEY, TO_CHANNEL):
        return (*found, codec.key(data))
    if request.route == SCATTER:
        return (*found, request.merge, request.items, tuple(codec.split(data, 0)))
    return found


def request_meaning(codec: Any, request: bytes) -> tuple[Any, ...]:
    """``meaning`` of ``request``, which is exactly one complete request."""
    assert codec.find_request(request, 0, len(request)) == COMPLETE
    assert codec.end == len(request)
    return meaning(codec, request, 0)


class Feed:
    """The receiving side of one connection, as in ``net.stream`` and the connections that use it.

    ``padding`` precedes the available bytes and ``beyond`` follows them: the codec must read neither.
    """

    def __init__(self, codec: Any, requests: bool, padding: bytes = b"", beyond: bytes = b"") -> None:
        self.codec = codec
        self.find: Callable[..., int] = codec.find_request if requests else codec.find_reply
        self.requests = requests
        self.padding = padding
        self.beyond = beyond
        self.tail = b""
        self.needed = 0
        self.resume = (0, 0)
        self.broken = False
        self.discard = 0
        self.longest_needed = 0

    def take(self, piece: bytes) -> Iterator[Message]:
        """Yield the messages that end in this piece; no message follows one that is MALFORMED or FOREIGN."""
        self.tail += piece
        if len(self.tail) < self.needed or self.broken:
            return
        buffer = self.padding + self.tail + self.beyond
        start, end = len(self.padding), len(self.padding) + len(self.tail)
        while start < end:
            if self.discard:
                start = self.drop(buffer, start, end)
                continue
            frame = self.find(buffer, start, end, *self.resume)
            if frame == NEED_MORE:
                self.resume = (self.codec.at, self.codec.left)
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
            if frame == FOREIGN:
                self.broken = True
                yield Message(frame, b"")
                return
            stop = self.codec.end
            assert start < stop <= end
            assert self.longest_needed <= stop - start, "it asked for more than the message has"
            about = meaning(self.codec, buffer, start) if self.requests and frame == COMPLETE else ()
            self.discard = self.codec.discard if self.requests else 0
            yield Message(frame, buffer[start:stop], about)
            self.needed = self.longest_needed = 0
            start = stop
        self.tail = buffer[start:end]

    def drop(self, buffer: bytes, start: int, end: int) -> int:
        """Skip the rest of a refused request, as client connections do; returns the position after it."""
        if self.discard == REST_OF_LINE:
            newline = buffer.find(b"\n", start, end)
            self.discard = REST_OF_LINE if newline < 0 else 0
            return end if newline < 0 else newline + 1
        dropped = min(self.discard, end - start)
        self.discard -= dropped
        return start + dropped


def messages(
    codec: Any, stream: bytes, requests: bool, cuts: list[int] | range = range(0), **around: bytes
) -> tuple[list[Message], bytes]:
    """The messages of a stream that arrives in pieces which end at ``cuts``, and the unfinished rest of the stream."""
    feed = Feed(codec, requests, **around)
    ends = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    found = [message for a, b in pairwise(ends) for message in feed.take(stream[a:b])]
    return found, b"" if feed.broken else feed.tail


LATE = len(b"END\r\n")
"""memcached's values are checked together with the END that follows, so an error may be found this many bytes late."""


def messages_when_cut(
    codec: Any,
    stream: bytes,
    requests: bool,
    cuts: list[int] | range,
    whole: tuple[list[Message], bytes],
    **around: bytes,
) -> tuple[list[Message], bytes]:
    """``messages`` of a stream in pieces; ``whole``: the messages of the same stream in one piece.

    If the result differs and the last message of ``whole`` is malformed, the stream gets LATE more bytes, which the
    codec may need to detect the error.
    """
    found = messages(codec, stream, requests, cuts, **around)
    if found != whole and whole[0] and whole[0][-1].frame == MALFORMED:
        return messages(codec, stream + bytes(LATE), requests, cuts, **around)
    return found
