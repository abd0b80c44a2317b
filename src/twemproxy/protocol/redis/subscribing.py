"""SUBSCRIBE and the like: what a client is told, and how topics are spoken of with servers.

Plain Python. Shapes are those of redis.io's "Redis Pub/Sub"; servers are spoken to in version 2 of the protocol, and a
message in version 3 is the same but for its first byte.
"""

from twemproxy.protocol.plan import Answer, Plan, Push
from twemproxy.protocol.redis.commands import Command
from twemproxy.protocol.redis.inline import encode_request
from twemproxy.protocol.redis.replies import bulk, integer
from twemproxy.protocol.redis.session import Session
from twemproxy.protocol.redis.values import Failure, parse

_PUBLISHED = {
    b"*3\r\n$7\r\nmessage\r\n$": "subscribe",
    b"*4\r\n$8\r\npmessage\r\n$": "psubscribe",
    b"*3\r\n$8\r\nsmessage\r\n$": "ssubscribe",
}
"""How published messages begin, up to the length of their topic, and the commands that subscribe to them."""

_ENDS = {"unsubscribe": "subscribe", "punsubscribe": "psubscribe", "sunsubscribe": "ssubscribe"}
_END_OF = {subscribes: ends for ends, subscribes in _ENDS.items()}

_FROM_THEIR_KEY = (b"__keyspace@", b"__keyevent@")
"""Beginnings of the channels on which servers say what happens to their own keys."""


def plan(command: Command, arguments: list[bytes], session: Session) -> Plan:
    """What becomes of a request that is routed SUBSCRIPTION."""
    if command.name in _ENDS:
        return Push(_unsubscribe(command.name, arguments[1:], session))
    if session.client.awaits_replies():
        # In version 2 a message must not come before the confirmation, nor that before earlier replies.
        return None
    names = arguments[1:]
    subscribed = session.pool.subscriptions.subscribe(session.client, command.name, names)
    if isinstance(subscribed, bytes):
        return Answer(subscribed)
    if not subscribed:
        return None
    told = []
    for name in names:
        session.add_topic(command.name, name)
        told.append(_confirmation(command.name, bulk(name), command.name, session))
    return Push(b"".join(told))


def _unsubscribe(name: str, wanted: list[bytes], session: Session) -> bytes:
    kind = _ENDS[name]
    topics = session.topics[kind]
    ended = wanted or list(topics)
    told = []
    session.pool.subscriptions.unsubscribe(session.client, kind, ended)
    for topic in ended:
        topics.pop(topic, None)
        told.append(_confirmation(name, bulk(topic), kind, session))
    return b"".join(told) or _confirmation(name, b"_\r\n" if session.protocol == 3 else b"$-1\r\n", kind, session)


def _confirmation(name: str, topic: bytes, kind: str, session: Session) -> bytes:
    """What a client is told of one topic: shard channels are counted by themselves."""
    topics = session.topics
    number = len(topics[kind]) if kind == "ssubscribe" else len(topics["subscribe"]) + len(topics["psubscribe"])
    return session.message_beginning + b"3\r\n" + bulk(name) + topic + integer(number)


# --- with servers --------------------------------------------------------------------------------------------------


def subscription(kind: str, name: bytes) -> bytes:
    """As ``Codec.subscription``."""
    return encode_request([kind.encode(), name])


def unsubscription(kind: str, name: bytes) -> bytes:
    """As ``Codec.unsubscription``."""
    return encode_request([_END_OF[kind].encode(), name])


def read_message(message: bytes) -> tuple[str, str, bytes]:
    """As ``Codec.read_message``. Raises ValueError for what is none of these messages."""
    for beginning, kind in _PUBLISHED.items():
        if message.startswith(beginning):
            at = message.index(b"\r\n", len(beginning))
            length = int(message[len(beginning) : at])
            if length < 0:
                raise ValueError("no topic")
            return "published", kind, message[at + 2 : at + 2 + length]
    match parse(message):
        case Failure():
            return "refused", "", b""
        case [bytes(word), bytes(name), *_] if (kind := word.decode("utf-8", "replace")) in _END_OF:
            return "confirmed", kind, name
        case [bytes(word), bytes(name), *_] if (kind := word.decode("utf-8", "replace")) in _ENDS:
            return "ended", _ENDS[kind], name
        case _:
            raise ValueError("no message")


def comes_from_anywhere(kind: str, name: bytes) -> bool:
    """As ``Codec.comes_from_anywhere``."""
    return kind == "psubscribe" or name.startswith(_FROM_THEIR_KEY)
