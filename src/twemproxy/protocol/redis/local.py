"""The commands of redis that the proxy answers itself, and what it remembers of a client for them."""

import re
from collections.abc import Callable

from twemproxy.protocol.redis.command_reply import command_reply
from twemproxy.protocol.redis.errors import (
    BAD_PASSWORD,
    DB_OUT_OF_RANGE,
    NO_PASSWORD_SET,
    NOT_AN_INTEGER,
    UNKNOWN_USER,
    WRONG_ARITY,
    error_reply,
)

OK = b"+OK\r\n"

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,9}")


class Session:
    """The state of one client connection."""

    __slots__ = ("authenticated", "database", "password")

    def __init__(self, password: str, database: int) -> None:
        """``password``: the pool's ``redis_auth``, empty for none; ``database``: its ``redis_db``."""
        self.password = password.encode()
        self.database = database
        self.authenticated = not password


def bulk(value: bytes) -> bytes:
    """A bulk string reply."""
    return b"$%d\r\n%s\r\n" % (len(value), value)


def _wrong_arity(name: str) -> bytes:
    return error_reply(WRONG_ARITY.format(name=name))


def _ping(arguments: list[bytes], session: Session) -> bytes:
    if len(arguments) > 2:
        return _wrong_arity("ping")
    return bulk(arguments[1]) if len(arguments) == 2 else b"+PONG\r\n"


def _echo(arguments: list[bytes], session: Session) -> bytes:
    return bulk(arguments[1])


def _quit(arguments: list[bytes], session: Session) -> bytes:
    return OK


def _select(arguments: list[bytes], session: Session) -> bytes:
    """A pool serves one database. Clients that select the default 0 mean just that one."""
    if not _INTEGER.fullmatch(arguments[1]):
        return error_reply(NOT_AN_INTEGER)
    if int(arguments[1]) in (0, session.database):
        return OK
    return error_reply(DB_OUT_OF_RANGE.format(database=session.database))


def _auth(arguments: list[bytes], session: Session) -> bytes:
    if len(arguments) > 3:
        return error_reply("ERR syntax error")
    if not session.password:
        return error_reply(NO_PASSWORD_SET)
    if len(arguments) == 3 and arguments[1] != b"default":
        session.authenticated = False
        return error_reply(UNKNOWN_USER)
    session.authenticated = arguments[-1] == session.password
    return OK if session.authenticated else error_reply(BAD_PASSWORD)


def _command(arguments: list[bytes], session: Session) -> bytes:
    return command_reply(arguments[1:])


_ANSWERS: dict[bytes, Callable[[list[bytes], Session], bytes]] = {
    b"auth": _auth,
    b"command": _command,
    b"echo": _echo,
    b"ping": _ping,
    b"quit": _quit,
    b"select": _select,
}


def answer(arguments: list[bytes], session: Session) -> tuple[bytes, bool]:
    """The reply to a local command, and whether the connection ends after it."""
    name = arguments[0].lower()
    return _ANSWERS[name](arguments, session), name == b"quit"


def needs_no_authentication(arguments: list[bytes]) -> bool:
    """Whether a client may send this before AUTH."""
    return arguments[0].lower() in (b"auth", b"quit")
