"""Questions to every server: asked once for all waiting clients, and answered without servers that are silent."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from harness.fake_servers import FakeServer, fake_servers
from twemproxy.proxy.server_poll import ANSWER_BY, Reply, ServerPoll

QUESTION = b"how are you?"


class Pool:
    """``asked``: for each question the server, the request, the callback for the reply, and the kind of reply."""

    def __init__(self, servers: int = 2, timeout: int = 0) -> None:
        self.config = SimpleNamespace(timeout=timeout)
        self.time = 1000
        self.turns = 5
        self.servers = fake_servers(servers)
        self.live = self.servers
        self.asked: list[tuple[FakeServer, bytes, Callable[[bytes, bool], None], int]] = []
        self.look_at = 0

    def now(self) -> int:
        return self.time

    def turn(self) -> int:
        return self.turns

    def look_by(self, moment: int) -> None:
        self.look_at = moment

    def live_servers(self) -> tuple[FakeServer, ...]:
        return self.live

    def ask_server(self, server: FakeServer, request: bytes, done: Callable[[bytes, bool], None], kind: int) -> None:
        self.asked.append((server, request, done, kind))


class Client:
    """``requests``: the number of its requests so far; ``read_turn``: the turn of the last read."""

    def __init__(self, number: int = 1) -> None:
        self.woken = 0
        self.identity = number
        self.requests = 0
        self.read_turn = 0

    def wake(self) -> None:
        self.woken += 1

    def number(self) -> int:
        return self.identity

    def progress(self) -> tuple[int, int]:
        return self.requests, self.read_turn


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def polls(pool: Pool) -> ServerPoll:
    return ServerPoll(pool, lambda reply: reply.startswith(b"-"))


def test_every_server_is_asked_and_the_client_woken(pool: Pool, polls: ServerPoll) -> None:
    client = Client()
    poll = polls.ask(QUESTION, client, 8)
    assert [(server, request, kind) for server, request, _, kind in pool.asked] == [(0, QUESTION, 8), (1, QUESTION, 8)]
    pool.asked[1][2](b"fine", True)
    assert not poll.done
    assert not client.woken
    pool.asked[0][2](b"-BUSY", True)
    assert poll.done
    assert client.woken == 1
    assert poll.replies == [Reply(pool.servers[0], "error", b"-BUSY"), Reply(pool.servers[1], "ok", b"fine")]


def test_who_asks_meanwhile_gets_the_next_answer(pool: Pool, polls: ServerPoll) -> None:
    first, *others = clients = [Client() for _ in range(4)]
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
    assert polls.expire(pool.time) is None


def answer(pool: Pool, reply: bytes = b"fine") -> None:
    """Answer all questions that are asked so far."""
    asked, pool.asked = pool.asked, []
    for _, _, done, _ in asked:
        done(reply, True)


@pytest.mark.parametrize("answered", [True, False])
def test_requests_that_arrived_together_share_the_answer(pool: Pool, polls: ServerPoll, answered: bool) -> None:
    client = Client()
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
def test_only_requests_that_arrived_together_share(pool: Pool, polls: ServerPoll, change: str) -> None:
    client, other = Client(), Client(2)
    poll = polls.ask(QUESTION, client)
    answer(pool)
    client.requests = other.requests = 2 if change == "other request between" else 1
    client.read_turn = pool.turns + (change == "read later")
    again = polls.ask(
        b"and you?" if change == "other question" else QUESTION, other if change == "other client" else client
    )
    assert again is not poll
    assert len(pool.asked) == 2


def test_the_number_of_requests_may_wrap(pool: Pool, polls: ServerPoll) -> None:
    client = Client()
    client.requests = (1 << 32) - 1
    poll = polls.ask(QUESTION, client)
    client.requests = 0
    assert polls.ask(QUESTION, client) is poll


def test_a_poll_that_is_not_sent_yet_is_shared(pool: Pool, polls: ServerPoll) -> None:
    polls.ask(QUESTION, Client(2))
    client = Client()
    poll = polls.ask(QUESTION, client)
    client.requests, client.read_turn = 1, pool.turns + 3
    assert polls.ask(QUESTION, client) is poll


def test_other_questions_do_not_wait(pool: Pool, polls: ServerPoll) -> None:
    polls.ask(QUESTION, Client())
    polls.ask(b"and you?", Client())
    assert len(pool.asked) == 4


@pytest.mark.parametrize(("timeout", "patience"), [(0, ANSWER_BY), (300, 300), (60_000, ANSWER_BY)])
def test_a_server_that_says_nothing_is_not_waited_for(timeout: int, patience: int) -> None:
    pool = Pool(timeout=timeout)
    polls = ServerPoll(pool, lambda _: False)
    client = Client()
    poll = polls.ask(QUESTION, client)
    assert pool.look_at == pool.time + patience
    pool.asked[0][2](b"fine", True)
    assert polls.expire(pool.time + patience - 1) == pool.time + patience
    assert not poll.done
    assert polls.expire(pool.time + patience) is None
    assert poll.done
    assert client.woken == 1
    assert [reply.state for reply in poll.replies] == ["ok", "silent"]
    pool.asked[1][2](b"too late", True)
    assert poll.replies[1].state == "silent"


def test_a_server_that_owes_an_answer_is_not_asked_again(pool: Pool, polls: ServerPoll) -> None:
    polls.ask(QUESTION, Client())
    pool.asked[0][2](b"fine", True)
    pool.time += ANSWER_BY
    polls.expire(pool.time)
    poll = polls.ask(QUESTION, Client())
    assert [server for server, *_ in pool.asked] == [0, 1, 0]
    pool.asked[2][2](b"fine", True)
    assert [reply.state for reply in poll.replies] == ["ok", "silent"]
    pool.asked[1][2](b"late", True)
    polls.ask(QUESTION, Client())
    assert [server for server, *_ in pool.asked] == [0, 1, 0, 0, 1]


def test_nobody_to_ask() -> None:
    pool = Pool(1)
    polls = ServerPoll(pool, lambda _: False)
    polls.ask(QUESTION, Client())
    pool.time += ANSWER_BY
    polls.expire(pool.time)
    client = Client()
    poll = polls.ask(QUESTION, client)
    assert poll.done
    assert client.woken == 1
    assert [reply.state for reply in poll.replies] == ["silent"]


def test_servers_that_failed_and_those_that_are_ejected(pool: Pool, polls: ServerPoll) -> None:
    pool.live = pool.servers[1:]
    poll = polls.ask(QUESTION, Client())
    pool.asked[0][2](b"-ERR Connection refused", False)
    assert poll.replies == [
        Reply(pool.servers[0], "ejected"),
        Reply(pool.servers[1], "failed", b"-ERR Connection refused"),
    ]


def test_a_server_that_fails_at_once(pool: Pool, polls: ServerPoll) -> None:
    def ask_server(server: FakeServer, request: bytes, done: Callable[[bytes, bool], None], kind: int) -> None:
        done(b"-ERR no", False)

    pool.ask_server = ask_server  # type: ignore[method-assign]
    client = Client()
    poll = polls.ask(QUESTION, client)
    assert poll.done
    assert client.woken == 1
