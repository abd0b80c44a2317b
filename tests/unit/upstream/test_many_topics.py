"""Many topics at once: requests and events are processed in pieces, and no server times out because of them."""

import pytest
from subscription_peers import REFUSED, TIMEOUT, Pool, Subscriber

from harness.resp import error
from twemproxy.upstream import pubsub, topics

A, A2, B = b"\x00a", b"\x00z", b"\x01b"
MANY = [b"\x00%d" % number for number in range(20_000)]


def subscribed(pool: Pool, kind: str, name: bytes) -> Subscriber:
    """A client that has subscribed to this topic."""
    client = Subscriber(pool)
    if client.ask(kind, name) is False:
        pool.answer()
        assert client.turn() is True
    return client


def ask_for_many(pool: Pool, client: Subscriber) -> None:
    """Ask for all topics of MANY, as far ahead of their confirmations as allowed, while the server answers."""
    request = pool.subscriptions.begin(client, "subscribe")
    client.request, client.asked = ("subscribe", MANY), request
    for at in range(0, len(MANY), pubsub.PIECE):
        while not request.may_ask():
            assert 0 < len(pool.link(0).requests) * pubsub.PIECE <= topics.MOST_UNCONFIRMED + 2 * pubsub.PIECE
            assert not client.woken
            pool.link(0).answer(1)
            client.woken = client.woken and not request.may_ask()
        request.ask(MANY[at : at + pubsub.PIECE])


@pytest.fixture
def pool() -> Pool:
    return Pool()


def test_a_client_is_woken_once_for_all_its_topics(pool: Pool) -> None:
    client = Subscriber(pool, piece=len(MANY))
    ask_for_many(pool, client)
    wakes = 0
    while client.request and client.go_on() is False:
        while not client.woken:
            pool.link(0).answer(1)
        wakes += 1
    assert wakes == 1
    assert client.has() == {("subscribe", name) for name in MANY}
    requests = pool.link(0).history
    assert len(requests) == len(MANY) // pubsub.PIECE, "the server is asked for many at a time"


def many_after(pool: Pool, event: str) -> tuple[Subscriber, int]:
    """Let ``event`` happen to a client with many topics; returns the client and the number of turns that follow.

    In each turn at most PIECE topics are sent to a server.
    """
    client = Subscriber(pool, piece=len(MANY))
    ask_for_many(pool, client)
    client.go_on()
    pool.answer()
    assert client.go_on() is True
    for link in pool.extra:
        link.history.clear()
    match event:
        case "it leaves":
            client.abort("it leaves")
        case "the server is lost":
            pool.link(0).fail()
        case "the topics move":
            pool.live = {1, 2}
            pool.subscriptions.follow_routes()
    turns = 0
    more = True
    while more:
        before = {link: len(link.history) for link in pool.extra}
        pool.wait(0)
        more = pool.has_work()
        turns += 1
        for link in pool.extra:
            lines = link.history[before.get(link, 0) :]
            assert sum(len(line.split()) - 1 for line in lines) <= pubsub.PIECE
            link.answer()
    return client, turns


def test_a_client_with_many_topics_leaves_them_piece_by_piece(pool: Pool) -> None:
    _, turns = many_after(pool, "it leaves")
    assert turns >= len(MANY) // pubsub.PIECE
    pool.work()
    assert pool.links() == [], "nothing is subscribed to any more"


def test_a_server_is_not_asked_about_too_many_at_a_time(pool: Pool) -> None:
    client, other = Subscriber(pool, piece=len(MANY)), subscribed(pool, "subscribe", A)
    ask_for_many(pool, client)
    pool.answer()
    assert client.go_on() is True
    before = pool.kept
    client.unsubscribe("subscribe", *MANY)
    unanswered = sum(len(request) - 1 for request in pool.link(0).requests)
    assert 0 < unanswered < pubsub.MOST_ASKED + pubsub.PIECE
    assert pool.kept > before // 3, "what the server has still to be told is memory"
    pool.link(0).answer(1)
    assert sum(len(request) - 1 for request in pool.link(0).requests) == unanswered
    while pool.link(0).requests:
        pool.link(0).answer(1)
    assert pool.link(0).subscribed == {("subscribe", A)}
    other.leave()
    pool.answer()
    assert pool.kept == 0


def test_a_lost_server_with_many_topics_is_seen_to_piece_by_piece(pool: Pool) -> None:
    client, turns = many_after(pool, "the server is lost")
    assert client.ended
    assert turns >= len(MANY) // pubsub.PIECE
    assert pool.links() == []
    again = Subscriber(pool)
    assert again.ask("subscribe", MANY[0]) is False
    pool.answer()
    assert again.turn() is True and pool.link(0).subscribed == {("subscribe", MANY[0])}


def test_many_topics_move_piece_by_piece(pool: Pool) -> None:
    client, turns = many_after(pool, "the topics move")
    assert turns >= len(MANY) // pubsub.PIECE
    assert client.ended == ""
    assert pool.link(1).subscribed == {("subscribe", name) for name in MANY}
    assert pool.link(0).subscribed == set()


def test_a_server_that_answers_slowly_is_not_given_up(pool: Pool) -> None:
    """The timeout applies to each answer, not to all answers that are due."""
    client = Subscriber(pool)
    assert client.ask("subscribe", A) is False
    others = [Subscriber(pool) for _ in range(5)]
    for number, other in enumerate(others):
        assert other.ask("subscribe", b"\x00%d" % number) is False
    for _ in range(6):
        pool.wait(TIMEOUT - 1)
        pool.link(0).answer(1)
    assert pool.given_up == []
    assert all(other.turn() is True for other in [client, *others])


def test_a_refusal_of_many_is_only_for_what_is_refused(pool: Pool) -> None:
    """Servers refuse a request as a whole; another client may have asked for one of its topics."""
    pool.forbidden[0] = {("subscribe", A2)}
    client, other = Subscriber(pool), Subscriber(pool)
    assert client.ask("subscribe", A, A2) is False
    assert other.ask("subscribe", A) is False
    pool.answer()
    assert client.turn() == REFUSED
    assert other.turn() is True
    pool.answer()
    assert pool.link(0).subscribed == {("subscribe", A)}


# --- memory --------------------------------------------------------------------------------------------------------


def test_topics_and_subscriptions_are_counted(pool: Pool) -> None:
    first = subscribed(pool, "subscribe", A)
    one = pool.kept
    second = subscribed(pool, "subscribe", A)
    shared = pool.kept - one
    assert 0 < shared < one
    long = subscribed(pool, "psubscribe", b"x" * 1000)
    assert pool.kept > 2 * one + 900
    for client in (first, second, long):
        client.leave()
    pool.answer()
    assert pool.kept == 0


def test_there_is_no_room_for_more(pool: Pool) -> None:
    client, other = Subscriber(pool), subscribed(pool, "subscribe", B)
    before = pool.kept
    pool.most_subscription_bytes = 4 * before
    names = [b"\x00%d" % number for number in range(10)]
    assert client.ask("subscribe", *names) == error(f"ERR {pubsub.NO_ROOM}")
    pool.answer()
    assert pool.kept == before
    assert client.ask("subscribe", *names[:2]) is False
    pool.answer()
    assert client.turn() is True
    client.leave()
    assert client.ask("subscribe", b"x" * 4 * before) == error(f"ERR {pubsub.NO_ROOM}")
    client.leave()
    pool.answer()
    assert pool.kept == before and other.ended == ""
