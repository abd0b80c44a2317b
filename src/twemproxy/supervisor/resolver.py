"""Look-ups of host names for the workers, whose event loops must not wait for a name server."""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Final

from twemproxy.ipc.messages import Resolved

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
    """Looks names up in threads, at most MOST_AT_A_TIME at once; further look-ups wait.

    The threads are daemon threads, so that a name server that does not answer cannot delay the exit of the process.
    """

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MOST_AT_A_TIME)

    async def resolve(self, host: str, port: int) -> Resolved:
        """Return the result of ``look_up``, without blocking the event loop."""
        async with self._slots:
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[Resolved] = loop.create_future()
            threading.Thread(target=_answer, args=(loop, answer, host, port), daemon=True).start()
            return await answer


def _answer(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Resolved], host: str, port: int) -> None:
    resolved = look_up(host, port)

    def deliver() -> None:
        if not answer.done():
            answer.set_result(resolved)

    with suppress(RuntimeError):  # the loop is closed, so no caller waits for the result
        loop.call_soon_threadsafe(deliver)
