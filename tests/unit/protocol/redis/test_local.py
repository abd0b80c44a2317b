"""The proxy's own replies, and the state of a client that the proxy keeps for them."""

from types import SimpleNamespace
from typing import Any

import pytest
from feeding import SLOW_PATH, Parser, request_meaning
from hypothesis import given
from hypothesis import strategies as st
from redis_peers import ask, finished, new_session, plan

from harness.flavours import Load
from harness.resp import command
from harness.servers import RedisServer
from twemproxy.protocol.redis import errors
from twemproxy.protocol.redis.commands import COMMANDS, Routing
from twemproxy.protocol.redis.handshake import OTHER_DATABASE_STEP
from twemproxy.protocol.redis.session import REPLY_ON

OK = b"+OK\r\n"
LOCAL = [row.name.encode() for row in COMMANDS if row.routing == Routing.LOCAL]


def line(text: str) -> bytes:
    """An error reply."""
    return f"-{text}\r\n".encode()


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return Parser(flavour("twemproxy.protocol.redis.codec").RedisCodec())


@given(name=st.sampled_from(LOCAL), arguments=st.lists(st.binary(max_size=8), max_size=4))
def test_whatever_is_routed_here_is_answered(codec: Any, name: bytes, arguments: list[bytes]) -> None:
    """The arities in the table protect the replies: no code reads an argument that does not exist."""
    request = command(name, *arguments)
    if request_meaning(codec, request)[1] == SLOW_PATH:
        for password in ("", "secret"):
            session = new_session(password, 0)
            reply, last = finished(codec.plan(request, session))
            assert last == (name == b"quit")
            if session.replies == REPLY_ON:
                assert codec.find_reply(reply, 0, len(reply)) == 1
                assert codec.end == len(reply)
            else:
                assert (name, reply) == (b"client", b"")


@given(message=st.binary(max_size=30), name=st.sampled_from([b"ping", b"ECHO"]), more=st.booleans())
def test_ping_and_echo_are_answered_as_redis_does(
    codec: Any, redis: RedisServer, message: bytes, name: bytes, more: bool
) -> None:
    session = new_session("", 0)
    assert ask(codec, session, name, message) == redis.ask(name, message)
    assert ask(codec, session, b"PING") == redis.ask("PING")
    if more:
        assert ask(codec, session, b"PING", message, message) == redis.ask("PING", message, message)


def test_quit_is_the_last_answer(codec: Any) -> None:
    assert plan(codec, new_session("", 0), b"QUIT") == (OK, True)
    assert plan(codec, new_session("secret", 0), b"quit", b"now") == (OK, True)


@pytest.mark.parametrize("database", [0, 3])
def test_select_of_the_pools_database(codec: Any, database: int) -> None:
    session = new_session("", database)
    assert ask(codec, session, b"SELECT", b"0") == OK
    assert ask(codec, session, b"select", b"%d" % database) == OK
    assert ask(codec, session, b"SELECT", b"7") == line(errors.DB_OUT_OF_RANGE.format(database=database))
    assert ask(codec, session, b"SELECT", b"-1") == line(errors.DB_OUT_OF_RANGE.format(database=database))


@pytest.mark.parametrize(
    "word", [b"", b"x", b"+0", b" 0", b"0 ", b"00", b"-0", b"0_0", b"0x0", b"1e0", b"0" * 30, b"\xb2"]
)
def test_select_of_what_is_no_number(codec: Any, redis: RedisServer, word: bytes) -> None:
    assert ask(codec, new_session("", 0), b"SELECT", word) == redis.ask("SELECT", word) == line(errors.NOT_AN_INTEGER)


def test_select_of_a_huge_number(codec: Any) -> None:
    for word in (b"9" * 9, b"9" * 19, b"9" * 5000):
        assert ask(codec, new_session("", 0), b"SELECT", word).startswith(b"-ERR ")


def test_auth_opens_and_shuts(codec: Any) -> None:
    session = new_session("secret", 0)
    assert not session.authenticated
    assert ask(codec, session, b"AUTH", b"wrong") == line(errors.BAD_PASSWORD)
    assert not session.authenticated
    assert ask(codec, session, b"AUTH", b"secret") == OK
    assert session.authenticated
    assert ask(codec, session, b"AUTH", b"secret2") == line(errors.BAD_PASSWORD)
    assert not session.authenticated


def test_auth_with_a_user_name(codec: Any) -> None:
    session = new_session("secret", 0)
    assert ask(codec, session, b"auth", b"default", b"secret") == OK
    assert session.authenticated
    assert ask(codec, session, b"AUTH", b"somebody", b"secret") == line(errors.UNKNOWN_USER)
    assert not session.authenticated
    assert ask(codec, session, b"AUTH", b"default", b"secret", b"more") == line("ERR syntax error")
    assert not session.authenticated


def test_auth_where_none_is_asked(codec: Any) -> None:
    session = new_session("", 0)
    assert session.authenticated
    assert ask(codec, session, b"AUTH", b"secret") == line(errors.NO_PASSWORD_SET)
    assert session.authenticated


def test_password_is_bytes(codec: Any) -> None:
    session = new_session("pässword", 0)
    assert ask(codec, session, b"AUTH", "pässword".encode()) == OK


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_what_may_come_before_auth(codec: Any, row: Any) -> None:
    session = new_session("secret")
    planned = plan(codec, session, row.name.upper().encode(), b"x")
    assert (planned == (line(errors.NO_AUTH), False)) == (row.name not in ("auth", "hello", "quit", "reset"))


# --- the handshake of a server connection ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "database", "steps"),
    [
        ("", 0, []),
        ("secret", 0, [("AUTH", command("AUTH", "secret"))]),
        ("", 3, [("SELECT 3", command("SELECT", "3"))]),
        ("pä ss", 12, [("AUTH", command("AUTH", "pä ss")), ("SELECT 12", command("SELECT", "12"))]),
    ],
)
def test_handshake(codec: Any, password: str, database: int, steps: list[tuple[str, bytes]]) -> None:
    hello = ("HELLO 3", command("HELLO", "3"))
    at = 1 if password else 0
    for databases in (1, 16):
        settings = SimpleNamespace(redis_auth=password, redis_db=database, databases=databases)
        assert codec.handshake.steps(settings, 0) == steps
        assert codec.handshake.steps(settings, 1) == [*steps[:at], hello, *steps[at:]]
    other = (OTHER_DATABASE_STEP, command("SELECT", (database + 5) % 16))
    echo = ("ECHO", command("ECHO", "0123456789abcdef"))
    assert codec.handshake.steps(settings, 20) == [*steps[:at], other]
    assert codec.handshake.steps(settings, 21) == [*steps[:at], hello, other]
    assert codec.handshake.steps(settings, 22) == [*steps[:at], other, echo]
    assert codec.handshake.steps(settings, 3) == [*steps[:at], hello, *steps[at:], echo]
    for step in (other, hello, echo):
        assert codec.handshake.declines_profile(step[0], "ERR unknown command")
        assert not codec.handshake.declines_profile(step[0], "BUSY Redis is busy")
    assert not any(codec.handshake.declines_profile(step, "ERR unknown command") for step, _ in steps)


def test_connections_for_scripts_need_echo(codec: Any) -> None:
    assert [codec.is_tainted(profile) for profile in (0, 1, 2, 3, 4, 20, 22)] == [
        False,
        False,
        True,
        True,
        False,
        False,
        True,
    ]
    assert codec.handshake.problem("ECHO", b"$16\r\n0123456789abcdef\r\n") == ""
    assert codec.handshake.problem("ECHO", b"$2\r\nhi\r\n") == "the reply is not what was sent"
    assert codec.handshake.problem("ECHO", b"-ERR unknown command\r\n") == "ERR unknown command"


def test_fences(codec: Any) -> None:
    token = b"00112233445566ff"
    request, reply, urgent = codec.fence(token)
    assert request == command("echo", token)
    assert reply == b"$16\r\n%s\r\n" % token
    assert urgent == command(token)


def test_problems_of_the_handshake(codec: Any, redis: RedisServer) -> None:
    assert codec.handshake.problem("AUTH", OK) == ""
    assert codec.handshake.problem("AUTH", redis.ask("AUTH", "secret")) == ""
    assert codec.handshake.problem("AUTH", line(errors.NO_PASSWORD_SET)) == ""
    assert "out of range" in codec.handshake.problem("SELECT 99", redis.ask("SELECT", "99"))
    assert codec.handshake.problem("AUTH", b"-WRONGPASS invalid \xff\r\n") == "WRONGPASS invalid \ufffd"
    assert "no password is set" in codec.handshake.problem("SELECT 1", line(errors.NO_PASSWORD_SET))
