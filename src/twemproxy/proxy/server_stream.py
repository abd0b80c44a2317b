"""A stream to a server that opens itself: addresses, connect(2), the greeting.

Compiled-only. Its states, and from each of them back to CLOSED:

    CLOSED -> (RESOLVING ->) CONNECTING -> (GREETING ->) READY (-> LEAVING)

``proxy.server_connection`` puts requests on it, and leaves it when the server has another address.
"""

import errno as errno_names

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.errno import EPIPE
from cython.cimports.twemproxy.libc.epoll import EPOLLIN, EPOLLOUT
from cython.cimports.twemproxy.libc.socket import MSG_NOSIGNAL, SO_ERROR, SOL_SOCKET, getsockopt, send, socklen_t
from cython.cimports.twemproxy.net.event_loop import NEVER, EventLoop
from cython.cimports.twemproxy.net.stream import Stream
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.proxy.rotation import ServerHealth
from cython.cimports.twemproxy.stats.counters import CURR_CONNECTIONS, SERVER_CONNECTIONS, TOTAL_CONNECTIONS

INFO = cython.declare(cython.const[cython.int], 6)
# What a server offers while nothing is known of it.
EVERYTHING = cython.declare(cython.const[cython.int], -1)


@cython.cclass
class ServerStream(Stream):
    """``patience``: how long it may take to become READY, in milliseconds, 0 for ever.

    ``offers``: see ``Codec.offer``; ``demanded``: what requests ask for that were queued before it was known.
    """

    def __init__(self, loop: EventLoop, codec: Codec, health: ServerHealth, upstream, profile: int) -> None:
        """``upstream``: a ``proxy.upstream.Upstream``; ``profile``: see ``Codec.session``.

        ``on_settled(ready, refused)``, when set, is told whenever the stream has become READY, or failed, then with
        whether the server did not like the greeting.
        """
        self.loop = loop
        self.codec = codec
        self.health = health
        self.upstream = upstream
        self.profile = profile
        self.counters = health.counters
        self.state = CLOSED
        self.offers = EVERYTHING

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def lacks(self, demand: cython.int) -> cython.bint:
        """Whether the server is known not to offer all of ``demand``."""
        return self.state == READY and self.offers & demand != demand

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def is_ready(self) -> cython.bint:
        return self.state == READY

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_opening(self) -> cython.bint:
        """Whether it is on its way to READY."""
        return self.state == RESOLVING or self.state == CONNECTING or self.state == GREETING

    def is_misplaced(self) -> bool:
        """Whether it is connected to an address that the server no longer has."""
        return self.fd >= 0 and not self.upstream.addresses.has(self.candidate)

    def preconnect(self) -> None:
        """Open the connection before the first request needs it."""
        if self.state == CLOSED:
            self.open()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def open(self) -> cython.int:
        candidates: list = self.upstream.addresses.candidates()
        self.set_open_by()
        if candidates is None:
            self.state = RESOLVING
            self.publish_gauges()
            self.upstream.addresses.resolve(self.resolved)
            return 0
        self.candidates = candidates
        return self.connect_next(0)

    @cython.cfunc
    @cython.exceptval(check=False)
    def set_open_by(self) -> cython.void:
        """Begin the time that opening may take."""
        self.open_by = NEVER
        if self.patience > 0:
            self.open_by = self.loop.now + self.patience
            self.loop.wake_at = min(self.loop.wake_at, self.open_by)

    def resolved(self, candidates: list, reason: str) -> None:
        """The addresses of the server's host, in order of preference; none and why when there are none."""
        if self.state != RESOLVING:
            return
        if candidates:
            self.candidates = candidates
            self.connect_next(0)
        else:
            self.fail(errno_names.EHOSTDOWN, reason)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def connect_next(self, error: cython.int) -> cython.int:
        """Try the next address; when none is left the connection fails with ``error``, the last one's."""
        fd: cython.int
        while self.candidates:
            self.candidate = self.candidates.pop(0)
            fd, error = self.upstream.connect(self.candidate)
            if fd < 0:
                continue
            if error == 0:
                self.open_stream(fd, EPOLLIN)
                return self.connected()
            self.state = CONNECTING
            self.open_stream(fd, EPOLLOUT)
            return self.publish_gauges()
        return self.fail(error, "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_writable(self) -> cython.int:
        error: cython.int = 0
        size: socklen_t = cython.sizeof(cython.int)
        getsockopt(self.fd, SOL_SOCKET, SO_ERROR, cython.address(error), cython.address(size))
        if error == 0:
            self.established = True
            self.loop.watch(self, EPOLLIN)
            return self.connected()
        if self.candidates:
            self.close_socket()
            return self.connect_next(error)
        return self.fail(error, "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def connected(self) -> cython.int:
        """The socket is connected: greet the server, if there is something to say."""
        hello: bytes
        self.state = GREETING
        self.candidates = []
        self.counters[SERVER_CONNECTIONS] += 1
        self.process_counters[TOTAL_CONNECTIONS] += 1
        self.process_counters[CURR_CONNECTIONS] += 1
        if self.loop.verbosity >= INFO:
            self.upstream.log_connected()
        self.greeting = self.upstream.greeting(self.profile)
        if not self.greeting:
            return self.ready()
        self.offers = 0
        hello = b"".join([request for _, request in self.greeting])
        if send(self.fd, PyBytes_AS_STRING(hello), PyBytes_GET_SIZE(hello), MSG_NOSIGNAL) != len(hello):
            return self.fail(EPIPE, "")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def greeted(self, reply: bytes) -> cython.int:
        """The reply to one step of the greeting."""
        step: str = self.greeting.pop(0)[0]
        problem: str = self.codec.handshake_problem(step, reply)
        if problem:
            declined: cython.bint = self.codec.declines_profile(step)
            if declined and self.on_settled is not None:
                self.on_settled(False, True)
            # A server that does not speak what another profile wants is as good as before for the default one.
            return self.refuse(f"{step} failed: {problem}", not declined)
        self.offers |= self.codec.offer(step, reply)
        if self.greeting:
            return 0
        if self.offers & self.demanded != self.demanded:
            # The server is as good as before for all other requests.
            return self.refuse(self.codec.unmet(), False)
        return self.ready()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def ready(self) -> cython.int:
        self.state = READY
        self.heard_at = self.loop.now
        self.publish_gauges()
        if self.on_settled is not None:
            self.on_settled(True, False)
        if self.out.pending > 0:
            return self.loop.want_flush(self)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shut(self) -> cython.int:
        """Close the socket, in whatever state; what still has to go stays."""
        if self.state >= GREETING:
            self.counters[SERVER_CONNECTIONS] -= 1
            self.process_counters[CURR_CONNECTIONS] -= 1
        self.close_socket()
        self.state = CLOSED
        self.candidates = []
        self.offers = EVERYTHING
        return 0

    # --- for the owner ---------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, error: cython.int, reason: str) -> cython.int:
        """It cannot be opened, or not used any more.

        ``error`` is the errno, 0 when the server ended the connection; ``reason`` says more to the log.
        """
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def refuse(self, reason: str, blame: cython.bint) -> cython.int:
        """As ``fail``, because of what the server said to the greeting, or does not offer.

        ``blame``: whether it counts as a failure of the server's.
        """
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def publish_gauges(self) -> cython.int:
        """Bring this stream's part of the server's gauges up to date."""
        return 0
