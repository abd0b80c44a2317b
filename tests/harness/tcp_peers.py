"""What the kernel tells of the other end of a TCP connection on this machine: sock_diag(7), one socket per question.

An answer takes 0.1 ms, however many sockets there are, and does not wait for acknowledgements, which a receiver that
does not answer sends after 40 ms. Where the kernel has no sock_diag for TCP, the table in /proc gives the same answers
later.
"""

import errno
import fcntl
import os
import socket
import struct
import termios
from functools import cache
from typing import Final

from harness.proc import proc_address, tcp_rows

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLMSG_ERROR: Final = 2
_INET_DIAG_INFO: Final = 2
_EVERY_STATE: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("=IHHII")
_MESSAGE: Final = 72
"""Bytes of struct inet_diag_msg, after which attributes follow."""
_UNREAD: Final = 56
"""Where it has the bytes that have arrived and were not read."""
# Places in struct tcp_info.
_BYTES_RECEIVED: Final = 128
_NOT_SENT: Final = 144
_BYTES_SENT: Final = 200


def has_read_all(sock: socket.socket) -> bool:
    """Whether the other end of a TCP connection has read all that was sent; also if it does not exist any more."""
    here, there = sock.getsockname()[:2], sock.getpeername()[:2]
    if not _has_diagnostics(sock.family):
        unsent = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0]
        rows = () if unsent else tcp_rows()
        ends = proc_address(there), proc_address(here)
        return not unsent and all(row[4].endswith(":00000000") for row in rows if (row[1], row[2]) == ends)
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (not_sent,) = struct.unpack_from("=I", info, _NOT_SENT)
    sent, sent_again = struct.unpack_from("=QQ", info, _BYTES_SENT)
    if not_sent:
        return False
    found = _ask(sock.family, there, here)
    if found is None:
        return True
    received, unread = found
    return received >= sent - sent_again and not unread


@cache
def _has_diagnostics(family: int) -> bool:
    """Whether the kernel answers: it knows both ends of a connection that exists."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    try:
        with (
            socket.create_server((host, 0), family=family) as server,
            socket.create_connection(server.getsockname()[:2]) as client,
        ):
            return _ask(family, client.getsockname()[:2], client.getpeername()[:2]) is not None
    except OSError:
        return False


def _ask(family: int, end: tuple[str, int], other_end: tuple[str, int]) -> tuple[int, int] | None:
    """(bytes received, bytes not read) of the socket at an end of a connection, None without one. Raises OSError."""
    addresses = [socket.inet_pton(family, host).ljust(16, b"\0") for host, _ in (end, other_end)]
    identity = struct.pack("!HH16s16sI8s", end[1], other_end[1], *addresses, 0, b"\xff" * 8)
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 0, _EVERY_STATE) + identity
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, 1, 0, 0) + request)
        answer = kernel.recv(1 << 14)
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        (error,) = struct.unpack_from("=i", answer, _HEADER.size)
        if -error == errno.ENOENT:
            return None
        raise OSError(-error, os.strerror(-error))
    body = answer[_HEADER.size :]
    (unread,) = struct.unpack_from("=I", body, _UNREAD)
    at = _MESSAGE
    while at < len(body):
        length, attribute = struct.unpack_from("=HH", body, at)
        if attribute == _INET_DIAG_INFO:
            (received,) = struct.unpack_from("=Q", body, at + 4 + _BYTES_RECEIVED)
            return received, unread
        at += (length + 3) & ~3
    # A socket that waits for the end of late packets has no figures, and nothing to read.
    return None
