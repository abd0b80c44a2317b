"""All pools of a worker on one event loop, and the rare work between turns: deadlines, memory, the end.

Compiled-only; the worker's Python talks to the data plane through this class.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.libc.epoll import EPOLLIN
from cython.cimports.twemproxy.net.event_loop import NEVER, EventLoop
from cython.cimports.twemproxy.proxy.client import ClientConnection
from cython.cimports.twemproxy.proxy.limits import ClientCount
from cython.cimports.twemproxy.proxy.listener import Listener
from cython.cimports.twemproxy.proxy.memory_limit import MemoryLimit
from cython.cimports.twemproxy.proxy.server_pool import ServerPool
from cython.cimports.twemproxy.stats.counters import CounterTable

from twemproxy.log import get_logger

# Unused memory goes back to the system this often while there is any, in milliseconds.
TRIM_INTERVAL = cython.declare(cython.const[int64_t], 5000)
# What one read should take is this many times nutcracker's unit of memory, the option -m.
READS_PER_MBUF = 8

_logger = get_logger(__name__)


def log_defect(defect) -> None:
    """An exception that should not have happened, with its traceback."""
    _logger.error("error inside the proxy, one connection is closed", exc_info=defect)


@cython.final
@cython.cclass
class Reactor:
    """Made of a configuration; ``run`` works until a drain is over."""

    def __init__(self, verbosity: int, mbuf_size: int, client_limit: int, max_memory: int) -> None:
        """``verbosity``: log level; ``mbuf_size``: the option -m; of all pools together, 0 for no limit:
        ``client_limit`` and ``max_memory``, in bytes.
        """
        self.loop = EventLoop(log_defect, READS_PER_MBUF * mbuf_size)
        self.loop.verbosity = verbosity
        self.pools = []
        self.listeners = []
        self.memory = MemoryLimit(self.loop, max_memory)
        self.everyone = ClientCount(client_limit, self.memory)
        self.trim_at = NEVER
        self.cut_off_at = NEVER
        self.idle_look_at = NEVER
        self.smallest_idle_limit = NEVER

    def add_pool(self, config, codec, table: CounterTable, position: int, server_positions: list, resolver) -> None:
        """Add a pool; see ServerPool."""
        pool: ServerPool = ServerPool(config, self.loop, codec, table, position, server_positions, resolver)
        pool.find_clients = self.clients_of
        self.process_counters = pool.process_counters
        self.pools.append(pool)
        if pool.idle_limit > 0:
            self.smallest_idle_limit = min(self.smallest_idle_limit, pool.idle_limit)
            self.idle_look_at = self.loop.now
            self.loop.wake_at = self.loop.now

    def preconnect(self) -> None:
        """Open connections to the servers of the pools that want it."""
        pool: ServerPool
        for pool in self.pools:
            if pool.config.preconnect:
                pool.preconnect()

    def listen(self, sockets: list) -> None:
        """Accept clients on these descriptors, one per pool in pool order."""
        listener: Listener
        for fd, pool in zip(sockets, self.pools, strict=True):
            listener = Listener(fd, pool, self.everyone)
            self.listeners.append(listener)
            self.loop.watch(listener, EPOLLIN)

    def set_verbosity(self, level: int) -> None:
        """Log at this level from now on."""
        self.loop.verbosity = level

    def drain(self, timeout: float) -> None:
        """Stop accepting, answer what was sent so far, and end; after ``timeout`` seconds whatever is left."""
        listener: Listener
        if self.draining:
            self.cut_off_at = min(self.cut_off_at, self.loop.now + int(timeout * 1000))
        else:
            self.draining = True
            self.cut_off_at = self.loop.now + int(timeout * 1000)
            for listener in self.listeners:
                listener.close()
            self.listeners.clear()
            for client in self.clients():
                client.drain()
        self.loop.wake_at = min(self.loop.wake_at, self.cut_off_at)

    def clients(self) -> list:
        """The clients connected now."""
        return [channel for channel in self.loop.channels if isinstance(channel, ClientConnection)]

    def clients_of(self, pool: ServerPool) -> list:
        """The clients of a pool connected now."""
        client: ClientConnection
        found: list = []
        for client in self.clients():
            if client.pool is pool:
                found.append(client)
        return found

    def run(self) -> None:
        """Serve until a drain is over."""
        while not (self.draining and self.everyone.open == 0):
            self.loop.run_once()
            if self.trim_at == NEVER and self.loop.blocks.allocated > 0:
                self.trim_at = self.loop.now + TRIM_INTERVAL
                self.loop.wake_at = min(self.loop.wake_at, self.trim_at)
            if self.loop.blocks.allocated > self.memory.limit or self.loop.now >= self.memory.look_at:
                self.memory.look()
            if self.process_counters is not cython.NULL:
                self.memory.count(self.process_counters)
            if self.loop.now >= self.loop.wake_at:
                self.sweep()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def sweep(self) -> cython.int:
        """Do what is due, and set when to look again."""
        pool: ServerPool
        next_look: int64_t = NEVER
        client: ClientConnection
        listener: Listener
        # What is done here may call for an earlier look.
        self.loop.wake_at = NEVER
        for pool in self.pools:
            next_look = min(next_look, pool.expire())
        for listener in self.listeners:
            next_look = min(next_look, listener.expire())
        if self.idle_look_at <= self.loop.now:
            self.idle_look_at = self.loop.now + self.smallest_idle_limit
            for client in self.clients():
                self.idle_look_at = min(self.idle_look_at, client.expire())
        if self.trim_at <= self.loop.now:
            self.loop.blocks.trim()
            self.trim_at = NEVER
        if self.cut_off_at <= self.loop.now:
            for client in self.clients():
                client.cut_off()
            self.cut_off_at = NEVER
        self.loop.wake_at = min(
            self.loop.wake_at, next_look, self.trim_at, self.cut_off_at, self.idle_look_at, self.memory.look_at
        )
        return 0
