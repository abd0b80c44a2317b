"""The access log: which requests are in its sample, and where its lines go.

Compiled-only. ``downstream`` notes a request of the sample when it is taken, its servers when they reply, and makes its
line when the reply is written. The lines of a turn go to a pipe, in writes of whole lines that are never mixed with
those of other workers; the supervisor writes them to the file. Nothing here waits: a line that the pipe does not take
is dropped and counted.
"""

import os

import cython
from cython.cimports.libc.stdint import int64_t, uint64_t
from cython.cimports.twemproxy.net.event_loop import Action, EventLoop
from cython.cimports.twemproxy.stats.counters import WorkerTables
from cython.cimports.twemproxy.stats.positions import ACCESS_LOG_DROPPED, ACCESS_LOG_LINES

from twemproxy.log import get_logger
from twemproxy.proxy.access_line import line_of

# Most bytes of a write to the pipe: PIPE_BUF, so that each write is done as a whole or not at all.
LONGEST_WRITE = cython.declare(cython.const[cython.Py_ssize_t], 4096)
# Most requests of the sample that are in flight in a worker: a bound of memory.
MOST_IN_FLIGHT = cython.declare(cython.const[cython.Py_ssize_t], 16_384)
# The factor of xorshift64*.
MULTIPLIER = cython.declare(cython.const[uint64_t], 0x2545F4914F6CDD1D)
# Microseconds between two messages about lines that were dropped.
TELL_INTERVAL = cython.declare(cython.const[int64_t], 10_000_000)

_logger = get_logger(__name__)


@cython.final
@cython.cclass
class AccessRecord:
    """A request of the sample. Times are in microseconds of ``EventLoop.real``.

    ``servers``: the names of the servers that it has reached, the last one to reply at the end. ``sent_at``: when that
    server had the request, 0 before. ``replied_at``: when the proxy had the reply, 0 before. ``has_reply``: a server
    has replied; ``is_own``: the reply is an error of the proxy's own nevertheless. ``closed``: the client was closed.
    The other fields: see ``proxy.access_line``.
    """

    def __init__(self, client_address: str, client_id: int, request_bytes: int) -> None:
        self.client_address = client_address
        self.client_id = client_id
        self.request_bytes = request_bytes
        self.command = ""
        self.key = b""
        self.error = b""
        self.servers = []

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def note_server(self, name: str, sent_at: int64_t, has_replied: cython.bint) -> cython.int:
        """The request has reached this server, which has replied or failed; ``sent_at``: 0 if nothing was sent."""
        if name in self.servers:
            self.servers.remove(name)
        self.servers.append(name)
        self.sent_at = sent_at
        self.has_reply = self.has_reply or has_replied
        return 0


@cython.final
@cython.cclass
class AccessSink(Action):
    """Where the lines of a worker go. ``in_flight``: requests of the sample that have no line yet.

    ``lines``: those of this turn, ``size`` bytes. ``untold``: dropped lines of which the log has said nothing yet.
    """

    def __init__(self, loop: EventLoop, tables: WorkerTables, descriptor: int, worker: int) -> None:
        """``descriptor``: of the writing end of the pipe, which does not block. ``worker``: the number of this one."""
        self.loop = loop
        self.counters = tables.at(0)
        self.descriptor = descriptor
        self.worker = worker
        self.lines = []

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def begin(self) -> cython.bint:
        """Whether one more request may be noted; if not, its line counts as dropped."""
        if self.in_flight >= MOST_IN_FLIGHT:
            self.counters[ACCESS_LOG_LINES] += 1
            self.drop(1, "too many requests wait for their replies")
            return False
        self.in_flight += 1
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def write(self, record: AccessRecord, pool: str, now: int64_t) -> cython.int:
        """Write the line of a request that was begun; it leaves at the end of the turn. ``now``: as in the record."""
        replied_at: int64_t = record.replied_at if record.replied_at != 0 else now
        sent_at: int64_t = record.sent_at if record.sent_at != 0 else replied_at
        reply_from: str = "server"
        line: bytes
        self.in_flight -= 1
        if record.is_own or not record.has_reply:
            reply_from = "proxy" if record.replied_at != 0 else "nobody"
        sent_at = min(max(sent_at, record.read_at), replied_at)
        line = line_of(
            now - record.read_at,
            pool,
            self.worker,
            (record.client_address, record.client_id),
            (record.command, record.key, record.keys, record.request_bytes),
            record.servers,
            (record.reply_bytes, reply_from, record.error, record.closed),
            (sent_at - record.read_at, replied_at - sent_at, now - replied_at),
        )
        self.counters[ACCESS_LOG_LINES] += 1
        if self.size + len(line) > LONGEST_WRITE:
            self.flush()
        self.lines.append(line)
        self.size += len(line)
        return self.loop.defer(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def flush(self) -> cython.int:
        lines: list = self.lines
        self.lines = []
        self.size = 0
        if lines:
            try:
                os.write(self.descriptor, b"".join(lines))
            except OSError:
                self.drop(len(lines), "they are not written fast enough")
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_deferred(self) -> cython.int:
        return self.flush()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def drop(self, lines: cython.Py_ssize_t, reason: str) -> cython.int:
        """Count dropped lines, and log that, but not too often."""
        self.counters[ACCESS_LOG_DROPPED] += lines
        self.untold += lines
        if self.loop.real >= self.tell_at:
            self.tell_at = self.loop.real + TELL_INTERVAL
            _logger.warning(
                "dropped lines of the access log: %(lines)d (%(reason)s)", {"lines": self.untold, "reason": reason}
            )
            self.untold = 0
        return 0


@cython.final
@cython.cclass
class AccessLog:
    """The access log of a pool in one worker.

    ``sink``: None for none. ``codec``: that of the pool, None without a sink. ``random``: the state of a generator of
    random numbers, xorshift64*. So neither the position of a request in a pipeline nor a pattern of its client decides
    whether it is in the sample.
    """

    def __init__(self) -> None:
        # Not 0, which the generator would keep for ever. Each pool of each worker has another one.
        self.random = int.from_bytes(os.urandom(8), "little") | 1

    def connect(self, sink: AccessSink | None, codec) -> None:
        """Write the lines of this pool to ``sink`` from now on. ``codec``: that of the pool."""
        self.sink = sink
        self.codec = codec

    def choose(self, n: int, below: int) -> list:
        """For tests: which of the next ``n`` requests are in the sample, as numbers from 0."""
        return [number for number in range(n) if chooses(self, below)]


@cython.cfunc
@cython.exceptval(check=False)
def chooses(log: AccessLog, below: uint64_t) -> cython.bint:
    """Whether the next request is in the sample; ``below``: see ``PoolSettings.logged_below``."""
    log.random ^= log.random >> 12
    log.random ^= log.random << 25
    log.random ^= log.random >> 27
    return (log.random * MULTIPLIER) >> 11 < below
