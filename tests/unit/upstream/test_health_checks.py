"""When servers are probed, and what follows from the results; the test controls the time."""

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from twemproxy.upstream.endpoint import error_text
from twemproxy.upstream.health_checks import JITTER, MOST_DOUBLINGS, PROBE_TIMEOUT, SOON, HealthChecks
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
    """A pool of two servers; ``events``: the failed checks and the calls of ``reinstate``."""

    def __init__(self, **settings: int) -> None:
        config = {"server_retry_timeout": RETRY_MS, "probe_successes": 1, "health_check_interval": 0, "timeout": 0}
        handshake = SimpleNamespace(probe=lambda: b"PING", is_well=lambda reply: reply == b"+PONG")
        codec = SimpleNamespace(handshake=handshake)
        super().__init__(SimpleNamespace(**{**config, **settings}), codec)
        self.servers = [Server(position) for position in range(2)]
        for server in self.servers:
            server.pool = self
        self.open = self.extra
        self.events: list[tuple[str, Server]] = []
        self.checks = HealthChecks(self)

    def open_probe(self, server: Server, timeout: int) -> Any:
        probe = self._opened(Probe(server))
        probe.timeout = timeout
        return probe

    def reinstate(self, server: Server) -> None:
        self.events.append(("reinstate", server))

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
