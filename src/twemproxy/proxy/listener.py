"""A pool's listening socket: accepts clients, up to the limits.

Compiled-only.
"""

import contextlib
import os
import socket

import cython
from cython.cimports.libc.errno import EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, errno
from cython.cimports.libc.stdint import int64_t, uint32_t
from cython.cimports.posix.unistd import close
from cython.cimports.twemproxy.libc.epoll import EPOLLIN
from cython.cimports.twemproxy.libc.socket import (
    IPPROTO_TCP,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    TCP_NODELAY,
    accept4,
    setsockopt,
)
from cython.cimports.twemproxy.net.event_loop import NEVER, Channel
from cython.cimports.twemproxy.proxy.admission import Admission
from cython.cimports.twemproxy.proxy.client import ClientConnection
from cython.cimports.twemproxy.proxy.server_pool import ServerPool
from cython.cimports.twemproxy.stats.counters import CLIENT_CONNECTIONS, CURR_CONNECTIONS, TOTAL_CONNECTIONS

from twemproxy.proxy.keepalive import keep_alive

# Clients accepted per turn, so that many new ones leave time for the others.
MOST_PER_TURN = cython.declare(cython.const[cython.int], 64)
# Milliseconds without accepting after a failure.
REST = cython.declare(cython.const[int64_t], 100)
WARN = cython.declare(cython.const[cython.int], 4)
TOO_MANY = "max number of clients reached"


@cython.final
@cython.cclass
class Listener(Channel):
    """``rests_until``: no client is accepted before this time, because accepting would fail again."""

    def __init__(self, fd: int, pool: ServerPool, admission: Admission) -> None:
        """``fd``: a listening non-blocking socket, owned from here on."""
        self.fd = fd
        self.loop = pool.loop
        self.pool = pool
        self.admission = admission
        self.tcp = not pool.config.listen.address.path
        self.rests_until = NEVER
        pool.process_counters[TOTAL_CONNECTIONS] += 1
        pool.process_counters[CURR_CONNECTIONS] += 1

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close(self) -> cython.int:
        """Close the listening socket."""
        self.loop.forget(self)
        close(self.fd)
        self.fd = -1
        self.pool.process_counters[CURR_CONNECTIONS] -= 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_ready(self, events: uint32_t) -> cython.int:
        fd: cython.int
        for _ in range(MOST_PER_TURN):
            fd = accept4(self.fd, cython.NULL, cython.NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0:
                self.failing = False
                self.accepted(fd)
            elif errno == EMFILE or errno == ENFILE:
                return self.shed()
            elif errno == EAGAIN:
                return 0
            elif errno != EINTR and errno != ECONNABORTED:
                return self.rest(errno)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def accepted(self, fd: cython.int) -> cython.int:
        """Take a new client, or refuse it if there are too many."""
        on: cython.int = 1
        own_limit: cython.ulonglong = self.pool.config.client_connections
        if (self.admission.limit > 0 and self.admission.open >= self.admission.limit) or (
            own_limit > 0 and self.pool.counters[CLIENT_CONNECTIONS] >= own_limit
        ):
            return self.turn_away(fd)
        if self.tcp:
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, cython.address(on), cython.sizeof(on))
            if self.pool.config.tcpkeepalive:
                keep_alive(fd, self.pool.config)
        self.next_number += 1
        ClientConnection(fd, self.next_number, self.pool, self.admission)
        return 0

    def turn_away(self, fd) -> int:
        """Send a client the error that there are too many, and close it."""
        if self.loop.verbosity >= WARN:
            self.pool.log.client_refused(TOO_MANY)
        # The client may have closed first.
        with socket.socket(fileno=fd) as client, contextlib.suppress(OSError):
            client.send(self.pool.codec.error(TOO_MANY))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shed(self) -> cython.int:
        """Out of descriptors: refuse one client with the spare descriptor; otherwise the loop would spin."""
        fd: cython.int
        error: cython.int
        self.admission.give_spare_up()
        fd = accept4(self.fd, cython.NULL, cython.NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        error = errno
        if fd >= 0:
            self.turn_away(fd)
        self.admission.take_spare()
        if fd < 0 and error != EAGAIN:
            return self.rest(error)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def rest(self, error: cython.int) -> cython.int:
        """Stop accepting for a while; only the first of several failures is logged."""
        if not self.failing and self.loop.verbosity >= WARN:
            self.pool.log.accept_failed(os.strerror(error))
        self.failing = True
        self.rests_until = self.loop.now + REST
        self.loop.wake_at = min(self.loop.wake_at, self.rests_until)
        return self.loop.watch(self, 0)

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def expire(self) -> int64_t:
        """Accept again when it is time; returns that time in ms, or NEVER."""
        if self.rests_until > self.loop.now:
            return self.rests_until
        self.rests_until = NEVER
        self.admission.take_spare()
        self.loop.watch(self, EPOLLIN)
        return NEVER
