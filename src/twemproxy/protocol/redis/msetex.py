"""MSETEX over several servers: each sets its own keys, unless a condition on all keys requires one server.

Plain Python. With NX or XX all keys must be on one server. Source: redis.io, "MSETEX".
"""

from collections.abc import Generator

from twemproxy.protocol.plan import Answer, Ask, Merge, Plan, Server, Steps, ToServer
from twemproxy.protocol.redis.errors import CROSS_SERVER, error_reply
from twemproxy.protocol.redis.inline import decode_some
from twemproxy.protocol.redis.keys import COUNT
from twemproxy.protocol.redis.resp_encoder import bulk
from twemproxy.protocol.redis.session import Pool

_CONDITIONS = (b"NX", b"XX")
_PIECE = 50
"""Keys per step."""


def plan(request: bytes, pool: Pool, merge: Merge) -> Plan:
    """The plan for a complete request; ``merge`` merges the replies of several servers.

    A request with a wrong number of keys goes to any server, which rejects it.
    """
    (name, count), _ = decode_some(request, 0, 2)
    if not pool.is_open():
        return Answer(pool.refused)
    if len(pool.servers) == 1 or not COUNT.fullmatch(count):
        return ToServer(pool.any_server())
    return Steps(_split(name, int(count), request, pool, merge), 2 * len(request))


def _split(name: bytes, count: int, request: bytes, pool: Pool, merge: Merge) -> Generator[bytes, None, Answer | Ask]:
    """Split the request by server, in pieces of keys; again if keys have moved to other servers meanwhile.

    Only the first ``_PIECE`` arguments after the keys are read: a server rejects a request with more options.
    """
    routes = pool.routes
    _, at = decode_some(request, 0, 2, 0)
    left = count
    by_server: dict[Server, bytearray] = {}
    counts: dict[Server, int] = {}
    while left > 0:
        words, at = decode_some(request, at, 2 * min(left, _PIECE))
        if len(words) < 2 * min(left, _PIECE):
            # There are fewer keys than the number says; any server rejects that.
            return Ask([(pool.any_server(), request)], merge)
        if not pool.is_open():
            return Answer(pool.refused)
        for key, value in zip(words[::2], words[1::2], strict=True):
            server = pool.server_of(key)
            by_server.setdefault(server, bytearray()).extend(bulk(key) + bulk(value))
            counts[server] = counts.get(server, 0) + 1
        left -= _PIECE
        yield b""
    options, _ = decode_some(request, at, _PIECE)
    if len(by_server) < 2:
        return Ask([(next(iter(by_server), pool.any_server()), request)], merge)
    if any(option.upper() in _CONDITIONS for option in options):
        return Answer(error_reply(CROSS_SERVER))
    asked = []
    behind = b"".join(map(bulk, options))
    for server, pairs in sorted(by_server.items(), key=lambda item: item[0].position):
        head = b"*%d\r\n" % (2 + 2 * counts[server] + len(options)) + bulk(name) + bulk(b"%d" % counts[server])
        asked.append((server, b"".join((head, pairs, behind))))
        yield b""
    if pool.routes is not routes:
        return (yield from _split(name, count, request, pool, merge))
    return Ask(asked, merge)
