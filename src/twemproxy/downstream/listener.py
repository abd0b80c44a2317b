"""A pool's listening socket: accepts clients, up to the limits, for this worker and others.

Compiled-only.
"""

import os

import cython
from cython.cimports.libc.errno import EAGAIN
from cython.cimports.libc.stdint import int64_t, uint32_t
from cython.cimports.twemproxy.downstream.admission import Admission
from cython.cimports.twemproxy.downstream.client import ClientConnection
from cython.cimports.twemproxy.downstream.placement import Placement
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
    """``timer``: while it is armed, no client is accepted, because accepting would fail again.

    All workers wait for the connections of the same socket, and a connection wakes one of those that have nothing else
    to do. A worker that has accepted and has more work than another goes to the end of their queue.
    """

    def __init__(self, fd: int, pool: ServerPool, admission: Admission, placement: Placement) -> None:
        """``fd``: a listening non-blocking socket, owned from here on."""
        self.fd = fd
        self.loop = pool.loop
        self.pool = pool
        self.admission = admission
        self.placement = placement
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
            before = self.seen
            self.on_ready(READABLE)
            if self.seen == before:
                break
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def listen(self) -> cython.int:
        """Accept clients from now on, after other workers that wait."""
        return self.loop.watch_shared(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_ready(self, events: uint32_t) -> cython.int:
        before: cython.uint = self.seen
        Acceptor.on_ready(self, events)
        if self.seen != before and self.placement.peers and self.placement.is_ahead and self.fd >= 0:
            self.listen()
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
        """Serve a new client, here or in another worker."""
        worker: cython.int = 0
        self.failing = False
        self.seen += 1
        if self.placement.peers:
            worker = self.placement.choose()
        if worker != 0:
            return self.placement.pass_on(self, self.pool.slot, fd, worker)
        return self.take(fd)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take(self, fd: cython.int) -> cython.int:
        """Take a new client, or refuse it if there are too many."""
        transport: Transport
        # The client counts before the sum is made: of two workers that take a client at once, one sees both.
        self.pool.counters[CLIENT_CONNECTIONS] += 1
        if self.has_too_many():
            self.pool.counters[CLIENT_CONNECTIONS] -= 1
            return self.turn_away(fd)
        transport = self.prepare(fd, self.pool.settings.keepalive)
        if self.pool.client_transport is not None:
            transport = self.pool.client_transport(transport)
        self.placement.accepted += 1
        self.pool.process_counters[TOTAL_CONNECTIONS] += 1
        ClientConnection(transport, self.pool.number_client(), self.pool, self.admission)
        self.pool.counters[CLIENT_CONNECTIONS] -= 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def has_too_many(self) -> cython.bint:
        """Whether there are too many clients: with a new one, of this worker, or of the pool in all workers."""
        own_limit: cython.longlong = self.pool.config.client_connections
        if self.admission.limit > 0 and self.admission.open + self.admission.awaited >= self.admission.limit:
            return True
        return own_limit > 0 and self.pool.tables.sum(self.pool.slot + CLIENT_CONNECTIONS) > own_limit

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
        return self.loop.forget(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_timer(self) -> cython.int:
        """Accept again."""
        self.admission.take_spare()
        return self.listen()
