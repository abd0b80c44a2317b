"""The limit of the memory that all workers together hold for traffic: the option --max-memory.

Compiled-only. Counted are the bytes of ``BlockPool.allocated``, without unused blocks, and ``subscription_bytes``,
which may be a part of the limit only.

Each worker publishes what it holds. A worker that holds no more than its equal share of the limit reads as it likes. A
worker above its share may hold what the others leave of the limit: it reads their figures at the end of each turn, and
before it decides that a client has to wait. So one busy worker can use nearly all memory, and its clients wait when the
others need it.

From a few MB of traffic on, whatever the limit, the worker is thrifty: it reads from clients in smaller pieces and lets
them have fewer requests in progress, because the kernel can hold pipelined requests for a moment.

Above the limit clients with large requests or large replies are not read from, and others in very small pieces. Servers
are read as before, so that memory is released. That would not help if incomplete requests had all the memory, so one
waiting client at a time goes on: one that has sent something, until it pauses or its turn ends.

Above twice the limit, reckoned in the same way, the clients that hold the most memory lose their requests or their
connections, and a server connection that holds the most loses its incomplete reply.
"""

import sys
from operator import itemgetter

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.net.block import COPY_LIMIT, GROWTH_LIMIT
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.net.stream import Stream
from cython.cimports.twemproxy.net.timers import CallbackTimer
from cython.cimports.twemproxy.net.transport import WANT_READ
from cython.cimports.twemproxy.stats.counters import WorkerTables
from cython.cimports.twemproxy.stats.positions import MEMORY_HELD, MEMORY_WAITING, MEMORY_WAITS

from twemproxy import log

# Microseconds: how long the client that goes on may be silent; how long it may go on while others wait; between checks
# whether a waiting client has sent something; between log messages.
PATIENCE = cython.declare(cython.const[int64_t], 100_000)
TURN = cython.declare(cython.const[int64_t], 1_000_000)
INTERVAL = cython.declare(cython.const[int64_t], 20_000)
TELL_INTERVAL = cython.declare(cython.const[int64_t], 10_000_000)
# Bytes of traffic from which the worker is thrifty; then a client's bytes per read, and its requests in progress.
# Measured with 200 clients that pipeline 2000 small requests each.
THRIFTY_FROM = 4 * 1024 * 1024
THRIFTY_READ = cython.declare(cython.const[cython.Py_ssize_t], 16 * 1024)
THRIFTY_WINDOW = cython.declare(cython.const[cython.uint], 256)
# Target for the bytes of replies in progress to one client: without a limit, and the minimum with one. Requests in
# progress while the size of replies is not known: without a limit, and with one.
WINDOW_BYTES = 4 * 1024 * 1024
SMALLEST_WINDOW_BYTES = 64 * 1024
FIRST_WINDOW = 16
CAREFUL_FIRST_WINDOW = 8
# Values that one piece of a request may ask for: without a limit, and the minimum with one (one value per MB of it).
MOST_VALUES = 1024
FEWEST_VALUES = 16
# Subscriptions may use 1/SUBSCRIPTION_PART of the limit: unlike traffic, their memory is not released soon.
SUBSCRIPTION_PART = 2
WARN = cython.declare(cython.const[cython.int], 4)
NOTICE = cython.declare(cython.const[cython.int], 5)

_logger = log.get_logger(__name__)


@cython.cclass
class LimitedStream(Stream):
    """A stream that holds memory of the limit."""

    @cython.cfunc
    @cython.exceptval(check=False)
    def held(self) -> cython.Py_ssize_t:
        """Bytes that it holds."""
        return self.tail_end - self.tail_start

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def is_modest(self) -> cython.bint:
        """Whether it needs so little memory that it is read from above the limit."""
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def shed(self, held: cython.Py_ssize_t) -> cython.int:
        """Drop most of the ``held`` bytes, or close."""
        raise NotImplementedError


@cython.final
@cython.cclass
class MemoryLimit:
    """``program_limit``: of all workers together, very large without a limit. ``share``: the equal share of each of
    them. ``limit``: what this worker may hold, ``share`` or more, as of the last turn. ``far_beyond``: the same for
    twice the limit.

    ``waiting``: clients that are not read from, in the order in which they go on. ``exempt``: the waiting client that
    goes on now. ``timer``: calls ``check``, which is also called after each turn that ends above ``limit``. ``told``:
    the log says that clients wait.
    """

    def __init__(self, loop: EventLoop, tables: WorkerTables, limit: int) -> None:
        """``tables``: where the workers publish what they hold. ``limit``: of all workers, in bytes, 0 for none."""
        self.loop = loop
        self.blocks = loop.blocks
        self.tables = tables
        # Valid as long as the table exists.
        self.counters = tables.at(0)
        self.program_limit = limit or sys.maxsize // 2
        self.workers_changed()
        self.blocks.most_subscription_bytes = self.program_limit // SUBSCRIPTION_PART
        # What one client may have in progress does not depend on the number of workers, nor on the one that serves it.
        self.window_bytes = min(WINDOW_BYTES, max(limit // 64, SMALLEST_WINDOW_BYTES)) if limit else WINDOW_BYTES
        self.most_values = max(limit >> 20, FEWEST_VALUES) if limit else MOST_VALUES
        self.first_window = CAREFUL_FIRST_WINDOW if limit else FIRST_WINDOW
        self.waiting = {}
        self.timer = CallbackTimer(loop.timers, self.check)
        self.tell_at = loop.now

    @cython.cfunc
    @cython.exceptval(check=False)
    def traffic(self) -> cython.Py_ssize_t:
        """Bytes held for traffic."""
        return self.blocks.allocated - self.blocks.unused()

    @cython.cfunc
    @cython.exceptval(check=False)
    def used(self) -> cython.Py_ssize_t:
        """Bytes held for traffic and for subscriptions."""
        return self.traffic() + self.blocks.subscription_bytes

    def workers_changed(self) -> None:
        """There are ``WorkerTables.workers`` workers now."""
        self.share = self.program_limit // self.tables.workers
        self.limit = self.share
        self.far_beyond = 2 * self.share
        self.thrifty_from = min(THRIFTY_FROM, self.share)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def refresh(self) -> cython.Py_ssize_t:
        """Publish what this worker holds, and set its limit by what the others hold; returns the limit."""
        others: cython.Py_ssize_t
        self.counters[MEMORY_HELD] = self.used()
        others = self.tables.sum_of_others(MEMORY_HELD)
        self.limit = max(self.share, self.program_limit - others)
        self.far_beyond = max(2 * self.share, 2 * self.program_limit - others)
        return self.limit

    @cython.cfunc
    @cython.exceptval(check=False)
    def low(self) -> cython.Py_ssize_t:
        """What this worker holds, at most, when its waiting clients go on."""
        return self.limit - self.limit // 8

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def end_turn(self) -> cython.int:
        """After each turn of the event loop: update the process's counters, and check the limit if it may be exceeded.

        Below the share no figure of another worker is read.
        """
        if self.blocks.allocated > self.share:
            self.refresh()
            if self.blocks.allocated > self.limit:
                self.check()
        elif self.limit != self.share:
            self.limit = self.share
            self.far_beyond = 2 * self.share
        self.counters[MEMORY_HELD] = self.used()
        self.counters[MEMORY_WAITING] = len(self.waiting)
        self.counters[MEMORY_WAITS] += self.waits
        self.waits = 0
        return 0

    def used_by_all(self) -> int:
        """Bytes that all workers hold."""
        return self.used() + self.tables.sum_of_others(MEMORY_HELD)

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_far_beyond(self) -> cython.bint:
        """Whether so much is held that somebody has to lose what it has; what is being given back is lost already."""
        return self.used() - self.blocks.dropped > self.far_beyond

    # --- for clients -----------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_thrifty(self) -> cython.bint:
        """Whether traffic holds enough memory that each client should have less in progress."""
        return self.blocks.allocated > self.thrifty_from and self.traffic() > self.thrifty_from

    @cython.cfunc
    @cython.exceptval(check=False)
    def window(self, widest: cython.uint) -> cython.uint:
        """How many requests a client may have in progress now, up to ``widest``."""
        return THRIFTY_WINDOW if widest > THRIFTY_WINDOW and self.is_thrifty() else widest

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def read(self, stream: LimitedStream) -> cython.int:
        """Read; the bytes are kept for later if the client is paused."""
        return Stream.read_ahead(stream) if stream.pauses != 0 else Stream.receive(stream)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def read_part(self, stream: LimitedStream, most: cython.Py_ssize_t) -> cython.int:
        """Read at most ``most`` bytes, or more if they belong to a long request."""
        self.blocks.read_most = most
        try:
            self.read(stream)
        finally:
            self.blocks.read_most = self.blocks.read_size
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def receive(self, stream: LimitedStream) -> cython.int:
        """Read from a client as memory allows, or let the client wait."""
        if self.traffic() <= self.thrifty_from:
            return self.read(stream)
        if self.used() <= self.limit or self.used() <= self.refresh():
            return self.read_part(stream, THRIFTY_READ)
        if self.goes_on(stream):
            if stream is self.exempt:
                return self.read(stream)
            self.blocks.growth = COPY_LIMIT
            try:
                self.read_part(stream, COPY_LIMIT)
            finally:
                self.blocks.growth = GROWTH_LIMIT
            return 0
        self.waiting[stream] = None
        self.timer.arm(self.loop.now)
        self.waits += 1
        if not self.told and self.loop.now >= self.tell_at and self.loop.verbosity >= WARN:
            self.told = True
            self.tell_at = self.loop.now + TELL_INTERVAL
            _logger.warning(
                "traffic uses %(bytes)d bytes, '--max-memory' is %(limit)d: large requests wait",
                {"bytes": self.used_by_all(), "limit": self.program_limit},
            )
        return stream.pause(PAUSED_FOR_MEMORY)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def goes_on(self, stream: LimitedStream) -> cython.bint:
        """Whether a stream is read from although memory is above the limit."""
        if stream is self.exempt and self.loop.now < self.exempt_since + TURN:
            self.exempt_has_read = True
            self.exempt_until = self.loop.now + PATIENCE
            return True
        return stream.is_modest()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def forget(self, stream: LimitedStream) -> cython.int:
        """Remove a closed client."""
        self.waiting.pop(stream, None)
        if self.exempt is stream:
            self.exempt = None
        return 0

    # --- after a turn ----------------------------------------------------------------------------------------

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def check(self) -> cython.int:
        """Resume all waiting clients below the low mark, otherwise one; shed load above twice the limit."""
        now: int64_t = self.loop.now
        exempt: LimitedStream = self.exempt
        self.timer.cancel()
        self.refresh()
        if self.is_far_beyond():
            self.relieve()
        if self.used() <= self.low():
            self.exempt = None
            for stream in list(self.waiting):
                self.go_on(stream)
            if self.told:
                self.told = False
                if self.loop.verbosity >= NOTICE:
                    _logger.log(
                        log.NOTICE,
                        "traffic uses %(bytes)d bytes: large requests wait no longer",
                        {"bytes": self.used_by_all()},
                    )
            return 0
        if exempt is not None and (
            now >= self.exempt_until
            or now >= self.exempt_since + TURN
            or (self.exempt_has_read and exempt.tail_end - exempt.tail_start <= COPY_LIMIT)
        ):
            self.exempt = None
        if self.waiting and self.exempt is None and now >= self.choose_at:
            self.choose()
        if self.waiting or self.told:
            self.timer.arm(now + INTERVAL)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def go_on(self, stream: LimitedStream) -> cython.int:
        del self.waiting[stream]
        # The client's flush checks whether the client may be read from.
        return self.loop.want_flush(stream)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def choose(self) -> cython.int:
        """Resume the first waiting client that has sent something or has closed."""
        stream: LimitedStream
        for stream in self.waiting:
            if stream.transport.peek() == WANT_READ:
                continue
            self.exempt = stream
            self.exempt_has_read = False
            self.exempt_since = self.loop.now
            self.exempt_until = self.loop.now + PATIENCE
            return self.go_on(stream)
        self.choose_at = self.loop.now + INTERVAL
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def relieve(self) -> cython.int:
        """Shed load above twice the limit: requests, replies or connections are dropped, largest holders first."""
        stream: LimitedStream
        held: cython.Py_ssize_t
        holders: list = []
        for channel in self.loop.channels:
            if isinstance(channel, LimitedStream):
                stream = channel
                held = stream.held()
                if held > COPY_LIMIT:
                    holders.append((held, stream))
        holders.sort(key=itemgetter(0), reverse=True)
        for held, stream in holders:
            if not self.is_far_beyond():
                return 0
            stream.shed(held)
            if stream in self.waiting:
                self.go_on(stream)
        return 0
