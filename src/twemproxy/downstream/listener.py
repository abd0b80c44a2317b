"""A pool's listening socket: accepts clients, up to the limits.

Compiled-only.
"""

import os

import cython
from cython.cimports.libc.errno import EAGAIN
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.downstream.admission import Admission
from cython.cimports.twemproxy.downstream.client import ClientConnection
from cython.cimports.twemproxy.net.acceptor import Acceptor
from cython.cimports.twemproxy.net.event_loop import ChannelTimer
from cython.cimports.twemproxy.net.poller import READABLE
from cython.cimports.twemproxy.net.transport import Transport
from cython.cimports.twemproxy.stats.positions import CLIENT_CONNECTIONS, CURR_CONNECTIONS, TOTAL_CONNECTIONS
from cython.cimports.twemproxy.upstream.server_pool import ServerPool

# Microseconds without accepting after a failure.
REST = cython.declare(cython.const[int64_t], 100_000)
# Turns of accepting before a socket is closed: enough for a long backlog.
LAST_TURNS = cython.declare(cython.const[cython.int], 64)
WARN = cython.declare(cython.const[cython.int], 4)
TOO_MANY = "max number of clients reached"


@cython.final
@cython.cclass
class Listener(Acceptor):
    """``timer``: while it is armed, no client is accepted, because accepting would fail again."""

    def __init__(self, fd: int, pool: ServerPool, admission: Admission) -> None:
        """``fd``: a listening non-blocking socket, owned from here on."""
        self.fd = fd
        self.loop = pool.loop
        self.pool = pool
        self.admission = admission
        self.tcp = not pool.config.listen.address.path
        self.timer = ChannelTimer(pool.loop.timers, self)
        pool.process_counters[TOTAL_CONNECTIONS] += 1
        pool.process_counters[CURR_CONNECTIONS] += 1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def accept_waiting(self) -> cython.int:
        """Accept the clients that wait now: closing the socket would reset their connections."""
        before: cython.uint
        for _ in range(LAST_TURNS):
            before = self.pool.clients_seen
            self.on_ready(READABLE)
            if self.pool.clients_seen == before:
                break
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close(self) -> cython.int:
        """Close the listening socket."""
        self.timer.cancel()
        self.close_acceptor()
        self.pool.process_counters[CURR_CONNECTIONS] -= 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_accepted(self, fd: cython.int) -> cython.int:
        """Take a new client, or refuse it if there are too many."""
        transport: Transport
        own_limit: cython.ulonglong = self.pool.config.client_connections
        self.failing = False
        if (self.admission.limit > 0 and self.admission.open + self.admission.awaited >= self.admission.limit) or (
            own_limit > 0 and self.pool.counters[CLIENT_CONNECTIONS] >= own_limit
        ):
            return self.turn_away(fd)
        transport = self.prepare(fd, self.pool.settings.keepalive)
        if self.pool.client_transport is not None:
            transport = self.pool.client_transport(transport)
        self.pool.clients_seen += 1
        self.pool.process_counters[TOTAL_CONNECTIONS] += 1
        ClientConnection(transport, self.pool.clients_seen, self.pool, self.admission)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def turn_away(self, fd: cython.int) -> cython.int:
        """Send a client the error that there are too many, and close it."""
        if self.loop.verbosity >= WARN:
            self.pool.log.client_refused(TOO_MANY)
        # A client that expects another transport would not understand the error.
        self.refuse(fd, self.pool.codec.error(TOO_MANY) if self.pool.client_transport is None else b"")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_exhausted(self) -> cython.int:
        """Refuse one client with the spare descriptor; otherwise the loop would spin."""
        fd: cython.int
        error: cython.int
        self.admission.give_spare_up()
        fd = self.accept()
        error = self.error
        if fd >= 0:
            self.turn_away(fd)
        self.admission.take_spare()
        if fd < 0 and error != EAGAIN:
            return self.on_failed(error)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_failed(self, error: cython.int) -> cython.int:
        """Stop accepting for a while; only the first of several failures is logged."""
        if not self.failing and self.loop.verbosity >= WARN:
            self.pool.log.accept_failed(os.strerror(error))
        self.failing = True
        self.timer.arm(self.loop.now + REST)
        return self.loop.watch(self, 0)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_timer(self) -> cython.int:
        """Accept again."""
        self.admission.take_spare()
        return self.loop.watch(self, READABLE)
