"""TCP keepalive, which detects a peer that has vanished. Plain Python: called once per socket."""

import socket

from twemproxy.config.pools import PoolConfig

_OPTIONS = {
    "tcpkeepalive_idle": socket.TCP_KEEPIDLE,
    "tcpkeepalive_interval": socket.TCP_KEEPINTVL,
    "tcpkeepalive_count": socket.TCP_KEEPCNT,
}
_LARGEST = {socket.TCP_KEEPIDLE: 32767, socket.TCP_KEEPINTVL: 32767, socket.TCP_KEEPCNT: 127}
"""The largest values that the kernel accepts, see tcp(7)."""


def keep_alive(descriptor: int, pool: PoolConfig) -> None:
    """Configure a TCP socket as the pool's directives say; the caller keeps the descriptor."""
    if not pool.tcpkeepalive:
        return
    connection = socket.socket(fileno=descriptor)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, option in _OPTIONS.items():
            if value := getattr(pool, name):
                connection.setsockopt(socket.IPPROTO_TCP, option, min(value, _LARGEST[option]))
    finally:
        connection.detach()
