"""Questions between workers, whose messages a test delivers."""

import os
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from twemproxy.ipc.inbox import Assembler, Message, packets
from twemproxy.protocol.redis import for_other_workers
from twemproxy.protocol.redis.scripts import ScriptMemory
from twemproxy.worker import questions
from twemproxy.worker.questions import PATIENCE, Questions
from unit.timed import Timed

ECHO = "echo"


class Outbox:
    """The way to a worker; ``full``: whether its inbox is."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.full = False

    def send(self, message: Message) -> bool:
        assembler = Assembler()
        [*_, found] = (assembler.add(packet, ()) for packet in packets(message, 1))
        assert found is not None
        self.messages.append(found[0])
        return True

    def is_full(self) -> bool:
        return self.full


class Pool:
    """``heard``: the audiences of other workers; ``changes``: how often the other workers have changed."""

    def __init__(self, slot: int, database: int = 0) -> None:
        self.slot = slot
        self.config = SimpleNamespace(redis=True, redis_db=database, databases=1, name=f"pool {slot}")
        self.codec = SimpleNamespace(scripts=ScriptMemory())
        self.heard: list[Any] = []
        self.changes = 0

    def others_changed(self, is_running: Any) -> None:
        assert is_running(os.getpid())
        assert not is_running(2**22 + 1)
        self.changes += 1

    def hear_audiences(self, *heard: Any) -> None:
        self.heard.append(heard)


class Client:
    woken = 0

    def wake(self) -> None:
        self.woken += 1


class Worker(Timed):
    """A worker; ``inbox``: what others have sent to it."""

    def __init__(self, number: int, *pools: Pool) -> None:
        super().__init__()
        self.pools = list(pools)
        self.retired: list[Any] = []
        self.inbox = Outbox()
        self.number = number
        self.questions = Questions(self, number, os.getppid() if number == 1 else os.getpid())
        for pool in pools:
            pool.codec.scripts.others = self.questions.elsewhere(pool)

    @property
    def loop(self) -> Any:
        return SimpleNamespace(now=self.time)

    def ask(self, what: str, *arguments: bytes, pool: int = 0) -> tuple[Any, Client]:
        """Ask the other workers about a pool."""
        client = Client()
        return self.questions.elsewhere(self.pools[pool]).ask(what, arguments, client), client


def meet(*workers: Worker) -> None:
    """Each of these workers knows the others."""
    for worker in workers:
        others: Any = {other.number: other.inbox for other in workers if other is not worker}
        worker.questions.set_others(others)


def settle(*workers: Worker) -> None:
    """Deliver all messages, and do what is due."""
    while any(worker.inbox.messages or worker.has_work() for worker in workers):
        for worker in workers:
            while worker.inbox.messages:
                worker.questions.take(worker.inbox.messages.popleft())
            worker.wait(0)


def echo(arguments: Any, pool: Any) -> Any:
    """The arguments, one in a step, after an empty step."""
    for number, argument in enumerate(arguments):
        yield ()
        if argument == b"defect":
            raise ZeroDivisionError
        yield [(number, argument + b" in %d" % pool.slot)]


@pytest.fixture(autouse=True)
def _echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(for_other_workers.ANSWERS, ECHO, echo)


def two() -> tuple[Worker, Worker]:
    first, second = (Worker(number, Pool(10), Pool(20), Pool(10, 5)) for number in (1, 2))
    meet(first, second)
    settle(first, second)
    return first, second


def test_each_worker_answers_once_about_the_same_pool() -> None:
    first, second, third = (Worker(number, Pool(10), Pool(20), Pool(10, 5)) for number in (1, 2, 3))
    meet(first, second, third)
    settle(first, second, third)
    question, client = first.ask(ECHO, b"a", b"b", pool=1)
    assert not question.done
    settle(first, second, third)
    assert question.done
    assert client.woken == 1
    assert sorted(question.rows) == [(0, b"a in 20")] * 2 + [(1, b"b in 20")] * 2


def test_several_clients_may_want_the_same_answer() -> None:
    first, second = two()
    question, client = first.ask(ECHO, b"a")
    another = Client()
    question.wake_too(another)
    settle(first, second)
    assert (client.woken, another.woken) == (1, 1)


def test_without_other_workers_nothing_is_asked() -> None:
    only = Worker(1, Pool(10))
    question, client = only.ask(ECHO, b"a")
    assert (question.done, question.rows, client.woken) == (True, [], 0)


def test_a_pool_that_another_worker_does_not_have() -> None:
    first, second = two()
    second.pools = [Pool(20), Pool(10, 6)]
    for pool in (0, 2):
        question, _ = first.ask(ECHO, b"a", pool=pool)
        settle(first, second)
        assert (question.done, question.rows) == (True, [])
    second.retired = [Pool(10)]
    question, _ = first.ask(ECHO, b"a")
    settle(first, second)
    assert question.rows == [(0, b"a in 10")]


def test_a_silent_worker_is_not_asked_before_it_says_something() -> None:
    first, second = two()
    question, client = first.ask(ECHO, b"a")
    first.wait(PATIENCE - 2000)
    assert not question.done
    first.wait(4000)
    assert (question.done, client.woken, question.rows) == (True, 1, [])
    assert len(second.inbox.messages) == 1
    question, _ = first.ask(ECHO, b"b")
    assert question.done
    assert len(second.inbox.messages) == 1
    settle(second)
    settle(first, second)
    question, _ = first.ask(ECHO, b"c")
    settle(first, second)
    assert question.rows == [(0, b"c in 10")]


def test_a_part_of_an_answer_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "STEPS", 2)
    first, second = two()
    question, _ = first.ask(ECHO, *[b"x"] * 5)
    second.questions.take(second.inbox.messages.popleft())
    for number in range(1, 6):
        first.wait(PATIENCE - 2000)
        second.wait(1000)
        while first.inbox.messages:
            first.questions.take(first.inbox.messages.popleft())
        assert len(question.rows) == number
    settle(first, second)
    assert question.done


def test_a_worker_that_is_gone_is_not_waited_for() -> None:
    first, _ = two()
    question, client = first.ask(ECHO, b"a")
    first.questions.set_others({})
    assert (question.done, client.woken) == (True, 1)


def test_a_question_in_the_wrong_inbox_has_no_answer() -> None:
    first, second = two()
    third = Worker(3, Pool(10))
    first.ask(ECHO, b"a")
    third.inbox.messages = second.inbox.messages
    meet(first, third)
    settle(first, third)
    assert not first.inbox.messages


def test_a_worker_may_ask_before_it_is_known() -> None:
    first, second = (Worker(number, Pool(10)) for number in (1, 2))
    second.questions.set_others({1: first.inbox})  # type: ignore[dict-item]
    question, _ = second.ask(ECHO, b"a")
    settle(first, second)
    assert not question.done
    first.questions.set_others({2: second.inbox})  # type: ignore[dict-item]
    first.wait(10_000)
    settle(first, second)
    assert question.rows == [(0, b"a in 10")]


def test_an_answer_waits_for_room_but_not_for_ever() -> None:
    first, second = two()
    question, _ = first.ask(ECHO, b"a")
    first.inbox.full = True
    settle(second)
    second.wait(100_000)
    assert not first.inbox.messages
    first.inbox.full = False
    second.wait(10_000)
    settle(first, second)
    assert question.rows == [(0, b"a in 10")]
    first.ask(ECHO, b"b")
    first.inbox.full = True
    settle(second)
    second.wait(PATIENCE + 10_000)
    first.inbox.full = False
    second.wait(100_000)
    assert not first.inbox.messages


def test_a_defect_ends_an_answer_only(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = two()
    question, _ = first.ask(ECHO, b"a", b"defect", b"b")
    settle(first, second)
    assert (question.done, question.rows) == (True, [(0, b"a in 10")])
    assert "ZeroDivisionError" in capsys.readouterr().err
    question, _ = first.ask("unknown question")
    settle(first, second)
    assert (question.done, question.rows) == (True, [])


def test_a_client_that_is_gone_is_not_woken() -> None:
    first, second = two()
    question, client = first.ask(ECHO, b"a")
    question.end()
    settle(first, second)
    assert client.woken == 0


def test_a_worker_that_hands_its_clients_over_asks_nothing() -> None:
    first, second = two()
    question, client = first.ask(ECHO, b"a")
    first.questions.hear_no_more(None)
    assert (question.done, client.woken) == (True, 1)
    meet(first, second)
    question, _ = first.ask(ECHO, b"a")
    assert question.done
    successor = Outbox()
    first.questions.hear_no_more(successor)  # type: ignore[arg-type]
    first.questions.elsewhere(first.pools[0]).tell_audiences([("subscribe", b"a", 2, 1)], False)
    assert len(successor.messages) == 1


# --- notices ---------------------------------------------------------------------------------------------------------


def test_scripts_are_told_once_and_learned_by_a_new_worker() -> None:
    first, second = two()
    scripts = first.pools[0].codec.scripts
    for body in (b"return 1", b"return 2", b"return 1"):
        scripts.remember(body)
    assert len(second.inbox.messages) == 2
    settle(first, second)
    assert [list(pool.codec.scripts.digests) for pool in second.pools] == [[b"return 1", b"return 2"], [], []]
    assert not first.inbox.messages, "what a worker was told it does not tell"
    third = Worker(3, Pool(10))
    meet(first, second, third)
    settle(first, second, third)
    assert list(third.pools[0].codec.scripts.digests) == [b"return 2", b"return 1"]
    scripts.forget()
    settle(first, second, third)
    assert not second.pools[0].codec.scripts.digests
    assert not third.pools[0].codec.scripts.digests


def test_a_new_worker_asks_the_next_one_if_the_first_is_silent() -> None:
    first, second = two()
    second.pools[0].codec.scripts.learn(b"return 1")
    third = Worker(3, Pool(10))
    meet(first, second, third)
    settle(second, third)
    third.wait(PATIENCE + 2000)
    settle(second, third)
    assert list(third.pools[0].codec.scripts.digests) == [b"return 1"]


def test_what_is_told_of_a_later_configuration_is_kept_for_it() -> None:
    first, second = two()
    pools, second.pools = second.pools, []
    first.questions.elsewhere(first.pools[0]).tell_audiences([("subscribe", b"a", 2, 1)], False)
    first.pools[1].codec.scripts.remember(b"return 1")
    settle(first, second)
    second.pools = pools
    second.questions.take_early()
    assert pools[0].heard == [(os.getppid(), (("subscribe", b"a", 2, 1),), False)]
    assert list(pools[1].codec.scripts.digests) == [b"return 1"]
    second.questions.take_early()
    assert len(pools[0].heard) == 1


def test_audiences_that_did_not_fit_are_told_anew() -> None:
    first, second = two()
    [pool, *_] = first.pools
    changes = pool.changes
    elsewhere = first.questions.elsewhere(pool)
    elsewhere.tell_audiences([("subscribe", b"a", 2, 1)], False)
    settle(first, second)
    assert second.pools[0].heard == [(os.getppid(), (("subscribe", b"a", 2, 1),), False)]
    second.inbox.full = True
    elsewhere.tell_audiences([("subscribe", b"b", 2, 1)], False)
    first.wait(2 * PATIENCE)
    assert pool.changes == changes
    second.inbox.full = False
    first.wait(2 * PATIENCE)
    assert pool.changes == changes + 1
    assert [other.changes for other in first.pools[1:]] == [changes, changes]
