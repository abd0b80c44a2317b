"""INFO, CONFIG GET, TIME and LOLWUT: the proxy and its pool, described as a redis server would describe itself.

Names are redis's, so that clients and tools find what they look for; what a proxy cannot know is left out.
"""

import time
from collections.abc import Iterable
from fnmatch import fnmatchcase

from twemproxy.protocol.redis.connection_commands import SPOKEN_VERSION
from twemproxy.protocol.redis.replies import array, bulk, mapping, text
from twemproxy.protocol.redis.session import Session

_SECTIONS = ("server", "clients", "stats", "replication", "cluster", "pool", "keyspace")
_EVERYTHING = (b"all", b"default", b"everything")
_LONGEST_PATTERN = 128


def _section(name: str, figures: dict[str, object], session: Session) -> Iterable[tuple[str, object]]:
    """Names and values of a section of INFO."""
    match name:
        case "server":
            yield "redis_version", SPOKEN_VERSION
            yield "redis_mode", "standalone"
            yield "proxy", "twemproxy"
            yield "proxy_version", figures["version"]
            yield "process_id", figures["pid"]
            yield "tcp_port", session.pool.config.listen.address.port
            yield "uptime_in_seconds", figures["uptime"]
            yield "uptime_in_days", int(str(figures["uptime"])) // 86400
        case "clients":
            yield "connected_clients", figures["client_connections"]
            sessions = [client.session for client in session.pool.clients() if client.session is not None]
            yield "blocked_clients", sum(client.is_blocked() for client in session.pool.clients())
            yield "pubsub_clients", sum(other.subscribed for other in sessions)
            yield "watching_clients", sum(other.transaction.watching for other in sessions)
        case "stats":
            yield "total_commands_processed", figures["requests"]
            yield "total_net_input_bytes", figures["response_bytes"]
            yield "total_net_output_bytes", figures["request_bytes"]
            yield "total_error_replies", figures["forward_error"]
        case "replication":
            yield "role", "master"
            yield "connected_slaves", 0
        case "cluster":
            yield "cluster_enabled", 0
        case "pool":
            yield "pool_name", session.pool.config.name
            yield from (
                (f"pool_{key}", figures[key]) for key in ("servers", "servers_live", "server_ejects", "fragments")
            )
        case _:
            return


def info(arguments: list[bytes], session: Session) -> bytes:
    """INFO [section ...]; sections that there are not are left out, as redis does."""
    wanted = [argument.lower() for argument in arguments[1:]] or [b"default"]
    chosen = [name for name in _SECTIONS if name.encode() in wanted or any(word in _EVERYTHING for word in wanted)]
    figures = dict(session.pool.statistics())
    sections = []
    for name in chosen:
        lines = [f"{key}:{value}\r\n" for key, value in _section(name, figures, session)]
        sections.append(f"# {name.capitalize()}\r\n" + "".join(lines))
    return text("\r\n".join(sections), session.protocol)


def _parameters(session: Session) -> dict[str, object]:
    """What CONFIG GET knows: what clients and benchmarks look for, as it is for a client of the pool."""
    config = session.pool.config
    return {
        "appendonly": "no",
        "bind": config.listen.address.host,
        "databases": session.databases,
        "maxclients": config.client_connections,
        "maxmemory": 0,
        "maxmemory-policy": "noeviction",
        "notify-keyspace-events": "",
        "port": config.listen.address.port,
        "proto-max-bulk-len": 512 * 1024 * 1024,
        "save": "",
        "tcp-backlog": config.backlog,
        "timeout": 0,
        "unixsocket": config.listen.address.path,
    }


def config(arguments: list[bytes], session: Session) -> bytes:
    """CONFIG GET pattern ..."""
    patterns = [argument[:_LONGEST_PATTERN].decode("utf-8", "replace").lower() for argument in arguments[2:]]
    found = (
        (bulk(name), bulk(str(value)))
        for name, value in _parameters(session).items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    )
    return mapping(found, session.protocol)


def current_time(arguments: list[bytes], session: Session) -> bytes:
    """TIME: the proxy's clock."""
    microseconds = time.time_ns() // 1000
    return array(bulk(str(part)) for part in divmod(microseconds, 1_000_000))


def lolwut(arguments: list[bytes], session: Session) -> bytes:
    """LOLWUT: not the server's picture, but a line of ours."""
    return text("many keys, few wires / each to its own server, each reply in its turn\n", session.protocol)
