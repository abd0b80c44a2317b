"""Topics that move to another server, or with their server to another address: where they are subscribed to when."""

import pytest
from subscription_peers import TIMEOUT, Link, Pool, Subscriber, move, subscribed

from harness.subscribing import message
from twemproxy.upstream.pubsub import LEAVE_TIMEOUT
from unit.fakes import FakeClient

A, B, C = b"\x00a", b"\x01b", b"\x02c"
"""A channel of each of the three servers."""
A2 = b"\x00z"


@pytest.fixture
def pool() -> Pool:
    return Pool()


def elsewhere(pool: Pool, server: int) -> Link:
    """Let the server be at another address; returns the connection to the former one."""
    link = pool.link(server)
    link.misplaced = True
    pool.subscriptions.leave_stale()
    pool.work()
    return link


def holds_back(pool: Pool, publisher: FakeClient, name: bytes) -> bool:
    """Whether a message on a channel is held back at the channel's server."""
    return bool(pool.subscriptions.holds_back(publisher, "subscribe", name, pool.server_of(name)))


def test_a_server_that_is_elsewhere(pool: Pool) -> None:
    """Its clients hear of messages at the former address until the new one has confirmed their topics."""
    hears, other, waits = subscribed(pool, "subscribe", A), subscribed(pool, "subscribe", B), Subscriber(pool)
    assert waits.ask("subscribe", A2, B) is False
    former = elsewhere(pool, 0)
    former.publish(A, b"1")
    assert waits.go_on() is False
    pool.link(0).answer()
    assert waits.turn() is True
    assert pool.link(0).subscribed == {("subscribe", A), ("subscribe", A2)}
    former.publish(A, b"2")
    pool.link(0).publish(A, b"3")
    assert hears.got == [message(A, text) for text in "123"]
    pool.answer()
    assert former.listener is None and pool.former() == []
    assert [each.ended for each in (hears, other, waits)] == [""] * 3
    assert (pool.given_up, pool.moved_subscriptions, pool.missed) == ([], 1, [])


def test_no_client_gets_the_copy_of_a_replica(pool: Pool) -> None:
    """A message of the new address may also come from the former one while a topic is subscribed to at both."""
    client, other = subscribed(pool, "subscribe", A), subscribed(pool, "subscribe", B)
    former = elsewhere(pool, 0)
    former.publish(A, b"1")
    pool.link(0).answer()
    for link in (pool.link(0), former, former, pool.link(0), former):
        link.publish(A, b"2")
    former.publish(A, b"2")
    assert client.got == [message(A, text) for text in "12222"]
    client.got.clear()
    former.answer()
    pool.link(0).publish(A, b"2")
    assert client.got == []
    pool.link(0).answer()
    for _ in range(2):
        pool.link(0).publish(A, b"3")
        pool.link(0).publish(A, b"2")
    assert client.got == [message(A, text) for text in "3232"]
    assert other.got == []


def test_topics_that_move_once_more(pool: Pool) -> None:
    """Before the first move is complete: to another address again, and to another server and back."""
    client = subscribed(pool, "subscribe", A)
    first = elsewhere(pool, 0)
    second = elsewhere(pool, 0)
    assert second.listener is None, "nothing was confirmed there"
    first.publish(A, b"1")
    move(pool, 1, 2)
    move(pool, 0, 1, 2)
    pool.link(0).answer(1)
    pool.link(0).publish(A, b"2")
    pool.answer()
    assert client.got == [message(A, text) for text in "12"]
    assert pool.former() == [] and pool.link(0).subscribed == {("subscribe", A)} and pool.link(1).subscribed == set()
    assert client.ended == ""


def test_a_former_address_that_is_silent(pool: Pool) -> None:
    """It is left after a while; messages may be missing that were published there."""
    client = subscribed(pool, "subscribe", A)
    former = elsewhere(pool, 0)
    pool.link(0).answer()
    publisher = FakeClient()
    assert holds_back(pool, publisher, A)
    pool.wait(TIMEOUT)
    pool.answer()
    assert not holds_back(pool, publisher, A)
    assert (publisher.woken > 0, former.open, client.ended) == (True, False, "")
    assert pool.missed == [(pool.servers[0].name, 1, 1)]


def test_a_former_address_that_is_silent_without_a_timeout() -> None:
    pool = Pool(timeout=0)
    client = subscribed(pool, "subscribe", A)
    elsewhere(pool, 0)
    pool.link(0).answer()
    pool.wait(LEAVE_TIMEOUT)
    pool.work()
    assert (pool.former(), client.ended) == ([], "")


def test_a_former_address_that_ends_too_early(pool: Pool) -> None:
    """The new address has not confirmed the topics yet."""
    client, other = subscribed(pool, "subscribe", A), subscribed(pool, "subscribe", B)
    former = elsewhere(pool, 0)
    former.fail()
    pool.answer()
    assert (client.ended, other.ended) == ("", "")
    assert pool.missed == [(pool.servers[0].name, 1, 1)]
    assert pool.link(0).subscribed == {("subscribe", A)}


# --- PUBLISH during a move -----------------------------------------------------------------------------------------


def test_a_message_waits_for_the_subscription(pool: Pool) -> None:
    """Also before it has been found that the topic must move."""
    subscribed(pool, "subscribe", A)
    publisher = FakeClient()
    assert not pool.subscriptions.is_moving()
    pool.live = {1, 2}
    pool.subscriptions.follow_routes()
    assert pool.subscriptions.is_moving()
    assert holds_back(pool, publisher, A) and not holds_back(pool, publisher, C)
    pool.link(1).answer()
    assert publisher.woken == 1
    assert not holds_back(pool, publisher, A)
    pool.answer()
    assert not pool.subscriptions.is_moving()
    assert pool.moved_subscriptions == 1


def test_a_message_for_a_pattern_waits_for_the_server_where_it_is_published(pool: Pool) -> None:
    pool.live = {0, 1}
    subscribed(pool, "psubscribe", b"*")
    publisher = FakeClient()
    move(pool, 0, 1, 2)
    assert [holds_back(pool, publisher, name) for name in (A, B, C)] == [False, False, True]
    pool.link(2).answer()
    assert not holds_back(pool, publisher, C)


def test_a_message_does_not_wait_for_a_topic_without_subscribers(pool: Pool) -> None:
    client, other, publisher = Subscriber(pool), subscribed(pool, "subscribe", B), FakeClient()
    assert client.ask("subscribe", A) is False
    move(pool, 1, 2)
    assert not holds_back(pool, publisher, A)
    assert other.ended == ""


@pytest.mark.parametrize("end", ["the new server is lost", "the subscriber leaves", "the publisher leaves"])
def test_a_message_does_not_wait_for_ever(pool: Pool, end: str) -> None:
    client, _, publisher = subscribed(pool, "subscribe", A), subscribed(pool, "subscribe", C), FakeClient()
    move(pool, 1, 2)
    assert holds_back(pool, publisher, A)
    match end:
        case "the new server is lost":
            pool.link(1).fail()
        case "the subscriber leaves":
            client.leave()
        case _:
            publisher.fd = -1
    pool.answer()
    assert publisher.woken == 0 if end == "the publisher leaves" else publisher.woken > 0
    assert not holds_back(pool, FakeClient(), A)
