"""SCAN over several servers: one iteration that goes from server to server.

Plain Python. A cursor names its server, so that it stays valid when servers are added or removed between two calls. A
cursor is below 2**63, because some clients read it as a signed number: the upper ``NAME_BITS`` bits are a hash of its
server's name, the other ``PLACE_BITS`` that server's own cursor. Servers are visited in the order of their hashes. So a
cursor whose server is gone continues with the next one, and no server that was there all the time is skipped. A
server's own cursor begins and ends with 0 and is bounded by its table, so each server ends after a finite number of
calls, and its guarantees hold for its keys. A cursor that names no server, such as one of a pool of one server, starts
again.
"""

import hashlib
import re
from functools import lru_cache

from twemproxy.protocol.plan import Answer, Ask, Plan, ToServer
from twemproxy.protocol.redis.errors import CURSOR_TOO_LARGE, INVALID_CURSOR, MISFIT, error_reply
from twemproxy.protocol.redis.inline import encode_request
from twemproxy.protocol.redis.resp_decoder import elements
from twemproxy.protocol.redis.resp_encoder import array, bulk
from twemproxy.protocol.redis.session import Session

NAME_BITS = 29
PLACE_BITS = 34
"""Enough for a table of 2**34 buckets, as many as keys: they take more than a terabyte."""

_CURSOR = re.compile(rb"\d{1,20}")
_LARGEST_CURSOR = 2**64 - 1
_END = array((bulk("0"), array(())))


@lru_cache(maxsize=64)
def order_of(names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """(number in cursors, place in ``names``) of each of a pool's servers, in the order in which they are visited.

    Servers with the same hash get the next free number. This concerns one in 100,000 pools of a hundred servers; there
    an iteration can skip one of these servers if another of them is removed in the meantime.
    """
    taken: dict[int, int] = {}
    for index, name in sorted(enumerate(names), key=lambda item: item[1]):
        digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        number = int.from_bytes(digest, "big") % (2**NAME_BITS - 1) + 1
        while number in taken:
            number = number % (2**NAME_BITS - 1) + 1
        taken[number] = index
    return tuple(sorted(taken.items()))


def plan(arguments: list[bytes], session: Session) -> Plan:
    """The plan for SCAN with these arguments."""
    if not _CURSOR.fullmatch(arguments[1]) or int(arguments[1]) > _LARGEST_CURSOR:
        return Answer(error_reply(INVALID_CURSOR))
    servers = session.pool.servers
    number, place = divmod(int(arguments[1]), 2**PLACE_BITS)
    if len(servers) == 1 and (number == 0 or number >= 2**NAME_BITS):
        # The server's own cursor, of any size.
        return ToServer(servers[0])
    if number >= 2**NAME_BITS:
        number = 0
    names = tuple(server.name for server in servers)
    left = [(each, servers[index]) for each, index in order_of(names) if each >= number]
    if not left:
        return Answer(_END)
    (found, server), *others = left
    if found != number:
        place = 0
    following = others[0][0] << PLACE_BITS if others else 0
    request = encode_request([arguments[0], b"%d" % place, *arguments[2:]])
    return Ask([(server, request)], lambda replies: _reply(*replies[0], found, following))


def _reply(name: str, reply: bytes, number: int, following: int) -> bytes:
    """The reply for the client, made from the reply of the server with this name and number.

    ``following``: the cursor at which the next server begins.
    """
    if reply[:1] in (b"-", b"!"):
        return reply
    try:
        cursor, keys = elements(reply)
        place = int(cursor.split(b"\r\n")[1])
    except (ValueError, IndexError):
        return error_reply(MISFIT.format(name="scan"))
    if place < 0:
        return error_reply(MISFIT.format(name="scan"))
    if place >= 2**PLACE_BITS:
        return error_reply(CURSOR_TOO_LARGE.format(server=name, most=2**PLACE_BITS - 1))
    return array((bulk(str(number << PLACE_BITS | place if place else following)), keys))
