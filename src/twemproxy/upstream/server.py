"""One server of a pool: its health, its counters, its connections.

Compiled-only. Requests in flight, reservations, subscriptions and counters refer to the object, not to a position in a
list: positions change when servers are added or removed.
"""

import cython
from cython.cimports.twemproxy.net.event_loop import Action
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool, PoolSettings
from cython.cimports.twemproxy.upstream.health_states import HEALTH_STATES, LIVE, REMOVED, HealthState


@cython.final
@cython.cclass
class Server(Action):
    """A server; its identity is the pool and ``name``.

    ``position``: its place among the servers of the pool, which is the order of errors and of fragments.
    ``endpoint``: its addresses, handshake and error replies, see ``upstream.endpoint``. ``counters``: its counters; the
    owner sets them.

    ``state``: see ``upstream.health_states``. ``down``: it is ejected and keeps its keys; the proxy replies to requests
    for it. ``failures``: without a reply in between. The deferred action changes the state.

    ``connections``: the connections of profile 0, ``server_connections`` of them. ``of_profiles``: lists of connections
    of other profiles, by profile. ``recent``: the list of ``recent_profile``, 0 for none. ``shared``: all of these, and
    the retired ones.
    """

    def __init__(self, pool: ConfiguredPool, name: str, endpoint) -> None:
        """``upstream.health`` sets ``position``, ``loop`` and ``on_verdict(server)``, which is called at the end of a
        turn in which the state has to change.
        """
        self.pool = pool
        self.name = name
        self.endpoint = endpoint
        self.state = LIVE
        self.connections = []
        self.of_profiles = {}
        self.shared = []

    def __repr__(self) -> str:
        return f"<server {self.name}>"

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def failed(self) -> cython.int:
        """Count a failure: a connection failed, or the server replied that it cannot serve."""
        settings: PoolSettings = self.pool.settings
        if not settings.auto_eject_hosts:
            return 0
        self.failures += 1
        if self.failures >= settings.server_failure_limit and self.state == LIVE:
            return self.loop.defer(self)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def run_deferred(self) -> cython.int:
        self.on_verdict(self)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def become(self, state: HealthState) -> cython.int:
        """Change the state. Raises AssertionError if ``upstream.health_states`` has no such transition."""
        HEALTH_STATES.check(self.state, state)
        self.state = state
        self.failures = 0
        return 0

    @property
    def live(self) -> bool:
        """Whether it is not ejected."""
        return self.state == LIVE

    @property
    def removed(self) -> bool:
        """Whether the pool has other servers now: this one gets no requests but those that it had by then."""
        return self.state == REMOVED

    def in_use(self) -> bool:
        """Whether a shared connection is open or has requests."""
        return not all(connection.is_closed() for connection in self.shared)

    def retire_connections(self) -> list:
        """Retire all shared connections, which get no more requests, and return them."""
        retired = self.shared = [connection for connection in self.shared if not connection.is_closed()]
        for connection in retired:
            connection.retired = True
        self.connections = []
        self.of_profiles = {}
        self.recent_profile = 0
        self.recent = None
        return list(retired)

    def busy_retired(self, profile: int) -> list:
        """The retired connections of a profile that have requests."""
        return [each for each in self.shared if each.retired and each.is_busy(profile)]

    def count_failure(self) -> None:
        """Count a failed health check."""
        self.failed()

    def add_connections(self, profile: int, connections: list) -> None:
        """Add the shared connections of a profile."""
        if profile == 0:
            self.connections = connections
        else:
            self.of_profiles[profile] = connections
        self.shared.extend(connections)

    def drop_connections(self, profile: int) -> None:
        """Remove the connections of a profile other than 0; they are closed."""
        for connection in self.of_profiles.pop(profile):
            self.shared.remove(connection)
        self.recent_profile = 0
        self.recent = None

    @cython.cfunc
    def connections_of(self, profile: cython.int) -> list:
        """The connections of a profile other than 0, None if there are none."""
        connections: list
        if profile != self.recent_profile:
            connections = self.of_profiles.get(profile)
            if connections is None:
                return None
            self.recent = connections
            self.recent_profile = profile
        return self.recent
