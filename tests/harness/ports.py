"""Port numbers, and loopback addresses of a given port, that nobody uses."""

import itertools
import os
import socket
from collections.abc import Iterator

# Below the range the kernel takes client ports from, so that no outgoing connection of a test takes one away.
_FIRST, _LAST = 10000, 32000


def _candidates() -> Iterator[int]:
    start = os.getpid() * 97 % (_LAST - _FIRST)
    return (_FIRST + (start + i) % (_LAST - _FIRST) for i in itertools.count())


def _host_candidates() -> Iterator[str]:
    start = os.getpid() * 97
    return (f"127.{(start + i) // 250 % 250 + 1}.{(start + i) % 250 + 1}.1" for i in itertools.count())


_ports = _candidates()
_hosts = _host_candidates()


def free_port() -> int:
    """A port that could be bound just now; never the same one twice in a process."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("unreachable: the candidates are endless")


def free_host(port: int) -> str:
    """A loopback address on which that port could be bound just now; never the same one twice in a process."""
    for host in _hosts:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
        return host
    raise AssertionError("unreachable: the candidates are endless")
