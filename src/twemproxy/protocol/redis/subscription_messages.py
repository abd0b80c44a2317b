"""Encodes and decodes messages of subscriptions: one request may cause 100,000 of them.

Sans-IO, dual. The connections to servers use version 2 of the protocol.
"""

from collections.abc import MutableMapping

import cython

if not cython.compiled:
    from twemproxy.protocol.codec import put_number

# Most bytes of a confirmation without its head and its topic: two numbers and the bytes around them.
AROUND_TOPIC = cython.declare(cython.const[cython.Py_ssize_t], 2 * 20 + 8)

PUBLISHED = (
    (b"*3\r\n$7\r\nmessage\r\n$", "subscribe"),
    (b"*4\r\n$8\r\npmessage\r\n$", "psubscribe"),
    (b"*3\r\n$8\r\nsmessage\r\n$", "ssubscribe"),
)
"""The beginning of published messages, up to the length of their topic, and the commands that subscribe to them."""

NOTIFICATIONS = (
    *(b"__keyspace@", b"__keyevent@"),
    *(b"__subkeyspace@", b"__subkeyevent@", b"__subkeyspaceitem@", b"__subkeyspaceevent@"),
)
"""Prefixes of the channels on which every server reports events of its own keys; the last four are new in redis 8.8."""


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_bytes(
    out: cython.p_uchar,
    at: cython.Py_ssize_t,
    data: cython.pointer[cython.const[cython.uchar]],
    length: cython.Py_ssize_t,
) -> cython.Py_ssize_t:
    """Write ``length`` bytes at ``out[at]``; returns the position after them."""
    i: cython.Py_ssize_t
    for i in range(length):
        out[at + i] = data[i]
    return at + length


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_line_end(out: cython.p_uchar, at: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Write a line end at ``out[at]``; returns the position after it."""
    out[at] = ord(b"\r")
    out[at + 1] = ord(b"\n")
    return at + 2


def confirmations(
    head: bytes, names: list[bytes], topics: MutableMapping[bytes, None], others: int, begins: bool
) -> bytes:
    """The client's confirmations of these topics, one after the other: it has subscribed, or unsubscribed if not
    ``begins``.

    ``head``: the beginning of a confirmation, up to the topic. ``topics``: the client's topics of this kind, which are
    updated. ``others``: the number of its other topics that count with them.
    """
    name: bytes
    data: cython.pointer[cython.const[cython.uchar]]
    beginning: cython.pointer[cython.const[cython.uchar]] = head
    used: cython.Py_ssize_t = 0
    size: cython.Py_ssize_t = (len(head) + AROUND_TOPIC) * len(names)
    for name in names:
        size += len(name)
    out = bytearray(size)
    put: cython.p_uchar = out
    for name in names:
        if begins:
            topics[name] = None
        else:
            topics.pop(name, None)
        data = name
        used = put_bytes(put, used, beginning, len(head))
        put[used] = ord(b"$")
        used = put_number(put, used + 1, len(name))
        used = put_line_end(put, used)
        used = put_bytes(put, used, data, len(name))
        used = put_line_end(put, used)
        put[used] = ord(b":")
        used = put_number(put, used + 1, others + len(topics))
        used = put_line_end(put, used)
    return bytes(out[:used])


def answers(message: bytes, head: bytes, name: bytes) -> bool:
    """Whether a complete message begins with ``head``, followed by the topic ``name`` and a number."""
    at: cython.Py_ssize_t = len(head)
    length: cython.Py_ssize_t = len(name)
    end: cython.Py_ssize_t = len(message)
    buf: cython.pointer[cython.const[cython.uchar]] = message
    number: cython.Py_ssize_t = 0
    i: cython.Py_ssize_t
    if end < at + length + 7 or not message.startswith(head) or buf[at] != ord(b"$") or buf[at + 1] == ord(b"\r"):
        return False
    at += 1
    while at < end and ord(b"0") <= buf[at] <= ord(b"9") and number <= length:
        number = number * 10 + buf[at] - ord(b"0")
        at += 1
    if number != length or at + 2 + length + 3 > end or buf[at] != ord(b"\r") or buf[at + 1] != ord(b"\n"):
        return False
    at += 2
    data: cython.pointer[cython.const[cython.uchar]] = name
    for i in range(length):
        if buf[at + i] != data[i]:
            return False
    at += length
    return buf[at] == ord(b"\r") and buf[at + 1] == ord(b"\n") and buf[at + 2] == ord(b":")


def published(message: bytes) -> tuple[str, bytes] | None:
    """The kind and the name of the topic of a complete published message; None for any other message."""
    at: cython.Py_ssize_t
    end: cython.Py_ssize_t = len(message)
    number: cython.Py_ssize_t = 0
    buf: cython.pointer[cython.const[cython.uchar]] = message
    beginning: bytes
    for beginning, kind in PUBLISHED:
        if not message.startswith(beginning):
            continue
        at = len(beginning)
        while at < end and ord(b"0") <= buf[at] <= ord(b"9") and number <= end:
            number = number * 10 + buf[at] - ord(b"0")
            at += 1
        if at == len(beginning) or at + 2 + number > end:
            return None
        return kind, message[at + 2 : at + 2 + number]
    return None


def comes_from_anywhere(kind: str, name: bytes) -> bool:
    """As ``PubsubMessages.comes_from_anywhere``."""
    return kind == "psubscribe" or name.startswith(NOTIFICATIONS)
