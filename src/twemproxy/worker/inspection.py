"""What a worker knows beside the counters: slow requests, hot keys, what a client waits for. Plain Python."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from twemproxy.downstream.client_states import PAUSES
from twemproxy.downstream.client_states import TABLE as CLIENT_STATES
from twemproxy.ipc.messages import ClientWork, HotKey, Inspection, SlowRequest, UsedConnection
from twemproxy.protocol.other_workers import Rows
from twemproxy.upstream.connection_states import TABLE as CONNECTION_STATES

HOT_KEYS: Final = 50
"""Hot keys of each pool that are told."""

_SERVERS_A_STEP: Final = 20
_TOPICS_A_STEP: Final = 200


def inspect(data_plane: Any) -> tuple[Inspection, ...]:
    """An Inspection of each pool. ``data_plane``: a ``worker.data_plane.DataPlane``."""
    now = data_plane.loop.real
    return tuple(
        Inspection(
            pool.config.name,
            tuple(map(_slow_request, pool.slow_log.requests)),
            tuple(_hot_key(pool, *row) for row in pool.hot_keys.top(HOT_KEYS, now)),
        )
        for pool in data_plane.pools
    )


def _slow_request(noted: Any) -> SlowRequest:
    shown = noted.arguments or [noted.command.encode()]
    command = tuple(map(_text, shown))
    return SlowRequest(noted.at, command, noted.server, noted.client, noted.waiting, noted.server_time, noted.writing)


def _hot_key(pool: Any, key: bytes, requests: float, error: float, size: float, largest: int) -> HotKey:
    server = pool.server_of(key).name if pool.is_open() else ""
    return HotKey(_text(key), server, requests, error, size, largest)


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def explain_client(arguments: Sequence[bytes], pool: Any) -> Iterator[Rows]:
    """The answer to EXPLAIN_CLIENT, see ``protocol.other_workers``; no rows if the client is not in this worker.

    ``arguments``: the number of the client. The first row has the ClientWork without connections, each other one a
    UsedConnection, as JSON.
    """
    [number] = map(int, arguments)
    client = next((each for each in pool.clients() if each.number() == number), None)
    if client is None:
        return
    state, pauses, full = client.standing()
    reasons = tuple((name, meaning) for bit, name, meaning in PAUSES if pauses & bit)
    yield [_row(ClientWork(CLIENT_STATES.states(state).name.lower(), reasons, full))]
    yield [_row(_private(client, reserved)) for reserved in client.reservations().all()]
    servers = list(pool.servers)
    for start in range(0, len(servers), _SERVERS_A_STEP):
        yield list(_shared(client, servers[start : start + _SERVERS_A_STEP]))
    if client.session is not None and pool.config.redis:
        yield from _subscriptions(client, pool)


def _private(client: Any, reserved: Any) -> UsedConnection:
    used = _used(client, reserved.server, "private", reserved.connection)
    return msgspec.structs.replace(used, kept=reserved.kept, waits_for_ever=reserved.patient)


def _shared(client: Any, servers: Sequence[Any]) -> Iterator[tuple[int, bytes]]:
    for server in servers:
        connection = client.shared_connection(server)
        if connection is not None:
            used = _used(client, server, "shared", connection)
            if used.own:
                yield _row(used)


def _subscriptions(client: Any, pool: Any) -> Iterator[Rows]:
    """A row for each connection, after all topics of the client were looked at."""
    found: dict[Any, list[Any]] = {}
    for kind, topics in list(client.session.topics.items()):
        names = list(topics)
        for start in range(0, len(names), _TOPICS_A_STEP):
            for server, connection in pool.subscriptions.links_to(kind, names[start : start + _TOPICS_A_STEP]):
                found.setdefault(connection, [server, 0])[1] += 1
            yield ()
    rows = []
    for connection, (server, topics) in found.items():
        used = _used(client, server, "subscriptions", connection)
        rows.append(_row(msgspec.structs.replace(used, topics=topics)))
    yield rows


def _used(client: Any, server: Any, use: Any, connection: Any) -> UsedConnection:
    to_send, to_send_bytes, sent, own = client.requests_at(connection)
    state = CONNECTION_STATES.states(connection.state).name.lower()
    return UsedConnection(server.name, use, state, to_send, to_send_bytes, sent, own)


def _row(document: ClientWork | UsedConnection) -> tuple[int, bytes]:
    return 0, msgspec.json.encode(document)
