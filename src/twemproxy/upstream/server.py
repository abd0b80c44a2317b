"""One server of a pool: its health, its counters, its connections.

Compiled-only. Requests in flight, reservations, subscriptions and counters refer to the object, not to a position in a
list: positions change when servers are added or removed.
"""

import cython
from cython.cimports.twemproxy.net.event_loop import Action
from cython.cimports.twemproxy.proxy.pool_settings import ConfiguredPool, PoolSettings
from cython.cimports.twemproxy.stats.positions import (
    SERVER_EOF,
    SERVER_ERR,
    SERVER_FURTHER,
    SERVER_PRIVATE,
    SERVER_TIMEDOUT,
)
from cython.cimports.twemproxy.upstream.health_states import HEALTH_STATES, LIVE, REMOVED, HealthState

# Microseconds for which an idle private connection is kept while it has a place that another worker may need.
SHORT_TIME = 1_000_000
# Private connections leave 1/SHARED_PART of the places to connections that clients share.
SHARED_PART = cython.declare(cython.const[cython.Py_ssize_t], 4)

TOO_MANY = (
    "all {places} connections to it beside those of 'server_connections' are in use: 'max_backend_connections' in its"
    " configuration, which is {limit}, allows no more"
)
TOO_MANY_PRIVATE = (
    "all {places} connections to it for transactions and blocking commands are in use: 'max_backend_connections' in its"
    " configuration, which is {limit}, allows no more"
)

# Kinds of failures.
FAILURES = (
    "it cannot serve, as a reply or a health check says",
    "a connection failed",
    "it closed a connection",
    "a timeout",
)


@cython.final
@cython.cclass
class Server(Action):
    """A server; its identity is the pool and ``name``.

    ``position``: its place among the servers of the pool, which is the order of errors and of fragments.
    ``endpoint``: its addresses, handshake and error replies, see ``upstream.endpoint``.

    The owner sets ``counters``, its counters, which are at ``slot`` in ``tables``, and ``make_room(server, profile,
    private)``, which closes an idle connection of another profile or a private one, the latter if ``private``, and
    returns False if there is none. The owner also sets two words that all workers write, ``verdicts`` and
    ``health_checks``, see ``stats.catalogue``. ``known_verdicts``: the value of ``verdicts`` to which ``state``
    belongs.

    ``state``: see ``upstream.health_states``. ``down``: it is ejected and keeps its keys; the proxy replies to requests
    for it. ``failures``: of this worker, without a reply in between. ``verdict_due``: this worker has found out that
    the state has to change. The deferred action changes it.

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
        self.kind_of_failure = self.find_kind_of_failure()
        if self.failures >= settings.server_failure_limit and self.state == LIVE:
            return self.defer_verdict()
        return 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def find_kind_of_failure(self) -> cython.int:
        """Which kind of failure was counted since the last one: an index of FAILURES."""
        kind: cython.int = 0
        if self.counters[SERVER_ERR] != self.errors_before:
            kind = 1
        if self.counters[SERVER_EOF] != self.ends_before:
            kind = 2
        if self.counters[SERVER_TIMEDOUT] != self.timeouts_before:
            kind = 3
        self.errors_before = self.counters[SERVER_ERR]
        self.ends_before = self.counters[SERVER_EOF]
        self.timeouts_before = self.counters[SERVER_TIMEDOUT]
        return kind

    def last_failure(self) -> str:
        """What the last failure was, for people."""
        return FAILURES[self.kind_of_failure]

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def defer_verdict(self) -> cython.int:
        """Have the state changed at the end of the turn."""
        self.verdict_due = True
        return self.loop.defer(self)

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
        self.verdict_due = False
        return 0

    # --- max_backend_connections -----------------------------------------------------------------------------

    @cython.cfunc
    @cython.exceptval(check=False)
    def places(self) -> cython.Py_ssize_t:
        """How many connections all workers may have to the server beside ``server_connections`` of each worker."""
        settings: PoolSettings = self.pool.settings
        return max(settings.most_connections - self.tables.workers * settings.server_connections, 0)

    @cython.cfunc
    def take_place(self, profile: cython.int, private: cython.bint) -> str:
        """Take a place for a connection of this profile that is about to open. ``private``: it is for one client at a
        time.

        Returns why there is none, otherwise "".
        """
        places: cython.Py_ssize_t = self.places()
        most_private: cython.Py_ssize_t = places - places // SHARED_PART
        limit: cython.Py_ssize_t = self.pool.settings.most_connections
        # Private ones first: an attempt in vain takes no place from those that clients share, not even for a moment.
        if private and not self.count_one(SERVER_PRIVATE, most_private, profile, private):
            return TOO_MANY_PRIVATE.format(places=most_private, limit=limit)
        if self.count_one(SERVER_FURTHER, places, profile, private):
            return ""
        if private:
            self.counters[SERVER_PRIVATE] -= 1
        return TOO_MANY.format(places=places, limit=limit)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def count_one(
        self, gauge: cython.int, most: cython.Py_ssize_t, profile: cython.int, private: cython.bint
    ) -> cython.bint:
        """Count one more in a gauge of which all workers together may have ``most``; returns whether it was possible.

        It counts before the sum is made: of two workers that take the last one, one sees both.
        """
        self.counters[gauge] += 1
        if self.pool.settings.most_connections == 0:
            return True
        while self.tables.sum(self.slot + gauge) > most:
            if not self.make_room(self, profile, private):
                self.counters[gauge] -= 1
                return False
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def give_place(self, private: cython.bint) -> cython.void:
        """Give a place back that ``take_place`` has taken."""
        self.counters[SERVER_FURTHER] -= 1
        if private:
            self.counters[SERVER_PRIVATE] -= 1

    def time_to_keep(self, usual: int) -> int:
        """For how many microseconds an idle private connection may be kept for another client; 0 for none.

        ``usual``: without a limit. Another worker cannot close the connection to make room for one of its own.
        """
        settings: PoolSettings = self.pool.settings
        if settings.most_connections == 0 or not self.tables.others:
            return usual
        if 2 * self.tables.sum(self.slot + SERVER_FURTHER) > self.places():
            return 0
        return min(usual, SHORT_TIME)

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
