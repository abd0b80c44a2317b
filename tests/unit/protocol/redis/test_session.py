"""Sessions share state to stay small when idle, but one client's changes do not reach another client."""

import gc
import tracemalloc

from redis_peers import Pool, new_session, plan

from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.session import Session

CODEC = RedisCodec()
CLIENTS = 500
MOST = 300
"""The largest size of a session in bytes; together with its connection that is less than a kilobyte."""


def say(session: Session, text: str) -> None:
    """Plan a request of words separated by blanks, which must not be refused."""
    planned = plan(CODEC, session, *text.encode().split())
    assert planned is not None and not getattr(planned, "reply", b"").startswith(b"-"), planned


def state(session: Session) -> tuple[object, ...]:
    """The state of a session that other clients must not change."""
    transaction = session.transaction
    return session.subscribed, session.needs_planning, transaction.open, transaction.watching, transaction.server


def test_what_one_client_begins_is_not_anothers() -> None:
    pool = Pool()
    before, busy = new_session(pool=pool), new_session(pool=pool)
    idle = state(before)
    for text in ("WATCH k", "MULTI", "GET k"):
        say(busy, text)
        assert state(busy) != idle
    other = new_session(pool=pool)
    say(other, "SUBSCRIBE a")
    assert [state(session) for session in (before, new_session(pool=pool))] == [idle, idle]


def test_it_is_as_at_first_after_a_reset() -> None:
    session = new_session()
    idle = state(session)
    for text in ("SUBSCRIBE a", "UNSUBSCRIBE", "WATCH k", "MULTI", "RESET"):
        say(session, text)
    assert state(session) == idle


def test_an_idle_session_is_small() -> None:
    pool = Pool()
    clients = [new_session(pool=pool).client for _ in range(CLIENTS)]
    tracemalloc.start()
    sessions = [Session(pool, client) for client in clients]
    for session in sessions:
        say(session, "CLIENT SETINFO LIB-NAME redis-py")
        say(session, "CLIENT SETINFO LIB-VER 8.0.0")
    gc.collect()
    # Not what threads of other tests allocate meanwhile.
    places = ("*/twemproxy/protocol/*", __file__)
    ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, place) for place in places])
    tracemalloc.stop()
    size = sum(line.size for line in ours.statistics("filename"))
    assert MOST * CLIENTS // 10 < size < MOST * CLIENTS
