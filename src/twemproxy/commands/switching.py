"""What becomes different for a pool when this proxy takes the place of nutcracker 0.5.0, as a table.

docs/differences.md has all differences; these are the ones that follow from directives of the file. Their rows there,
the first ones of their sections, are written by tools/generate_docs.py.
"""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from twemproxy.config.pools import PoolConfig


class Difference(NamedTuple):
    """A difference that some pools notice."""

    kind: Literal["data", "note"]
    """``data``: clients may miss data that they had before. ``note``: good to know."""
    section: str
    """The section of docs/differences.md that has it."""
    applies: Callable[[PoolConfig], bool]
    """Whether the pool notices it."""
    text: str
    """The text for people about a pool; fields of the pool are in braces."""
    original: str
    """What nutcracker does, as docs/differences.md says it."""
    here: str
    """What this proxy does."""


def _has_sockets(pool: PoolConfig) -> bool:
    return any(server.address.path for server in pool.servers)


DIFFERENCES: Final = (
    Difference(
        "data",
        "Passwords and databases",
        lambda pool: bool(pool.redis and pool.redis_auth and pool.redis_db),
        "with redis_auth nutcracker does not select database {redis_db}: its data is in database 0, and clients will"
        " not find it; take redis_db out of the file, or move the data",
        "With `redis_auth`, SELECT is sent before AUTH and refused, so data lands in database 0.",
        "AUTH, then SELECT, then requests.",
    ),
    Difference(
        "data",
        "Passwords and databases",
        lambda pool: bool(pool.redis and not pool.redis_auth and pool.redis_db and _has_sockets(pool)),
        "at unix sockets nutcracker does not select database {redis_db}: the data of these servers is in database 0,"
        " and clients will not find it; take redis_db out of the file, or move the data",
        "On unix sockets `redis_db` has no effect.",
        "It works as over TCP.",
    ),
    Difference(
        "note",
        "Clients",
        lambda pool: pool.client_connections > 0,
        "client_connections {client_connections}, which nutcracker ignores, becomes the limit of clients",
        "`client_connections` is ignored.",
        "The most clients of a pool at a time; 0, the default, is no limit.",
    ),
    Difference(
        "note",
        "Server connections",
        lambda pool: pool.tcpkeepalive,
        "tcpkeepalive also applies to server connections",
        "`tcpkeepalive` applies to clients.",
        "Also to servers. `tcpkeepalive_idle`, `_interval` and `_count` set its times.",
    ),
    Difference(
        "note",
        "Server connections",
        lambda pool: pool.timeout > 0,
        "a request that takes longer than {timeout} ms fails alone; nutcracker fails all requests on its connection",
        "A timeout closes the server connection and fails all its requests.",
        "It fails alone; its late reply is dropped. A [silent](failures.md#a-server) server loses the"
        " connection later.",
    ),
    Difference(
        "note",
        "Server connections",
        lambda pool: pool.server_connections > 1,
        "a client keeps to one of the {server_connections} connections per server, so its requests stay in order",
        "With several `server_connections`, requests of a client may run out of order.",
        "A client keeps to one connection per server, so it reads its own writes. Clients are spread over"
        " the connections.",
    ),
    Difference(
        "note",
        "Ejection (`auto_eject_hosts`)",
        lambda pool: pool.auto_eject_hosts,
        "an ejected server must answer a probe before it gets requests again, every {server_retry_timeout} ms",
        "An ejected server gets requests again after `server_retry_timeout`, healthy or not.",
        "It must answer `probe_successes` probes first (PING with the pool's password, or `version`).",
    ),
    Difference(
        "note",
        "Redis requests",
        lambda pool: pool.redis and len(pool.servers) > 1,
        "commands with keys on several servers are split or get -CROSSSLOT; nutcracker sends many to a wrong server",
        "A command with several keys goes to the server of the first one.",
        "All keys are checked, those after STORE too. On several servers: `-CROSSSLOT`. Not checked with `random`.",
    ),
    Difference(
        "note",
        "Memcached requests",
        lambda pool: not pool.redis,
        "a line that memcached refuses gets its error, and the connection stays open",
        "An unknown, malformed or unsupported line closes the connection and loses earlier replies.",
        "memcached's `ERROR` or `CLIENT_ERROR` in its place; the connection stays open.",
    ),
)
"""In the order in which they are shown."""
