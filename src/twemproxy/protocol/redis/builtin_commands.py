"""The redis commands that the proxy answers itself."""

from collections.abc import Callable, Generator

from twemproxy.protocol.plan import Answer, Ask, Steps
from twemproxy.protocol.redis import connection_commands, server_commands
from twemproxy.protocol.redis.client_list import describe_client, kill_clients, list_clients, unblock_client
from twemproxy.protocol.redis.command_reply import IN_STEPS as COMMAND_IN_STEPS
from twemproxy.protocol.redis.command_reply import command_reply
from twemproxy.protocol.redis.connection_commands import LocalAnswer, wrong_arity
from twemproxy.protocol.redis.errors import SYNTAX_ERROR, error_reply
from twemproxy.protocol.redis.inline import LONGEST_NAME, count_arguments, decode_some, encode_request
from twemproxy.protocol.redis.resp_encoder import OK, array, bulk, integer
from twemproxy.protocol.redis.server_info import info
from twemproxy.protocol.redis.session import Session
from twemproxy.protocol.redis.slow_log_commands import count_slow, forget_slow, get_slow

Work = Generator[bytes | None, None, Answer | Ask]
"""See ``protocol.plan.Steps``."""


MOST_ARGUMENTS = 32
"""More arguments than any command in ANSWERS accepts."""


def _ping(arguments: list[bytes], session: Session) -> bytes:
    if len(arguments) > 2:
        return wrong_arity("ping")
    if session.subscribed and session.protocol == 2:
        return array((bulk(b"pong"), bulk(arguments[1] if len(arguments) == 2 else b"")))
    return bulk(arguments[1]) if len(arguments) == 2 else b"+PONG\r\n"


def _asks_server(session: Session) -> bool:
    """Whether PING also goes to the server: the only one of a pool, which may be busy with a script.

    If the client has earlier requests without a reply, their replies show the server's state.
    """
    return session.pool.may_be_busy() and not session.client.awaits_replies()


def _ping_server(request: bytes, session: Session) -> Work:
    """PING while a script may keep the only server busy: clients get the server's error if it is busy.

    For any other reply of the server, or none, the proxy replies.
    """
    poll = session.pool.poll.ask(_PING, session.client)
    while not poll.done:
        yield None
    said = poll.replies[0]
    busy = said.state == "error" and said.text.startswith(b"-BUSY ")
    return Answer(said.text if busy else _ping(decode_some(request, 0, MOST_ARGUMENTS)[0], session))


_PING = encode_request([b"PING"])

ANSWERS: dict[bytes, LocalAnswer] = {
    b"acl": lambda _arguments, _session: bulk(b"default"),
    b"auth": connection_commands.auth,
    b"client": connection_commands.client,
    b"command": lambda arguments, session: command_reply(
        arguments[1:], session.pool.codec.available._replace(version=session.protocol)
    ),
    b"echo": lambda arguments, _: bulk(arguments[1]),
    b"hello": connection_commands.hello,
    b"lolwut": server_commands.lolwut,
    b"ping": _ping,
    b"quit": lambda _arguments, _session: OK,
    b"reset": connection_commands.reset,
    b"role": lambda _arguments, _session: array((bulk(b"master"), integer(0), array(()))),
    b"select": connection_commands.select,
    b"time": server_commands.current_time,
}
"""The functions for LOCAL commands; that of ACL is for WHOAMI."""


def _about_commands(request: bytes, session: Session) -> Work:
    name = decode_some(request, 0, 2, LONGEST_NAME)[0][1].lower().decode()
    return COMMAND_IN_STEPS[name](request, session.pool.codec.available._replace(version=session.protocol))


IN_STEPS: dict[tuple[bytes, ...], Callable[[bytes, Session], Work]] = {
    **{(b"command", name.encode()): _about_commands for name in COMMAND_IN_STEPS},
    (b"client", b"info"): describe_client,
    (b"client", b"kill"): kill_clients,
    (b"client", b"list"): list_clients,
    (b"client", b"unblock"): unblock_client,
    (b"config", b"get"): server_commands.config,
    (b"slowlog", b"get"): get_slow,
    (b"slowlog", b"len"): count_slow,
    (b"slowlog", b"reset"): forget_slow,
    (b"info",): info,
}
"""Commands and sub-commands that can take long, and their functions for undecoded requests; see ``plan.Steps``."""


def plan(request: bytes, session: Session) -> Answer | Steps | None:
    """What becomes of a complete request that is routed LOCAL; None when it cannot be told yet."""
    first = tuple(argument.lower() for argument in decode_some(request, 0, 2, LONGEST_NAME)[0])
    in_steps = IN_STEPS.get(first) or IN_STEPS.get(first[:1])
    if first[0] == b"ping" and _asks_server(session):
        in_steps = _ping_server
    if in_steps:
        return Steps(in_steps(request, session), len(request))
    if first[0] == b"hello" and count_arguments(request) > MOST_ARGUMENTS:
        return Answer(error_reply(SYNTAX_ERROR))
    return answer(decode_some(request, 0, MOST_ARGUMENTS)[0], session)


def answer(arguments: list[bytes], session: Session) -> Answer | None:
    """The reply to a LOCAL command, None if it has to wait.

    ``arguments``: the first MOST_ARGUMENTS are enough to find that there are too many.
    """
    name = arguments[0].lower()
    reply = ANSWERS[name](arguments, session)
    return None if reply is None else Answer(reply, name == b"quit" or session.killed or session.guesses)


def needs_no_authentication(name: str) -> bool:
    """Whether a client may send this command before AUTH."""
    return name in ("auth", "hello", "quit", "reset")
