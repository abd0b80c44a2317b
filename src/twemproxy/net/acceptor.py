"""A listening socket: accepts connections and sets their options.

Compiled-only. The owner is a subclass and gets the connections in ``on_accepted``.
"""

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.errno import EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, errno
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.posix.unistd import close
from cython.cimports.twemproxy.libc.socket import (
    IPPROTO_TCP,
    MSG_NOSIGNAL,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    TCP_NODELAY,
    accept4,
    send,
    setsockopt,
)
from cython.cimports.twemproxy.net.event_loop import Channel
from cython.cimports.twemproxy.net.transport import PlainTransport, Transport

from twemproxy.net.sockets import keep_alive

# Connections accepted per turn, so that many new ones leave time for the others.
MOST_PER_TURN = cython.declare(cython.const[cython.int], 64)


@cython.cclass
class Acceptor(Channel):
    """One listening socket, non-blocking and owned. ``tcp``: it is no unix socket. ``error``: see ``accept``."""

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def close_acceptor(self) -> cython.int:
        """Close the listening socket."""
        self.loop.forget(self)
        close(self.fd)
        self.fd = -1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_ready(self, events: uint32_t) -> cython.int:
        fd: cython.int
        for _ in range(MOST_PER_TURN):
            fd = self.accept()
            if fd >= 0:
                self.on_accepted(fd)
            elif self.error == EAGAIN:
                return 0
            elif self.error == EMFILE or self.error == ENFILE:
                return self.on_exhausted()
            elif self.error != EINTR and self.error != ECONNABORTED:
                return self.on_failed(self.error)
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def accept(self) -> cython.int:
        """Accept one connection; returns its descriptor, or -1 and sets ``error`` to the errno."""
        fd: cython.int = accept4(self.fd, cython.NULL, cython.NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        self.error = errno
        return fd

    @cython.cfunc
    def prepare(self, fd: cython.int, keepalive) -> Transport:
        """Set the options of an accepted connection, and return its transport. ``keepalive``: see ``keep_alive``."""
        transport: PlainTransport = PlainTransport(fd)
        on: cython.int = 1
        if self.tcp:
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, cython.address(on), cython.sizeof(on))
            if keepalive is not None:
                keep_alive(fd, keepalive)
        return transport

    @cython.cfunc
    @cython.exceptval(check=False)
    def refuse(self, fd: cython.int, reply: bytes) -> cython.void:
        """Close an accepted connection after these last bytes, which are lost if the peer has closed first."""
        send(fd, PyBytes_AS_STRING(reply), PyBytes_GET_SIZE(reply), MSG_NOSIGNAL)
        close(fd)

    # --- for the owner ---------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_accepted(self, fd: cython.int) -> cython.int:
        """A connection was accepted: pass its descriptor to ``take`` or to another process."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take(self, fd: cython.int) -> cython.int:
        """Take over an accepted descriptor: pass it to ``prepare`` or ``refuse``."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_exhausted(self) -> cython.int:
        """There is no descriptor left for the connections that wait."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_failed(self, error: cython.int) -> cython.int:
        """Accepting has failed with this errno."""
        raise NotImplementedError
