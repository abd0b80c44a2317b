"""SUBSCRIBE and related commands: replies to the client, when it has to wait, and the messages of servers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis_peers import Client, Pool, finished, new_session, plan

from harness.resp import array, bulk, command, error, integer
from harness.subscribing import confirmation, message, pattern_message
from twemproxy.protocol.plan import Answer, Ask
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.pubsub_messages import RedisPubsubMessages
from twemproxy.protocol.redis.session import SUBSCRIBES, Session
from unit.fakes import FakeSubscriptions

ENDS = {"subscribe": "unsubscribe", "psubscribe": "punsubscribe", "ssubscribe": "sunsubscribe"}
MESSAGES = RedisPubsubMessages()


def ask(session: Session, text: str) -> bytes | None:
    """The reply to a request of words separated by blanks; None if the request has to wait."""
    planned = finished(plan(RedisCodec(), session, *text.encode().split()))
    assert planned is None or isinstance(planned, Answer), planned
    return planned and planned.reply


def in_version(version: int, pool: Pool | None = None) -> Session:
    session = new_session(pool=pool)
    if version == 3:
        assert ask(session, "HELLO 3")
    return session


def subscriptions_of(session: Session) -> FakeSubscriptions:
    subscriptions = session.pool.subscriptions
    assert isinstance(subscriptions, FakeSubscriptions)
    return subscriptions


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def version(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.mark.parametrize("kind", SUBSCRIBES)
def test_every_topic_is_confirmed(version: int, kind: str) -> None:
    session = in_version(version)
    first, second = confirmation(kind, "a", 1, version), confirmation(kind, "b", 2, version)
    assert ask(session, f"{kind} a b a") == first + second + second.replace(bulk("b"), bulk("a"))
    client, topics = session.client, (b"a", b"b", b"a")
    assert subscriptions_of(session).calls == [(client, kind, *topics), (client, "take", *topics), (client, "end")]
    assert session.subscribed
    end = ENDS[kind]
    assert ask(session, f"{end} a c") == confirmation(end, "a", 1, version) + confirmation(end, "c", 1, version)
    assert subscriptions_of(session).calls[3:] == [(client, f"end of {kind}", b"a", b"c")]
    assert ask(session, end) == confirmation(end, "b", 0, version)
    assert ask(session, end) == confirmation(end, None, 0, version)
    assert not session.subscribed


def test_channels_and_patterns_are_counted_together(version: int) -> None:
    session = in_version(version)
    assert ask(session, "SUBSCRIBE a") == confirmation("subscribe", "a", 1, version)
    assert ask(session, "PSUBSCRIBE a") == confirmation("psubscribe", "a", 2, version)
    assert ask(session, "SSUBSCRIBE a") == confirmation("ssubscribe", "a", 1, version)
    assert ask(session, "UNSUBSCRIBE") == confirmation("unsubscribe", "a", 1, version)
    assert ask(session, "UNSUBSCRIBE") == confirmation("unsubscribe", None, 1, version)
    assert ask(session, "SUNSUBSCRIBE x") == confirmation("sunsubscribe", "x", 1, version)
    assert ask(session, "PUNSUBSCRIBE") == confirmation("punsubscribe", "a", 0, version)
    assert session.subscribed
    assert ask(session, "SUNSUBSCRIBE") == confirmation("sunsubscribe", "a", 0, version)


def test_it_waits_for_earlier_replies_and_for_servers(version: int) -> None:
    session = in_version(version)
    client = session.client
    assert isinstance(client, Client)
    client.waiting = True
    assert ask(session, "SUBSCRIBE a") is None
    assert subscriptions_of(session).calls == []
    client.waiting = False
    subscriptions_of(session).answer = False
    assert ask(session, "SUBSCRIBE a b") is None
    assert not session.subscribed
    subscriptions_of(session).answer = True
    assert ask(session, "SUBSCRIBE a b") == confirmation("subscribe", "a", 1, version) + confirmation(
        "subscribe", "b", 2, version
    )


def test_the_end_waits_for_servers(version: int) -> None:
    session = in_version(version)
    assert ask(session, "SUBSCRIBE a b")
    for request in ("UNSUBSCRIBE a b", "UNSUBSCRIBE"):
        subscriptions_of(session).answer = False
        assert ask(session, request) is None
        assert list(session.topics["subscribe"]) == [b"a", b"b"]
    subscriptions_of(session).answer = True
    assert ask(session, "UNSUBSCRIBE b a") == confirmation("unsubscribe", "b", 1, version) + confirmation(
        "unsubscribe", "a", 0, version
    )


def test_an_error_is_all_that_is_said(version: int) -> None:
    session = in_version(version)
    assert ask(session, "SUBSCRIBE a")
    subscriptions_of(session).answer = error("NOPERM no")
    assert ask(session, "SUBSCRIBE a b") == error("NOPERM no")
    assert list(session.topics["subscribe"]) == [b"a"]


@pytest.mark.parametrize("replies", ["OFF", "SKIP"])
def test_confirmations_are_no_replies(version: int, replies: str) -> None:
    """A client that wants no replies gets confirmations, but no errors."""
    session = in_version(version)
    assert ask(session, f"CLIENT REPLY {replies}") == b""
    assert ask(session, "SUBSCRIBE a") == confirmation("subscribe", "a", 1, version)
    assert ask(session, f"CLIENT REPLY {replies}") == b"" if version == 3 else ask(session, "UNSUBSCRIBE a")
    assert ask(session, "UNSUBSCRIBE a") == confirmation("unsubscribe", "a", 0, version)
    assert ask(session, f"CLIENT REPLY {replies}") == b""
    subscriptions_of(session).answer = error("NOPERM no")
    assert ask(session, "SUBSCRIBE a") == b""


def test_other_requests_of_subscribers_in_version_2() -> None:
    session = in_version(2)
    assert ask(session, "SUBSCRIBE a")
    context = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    for text, name in [
        *[("GET x", "get"), ("multi", "multi"), ("CLIENT ID", "client|id"), ("client getname", "client|getname")],
        *[("OBJECT ENCODING x", "object|encoding"), ("HELLO", "hello"), ("PUBLISH a b", "publish")],
    ]:
        assert ask(session, text) == error(f"ERR Can't execute '{name}': {context}")
    assert ask(session, "EXEC") == error(f"EXECABORT Transaction discarded because of: Can't execute 'exec': {context}")
    assert ask(session, "PING") == array(bulk("pong"), bulk(""))
    assert ask(session, "PING x") == array(bulk("pong"), bulk("x"))
    assert ask(session, "RESET") == b"+RESET\r\n"
    assert subscriptions_of(session).calls[-1] == (session.client, "drop", b"a")
    assert ask(session, "PING") == b"+PONG\r\n"


def test_messages_are_in_the_clients_version(version: int) -> None:
    beginning = in_version(version).message_beginning
    assert beginning + message("a", "b")[len(beginning) :] == message("a", "b", version)


@pytest.mark.parametrize(("told", "expected"), [((1, 0, 0), 3), ((1, 4, 0), 7), ((0, 0, 0), 3)])
def test_numbers_of_subscribers(told: tuple[int, ...], expected: int) -> None:
    """The pool has 3 subscribers through one connection, which servers may not know yet."""
    planned = plan(RedisCodec(), in_version(2, Pool(servers=3)), b"PUBSUB", b"NUMSUB", b"a")
    assert isinstance(planned, Ask)
    replies = [(f"s{server}", array(bulk("a"), integer(number))) for server, number in enumerate(told)]
    assert planned.merge(replies) == array(bulk("a"), integer(expected))
    assert planned.merge([*replies[:2], ("s2", error("NOPERM no"))]) == error("NOPERM no")
    assert planned.merge([*replies[:2], ("s2", array(bulk("b"), integer(1)))]).startswith(b"-ERR 'pubsub|numsub' went")


# --- requests to servers and their messages ------------------------------------------------------------------------


@given(kind=st.sampled_from(SUBSCRIBES), name=st.binary())
def test_what_servers_are_asked(kind: str, name: bytes) -> None:
    assert MESSAGES.request(kind, [name, b"x"], True) == command(kind, name, b"x")
    assert MESSAGES.request(kind, [name], False) == command(ENDS[kind], name)


@given(name=st.binary(), text=st.binary(), number=st.integers(0, 2**63 - 1))
def test_what_servers_say(name: bytes, text: bytes, number: int) -> None:
    read = MESSAGES.read
    assert read(message(name, text)) == ("published", "subscribe", name)
    assert read(message(name, text, kind="smessage")) == ("published", "ssubscribe", name)
    assert read(pattern_message(name, text, b"x")) == ("published", "psubscribe", name)
    assert read(error("NOPERM no"))[0] == "refused"

    def answers(message: bytes, kind: str, name: bytes, begins: bool) -> bool:
        return MESSAGES.is_answer(message, MESSAGES.answer_head(kind, begins), name)

    for kind, end in ENDS.items():
        assert answers(confirmation(kind, name, number), kind, name, True)
        assert answers(confirmation(end, name, number), kind, name, False)
        assert not answers(confirmation(kind, name, number), kind, name, False)
        assert not answers(confirmation(kind, name + b"x", number), kind, name, True)
        assert not answers(confirmation(kind, name, number), kind, name + b"x", True)
        assert not answers(error("NOPERM no"), kind, name, True)


@pytest.mark.parametrize(
    "reply",
    [
        *(b"+OK\r\n", b":1\r\n", bulk("x"), array(), array(bulk("foo"), bulk("x"), bulk("y"))),
        *(confirmation("subscribe", "a", 1), confirmation("unsubscribe", "a", 1)),
    ],
)
def test_what_is_no_message(reply: bytes) -> None:
    with pytest.raises(ValueError, match="no message"):
        MESSAGES.read(reply)


def test_what_comes_from_anywhere() -> None:
    anywhere = MESSAGES.comes_from_anywhere
    assert anywhere("psubscribe", b"x")
    assert anywhere("subscribe", b"__keyspace@0__:x") and anywhere("subscribe", b"__keyevent@12__:set")
    assert anywhere("subscribe", b"__subkeyspace@0__:hash") and anywhere("subscribe", b"__subkeyevent@0__:hset")
    assert anywhere("subscribe", b"__subkeyspaceitem@0__:hash\nfield")
    assert anywhere("subscribe", b"__subkeyspaceevent@0__:hset|hash")
    assert not anywhere("subscribe", b"__keyspace") and not anywhere("ssubscribe", b"x")
