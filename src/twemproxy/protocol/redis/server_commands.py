"""CONFIG GET, TIME and LOLWUT, which describe the proxy and its pool as redis describes a server.

Names are redis's, so that clients and tools find them; figures that a proxy does not have are left out.
"""

import time
from collections.abc import Generator

from twemproxy.protocol.plan import Answer
from twemproxy.protocol.redis.glob import glob_matches
from twemproxy.protocol.redis.inline import decode_some
from twemproxy.protocol.redis.resp_encoder import array, bulk, mapping, text
from twemproxy.protocol.redis.session import Session

_PATTERNS_A_STEP = 64
_LONGEST_PATTERN = 128


def _parameters(session: Session) -> dict[bytes, object]:
    """The parameters for CONFIG GET: those that clients and benchmarks read, with values that hold for the pool."""
    config = session.pool.config
    return {
        b"appendonly": "no",
        b"bind": config.listen.address.host,
        b"databases": session.databases,
        b"maxclients": config.client_connections,
        b"maxmemory": 0,
        b"maxmemory-policy": "noeviction",
        b"notify-keyspace-events": "",
        b"port": config.listen.address.port,
        b"proto-max-bulk-len": 512 * 1024 * 1024,
        b"save": "",
        b"tcp-backlog": config.backlog,
        b"timeout": 0,
        b"unixsocket": config.listen.address.path,
    }


def config(request: bytes, session: Session) -> Generator[bytes | None, None, Answer]:
    """CONFIG GET pattern ..., see ``protocol.plan.Steps``."""
    parameters = _parameters(session)
    found: set[bytes] = set()
    _, at = decode_some(request, 0, 2, 0)
    while True:
        patterns, at = decode_some(request, at, _PATTERNS_A_STEP)
        if not patterns:
            break
        for pattern in patterns:
            lower = pattern[:_LONGEST_PATTERN].lower()
            found.update(name for name in parameters if glob_matches(lower, name))
        yield b""
    told = ((bulk(name), bulk(str(value))) for name, value in parameters.items() if name in found)
    return Answer(mapping(told, session.protocol))


def current_time(arguments: list[bytes], session: Session) -> bytes:
    """TIME, by the proxy's clock."""
    microseconds = time.time_ns() // 1000
    return array(bulk(str(part)) for part in divmod(microseconds, 1_000_000))


def lolwut(arguments: list[bytes], session: Session) -> bytes | None:
    """LOLWUT: a line of the proxy's own instead of a server's picture; then the version, as servers report it."""
    if not session.pool.codec.versions.are_known(session):
        return None
    server, version = session.pool.codec.versions.greeting()
    return text(f"{_LINE}\n\n{server.capitalize()} ver. {version}\n", session.protocol)


_LINE = "many keys, few wires / each to its own server, each reply in its turn"
