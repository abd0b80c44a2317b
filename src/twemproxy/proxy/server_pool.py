"""A server pool: its servers with their connections, its codec and its rotation.

Compiled-only.
"""

import os
import time

import cython
from cython.cimports.cpython.bytes import PyBytes_AS_STRING, PyBytes_GET_SIZE
from cython.cimports.libc.stdint import int64_t
from cython.cimports.twemproxy.hashing.continuum import Continuum
from cython.cimports.twemproxy.net.event_loop import NEVER, EventLoop
from cython.cimports.twemproxy.net.stream import Stream
from cython.cimports.twemproxy.protocol.codec import Codec
from cython.cimports.twemproxy.proxy.limits import ClientLimits
from cython.cimports.twemproxy.proxy.rotation import Rotation, ServerHealth
from cython.cimports.twemproxy.proxy.server_connection import ServerConnection
from cython.cimports.twemproxy.stats.counters import CounterTable

from twemproxy import __version__
from twemproxy.proxy.address_refresh import AddressRefresh
from twemproxy.proxy.health_checks import HealthChecks
from twemproxy.proxy.pool_log import PoolLog
from twemproxy.proxy.private_connections import PrivateConnections
from twemproxy.proxy.subscriptions import Subscriptions
from twemproxy.proxy.upstream import Upstream, error_text
from twemproxy.stats.catalogue import POOL_METRICS, PROCESS_METRICS, SERVER_METRICS

# The key that routes requests without one, as in nutcracker.
PLACEHOLDER = cython.declare(bytes, b"placeholder")


@cython.final
@cython.cclass
class Server:
    """One server of a pool: ``connections`` has the ``server_connections`` entries of the default profile.

    ``others`` has lists of the other profiles' connections, by profile, and None for those nobody has needed;
    ``everything`` has all connections.
    """

    def __init__(self, connections: list) -> None:
        self.connections = connections
        self.others = [None]
        self.everything = list(connections)


@cython.final
@cython.cclass
class ServerPool:
    """``guarded``: clients must authenticate first. ``refused``: the reply when no server is live.

    ``tolerates_missing``: in merged reads, keys of servers that fail count as missing. ``find_clients(pool)`` gives the
    clients connected now; whoever has the event loop sets it. ``extra`` has the connections that no Server has: private
    ones, and those that bring what was subscribed to.
    """

    def __init__(
        self, config, loop: EventLoop, codec: Codec, table: CounterTable, position, server_positions, resolver
    ) -> None:
        """``config``: a PoolConfig; ``position`` and ``server_positions``: where its counters stand in ``table``;
        ``resolver``: see ``proxy.addresses.Resolver``.
        """
        health: ServerHealth
        self.loop = loop
        self.config = config
        self.codec = codec
        self.log = PoolLog(config.name)
        self.started = time.time()
        self.n_servers = len(config.servers)
        self.guarded = bool(config.redis_auth)
        self.idle_limit = config.client_idle_timeout
        self.limits = ClientLimits(config)
        self.tolerates_missing = config.partial_reads == "miss"
        self.refused = codec.error(error_text(111))
        self.process_counters = table.at(0)
        self.counters = table.at(position)
        names = [server.name.encode() for server in config.servers]
        continuum: Continuum = Continuum(
            config.distribution,
            config.hash,
            config.hash_tag.encode(),
            names,
            [server.weight for server in config.servers],
            int(time.time()),
        )
        self.rotation = Rotation(
            loop,
            continuum,
            [server.name for server in config.servers],
            config.auto_eject_hosts,
            config.server_failure_limit,
            config.on_server_down != "rehash",
            self.log,
        )
        self.rotation.pool_counters = self.counters
        self.servers = []
        upstreams = []
        for health, server, at in zip(self.rotation.members, config.servers, server_positions, strict=True):
            health.counters = table.at(at)
            upstream = Upstream(config, server, codec, resolver, self)
            upstreams.append(upstream)
            connections = []
            for _ in range(config.server_connections):
                connections.append(self.new_connection(health, upstream, 0, True))
            self.servers.append(Server(connections))
        self.extra = set()
        self.private = PrivateConnections(self)
        self.subscriptions = Subscriptions(self)
        self.health_checks = HealthChecks(self)
        self.refreshing = AddressRefresh(self, [upstream.addresses for upstream in upstreams])
        self.rotation.on_ejected = self.ejected
        self.rotation.on_rebuilt = self.subscriptions.rebalance
        self.usable = {0}
        self.asking = {}
        self.verdicts = {}
        self.refused_until = {}

    def new_connection(self, health: ServerHealth, upstream, profile, shared):
        """A closed connection to the server; ``shared``: see ServerConnection."""
        connection = ServerConnection(self.loop, self.codec, health, upstream, self.config.timeout, profile, shared)
        connection.process_counters = self.process_counters
        return connection

    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def server_of_key(self, buf: cython.p_uchar) -> cython.int:
        """The server of the key that the codec just found in ``buf``."""
        codec: Codec = self.codec
        if codec.key_decoded:
            return self.rotation.continuum.route(cython.address(codec.decoded[0]), 0, codec.key_end)
        return self.rotation.continuum.route(buf, codec.key_start, codec.key_end)

    def server_of_all(self, keys: list) -> int:
        """The server that has all of these keys, -1 when they live on several; that of PLACEHOLDER for no keys.

        With distribution ``random`` keys say nothing, and the first draw is for all.
        """
        key: bytes
        server: cython.int = -1
        other: cython.int
        if not keys:
            return self.any_server()
        for key in keys:
            other = self.rotation.continuum.server_for(key)
            if server >= 0 and other != server:
                return -1
            server = other
            if self.rotation.continuum.draws:
                break
        return server

    @cython.cfunc
    def connection(self, server: cython.int, client: cython.uint, profile: cython.int) -> ServerConnection:
        """A client's connection to a server: always the same one, so that a client reads its own writes."""
        connections: list = cython.cast(Server, self.servers[server]).connections
        if profile != 0:
            connections = self.open_profile(server, profile)
        if len(connections) == 1:
            return cython.cast(ServerConnection, connections[0])
        return cython.cast(ServerConnection, connections[client % len(connections)])

    @cython.cfunc
    def open_profile(self, server: cython.int, profile: cython.int) -> list:
        """The connections of another profile than the default one, made when they are first needed."""
        kept: Server = self.servers[server]
        connection: ServerConnection
        first: ServerConnection = kept.connections[0]
        while len(kept.others) <= profile:
            kept.others.append(None)
        if kept.others[profile] is None:
            connections = []
            for _ in range(len(kept.connections)):
                connection = self.new_connection(first.health, first.upstream, profile, True)
                connection.on_settled = lambda ready, refused: self.settled(profile, ready, refused)
                connections.append(connection)
            kept.others[profile] = connections
            kept.everything.extend(connections)
        return kept.others[profile]

    # --- connections beside those that clients share -----------------------------------------------------------

    def open_extra(self, server: int, profile: int):
        """A new connection to a server for ``private`` or ``subscriptions``; it opens with what is sent first."""
        first: ServerConnection = cython.cast(Server, self.servers[server]).connections[0]
        connection = self.new_connection(first.health, first.upstream, profile, False)
        self.extra.add(connection)
        return connection

    def drop_extra(self, connection) -> None:
        """It is closed for good."""
        self.extra.discard(connection)

    def ask(self, request: bytes, done) -> None:
        """Send a request of the proxy's own to any server; ``done``: see Errand."""
        self.connection(max(self.find_server([]), 0), 0, 0).ask(request, done)

    def find_server(self, keys: list) -> int:
        """As ``server_of_all``; -2 when no server is live."""
        return self.server_of_all(keys) if self.rotation.is_open() else -2

    def live_servers(self) -> list:
        """Those that keys can belong to now, by index; all of them when none is live."""
        live = [index for index, member in enumerate(self.rotation.members) if member.live]
        return live or list(range(self.n_servers))

    def draws(self) -> bool:
        """Whether keys say nothing about servers."""
        return self.rotation.continuum.draws

    def now(self) -> int:
        """The time of the event loop, in milliseconds."""
        return self.loop.now

    def look_by(self, moment: int) -> None:
        """Have ``expire`` called at this moment at the latest."""
        self.loop.wake_at = min(self.loop.wake_at, cython.cast(int64_t, moment))

    @cython.cfunc
    @cython.exceptval(-2, check=True)
    def expire(self) -> int64_t:
        """Fail what is overdue, close what nobody needs; returns the moment to look again, or NEVER."""
        server: Server
        connection: ServerConnection
        next_look: int64_t = NEVER
        for server in self.servers:
            for connection in server.everything:
                next_look = min(next_look, connection.expire())
        if self.extra:
            for connection in list(self.extra):
                next_look = min(next_look, connection.expire())
        now = self.loop.now
        for part in (self.private, self.subscriptions, self.health_checks, self.refreshing):
            moment = part.expire(now)
            if moment is not None:
                next_look = min(next_look, cython.cast(int64_t, moment))
        return next_look

    def ejected(self, index: int) -> int:
        """A server was ejected; returns the milliseconds until it is tried again."""
        connection: ServerConnection
        for connection in cython.cast(Server, self.servers[index]).everything:
            # What waits on it may have to be answered by the proxy now.
            self.loop.want_flush(connection)
        return self.health_checks.ejected(index)

    def follow_server(self, index: int) -> None:
        """The server has other addresses than before: leave the ones that are gone."""
        server: Server = self.servers[index]
        connection: ServerConnection
        for connection in list(server.everything):
            connection.follow_server()
        self.private.follow_servers()
        self.subscriptions.follow_servers()

    def readmit(self, server: int) -> None:
        """An ejected server is well again."""
        self.rotation.readmit(server)

    def count_failure(self, server: int) -> None:
        """A check of a live server failed."""
        self.rotation.count_failure(server)

    def error(self, text: str) -> bytes:
        """An error reply of the pool's protocol."""
        return self.codec.error(text)

    def server_names(self) -> list:
        """Names of the servers, by index."""
        return [server.name for server in self.config.servers]

    # --- whether servers take a profile ------------------------------------------------------------------------

    def can_use(self, profile: int, client: Stream):
        """Whether servers take connections of this profile; None while that is being found out.

        Then the client is flushed, and so looks again at what it has, when it is known. The first server that says
        yes or no speaks for the pool; when none can be reached the answer is yes, and requests will say what is wrong.
        A no is good for ``server_retry_timeout``.
        """
        connection: ServerConnection
        server: cython.int
        # It is good for this one look: the client may ask about another profile next.
        about, verdict = self.verdicts.pop(client, (0, None))
        if profile in self.usable:
            return True
        if self.loop.now < self.refused_until.get(profile, 0):
            return False
        if verdict is not None and about == profile:
            return verdict
        if profile in self.asking:
            self.asking[profile][client] = None
            return None
        self.verdicts = {}
        self.asking[profile] = {client: None}
        for server in range(self.n_servers):
            connection = self.open_profile(server, profile)[0]
            connection.preconnect()
        about, verdict = self.verdicts.pop(client, (0, None))
        return verdict

    def settled(self, profile, ready, refused) -> None:
        """A connection of this profile has become READY, or has failed."""
        client: Stream
        connection: ServerConnection
        server: Server
        if ready:
            self.usable.add(profile)
        elif refused:
            self.refused_until[profile] = self.loop.now + self.config.server_retry_timeout
        else:
            for server in self.servers:
                connection = server.others[profile][0] if len(server.others) > profile else None
                if connection is not None and connection.is_opening():
                    return
        for client in self.asking.pop(profile, {}):
            if client.fd >= 0:
                self.verdicts[client] = (profile, not refused)
                self.loop.want_flush(client)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def any_server(self) -> cython.int:
        """The server for requests that any one of them can answer: a live one, if there is one."""
        health: ServerHealth
        server: cython.int = self.rotation.continuum.route(
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
        """The clients connected now."""
        return self.find_clients(self)

    def statistics(self) -> list:
        """Names and values of what this process knows of itself and of the pool, servers added up."""
        health: ServerHealth
        i: cython.Py_ssize_t
        totals: list = [0] * len(SERVER_METRICS)
        now = time.time()
        figures = [
            ("pid", os.getpid()),
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
        """For each server its name, and names and values of what this process knows of it."""
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
