"""The plan for a long request: its first bytes show the plan, or all bytes are needed."""

from collections.abc import Callable
from typing import Any

import pytest
from feeding import Parser
from hypothesis import given
from hypothesis import strategies as st
from redis_peers import Pool, finished, new_session, plan

from harness.resp import OK, command
from twemproxy.protocol.plan import MORE, Answer, Ask, ToPrivate
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.commands import COMMANDS, SUBCOMMANDS
from twemproxy.protocol.redis.session import Session

LONG = b"v" * 10_000
NAMES = [row.name.encode() for row in COMMANDS] + [name.encode() for name in SUBCOMMANDS] + [b"nosuch", b"n" * 3000]
WORDS = st.sampled_from([b"", b"1", b"key", b"KEYS", b"NX", b"0", b"k" * 200, b"x" * 2000, LONG])


def in_transaction(codec: Any, session: Session) -> None:
    assert plan(codec, session, b"MULTI") == Answer(OK)


def watching(codec: Any, session: Session) -> None:
    assert isinstance(plan(codec, session, b"WATCH", b"key"), ToPrivate)


def subscribed(codec: Any, session: Session) -> None:
    session.topics_of("subscribe")[b"channel"] = None


def without_replies(codec: Any, session: Session) -> None:
    finished(plan(codec, session, b"CLIENT", b"REPLY", b"OFF"))


STATES: list[Callable[[Any, Session], None]] = [
    lambda codec, session: None,
    in_transaction,
    watching,
    subscribed,
    without_replies,
]


def planned(state: Callable[[Any, Session], None], servers: int, request: bytes, shown: int) -> Any:
    """The plan from the first ``shown`` bytes of a request, for a new client in this state."""
    parser, session = Parser(RedisCodec(permitted=["*"])), new_session(pool=Pool(servers=servers))
    state(parser, session)
    assert parser.find_request(request, 0, len(request)) == 1
    found = finished(parser.codec.plan(request[:shown], parser.request, session, shown == len(request)))
    # The function that merges replies is made for one plan, so no two plans have the same one.
    return (found.requests, found.private) if isinstance(found, Ask) else found


@given(
    st.sampled_from(STATES),
    st.sampled_from([1, 3]),
    st.sampled_from(NAMES),
    st.lists(WORDS, max_size=5),
    st.integers(0, 15_000),
)
def test_the_first_bytes_show_the_same_plan_or_none(
    state: Callable[[Any, Session], None], servers: int, name: bytes, words: list[bytes], cut: int
) -> None:
    request = command(*name.split(b"|"), *words)
    shown = min(len(request), max(cut, 10))
    plan = planned(state, servers, request, shown)
    if plan is not MORE:
        assert plan == planned(state, servers, request, len(request))


@pytest.mark.parametrize("state", [in_transaction, watching])
def test_a_long_value_is_not_needed(state: Callable[[Any, Session], None]) -> None:
    request = command("SET", "key", LONG)
    assert planned(state, 3, request, 1000) is not MORE


def test_a_long_value_of_an_unknown_command_is_not_needed() -> None:
    request = command("nosuch", "key", LONG, LONG)
    assert planned(STATES[0], 3, request, 2000) is not MORE


def test_a_long_key_is_needed() -> None:
    request = command("SET", LONG, "v")
    assert planned(in_transaction, 3, request, 1000) is MORE
