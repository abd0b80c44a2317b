"""The memcached text protocol as bytes: requests to send, replies to expect, and where a request or reply ends."""

STORED = b"STORED\r\n"
NOT_STORED = b"NOT_STORED\r\n"
EXISTS = b"EXISTS\r\n"
NOT_FOUND = b"NOT_FOUND\r\n"
DELETED = b"DELETED\r\n"
TOUCHED = b"TOUCHED\r\n"
OK = b"OK\r\n"
END = b"END\r\n"
ERROR = b"ERROR\r\n"
HD = b"HD\r\n"
EN = b"EN\r\n"
NF = b"NF\r\n"
NS = b"NS\r\n"
MN = b"MN\r\n"

GREETING = b"version\r\n"
"""The first request on each server connection of the proxy."""

_STORAGE = (b"set", b"add", b"replace", b"append", b"prepend", b"cas")


def store(name: str, key: str, data: bytes | str, *more: str | int, flags: int = 0, exptime: int = 0) -> bytes:
    """A storage request; ``more`` is added to its line: a cas unique, noreply."""
    block = data if isinstance(data, bytes) else data.encode()
    words = (name, key, flags, exptime, len(block), *more)
    return b"%s\r\n%s\r\n" % (" ".join(map(str, words)).encode(), block)


def meta_set(key: str, data: bytes | str, *flags: str) -> bytes:
    """An ``ms`` request."""
    block = data if isinstance(data, bytes) else data.encode()
    return b"%s\r\n%s\r\n" % (" ".join(("ms", key, str(len(block)), *flags)).encode(), block)


def value(key: str, data: bytes | str, flags: int = 0, cas: int | None = None) -> bytes:
    """One value in the reply to a retrieval."""
    block = data if isinstance(data, bytes) else data.encode()
    unique = b"" if cas is None else b" %d" % cas
    return b"VALUE %s %d %d%s\r\n%s\r\n" % (key.encode(), flags, len(block), unique, block)


def meta_value(data: bytes | str, *flags: str) -> bytes:
    """The reply to ``mg`` or ``ma`` with a value."""
    block = data if isinstance(data, bytes) else data.encode()
    return b"%s\r\n%s\r\n" % (" ".join(("VA", str(len(block)), *flags)).encode(), block)


def client_error(text: str) -> bytes:
    """The reply to a request with a mistake of the client."""
    return b"CLIENT_ERROR %s\r\n" % text.encode()


def server_error(text: str) -> bytes:
    """The reply to a request that failed at the server or in the proxy."""
    return b"SERVER_ERROR %s\r\n" % text.encode()


def reply_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """The end of the reply that begins at ``start``; None if the reply is incomplete.

    Values and lines of statistics belong to the same reply as the line after them; every other line is a reply by
    itself.
    """
    while True:
        line_end = data.find(b"\n", start)
        if line_end < 0:
            return None
        words = bytes(data[start : line_end + 1]).split()
        kind = words[0] if words else b""
        start = line_end + 1
        if kind == b"VALUE":
            start += int(words[3]) + 2
        elif kind == b"VA":
            start += int(words[1]) + 2
            return start if start <= len(data) else None
        elif kind not in (b"STAT", b"ITEM", b"PREFIX"):
            return start


def request_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """The end of the request that begins at ``start``, including its data block; None if the request is incomplete."""
    line_end = data.find(b"\n", start)
    if line_end < 0:
        return None
    words = bytes(data[start : line_end + 1]).split()
    length = b""
    if words[:1] == [b"ms"]:
        length = words[2]
    elif words and words[0] in _STORAGE:
        length = words[4]
    end = line_end + 1 + (int(length) + 2 if length else 0)
    return end if end <= len(data) else None
