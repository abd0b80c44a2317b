"""When servers are probed, and what follows from the results; the test controls the time."""

import errno
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from twemproxy.upstream.endpoint import error_text
from twemproxy.upstream.health_checks import (
    JITTER,
    MORE_INTERVALS,
    MOST_DOUBLINGS,
    PROBE_TIMEOUT,
    SOON,
    HealthChecks,
)
from unit.fakes import FakeConnection, FakePool, FakeServer

# In milliseconds, as in the configuration, and in microseconds.
RETRY_MS, CHECK_MS = 1000, 200
RETRY, CHECK = 1000 * RETRY_MS, 1000 * CHECK_MS
TICK = 1000


class Probe(FakeConnection):
    """A probe that is running."""

    def answer(self, reply: bytes, answered: bool = True) -> None:
        """Answer the probe with this reply, or with an error instead."""
        [(_, done)] = self.asked
        done(reply, answered)
        assert self.closed


class Server(FakeServer):
    """A server of a pool."""

    pool: "Pool"

    def count_failure(self) -> None:
        self.pool.events.append(("failure", self))


class Pool(FakePool):
    """A pool of two servers; ``events``: the failed checks and the calls of ``reinstate``.

    ``begun``: how many checks of each server the workers have begun that share it.
    """

    def __init__(self, begun: Counter[int] | None = None, **settings: int) -> None:
        config = {"server_retry_timeout": RETRY_MS, "probe_successes": 1, "health_check_interval": 0, "timeout": 0}
        handshake = SimpleNamespace(probe=lambda: b"PING", is_well=lambda reply: reply == b"+PONG")
        codec = SimpleNamespace(handshake=handshake)
        super().__init__(SimpleNamespace(**{**config, **settings}), codec)
        self.servers = [Server(position) for position in range(2)]
        for server in self.servers:
            server.pool = self
        self.open = self.extra
        self.begun: Counter[int] = Counter() if begun is None else begun
        self.events: list[tuple[str, Server]] = []
        self.checks = HealthChecks(self)

    def open_probe(self, server: Server, timeout: int) -> Any:
        probe = self._opened(Probe(server))
        probe.timeout = timeout
        return probe

    def reinstate(self, server: Server) -> None:
        self.events.append(("reinstate", server))
        self.checks.reinstated(server)

    def checks_of(self, server: Server) -> int:
        return self.begun[server]

    def begin_check(self, server: Server, seen: int) -> bool:
        if self.begun[server] != seen:
            return False
        self.begun[server] += 1
        return True

    def until_probe(self) -> tuple[int, Probe]:
        """Let time pass until a probe is running; returns how long that took, and the probe."""
        return self.wait_for(lambda: self.open), self.open[0]


def is_about(waited: int, wanted: int) -> bool:
    return wanted * (1 - JITTER) - TICK <= waited <= wanted * (1 + JITTER) + TICK


def test_a_server_that_answers_comes_back() -> None:
    pool = Pool(timeout=300)
    pool.wait(100 * RETRY)
    assert not pool.open
    assert pool.checks.ejected(pool.servers[1]) == RETRY
    waited, probe = pool.until_probe()
    assert is_about(waited, RETRY)
    assert (probe.server, probe.asked[0][0], probe.timeout) == (pool.servers[1], b"PING", 300_000)
    pool.wait(100 * RETRY)
    assert pool.open == [probe], "one probe at a time"
    probe.answer(b"+PONG")
    assert pool.events == [("reinstate", pool.servers[1])]
    pool.wait(100 * RETRY)
    assert not pool.open


def test_one_that_does_not_is_asked_again() -> None:
    pool = Pool()
    pool.checks.ejected(pool.servers[0])
    for reply, answered in [(b"-LOADING", True), (b"+PONG", False), (b"", True)]:
        waited, probe = pool.until_probe()
        assert is_about(waited, RETRY)
        assert probe.timeout == PROBE_TIMEOUT
        probe.answer(reply, answered)
    assert pool.events == []
    pool.until_probe()[1].answer(b"+PONG")
    assert pool.events == [("reinstate", pool.servers[0])]


def test_a_probe_that_there_was_no_descriptor_for_says_nothing() -> None:
    pool = Pool(health_check_interval=CHECK_MS)
    for _ in range(4):
        pool.until_probe()[1].answer(pool.error(error_text(errno.EMFILE)), answered=False)
    assert pool.events == []
    pool.until_probe()[1].answer(pool.error(error_text(errno.ECONNREFUSED)), answered=False)
    assert [event for event, _ in pool.events] == ["failure"]


def test_successes_are_counted_in_a_row() -> None:
    pool = Pool(probe_successes=3)
    pool.checks.ejected(pool.servers[0])
    for reply in (b"+PONG", b"+PONG", b"-no", b"+PONG", b"+PONG"):
        pool.until_probe()[1].answer(reply)
        assert pool.events == []
    pool.until_probe()[1].answer(b"+PONG")
    assert pool.events == [("reinstate", pool.servers[0])]


def test_one_that_flaps_waits_longer_and_longer() -> None:
    pool = Pool()
    for doublings in [*range(MOST_DOUBLINGS + 1), MOST_DOUBLINGS]:
        assert pool.checks.ejected(pool.servers[0]) == RETRY << doublings
        waited, probe = pool.until_probe()
        assert is_about(waited, RETRY << doublings)
        probe.answer(b"+PONG")
    pool.wait(SOON * RETRY)
    assert pool.checks.ejected(pool.servers[0]) == RETRY


def test_others_are_checked_where_that_is_wanted() -> None:
    pool = Pool(health_check_interval=CHECK_MS)
    for _ in range(3):
        for _ in range(2):
            waited, probe = pool.until_probe()
            assert waited <= CHECK * (1 + JITTER) + TICK
            probe.answer(b"+PONG")
    assert pool.events == []
    waited, probe = pool.until_probe()
    probe.answer(b"-no")
    assert pool.events == [("failure", probe.server)]


def test_a_check_that_was_under_way_says_nothing_of_a_server_ejected_since() -> None:
    pool = Pool(health_check_interval=CHECK_MS)
    _, check = pool.until_probe()
    pool.checks.ejected(check.server)
    check.answer(b"+PONG")
    assert pool.events == []
    ejected_at = pool.time
    while True:
        _, probe = pool.until_probe()
        probe.answer(b"+PONG")
        if probe.server == check.server:
            break
    assert is_about(pool.time - ejected_at, RETRY)
    assert pool.events == [("reinstate", check.server)]


@pytest.mark.parametrize("well", [True, False])
def test_checks_go_on_after_the_return(well: bool) -> None:
    pool = Pool(health_check_interval=CHECK_MS)
    pool.checks.ejected(pool.servers[0])
    while ("reinstate", pool.servers[0]) not in pool.events:
        pool.until_probe()[1].answer(b"+PONG")
    pool.events.clear()
    for _ in range(4):
        _, probe = pool.until_probe()
        probe.answer(b"+PONG" if well or probe.server is pool.servers[1] else b"-no")
    assert (("failure", pool.servers[0]) in pool.events) != well


def test_what_was_found_at_a_former_address_does_not_count() -> None:
    pool = Pool(health_check_interval=CHECK_MS)
    live, ejected = pool.servers
    pool.checks.ejected(ejected)
    _, probe = pool.until_probe()
    if probe.server is not live:
        probe.answer(b"-no")
        _, probe = pool.until_probe()
    pool.checks.moved(live)
    probe.answer(b"-no")
    assert pool.events == []
    pool.checks.ejected(ejected)
    pool.checks.moved(ejected)
    waited, probe = pool.until_probe()
    assert (waited <= TICK, probe.server) == (True, ejected)
    probe.answer(b"+PONG")
    assert pool.events == [("reinstate", ejected)]


# --- several workers -----------------------------------------------------------------------------------------


def workers(count: int, **settings: int) -> list[Pool]:
    """The same pool in several workers."""
    begun: Counter[int] = Counter()
    return [Pool(begun, **settings) for _ in range(count)]


def next_probe(pools: list[Pool]) -> tuple[Pool, Probe]:
    """Let time pass in all workers until one of them probes; returns it, and the probe."""
    while not any(pool.open for pool in pools):
        now = max(min(pool.next_at() for pool in pools), *(pool.time for pool in pools))
        for pool in pools:
            pool.wait(now - pool.time)
    running = [(pool, probe) for pool in pools for probe in pool.open]
    assert len({probe.server for _, probe in running}) == len(running), "a server is checked twice"
    return running[0]


def ejected_by(first: Pool, others: list[Pool]) -> Server:
    server: Server = first.servers[0]
    first.checks.ejected(server)
    for other in others:
        other.checks.ejected_elsewhere(server, False)
    return server


def test_the_worker_that_has_ejected_a_server_probes_it() -> None:
    first, *others = workers(3)
    ejected_by(first, others)
    for _ in range(20):
        pool, probe = next_probe([first, *others])
        assert pool is first
        probe.answer(b"-no")
    next_probe([first, *others])[1].answer(b"+PONG")
    assert [len(pool.events) for pool in (first, *others)] == [1, 0, 0]


@pytest.mark.parametrize("settings", [{}, {"timeout": 300}, {"probe_successes": 2}])
def test_another_worker_takes_over_when_the_one_that_probes_has_ended(settings: dict[str, int]) -> None:
    first, *others = workers(3, **settings)
    server = ejected_by(first, others)
    next_probe([first, *others])[1].answer(b"-no")
    began = others[0].time
    heir, probe = next_probe(others)
    timeout = 1000 * settings.get("timeout", 0) or PROBE_TIMEOUT
    # It may just have looked when the other one has ended.
    assert heir.time - began <= 2 * (1 + JITTER) * ((1 + MORE_INTERVALS) * RETRY + timeout)
    probe.answer(b"-no")
    while not heir.events:
        pool, probe = next_probe(others)
        assert pool is heir
        probe.answer(b"+PONG")
    assert heir.events == [("reinstate", server)]


def test_a_worker_that_stood_still_does_not_probe_beside_the_one_that_has_taken_over() -> None:
    first, other = workers(2, probe_successes=2)
    ejected_by(first, [other])
    next_probe([first, other])[1].answer(b"+PONG")
    _, probe = next_probe([other])
    probe.answer(b"+PONG")
    first.wait(other.time - first.time)
    assert not first.open
    # The success of the worker that stood still does not count any more.
    pool, probe = next_probe([first, other])
    assert pool is other
    probe.answer(b"+PONG")
    assert [first.events, other.events] == [[], [("reinstate", other.servers[0])]]


def test_a_pool_that_begins_probes_ejected_servers_at_once() -> None:
    first, begins = workers(2)
    first.checks.ejected(first.servers[0])
    begins.checks.ejected_elsewhere(begins.servers[0], True)
    waited, probe = begins.until_probe()
    assert waited <= TICK
    probe.answer(b"-no")
    first.wait(begins.time - first.time)
    # From now on it probes the server, and the other one stands by.
    for _ in range(5):
        pool, probe = next_probe([first, begins])
        assert pool is begins
        probe.answer(b"-no")


def test_a_probe_that_was_under_way_says_nothing_of_a_later_ejection() -> None:
    first, other = workers(2)
    server = ejected_by(first, [other])
    _, probe = next_probe([first, other])
    first.checks.reinstated(server)
    first.checks.ejected_elsewhere(server, False)
    probe.answer(b"+PONG")
    assert first.events == []


def test_a_server_that_has_returned_is_not_probed_any_more() -> None:
    first, other = workers(2)
    server = ejected_by(first, [other])
    other.checks.reinstated(server)
    other.wait(100 * RETRY)
    assert not other.open


def test_one_worker_checks_live_servers_and_another_one_takes_over() -> None:
    first, other = workers(2, health_check_interval=CHECK_MS, timeout=CHECK_MS)
    checking: dict[Server, Pool] = {}
    for _ in range(40):
        pool, probe = next_probe([first, other])
        checking.setdefault(probe.server, pool)
        assert pool is checking[probe.server]
        probe.answer(b"+PONG")
    assert len(checking) == 2
    ended = checking[first.servers[0]]
    heir = other if ended is first else first
    found: set[Server] = set()
    while len(found) < 2:
        _, probe = next_probe([heir])
        found.add(probe.server)
        probe.answer(b"+PONG")
