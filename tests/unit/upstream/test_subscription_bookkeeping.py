"""Subscriptions of many clients over few server connections: any order of answers, losses, refusals and moves."""

from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from subscription_peers import REFUSED, TIMEOUT, Pool, Subscriber, move, subscribed

from harness.resp import error
from harness.subscribing import confirmation, message, pattern_message
from twemproxy.upstream import pubsub

A, B, C = b"\x00a", b"\x01b", b"\x02c"
"""A channel of each of the three servers."""
A2 = b"\x00z"
ALL = [0, 1, 2]


def lost(server: int) -> bytes:
    return error(f"ERR no connection to server 's{server:02d}' for subscriptions")


@pytest.fixture
def pool() -> Pool:
    return Pool()


# --- subscribing ---------------------------------------------------------------------------------------------------


def test_a_client_waits_for_the_server(pool: Pool) -> None:
    client = Subscriber(pool)
    assert client.ask("subscribe", A) is False
    assert pool.links() == [0]
    assert client.go_on() is False
    pool.link(0).answer()
    assert client.turn() is True
    pool.link(0).publish(A, b"x")
    assert client.got == [message(A, "x")]
    assert pool.link(0).history == [f"subscribe {A.decode()}"]


def test_others_do_not_ask_again(pool: Pool) -> None:
    first = subscribed(pool, "subscribe", A)
    second, third = Subscriber(pool), Subscriber(pool)
    assert second.ask("subscribe", A, A) is True
    assert third.ask("subscribe", A, B) is False
    pool.link(0).publish(A, b"x")
    assert (len(first.got), len(second.got), len(third.got)) == (1, 1, 0)
    assert pool.subscriptions.subscribers("subscribe", A) == (2, 1)
    pool.answer()
    assert third.turn() is True
    pool.link(0).publish(A, b"y")
    assert (len(first.got), len(second.got), len(third.got)) == (2, 2, 1)
    assert len(pool.link(0).history) == 1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_patterns_wait_for_every_server(pool: Pool, order: tuple[int, ...]) -> None:
    client = Subscriber(pool)
    assert client.ask("psubscribe", b"*") is False
    assert pool.links() == ALL
    for server in order[:2]:
        pool.link(server).answer()
        assert client.turn() is False
        pool.link(server).publish(A, b"early")
    pool.link(order[2]).answer()
    assert client.turn() is True
    for server in ALL:
        pool.link(server).publish(A, b"%d" % server)
    assert client.got == [pattern_message("*", A, str(server)) for server in ALL]
    assert pool.subscriptions.subscribers("psubscribe", b"*") == (1, 3)


@pytest.mark.parametrize("kind", ["subscribe", "ssubscribe"])
def test_where_topics_are_asked_for(pool: Pool, kind: str) -> None:
    subscribed(pool, kind, B)
    assert pool.links() == [1]
    subscribed(pool, kind, b"__keyspace@0__:x")
    assert pool.links() == ALL


def test_random_pools_ask_everywhere(pool: Pool) -> None:
    pool.random = True
    subscribed(pool, "subscribe", B)
    assert pool.links() == ALL


def test_kinds_are_told_apart(pool: Pool) -> None:
    channel, pattern, shard = (subscribed(pool, kind, A) for kind in ("subscribe", "psubscribe", "ssubscribe"))
    pool.link(0).say(message(A, "1"))
    pool.link(0).say(pattern_message(A, A, "2"))
    pool.link(0).say(message(A, "3", kind="smessage"))
    pool.link(0).say(message(B, "of nobody's concern"))
    assert (channel.got, pattern.got) == ([message(A, "1")], [pattern_message(A, A, "2")])
    assert shard.got == [message(A, "3", kind="smessage")]


# --- ending --------------------------------------------------------------------------------------------------------


def test_the_last_one_ends_it(pool: Pool) -> None:
    first, second, other = (subscribed(pool, "subscribe", name) for name in (A, A, A2))
    first.unsubscribe("subscribe", A, B, A)
    first.unsubscribe("psubscribe", A)
    assert len(pool.link(0).history) == 2
    second.leave()
    assert pool.link(0).history[2:] == [f"unsubscribe {A.decode()}"]
    pool.answer()
    assert pool.link(0).subscribed == {("subscribe", A2)}
    other.leave()
    assert pool.links() == [0]
    pool.answer()
    assert pool.links() == []


def test_the_last_one_waits_for_the_servers(pool: Pool) -> None:
    """A server that still has the subscription counts it in the reply to PUBLISH."""
    first, second = subscribed(pool, "subscribe", A, B), subscribed(pool, "subscribe", A)
    assert first.begin_unsubscribe("subscribe", A, C).is_answered()
    last = second.begin_unsubscribe("subscribe", A)
    both = first.begin_unsubscribe("subscribe", B)
    pool.work()
    assert not last.is_answered() and not both.is_answered()
    pool.link(0).answer()
    assert last.is_answered() and second.woken
    assert not both.is_answered() and not first.woken
    pool.link(1).fail()
    assert both.is_answered() and first.woken


def test_a_client_that_is_gone_is_not_woken(pool: Pool) -> None:
    client = subscribed(pool, "subscribe", A)
    ending = client.begin_unsubscribe("subscribe", A)
    ending.end()
    client.leave()
    pool.answer()
    assert ending.is_answered() and not client.woken


def test_it_begins_again_before_its_end_is_answered(pool: Pool) -> None:
    other = subscribed(pool, "subscribe", A2)
    for _ in range(3):
        subscribed(pool, "subscribe", A).leave()
    client = Subscriber(pool)
    assert client.ask("subscribe", A) is False
    pool.link(0).answer(1)
    assert client.turn() is False
    pool.link(0).answer()
    assert client.turn() is True
    pool.link(0).publish(A, b"x")
    assert (client.got, other.got) == ([message(A, "x")], [])


def test_who_leaves_while_it_waits_is_forgotten(pool: Pool) -> None:
    other = subscribed(pool, "subscribe", A2)
    client = Subscriber(pool)
    assert client.ask("subscribe", A, B) is False
    client.leave()
    pool.answer()
    assert not client.woken
    assert pool.link(0).subscribed == {("subscribe", A2)} and pool.link(1).subscribed == set()
    client.leave()
    other.leave()
    pool.answer()
    assert pool.links() == []


# --- errors --------------------------------------------------------------------------------------------------------


def test_only_who_asked_gets_the_error(pool: Pool) -> None:
    pool.forbidden[0] = {("subscribe", A)}
    other = subscribed(pool, "subscribe", A2, B)
    clients = [Subscriber(pool), Subscriber(pool)]
    assert clients[0].ask("subscribe", B, A, C) is False
    assert clients[1].ask("subscribe", A) is False
    pool.answer()
    assert [client.turn() for client in clients] == [REFUSED] * 2
    pool.answer()
    assert pool.link(0).subscribed == {("subscribe", A2)} and pool.link(2).subscribed == set()
    assert pool.subscriptions.subscribers("subscribe", B) == (1, 1)
    assert other.ended == "" and pool.given_up == []
    assert clients[0].ask("subscribe", B) is True


def test_an_error_at_the_end_is_nothing(pool: Pool) -> None:
    """A server that does not know the command to subscribe does not know the command to unsubscribe."""
    other = subscribed(pool, "subscribe", A2)
    client = Subscriber(pool)
    assert client.ask("ssubscribe", A) is False
    assert pool.link(0).requests.popleft() == [b"ssubscribe", A]
    pool.link(0).say(error("ERR unknown command 'ssubscribe'"))
    assert client.turn() == error("ERR unknown command 'ssubscribe'")
    assert pool.link(0).requests.popleft() == [b"sunsubscribe", A]
    pool.link(0).say(error("ERR unknown command 'sunsubscribe'"))
    assert other.ended == "" and pool.given_up == []
    assert client.ask("subscribe", A) is False
    pool.answer()
    assert client.turn() is True


def test_one_of_several_servers_refuses(pool: Pool) -> None:
    pool.forbidden[1] = {("psubscribe", b"*")}
    other = subscribed(pool, "subscribe", A, B, C)
    client = Subscriber(pool)
    assert client.ask("psubscribe", b"*") is False
    pool.link(1).answer()
    assert client.turn() == REFUSED
    pool.answer()
    assert [len(pool.link(server).subscribed) for server in ALL] == [1, 1, 1]
    assert other.ended == ""


@pytest.mark.parametrize(
    "said",
    [b"+OK\r\n", b"*1\r\n$3\r\nfoo\r\n", confirmation("unsubscribe", A2, 1), confirmation("subscribe", B, 1)],
)
@pytest.mark.parametrize("asked", [False, True])
def test_what_answers_nothing_costs_the_connection(pool: Pool, said: bytes, asked: bool) -> None:
    first, other = subscribed(pool, "subscribe", A), subscribed(pool, "subscribe", B)
    client = Subscriber(pool)
    if asked:
        assert client.ask("subscribe", A2) is False
    pool.link(0).say(said)
    pool.work()
    assert pool.given_up == ["EINVAL"]
    assert first.ended and not other.ended
    assert client.turn() == (lost(0) if asked else False)
    assert pool.links() == [1]


def test_an_end_that_is_confirmed_costs_the_connection(pool: Pool) -> None:
    other = subscribed(pool, "subscribe", A2)
    subscribed(pool, "subscribe", A).leave()
    pool.link(0).say(confirmation("subscribe", A, 1))
    pool.work()
    assert pool.given_up == ["EINVAL"] and other.ended


# --- losses --------------------------------------------------------------------------------------------------------


def test_who_may_have_missed_something_is_cut_off(pool: Pool) -> None:
    on_first, on_second, pattern = (
        subscribed(pool, kind, name) for kind, name in [("subscribe", A), ("subscribe", B), ("psubscribe", b"*")]
    )
    both = subscribed(pool, "subscribe", A, B)
    waiting, elsewhere = Subscriber(pool), Subscriber(pool)
    assert waiting.ask("subscribe", A2) is False
    assert elsewhere.ask("subscribe", C) is False
    pool.link(0).fail()
    pool.work()
    assert [bool(client.ended) for client in (on_first, pattern, both, on_second, waiting)] == [True] * 3 + [False] * 2
    assert waiting.turn() == lost(0)
    pool.answer()
    assert elsewhere.turn() is True
    assert pool.links() == [1, 2]
    assert pool.link(1).subscribed == {("subscribe", B)} and pool.link(2).subscribed == {("subscribe", C)}
    assert waiting.ask("subscribe", A2) is False
    pool.answer()
    assert waiting.turn() is True


def test_a_connection_without_topics_may_end(pool: Pool) -> None:
    client, other = subscribed(pool, "subscribe", A), subscribed(pool, "subscribe", B)
    client.leave()
    pool.link(0).fail()
    pool.work()
    assert other.ended == "" and pool.links() == [1]


def test_who_has_it_already_keeps_it_when_more_cannot_be_had(pool: Pool) -> None:
    client = subscribed(pool, "subscribe", A)
    pool.down.add(1)
    assert client.ask("subscribe", A, B) is False
    assert client.turn() == lost(1)
    assert client.ended == ""
    pool.link(0).publish(A, b"x")
    assert client.got == [message(A, "x")]
    assert pool.links() == [0]


@pytest.mark.parametrize("down", ALL)
def test_a_pattern_that_a_server_cannot_even_be_asked_for(pool: Pool, down: int) -> None:
    other = subscribed(pool, "subscribe", A, B, C)
    pool.link(down).fail()
    pool.work()
    assert other.ended
    other = subscribed(pool, "subscribe", *[name for name in (A, B, C) if name[0] != down])
    pool.down.add(down)
    client = Subscriber(pool)
    assert client.ask("psubscribe", b"*") is False
    assert client.turn() == lost(down)
    pool.answer()
    assert pool.links() == [server for server in ALL if server != down]
    for server in pool.links():
        assert {kind for kind, _ in pool.link(server).subscribed} == {"subscribe"}
    assert other.ended == ""
    other.leave()
    pool.answer()
    assert pool.links() == []


# --- time ----------------------------------------------------------------------------------------------------------


def test_a_server_that_does_not_answer(pool: Pool) -> None:
    other, client = subscribed(pool, "subscribe", B), Subscriber(pool)
    pool.wait(10 * TIMEOUT)
    assert client.ask("subscribe", A) is False
    pool.wait(TIMEOUT - 1)
    assert pool.given_up == []
    pool.wait(1)
    assert pool.given_up == ["ETIMEDOUT"]
    pool.work()
    assert client.turn() == lost(0)
    assert other.ended == "" and pool.links() == [1]


def test_without_a_timeout_it_may_take_for_ever() -> None:
    pool = Pool(timeout=0)
    client = Subscriber(pool)
    assert client.ask("subscribe", A) is False
    pool.wait(10**12)
    assert pool.given_up == []


# --- moves ---------------------------------------------------------------------------------------------------------


def test_topics_move_and_come_back(pool: Pool) -> None:
    client, other, pattern = (
        subscribed(pool, kind, name) for kind, name in [("subscribe", A), ("subscribe", C), ("psubscribe", b"*")]
    )
    move(pool, 1, 2)
    pool.answer()
    assert pool.link(0).subscribed == set()
    pool.link(1).publish(A, b"moved")
    move(pool, 0, 1, 2)
    pool.answer()
    pool.link(0).publish(A, b"back")
    assert client.got == [message(A, "moved"), message(A, "back")]
    assert pool.link(1).subscribed == {("psubscribe", b"*")}
    assert len(pattern.got) == 2 and not other.got


def test_patterns_are_asked_for_at_live_servers(pool: Pool) -> None:
    client, waiting, late = subscribed(pool, "psubscribe", b"*"), Subscriber(pool), Subscriber(pool)
    assert waiting.ask("psubscribe", b"a*") is False
    for server in (1, 2):
        pool.link(server).answer()
    assert waiting.turn() is False
    move(pool, 1, 2)
    assert waiting.turn() is True
    pool.link(0).fail()
    pool.work()
    assert late.ask("psubscribe", b"*") is True
    move(pool, 0, 1, 2)
    pool.answer()
    assert [len(pool.link(server).subscribed) for server in ALL] == [2, 2, 2]
    assert client.ended == ""
    move(pool)
    assert client.ended == "" and pool.links() == ALL


def test_a_move_while_it_is_asked_for(pool: Pool) -> None:
    """Only the present server of a topic matters, whatever a former server replies."""
    client, other = Subscriber(pool), subscribed(pool, "subscribe", A2)
    assert client.ask("subscribe", A) is False
    move(pool, 1, 2)
    pool.link(1).answer()
    assert client.turn() is True
    pool.link(0).answer()
    assert pool.link(0).subscribed == set()
    assert other.ended == ""


def test_a_refusal_of_a_former_server_is_nothing(pool: Pool) -> None:
    client, other = Subscriber(pool), subscribed(pool, "subscribe", A2)
    pool.forbidden[0] = {("subscribe", A)}
    assert client.ask("subscribe", A) is False
    move(pool, 1, 2)
    pool.link(0).answer()
    assert client.turn() is False
    pool.link(1).answer()
    assert client.turn() is True
    assert other.ended == ""


def test_the_former_server_is_lost(pool: Pool) -> None:
    client, other = Subscriber(pool), subscribed(pool, "subscribe", A2)
    assert client.ask("subscribe", A) is False
    move(pool, 1, 2)
    pool.link(0).fail()
    pool.work()
    pool.answer()
    assert client.turn() is True
    assert other.ended == ""


def test_a_server_that_is_elsewhere_and_refuses(pool: Pool) -> None:
    waits = Subscriber(pool)
    assert waits.ask("subscribe", A) is False
    pool.link(0).misplaced = True
    pool.down = {0}
    pool.subscriptions.leave_stale()
    pool.work()
    assert waits.turn() == lost(0)
    assert pool.links() == []


def test_back_before_anything_is_answered(pool: Pool) -> None:
    client = Subscriber(pool)
    assert client.ask("subscribe", A) is False
    move(pool, 1, 2)
    move(pool, 0, 1, 2)
    pool.link(0).answer(2)
    assert client.turn() is False
    pool.link(0).answer()
    assert client.turn() is True
    pool.answer()
    assert pool.link(0).subscribed == {("subscribe", A)} and pool.link(1).subscribed == set()


def test_who_subscribes_again_during_a_move_does_not_wait(pool: Pool) -> None:
    client, late = subscribed(pool, "subscribe", A), Subscriber(pool)
    move(pool, 1, 2)
    assert client.ask("subscribe", A) is True
    assert late.ask("subscribe", A) is False
    pool.answer()
    assert late.turn() is True


def test_a_move_to_a_server_that_is_down(pool: Pool) -> None:
    client, other = subscribed(pool, "subscribe", A), subscribed(pool, "subscribe", C)
    waiting = Subscriber(pool)
    assert waiting.ask("subscribe", A2) is False
    pool.down.add(1)
    move(pool, 1, 2)
    pool.answer()
    assert client.ended and waiting.turn() == lost(1)
    assert other.ended == ""
    assert pool.link(0).subscribed == set()


# --- random operations ---------------------------------------------------------------------------------------------

NAMES = [A, A2, B, C]
TOPICS = st.one_of(
    st.tuples(st.just("subscribe"), st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)),
    st.tuples(st.just("psubscribe"), st.lists(st.sampled_from([b"*", b"\x00*"]), min_size=1, max_size=2)),
)
CLIENTS = st.integers(0, 3)
SERVERS = st.integers(0, 2)


class Storm(RuleBasedStateMachine):
    """Compared with a set of topics for each client: a topic is in the set from its confirmation on."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool()
        self.clients: list[Subscriber] = []

    @initialize()
    def begin(self) -> None:
        self.clients = [Subscriber(self.pool, piece=1) for _ in range(4)]

    @rule(number=CLIENTS, topics=TOPICS)
    def subscribe(self, number: int, topics: tuple[str, list[bytes]]) -> None:
        client = self.clients[number]
        if client.request is None:
            client.ask(topics[0], *topics[1])

    @rule(number=CLIENTS, topics=TOPICS)
    def unsubscribe(self, number: int, topics: tuple[str, list[bytes]]) -> None:
        client = self.clients[number]
        if client.request is None:
            client.unsubscribe(topics[0], *topics[1])

    @rule(number=CLIENTS)
    def leave(self, number: int) -> None:
        self.clients[number].abort("it leaves")
        self.clients[number] = Subscriber(self.pool, piece=1)

    @rule(server=SERVERS, count=st.integers(1, 3))
    def answer(self, server: int, count: int) -> None:
        if server in self.pool.links():
            self.pool.link(server).answer(count)

    @rule(server=SERVERS)
    def lose(self, server: int) -> None:
        if server in self.pool.links():
            self.pool.link(server).fail()

    @rule(server=SERVERS)
    def go_elsewhere(self, server: int) -> None:
        if server in self.pool.links():
            self.pool.link(server).misplaced = True
        self.pool.subscriptions.leave_stale()

    @rule(down=st.sets(SERVERS, max_size=1))
    def go_down(self, down: set[int]) -> None:
        self.pool.down = down

    @rule(server=SERVERS, kind=st.sampled_from(["subscribe", "psubscribe"]), name=st.sampled_from([*NAMES, b"*"]))
    def forbid(self, server: int, kind: str, name: bytes) -> None:
        self.pool.forbidden = {server: {(kind, name)}}

    @rule(live=st.sets(SERVERS, min_size=1))
    def rebalance(self, live: set[int]) -> None:
        self.pool.live = live
        self.pool.subscriptions.follow_routes()

    @rule()
    def time_passes(self) -> None:
        self.pool.wait(TIMEOUT // 2)

    @rule()
    def turn(self) -> None:
        for client in self.clients:
            client.turn()

    @precondition(lambda self: all(client.request is None for client in self.clients))
    @rule(number=CLIENTS)
    def compare(self, number: int) -> None:
        """After all requests are answered, messages reach exactly the clients that have their topics."""
        self.settle()
        for name in NAMES:
            for client in self.clients:
                client.got.clear()
            server = self.pool.server_of(name)
            if server in self.pool.links():
                self.pool.link(server).publish(name, b"x")
            for client in self.clients:
                expected = [message(name, "x")] if ("subscribe", name) in client.has() else []
                for pattern in (b"*", b"\x00*"):
                    if ("psubscribe", pattern) in client.has() and name.startswith(pattern[:-1]):
                        expected.append(pattern_message(pattern, name, "x"))
                assert sorted(client.got) == sorted(expected)

    @rule()
    def do_one_chore(self) -> None:
        with patch.object(pubsub, "PIECE", 1):
            self.pool.wait(0)

    def settle(self) -> None:
        """Let servers answer all requests and clients continue, several times."""
        for _ in range(6):
            self.pool.answer()
            self.turn()
        self.replace_the_ended()

    @invariant()
    def replace_the_ended(self) -> None:
        for number, client in enumerate(self.clients):
            if client.ended:
                self.clients[number] = Subscriber(self.pool, piece=1)

    @rule(loses=st.booleans())
    def hear_of_a_former_address(self, loses: bool) -> None:
        for link in self.pool.former():
            link.fail() if loses else link.answer()

    @invariant()
    def one_connection_to_a_server(self) -> None:
        assert len(set(self.pool.links())) == len(self.pool.links())

    def teardown(self) -> None:
        self.pool.forbidden = {}
        self.settle()
        assert all(client.request is None for client in self.clients), "a client waits for ever"
        wanted = {topic for client in self.clients for topic in client.has()}
        for server in ALL:
            here = self.pool.link(server).subscribed if server in self.pool.links() else set()
            expected = {
                (kind, name)
                for kind, name in wanted
                if (server in self.pool.live if kind == "psubscribe" else self.pool.server_of(name) == server)
            }
            assert here == expected
        for kind, name in wanted:
            number = sum((kind, name) in client.has() for client in self.clients)
            servers = len(self.pool.live) if kind == "psubscribe" else 1
            assert self.pool.subscriptions.subscribers(kind, name) == (number, servers)
        for client in self.clients:
            client.leave()
        self.pool.answer()
        assert self.pool.extra == [] and self.pool.kept == 0 and not self.pool.subscriptions.is_moving()
        super().teardown()


TestStorm = Storm.TestCase
TestStorm.settings = settings(max_examples=60, stateful_step_count=40)
