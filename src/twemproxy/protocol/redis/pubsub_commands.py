"""SUBSCRIBE and similar commands of clients, and the confirmations that they get.

Plain Python. Formats are those of redis.io's "Redis Pub/Sub"; a message in version 3 of the protocol differs from one
in version 2 only in its first byte.
"""

from collections.abc import Generator, Iterator

from twemproxy.protocol.plan import Answer, Plan, Push, Steps
from twemproxy.protocol.redis.commands import Command
from twemproxy.protocol.redis.errors import LONG_TOPIC, error_reply
from twemproxy.protocol.redis.inline import count_arguments, decode_some
from twemproxy.protocol.redis.pubsub_messages import END_OF
from twemproxy.protocol.redis.resp_encoder import bulk, integer, null
from twemproxy.protocol.redis.session import REPLY_ON, Session
from twemproxy.protocol.redis.subscription_messages import confirmations

_ENDS = {ends: begins for begins, ends in END_OF.items()}

LONGEST_TOPIC = 1024 * 1024
"""Most bytes of a channel or a pattern: the proxy keeps it, and may send it to servers again."""

PIECE = 100
"""Topics per step of a request."""

Work = Generator[bytes | None, None, Answer]
"""See ``protocol.plan.Steps``."""


def plan(command: Command, request: bytes, session: Session) -> Plan:
    """The plan for a complete SUBSCRIPTION request."""
    if command.name in _ENDS:
        work = _unsubscribe(command.name, request, session)
    elif session.client.awaits_replies():
        # In version 2 the confirmation must come before messages of the topic, and after earlier replies.
        return None
    else:
        work = _subscribe(command.name, request, session, session.replies == REPLY_ON)
    return Steps(work, len(request), messages=True)


def _subscribe(kind: str, request: bytes, session: Session, wants_error: bool) -> Work:
    """The work of SUBSCRIBE: servers confirm all topics before the client gets the first confirmation."""
    wanted = session.pool.subscriptions.begin(session.client, kind)
    try:
        for names in _pieces(request):
            if any(len(topic) > LONGEST_TOPIC for topic in names):
                text = LONG_TOPIC.format(name=kind, most=LONGEST_TOPIC)
                return Answer(error_reply(text) if wants_error else b"")
            while not wanted.may_ask():
                yield None
            if wanted.error:
                break
            wanted.ask(names)
            yield b""
        while not wanted.is_answered():
            yield None
        if wanted.error:
            return Answer(wanted.error if wants_error else b"")
        while names := wanted.take(PIECE):
            yield _confirmations(kind, names, kind, session)
        return Push(b"")
    finally:
        wanted.end()


def _unsubscribe(name: str, request: bytes, session: Session) -> Work:
    """The work of UNSUBSCRIBE: servers confirm all topics before the client gets the first confirmation."""
    kind = _ENDS[name]
    all_names = [] if count_arguments(request) > 1 else list(session.topics[kind])

    def pieces() -> Iterator[list[bytes]]:
        return _batches(all_names) if all_names else _pieces(request)

    ends = session.pool.subscriptions.begin_unsubscribe(session.client, kind)
    try:
        for names in pieces():
            ends.ask(names)
            yield b""
        while not ends.is_answered():
            yield None
    finally:
        ends.end()
    empty = True
    for names in pieces():
        empty = False
        yield _confirmations(name, names, kind, session)
    return Push(_confirmation(name, null(session.protocol), kind, session) if empty else b"")


def _pieces(request: bytes) -> Iterator[list[bytes]]:
    """The topics that a request names, as many of them together as one step takes."""
    _, at = decode_some(request, 0, 1, 0)
    while True:
        names, at = decode_some(request, at, PIECE)
        if not names:
            return
        yield names


def _batches(names: list[bytes]) -> Iterator[list[bytes]]:
    """The names, in pieces for steps."""
    return (names[at : at + PIECE] for at in range(0, len(names), PIECE))


def _confirmations(name: str, names: list[bytes], kind: str, session: Session) -> bytes:
    """The client's confirmations of these topics, one after the other; updates the session's topics."""
    topics = session.topics_of(kind) if name == kind else session.topics[kind]
    head = session.message_beginning + b"3\r\n" + bulk(name)
    return confirmations(head, names, topics, _counted(kind, session) - len(topics), name == kind)


def _confirmation(name: str, topic: bytes, kind: str, session: Session) -> bytes:
    """The client's confirmation of one topic, or of none."""
    return session.message_beginning + b"3\r\n" + bulk(name) + topic + integer(_counted(kind, session))


def _counted(kind: str, session: Session) -> int:
    """The number of the client's topics in confirmations: shard channels are counted separately."""
    topics = session.topics
    return len(topics[kind]) if kind == "ssubscribe" else len(topics["subscribe"]) + len(topics["psubscribe"])
