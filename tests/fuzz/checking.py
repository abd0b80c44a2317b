"""What holds for every parser: the same messages from any cut, and from both flavours of the code."""

import random
import zlib
from collections.abc import Callable
from typing import Any

from feeding import COMPLETE, MALFORMED, NEED_MORE, Message, meaning, messages, messages_when_cut

Check = Callable[[bytes], None]

_EVERYWHERE = 160
"""Inputs up to this length are also cut after every byte."""


def source_of(data: bytes) -> random.Random:
    """A random source that depends on the input only."""
    return random.Random(zlib.crc32(data))


def found_in(slow: Any, fast: Any, data: bytes, requests: bool, padding: bytes, beyond: bytes) -> list[Message]:
    """The messages of a stream, which must be the same from both flavours and from any cut.

    ``padding`` and ``beyond`` surround the stream in some cases, and have a meaning for a parser that reads them.
    """
    source = source_of(data)
    kind = slow.expected

    def found(codec: Any, cuts: list[int] | range, **around: bytes) -> tuple[list[Message], bytes]:
        codec.expected = kind
        return messages_when_cut(codec, data, requests, cuts, whole, **around)

    whole = messages(slow, data, requests)
    cuts = sorted(source.randrange(len(data) + 1) for _ in range(source.randrange(1, 6)))
    assert found(slow, cuts, padding=padding) == whole, f"cut at {cuts}"
    assert found(fast, cuts, padding=padding, beyond=beyond) == whole, f"compiled, cut at {cuts}"
    assert found(fast, range(len(data)), beyond=beyond) == whole, "compiled, cut everywhere"
    if len(data) <= _EVERYWHERE:
        assert found(slow, range(len(data))) == whole, "cut everywhere"
    at = 0
    for message in whole[0]:
        _agree(slow, fast, data, at, requests, kind)
        at += len(message.data)
        if message.frame == MALFORMED or (requests and slow.discard):
            break
    return whole[0]


def _agree(slow: Any, fast: Any, data: bytes, at: int, requests: bool, kind: int) -> None:
    """Check that both flavours have the same results for the message at ``at``."""
    left = []
    for codec in (slow, fast):
        codec.expected = kind
        frame = (codec.find_request if requests else codec.find_reply)(data, at, len(data))
        left.append((frame, _left(codec, frame, data, at, requests)))
    assert left[0] == left[1], f"interpreted and compiled, at {at}"


def _left(codec: Any, frame: int, data: bytes, at: int, requests: bool) -> tuple[Any, ...]:
    """The results of a codec; its other fields may belong to another message."""
    if frame == NEED_MORE:
        return codec.needed, codec.at, codec.left
    if frame == MALFORMED:
        return (codec.malformation(),) if requests else ()
    if frame == COMPLETE and requests:
        return (
            codec.end,
            codec.discard,
            codec.expected,
            codec.required_features,
            codec.retryable,
            meaning(codec, data, at),
        )
    return (codec.end,)


def agreed(slow: Any, fast: Any, what: Callable[[Any], Any]) -> Any:
    """The result of both flavours, or the ValueError that both raise."""
    said = []
    for codec in (slow, fast):
        try:
            said.append(what(codec))
        except ValueError as error:
            said.append(ValueError(str(error)))
    if isinstance(said[0], ValueError):
        assert str(said[0]) == str(said[1])
    else:
        assert said[0] == said[1]
    return said[0]
