"""When topics may leave former servers and messages may be published at present ones, with other workers."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from twemproxy.protocol.other_workers import CHANNELS, NO_OTHER_WORKERS
from twemproxy.upstream.agreement import PATIENCE, PAUSE, Agreement
from unit.timed import Timed

OTHER = (-1, -1)


class Inquiry:
    """A question to the other workers."""

    def __init__(self, digest: bytes, asking: Agreement) -> None:
        self.digest = digest
        self.done = False
        self.rows: list[tuple[int, bytes]] = []
        self.ended = False
        self._asking = asking

    def wake_too(self, client: Any) -> None:
        raise NotImplementedError

    def end(self) -> None:
        self.ended = True

    def answer(self, *states: tuple[int, int]) -> None:
        """All workers have answered with these states."""
        assert not self.ended and not self.done
        self.done = True
        self.rows = [(on_their_way, b"%d" % missing) for on_their_way, missing in states]
        self._asking.wake()


class Workers:
    """The other workers, which are asked. ``asked``: the questions, the latest one last."""

    def __init__(self) -> None:
        self.asked: list[Inquiry] = []

    def are_there(self) -> bool:
        return True

    def ask(self, what: str, arguments: Sequence[bytes], client: Any) -> Inquiry:
        assert what == CHANNELS
        self.asked.append(Inquiry(arguments[0], client))
        return self.asked[-1]

    def tell(self, what: str, arguments: Sequence[bytes]) -> None:
        raise NotImplementedError

    def tell_audiences(self, topics: Sequence[tuple[str, bytes, int, int]], anew: bool) -> None:
        raise NotImplementedError


class Pool(Timed):
    """A pool of three servers; the first byte of a channel determines its server, if that is live.

    ``progress``: (``may_leave``, ``may_publish``) at each call of ``on_progress``. ``own``: the state of this worker.
    """

    def __init__(self) -> None:
        super().__init__()
        self.servers = ["s0", "s1", "s2"]
        servers = [SimpleNamespace(address=f"address of {name}") for name in self.servers]
        self.config: Any = SimpleNamespace(hash="md5", distribution="ketama", hash_tag="", servers=servers)
        self.random = False
        self.own = (0, 0)
        self.progress: list[tuple[bool, bool]] = []
        self.route()
        self.agreement = Agreement(self, lambda: self.own, self._note)
        self.elsewhere = Workers()
        self.agreement.others = self.elsewhere

    def _note(self) -> None:
        self.progress.append(self.may())

    def configured(self, **directives: object) -> Any:
        """The configuration with other directives."""
        return SimpleNamespace(**{**vars(self.config), **directives})

    def move(self, number: int) -> None:
        """Have a configuration in which a server has another address."""
        servers = list(self.config.servers)
        servers[number] = SimpleNamespace(address="another address")
        self.config = self.configured(servers=servers)

    def is_random(self) -> bool:
        return self.random

    def route(self, *ejected: str) -> None:
        """Have another route table, without these servers."""
        servers = tuple(self.servers)
        live = tuple(name for name in servers if name not in ejected)

        def server_of_all(names: list[bytes]) -> str:
            usual = servers[names[0][0] % len(servers)]
            return usual if usual in live else live[0]

        self.routes = SimpleNamespace(servers=servers, live=live, server_of_all=server_of_all)

    def change(self, *ejected: str) -> Inquiry:
        """Have another route table; returns the question that follows."""
        before = len(self.elsewhere.asked)
        self.route(*ejected)
        self.agreement.begin()
        assert len(self.elsewhere.asked) == before + 1
        return self.elsewhere.asked[-1]

    def may(self) -> tuple[bool, bool]:
        return self.agreement.may_leave, self.agreement.may_publish

    def asked_again(self) -> Inquiry:
        """The question after PAUSE."""
        before = len(self.elsewhere.asked)
        self.wait(PAUSE)
        assert len(self.elsewhere.asked) == before + 1
        return self.elsewhere.asked[-1]


@pytest.fixture
def pool() -> Pool:
    return Pool()


def moved(pool: Pool, first: bytes) -> bool:
    """Whether a channel with this first byte has moved."""
    return pool.agreement.has_moved(first, pool.routes.server_of_all([first]))


def test_the_same_routes_need_no_agreement(pool: Pool) -> None:
    pool.change("s1").answer((0, 0))
    pool.route("s1")
    pool.agreement.begin()
    assert len(pool.elsewhere.asked) == 1 and pool.may() == (True, True)


def test_others_that_go_are_not_waited_for(pool: Pool) -> None:
    pool.change("s1")
    pool.agreement.others = NO_OTHER_WORKERS
    pool.route()
    pool.agreement.begin()
    assert pool.may() == (True, True) and pool.progress == [(True, True)]
    assert not pool.agreement.is_open and not pool.has_work()


@pytest.mark.parametrize("is_used", [True, False])
def test_the_digest_does_not_depend_on_preparation(pool: Pool, is_used: bool) -> None:
    pool.agreement.prepare(pool.config if is_used else pool.configured(hash="crc32"))
    assert pool.change("s1").digest == Pool().change("s1").digest


def test_all_workers_switch_before_topics_leave_and_subscribe_before_messages_are_published(pool: Pool) -> None:
    question = pool.change("s1")
    assert pool.may() == (False, False)
    question.answer((0, 0), OTHER)
    assert pool.may() == (False, False)
    question = pool.asked_again()
    question.answer((0, 0), (2, 5))
    assert pool.may() == (False, False)
    pool.asked_again().answer((0, 0), (0, 5))
    assert pool.may() == (True, False)
    pool.asked_again().answer((0, 0), (0, 0))
    assert pool.may() == (True, True)
    assert pool.progress == [(True, False), (True, True)]
    assert not pool.has_work() and not pool.agreement.is_open


def test_messages_of_this_worker_count_and_its_own_subscriptions_do_not(pool: Pool) -> None:
    pool.own = (1, 1)
    pool.change("s1").answer((0, 0))
    assert pool.may() == (False, True)
    pool.own = (0, 1)
    pool.asked_again().answer((0, 0))
    assert pool.may() == (True, True)


def test_without_other_workers_only_own_messages_count(pool: Pool) -> None:
    pool.agreement.others = NO_OTHER_WORKERS
    pool.route("s1")
    pool.agreement.begin()
    assert pool.may() == (True, True)
    pool.own = (1, 0)
    pool.route()
    pool.agreement.begin()
    assert pool.may() == (False, True)
    pool.own = (0, 0)
    pool.wait(PAUSE)
    assert pool.may() == (True, True)


def test_only_channels_with_another_server_have_moved(pool: Pool) -> None:
    question = pool.change("s1")
    assert [moved(pool, b"%c" % number) for number in range(3)] == [False, True, False]
    question.answer((0, 0))
    assert [moved(pool, b"%c" % number) for number in range(3)] == [False, False, False]
    pool.move(2)
    pool.change("s1")
    assert [moved(pool, b"%c" % number) for number in range(3)] == [False, False, True]


def test_with_random_servers_only_new_ones_count(pool: Pool) -> None:
    pool.random = True
    pool.change("s1")
    assert not moved(pool, b"\1")


def test_routes_that_change_again_before_the_agreement(pool: Pool) -> None:
    """Another worker may have seen that all have the routes in between, and may have left the servers of the first."""
    first = pool.change("s1")
    second = pool.change()
    assert first.ended and first.digest != second.digest
    assert moved(pool, b"\0")
    second.answer((0, 0))
    assert pool.may() == (True, True) and not moved(pool, b"\0")


def test_the_answer_to_others(pool: Pool) -> None:
    pool.own = (3, 4)
    question = pool.change("s1")
    assert pool.agreement.answer(question.digest) == (3, 4)
    pool.change("s2")
    assert pool.agreement.answer(question.digest) == OTHER


def test_a_worker_that_does_not_follow_is_not_waited_for_ever(pool: Pool) -> None:
    question = pool.change("s1")
    for _ in range(PATIENCE // PAUSE + 1):
        question.answer(OTHER)
        assert pool.may() == (False, False)
        question = pool.asked_again()
    question.answer(OTHER)
    assert pool.may() == (True, True) and not pool.has_work()


def test_progress_is_waited_for(pool: Pool) -> None:
    question = pool.change("s1")
    for missing in range(2 * PATIENCE // PAUSE, 0, -1):
        question.answer((0, missing))
        assert pool.may() == (True, False)
        question = pool.asked_again()
    question.answer((0, 0))
    assert pool.may() == (True, True)


def test_the_digest_is_that_of_all_that_places_channels(pool: Pool) -> None:
    digests = {pool.change("s1").digest, pool.change("s2").digest}
    for name, value in {"hash": "crc32", "distribution": "modula", "hash_tag": "{}"}.items():
        pool.config = pool.configured(**{name: value})
        digests.add(pool.change("s2").digest)
    pool.move(0)
    digests.add(pool.change("s2").digest)
    assert len(digests) == 6
