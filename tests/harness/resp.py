"""The redis protocol as bytes: requests to send, replies to expect, and where one reply ends."""

_ONE_LINE = b"+-:_#,("
_SIZED = b"$=!"
_AGGREGATES = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2}
_ATTRIBUTE = ord("|")

NULL = b"$-1\r\n"
OK = b"+OK\r\n"


def command(*arguments: bytes | str | int) -> bytes:
    """One request: an array of bulk strings."""
    return array(*(bulk(argument) for argument in arguments))


def bulk(value: bytes | str | int) -> bytes:
    """A bulk string."""
    data = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%s\r\n" % (len(data), data)


def array(*elements: bytes) -> bytes:
    """An array of encoded elements."""
    return b"*%d\r\n%s" % (len(elements), b"".join(elements))


def integer(value: int) -> bytes:
    """An integer reply."""
    return b":%d\r\n" % value


def error(text: str) -> bytes:
    """An error reply; ``text`` begins with its error word."""
    return b"-%s\r\n" % text.encode()


def message_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """The end of the message (request, or reply of RESP2 or RESP3) that begins at ``start``; None if it is incomplete.

    Raises ValueError for bytes that are not the beginning of a message.
    """
    missing = 1
    while missing:
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None
        kind = data[start]
        if kind in _ONE_LINE:
            start = line_end + 2
        elif kind in _SIZED:
            length = int(data[start + 1 : line_end])
            start = line_end + 2 + (length + 2 if length >= 0 else 0)
            if start > len(data):
                return None
        elif kind in _AGGREGATES:
            missing += max(int(data[start + 1 : line_end]), 0) * _AGGREGATES[kind]
            start = line_end + 2
        elif kind == _ATTRIBUTE:
            missing += int(data[start + 1 : line_end]) * 2 + 1
            start = line_end + 2
        else:
            raise ValueError(f"no message begins with {bytes(data[start : start + 40])!r}")
        missing -= 1
    return start


def arguments(request: bytes) -> list[bytes]:
    """The arguments of a request in the form that ``command`` makes."""
    found = []
    position = request.index(b"\r\n") + 2
    while position < len(request):
        line_end = request.index(b"\r\n", position)
        length = int(request[position + 1 : line_end])
        found.append(request[line_end + 2 : line_end + 2 + length])
        position = line_end + length + 4
    return found
