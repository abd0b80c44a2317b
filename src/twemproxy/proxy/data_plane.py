"""All pools of a worker on one event loop, and the work between turns: deadlines, memory, drain.

Compiled-only; the worker's Python code uses the data plane through this class.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.libc.epoll import EPOLLIN
from cython.cimports.twemproxy.net.event_loop import NEVER, EventLoop
from cython.cimports.twemproxy.proxy.admission import Admission
from cython.cimports.twemproxy.proxy.client import ClientConnection
from cython.cimports.twemproxy.proxy.drain import Drain
from cython.cimports.twemproxy.proxy.listener import Listener
from cython.cimports.twemproxy.proxy.memory_limit import MemoryLimit
from cython.cimports.twemproxy.proxy.server_pool import ServerPool
from cython.cimports.twemproxy.stats.counters import CounterTable

from twemproxy.log import get_logger

# Milliseconds between returns of unused memory to the system.
TRIM_INTERVAL = cython.declare(cython.const[int64_t], 5000)
# Size of one read, as a multiple of nutcracker's unit of memory (option -m).
READS_PER_MBUF = 8

_logger = get_logger(__name__)


def log_defect(defect) -> None:
    """Log an unexpected exception with its traceback."""
    _logger.error("error inside the proxy, one connection is closed", exc_info=defect)


@cython.final
@cython.cclass
class DataPlane:
    """The data plane of one worker; ``run`` returns when a drain is complete."""

    def __init__(self, verbosity: int, mbuf_size: int, client_limit: int, max_memory: int) -> None:
        """``verbosity``: the log level. ``mbuf_size``: the option -m, in bytes. For all pools together, 0 for no limit:
        ``client_limit`` in clients, ``max_memory`` in bytes.
        """
        self.loop = EventLoop(log_defect, READS_PER_MBUF * mbuf_size)
        self.loop.verbosity = verbosity
        self.pools = []
        self.listeners = []
        self.memory = MemoryLimit(self.loop, max_memory)
        self.admission = Admission(client_limit, self.memory)
        self.trim_at = NEVER
        self.cut_off_at = NEVER
        self.idle_look_at = NEVER

    def add_pool(self, config, codec, table: CounterTable, slots, resolver) -> None:
        """Add a pool; see ServerPool."""
        pool: ServerPool = ServerPool(config, self.loop, codec, table, slots, resolver)
        pool.find_clients = self.clients_of
        self.process_counters = pool.process_counters
        self.pools.append(pool)
        self.look_at_idle_clients()

    def replace_settings(self, index: int, config) -> None:
        """Replace the settings of a pool; see ``ServerPool.replace_settings``. ``index``: in the order of ``pools``."""
        pool: ServerPool = self.pools[index]
        pool.replace_settings(config)
        self.look_at_idle_clients()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def look_at_idle_clients(self) -> cython.int:
        """Close idle clients in the next sweep, which sets the time of the one after it."""
        self.idle_look_at = self.loop.wake_at = self.loop.now
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def smallest_idle_limit(self) -> int64_t:
        """The smallest limit of all pools that have one, in milliseconds, or NEVER."""
        pool: ServerPool
        smallest: int64_t = NEVER
        for pool in self.pools:
            if pool.settings.idle_limit > 0:
                smallest = min(smallest, pool.settings.idle_limit)
        return smallest

    def preconnect(self) -> None:
        """Open connections to the servers of pools with ``preconnect``."""
        pool: ServerPool
        for pool in self.pools:
            if pool.config.preconnect:
                pool.preconnect()

    def listen(self, sockets: list) -> None:
        """Accept clients on these descriptors, one per pool, in pool order."""
        listener: Listener
        for fd, pool in zip(sockets, self.pools, strict=True):
            listener = Listener(fd, pool, self.admission)
            self.listeners.append(listener)
            self.loop.watch(listener, EPOLLIN)

    def set_verbosity(self, level: int) -> None:
        """Set the log level."""
        self.loop.verbosity = level

    def settle(self, patience: float, on_settled) -> None:
        """Serve until all requests in progress have replies, then call ``on_settled``.

        ``patience``: seconds of silence of a server, or a client, after which its requests fail; see ``proxy.drain``.
        """
        if self.drain_state is None:
            self.on_settled = on_settled
            self.drain_state = Drain(self.loop, self.pools, self.clients(), int(patience * 1000))

    def drain(self, timeout: float, patience: float) -> None:
        """Stop accepting, reply to the requests that were read, and end; close remaining clients after ``timeout``
        seconds.

        ``patience``: as in ``settle``, which need not have been called. Another call can only shorten the timeout.
        """
        listener: Listener
        cut_off_at: int64_t = self.loop.now + int(timeout * 1000)
        self.settle(patience, None)
        if self.draining:
            self.cut_off_at = min(self.cut_off_at, cut_off_at)
        else:
            self.draining = True
            self.cut_off_at = cut_off_at
            for listener in self.listeners:
                listener.close()
            self.listeners.clear()
            self.drain_state.close_clients(self.clients())
        self.loop.wake_at = min(self.loop.wake_at, self.cut_off_at)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def look_at_drain(self) -> cython.int:
        """Check the progress of settling or draining."""
        drain: Drain = self.drain_state
        if self.loop.now >= drain.look_at:
            drain.look(self.clients() if self.draining else [])
        if self.on_settled is not None and drain.is_settled():
            on_settled, self.on_settled = self.on_settled, None
            on_settled()
        return 0

    def clients(self) -> list:
        """The connected clients."""
        return [channel for channel in self.loop.channels if isinstance(channel, ClientConnection)]

    def clients_of(self, pool: ServerPool) -> list:
        """The connected clients of a pool."""
        client: ClientConnection
        found: list = []
        for client in self.clients():
            if client.pool is pool:
                found.append(client)
        return found

    def run(self) -> None:
        """Serve until a drain is complete."""
        while not (self.draining and self.admission.open == 0):
            self.loop.run_once()
            if self.trim_at == NEVER and self.loop.blocks.allocated > 0:
                self.trim_at = self.loop.now + TRIM_INTERVAL
                self.loop.wake_at = min(self.loop.wake_at, self.trim_at)
            if self.loop.blocks.allocated > self.memory.limit or self.loop.now >= self.memory.look_at:
                self.memory.look()
            if self.process_counters is not cython.NULL:
                self.memory.count(self.process_counters)
            if self.drain_state is not None:
                self.look_at_drain()
            if self.loop.now >= self.loop.wake_at:
                self.sweep()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def sweep(self) -> cython.int:
        """Run what is due, and set the time of the next sweep."""
        pool: ServerPool
        next_look: int64_t = NEVER
        client: ClientConnection
        listener: Listener
        # The work below may set an earlier time.
        self.loop.wake_at = NEVER
        for pool in self.pools:
            next_look = min(next_look, pool.expire())
        for listener in self.listeners:
            next_look = min(next_look, listener.expire())
        if self.idle_look_at <= self.loop.now:
            self.idle_look_at = self.smallest_idle_limit()
            if self.idle_look_at != NEVER:
                self.idle_look_at += self.loop.now
                for client in self.clients():
                    self.idle_look_at = min(self.idle_look_at, client.expire())
        for client in list(self.admission.lingering):
            if client.lingers_until <= self.loop.now:
                client.cut_off("it did not close")
            else:
                next_look = min(next_look, client.lingers_until)
        if self.trim_at <= self.loop.now:
            # Large blocks are given back over several turns, which trimming would not wait for.
            if self.loop.blocks.dropped == 0:
                self.loop.blocks.trim()
            self.trim_at = NEVER
        if self.cut_off_at <= self.loop.now:
            for client in self.clients():
                client.cut_off()
            self.cut_off_at = NEVER
        if self.drain_state is not None:
            next_look = min(next_look, self.drain_state.look_at)
        self.loop.wake_at = min(
            self.loop.wake_at, next_look, self.trim_at, self.cut_off_at, self.idle_look_at, self.memory.look_at
        )
        return 0
