"""Commands for the whole pool: they go to every server, and the replies are merged.

Plain Python. If servers reply with errors or do not answer, the client gets the first error in server order, unless the
table says otherwise.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from twemproxy.protocol.plan import Answer, Ask, Plan, Server, ToServer
from twemproxy.protocol.redis import latency, msetex, scanning
from twemproxy.protocol.redis.commands import Command
from twemproxy.protocol.redis.errors import MANY_ARGUMENTS, MISFIT, error_reply
from twemproxy.protocol.redis.resp_decoder import elements, parse
from twemproxy.protocol.redis.resp_encoder import array, bulk, integer, mapping
from twemproxy.protocol.redis.session import Session

Replies = list[tuple[str, bytes]]

MOST_MERGED = 5000
"""Most arguments of a request that gets a value per argument from every server: merging takes some milliseconds."""

_FEWER_MERGED = {"histogram": 250}
"""The same for large values, by the name of the merge."""

_turns = count()
_TOPICS = {"pubsub|numpat": "psubscribe", "pubsub|numsub": "subscribe", "pubsub|shardnumsub": "ssubscribe"}


def plan(command: Command, request: bytes, arguments: list[bytes], session: Session) -> Plan:
    """The plan for an EVERY_SERVER request. The server of a pool with one server replies itself."""
    servers = session.pool.servers
    if command.merge == "cursor":
        return scanning.plan(arguments, session)
    if len(servers) == 1 and command.merge != "subscribers":
        return ToServer(servers[0])
    most = _FEWER_MERGED.get(command.merge, MOST_MERGED)
    if len(arguments) > most:
        return Answer(error_reply(MANY_ARGUMENTS.format(name=command.name, most=most)))
    merge = MERGES[command.merge] or partial(_subscribers, command.name, arguments[2:], session)
    return _everywhere(command.name, request, servers, merge)


def set_many(request: bytes, session: Session) -> Plan:
    """The plan for MSETEX: it succeeds if all servers succeed."""
    merge = MERGES["smallest"]
    assert merge is not None
    return msetex.plan(request, session.pool, _guarded("msetex", merge))


def load_script(command: Command, request: bytes, servers: Sequence[Server], remember: Callable[[], None]) -> Ask:
    """The plan for SCRIPT LOAD: every server gets it; ``remember`` is called if all accept the script."""

    all_alike = MERGES["all alike"]
    assert all_alike is not None

    def merge(replies: Replies) -> bytes:
        reply = all_alike(replies)
        if reply.startswith(b"$"):
            remember()
        return reply

    return _everywhere(command.name, request, servers, merge)


def parameters(request: bytes, session: Session) -> Plan:
    """The plan for CONFIG GET with permission: the reply has the parameters on which all servers agree."""
    servers = session.pool.servers
    if len(servers) == 1:
        return ToServer(servers[0])
    return _everywhere("config|get", request, servers, _unless_error(_agreed))


def on_private(command: Command, request: bytes, servers: Sequence[Server]) -> Ask:
    """The plan for a request to every server, on the client's private connections."""
    merge = MERGES[command.merge]
    assert merge is not None
    return _everywhere(command.name, request, servers, merge, private=True)


def _everywhere(
    name: str, request: bytes, servers: Sequence[Server], merge: Callable[[Replies], bytes], private: bool = False
) -> Ask:
    """The plan for a request to every server; replies that ``merge`` rejects become an error."""
    return Ask([(server, request) for server in servers], _guarded(name, merge), private)


def _guarded(name: str, merge: Callable[[Replies], bytes]) -> Callable[[Replies], bytes]:
    """``merge``, with an error reply for replies that it rejects."""

    def guarded(replies: Replies) -> bytes:
        try:
            return merge(replies)
        except (ValueError, TypeError, LookupError, AttributeError):
            return error_reply(MISFIT.format(name=name))

    return guarded


# --- merging -------------------------------------------------------------------------------------------------------


def _first_error(replies: Replies) -> bytes:
    return next((reply for _, reply in replies if reply[:1] in (b"-", b"!")), b"")


def _unless_error(merge: Callable[[list[bytes]], bytes]) -> Callable[[Replies], bytes]:
    """The first error, otherwise the result of ``merge``."""
    return lambda replies: _first_error(replies) or merge([reply for _, reply in replies])


def _numbers(replies: list[bytes]) -> list[int]:
    values = [parse(reply) for reply in replies]
    if not all(isinstance(value, int) for value in values):
        raise ValueError("no integers")
    return [value for value in values if isinstance(value, int)]


def _smallest_of_each(replies: list[bytes]) -> bytes:
    rows = [_integers(reply) for reply in replies]
    return array(integer(min(column)) for column in zip(*rows, strict=True))


def _integers(reply: bytes) -> list[int]:
    """The elements of an array of integers."""
    head, *lines, end = reply.split(b"\r\n")
    if head != b"*%d" % len(lines) or end or not all(line.startswith(b":") for line in lines):
        raise ValueError("no array of integers")
    return [int(line[1:]) for line in lines]


def _without_repeats(replies: list[bytes]) -> bytes:
    return array(dict.fromkeys(part for reply in replies for part in elements(reply)))


def _all_alike(replies: list[bytes]) -> bytes:
    """The reply of all servers, which must be the same."""
    if len(set(replies)) > 1:
        raise ValueError("different replies")
    return replies[0]


def _agreed(replies: list[bytes]) -> bytes:
    """The parameters with the same value in all replies, in the order and the form of the first reply."""
    told = []
    for reply in replies:
        values = parse(reply)
        if not isinstance(values, list):
            raise ValueError("no parameters")
        told.append(dict(zip(values[::2], values[1::2], strict=True)))
    same = {name: value for name, value in told[0].items() if all(other.get(name) == value for other in told[1:])}
    pairs = [
        (bulk(name), bulk(value))
        for name, value in same.items()
        if isinstance(name, bytes) and isinstance(value, bytes)
    ]
    return mapping(pairs, 3 if replies[0][:1] == b"%" else 2)


def _one_done(replies: Replies) -> bytes:
    """A success if one server had one: the others had nothing to do. Otherwise the first reply."""
    return next((reply for _, reply in replies if reply.startswith(b"+")), replies[0][1])


def _any(replies: list[bytes]) -> bytes:
    """One of the replies that are not null."""
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
    "latest": _unless_error(latency.latest),
    "history": _unless_error(latency.history),
    "histogram": _unless_error(latency.histogram),
    "subscribers": None,
    "cursor": None,
}
"""The function that merges the replies of all servers, by the name in the table of commands; None: see ``plan``."""


_MERGE_OF_POLICY = {"": "joined", "agg_sum": "sum", "agg_min": "smallest", "all_succeeded": "all alike"}
"""Merges by a command's response policy; only the module of a command knows how to merge under other policies."""


def merge_of_tips(tips: Sequence[str]) -> str:
    """The name in MERGES that merges the replies to a command with these tips.

    Empty for a command that is not for all servers. Source: redis.io, "Redis command tips".
    """
    policies = dict(tip.split(":", 1) for tip in tips if ":" in tip)
    if policies.get("request_policy") not in ("all_nodes", "all_shards"):
        return ""
    return _MERGE_OF_POLICY.get(policies.get("response_policy", ""), "")


def _subscribers(name: str, topics: list[bytes], session: Session, replies: Replies) -> bytes:
    """Numbers of subscribers: those of the servers, in which this worker's clients replace its connections."""
    if error := _first_error(replies):
        return error
    kind, subscriptions = _TOPICS[name], session.pool.subscriptions
    if kind == "psubscribe":
        # Every server has all patterns, so the largest number is the number of patterns.
        return integer(max(_numbers([reply for _, reply in replies])))
    parts = []
    heads = [bulk(topic) for topic in topics]
    numbers = [_numbers_behind(heads, reply) for _, reply in replies]
    for topic, head, *of_servers in zip(topics, heads, *numbers, strict=True):
        told = sum(of_servers)
        clients, servers = subscriptions.subscribers(kind, topic)
        # A server that has not confirmed the topic yet does not count the proxy's subscription.
        parts += [head, integer(max(told - servers, 0) + clients)]
    return array(parts)


def _numbers_behind(heads: list[bytes], reply: bytes) -> list[int]:
    """The numbers in a reply to PUBSUB NUMSUB, which follow the topics with these heads."""
    numbers = []
    at = reply.index(b"\r\n") + 2
    for head in heads:
        if not reply.startswith(head + b":", at):
            raise ValueError("another topic, or no number")
        at += len(head) + 1
        end = reply.index(b"\r\n", at)
        numbers.append(int(reply[at:end]))
        at = end + 2
    if at != len(reply):
        raise ValueError("more topics")
    return numbers
