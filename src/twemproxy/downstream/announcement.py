"""The announcement that connections are about to end: each client that has asked for it gets one message about it.

Compiled-only. A client that connects or asks later gets the message, too, while there is time for it.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.downstream.client import ClientConnection
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.net.timers import CallbackTimer

# Microseconds between looks for clients that have not been told.
INTERVAL = cython.declare(cython.const[int64_t], 1_000_000)
# Least microseconds until the end for which later clients are told.
LEAST_TIME = cython.declare(cython.const[int64_t], 2_000_000)
SECOND = cython.declare(cython.const[int64_t], 1_000_000)


@cython.final
@cython.cclass
class Announcement:
    """``told``: the clients that need not be told any more."""

    def __init__(self, loop: EventLoop, find_clients, number: int, delay: float, seconds: float) -> None:
        """Tell clients after ``delay`` seconds that their connections end in ``seconds``; without a delay, now.

        ``find_clients()``: returns them. ``number``: see ``Codec.moving``.
        """
        self.loop = loop
        self.find_clients = find_clients
        self.number = number
        self.ends_at = loop.now + int((delay + seconds) * 1_000_000)
        self.told = set()
        self.timer = CallbackTimer(loop.timers, self.look)
        if delay > 0:
            self.timer.arm(loop.now + int(delay * 1_000_000))
        else:
            self.look()

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def look(self) -> cython.int:
        """Tell the clients that have not been told, and do so again after INTERVAL if there is time."""
        client: ClientConnection
        left: int64_t = self.ends_at - self.loop.now
        # Half of the time is when clients connect again: rounded down, and not at once.
        seconds = max(left // SECOND, 1)
        for client in self.find_clients():
            if client.session is None or client in self.told:
                continue
            message = client.pool.codec.moving(client.session, self.number, seconds)
            if message:
                self.told.add(client)
                client.notify(message)
        if left - INTERVAL >= LEAST_TIME:
            self.timer.arm(self.loop.now + INTERVAL)
        return 0

    def stop(self) -> None:
        """Tell no more clients."""
        self.timer.cancel()
