"""Questions to every server: asked once for all waiting clients, and answered without servers that are silent."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from twemproxy.upstream.server_poll import ANSWER_BY, Reply, ServerPoll
from unit.fakes import FakeClient, FakePool, FakeServer

QUESTION = b"how are you?"


def pool_of(servers: int = 2, timeout: int = 0) -> FakePool:
    return FakePool(SimpleNamespace(timeout=timeout), servers=servers)


@pytest.fixture
def pool() -> FakePool:
    return pool_of()


@pytest.fixture
def polls(pool: FakePool) -> ServerPoll:
    return ServerPoll(pool, lambda reply: reply.startswith(b"-"))


def test_every_server_is_asked_and_the_client_woken(pool: FakePool, polls: ServerPoll) -> None:
    client = FakeClient()
    poll = polls.ask(QUESTION, client, 8)
    assert [(server, request, kind) for server, request, _, kind in pool.asked] == [(0, QUESTION, 8), (1, QUESTION, 8)]
    pool.asked[1][2](b"fine", True)
    assert not poll.done
    assert not client.woken
    pool.asked[0][2](b"-BUSY", True)
    assert poll.done
    assert client.woken == 1
    assert poll.replies == [Reply(pool.servers[0], "error", b"-BUSY"), Reply(pool.servers[1], "ok", b"fine")]


def test_who_asks_meanwhile_gets_the_next_answer(pool: FakePool, polls: ServerPoll) -> None:
    first, *others = clients = [FakeClient() for _ in range(4)]
    poll = polls.ask(QUESTION, first)
    following = [polls.ask(QUESTION, client) for client in others]
    assert len(pool.asked) == 2, "one question at a time"
    assert following[0] is following[1] is following[2] is not poll
    for _, _, done, _ in list(pool.asked):
        done(b"1", True)
    assert [client.woken for client in clients] == [1, 0, 0, 0]
    assert len(pool.asked) == 4
    for _, _, done, _ in pool.asked[2:]:
        done(b"2", True)
    assert [client.woken for client in clients] == [1, 1, 1, 1]
    assert following[0].replies == [Reply(server, "ok", b"2") for server in pool.servers]


def answer(pool: FakePool, reply: bytes = b"fine") -> None:
    """Answer all questions that are asked so far."""
    asked, pool.asked = pool.asked, []
    for _, _, done, _ in asked:
        done(reply, True)


@pytest.mark.parametrize("answered", [True, False])
def test_requests_that_arrived_together_share_the_answer(pool: FakePool, polls: ServerPoll, answered: bool) -> None:
    client = FakeClient()
    client.read_turn = pool.turns
    poll = polls.ask(QUESTION, client)
    if answered:
        answer(pool)
    for requests in (1, 2, 3):
        pool.turns += 1
        client.requests = requests
        assert polls.ask(QUESTION, client) is poll
    answer(pool)
    assert client.woken == 1


@pytest.mark.parametrize("change", ["other request between", "read later", "other client", "other question"])
def test_only_requests_that_arrived_together_share(pool: FakePool, polls: ServerPoll, change: str) -> None:
    client, other = FakeClient(), FakeClient(2)
    poll = polls.ask(QUESTION, client)
    answer(pool)
    client.requests = other.requests = 2 if change == "other request between" else 1
    client.read_turn = pool.turns + (change == "read later")
    again = polls.ask(
        b"and you?" if change == "other question" else QUESTION, other if change == "other client" else client
    )
    assert again is not poll
    assert len(pool.asked) == 2


def test_the_number_of_requests_may_wrap(pool: FakePool, polls: ServerPoll) -> None:
    client = FakeClient()
    client.requests = (1 << 32) - 1
    poll = polls.ask(QUESTION, client)
    client.requests = 0
    assert polls.ask(QUESTION, client) is poll


def test_a_poll_that_is_not_sent_yet_is_shared(pool: FakePool, polls: ServerPoll) -> None:
    polls.ask(QUESTION, FakeClient(2))
    client = FakeClient()
    poll = polls.ask(QUESTION, client)
    client.requests, client.read_turn = 1, pool.turns + 3
    assert polls.ask(QUESTION, client) is poll


def test_other_questions_do_not_wait(pool: FakePool, polls: ServerPoll) -> None:
    polls.ask(QUESTION, FakeClient())
    polls.ask(b"and you?", FakeClient())
    assert len(pool.asked) == 4


@pytest.mark.parametrize(("timeout", "patience"), [(0, ANSWER_BY), (300, 300_000), (60_000, ANSWER_BY)])
def test_a_server_that_says_nothing_is_not_waited_for(timeout: int, patience: int) -> None:
    pool = pool_of(timeout=timeout)
    polls = ServerPoll(pool, lambda _: False)
    client = FakeClient()
    poll = polls.ask(QUESTION, client)
    pool.asked[0][2](b"fine", True)
    pool.wait(patience - 1)
    assert not poll.done
    pool.wait(1)
    assert poll.done
    assert client.woken == 1
    assert [reply.state for reply in poll.replies] == ["ok", "silent"]
    pool.asked[1][2](b"too late", True)
    assert poll.replies[1].state == "silent"


def test_a_server_that_owes_an_answer_is_not_asked_again(pool: FakePool, polls: ServerPoll) -> None:
    polls.ask(QUESTION, FakeClient())
    pool.asked[0][2](b"fine", True)
    pool.wait(ANSWER_BY)
    poll = polls.ask(QUESTION, FakeClient())
    assert [server for server, *_ in pool.asked] == [0, 1, 0]
    pool.asked[2][2](b"fine", True)
    assert [reply.state for reply in poll.replies] == ["ok", "silent"]
    pool.asked[1][2](b"late", True)
    polls.ask(QUESTION, FakeClient())
    assert [server for server, *_ in pool.asked] == [0, 1, 0, 0, 1]


def test_nobody_to_ask() -> None:
    pool = pool_of(1)
    polls = ServerPoll(pool, lambda _: False)
    polls.ask(QUESTION, FakeClient())
    pool.wait(ANSWER_BY)
    client = FakeClient()
    poll = polls.ask(QUESTION, client)
    assert poll.done
    assert client.woken == 1
    assert [reply.state for reply in poll.replies] == ["silent"]


def test_servers_that_failed_and_those_that_are_ejected(pool: FakePool, polls: ServerPoll) -> None:
    pool.live = set(pool.servers[1:])
    poll = polls.ask(QUESTION, FakeClient())
    pool.asked[0][2](b"-ERR Connection refused", False)
    assert poll.replies == [
        Reply(pool.servers[0], "ejected"),
        Reply(pool.servers[1], "failed", b"-ERR Connection refused"),
    ]


def test_a_server_that_fails_at_once(pool: FakePool, polls: ServerPoll) -> None:
    def ask_server(server: FakeServer, request: bytes, done: Callable[[bytes, bool], None], kind: int) -> None:
        done(b"-ERR no", False)

    pool.ask_server = ask_server  # type: ignore[method-assign]
    client = FakeClient()
    poll = polls.ask(QUESTION, client)
    assert poll.done
    assert client.woken == 1
