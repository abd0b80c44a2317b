"""Messages of subscriptions, written and read, compiled and interpreted."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.flavours import Load
from harness.resp import bulk, command, error
from harness.subscribing import confirmation, message, pattern_message

NAMES = st.lists(st.binary(max_size=12), max_size=6)


@pytest.fixture(scope="module")
def messages(flavour: Load) -> Any:
    return flavour("twemproxy.protocol.redis.subscription_messages")


@given(names=NAMES, had=st.sets(st.binary(max_size=1), max_size=3), others=st.integers(0, 2**62), begins=st.booleans())
def test_every_topic_is_told_with_the_number_after_it(
    messages: Any, names: list[bytes], had: set[bytes], others: int, begins: bool
) -> None:
    kind = "subscribe" if begins else "unsubscribe"
    topics: dict[bytes, None] = dict.fromkeys(had)
    told = messages.confirmations(b"*3\r\n" + bulk(kind), names, topics, others, begins)
    expected = b""
    for name in names:
        had = had | {name} if begins else had - {name}
        expected += confirmation(kind, name, others + len(had))
    assert told == expected
    assert set(topics) == had


@given(name=st.binary(), number=st.integers(0, 2**63 - 1), other=st.binary())
def test_an_answer_is_one_to_its_topic(messages: Any, name: bytes, number: int, other: bytes) -> None:
    head = b"*3\r\n" + bulk("subscribe")
    whole = confirmation("subscribe", name, number)
    assert messages.answers(whole, head, name)
    assert messages.answers(whole, head, other) == (name == other)
    assert not messages.answers(confirmation("unsubscribe", name, number), head, name)


@given(name=st.binary(max_size=20), cut=st.integers(0, 80))
def test_bytes_that_are_cut_off_are_no_answer(messages: Any, name: bytes, cut: int) -> None:
    """This does not depend on the length that the bytes announce."""
    head = b"*3\r\n" + bulk("subscribe")
    whole = confirmation("subscribe", name, 1)
    needed = whole.rindex(b":") + 1
    assert messages.answers(whole[:cut], head, name) == (cut >= needed)
    for length in (b"", b"-1", b"99999999999999999999999", b"5x"):
        assert not messages.answers(head + b"$" + length + b"\r\n" + name + b"\r\n:1\r\n", head, name)


@given(name=st.binary(), text=st.binary())
def test_what_is_published(messages: Any, name: bytes, text: bytes) -> None:
    assert messages.published(message(name, text)) == ("subscribe", name)
    assert messages.published(message(name, text, kind="smessage")) == ("ssubscribe", name)
    assert messages.published(pattern_message(name, text, b"x")) == ("psubscribe", name)
    for other in (error("NOPERM no"), confirmation("subscribe", name, 1), b"*3\r\n$7\r\nmessage\r\n$-1\r\n"):
        assert messages.published(other) is None


@pytest.mark.parametrize("length", [b"", b"9", b"99999999999999999999999", b"-1"])
def test_no_topic_is_longer_than_its_message(messages: Any, length: bytes) -> None:
    assert messages.published(b"*3\r\n$7\r\nmessage\r\n$" + length + b"\r\nabc\r\n") is None


@given(arguments=st.lists(st.binary(max_size=30), min_size=1, max_size=6))
def test_requests_of_any_arguments(flavour: Load, arguments: list[bytes]) -> None:
    assert flavour("twemproxy.protocol.redis.inline").encode_request(arguments) == command(*arguments)
