"""How much memory a worker may hold for traffic, and who waits while it holds more: the option --max-memory.

Compiled-only. What counts is what ``BlockPool.allocated`` has, without the blocks that nobody uses at present. From a
few MB on, whatever the limit, clients are read from in smaller pieces and have fewer requests on their way: what many
pipeline at once can stay in the kernel for a moment. Beyond the limit clients with large requests or large replies
are not read from, and what others send is taken in very small pieces; servers are read as ever, so that memory comes
free. It would not if all of it belonged to requests that are not whole yet, so one of those that wait goes on at a
time: one that has sent something, for as long as it does and others get their turn. Beyond twice the limit the clients
that hold the most lose their requests, or their connections.
"""

import sys
from operator import itemgetter

import cython
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.libc.socket import MSG_DONTWAIT, MSG_PEEK, recv
from cython.cimports.twemproxy.net.block import COPY_LIMIT, GROWTH_LIMIT, block_bytes
from cython.cimports.twemproxy.net.event_loop import NEVER, EventLoop
from cython.cimports.twemproxy.net.stream import Stream
from cython.cimports.twemproxy.protocol.codec import COMPLETE, NEED_MORE, Codec
from cython.cimports.twemproxy.proxy.client import ClientConnection
from cython.cimports.twemproxy.proxy.oversize import refuse_unfinished
from cython.cimports.twemproxy.stats.counters import MEMORY_HELD, MEMORY_WAITING, MEMORY_WAITS

from twemproxy import log

# Times in milliseconds: how long one that goes on may say nothing, how long it may go on while others wait, how often
# to look whether one that waits has sent something, and how often the log is told.
PATIENCE = cython.declare(cython.const[int64_t], 100)
TURN = cython.declare(cython.const[int64_t], 1000)
INTERVAL = cython.declare(cython.const[int64_t], 20)
TELL_INTERVAL = cython.declare(cython.const[int64_t], 10_000)
# Bytes held from which the worker is thrifty, and what a client then may have at most: bytes read at a time, and
# requests on their way. Measured with 200 clients that pipeline 2000 small requests each.
THRIFTY_FROM = 4 * 1024 * 1024
THRIFTY_READ = cython.declare(cython.const[cython.Py_ssize_t], 16 * 1024)
THRIFTY_WINDOW = cython.declare(cython.const[cython.uint], 256)
# Bytes that the replies on their way to one client should not exceed, and its requests on their way while the size of
# their replies is not known: without a limit, and what there is at least and at most with one.
WINDOW_BYTES = 4 * 1024 * 1024
SMALLEST_WINDOW_BYTES = 64 * 1024
FIRST_WINDOW = 128
CAREFUL_FIRST_WINDOW = 8
WARN = cython.declare(cython.const[cython.int], 4)
NOTICE = cython.declare(cython.const[cython.int], 5)

DROPPED = "out of memory: the request is dropped, '--max-memory' leaves no room for it"

_logger = log.get_logger(__name__)


@cython.final
@cython.cclass
class MemoryLimit:
    """``limit`` is out of reach when there is none. ``waiting``: clients that are not read from, in the order in which
    they go on; ``favoured``: the one that does. ``look_at``: when to call ``look`` again, which otherwise is called
    after each turn with more than ``limit``. ``told``: the log knows that some wait.
    """

    def __init__(self, loop: EventLoop, limit: int) -> None:
        """``limit``: in bytes, 0 for none."""
        self.loop = loop
        self.blocks = loop.blocks
        self.limit = limit or sys.maxsize // 2
        self.low = self.limit - self.limit // 8
        self.thrifty_from = THRIFTY_FROM
        self.window_bytes = min(WINDOW_BYTES, max(limit // 64, SMALLEST_WINDOW_BYTES)) if limit else WINDOW_BYTES
        self.first_window = CAREFUL_FIRST_WINDOW if limit else FIRST_WINDOW
        self.waiting = {}
        self.look_at = NEVER
        self.tell_at = loop.now

    @cython.cfunc
    @cython.exceptval(check=False)
    def used(self) -> cython.Py_ssize_t:
        """Bytes held."""
        return self.blocks.allocated - self.blocks.unused()

    @cython.cfunc
    @cython.exceptval(check=False)
    def count(self, counters: cython.pointer[Counter]) -> cython.void:
        """Keep the process's gauges."""
        counters[MEMORY_HELD] = self.used()
        counters[MEMORY_WAITING] = len(self.waiting)

    # --- for clients -----------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_thrifty(self) -> cython.bint:
        """Whether so much is held that no client should have much on its way."""
        return self.blocks.allocated > self.thrifty_from and self.used() > self.thrifty_from

    @cython.cfunc
    @cython.exceptval(check=False)
    def window(self, widest: cython.uint) -> cython.uint:
        """How many requests of a client may be on their way at present, ``widest`` at most."""
        return THRIFTY_WINDOW if widest > THRIFTY_WINDOW and self.is_thrifty() else widest

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def sip(self, stream: Stream, most: cython.Py_ssize_t) -> cython.int:
        """Read at most so many bytes, or what belongs to a long request."""
        self.blocks.read_most = most
        try:
            Stream.receive(stream)
        finally:
            self.blocks.read_most = self.blocks.read_size
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def receive(self, stream: Stream) -> cython.int:
        """Read from a client while there may be much, unless it has to wait."""
        client: ClientConnection
        used: cython.Py_ssize_t = self.used()
        if used <= self.thrifty_from:
            return Stream.receive(stream)
        if used <= self.limit:
            return self.sip(stream, THRIFTY_READ)
        if self.goes_on(stream):
            if stream is self.favoured:
                return Stream.receive(stream)
            self.blocks.growth = COPY_LIMIT
            try:
                self.sip(stream, COPY_LIMIT)
            finally:
                self.blocks.growth = GROWTH_LIMIT
            return 0
        self.waiting[stream] = None
        self.look_at = self.loop.now
        self.loop.wake_at = self.loop.now
        client = cython.cast(ClientConnection, stream)
        client.awaits_memory = True
        client.pool.process_counters[MEMORY_WAITS] += 1
        if not self.told and self.loop.now >= self.tell_at and self.loop.verbosity >= WARN:
            self.told = True
            self.tell_at = self.loop.now + TELL_INTERVAL
            _logger.warning(
                "%d bytes are held for traffic, '--max-memory' is %d: large requests wait", self.used(), self.limit
            )
        return stream.pause()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def goes_on(self, stream: Stream) -> cython.bint:
        """Whether a client is read from although there is too much."""
        client: ClientConnection = cython.cast(ClientConnection, stream)
        if client.swallow != 0 or client.closing:
            return True
        if stream is self.favoured and self.loop.now < self.favoured_since + TURN:
            self.favoured_has_read = True
            self.favoured_until = self.loop.now + PATIENCE
            return True
        return (
            client.tail_end - client.tail_start <= COPY_LIMIT
            and client.needed <= COPY_LIMIT
            and client.replies.typical <= COPY_LIMIT
            and client.out.pending + client.replies.kept <= COPY_LIMIT
        )

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget(self, stream: Stream) -> cython.int:
        """A client is gone."""
        self.waiting.pop(stream, None)
        if self.favoured is stream:
            self.favoured = None
        return 0

    # --- after a turn ----------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def look(self) -> cython.int:
        """Let clients go on, all when there is room again, otherwise one; see to it that it does not get much more."""
        now: int64_t = self.loop.now
        favoured: Stream = self.favoured
        self.look_at = NEVER
        if self.used() > 2 * self.limit:
            self.relieve()
        if self.used() <= self.low:
            self.favoured = None
            for stream in list(self.waiting):
                self.go_on(stream)
            if self.told:
                self.told = False
                if self.loop.verbosity >= NOTICE:
                    _logger.log(log.NOTICE, "%d bytes are held for traffic: large requests wait no longer", self.used())
            return 0
        if favoured is not None and (
            now >= self.favoured_until
            or now >= self.favoured_since + TURN
            or (self.favoured_has_read and favoured.tail_end - favoured.tail_start <= COPY_LIMIT)
        ):
            self.favoured = None
        if self.waiting and self.favoured is None and now >= self.choose_at:
            self.choose()
        if self.waiting or self.told:
            self.look_at = now + INTERVAL
            self.loop.wake_at = min(self.loop.wake_at, self.look_at)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def go_on(self, stream: Stream) -> cython.int:
        del self.waiting[stream]
        cython.cast(ClientConnection, stream).awaits_memory = False
        # Its flush finds out whether it may be read from.
        return self.loop.want_flush(stream)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def choose(self) -> cython.int:
        """Let the first go on that has sent something, or has gone."""
        stream: Stream
        byte: cython.uchar = 0
        n: cython.Py_ssize_t
        for stream in self.waiting:
            n = recv(stream.fd, cython.address(byte), 1, MSG_PEEK | MSG_DONTWAIT)
            if n < 0 and (errno == EAGAIN or errno == EINTR):
                continue
            self.favoured = stream
            self.favoured_has_read = False
            self.favoured_since = self.loop.now
            self.favoured_until = self.loop.now + PATIENCE
            return self.go_on(stream)
        self.choose_at = self.loop.now + INTERVAL
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def relieve(self) -> cython.int:
        """Take from the clients that hold most what they hold, until it is not too much for the process."""
        client: ClientConnection
        held: cython.Py_ssize_t
        holders: list = []
        for channel in self.loop.channels:
            if isinstance(channel, ClientConnection):
                client = channel
                held = client.tail_end - client.tail_start + client.out.pending + client.replies.kept
                if held > COPY_LIMIT:
                    holders.append((held, client))
        holders.sort(key=itemgetter(0), reverse=True)
        for held, client in holders:
            if self.used() <= 2 * self.limit:
                return 0
            if self.loop.verbosity >= WARN:
                client.pool.log.client_holds_most(client.fd, held, self.limit)
            if 2 * (client.tail_end - client.tail_start) <= held or not self.drop_request(client):
                client.cut_off("it holds most of too much memory")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop_request(self, stream: Stream) -> cython.bint:
        """Refuse the request that is not whole yet, and forget it; False when that cannot be told from others."""
        client: ClientConnection = cython.cast(ClientConnection, stream)
        codec: Codec = client.pool.codec
        codec.resume_at = 0
        if (
            codec.frame_request(block_bytes(client.tail), client.tail_start, client.tail_end) != NEED_MORE
            or codec.pass_over(block_bytes(client.tail), client.tail_start, client.tail_end) != COMPLETE
        ):
            return False
        refuse_unfinished(client, codec.error(DROPPED))
        client.drop_tail()
        if client.awaits_memory:
            self.go_on(client)
        return True
