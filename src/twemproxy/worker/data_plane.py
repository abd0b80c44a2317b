"""All pools of a worker on one event loop; the return of unused memory, and the drain.

Compiled-only; the worker's Python code uses the data plane through this class.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.downstream.admission import Admission
from cython.cimports.twemproxy.downstream.announcement import Announcement
from cython.cimports.twemproxy.downstream.client import ClientConnection
from cython.cimports.twemproxy.downstream.client_states import ABORTED
from cython.cimports.twemproxy.downstream.drain import Drain
from cython.cimports.twemproxy.downstream.handover import HandOver
from cython.cimports.twemproxy.downstream.listener import Listener
from cython.cimports.twemproxy.downstream.placement import Placement
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.net.timers import NEVER, CallbackTimer
from cython.cimports.twemproxy.net.transport import PlainTransport
from cython.cimports.twemproxy.proxy.access_log import AccessSink
from cython.cimports.twemproxy.proxy.memory_limit import MemoryLimit
from cython.cimports.twemproxy.stats.counters import WorkerTables
from cython.cimports.twemproxy.stats.positions import (
    CLIENT_ERR,
    CLIENTS_MOVED,
    CLIENTS_PASSED,
    LOOP_BUSY_US,
    LOOP_LONGEST_US,
    LOOP_TURNED_AT,
    LOOP_TURNS,
    WORKERS,
)
from cython.cimports.twemproxy.upstream.server_pool import ServerPool
from cython.cimports.twemproxy.upstream.verdicts import Verdicts

from twemproxy.downstream.handover import adopt
from twemproxy.log import get_logger

# Microseconds between looks whether a retired pool still has clients.
END_INTERVAL = cython.declare(cython.const[int64_t], 1_000_000)
# The part of the time of a hand-over for which clients may let go before they are told to connect again.
GRACE_SHARE = 0.2
# Microseconds between returns of unused memory to the system.
TRIM_INTERVAL = cython.declare(cython.const[int64_t], 5_000_000)
# Microseconds between two publications of what the event loop has done, and how many of them a longest turn counts for.
BEAT_INTERVAL = cython.declare(cython.const[int64_t], 1_000_000)
BEATS_OF_LONGEST = cython.declare(cython.const[cython.int], 10)
# Size of one read, as a multiple of nutcracker's unit of memory (option -m).
READS_PER_MBUF = 8

_logger = get_logger(__name__)


def log_defect(defect) -> None:
    """Log an unexpected exception with its traceback."""
    _logger.error("error inside the proxy, one connection is closed", exc_info=defect)


@cython.final
@cython.cclass
class DataPlane:
    """The data plane of one worker; ``run`` returns when a drain or a hand-over is complete.

    ``pools``: in the order of the configuration. ``retired``: former pools that still have clients. ``listeners``: the
    listening sockets by address. ``others_of(pool)``: returns a pool in the other workers, see
    ``protocol.other_workers``; None if there are never any. ``on_health_changed``: see ``report_health``; None for
    nobody. ``access_sink``: where the access log goes, None for nowhere.
    """

    def __init__(
        self, tables: WorkerTables, verbosity: int, mbuf_size: int, client_limit: int, max_memory: int
    ) -> None:
        """``tables``: the counters. ``verbosity``: the log level. ``mbuf_size``: the option -m, in bytes. For all pools
        together, 0 for no limit: ``client_limit`` in clients of this worker, ``max_memory`` in bytes of all workers.
        """
        self.loop = EventLoop(log_defect, READS_PER_MBUF * mbuf_size)
        self.loop.verbosity = verbosity
        self.pools = []
        self.retired = []
        self.facts = {}
        self.others_of = None
        self.on_health_changed = None
        self.access_sink = None
        self.listeners = {}
        self.memory = MemoryLimit(self.loop, tables, max_memory)
        self.admission = Admission(client_limit, self.memory)
        self.tables = tables
        self.process_counters = tables.at(0)
        self.placement = Placement(self.loop, tables)
        self.verdicts = Verdicts(self.loop, tables)
        self.loop.at_turn = self.verdicts
        self.trimming = CallbackTimer(self.loop.timers, self.trim)
        self.cutting_off = CallbackTimer(self.loop.timers, self.cut_off_clients)
        self.ending = CallbackTimer(self.loop.timers, self.end_retired)
        self.beating = CallbackTimer(self.loop.timers, self.beat)

    def find_others(self, others_of) -> None:
        """Have new pools ask other workers. ``others_of``: see the class."""
        self.others_of = others_of

    def report_health(self, on_health_changed) -> None:
        """Have ``on_health_changed(pool, server, ejected, why)`` called after each verdict of this worker on a server.

        The first two are names, the last one is for people.
        """
        self.on_health_changed = on_health_changed

    def write_access_log(self, descriptor: int, worker: int) -> None:
        """Write the access log of all pools to this pipe, which does not block. ``worker``: the number of this one."""
        pool: ServerPool
        self.access_sink = AccessSink(self.loop, self.tables, descriptor, worker)
        for pool in self.pools:
            pool.access_log.connect(self.access_sink, pool.codec)

    def new_pool(self, config, codec, slots, resolver, rings):
        """A pool that is not served yet; see ServerPool."""
        pool: ServerPool = ServerPool(config, self.loop, codec, self.tables, slots, resolver, rings)
        pool.find_clients = self.clients_of
        pool.find_facts = self.find_facts
        pool.access_log.connect(self.access_sink, codec)

        def health_changed(server: str, ejected: bool, why: str) -> None:
            if self.on_health_changed is not None:
                self.on_health_changed(pool.config.name, server, ejected, why)

        pool.health.on_changed = health_changed
        if self.others_of is not None:
            pool.meet(self.others_of(pool))
        return pool

    def set_peers(self, workers: dict, former: list, send) -> None:
        """There are these other processes now.

        ``workers``: a CounterTable by the number of each other worker. ``former``: those of other processes, which hand
        their clients over. ``send``: see ``Placement.set_peers``.
        """
        self.tables.others = [*workers.values(), *former]
        self.tables.workers = len(workers) + 1
        self.memory.workers_changed()
        self.placement.set_peers(workers, send)

    def serve(self, pools: list, sockets: dict) -> None:
        """Serve these pools, and no others, from now on.

        Clients of other pools stay connected to them, but there will be no new ones; each of those pools ends when it
        has no clients any more.

        ``sockets``: the descriptors of new listening sockets by their addresses. A socket that is already there stays,
        and is closed when no pool listens on its address.
        """
        pool: ServerPool
        former: ServerPool
        listener: Listener
        for former in self.pools:
            if former not in pools:
                self.retired.append(former)
        for pool in pools:
            if pool not in self.verdicts.pools:
                pool.take_verdicts_over(begins=True)
        self.pools = pools
        listeners = self.listeners
        self.listeners = {}
        for pool in pools:
            address = pool.config.listen.address
            if address in listeners:
                listener = listeners.pop(address)
                listener.pool = pool
            else:
                listener = Listener(sockets[address], pool, self.admission, self.placement)
                if self.accepts:
                    listener.listen()
            self.listeners[address] = listener
        for listener in listeners.values():
            listener.accept_waiting()
            listener.close()
        self.end_retired()

    def end_retired(self) -> None:
        """End the retired pools without clients, except while a former process hands its clients over."""
        client: ClientConnection
        used: set = set(self.retired) if self.admission.awaited > 0 else set()
        for client in self.clients_among(self.retired):
            used.add(client.pool)
        for pool in [pool for pool in self.retired if pool not in used]:
            self.retired.remove(pool)
            pool.end()
        self.verdicts.pools = [*self.pools, *self.retired]
        if self.retired:
            self.ending.arm(self.loop.now + END_INTERVAL)

    def take_accepted(self, slot: int, fd: int) -> bool:
        """Serve a client that another worker has accepted; returns False if there is no pool with this slot.

        When this worker accepts no more clients, the client is served nevertheless.
        """
        listener: Listener
        for listener in self.listeners.values():
            if listener.pool.slot == slot:
                self.process_counters[CLIENTS_PASSED] += 1
                listener.take(fd)
                return True
        return False

    def hand_over(self, give, number: int = 0, timeout: float = 0) -> HandOver:
        """Accept no more clients, and hand those that are connected over to another process.

        The other process does not have the retired pools. Their clients go on in the pool that has taken the place of
        theirs, if it has the database that they use; the others stay.

        ``give``: see ``downstream.handover.HandOver``. ``timeout``: seconds after which ``drain`` closes the clients
        that are still here, 0 if that is not known; those that have not let go after a part of this time are told to
        connect again. ``number``: see ``Codec.moving``. ``run`` returns when no client is left.
        """
        self.close_listeners()
        if self.moving is not None:
            self.moving.stop()
        pool: ServerPool
        leaving: list = list(self.pools)
        for pool in self.retired:
            for successor in self.pools:
                if (successor.config.name, successor.config.redis) == (pool.config.name, pool.config.redis):
                    pool.successor = successor
                    leaving.append(pool)
        self.handing_over = HandOver(self.loop, self.clients_among(leaving), give)
        if timeout > 0:
            delay: float = GRACE_SHARE * timeout
            self.announcement = Announcement(self.loop, self.clients, number, delay, timeout - delay)
        return self.handing_over

    def count_work(self) -> list:
        """(client, requests since the last call) of each client of the served pools that has sent some."""
        client: ClientConnection
        count: cython.uint
        counted: list = []
        for client in self.clients_among(self.pools):
            count = client.requests - client.requests_counted
            client.requests_counted = client.requests
            if count > 0:
                counted.append((client, count))
        return counted

    def move(self, clients: list, give) -> HandOver:
        """Hand some clients over to other workers, and serve the others as before. See ``HandOver``."""
        client: ClientConnection
        free: list = []
        for client in clients:
            if client.handover is None:
                free.append(client)
        self.moving = HandOver(self.loop, free, give)
        return self.moving

    def count_moved(self) -> None:
        """Count a client that was given by ``move``."""
        self.process_counters[CLIENTS_MOVED] += 1

    def announce(self, number: int, seconds: float) -> None:
        """Tell clients that want to know to connect again within ``seconds``. ``number``: see ``Codec.moving``."""
        if self.announcement is not None:
            self.announcement.stop()
        self.announcement = Announcement(self.loop, self.clients, number, 0, seconds)

    def adopt(self, pool: ServerPool, fd: int, state: dict) -> None:
        """Go on with a client that another process has handed over. ``state``: see ``downstream.handover``."""
        client: ClientConnection
        client = ClientConnection(PlainTransport(fd), state["number"], pool, self.admission)
        self.admission.awaited = max(self.admission.awaited - 1, 0)
        adopt(client, state)

    def await_clients(self, number: int) -> None:
        """Another process is about to hand over so many clients, which count for the limit."""
        self.admission.awaited = number

    def accept(self) -> None:
        """Accept clients from now on."""
        listener: Listener
        self.accepts = True
        self.process_counters[WORKERS] = 1
        for listener in self.listeners.values():
            listener.listen()

    def close_listeners(self) -> None:
        """Accept no more clients."""
        listener: Listener
        self.process_counters[WORKERS] = 0
        for listener in self.listeners.values():
            listener.close()
        self.listeners.clear()

    def update(self, updates: list) -> None:
        """Put updates of pools in place, see ``ServerPool.commit``. ``updates``: (pool, its update)."""
        client: ClientConnection
        for pool, update in updates:
            pool.commit(update)
            # Servers that are new here may be in use by other workers already.
            pool.take_verdicts_over()
        for client in self.clients_among([pool for pool, _ in updates]):
            client.apply_settings()

    def find_facts(self) -> dict:
        """What INFO says about the configuration, see ``stats.catalogue.PROCESS_FACTS``."""
        return self.facts

    def limit_clients(self, limit: int) -> None:
        """Set the limit of clients of all pools together, 0 for none; connected ones stay."""
        self.admission.limit = limit

    def timer(self, callback):
        """A new timer of the event loop, a ``net.timers.CallbackTimer``; it calls ``callback()``."""
        return CallbackTimer(self.loop.timers, callback)

    def set_verbosity(self, level: int) -> None:
        """Set the log level."""
        self.loop.verbosity = level

    def quiesce(self, patience: float, on_quiesced) -> None:
        """Serve until all requests in progress have replies, then call ``on_quiesced``.

        ``patience``: seconds of silence of a server, or a client, after which its requests fail, see
        ``downstream.drain``.
        """
        if self.drain_state is None:
            self.drain_state = Drain(
                self.loop, [*self.pools, *self.retired], self.clients, int(patience * 1_000_000), on_quiesced
            )

    def drain(self, timeout: float, patience: float) -> None:
        """Stop accepting, reply to the requests that were read, and end; close remaining clients after ``timeout``
        seconds.

        ``patience``: as in ``quiesce``, which need not have been called. Another call can only shorten the timeout.
        """
        for handover in (self.handing_over, self.moving):
            if handover is not None:
                handover.stop()
        self.quiesce(patience, None)
        if not self.draining:
            self.draining = True
            if self.announcement is not None:
                self.announcement.stop()
            self.close_listeners()
            self.drain_state.close_clients()
        self.cutting_off.arm_by(self.loop.now + int(timeout * 1_000_000))

    def clients(self) -> list:
        """The connected clients."""
        return [channel for channel in self.loop.channels if isinstance(channel, ClientConnection)]

    def clients_of(self, pool: ServerPool) -> list:
        """The connected clients of a pool, without those that are closed at the end of the turn."""
        return self.clients_among([pool])

    def clients_among(self, pools: list) -> list:
        """The same for several pools, in one pass over all clients."""
        client: ClientConnection
        wanted: set = set(pools)
        found: list = []
        for client in self.clients():
            if client.pool in wanted and client.state != ABORTED:
                found.append(client)
        return found

    @cython.cfunc
    @cython.exceptval(check=False)
    def may_end(self) -> cython.bint:
        """Whether ``run`` returns when no client is left."""
        return self.draining or (self.handing_over is not None and not self.handing_over.unsent)

    def run(self) -> None:
        """Serve until a drain or a hand-over is complete."""
        self.loop.longest = 0
        self.beat()
        while not (self.may_end() and self.admission.open == 0):
            self.loop.run_once()
            if self.loop.blocks.allocated > 0 and self.trimming.at == NEVER:
                self.trimming.arm(self.loop.now + TRIM_INTERVAL)
            self.memory.end_turn()
            if self.placement.peers:
                self.placement.look()
        if self.access_sink is not None:
            # The last clients were closed after the actions of their turn.
            self.access_sink.flush()

    def beat(self) -> None:
        """Publish that the event loop turns, and what it has done."""
        counters: cython.pointer[Counter] = self.process_counters
        counters[LOOP_TURNED_AT] = self.loop.real
        counters[LOOP_TURNS] = self.loop.turn
        counters[LOOP_BUSY_US] = self.loop.busy
        counters[LOOP_LONGEST_US] = max(self.loop.longest, self.longest_before)
        self.beats += 1
        if self.beats % BEATS_OF_LONGEST == 0:
            self.longest_before = self.loop.longest
            self.loop.longest = 0
        self.beating.arm(self.loop.now + BEAT_INTERVAL)

    def trim(self) -> None:
        """Return unused memory to the system."""
        # Large blocks are given back over several turns, which trimming would not wait for.
        if self.loop.blocks.dropped == 0:
            self.loop.blocks.trim()

    def cut_off_clients(self) -> None:
        """The time of the drain is over: close the remaining clients."""
        client: ClientConnection
        for client in self.clients():
            client.close(CLIENT_ERR, "the proxy stops")
