"""Look-ups of host names for the workers, whose event loops must not wait for a name server."""

import asyncio
import socket
from typing import Final

from twemproxy.ipc.messages import Resolved
from twemproxy.supervisor.threads import in_thread

MOST_AT_A_TIME: Final = 8


def look_up(host: str, port: int) -> Resolved:
    """Return all addresses of a host, or the reason why there are none; blocks while the system's resolver works."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return Resolved(host, port, error=reason)
    addresses = []
    for family, _, _, _, where in found:
        # An IPv4 socket address has no flow information and no scope id.
        ip, _, flow, scope = (*where, 0, 0)[:4]
        addresses.append((int(family), str(ip), int(flow), int(scope)))
    return Resolved(host, port, tuple(addresses))


class Resolver:
    """Looks names up in threads, at most MOST_AT_A_TIME at once; further look-ups wait."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MOST_AT_A_TIME)

    async def resolve(self, host: str, port: int) -> Resolved:
        """Return the result of ``look_up``, without blocking the event loop."""
        async with self._slots:
            return await in_thread(look_up, host, port)
