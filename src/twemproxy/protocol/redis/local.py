"""The commands of redis that the proxy answers itself."""

from twemproxy.protocol.redis import connection_commands, server_commands
from twemproxy.protocol.redis.command_reply import command_reply
from twemproxy.protocol.redis.connection_commands import (
    REPLY_NOT_NOW,
    REPLY_ON,
    REPLY_SKIP,
    Answer,
    Session,
    wrong_arity,
)
from twemproxy.protocol.redis.replies import OK, bulk


def _ping(arguments: list[bytes], session: Session) -> bytes:
    if len(arguments) > 2:
        return wrong_arity("ping")
    return bulk(arguments[1]) if len(arguments) == 2 else b"+PONG\r\n"


ANSWERS: dict[bytes, Answer] = {
    b"auth": connection_commands.auth,
    b"client": connection_commands.client,
    b"command": lambda arguments, _: command_reply(arguments[1:]),
    b"config": server_commands.config,
    b"echo": lambda arguments, _: bulk(arguments[1]),
    b"hello": connection_commands.hello,
    b"info": server_commands.info,
    b"lolwut": server_commands.lolwut,
    b"ping": _ping,
    b"quit": lambda _arguments, _session: OK,
    b"reset": connection_commands.reset,
    b"select": connection_commands.select,
    b"time": server_commands.current_time,
}
"""What answers each command that is routed LOCAL."""


def answer(arguments: list[bytes], session: Session) -> tuple[bytes | None, bool]:
    """As ``Codec.answer``; the reply is empty when the client wants none."""
    name = arguments[0].lower()
    skipped = session.replies == REPLY_SKIP
    if skipped:
        session.replies = REPLY_NOT_NOW
    reply = ANSWERS[name](arguments, session)
    if reply is None:
        session.replies = REPLY_SKIP if skipped else session.replies
        return None, False
    if session.replies != REPLY_ON:
        reply = b""
    if session.replies == REPLY_NOT_NOW:
        session.replies = REPLY_ON
    return reply, name == b"quit" or session.client is None


def needs_no_authentication(arguments: list[bytes]) -> bool:
    """Whether a client may send this before AUTH."""
    return arguments[0].lower() in (b"auth", b"hello", b"quit", b"reset")
