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
from cython.cimports.twemproxy.net.event_loop import NEVER, EventLoop
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.protocol.request import Cursor, Item, Request
from cython.cimports.twemproxy.proxy.internal_request import InternalRequest
from cython.cimports.twemproxy.proxy.pipeline import Pipeline
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool, PoolSettings
from cython.cimports.twemproxy.proxy.rotation import Rotation, ServerHealth
from cython.cimports.twemproxy.proxy.server_connection import ServerConnection
from cython.cimports.twemproxy.stats.counters import CounterTable

from twemproxy import __version__
from twemproxy.proxy.address_refresh import AddressRefresh
from twemproxy.proxy.health_checks import HealthChecks
from twemproxy.proxy.identity import run_id
from twemproxy.proxy.pinned_connections import PrivateConnections
from twemproxy.proxy.pool_log import PoolLog
from twemproxy.proxy.profiles import Profiles
from twemproxy.proxy.pubsub import Subscriptions
from twemproxy.proxy.server_poll import ServerPoll
from twemproxy.proxy.upstream import Upstream, error_text
from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS

# Milliseconds of silence after which a server may be busy with a script.
BUSY_AFTER = cython.declare(cython.const[int64_t], 100)
# Directives that a running pool keeps: where it listens and where keys are, and what open connections depend on.
FIXED = (
    *("name", "listen", "servers", "redis", "hash", "hash_tag", "distribution"),
    *("server_connections", "redis_auth", "redis_db"),
)
# The key by which requests without a key are routed, as in nutcracker.
PLACEHOLDER = cython.declare(bytes, b"placeholder")


@cython.cfunc
@cython.exceptval(check=False)
def is_silent(connection: ServerConnection) -> cython.bint:
    """Whether a connection has requests and has been silent for BUSY_AFTER."""
    requests: Pipeline = connection.requests
    return requests.head != requests.tail and connection.heard_at + BUSY_AFTER <= connection.loop.now


@cython.final
@cython.cclass
class Server:
    """One server of a pool. ``connections``: its connections of the default profile, ``server_connections`` of them.

    ``others``: lists of its connections of other profiles, by profile. ``recent``: the list of ``recent_profile``, 0
    for none. ``everything``: all its shared connections.
    """

    def __init__(self, connections: list) -> None:
        self.connections = connections
        self.others = {}
        self.everything = list(connections)


@cython.final
@cython.cclass
class ServerPool(ConfiguredPool):
    """``refused``: the reply when no server is live. ``find_clients(pool)``: returns the connected clients; the data
    plane sets it. ``extra``: the connections that no Server has, private ones and those for subscriptions.

    ``request``, ``item``: reused for each request of the pool. ``cursor``: the cursor of clients without an incomplete
    request.
    """

    def __init__(
        self, config, loop: EventLoop, codec: Codec, table: CounterTable, position, server_positions, resolver
    ) -> None:
        """``config``: a PoolConfig. ``position``, ``server_positions``: where its counters are in ``table``.
        ``resolver``: see ``proxy.addresses.Resolver``.
        """
        health: ServerHealth
        ConfiguredPool.__init__(self, config)
        self.loop = loop
        self.codec = codec
        self.request = Request()
        self.cursor = Cursor()
        self.item = Item()
        self.log = PoolLog(config.name, config.redis)
        self.started = time.time()
        self.n_servers = len(config.servers)
        self.refused = codec.error(error_text(111))
        # The pointers below are valid as long as the table exists.
        self.table = table
        self.process_counters = table.at(0)
        self.counters = table.at(position)
        names = [server.name.encode() for server in config.servers]
        rings: RingBuilder = RingBuilder(
            config.distribution,
            config.hash,
            config.hash_tag.encode(),
            names,
            [server.weight for server in config.servers],
            int(time.time()),
        )
        self.rotation = Rotation(self, loop, rings, [server.name for server in config.servers], self.log)
        self.rotation.pool_counters = self.counters
        self.servers = []
        upstreams = []
        for health, server, at in zip(self.rotation.members, config.servers, server_positions, strict=True):
            health.counters = table.at(at)
            upstream = Upstream(self, server, codec, resolver)
            upstreams.append(upstream)
            connections = []
            for _ in range(config.server_connections):
                connections.append(self.new_connection(health, upstream, 0, True))
            self.servers.append(Server(connections))
        self.extra = set()
        self.private = PrivateConnections(self)
        self.profiles = Profiles(self)
        self.subscriptions = Subscriptions(self)
        self.poll = ServerPoll(self, codec.says_error)
        self.health_checks = HealthChecks(self)
        self.refreshing = AddressRefresh(self, [upstream.addresses for upstream in upstreams])
        self.upstreams = upstreams
        self.rotation.on_ejected = self.ejected
        self.rotation.on_rebuilt = self.subscriptions.rebalance

    def replace_settings(self, config) -> None:
        """Replace the settings of the pool; requests in progress go on.

        Raises ValueError if a directive of FIXED has another value.
        """
        server: Server
        for name in FIXED:
            if getattr(config, name) != getattr(self.settings.config, name):
                raise ValueError(f"'{name}' of a running pool cannot be changed")
        self.settings = PoolSettings(config)
        self.codec.permit(config.allow_commands, config.deny_commands)
        for server in self.servers:
            for connection in server.everything:
                connection.apply_settings()
        for connection in self.extra:
            connection.apply_settings()
        self.rotation.apply_settings()
        self.health_checks.apply_settings()
        self.refreshing.apply_settings()

    def new_connection(self, health: ServerHealth, upstream, profile, shared):
        """A new connection to the server, still closed; ``shared``: see ServerConnection."""
        connection = ServerConnection(self, self.loop, self.codec, health, upstream, profile, shared)
        connection.process_counters = self.process_counters
        return connection

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def server_of_key(self, buf: cython.p_uchar, start: cython.Py_ssize_t, request: Request) -> cython.int:
        """The server of a request's key; the request begins in ``buf`` at ``start``."""
        if request.key_decoded:
            return self.rotation.ring.route(cython.address(request.decoded[0]), 0, request.key_end)
        return self.rotation.ring.route(buf, start + request.key_start, start + request.key_end)

    def server_of_all(self, keys: list) -> int:
        """The server that has all of these keys, -1 if they are on several servers; without keys as ``any_server``.

        With the distribution ``random`` a key has no server of its own, so all keys get the one that the first key
        draws.
        """
        key: bytes
        server: cython.int = -1
        other: cython.int
        if not keys:
            return self.any_server()
        for key in keys:
            other = self.rotation.ring.server_for(key)
            if server >= 0 and other != server:
                return -1
            server = other
            if self.rotation.ring.is_random:
                break
        return server

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def server_of_found(
        self, buf: cython.p_uchar, start: cython.Py_ssize_t, request: Request, item: Item
    ) -> cython.int:
        """As ``server_of_all``, for the keys that ``Codec.next_key`` finds; ``item``: from ``Codec.begin_keys``."""
        server: cython.int = -1
        other: cython.int
        while self.codec.next_key(buf, start, request, item):
            other = self.rotation.ring.route(buf, start + item.key_start, start + item.key_end)
            if server >= 0 and other != server:
                return -1
            server = other
            if self.rotation.ring.is_random:
                break
        return server if server >= 0 else self.any_server()

    @cython.cfunc
    def connection(self, server: cython.int, client: cython.uint, profile: cython.int) -> ServerConnection:
        """The connection to a server for a client: always the same, so that a client reads its own writes."""
        connections: list = cython.cast(Server, self.servers[server]).connections
        if profile != 0:
            connections = self.connections_of(server, profile)
        if len(connections) == 1:
            return cython.cast(ServerConnection, connections[0])
        return cython.cast(ServerConnection, connections[client % len(connections)])

    @cython.cfunc
    def connections_of(self, server: cython.int, profile: cython.int) -> list:
        """The connections of a profile other than 0 to a server, made with the first call."""
        kept: Server = self.servers[server]
        connections: list
        if profile != kept.recent_profile:
            connections = kept.others.get(profile)
            if connections is None:
                connections = self.make_profile(server, profile)
            kept.recent = connections
            kept.recent_profile = profile
        return kept.recent

    def profile_connections(self, server: int, profile: int) -> list:
        """As ``connections_of``."""
        return self.connections_of(server, profile)

    def make_profile(self, server: int, profile: int) -> list:
        """Make the connections of a profile to a server, still closed."""
        kept: Server = self.servers[server]
        first: ServerConnection = kept.connections[0]
        connections = []
        for _ in range(len(kept.connections)):
            connections.append(self.new_connection(first.health, first.upstream, profile, True))
        kept.others[profile] = connections
        kept.everything.extend(connections)
        self.profiles.adopt(server, profile, connections)
        return connections

    def drop_profile(self, server: int, profile: int) -> None:
        """Remove the connections of a profile to a server; they are closed."""
        kept: Server = self.servers[server]
        for connection in kept.others.pop(profile):
            kept.everything.remove(connection)
        kept.recent_profile = 0
        kept.recent = None

    # --- connections that clients do not share -----------------------------------------------------------------

    def open_extra(self, server: int, profile: int):
        """A new connection to a server for ``private`` or ``subscriptions``; its first request opens it."""
        first: ServerConnection = cython.cast(Server, self.servers[server]).connections[0]
        connection = self.new_connection(first.health, first.upstream, profile, False)
        self.extra.add(connection)
        return connection

    def drop_extra(self, connection) -> None:
        """Remove a connection that ``open_extra`` made; it is closed."""
        self.extra.discard(connection)

    def keep(self, change: cython.Py_ssize_t) -> None:
        """Count ``change`` more bytes for subscriptions, fewer if negative."""
        self.loop.blocks.kept += change

    def may_keep(self, held: cython.Py_ssize_t, more: cython.Py_ssize_t) -> bool:
        """Whether a client with ``held`` bytes may have ``more`` for subscriptions: up to half of the limit for all."""
        return self.loop.blocks.kept + more <= self.loop.blocks.most_kept and held + more <= (
            self.loop.blocks.most_kept // 2
        )

    def ask(self, request: bytes, done) -> None:
        """Send a request of the proxy's own to any server; ``done``: see InternalRequest."""
        self.connection(max(self.find_server([]), 0), 0, 0).ask(request, done)

    def ask_server(self, server: int, request: bytes, done, kind: int) -> None:
        """As ``ask``, to one server; ``kind``: ``Request.expected`` for the reply."""
        self.connection(server, 0, 0).ask(request, done, kind)

    def may_be_busy(self) -> bool:
        """Whether the only server may be busy with a script: a connection for scripts has waited for a reply for
        BUSY_AFTER.

        False in a pool of several servers.
        """
        connection: ServerConnection
        found: cython.bint = False
        if self.n_servers > 1:
            return False
        for connection in (*cython.cast(Server, self.servers[0]).everything, *self.extra):
            found = found or (connection.shaped and is_silent(connection))
        return found

    def send_framed(self, server: int, request: Request, data: bytes, done) -> None:
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
        return sum(upstream.connects for upstream in self.upstreams)

    def find_server(self, keys: list) -> int:
        """As ``server_of_all``; -2 if no server is live."""
        return self.server_of_all(keys) if self.rotation.is_open() else -2

    def live_servers(self) -> list:
        """The live servers, by index; all servers if none is live."""
        live = [index for index, member in enumerate(self.rotation.members) if member.live]
        return live or list(range(self.n_servers))

    def is_random(self) -> bool:
        """Whether the distribution is ``random``: a key has no server of its own."""
        return self.rotation.ring.is_random

    def tell_guesses(self, address: str, count: int) -> None:
        """Log that a client is closed after ``count`` wrong passwords."""
        self.log.client_guesses(address, count, self.loop.now)

    def now(self) -> int:
        """The time of the event loop, in milliseconds."""
        return self.loop.now

    def turn(self) -> int:
        """The number of the event loop's turn."""
        return self.loop.turn

    def look_by(self, moment: int) -> None:
        """Have ``expire`` called at the time ``moment``, in milliseconds, at the latest."""
        self.loop.wake_at = min(self.loop.wake_at, cython.cast(int64_t, moment))

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def expire(self) -> int64_t:
        """Run all deadlines of the pool; returns the time of the next check in ms, or NEVER."""
        server: Server
        connection: ServerConnection
        next_look: int64_t = NEVER
        for server in self.servers:
            for connection in list(server.everything):
                next_look = min(next_look, connection.expire())
        if self.extra:
            for connection in list(self.extra):
                next_look = min(next_look, connection.expire())
        now = self.loop.now
        for part in (self.private, self.profiles, self.subscriptions, self.health_checks, self.refreshing, self.poll):
            moment = part.expire(now)
            if moment is not None:
                next_look = min(next_look, cython.cast(int64_t, moment))
        return next_look

    def ejected(self, index: int) -> int:
        """A server was ejected; returns the milliseconds until its next health check."""
        connection: ServerConnection
        for connection in list(cython.cast(Server, self.servers[index]).everything):
            # The proxy may now have to reply to the requests on these connections.
            self.loop.want_flush(connection)
        return self.health_checks.ejected(index)

    def leave_stale_address(self, index: int) -> None:
        """A server's addresses have changed: move the connections whose addresses are gone."""
        server: Server = self.servers[index]
        connection: ServerConnection
        for connection in list(server.everything):
            connection.leave_stale_address()
        self.private.follow_servers()
        self.subscriptions.follow_servers()

    def readmit(self, server: int) -> None:
        """Reinstate an ejected server."""
        self.rotation.readmit(server)

    def count_failure(self, server: int) -> None:
        """Count a failed health check of a live server."""
        self.rotation.count_failure(server)

    def error(self, text: str) -> bytes:
        """An error reply in the pool's protocol."""
        return self.codec.error(text)

    def server_names(self) -> list:
        """Names of the servers, by index."""
        return [server.name for server in self.config.servers]

    def can_use(self, profile: int, client):
        """Whether servers accept a profile; None while this is being tested, see ``Profiles``."""
        return self.profiles.can_use(profile, client)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def any_server(self) -> cython.int:
        """A server for requests that any server can answer: a live one, if there is one."""
        health: ServerHealth
        server: cython.int = self.rotation.ring.route(
            cython.cast(cython.p_uchar, PyBytes_AS_STRING(PLACEHOLDER)), 0, PyBytes_GET_SIZE(PLACEHOLDER)
        )
        if cython.cast(ServerHealth, self.rotation.members[server]).down:
            for health in self.rotation.members:
                if health.live:
                    return health.index
        return server

    def preconnect(self) -> None:
        """Open one connection to each server."""
        server: Server
        for server in self.servers:
            server.connections[0].preconnect()

    def clients(self) -> list:
        """The connected clients."""
        return self.find_clients(self)

    def statistics(self) -> list:
        """(name, value) of the figures of this process and of the pool, the servers' figures summed up."""
        health: ServerHealth
        i: cython.Py_ssize_t
        totals: list = [0] * len(SERVER_METRICS)
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
        for i in range(len(PROCESS_METRICS)):
            figures.append((PROCESS_METRICS[i].name, self.process_counters[i]))
        for i in range(len(POOL_METRICS)):
            figures.append((POOL_METRICS[i].name, self.counters[i]))
        for health in self.rotation.members:
            for i in range(len(SERVER_METRICS)):
                totals[i] += health.counters[i]
        figures.append(("servers", self.n_servers))
        figures.append(("servers_live", self.rotation.n_live))
        for metric, total in zip(SERVER_METRICS, totals, strict=True):
            if metric.kind != "timestamp":
                figures.append((metric.name, total))
        return figures

    def server_statistics(self) -> list:
        """(name, figures) of each server; figures: (name, value) pairs of this process."""
        health: ServerHealth
        i: cython.Py_ssize_t
        servers = []
        for health, server in zip(self.rotation.members, self.config.servers, strict=True):
            figures = [
                ("state", "live" if health.live else "ejected"),
                ("address", server.pname),
                ("failures", health.failures),
            ]
            for i in range(len(SERVER_METRICS)):
                figures.append((SERVER_METRICS[i].name, health.counters[i]))
            servers.append((server.name, figures))
        return servers
