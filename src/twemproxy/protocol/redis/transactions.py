"""WATCH, MULTI and EXEC: on a private connection of the client, to the server of the first key.

Plain Python. MULTI goes to the server with the first request that has a key, and this request waits until the server
has accepted MULTI, so no request runs that should be queued. A request that cannot be part of the transaction gets its
error at once, and EXEC then does nothing, as in redis. Watched keys depend on the connection: if it is lost, EXEC
reports that. A client that is silent for a minute loses the connection, and its EXEC does nothing.

Keys may move to another server before EXEC, or the server to another address. Then nobody would read what the
transaction writes, and other clients do not change the watched keys where they are watched. So EXEC does nothing:
with watched keys its reply is that for a changed key, otherwise an error. An EXEC that has been sent is not affected.

Source: redis.io, "Transactions".
"""

from twemproxy.protocol.plan import Answer, Plan, Server, ToPrivate
from twemproxy.protocol.redis.errors import (
    CROSS_SERVER,
    DISCARD_WITHOUT_MULTI,
    EXEC_ABORTED,
    EXEC_LAPSED,
    EXEC_LOST,
    EXEC_MOVED,
    EXEC_WITHOUT_MULTI,
    KEYS_MOVED,
    NESTED_MULTI,
    TOO_MANY_QUEUED,
    WATCH_IN_MULTI,
    error_reply,
)
from twemproxy.protocol.redis.inline import encode_request
from twemproxy.protocol.redis.resp_encoder import OK
from twemproxy.protocol.redis.session import Session

MOST_QUEUED = 1000
"""Most requests without keys that are kept until the first key determines the server."""

MOST_QUEUED_BYTES = 1024 * 1024

_MULTI = encode_request([b"MULTI"])
_QUEUED = b"+QUEUED\r\n"


def plan(name: str, arguments: list[bytes], session: Session) -> Plan:
    """The plan for WATCH, UNWATCH, MULTI, EXEC and DISCARD; in a transaction UNWATCH is queued instead."""
    match name:
        case "watch":
            return _watch(arguments[1:], session)
        case "unwatch":
            return _unwatch(session)
        case "multi":
            return _multi(session)
        case "exec":
            return _exec(session)
        case _:
            return _discard(session)


def queue(request: bytes, server: Server | None, keys: list[bytes] | None, session: Session) -> Plan:
    """The plan for a request in a transaction.

    ``request``: its bytes, if ``server`` is None. ``server``: that of its keys, None for any server. ``keys``: None if
    they are not known.
    """
    transaction = session.transaction
    _check_keys(session)
    if transaction.lapsed:
        return Answer(_QUEUED)
    if transaction.moved:
        return refuse(error_reply(KEYS_MOVED), session)
    if transaction.server is None:
        if server is None:
            if len(transaction.queued) == MOST_QUEUED or sum(map(len, transaction.queued)) > MOST_QUEUED_BYTES:
                return refuse(error_reply(TOO_MANY_QUEUED), session)
            transaction.queued.append(request)
            return Answer(_QUEUED)
        _take_place(server, session)
    place = transaction.server
    assert place is not None
    if server is not None and _is_elsewhere(server, session):
        return refuse(error_reply(CROSS_SERVER), session)
    transaction.remember(keys)
    ready = _begin(place, session)
    if isinstance(ready, bytes):
        return refuse(ready, session)
    return ToPrivate(place) if ready else None


def _is_elsewhere(server: Server, session: Session) -> bool:
    """Whether this is not the server of the transaction. With the distribution ``random`` every server has all keys."""
    return server is not session.transaction.server and not session.pool.is_random()


def _take_place(server: Server, session: Session) -> None:
    """The transaction is at this server, which has its keys now."""
    session.transaction.server = server
    session.transaction.routes = session.pool.routes


def _check_keys(session: Session) -> None:
    """If the server of the transaction has left its address, or does not have all keys any more, EXEC will do nothing.

    Nothing is looked up unless the routes of the pool have changed since the last time.
    """
    transaction = session.transaction
    if transaction.server is None or transaction.routes is session.pool.routes:
        return
    if _has_keys(transaction.server, session):
        transaction.routes = session.pool.routes
    elif transaction.watching:
        session.lapsed()
    else:
        transaction.moved = True


def _has_keys(server: Server, session: Session) -> bool:
    """Whether the server of the transaction is where it was when the transaction began, and has all keys."""
    transaction, pool = session.transaction, session.pool
    if server.removed or session.client.reservations().is_stale(server):
        return False
    if pool.is_random() or len(pool.servers) == 1 or pool.has_keys_as_in(transaction.routes):
        return True
    if transaction.keys is None:
        return False
    return not transaction.keys or pool.server_of_all(list(transaction.keys)) is server


def refuse(reply: bytes, session: Session) -> Answer:
    """Reply with this error; the transaction fails."""
    session.transaction.failed = True
    return Answer(reply)


def _begin(server: Server, session: Session) -> bytes | bool:
    """Whether the server has begun the transaction, or an error reply."""
    transaction = session.transaction
    if not transaction.before:
        transaction.before = (_MULTI, *transaction.queued)
    ready = session.client.reservations().reserve(server, session.profile, transaction.before, kept=True)
    transaction.begun = ready is True
    return ready


def _end(session: Session) -> None:
    """End the transaction and the watching; the connection is given back after the reply to the next request."""
    session.client.reservations().keep_no_longer()
    session.end_transaction()


def _drop(reply: bytes, session: Session) -> Plan:
    """As ``_end``, but the connection is closed, which ends the transaction at the server. Replies with ``reply``."""
    if session.client.awaits_replies():
        return None
    session.client.reservations().release(False)
    session.end_transaction()
    return Answer(reply)


def _watch(keys: list[bytes], session: Session) -> Plan:
    transaction = session.transaction
    if transaction.open:
        return Answer(error_reply(WATCH_IN_MULTI))
    if not session.pool.is_open():
        return Answer(session.pool.refused)
    _check_keys(session)
    server = session.pool.server_of_all(keys)
    placed = transaction.watching and not transaction.lapsed
    if server is None or (placed and _is_elsewhere(server, session)):
        return Answer(error_reply(CROSS_SERVER))
    if placed and transaction.server is not None:
        server = transaction.server
    ready = session.client.reservations().reserve(server, session.profile, kept=True)
    if isinstance(ready, bytes) and transaction.watching and not session.client.awaits_replies():
        # The connection is lost, and with it what was watched there: EXEC will do nothing, as after a change of a key.
        session.client.reservations().release(False)
        session.lapsed()
        ready = session.client.reservations().reserve(server, session.profile, kept=True)
    if isinstance(ready, bytes):
        return Answer(ready)
    if not ready:
        return None
    transaction = session.begin_transaction()
    transaction.watching = True
    _take_place(server, session)
    transaction.remember(keys)
    return ToPrivate(server)


def _unwatch(session: Session) -> Plan:
    transaction = session.transaction
    if not transaction.watching or transaction.server is None:
        return Answer(OK)
    if transaction.lapsed:
        return _drop(OK, session)
    server = transaction.server
    ready = session.client.reservations().reserve(server, session.profile)
    if isinstance(ready, bytes):
        return _drop(OK, session)
    if not ready:
        return None
    _end(session)
    return ToPrivate(server, last=True)


def _multi(session: Session) -> Plan:
    if session.transaction.open:
        return Answer(error_reply(NESTED_MULTI))
    session.begin_transaction().open = True
    return Answer(OK)


def _exec(session: Session) -> Plan:
    transaction = session.transaction
    if not transaction.open:
        return Answer(error_reply(EXEC_WITHOUT_MULTI))
    _check_keys(session)
    if transaction.moved:
        return _drop(error_reply(EXEC_MOVED), session)
    if transaction.failed:
        return _drop(error_reply(EXEC_ABORTED), session)
    if transaction.lapsed:
        # The reply is that of a changed key: clients start again after it.
        nothing = b"_\r\n" if session.protocol == 3 else b"*-1\r\n"
        return _drop(nothing if transaction.watching else error_reply(EXEC_LAPSED), session)
    if transaction.server is None:
        if not transaction.queued:
            _end(session)
            return Answer(b"*0\r\n")
        if not session.pool.is_open():
            return _drop(session.pool.refused, session)
        _take_place(session.pool.any_server(), session)
    server = transaction.server
    assert server is not None
    ready = _begin(server, session)
    if isinstance(ready, bytes):
        return _drop(error_reply(EXEC_LOST), session)
    if not ready:
        return None
    _end(session)
    return ToPrivate(server, last=True)


def _discard(session: Session) -> Plan:
    if not session.transaction.open:
        return Answer(error_reply(DISCARD_WITHOUT_MULTI))
    return _drop(OK, session)
