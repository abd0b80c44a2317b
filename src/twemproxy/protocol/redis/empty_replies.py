"""The replies of a redis server to reads of missing keys.

Source: the replies of redis 7.0 itself, with which tests compare every row.
"""

from collections.abc import Callable

NULL = b"$-1\r\n"
NULL_RESP3 = b"_\r\n"
ZERO = b":0\r\n"
EMPTY = b"*0\r\n"
NO_CURSOR = b"*2\r\n$1\r\n0\r\n*0\r\n"


def _always(reply: bytes, resp3: bytes = b"") -> Callable[[list[bytes], bool], bytes]:
    """The same reply for all arguments; ``resp3``: the reply in RESP3, if it differs."""
    return lambda arguments, is_resp3: resp3 if is_resp3 and resp3 else reply


def _each(reply: bytes, first: int, resp3: bytes = b"") -> Callable[[list[bytes], bool], bytes]:
    """An array with the same reply for each argument from position ``first`` on."""

    def answer(arguments: list[bytes], is_resp3: bool) -> bytes:
        count = len(arguments) - first
        return b"*%d\r\n" % count + (resp3 if is_resp3 and resp3 else reply) * count

    return answer


_null = _always(NULL, NULL_RESP3)
_zero = _always(ZERO)
_empty = _always(EMPTY)
_empty_set = _always(EMPTY, b"~0\r\n")
_empty_map = _always(EMPTY, b"%0\r\n")
_empty_string = _always(b"$0\r\n\r\n")
_no_time = _always(b":-2\r\n")
_no_cursor = _always(NO_CURSOR)

_MISSES = {
    "bitcount": _zero,
    "dump": _null,
    "exists": _zero,
    "expiretime": _no_time,
    "get": _null,
    "getbit": _zero,
    "getrange": _empty_string,
    "hexists": _zero,
    "hget": _null,
    "hgetall": _empty_map,
    "hkeys": _empty,
    "hlen": _zero,
    "hmget": _each(NULL, 2, NULL_RESP3),
    "hscan": _no_cursor,
    "hstrlen": _zero,
    "hvals": _empty,
    "lindex": _null,
    "llen": _zero,
    "lrange": _empty,
    "mget": _each(NULL, 1, NULL_RESP3),
    "pexpiretime": _no_time,
    "pfcount": _zero,
    "pttl": _no_time,
    "scard": _zero,
    "sismember": _zero,
    "smembers": _empty_set,
    "smismember": _each(ZERO, 2),
    "sscan": _no_cursor,
    "strlen": _zero,
    "substr": _empty_string,
    "touch": _zero,
    "ttl": _no_time,
    "type": _always(b"+none\r\n"),
    "xlen": _zero,
    "xrange": _empty,
    "xrevrange": _empty,
    "zcard": _zero,
    "zcount": _zero,
    "zlexcount": _zero,
    "zmscore": _each(NULL, 2, NULL_RESP3),
    "zrange": _empty,
    "zrangebylex": _empty,
    "zrangebyscore": _empty,
    "zrevrange": _empty,
    "zrevrangebylex": _empty,
    "zrevrangebyscore": _empty,
    "zscan": _no_cursor,
    "zscore": _null,
}
"""By command: those whose reply to a missing key depends only on the number of arguments."""

COMMANDS_WITH_MISSES = tuple(_MISSES)


def missing_reply(arguments: list[bytes], resp3: bool) -> bytes:
    """The reply to a request whose first argument is the command's name; empty if the table has no such command."""
    answer = _MISSES.get(arguments[0].decode("latin-1").lower())
    return answer(arguments, resp3) if answer else b""
