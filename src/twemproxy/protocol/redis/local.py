"""The commands of redis that the proxy answers itself."""

from twemproxy.protocol.plan import Answer
from twemproxy.protocol.redis import connection_commands, server_commands
from twemproxy.protocol.redis.command_reply import command_reply
from twemproxy.protocol.redis.connection_commands import LocalAnswer, wrong_arity
from twemproxy.protocol.redis.replies import OK, array, bulk, integer
from twemproxy.protocol.redis.session import Session


def _ping(arguments: list[bytes], session: Session) -> bytes:
    if len(arguments) > 2:
        return wrong_arity("ping")
    if session.subscribed and session.protocol == 2:
        return array((bulk(b"pong"), bulk(arguments[1] if len(arguments) == 2 else b"")))
    return bulk(arguments[1]) if len(arguments) == 2 else b"+PONG\r\n"


ANSWERS: dict[bytes, LocalAnswer] = {
    b"acl": lambda _arguments, _session: bulk(b"default"),
    b"auth": connection_commands.auth,
    b"client": connection_commands.client,
    b"command": lambda arguments, session: command_reply(
        arguments[1:], session.pool.codec.available._replace(version=session.protocol)
    ),
    b"config": server_commands.config,
    b"echo": lambda arguments, _: bulk(arguments[1]),
    b"hello": connection_commands.hello,
    b"info": server_commands.info,
    b"lolwut": server_commands.lolwut,
    b"ping": _ping,
    b"quit": lambda _arguments, _session: OK,
    b"reset": connection_commands.reset,
    b"role": lambda _arguments, _session: array((bulk(b"master"), integer(0), array(()))),
    b"select": connection_commands.select,
    b"time": server_commands.current_time,
}
"""What answers each command that is routed LOCAL; of ACL that is WHOAMI."""


def answer(arguments: list[bytes], session: Session) -> Answer | None:
    """The answer to a command that is routed LOCAL, None when it cannot be told yet."""
    name = arguments[0].lower()
    reply = ANSWERS[name](arguments, session)
    return None if reply is None else Answer(reply, name == b"quit" or session.killed)


def needs_no_authentication(name: str) -> bool:
    """Whether a client may send this before AUTH."""
    return name in ("auth", "hello", "quit", "reset")
