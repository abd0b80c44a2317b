"""On which worker a new client is served: the one with the least recent work.

Compiled-only. All workers wait for new clients. One of them accepts each, and serves the client itself, unless another
worker has clearly less to do: then the client's descriptor is passed to that worker, with those of other new clients of
the turn.

The work of a worker is the number of requests that it has taken from clients in about the last second: a sum in which
older requests count less. Each worker publishes this number with its counters, a few times per second while it has
work, and so does each worker with the number of clients that it has accepted.

What a new client will ask for is not known. It counts as much as an average client, in proportion to all clients that
were there recently.
"""

import cython
from cython.cimports.libc.stdint import int64_t
from cython.cimports.posix.unistd import close
from cython.cimports.twemproxy.net.acceptor import Acceptor
from cython.cimports.twemproxy.net.event_loop import Action, EventLoop
from cython.cimports.twemproxy.net.timers import NEVER, CallbackTimer
from cython.cimports.twemproxy.stats.counters import CounterTable, WorkerTables
from cython.cimports.twemproxy.stats.positions import (
    CLIENT_REQUESTS,
    CURR_CONNECTIONS,
    RECENT_CLIENTS,
    RECENT_REQUESTS,
    WORKERS,
)

# Microseconds between two publications.
INTERVAL = cython.declare(cython.const[int64_t], 200_000)
# Of the recent requests and clients, the part that still counts an interval later: exp(-INTERVAL / one second).
DECAY = cython.declare(cython.const[cython.double], 0.8187307530779818)
# A worker passes a new client on if its work is more than LEEWAY times the least, and SLACK new clients more than it.
LEEWAY = cython.declare(cython.const[cython.double], 1.1)
SLACK = cython.declare(cython.const[cython.double], 2)
# Connections are short if SHORT times as many are accepted in a second as there are. To pass one of them on would cost
# more than to serve it; the workers that are less busy accept more of them.
SHORT = cython.declare(cython.const[cython.double], 2)
# The work of an idle client: it decides between workers without work.
IDLE_CLIENT = cython.declare(cython.const[cython.double], 0.001)
# Most clients of one message.
MOST_PASSED = 250


@cython.final
@cython.cclass
class Peer:
    """A worker. ``table``: the counters of its process. ``requests``, ``clients``: its recent ones, as published last.
    ``given``: how many clients it got from this worker since then.
    """

    def __init__(self, number: int, table: CounterTable) -> None:
        self.number = number
        self.table = table


@cython.final
@cython.cclass
class Placement(Action):
    """The placement of new clients by one worker. The deferred action passes clients on.

    ``peers``: the other workers, by their numbers. ``is_ahead``: when ``choose`` was called, another worker had less
    work. ``are_short``: connections are short now. ``accepted``: how many new clients this worker has taken.
    ``passing``: (acceptor, slot of the pool, descriptor) of each client that is passed on at the end of the turn, by
    the number of the worker.
    """

    def __init__(self, loop: EventLoop, tables: WorkerTables) -> None:
        """The only worker; ``set_peers`` adds others. ``on_published()`` is called after each publication."""
        self.loop = loop
        self.tables = tables
        self.own = Peer(0, tables.own)
        self.peers = {}
        self.passing = {}
        self.send = None
        self.on_published = None
        self.timer = CallbackTimer(loop.timers, self.publish)

    def set_peers(self, peers: dict, send) -> None:
        """There are these other workers now.

        ``peers``: a CounterTable by the number of each worker. ``send(worker, slots, descriptors)``: passes clients to
        a worker; returns False if that is not possible now.
        """
        self.peers = {number: Peer(number, table) for number, table in peers.items()}
        self.send = send
        self.publish()

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def look(self) -> cython.int:
        """After each turn: publish soon if there was work."""
        if self.timer.at == NEVER and (
            self.own.table.values[CLIENT_REQUESTS] != self.requests_before or self.accepted != self.accepted_before
        ):
            self.timer.arm(self.loop.now + INTERVAL)
        return 0

    def publish(self) -> None:
        """Publish the work of this worker."""
        counters: cython.pointer[Counter] = self.own.table.at(0)
        requests: Counter = counters[CLIENT_REQUESTS]
        counters[RECENT_REQUESTS] = recent(counters[RECENT_REQUESTS], requests - self.requests_before)
        counters[RECENT_CLIENTS] = recent(counters[RECENT_CLIENTS], self.accepted - self.accepted_before)
        self.accepted_before = self.accepted
        self.requests_before = requests
        self.own.given = 0
        if self.on_published is not None:
            self.on_published()
        if counters[RECENT_REQUESTS] != 0 or counters[RECENT_CLIENTS] != 0:
            self.timer.arm(self.loop.now + INTERVAL)

    # --- a new client ----------------------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def work(self, peer: Peer, per_client: cython.double) -> cython.double:
        """The work of a worker with the clients that it got since it has published its figures."""
        counters: cython.pointer[Counter] = cython.address(peer.table.values[0])
        work: cython.double = cython.cast(cython.double, counters[RECENT_REQUESTS])
        expected: cython.double
        if peer.requests != counters[RECENT_REQUESTS] or peer.clients != counters[RECENT_CLIENTS]:
            peer.requests = counters[RECENT_REQUESTS]
            peer.clients = counters[RECENT_CLIENTS]
            peer.given = 0
        # Workers accept clients themselves, too: those are expected.
        expected = cython.cast(cython.double, counters[RECENT_CLIENTS]) * INTERVAL / 1_000_000
        work += per_client * max(peer.given - expected, 0.0)
        return work + IDLE_CLIENT * cython.cast(cython.double, counters[CURR_CONNECTIONS])

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def work_per_client(self) -> cython.double:
        """The recent requests of an average client, at least 1."""
        recent_clients: cython.double = cython.cast(cython.double, self.tables.sum(RECENT_CLIENTS))
        connections: cython.double = cython.cast(cython.double, self.tables.sum(CURR_CONNECTIONS))
        requests: cython.double = cython.cast(cython.double, self.tables.sum(RECENT_REQUESTS))
        self.are_short = recent_clients > SHORT * connections
        return max(requests / max(recent_clients + connections, 1.0), 1.0)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def choose(self) -> cython.int:
        """The number of the worker that gets a new client; 0 for this one."""
        peer: Peer
        least: Peer = self.own
        work: cython.double
        per_client: cython.double = self.work_per_client()
        own_work: cython.double = self.work(self.own, per_client)
        least_work: cython.double = own_work
        peer = self.least_of(self.peers.values(), per_client)
        if peer is not None:
            work = self.work(peer, per_client)
            if work < least_work:
                least = peer
                least_work = work
        self.is_ahead = least is not self.own
        if self.is_ahead and (self.are_short or own_work <= LEEWAY * least_work + SLACK * per_client):
            least = self.own
        least.given += 1
        return least.number

    def works(self) -> dict:
        """The recent requests of each worker that accepts clients, by its number; 0 for this one."""
        peer: Peer
        works: dict = {0: self.own.table.values[RECENT_REQUESTS]}
        for number, peer in self.peers.items():
            if peer.table.values[WORKERS] != 0:
                works[number] = peer.table.values[RECENT_REQUESTS]
        return works

    def least_busy(self, numbers: tuple) -> int:
        """The number of the worker among these with the least work, which will get an average client; the first one if
        none of them is known.
        """
        least: Peer
        if len(numbers) == 1:
            return numbers[0]
        least = self.least_of(
            [self.peers[number] for number in numbers if number in self.peers], self.work_per_client()
        )
        if least is None:
            return numbers[0]
        least.given += 1
        return least.number

    @cython.cfunc
    def least_of(self, peers, per_client: cython.double) -> Peer:
        """The one of these workers with the least work, of those that accept clients; None if there is none."""
        peer: Peer
        least: Peer = None
        work: cython.double
        least_work: cython.double = 0
        for peer in peers:
            if peer.table.values[WORKERS] == 0:
                continue
            work = self.work(peer, per_client)
            if least is None or work < least_work:
                least = peer
                least_work = work
        return least

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def pass_on(self, acceptor: Acceptor, slot: cython.int, fd: cython.int, number: cython.int) -> cython.int:
        """Pass a new client to another worker at the end of the turn. ``slot``: of its pool."""
        self.passing.setdefault(number, []).append((acceptor, slot, fd))
        return self.loop.defer(self)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_deferred(self) -> cython.int:
        acceptor: Acceptor
        passing: dict = self.passing
        self.passing = {}
        for number, clients in passing.items():
            for start in range(0, len(clients), MOST_PASSED):
                some = clients[start : start + MOST_PASSED]
                fds = [fd for _, _, fd in some]
                if number in self.peers and self.send(number, tuple([slot for _, slot, _ in some]), fds):
                    for fd in fds:
                        close(fd)
                else:
                    for acceptor, _, fd in some:
                        acceptor.take(fd)
        return 0


@cython.cfunc
@cython.exceptval(check=False)
def recent(before: Counter, more: Counter) -> Counter:
    """The sum of what still counts of ``before``, the recent ones an interval ago, and ``more`` since then."""
    return cython.cast(Counter, cython.cast(cython.double, before) * DECAY) + more
