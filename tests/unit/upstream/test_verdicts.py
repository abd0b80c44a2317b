"""Several workers over one table of shared words: ejections and returns by any of them, in any order, some at the same
time, with workers that start and reloads in between. A model knows the words, and what each worker has seen of them."""

import socket
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from twemproxy.config.pools import Config
from twemproxy.net.event_loop import CallbackAction
from twemproxy.stats.slots import BY_HAND, VERDICTS
from twemproxy.supervisor.statistics import Statistics
from twemproxy.worker.build import codec_of
from unit.in_process import configuration, new_data_plane, replace_settings

MOST_SERVERS = 4
MOST_WORKERS = 4
FAILURES = 2
LOOK_MS = 1000
"""A worker looks at the words of all servers after so many milliseconds, even if it was told nothing."""
KEYS = [b"key%d" % number for number in range(20)]
action: Any = CallbackAction


class Worker:
    """A data plane of its own with the pool. ``known``: what it should know of the words, by the names of servers."""

    def __init__(self, config: Any, statistics: Statistics) -> None:
        self.data_plane = new_data_plane(config, codec_of(config), statistics)
        [self.pool] = self.data_plane.pools
        listening = socket.create_server(("127.0.0.1", 0))
        self.data_plane.serve(self.data_plane.pools, {config.listen.address: listening.detach()})
        self.known: dict[str, int] = {}

    def server(self, name: str) -> Any:
        [server] = [server for server in self.pool.servers if server.name == name]
        return server

    def decide(self, name: str) -> None:
        """Find out in this turn that the state of a server has to change."""
        server = self.server(name)
        if server.live:
            for _ in range(FAILURES):
                server.count_failure()
        else:
            self.pool.reinstate(server)

    def turn(self) -> None:
        """One turn, which waits for nothing."""
        self.data_plane.loop.defer_action(action(lambda: None))
        self.data_plane.loop.run_once()

    def live(self) -> dict[str, bool]:
        return {server.name: server.live for server in self.pool.servers}


class Workers(RuleBasedStateMachine):
    """``words``: what the word of each server of the configuration should be. ``ejects``: how many ejections."""

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        self.directives: dict[str, Any] = {
            "redis": True,
            "distribution": "ketama",
            "auto_eject_hosts": True,
            "server_failure_limit": FAILURES,
            "server_retry_timeout": 3600_000,
            "servers": [f"127.0.0.1:{port}:1 s{port}" for port in range(1, MOST_SERVERS + 1)],
        }
        self.config = configuration(self.directives)
        self.statistics = Statistics(Config((self.config,)))
        self.words = {server.name: 0 for server in self.config.servers}
        self.ejects = 0
        self.workers = [self.new_worker() for _ in range(count)]

    def teardown(self) -> None:
        for worker in getattr(self, "workers", []):
            worker.data_plane.close_listeners()
        if hasattr(self, "statistics"):
            self.statistics.shared.close()

    def new_worker(self) -> Worker:
        worker = Worker(self.config, self.statistics)
        worker.known = dict(self.words)
        return worker

    def worker(self, number: int) -> Worker:
        return self.workers[number % len(self.workers)]

    def name(self, position: int) -> str:
        return list(self.words)[position % len(self.words)]

    def change(self, name: str) -> None:
        self.words[name] += 1
        self.ejects += self.words[name] % 2

    @rule(number=st.integers(0, MOST_WORKERS - 1))
    def look(self, number: int) -> None:
        worker = self.worker(number)
        worker.turn()
        worker.known = dict(self.words)

    @rule(number=st.integers(0, MOST_WORKERS - 1), position=st.integers(0, MOST_SERVERS - 1))
    def decide(self, number: int, position: int) -> None:
        """A worker decides; that counts if it knew the last verdict."""
        worker, name = self.worker(number), self.name(position)
        worker.decide(name)
        if worker.known[name] == self.words[name] and not self.words[name] & BY_HAND:
            self.change(name)
        worker.turn()
        worker.known = dict(self.words)

    @rule(
        numbers=st.permutations(range(MOST_WORKERS)),
        positions=st.tuples(st.integers(0, MOST_SERVERS - 1), st.integers(0, MOST_SERVERS - 1)),
    )
    def decide_at_once(self, numbers: list[int], positions: tuple[int, int]) -> None:
        """In the middle of a worker's turn, after it has looked, another one decides."""
        first, second = (self.worker(number) for number in numbers[:2])
        if first is second:
            return
        name, other = (self.name(position) for position in positions)
        self.look(self.workers.index(first))

        def decided_meanwhile() -> None:
            self.decide(self.workers.index(second), list(self.words).index(other))

        before = self.words[name]
        first.data_plane.loop.defer_action(action(decided_meanwhile))
        first.decide(name)
        first.data_plane.loop.run_once()
        if self.words[name] == before and not before & BY_HAND:
            self.change(name)
        # Of the other servers it hears in its next turn.
        first.known[name] = self.words[name]

    @rule(position=st.integers(0, MOST_SERVERS - 1))
    def kill_while_it_decides(self, position: int) -> None:
        """A worker is killed between changing the word of a server and saying so."""
        name = self.name(position)
        if self.words[name] & BY_HAND:
            return
        self.statistics.shared[self.statistics.slots.of_server("alpha", name) + VERDICTS] += 1
        self.words[name] += 1
        for worker in self.workers:
            worker.data_plane.loop.clock.advance(1000 * LOOK_MS)

    @rule(position=st.integers(0, MOST_SERVERS - 1))
    def eject_by_hand(self, position: int) -> None:
        name = self.name(position)
        self.statistics.set_verdict("alpha", name, lambda word: (word + 1 - word % 2) | BY_HAND)
        self.words[name] = (self.words[name] + 1 - self.words[name] % 2) | BY_HAND

    @rule(position=st.integers(0, MOST_SERVERS - 1), readmit=st.booleans())
    def end_by_hand(self, position: int, readmit: bool) -> None:
        """It returns, or it is as any other ejected server."""
        name = self.name(position)
        self.statistics.set_verdict("alpha", name, lambda word: (word & ~BY_HAND) + word % 2 * readmit)
        self.words[name] = (self.words[name] & ~BY_HAND) + self.words[name] % 2 * readmit

    @rule()
    def start_worker(self) -> None:
        if len(self.workers) < MOST_WORKERS:
            self.workers.append(self.new_worker())

    @rule(ports=st.sets(st.integers(1, MOST_SERVERS), min_size=1))
    def reload(self, ports: set[int]) -> None:
        """Servers that are removed are live when they are added again."""
        self.directives["servers"] = [f"127.0.0.1:{port}:1 s{port}" for port in sorted(ports)]
        self.config = configuration(self.directives)
        slots = self.statistics.slots_of(self.config)
        for worker in self.workers:
            replace_settings(worker.data_plane, self.config, slots)
        names = [server.name for server in self.config.servers]
        self.statistics.show(Config((self.config,)))
        self.statistics.end_verdicts()
        self.words = {name: self.words.get(name, self.word_of(name)) for name in names}
        assert not any(
            self.word_of(name) % 2 for name in {f"s{port}" for port in range(1, MOST_SERVERS + 1)} - {*names}
        )
        for worker in self.workers:
            worker.known = dict(self.words)

    def word_of(self, name: str) -> int:
        return self.statistics.shared[self.statistics.slots.of_server("alpha", name) + VERDICTS]

    @invariant()
    def the_words_are_as_expected(self) -> None:
        assert {name: self.word_of(name) for name in self.words} == self.words

    @invariant()
    def a_worker_goes_by_what_it_knows(self) -> None:
        for worker in self.workers:
            assert worker.live() == {name: word % 2 == 0 for name, word in worker.known.items()}

    @invariant()
    def workers_that_know_the_same_agree_about_keys(self) -> None:
        owners: dict[tuple[int, ...], set[tuple[str, ...]]] = {}
        for worker in self.workers:
            if worker.pool.is_open():
                known = tuple(word % 2 for word in worker.known.values())
                names = tuple(worker.pool.server_of(key).name for key in KEYS)
                owners.setdefault(known, set()).add(names)
                assert all(worker.known[name] % 2 == 0 for name in names)
        assert all(len(names) == 1 for names in owners.values())

    @invariant()
    def each_ejection_by_a_worker_counts_once(self) -> None:
        figures = [dict(worker.pool.statistics())["server_ejects"] for worker in self.workers]
        assert sum(figures) == self.ejects


TestWorkers = Workers.TestCase
TestWorkers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
