"""Ejections, returns and other servers in any order; each route table is compared with a ring that is built for it
alone."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from twemproxy.config.pools import Config, PoolConfig
from twemproxy.hashing.ring import Ring, RingBuilder
from twemproxy.supervisor.statistics import Statistics
from twemproxy.worker.build import codec_of
from unit.in_process import configuration, new_data_plane, replace_settings

N_SERVERS = 4
MOST_SERVERS = 6
FAILURES = 2
KEYS = [b"key%d" % number for number in range(40)]
make: Any = lambda kind, *arguments: kind(*arguments)  # noqa: E731


class Routes(RuleBasedStateMachine):
    """``live``: the servers that should be live. ``taken``: earlier tables, with the servers of KEYS at that time."""

    @initialize(
        distribution=st.sampled_from(["ketama", "modula"]), on_server_down=st.sampled_from(["rehash", "error", "miss"])
    )
    def begin(self, distribution: str, on_server_down: str) -> None:
        self.directives: dict[str, Any] = {
            "redis": True,
            "distribution": distribution,
            "auto_eject_hosts": True,
            "server_failure_limit": FAILURES,
            "servers": [f"127.0.0.1:{port}:{port} s{port}" for port in range(1, N_SERVERS + 1)],
        }
        self.directives["on_server_down"] = on_server_down
        self.keeps_keys = on_server_down != "rehash"
        config = configuration(self.directives)
        self.statistics = Statistics(Config((config,)))
        self.data_plane = new_data_plane(config, codec_of(config), self.statistics)
        self.pool = self.data_plane.pools[0]
        self.servers = self.pool.servers
        self.live = set(self.servers)
        self.begin_rings(config)
        self.taken: list[tuple[Any, list[Any]]] = []

    def teardown(self) -> None:
        if hasattr(self, "statistics"):
            self.statistics.shared.close()

    def begin_rings(self, config: PoolConfig) -> None:
        """Build the rings of these servers from now on."""
        self.builder = make(
            RingBuilder,
            *(config.distribution, config.hash, b"", [server.name.encode() for server in config.servers]),
            *([server.weight for server in config.servers], 0),
        )
        self.ring: Ring = self.builder.build([True] * len(config.servers))

    def replace(self) -> PoolConfig:
        """Replace the settings of the pool by the present directives."""
        config = configuration(self.directives)
        replace_settings(self.data_plane, config, self.statistics.slots_of(config))
        self.statistics.show(Config((config,)))
        self.statistics.end_verdicts()
        return config

    def expect_ring(self) -> None:
        """Build the ring that the next table should have, if any server has keys; otherwise the last one stays."""
        placed = [self.keeps_keys or server in self.live for server in self.servers]
        if any(placed):
            self.ring = self.builder.build(placed)

    @rule(position=st.integers(0, MOST_SERVERS - 1))
    def fail(self, position: int) -> None:
        """Let checks of a server fail until it is ejected; of an ejected server they change nothing."""
        server = self.servers[position % len(self.servers)]
        for _ in range(FAILURES):
            assert (server in self.live) == server.live
            server.count_failure()
        if server in self.live:
            self.data_plane.loop.run_once()
        self.live.discard(server)
        self.expect_ring()

    @rule(position=st.integers(0, MOST_SERVERS - 1))
    def come_back(self, position: int) -> None:
        server = self.servers[position % len(self.servers)]
        if not server.live:
            self.pool.reinstate(server)
            self.data_plane.loop.run_once()
            self.live.add(server)
            self.expect_ring()

    @rule(on_server_down=st.sampled_from(["rehash", "error"]))
    def change_settings(self, on_server_down: str) -> None:
        self.directives["on_server_down"] = on_server_down
        self.replace()
        self.keeps_keys = on_server_down != "rehash"
        self.expect_ring()

    @rule(weights=st.dictionaries(st.integers(1, MOST_SERVERS), st.integers(1, 9), min_size=1))
    def change_servers(self, weights: dict[int, int]) -> None:
        """Servers that stay are the same objects in the same state; those that are added are live."""
        before = {server.name: server for server in self.servers}
        self.directives["servers"] = [f"127.0.0.1:{port}:{weight} s{port}" for port, weight in weights.items()]
        config = self.replace()
        self.servers = self.pool.servers
        assert [server.name for server in self.servers] == [each.name for each in config.servers]
        assert [server.position for server in self.servers] == list(range(len(self.servers)))
        added = {server for server in self.servers if server.name not in before}
        for server in self.servers:
            assert before.pop(server.name, server) is server
        assert not any(server.removed for server in self.servers)
        assert all(server.removed for server in before.values())
        self.live = {server for server in self.servers if server in self.live or server in added}
        self.begin_rings(config)
        self.expect_ring()

    @rule()
    def take(self) -> None:
        self.taken.append((self.pool.routes, [self.pool.server_of(key) for key in KEYS]))

    @invariant()
    def keys_are_where_they_belong(self) -> None:
        routes = self.pool.routes
        assert routes.servers == self.servers
        assert routes.live == tuple(server for server in self.servers if server in self.live)
        assert routes.is_open == (bool(self.live) or self.keeps_keys)
        assert [self.pool.server_of(key) for key in KEYS] == [self.servers[self.ring.server_for(key)] for key in KEYS]
        assert self.pool.any_server() in (self.live or self.servers)

    @invariant()
    def a_table_never_changes(self) -> None:
        for routes, servers in self.taken:
            assert [routes.server_of_all([key]) for key in KEYS] == servers


TestRoutes = Routes.TestCase
TestRoutes.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


def test_keys_of_one_server_and_of_several() -> None:
    machine = Routes()
    machine.begin("ketama", "rehash")
    pool = machine.pool
    servers = {pool.server_of(key) for key in KEYS}
    assert len(servers) > 1
    for server in servers:
        own = [key for key in KEYS if pool.server_of(key) is server]
        assert pool.server_of_all(own) is server
        assert pool.server_of_all(own * 2) is server
    assert pool.server_of_all(KEYS) is None
    assert pool.server_of_all([]) is pool.any_server()
