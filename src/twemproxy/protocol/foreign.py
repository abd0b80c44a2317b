"""Recognizes clients that speak another protocol than the pool: TLS, HTTP, or memcached's binary protocol.

Sans-IO, dual. No client of redis or of memcached's text protocol is taken for one of them.
"""

import cython

if not cython.compiled:
    Foreign = int
    NOT_FOREIGN, UNDECIDED, TLS, HTTP, MEMCACHED_BINARY = range(5)

NAMES = ("", "", "TLS", "HTTP", "memcached's binary protocol")
"""The name of each ``Foreign``."""


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def first_bytes(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> Foreign:
    """The protocol of the first bytes of a connection; ``start`` is below ``end``.

    TLS begins with a handshake record (RFC 8446, 5.1): 22, then the major version 3. Each request of memcached's binary
    protocol begins with 0x80; memcached, too, checks the first byte of a connection for it. UNDECIDED: one more byte is
    needed.
    """
    if buf[start] == 0x80:
        return MEMCACHED_BINARY
    if buf[start] != 22:
        return NOT_FOREIGN
    if start + 1 == end:
        return UNDECIDED
    return TLS if buf[start + 1] == 3 else NOT_FOREIGN


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def word_start(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """The position of the first word of a line."""
    while start < end and buf[start] <= ord(b" "):
        start += 1
    return start


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def word_end(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """The position after the word at ``start``."""
    while start < end and buf[start] > ord(b" "):
        start += 1
    return start


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def count_words(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """The number of words of a line."""
    count: cython.Py_ssize_t = 0
    start = word_start(buf, start, end)
    while start < end:
        count += 1
        start = word_start(buf, word_end(buf, start, end), end)
    return count


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def names_http_version(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.bint:
    """Whether the last word of a line begins with ``HTTP/``, as in an HTTP request (RFC 9112, 3).

    Such a line is HTTP if its first word is not a command; memcached closes a connection for the same reason.
    """
    last: cython.Py_ssize_t
    while end > start and buf[end - 1] <= ord(b" "):
        end -= 1
    last = end
    while last > start and buf[last - 1] > ord(b" "):
        last -= 1
    return (
        end - last >= 5
        and buf[last] == ord(b"H")
        and buf[last + 1] == ord(b"T")
        and buf[last + 2] == ord(b"T")
        and buf[last + 3] == ord(b"P")
        and buf[last + 4] == ord(b"/")
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def begins_as_http(
    buf: cython.pointer[cython.const[cython.uchar]], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.bint:
    """Whether the first word of a line is ``POST`` or ``Host:``, in any case: redis closes a connection for these."""
    first: cython.Py_ssize_t = word_start(buf, start, end)
    length: cython.Py_ssize_t = word_end(buf, first, end) - first
    if length == 4:
        return (
            buf[first] & 0xDF == ord(b"P")
            and buf[first + 1] & 0xDF == ord(b"O")
            and buf[first + 2] & 0xDF == ord(b"S")
            and buf[first + 3] & 0xDF == ord(b"T")
        )
    return (
        length == 5
        and buf[first] & 0xDF == ord(b"H")
        and buf[first + 1] & 0xDF == ord(b"O")
        and buf[first + 2] & 0xDF == ord(b"S")
        and buf[first + 3] & 0xDF == ord(b"T")
        and buf[first + 4] == ord(b":")
    )


# --- for tests: the same with ``bytes`` ------------------------------------------------------------------------


def spoken_first(data: bytes) -> str:
    """The name of the protocol of the first bytes of a connection, empty if it is not one of these."""
    return NAMES[first_bytes(data, 0, len(data))]
