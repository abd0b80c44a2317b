"""Commands for the whole pool: every server is asked, and the replies become one.

Plain Python. What a server says wrong, or a server that does not answer, is the answer to the client: the first error
in the order of the servers, unless the table says otherwise.
"""

import re
from collections.abc import Callable
from functools import partial
from itertools import count

from twemproxy.protocol.plan import Answer, Ask, Plan, ToServer
from twemproxy.protocol.redis.commands import Command
from twemproxy.protocol.redis.errors import INVALID_CURSOR, MISFIT, error_reply
from twemproxy.protocol.redis.inline import encode_request
from twemproxy.protocol.redis.replies import array, bulk, integer
from twemproxy.protocol.redis.session import Session
from twemproxy.protocol.redis.values import Value, elements, parse

Replies = list[tuple[str, bytes]]

_CURSOR = re.compile(rb"\d{1,20}")
_LARGEST_CURSOR = 2**64 - 1
_turns = count()
_TOPICS = {"pubsub|numpat": "psubscribe", "pubsub|numsub": "subscribe", "pubsub|shardnumsub": "ssubscribe"}


def plan(command: Command, request: bytes, arguments: list[bytes], session: Session) -> Plan:
    """What becomes of a request that is routed EVERY_SERVER. In a pool of one server that answers."""
    servers = len(session.pool.server_names())
    if servers == 1 and command.merge != "subscribers":
        return ToServer(0)
    if command.merge == "cursor":
        return _scan(arguments, servers)
    merge = MERGES[command.merge] or partial(_subscribers, command.name, arguments[2:], session)
    return _everywhere(command.name, request, servers, merge)


def on_private(command: Command, request: bytes, servers: int) -> Ask:
    """The request goes to every server, on the client's private connections."""
    merge = MERGES[command.merge]
    assert merge is not None
    return _everywhere(command.name, request, servers, merge, private=True)


def _everywhere(
    name: str, request: bytes, servers: int, merge: Callable[[Replies], bytes], private: bool = False
) -> Ask:
    """The request goes to every server; a reply that ``merge`` cannot take becomes an error."""

    def guarded(replies: Replies) -> bytes:
        try:
            return merge(replies)
        except (ValueError, TypeError, IndexError, AttributeError):
            return error_reply(MISFIT.format(name=name))

    return Ask([(server, request) for server in range(servers)], guarded, private)


# --- merging -------------------------------------------------------------------------------------------------------


def _first_error(replies: Replies) -> bytes:
    return next((reply for _, reply in replies if reply[:1] in (b"-", b"!")), b"")


def _unless_error(merge: Callable[[list[bytes]], bytes]) -> Callable[[Replies], bytes]:
    """The first error, or what ``merge`` makes of the replies."""
    return lambda replies: _first_error(replies) or merge([reply for _, reply in replies])


def _numbers(replies: list[bytes]) -> list[int]:
    values = [parse(reply) for reply in replies]
    if not all(isinstance(value, int) for value in values):
        raise ValueError("no integers")
    return [value for value in values if isinstance(value, int)]


def _smallest_of_each(replies: list[bytes]) -> bytes:
    rows = [_numbers(elements(reply)) for reply in replies]
    return array(integer(min(column)) for column in zip(*rows, strict=True))


def _without_repeats(replies: list[bytes]) -> bytes:
    return array(dict.fromkeys(part for reply in replies for part in elements(reply)))


def _all_alike(replies: list[bytes]) -> bytes:
    """The reply that all have given."""
    if len(set(replies)) > 1:
        raise ValueError("different replies")
    return replies[0]


def _one_done(replies: Replies) -> bytes:
    """Fine when it was so for one server: the others had nothing to do."""
    return next((reply for _, reply in replies if reply.startswith(b"+")), replies[0][1])


def _any(replies: list[bytes]) -> bytes:
    """A reply that is not null, whichever."""
    found = [reply for reply in replies if parse(reply) is not None]
    return found[next(_turns) % len(found)] if found else replies[0]


MERGES: dict[str, Callable[[Replies], bytes] | None] = {
    "sum": _unless_error(lambda replies: integer(sum(_numbers(replies)))),
    "smallest": _unless_error(lambda replies: integer(min(_numbers(replies)))),
    "smallest of each": _unless_error(_smallest_of_each),
    "joined": _unless_error(lambda replies: array(part for reply in replies for part in elements(reply))),
    "without repeats": _unless_error(_without_repeats),
    "any": _unless_error(_any),
    "all alike": _unless_error(_all_alike),
    "one done": _one_done,
    "subscribers": None,
    "cursor": None,
}
"""What makes one reply of those of every server, by the name in the table of commands; None where more is needed."""


def _subscribers(name: str, topics: list[bytes], session: Session, replies: Replies) -> bytes:
    """Numbers of subscribers: those that servers know, with this worker's clients in the place of its connection."""
    if error := _first_error(replies):
        return error
    kind, subscriptions = _TOPICS[name], session.pool.subscriptions
    values = [parse(reply) for _, reply in replies]
    if kind == "psubscribe":
        # Every pattern is at every server, so the largest number is that of the patterns.
        return integer(max(_numbers([reply for _, reply in replies])))
    parts = []
    for i, topic in enumerate(topics):
        told = sum(_number_of(topic, value, i) for value in values)
        clients, servers = subscriptions.subscribers(kind, topic)
        # A server that is still being asked for the topic knows of no subscription.
        parts += [bulk(topic), integer(max(told - servers, 0) + clients)]
    return array(parts)


def _number_of(topic: bytes, value: Value, i: int) -> int:
    """The number that belongs to the topic at place ``i`` of a reply to PUBSUB NUMSUB."""
    if not isinstance(value, list) or value[2 * i] != topic:
        raise ValueError("another topic")
    number = value[2 * i + 1]
    if not isinstance(number, int):
        raise ValueError("no number")
    return number


# --- SCAN ----------------------------------------------------------------------------------------------------------


def _scan(arguments: list[bytes], servers: int) -> Plan:
    """SCAN walks one server after the other.

    The cursor that clients see is that of the server times the number of servers, plus the server's index. So 0 begins
    with the first server, and is what the last one's end becomes. A server's own cursor begins and ends with 0 and is
    bounded by its table, so every server is left after a finite number of steps, and its guarantees hold for its keys.
    """
    if not _CURSOR.fullmatch(arguments[1]) or int(arguments[1]) > _LARGEST_CURSOR:
        return Answer(error_reply(INVALID_CURSOR))
    inner, server = divmod(int(arguments[1]), servers)

    def merge(replies: Replies) -> bytes:
        reply = replies[0][1]
        if reply[:1] in (b"-", b"!"):
            return reply
        try:
            cursor, keys = elements(reply)
            place = int(cursor.split(b"\r\n")[1])
        except (ValueError, IndexError):
            return error_reply(MISFIT.format(name="scan"))
        following = place * servers + server if place else (server + 1) % servers
        if not 0 <= following <= _LARGEST_CURSOR:
            return error_reply(MISFIT.format(name="scan"))
        return array((bulk(str(following)), keys))

    return Ask([(server, encode_request([arguments[0], b"%d" % inner, *arguments[2:]]))], merge)
