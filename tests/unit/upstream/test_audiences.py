"""What a worker tells the others of its subscribers, and what it makes of their notices."""

from types import SimpleNamespace
from typing import Any

import pytest

from twemproxy.protocol.other_workers import NoOtherWorkers
from twemproxy.upstream import audiences
from twemproxy.upstream.audiences import MOST_TOLD, TOLD_BYTES, Audiences
from unit.fakes import FakePool

CHANNEL, PATTERN, SHARD = "subscribe", "psubscribe", "ssubscribe"
Told = list[tuple[str, bytes, int, int]]


class Others(NoOtherWorkers):
    """The other workers: ``told`` is what they know."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, bytes], tuple[int, int]] = {}
        self.messages: list[Told] = []
        self.there = True

    def are_there(self) -> bool:
        return self.there

    def tell_audiences(self, topics: Any, anew: bool) -> None:
        self.messages.append(list(topics))
        if anew:
            self.told.clear()
        for kind, name, clients, servers in topics:
            self.told.pop((kind, name), None)
            if clients:
                self.told[kind, name] = (clients, servers)


class Pool(FakePool):
    """A pool with ``audiences``; ``here``: those of this worker."""

    def __init__(self) -> None:
        pubsub = SimpleNamespace(matches=lambda pattern, name: name.startswith(pattern.rstrip(b"*")))
        super().__init__(codec=SimpleNamespace(pubsub=pubsub))
        self.here: dict[tuple[str, bytes], tuple[int, int]] = {}
        self.audiences = Audiences(self, lambda kind, name: self.here.get((kind, name), (0, 0)))
        self.elsewhere = Others()
        self.audiences.others = self.elsewhere


def become(pool: Pool, kind: str, name: bytes, clients: int, servers: int = 1) -> None:
    """A topic has this audience from now on."""
    pool.here[kind, name] = (clients, servers)
    pool.audiences.note(kind, name)


@pytest.fixture
def pool() -> Pool:
    return Pool()


def test_only_what_servers_do_not_count_right_is_told(pool: Pool) -> None:
    for kind in (CHANNEL, PATTERN, SHARD):
        become(pool, kind, b"one", 1)
        become(pool, kind, b"two", 2)
    become(pool, CHANNEL, b"everywhere", 1, 3)
    become(pool, PATTERN, b"p*", 1, 3)
    become(pool, CHANNEL, b"wanted", 0, 3)
    pool.wait(0)
    expected = {(kind, b"two"): (2, 1) for kind in (CHANNEL, PATTERN, SHARD)}
    assert pool.elsewhere.told == expected | {(CHANNEL, b"everywhere"): (1, 3)}
    for kind in (CHANNEL, PATTERN, SHARD):
        become(pool, kind, b"two", 1)
    become(pool, CHANNEL, b"everywhere", 0, 0)
    pool.wait(0)
    assert pool.elsewhere.told == {}
    assert pool.kept == 0


def test_a_change_that_is_undone_within_a_turn_is_no_news(pool: Pool) -> None:
    become(pool, CHANNEL, b"a", 2)
    become(pool, CHANNEL, b"a", 1)
    pool.wait(0)
    assert pool.elsewhere.messages == []


def test_many_topics_are_told_in_several_turns(pool: Pool) -> None:
    for index in range(1200):
        become(pool, CHANNEL, b"%d" % index, 2)
    for index in range(3):
        become(pool, SHARD, b"%d" % index * audiences.BYTES_A_TURN, 2)
    while pool.has_work():
        pool.wait(0)
    assert [len(message) for message in pool.elsewhere.messages] == [1, 1, 1, 500, 500, 200]
    assert len(pool.elsewhere.told) == 1203


def test_a_worker_tells_a_bounded_number_of_bytes(pool: Pool) -> None:
    size = 1024 * 1024
    for index in range(20):
        become(pool, CHANNEL, b"%02d" % index * (size // 2), 2)
    while pool.has_work():
        pool.wait(0)
    assert len(pool.elsewhere.told) == MOST_TOLD // (size + TOLD_BYTES)
    assert pool.kept <= MOST_TOLD
    become(pool, CHANNEL, b"00" * (size // 2), 1)
    become(pool, CHANNEL, b"19" * (size // 2), 3)
    while pool.has_work():
        pool.wait(0)
    assert pool.elsewhere.told[CHANNEL, b"19" * (size // 2)] == (3, 1)


def test_who_has_told_nothing_has_nothing_to_take_back(pool: Pool) -> None:
    pool.audiences.begin_anew()
    assert pool.elsewhere.messages == []


def test_telling_anew(pool: Pool) -> None:
    become(pool, CHANNEL, b"a", 2)
    become(pool, CHANNEL, b"b", 2)
    pool.wait(0)
    pool.elsewhere.told = {(CHANNEL, b"of former times"): (5, 1)}
    pool.audiences.begin_anew()
    assert pool.elsewhere.told == {}
    pool.audiences.note(CHANNEL, b"a")
    pool.wait(0)
    assert pool.elsewhere.told == {(CHANNEL, b"a"): (2, 1)}


def test_without_other_workers_nothing_is_noted(pool: Pool) -> None:
    pool.elsewhere.there = False
    become(pool, CHANNEL, b"a", 2)
    assert not pool.has_work()


def test_the_audiences_of_other_workers_are_added_up(pool: Pool) -> None:
    told = pool.audiences
    assert told.audience(CHANNEL, b"abc") == (0, 0)
    told.hear(7, [(CHANNEL, b"abc", 2, 1), (PATTERN, b"a*", 5, 3), (SHARD, b"abc", 9, 1)], anew=False)
    told.hear(8, [(CHANNEL, b"abc", 3, 2)], anew=False)
    assert told.audience(CHANNEL, b"abc") == (10, 3)
    assert told.audience(CHANNEL, b"aaa") == (5, 1)
    assert told.audience(SHARD, b"abc") == (9, 1)
    assert told.subscribers(CHANNEL, b"abc") == (5, 3)
    assert told.subscribers(CHANNEL, b"aaa") == (0, 0)
    told.hear(7, [(CHANNEL, b"abc", 0, 0), (PATTERN, b"a*", 1, 0)], anew=False)
    assert told.audience(CHANNEL, b"abc") == (4, 1)
    told.hear(7, [(CHANNEL, b"x", 2, 1)], anew=True)
    assert told.audience(CHANNEL, b"abc") == (3, 1)
    told.keep(lambda process: process == 8)
    assert told.audience(CHANNEL, b"x") == (0, 0)
    told.hear(8, [], anew=True)
    assert told.audience(CHANNEL, b"abc") == (0, 0)
    assert pool.kept == 0


def test_the_comparison_of_patterns_is_bounded(pool: Pool) -> None:
    long = b"a" * 600
    told = [(PATTERN, b"a%d" % index * 500, 2, 1) for index in range(5)]
    pool.audiences.hear(7, [*told, (CHANNEL, long, 3, 1)], anew=False)
    clients, _ = pool.audiences.audience(CHANNEL, long)
    assert clients == 3
