"""Decodes replies of servers into Python values, for the rare replies that the proxy has to understand.

Source of the wire format: redis.io, "RESP protocol description".
"""

from typing import Union

from twemproxy.protocol.redis.inline import bulk_elements

Value = Union[bytes, int, None, bool, list["Value"], "Failure"]
"""Big numbers and doubles stay bytes; a map is a list of keys and values in turn."""


class Failure(bytes):
    """The text of an error reply."""


MOST_DEEP = 64
"""Deepest nesting of values: far more than any reply has."""

_LINES = b"+-:_#,("
_STRINGS = b"$=!"
_LISTS = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2}


def parse(reply: bytes) -> Value:
    """The value of a complete reply. Raises ValueError for invalid bytes."""
    value, end = parse_at(reply, 0)
    if end != len(reply):
        raise ValueError("bytes behind a reply")
    return value


def parse_at(reply: bytes, start: int, depth: int = 0) -> tuple[Value, int]:
    """The value at ``start`` and the position after it. Raises ValueError for invalid bytes.

    ``depth``: the number of values around it.
    """
    if depth > MOST_DEEP:
        raise ValueError("values in values in values")
    stop = reply.index(b"\r\n", start)
    kind, line = reply[start], reply[start + 1 : stop]
    at = stop + 2
    if kind in _LINES:
        return _of_line(kind, line), at
    length = int(line)
    if length < 0:
        return None, at
    if kind in _STRINGS:
        data = reply[at : at + length]
        if len(data) < length:
            raise ValueError("a string is cut off")
        return (Failure(data) if kind == ord("!") else data), at + length + 2
    if kind == ord("|"):
        for _ in range(2 * length):
            _, at = parse_at(reply, at, depth + 1)
        return parse_at(reply, at, depth + 1)
    if kind not in _LISTS:
        raise ValueError("an unknown kind of value")
    values = []
    for _ in range(length * _LISTS[kind]):
        value, at = parse_at(reply, at, depth + 1)
        values.append(value)
    return values, at


def _of_line(kind: int, line: bytes) -> Value:
    match chr(kind):
        case "-":
            return Failure(line)
        case ":":
            return int(line)
        case "_":
            return None
        case "#":
            return line == b"t"
        case _:
            return line


def elements(reply: bytes) -> list[bytes]:
    """The elements of an array or a set, each in its encoded form. Raises ValueError for other replies."""
    try:
        # Nearly all replies are arrays of bulk strings.
        return bulk_elements(reply)
    except ValueError:
        pass
    at = reply.index(b"\r\n") + 2
    if reply[:1] not in (b"*", b"~"):
        raise ValueError("no array")
    parts = []
    for _ in range(int(reply[1 : at - 2])):
        _, end = parse_at(reply, at)
        parts.append(reply[at:end])
        at = end
    return parts
