"""Encodes replies of the proxy's own. Plain Python.

``version``: that of the protocol, 2 or 3.
"""

from collections.abc import Iterable

OK = b"+OK\r\n"


def null(version: int) -> bytes:
    """A null."""
    return b"_\r\n" if version == 3 else b"$-1\r\n"


def status(text: str) -> bytes:
    """A status line."""
    return b"+%b\r\n" % text.encode()


def integer(number: int) -> bytes:
    """An integer."""
    return b":%d\r\n" % number


def bulk(value: bytes | str) -> bytes:
    """A bulk string."""
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return b"$%d\r\n%b\r\n" % (len(data), data)


def array(parts: Iterable[bytes]) -> bytes:
    """An array of replies."""
    listed = list(parts)
    return b"*%d\r\n%b" % (len(listed), b"".join(listed))


def text(value: bytes | str, version: int) -> bytes:
    """A text for people to read."""
    if version != 3:
        return bulk(value)
    data = b"txt:" + (value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value)
    return b"=%d\r\n%b\r\n" % (len(data), data)


def mapping(items: Iterable[tuple[bytes, bytes]], version: int) -> bytes:
    """A map of replies to replies; in version 2 an array of keys and values in turn."""
    listed = [part for item in items for part in item]
    if version != 3:
        return array(listed)
    return b"%%%d\r\n%b" % (len(listed) // 2, b"".join(listed))
