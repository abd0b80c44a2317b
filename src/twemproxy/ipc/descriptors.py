"""Descriptors that travel with the bytes of a unix stream socket (SCM_RIGHTS, see unix(7))."""

import array
import socket
from collections.abc import Sequence
from typing import Final

MOST_AT_A_TIME: Final = 250
"""Most descriptors of one sendmsg(2); the kernel's limit is 253 (SCM_MAX_FD)."""
LOST: Final = -1
"""In place of descriptors that were dropped."""
_FIRST_PART: Final = 32768
"""Bytes that come with the last descriptors."""

_SIZE: Final = array.array("i").itemsize


def send(to: socket.socket, data: bytes, descriptors: Sequence[int]) -> tuple[bytes, Sequence[int]]:
    """Send descriptors with the beginning of ``data``; returns the parts of both that are not sent yet.

    ``data``: at least as many bytes as there are messages of MOST_AT_A_TIME descriptors. Raises BlockingIOError if
    nothing can be sent now, and OSError if the connection is broken.
    """
    some, rest = descriptors[:MOST_AT_A_TIME], descriptors[MOST_AT_A_TIME:]
    if not some:
        return data[to.send(data) :], rest
    sent = socket.send_fds(to, [data[: 1 if rest else _FIRST_PART]], list(some))
    return data[sent:], rest


def receive(of: socket.socket, size: int) -> tuple[bytes, list[int]]:
    """Receive up to ``size`` bytes, and the descriptors that come with them; no bytes at the end of the stream.

    The last descriptor is LOST if the system has dropped one or more, because this process can have no more open files.
    """
    data, ancillary, flags, _ = of.recvmsg(size, socket.CMSG_SPACE(MOST_AT_A_TIME * _SIZE))
    descriptors: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received = array.array("i")
            received.frombytes(content[: len(content) - len(content) % _SIZE])
            descriptors += received
    if flags & socket.MSG_CTRUNC:
        descriptors.append(LOST)
    return data, descriptors
