"""The bytes on connections when a running proxy is fuzzed: streams of clients, and replies of servers."""

import random

from fuzz import memcached_parsers, redis_parsers
from fuzz.mutation import Mutator
from harness import resp
from harness.redis_streams import GROUPS

_LARGE = b"x" * 70_000
_MOST_REQUESTS = 30
_ENDLESS = {
    True: [b"$99999999\r\nx", b"$99999999\r\n" + _LARGE, b"+" + _LARGE * 20, b"*99999999\r\n" + b":1\r\n" * 9000],
    False: [b"VALUE a 0 99999999\r\nx", b"VALUE a 0 99999999\r\n" + _LARGE, b"STORED" + _LARGE * 20],
}
"""Beginnings of replies that a server never ends; the key tells whether the protocol is redis."""

_REDIS_LINES = """
MULTI; EXEC; DISCARD; WATCH {a}1; UNWATCH; RESET; QUIT; HELLO 3; HELLO 2; PING; INFO; ROLE; NOSUCH x; SELECT 1
SUBSCRIBE c1 c2; UNSUBSCRIBE; PSUBSCRIBE c*; PUNSUBSCRIBE; SSUBSCRIBE s; PUBLISH c1 hello; PUBSUB NUMSUB c1
BLPOP {a}q 0.01; BRPOP {a}q {a}r 0.01; RPUSH {a}q x y z; XREAD BLOCK 1 STREAMS {a}x $; BZPOPMIN {a}z 0.01; WAIT 0 1
SCAN 0; SCAN 5 COUNT 3; DBSIZE; RANDOMKEY; KEYS *; FLUSHALL; SWAPDB 0 1; CONFIG GET *; COMMAND DOCS get; OBJECT HELP
SCRIPT LOAD return; SCRIPT EXISTS x; SCRIPT FLUSH; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1 k
EVAL return(1) 1 k; COMMAND GETKEYS SET a b; COPY a b DB 1; MOVE a 1; RENAME a b
CLIENT REPLY SKIP; CLIENT REPLY OFF; CLIENT REPLY ON; CLIENT LIST
MGET a b c d; DEL a b c; MSET a 1 b 2 c 3
"""
REDIS_SPECIAL = [
    *(resp.command(*line.split()) for line in _REDIS_LINES.strip().replace("\n", ";").split(";")),
    *(resp.command("SET", "big", _LARGE), resp.command("GET", "big"), resp.command("MGET", *range(400)), b"GET a\r\n"),
    *(b"*" + b"1" * 70_000, b"*3\r\n$" + b"0" * 70_000, _LARGE, b"*1048576\r\n" + b"$0\r\n\r\n" * 9000),
]
MEMCACHED_SPECIAL = [
    *(b"set big 0 0 %d\r\n%s\r\n" % (len(_LARGE), _LARGE), b"get big\r\n", b"mn\r\n", b"stats\r\n", b"stats items\r\n"),
    *(b"get %s\r\n" % b" ".join(b"k%d" % i for i in range(400)), b"version\r\n", b"flush_all noreply\r\n", b"quit\r\n"),
    *(b"get " + _LARGE, b"set a 0 0 99999999\r\n" + _LARGE, b"gets" + b" " * 70_000, _LARGE),
]
_REDIS_MAKERS = list(GROUPS.values())


def _forging_request(source: random.Random) -> bytes:
    """A script whose first line makes servers include bytes of the client's choice, even line ends, in an error."""
    lie = "".join(f"\\x{byte:02x}" for byte in b"\r\n" + nonsense(source, True)[:4000])
    line = source.choice(['#!lua "flags=bad{}"', '#!lua "bad{}"', '#!"bad{}"', '#!"bad{}" name=x', '#!lua name="x{}"'])
    body = line.format(lie) + "\nreturn 1"
    match source.randrange(4):
        case 0:
            return resp.command("SCRIPT", "LOAD", body)
        case 1:
            return resp.command("FUNCTION", "LOAD", body)
        case 2:
            return resp.command("EVAL_RO", body, "1", "k")
        case _:
            return resp.command("EVAL", body, "1", source.choice("abcdk"))


def _redis_request(source: random.Random) -> bytes:
    if source.random() < 0.05:
        return _forging_request(source)
    if source.random() < 0.5:
        return source.choice(REDIS_SPECIAL)
    return b"".join(made.request for made in source.choice(_REDIS_MAKERS)(source))


def _memcached_request(source: random.Random) -> bytes:
    return source.choice(MEMCACHED_SPECIAL) if source.random() < 0.2 else memcached_parsers.request(source)


def stream(source: random.Random, redis: bool) -> bytes:
    """The bytes that a client sends at once: requests, usually damaged. They depend on ``source`` only."""
    make = _redis_request if redis else _memcached_request
    data = b"".join(make(source) for _ in range(source.randrange(1, _MOST_REQUESTS)))
    if source.random() < 0.4:
        return data
    mutator = Mutator(make, redis_parsers.REQUEST_TOKENS if redis else memcached_parsers.REQUEST_TOKENS)
    return mutator.mutate(data, source)


def nonsense(source: random.Random, redis: bool) -> bytes:
    """The replies of a senseless server: correct, wrong and damaged replies, and random bytes."""
    make = redis_parsers.reply if redis else memcached_parsers.reply
    said = b"".join(make(source) for _ in range(source.choice([0, 1, 1, 1, 2, 5])))
    match source.randrange(10):
        case 0:
            return source.randbytes(source.randrange(1, 40))
        case 1 | 2:
            tokens = redis_parsers.REPLY_TOKENS if redis else memcached_parsers.REPLY_TOKENS
            return Mutator(make, tokens).mutate(said, source)
        case 3:
            return (b"*1\r\n" if redis else b"STAT a 1\r\n") * 20_000
        case 4:
            return source.choice(_ENDLESS[redis])
        case _:
            return said
