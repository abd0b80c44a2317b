"""A server pool: its servers with their connections, its codec and its ring.

Compiled-only.
"""

import os
import time

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import int64_t
from cython.cimports.libc.string import memcpy
from cython.cimports.twemproxy.hashing.ring import RingBuilder
from cython.cimports.twemproxy.net.block import Block, block_bytes
from cython.cimports.twemproxy.net.event_loop import EventLoop
from cython.cimports.twemproxy.net.timers import CallbackTimer
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import Cursor, Item, Request
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool, PoolSettings
from cython.cimports.twemproxy.stats.counters import Counter, WorkerTables, add_shared, replace_shared, shared_value
from cython.cimports.twemproxy.stats.positions import (
    CLIENTS_ACCEPTED,
    HEALTH_CHANGES,
    HEALTH_CHECKS,
    MEMORY_SUBSCRIPTIONS,
    PRIVATE_CONNECTIONS,
    SUBSCRIPTIONS_MOVED,
    VERDICTS,
)
from cython.cimports.twemproxy.upstream.fenced import FencedConnection
from cython.cimports.twemproxy.upstream.health import Health
from cython.cimports.twemproxy.upstream.internal_request import InternalRequest
from cython.cimports.twemproxy.upstream.pipeline import Pipeline
from cython.cimports.twemproxy.upstream.roles import PRIVATE, PROBE, SHARED, SUBSCRIBER, Role
from cython.cimports.twemproxy.upstream.route_table import RouteTable
from cython.cimports.twemproxy.upstream.server import Server
from cython.cimports.twemproxy.upstream.server_connection import ServerConnection

from twemproxy import __version__
from twemproxy.protocol.other_workers import NO_OTHER_WORKERS
from twemproxy.proxy.pool_log import PoolLog
from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS
from twemproxy.upstream.address_refresh import AddressRefresh
from twemproxy.upstream.endpoint import Endpoint, error_text
from twemproxy.upstream.health_checks import HealthChecks
from twemproxy.upstream.identity import run_id
from twemproxy.upstream.private_connections import PrivateConnections
from twemproxy.upstream.profiles import Profiles
from twemproxy.upstream.pubsub import Subscriptions
from twemproxy.upstream.server_poll import ServerPoll

NOTICE = cython.declare(cython.const[cython.int], 5)
# Microseconds of silence after which a server may be busy with a script.
BUSY_AFTER = cython.declare(cython.const[int64_t], 100_000)
# Directives that a running pool keeps, because what its clients have said depends on them. With other values, another
# pool takes its place.
FIXED = ("redis", "redis_db", "databases")


def routing(config) -> tuple:
    """What decides on which server of a pool a key is; ``config``: a PoolConfig."""
    servers = [(each.name, each.weight) for each in config.servers]
    return config.hash, config.hash_tag, config.distribution, servers


def ring_builder(config) -> RingBuilder:
    """A builder of the rings of a pool; ``config``: a PoolConfig."""
    return RingBuilder(
        config.distribution,
        config.hash,
        config.hash_tag.encode(),
        [each.name.encode() for each in config.servers],
        [each.weight for each in config.servers],
        int(time.time()),
    )


def ignore_verdict(server) -> None:
    """A server fails before the pool has it."""


class PoolUpdate:
    """Other settings of a pool, prepared: nothing of the pool has changed yet.

    ``added``: the new servers by name. ``rings``: the builder of other rings, None if no key moves.
    """

    __slots__ = ("added", "rings", "settings")

    def __init__(self, settings: PoolSettings, added: dict, rings: RingBuilder | None) -> None:
        self.settings = settings
        self.added = added
        self.rings = rings


@cython.cfunc
@cython.exceptval(check=False)
def is_silent(connection: ServerConnection) -> cython.bint:
    """Whether a connection has requests and has been silent for BUSY_AFTER."""
    requests: Pipeline = connection.requests
    return requests.head != requests.tail and connection.heard_at + BUSY_AFTER <= connection.loop.now


@cython.no_gc_clear
@cython.final
@cython.cclass
class ServerPool(ConfiguredPool):
    """``refused``: the reply when no server is live. ``find_clients(pool)``: returns the connected clients;
    ``find_facts()``: returns what INFO says about the configuration; the data plane sets both. ``unshared``: the
    connections that clients do not share. ``removed``: former servers that still have connections.

    ``slot``: where its counters are in ``tables``. ``successor``: the pool that has taken the place of this retired
    one, for a hand-over; otherwise None. ``others``: the pool in other workers, see ``protocol.other_workers``.

    ``request``, ``item``: reused for each request of the pool. ``cursor``: the cursor of clients without an incomplete
    request.
    """

    def __init__(
        self, config, loop: EventLoop, codec: Codec, tables: WorkerTables, slots, resolver, rings: RingBuilder
    ) -> None:
        """``config``: a PoolConfig. ``slots``: a ``ipc.messages.PoolSlots``, its counters in ``tables``.
        ``resolver``: see ``upstream.addresses.Resolver``. ``rings``: see ``ring_builder``.
        """
        ConfiguredPool.__init__(self, config)
        self.loop = loop
        self.resolver = resolver
        self.codec = codec
        self.request = Request()
        self.cursor = Cursor()
        self.item = Item()
        self.log = PoolLog(config.name, config.redis)
        self.slow_log.name_of = codec.command_name
        self.started = time.time()
        self.refused = codec.error(error_text(111))
        # The pointers below are valid as long as the table exists.
        self.tables = tables
        self.slot = slots.pool
        self.process_counters = tables.at(0)
        self.counters = tables.at(slots.pool)
        self.clients_accepted = tables.shared_at(slots.pool + CLIENTS_ACCEPTED)
        servers = [
            self.new_server(each, slot, config.server_connections)
            for each, slot in zip(config.servers, slots.servers, strict=True)
        ]
        self.health = Health(self, loop, rings, tuple(servers), self.log)
        self.health.pool_counters = self.counters
        self.health.changes = tables.shared_at(HEALTH_CHANGES)
        self.routes = self.health.routes
        self.others = NO_OTHER_WORKERS
        self.unshared = set()
        self.removed = []
        self.private = PrivateConnections(self)
        self.profiles = Profiles(self)
        self.subscriptions = Subscriptions(self)
        self.poll = ServerPoll(self, codec.says_error)
        self.health_checks = HealthChecks(self)
        self.refreshing = AddressRefresh(self)
        self.health.on_ejected = self.ejected
        self.health.on_ejected_elsewhere = self.ejected_elsewhere
        self.health.on_reinstated = self.health_checks.reinstated
        self.health.on_routes = self.replace_routes

    @property
    def servers(self):
        """The servers, in the order of the configuration."""
        return self.routes.servers

    def replace_routes(self, routes: RouteTable) -> None:
        """Replace the route table: keys may have moved to other servers."""
        self.routes = routes
        self.private.check_waits()
        self.subscriptions.follow_routes()

    def new_server(self, config, slot: int, connections: int) -> Server:
        """A new server of the pool.

        ``config``: a ServerConfig. ``slot``: where its counters are in the table. ``connections``: their number.
        """
        server: Server = Server(self, config.name, Endpoint(self, config, self.codec, self.resolver))
        server.counters = self.tables.at(slot)
        # What was counted before is no failure of now.
        server.find_kind_of_failure()
        server.tables = self.tables
        server.slot = slot
        server.make_room = self.make_room
        server.verdicts = self.tables.shared_at(slot + VERDICTS)
        server.health_checks = self.tables.shared_at(slot + HEALTH_CHECKS)
        # The server is live, until the pool takes the verdicts over.
        server.known_verdicts = shared_value(server.verdicts) // 2 * 2
        server.loop = self.loop
        server.on_verdict = ignore_verdict
        self.make_connections(server, 0, connections)
        return server

    def replace_settings(self, config, slots) -> None:
        """Replace the settings of the pool, its servers included; requests in progress go on.

        A server with the name of a present one is this server, with another weight or address. One whose name is gone
        gets no more requests: its connections end when it has replied to those that it has.

        ``slots``: as for a new pool. Raises ValueError if a directive of FIXED has another value.
        """
        self.commit(self.prepare(config, slots))

    def prepare(self, config, slots) -> PoolUpdate:
        """Prepare to replace the settings, as ``replace_settings`` does. There is one update at a time."""
        before = self.config
        added: dict = {}
        rings: RingBuilder = None
        settings: PoolSettings = PoolSettings(config)
        for name in FIXED:
            if getattr(config, name) != getattr(before, name):
                raise ValueError(f"'{name}' of a running pool cannot be changed")
        names = {each.name for each in before.servers}
        for each, slot in zip(config.servers, slots.servers, strict=True):
            if each.name not in names:
                added[each.name] = self.new_server(each, slot, config.server_connections)
        if routing(config) != routing(before):
            rings = ring_builder(config)
        return PoolUpdate(settings, added, rings)

    def abandon(self, update: PoolUpdate) -> None:
        """Drop an update that was prepared."""
        for server in update.added.values():
            for connection in server.shared:
                connection.abandon()

    def commit(self, update: PoolUpdate) -> None:
        """Put an update in place, between two events of the loop."""
        server: Server
        before = self.config
        config = update.settings.config
        rings: RingBuilder = update.rings
        added: dict = update.added
        self.codec.permit(config.allow_commands, config.deny_commands)
        self.settings = update.settings
        self.log.name = config.name
        if config.servers != before.servers or rings is not None:
            self.replace_servers(added, rings)
        for server in self.servers:
            if len(server.connections) != config.server_connections:
                self.replace_connections(server)
        for server in self.all_servers():
            for connection in server.shared:
                connection.apply_settings()
        for connection in self.unshared:
            connection.apply_settings()
        self.health.apply_settings()
        self.health_checks.apply_settings()
        self.refreshing.apply_settings()
        self.subscriptions.apply_settings()
        self.health_checks.reconcile()
        self.refreshing.reconcile()

    def replace_servers(self, added: dict, rings: RingBuilder | None) -> None:
        """Give the pool the servers of its configuration. ``added``: the new ones by name. ``rings``: other rings, None
        if no key moves. See ``replace_settings``.

        The new route table follows with ``Health.apply_settings``.
        """
        server: Server
        former: dict = {server.name: server for server in self.routes.servers}
        servers: list = []
        moved: list = []
        for each in self.config.servers:
            server = added[each.name] if each.name in added else former.pop(each.name)
            if server.endpoint.reconfigure(each):
                moved.append(server)
            servers.append(server)
        if rings is not None:
            self.health.replace_servers(tuple(servers), rings)
            self.routes = self.health.routes
        self.removed = [server for server in [*self.removed, *former.values()] if server.in_use()]
        for server in moved:
            server.failures = 0
            self.health_checks.moved(server)
        if added or moved:
            self.profiles.forget()
        if self.config.preconnect:
            for server in added.values():
                cython.cast(ServerConnection, server.connections[0]).preconnect()
        self.leave_addresses([*former.values(), *moved])

    def replace_connections(self, server: Server) -> None:
        """Give a server ``server_connections`` shared connections instead of its present ones.

        The former ones end when they have the replies to their requests. Until then the new ones send nothing, so the
        server gets the requests of a client in their order.
        """
        connection: ServerConnection
        former: list = server.retire_connections()
        self.make_connections(server, 0, self.config.server_connections)
        for connection in former:
            connection.leave_address()

    # --- other workers ---------------------------------------------------------------------------------------

    def meet(self, others) -> None:
        """Ask and tell ``others`` from now on, see ``protocol.other_workers``."""
        self.others = others
        self.subscriptions.meet(others)
        self.codec.meet(others)

    def others_changed(self, is_running) -> None:
        """There are other processes now. ``is_running(process)``: whether a process with this id has not ended."""
        self.subscriptions.audiences.keep(is_running)
        self.subscriptions.tell_audiences()

    def hear_audiences(self, process: int, topics, anew: bool) -> None:
        """See ``upstream.audiences.Audiences.hear``."""
        self.subscriptions.audiences.hear(process, topics, anew)

    @cython.cfunc
    @cython.exceptval(check=False)
    def number_client(self) -> cython.uint:
        """The number of a new client: larger than those of earlier clients of the pool, in all workers."""
        return cython.cast(cython.uint, add_shared(self.clients_accepted, 1))

    def has_database(self, database: int) -> bool:
        """Whether clients can use this database."""
        if self.config.databases == 1:
            return database == self.config.redis_db
        return 0 <= database < self.config.databases

    def end(self) -> None:
        """The pool has no clients and gets no more: end its connections when they have replies to their requests."""
        self.health_checks.stop()
        self.refreshing.stop()
        self.health.remove_servers()
        self.leave_addresses(self.all_servers())

    def addresses_changed(self, server: Server) -> None:
        """The name of a server has other addresses. Whoever uses a connection compares the routes, so they are made
        anew.
        """
        self.leave_addresses([server])
        self.health.apply_settings()

    def all_servers(self) -> list:
        """The servers, and those that are removed and still have connections."""
        return [*self.routes.servers, *self.removed]

    def leave_addresses(self, servers: list) -> None:
        """These servers have other addresses, or are removed: connections to where they were end or move."""
        server: Server
        connection: ServerConnection
        for server in servers:
            for connection in list(server.shared):
                connection.leave_address()
        self.private.close_stale()
        self.subscriptions.leave_stale()

    def new_connection(self, server: Server, profile: int, role: Role):
        """A new connection to the server, still closed."""
        connection: ServerConnection
        if role == SHARED and self.codec.is_tainted(profile):
            connection = FencedConnection(self, self.loop, self.codec, server, profile, role)
        else:
            connection = ServerConnection(self, self.loop, self.codec, server, profile, role)
        connection.process_counters = self.process_counters
        return connection

    def make_connections(self, server: Server, profile: int, n: int) -> list:
        """Make ``n`` shared connections of a profile to a server, still closed."""
        connection: ServerConnection
        connections = []
        former = server.busy_retired(profile)
        for _ in range(n):
            connection = self.new_connection(server, profile, SHARED)
            connection.follow(former)
            connections.append(connection)
        server.add_connections(profile, connections)
        return connections

    @cython.cfunc
    def connection(self, server: Server, client: cython.uint, profile: cython.int) -> ServerConnection:
        """The connection to a server for a client: always the same, so that a client reads its own writes."""
        connections: list = server.connections
        if profile != 0:
            connections = self.connections_of(server, profile)
        if len(connections) == 1:
            return cython.cast(ServerConnection, connections[0])
        return cython.cast(ServerConnection, connections[client % len(connections)])

    @cython.ccall
    def connections_of(self, server: Server, profile: cython.int) -> list:
        """The connections of a profile other than 0 to a server, made with the first call."""
        connections: list = server.connections_of(profile)
        if connections is None:
            connections = self.make_connections(server, profile, len(server.connections))
            self.profiles.adopt(server, profile, connections)
        return connections

    # --- connections that clients do not share -----------------------------------------------------------------

    def open_private(self, server: Server, profile: int):
        """A new connection for one client at a time; its first request opens it."""
        return self.open_unshared(server, profile, PRIVATE)

    def make_room(self, server: Server, profile: int, private: bool) -> bool:
        """See ``Server``."""
        return self.private.close_one(server) or (not private and self.profiles.close_one(server, profile))

    def time_to_keep(self, server: Server, usual: int) -> int:
        """See ``Server``."""
        return server.time_to_keep(usual)

    def count_private(self, change: cython.longlong) -> int:
        """Count ``change`` more private connections that clients have; returns how many there are in all workers."""
        self.counters[PRIVATE_CONNECTIONS] += cython.cast(Counter, change)
        return self.tables.sum(self.slot + PRIVATE_CONNECTIONS)

    def open_subscriber(self, server: Server):
        """A new connection for subscriptions; its first request opens it."""
        return self.open_unshared(server, 0, SUBSCRIBER)

    def open_probe(self, server: Server, timeout: int):
        """A new connection for a health check that may take ``timeout`` microseconds; its request opens it."""
        connection: ServerConnection = self.open_unshared(server, 0, PROBE)
        connection.own_timeout = connection.own_open_timeout = timeout
        return connection

    def open_beside(self, connection, timeout: int):
        """A new connection to where another one leads, even if the server has left that address; as ``open_probe``."""
        other: ServerConnection = connection
        beside: ServerConnection = self.open_probe(other.server, timeout)
        beside.only_candidate = other.candidate
        return beside

    @cython.cfunc
    def open_unshared(self, server: Server, profile: cython.int, role: Role) -> ServerConnection:
        connection: ServerConnection = self.new_connection(server, profile, role)
        self.unshared.add(connection)
        return connection

    def drop(self, connection) -> None:
        """Remove a connection that is not shared; it is closed."""
        self.unshared.discard(connection)

    def count_subscriptions(self, change: cython.Py_ssize_t) -> None:
        """Count ``change`` more bytes for subscriptions, fewer if negative."""
        self.loop.blocks.subscription_bytes += change
        self.process_counters[MEMORY_SUBSCRIPTIONS] = self.loop.blocks.subscription_bytes

    def count_moved_subscriptions(self, count: int) -> None:
        """Count topics that have moved to another server or address."""
        self.counters[SUBSCRIPTIONS_MOVED] += count

    def tell_missed_messages(self, server: str, topics: int, clients: int) -> None:
        """Log that subscribed clients may have missed messages, see ``PoolLog``."""
        if self.loop.verbosity >= NOTICE:
            self.log.messages_missed(server, topics, clients)

    def may_subscribe(self, held: cython.Py_ssize_t, more: cython.Py_ssize_t) -> bool:
        """Whether a client with ``held`` bytes may have ``more`` for subscriptions.

        All clients of all workers may have ``BlockPool.most_subscription_bytes``, and those of each worker its equal
        share of that. One client may have half of it.
        """
        most: cython.Py_ssize_t = self.loop.blocks.most_subscription_bytes
        after: cython.Py_ssize_t = self.loop.blocks.subscription_bytes + more
        if held + more > most // 2:
            return False
        return after <= most // self.tables.workers or (
            after <= most and after <= most - self.tables.sum_of_others(MEMORY_SUBSCRIPTIONS)
        )

    def ask(self, request: bytes, done) -> None:
        """Send a request of the proxy's own to any server; ``done``: see InternalRequest."""
        self.connection(self.routes.any_server(), 0, 0).ask(request, done)

    def ask_server(self, server: Server, request: bytes, done, kind: int) -> None:
        """As ``ask``, to one server; ``kind``: ``Request.expected`` for the reply."""
        self.connection(server, 0, 0).ask(request, done, kind)

    def may_be_busy(self) -> bool:
        """Whether the only server may be busy with a script: a connection for scripts has waited for a reply for
        BUSY_AFTER.

        False in a pool of several servers.
        """
        connection: ServerConnection
        found: cython.bint = False
        if self.routes.n_servers > 1:
            return False
        for connection in (*cython.cast(Server, self.routes.servers[0]).shared, *self.unshared):
            found = found or (connection.tainted and is_silent(connection))
        return found

    def send_framed(self, server: Server, request: Request, data: bytes, done) -> None:
        """Send the request with the bytes ``data``, which may have been framed for any pool of the same protocol.

        ``done``: see InternalRequest.
        """
        length: cython.Py_ssize_t = PyBytes_GET_SIZE(data)
        block: cython.pointer[Block] = self.loop.blocks.take(length)
        memcpy(block_bytes(block), PyBytes_AS_STRING(data), length)
        try:
            self.connection(server, 0, 0).send_request(
                InternalRequest(done), 0, request, request.expected, block, 0, length
            )
        finally:
            self.loop.blocks.release(block)

    def connects(self) -> int:
        """How many connections to servers have been opened."""
        return sum(each.endpoint.connects for each in self.routes.servers)

    def is_open(self) -> bool:
        """See ``RouteTable``."""
        return self.routes.is_open

    def any_server(self) -> Server:
        """See ``RouteTable``."""
        return self.routes.any_server()

    def server_of(self, key: bytes) -> Server:
        """The server that has this key."""
        return self.routes.server_of_all([key])

    def server_of_all(self, keys: list) -> Server | None:
        """See ``RouteTable``."""
        return self.routes.server_of_all(keys)

    def live_servers(self) -> tuple:
        """The live servers; all servers if none is live."""
        return self.routes.live or self.routes.servers

    def is_random(self) -> bool:
        """Whether the distribution is ``random``: a key has no server of its own."""
        return self.routes.ring.is_random

    def has_keys_as_in(self, routes: RouteTable) -> bool:
        """Whether each key has the server that it had in former ``routes``."""
        return routes.ring is self.routes.ring and routes.servers == self.routes.servers

    def tell_guesses(self, address: str, count: int) -> None:
        """Log that a client is closed after ``count`` wrong passwords."""
        self.log.client_guesses(address, count, self.loop.now)

    def now(self) -> int:
        """The time of the event loop, in microseconds."""
        return self.loop.now

    def timer(self, callback):
        """A new timer of the event loop, a ``net.timers.CallbackTimer``; it calls ``callback()``."""
        return CallbackTimer(self.loop.timers, callback)

    def turn(self) -> int:
        """The number of the event loop's turn."""
        return self.loop.turn

    def ejected(self, server: Server) -> int:
        """This worker has ejected a server; returns the microseconds until its next health check."""
        self.flush_shared(server)
        return self.health_checks.ejected(server)

    def ejected_elsewhere(self, server: Server, begins: bool) -> None:
        """Another worker has ejected a server. ``begins``: before the pool has begun to serve clients."""
        self.flush_shared(server)
        self.health_checks.ejected_elsewhere(server, begins)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def flush_shared(self, server: Server) -> cython.int:
        """The proxy may now have to reply to the requests on the shared connections."""
        connection: ServerConnection
        for connection in list(server.shared):
            self.loop.want_flush(connection)
        return 0

    def take_verdicts_over(self, begins: bool = False) -> None:
        """Take over what other workers have found out about servers. ``begins``: the pool begins to serve clients."""
        self.health.take_over(begins)

    def checks_of(self, server: Server) -> int:
        """How many health checks of a server all workers have begun."""
        return shared_value(server.health_checks)

    def begin_check(self, server: Server, seen: int) -> bool:
        """Begin a health check, if none has begun since ``checks_of`` has returned ``seen``; returns whether it did."""
        return replace_shared(server.health_checks, seen, seen + 1)

    def reinstate(self, server: Server) -> None:
        """Reinstate an ejected server."""
        self.health.reinstate(server)

    def error(self, text: str) -> bytes:
        """An error reply in the pool's protocol."""
        return self.codec.error(text)

    def can_use(self, profile: int, client):
        """Whether servers accept a profile; None while this is being tested, see ``Profiles``."""
        return self.profiles.can_use(profile, client)

    def preconnect(self) -> None:
        """Open one connection to each server."""
        server: Server
        for server in self.routes.servers:
            server.connections[0].preconnect()

    def clients(self) -> list:
        """The connected clients."""
        return self.find_clients(self)

    def statistics(self) -> list:
        """(name, value) of the figures of the proxy and of the pool, the servers' figures summed up.

        Counters and gauges are sums over the present processes of all workers; the process id is that of this one.
        """
        of_servers = [self.server_figures(server) for server in self.routes.servers]
        now = time.time()
        figures = [
            ("pid", os.getpid()),
            ("run_id", run_id(self.config.name)),
            ("uptime", int(now - self.started)),
            ("time", int(now)),
            ("version", __version__),
            ("pointer_size", 8 * cython.sizeof(cython.p_void)),
            ("pool", self.config.name),
        ]
        figures += self.tables.figures(0, PROCESS_METRICS)
        figures += self.tables.figures(self.slot, POOL_METRICS)
        figures.extend(self.find_facts().items())
        figures.append(("servers", self.routes.n_servers))
        figures.append(("servers_live", len(self.routes.live)))
        for each in zip(SERVER_METRICS, *of_servers, strict=True):
            if each[0].kind != "timestamp":
                figures.append((each[0].name, sum([value for _, value in each[1:]])))
        return figures

    def server_figures(self, server: Server) -> list:
        """(name, value) of the counters of a server, see ``WorkerTables.figures``."""
        return self.tables.figures(server.slot, SERVER_METRICS)

    def server_statistics(self) -> list:
        """(name, figures) of each server; figures: (name, value) pairs.

        The counters are those of the present processes of all workers, other figures those of this process.
        """
        servers = []
        for server in self.routes.servers:
            figures = [
                ("state", "live" if server.live else "ejected"),
                ("address", server.endpoint.server.pname),
                ("failures", server.failures),
            ]
            servers.append((server.name, figures + self.server_figures(server)))
        return servers
