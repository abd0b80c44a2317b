"""What the slow log shows of a request."""

from hypothesis import given
from hypothesis import strategies as st

from harness.resp import command
from twemproxy.protocol.redis.shown_arguments import shown_arguments


def test_a_short_request_is_shown_whole() -> None:
    assert shown_arguments(command("SET", "k", "v")) == [b"SET", b"k", b"v"]


def test_what_is_left_out_is_marked() -> None:
    request = command("SET", "key", "x" * 100)
    begin = request.index(b"xxx")
    assert shown_arguments(request[: begin + 9]) == [b"SET", b"key", b"x" * 9 + b"..."]
    assert shown_arguments(request[: begin - 3]) == [b"SET", b"key", b"..."]


def test_secrets_are_not_shown() -> None:
    assert shown_arguments(command("AUTH", "name", "secret")) == [b"AUTH", b"..."]
    assert shown_arguments(command("hello", "3", "AUTH", "name", "secret")[:50]) == [b"hello", b"..."]


def test_no_request() -> None:
    assert shown_arguments(b"") == shown_arguments(b"GET k\r\n") == shown_arguments(b"*3") == []


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=6), st.integers(min_value=0, max_value=200))
def test_arguments_of_any_request(arguments: list[bytes], length: int) -> None:
    request = command(*arguments)
    shown = shown_arguments(request[:length])
    if length >= len(request) and arguments[0].lower() not in (b"auth", b"hello"):
        assert shown == arguments
    for said, argument in zip(shown, arguments, strict=False):
        assert said == argument or argument.startswith(said.removesuffix(b"..."))


@given(st.binary(max_size=80))
def test_any_bytes(head: bytes) -> None:
    shown_arguments(head)
