"""CLIENT MAINT_NOTIFICATIONS, and who gets the message MOVING."""

import pytest
import redis_peers
from redis_peers import new_session

from harness.resp import OK, error
from twemproxy.protocol.redis import errors
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.session import Session

MOVING = b">4\r\n$6\r\nMOVING\r\n:7\r\n:15\r\n_\r\n"
ON = "CLIENT MAINT_NOTIFICATIONS ON"


def ask(session: Session, text: str) -> bytes:
    """The reply to a request of words separated by blanks; the connection must stay open."""
    return redis_peers.ask(RedisCodec(), session, *text.encode().split())


def moving(session: Session) -> bytes:
    """The message for the event 7, in 15 seconds."""
    return RedisCodec().moving(session, 7, 15)


def session_3(library: str = "") -> Session:
    """The session of a client with version 3 of the protocol that has named its library."""
    session = new_session()
    assert ask(session, "HELLO 3").startswith(b"%7")
    if library:
        assert ask(session, f"CLIENT SETINFO LIB-NAME {library}") == OK
    return session


def test_only_clients_that_ask_are_told() -> None:
    session = session_3()
    assert moving(session) == b""
    assert ask(session, ON) == OK
    assert moving(session) == MOVING
    assert ask(session, "client maint_notifications off") == OK
    assert moving(session) == b""


@pytest.mark.parametrize("wanted", ["internal-ip", "internal-fqdn", "external-ip", "EXTERNAL-FQDN"])
@pytest.mark.parametrize("library", ["redis-py", "redis-py(django-redis_v6.0.0)", "go-redis(,go1.24.4)", "Lettuce"])
def test_libraries_that_accept_a_null_are_told_whatever_they_ask_for(library: str, wanted: str) -> None:
    session = session_3(library)
    assert ask(session, f"{ON} moving-endpoint-type {wanted}") == OK
    assert moving(session) == MOVING


@pytest.mark.parametrize("library", ["", "node-redis", "node-redis(tag)"])
def test_other_libraries_are_told_if_they_ask_for_no_address(library: str) -> None:
    session = session_3(library)
    assert ask(session, f"{ON} moving-endpoint-type internal-ip") == OK
    assert moving(session) == b""
    assert ask(session, f"{ON} Moving-Endpoint-Type None") == OK
    assert moving(session) == MOVING


def test_version_2_has_no_messages() -> None:
    session = new_session()
    refused = error("ERR MAINT_NOTIFICATIONS needs version 3 of the protocol: send HELLO 3 first")
    assert ask(session, ON) == ask(session, f"{ON} moving-endpoint-type none") == refused
    assert ask(session, "CLIENT MAINT_NOTIFICATIONS OFF") == OK
    session = session_3()
    assert ask(session, ON) == OK
    ask(session, "HELLO 2")
    assert moving(session) == b""


def test_a_reset_ends_it() -> None:
    session = session_3()
    assert ask(session, ON) == OK
    ask(session, "RESET")
    ask(session, "HELLO 3")
    assert moving(session) == b""


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("", errors.WRONG_ARITY.format(name="client|maint_notifications")),
        ("ON moving-endpoint-type none x", errors.WRONG_ARITY.format(name="client|maint_notifications")),
        ("MAYBE", errors.SYNTAX_ERROR),
        ("ON moving-endpoint-type", errors.SYNTAX_ERROR),
        ("ON endpoint none", errors.SYNTAX_ERROR),
        ("OFF moving-endpoint-type none", errors.SYNTAX_ERROR),
        (
            "ON moving-endpoint-type ipv6",
            "ERR Invalid moving-endpoint-type 'ipv6': it is one of internal-ip, internal-fqdn, external-ip,"
            " external-fqdn, none",
        ),
    ],
)
def test_errors(words: str, refused: str) -> None:
    session = session_3()
    assert ask(session, f"CLIENT MAINT_NOTIFICATIONS {words}") == error(refused)
    assert moving(session) == b""


def test_a_pool_can_refuse_it() -> None:
    session = session_3()
    codec = RedisCodec(denied=["client|maint_notifications"])
    refused = error(errors.DENIED.format(name="client|maint_notifications"))
    assert redis_peers.ask(codec, session, *ON.encode().split()) == refused
    assert moving(session) == b""


def test_it_moves_to_another_process() -> None:
    session = session_3()
    assert ask(session, ON) == OK
    state = session.state()
    other = new_session()
    other.restore(state)
    assert moving(other) == MOVING


def test_a_state_of_a_version_without_it() -> None:
    state = session_3().state()
    del state["endpoint_type"]
    other = new_session()
    other.restore(state)
    assert other.protocol == 3
    assert moving(other) == b""
