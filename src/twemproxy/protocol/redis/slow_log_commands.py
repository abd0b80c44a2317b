"""SLOWLOG: the slow requests of the proxy, of the clients of all workers. Plain Python.

Formats are those of redis.io's "SLOWLOG GET". The id of a request tells the worker, too, so that it is unique. The
servers have slow logs of their own, which clients of the proxy do not see.
"""

from collections.abc import Generator, Iterator, Sequence
from itertools import islice

from twemproxy.protocol.other_workers import Rows, rows_of
from twemproxy.protocol.plan import Answer, Ask
from twemproxy.protocol.redis.connection_commands import wrong_arity
from twemproxy.protocol.redis.errors import error_reply
from twemproxy.protocol.redis.inline import decode_some
from twemproxy.protocol.redis.resp_encoder import OK, array, bulk, integer
from twemproxy.protocol.redis.session import Pool, Session

SLOW = "slow requests"
"""The question for the slow requests of a worker: each row has the time of the request and its encoded fields."""
SLOW_COUNT = "number of slow requests"
FORGET_SLOW = "forget slow requests"
"""The question that makes a worker drop its slow requests."""
DEFAULT_COUNT = 10
STEP = 16
"""Requests of one step of an answer."""
BAD_COUNT = "ERR count should be greater than or equal to -1"
NO_NUMBER = "ERR value is not an integer or out of range"

Work = Generator[bytes | None, None, Answer | Ask]


def _encoded(pool: Pool) -> Iterator[tuple[int, bytes]]:
    """When each slow request of this worker was noted, in microseconds, and its array of a SLOWLOG GET reply."""
    for slow in list(pool.slow_log.requests):
        shown = slow.arguments or [slow.command.encode()]
        fields = (integer(int(slow.at)), integer(slow.whole), array(map(bulk, shown)))
        yield int(1e6 * slow.at), b"".join((*fields, bulk(slow.client.encode()), bulk(slow.server.encode())))


def tell_slow(arguments: Sequence[bytes], pool: Pool) -> Iterator[Rows]:
    """The answer to SLOW."""
    rows = _encoded(pool)
    while part := list(islice(rows, STEP)):
        yield part


def tell_slow_count(arguments: Sequence[bytes], pool: Pool) -> Iterator[Rows]:
    """The answer to SLOW_COUNT: the number."""
    yield [(len(pool.slow_log.requests), b"")]


def tell_forgotten(arguments: Sequence[bytes], pool: Pool) -> Iterator[Rows]:
    """The answer to FORGET_SLOW: drop them; no rows."""
    pool.slow_log.clear()
    yield []


def get_slow(request: bytes, session: Session) -> Work:
    """SLOWLOG GET [count]."""
    arguments = decode_some(request, 0, 4)[0]
    count = DEFAULT_COUNT
    if len(arguments) > 3:
        return Answer(wrong_arity("slowlog|get"))
    if len(arguments) == 3:
        try:
            count = int(arguments[2])
        except ValueError:
            return Answer(error_reply(NO_NUMBER))
        if count < -1:
            return Answer(error_reply(BAD_COUNT))
    rows = list(_encoded(session.pool))
    others = session.pool.others
    if others.are_there():
        rows += yield from rows_of(others.ask(SLOW, (), session.client))
    rows.sort(key=lambda row: row[0], reverse=True)
    if count >= 0:
        rows = rows[:count]
    # The time in microseconds is the id: it grows, and two requests seldom have the same one.
    return Answer(array(b"*6\r\n" + integer(at) + fields for at, fields in rows))


def count_slow(request: bytes, session: Session) -> Work:
    """SLOWLOG LEN."""
    number = len(session.pool.slow_log.requests)
    others = session.pool.others
    if others.are_there():
        rows = yield from rows_of(others.ask(SLOW_COUNT, (), session.client))
        number += sum(each for each, _ in rows)
    return Answer(integer(number))


def forget_slow(request: bytes, session: Session) -> Work:
    """SLOWLOG RESET."""
    session.pool.slow_log.clear()
    others = session.pool.others
    if others.are_there():
        yield from rows_of(others.ask(FORGET_SLOW, (), session.client))
    return Answer(OK)
