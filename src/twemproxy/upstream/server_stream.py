"""A stream to a server that opens itself: addresses, connecting, the handshake.

Compiled-only. Its states are those of ``upstream.connection_states``. ``upstream.server_connection`` adds requests.

It opens at the end of a turn: an attempt that fails at once has consequences, such as errors for clients, and they must
not reach code that is in the middle of a client's request.
"""

import errno as errno_names

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.errno import EPIPE
from cython.cimports.twemproxy.net.event_loop import ChannelTimer, EventLoop
from cython.cimports.twemproxy.net.timers import NEVER
from cython.cimports.twemproxy.net.transport import Transport
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import Cursor
from cython.cimports.twemproxy.proxy.memory_limit import LimitedStream
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool
from cython.cimports.twemproxy.stats.positions import CURR_CONNECTIONS, SERVER_CONNECTIONS, TOTAL_CONNECTIONS
from cython.cimports.twemproxy.upstream.connection_states import (
    CLOSED,
    CONNECTING,
    CONNECTION_STATES,
    HANDSHAKE,
    READY,
    RESOLVING,
    ConnectionState,
)
from cython.cimports.twemproxy.upstream.health_states import REMOVED
from cython.cimports.twemproxy.upstream.server import Server

from twemproxy.net.sockets import connect

INFO = cython.declare(cython.const[cython.int], 6)
# A timeout that is the pool's.
INHERITED = cython.declare(cython.const[int64_t], -1)
# The features of a server while they are not known: all.
EVERYTHING = cython.declare(cython.const[cython.int], -1)


@cython.cclass
class ServerStream(LimitedStream):
    """``own_open_timeout``: the time from opening to READY, in microseconds, 0 for no limit, INHERITED for the pool's.
    ``own_timeout``: the same for a reply. ``timer``: armed for the next deadline, or for an earlier one that is gone.

    ``opens_soon``: the stream is opened at the end of the turn even if no request needs it. ``abandoned``: it is closed
    for good at the end of the turn. ``retired``: others have taken its place, so it ends when it has the replies to its
    requests. ``predecessors``: streams that must have all their replies before this one opens, None without any;
    ``followers``: the streams that wait for this one so.

    ``only_candidate``: the only address to which it connects, None for those of its server.

    ``features``: see ``Handshake.features``. ``cursor``: the cursor of the incomplete reply.
    """

    def __init__(self, pool: ConfiguredPool, loop: EventLoop, codec: Codec, server: Server, profile: int) -> None:
        """``profile``: see ``Codec.session``.

        ``on_status(ready, refused)``, when set, is called each time the stream has become READY or has failed;
        ``refused``: whether the server does not accept the profile.
        """
        self.pool = pool
        self.own_timeout = self.own_open_timeout = INHERITED
        self.loop = loop
        self.timer = ChannelTimer(loop.timers, self)
        self.codec = codec
        self.cursor = Cursor()
        self.server = server
        self.endpoint = server.endpoint
        self.profile = profile
        self.counters = server.counters
        self.state = CLOSED
        self.features = EVERYTHING
        self.candidates = []

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def become(self, state: ConnectionState) -> cython.int:
        """Change the state. Raises AssertionError if ``upstream.connection_states`` has no such transition."""
        CONNECTION_STATES.check(self.state, state)
        self.state = state
        return 0

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def lacks_features(self, required_features: cython.int) -> cython.bint:
        """Whether the stream is READY and its server lacks some of the ``required_features``."""
        return self.state == READY and self.features & required_features != required_features

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def is_ready(self) -> cython.bint:
        return self.state == READY

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_opening(self) -> cython.bint:
        """Whether the stream is opening and not READY yet."""
        return self.state == RESOLVING or self.state == CONNECTING or self.state == HANDSHAKE

    def is_stale(self) -> bool:
        """Whether the stream is connected and must not stay so: it is retired, its server is removed, or its server has
        left the address.
        """
        return self.fd >= 0 and (
            self.retired or self.server.state == REMOVED or not self.endpoint.addresses.has(self.candidate)
        )

    def follow(self, predecessors: list) -> None:
        """Do not open before these streams have the replies to their requests; the stream is a new one."""
        stream: ServerStream
        if predecessors:
            self.predecessors = set(predecessors)
            for stream in predecessors:
                if stream.followers is None:
                    stream.followers = []
                stream.followers.append(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def release_followers(self) -> cython.int:
        """The stream has no requests any more: those that follow it may open, if they are needed."""
        follower: ServerStream
        followers: list = self.followers
        self.followers = None
        for follower in followers:
            follower.predecessors.discard(self)
            if not follower.predecessors:
                follower.predecessors = None
                self.loop.defer(follower)
        return 0

    def preconnect(self) -> None:
        """Open the connection before the first request needs it."""
        if self.state == CLOSED:
            self.open_soon()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def open_soon(self) -> cython.int:
        """Open the stream at the end of the turn."""
        self.opens_soon = True
        return self.loop.defer(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def open(self) -> cython.int:
        """Open the stream, which is CLOSED; not called while input is parsed."""
        candidates: list = self.endpoint.addresses.candidates()
        if self.only_candidate is not None:
            candidates = [self.only_candidate]
        self.set_open_by()
        if candidates is None:
            self.become(RESOLVING)
            self.publish_gauges()
            self.endpoint.addresses.resolve(self.resolved)
            return 0
        self.candidates = candidates
        return self.connect_next(0)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def set_open_by(self) -> cython.int:
        """Restart the time limit for opening."""
        timeout: int64_t = self.pool.settings.open_timeout if self.own_open_timeout < 0 else self.own_open_timeout
        self.open_by = NEVER
        if timeout > 0:
            self.open_by = self.loop.now + timeout
        return self.timer.arm_by(self.open_by)

    def resolved(self, candidates: list, reason: str) -> None:
        """Connect to the addresses of the server's host, in order of preference; fail with ``reason`` without
        addresses.
        """
        if self.state != RESOLVING or self.abandoned:
            return
        if candidates:
            self.candidates = candidates
            self.connect_next(0)
        else:
            self.fail(errno_names.EHOSTDOWN, reason)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def connect_next(self, error: cython.int) -> cython.int:
        """Try the next address; without one, fail with ``error``, the errno of the last attempt."""
        transport: Transport
        while self.candidates:
            self.candidate = self.candidates.pop(0)
            transport, error = connect(*self.candidate, self.pool.settings.keepalive)
            if transport is None:
                continue
            if self.pool.server_transport is not None:
                transport = self.pool.server_transport(transport)
            self.open_stream(transport)
            if self.established:
                return self.on_established()
            self.become(CONNECTING)
            return self.publish_gauges()
        return self.fail(error, "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_refused(self, error: cython.int) -> cython.int:
        if self.candidates:
            self.close_socket()
            return self.connect_next(error)
        return self.fail(error, "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_established(self) -> cython.int:
        """Begin the handshake of the protocol, if there is one."""
        hello: bytes
        self.become(HANDSHAKE)
        self.candidates = []
        self.counters[SERVER_CONNECTIONS] += 1
        self.process_counters[TOTAL_CONNECTIONS] += 1
        self.process_counters[CURR_CONNECTIONS] += 1
        if self.loop.verbosity >= INFO:
            self.endpoint.log_connected()
        self.endpoint.connects += 1
        self.handshake = self.endpoint.handshake(self.profile)
        if not self.handshake:
            return self.ready()
        self.features = 0
        hello = b"".join([request for _, request in self.handshake])
        return 0 if self.send_first(hello) else self.fail(EPIPE, "")

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def on_handshake_reply(self, reply: bytes) -> cython.int:
        """The reply to one step of the handshake."""
        step: str = self.handshake.pop(0)[0]
        problem: str = self.codec.handshake.problem(step, reply)
        if problem:
            declined: cython.bint = self.codec.handshake.declines_profile(step, problem)
            if declined and self.on_status is not None:
                self.on_status(False, True)
            # A server that does not accept another profile is still good for the default profile, and a script may keep
            # it busy.
            busy: cython.bint = self.codec.is_tainted(self.profile) and self.codec.is_transient_error(
                cython.cast(cython.p_uchar, PyBytes_AS_STRING(reply)), 0, PyBytes_GET_SIZE(reply)
            )
            return self.refuse(f"{step} failed: {problem}", not declined and not busy)
        self.features |= self.codec.handshake.features(step, reply)
        if self.handshake:
            return 0
        self.refuse_unsupported()
        return self.ready()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def ready(self) -> cython.int:
        self.become(READY)
        self.heard_at = self.loop.now
        self.publish_gauges()
        if self.on_status is not None:
            self.on_status(True, False)
        if self.out.pending > 0:
            return self.loop.want_flush(self)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shut(self) -> cython.int:
        """Close the socket, in whatever state; unsent bytes stay."""
        self.opens_soon = False
        if self.state >= HANDSHAKE:
            self.counters[SERVER_CONNECTIONS] -= 1
            self.process_counters[CURR_CONNECTIONS] -= 1
        self.close_socket()
        self.become(CLOSED)
        self.candidates = []
        self.features = EVERYTHING
        return 0

    # --- for the owner ---------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def fail(self, error: cython.int, reason: str) -> cython.int:
        """The stream cannot be opened or used.

        ``error``: the errno, 0 when the server closed the connection. ``reason``: a detail for the log.
        """
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def refuse(self, reason: str, counts_as_failure: cython.bint) -> cython.int:
        """As ``fail``, because of a handshake reply or a missing feature.

        ``counts_as_failure``: whether this is a failure of the server.
        """
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def refuse_unsupported(self) -> cython.int:
        """Fail the requests that need features the server lacks; called when the features are known."""
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def publish_gauges(self) -> cython.int:
        """Update this stream's part of the server's gauges."""
        return 0
