"""HELLO, CLIENT, AUTH, RESET and similar commands, about a client's own connection.

Formats and texts are redis's. The proxy answers for the clients of one pool.
"""

import hmac
import re
from collections.abc import Callable
from functools import lru_cache

from twemproxy.protocol.redis.errors import (
    BAD_PASSWORD,
    DB_OUT_OF_RANGE,
    DB_REFUSED,
    DBS_OUT_OF_RANGE,
    HELLO_NEEDS_AUTH,
    NO_PASSWORD_SET,
    NO_PROTOCOL,
    NOT_AN_INTEGER,
    SYNTAX_ERROR,
    UNKNOWN_USER,
    WRONG_ARITY,
    error_reply,
    not_available,
)
from twemproxy.protocol.redis.maintenance import maint_notifications
from twemproxy.protocol.redis.resp_encoder import OK, array, bulk, integer, mapping, null
from twemproxy.protocol.redis.session import REPLY_OFF, REPLY_ON, REPLY_SKIP, Session, profile_of

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,9}")
_NAME = re.compile(rb"[!-~]*")
_ATTRIBUTE = re.compile(rb"[ -~]*")
LONGEST_NAME = 256
"""Most bytes of a client's name, and of the name and the version of its library."""

_SHARED_LENGTH = 64
"""Most bytes of library names and versions that clients share; most are shorter."""


LocalAnswer = Callable[[list[bytes], Session], bytes | None]
"""From arguments and session to the reply, or None if the request has to wait."""


def wrong_arity(name: str) -> bytes:
    """The error for a wrong number of arguments."""
    return error_reply(WRONG_ARITY.format(name=name))


def authenticate(user: bytes, password: bytes, session: Session) -> bytes:
    """The reply to a user name and password."""
    if not session.password:
        return error_reply(NO_PASSWORD_SET)
    right = hmac.compare_digest(password, session.password)
    session.authenticated = right and user == b"default"
    if session.authenticated:
        session.wrong_passwords = 0
        return OK
    session.count_wrong_password()
    return error_reply(BAD_PASSWORD if user == b"default" else UNKNOWN_USER)


def auth(arguments: list[bytes], session: Session) -> bytes:
    """AUTH [user] password."""
    if len(arguments) > 3:
        return error_reply(SYNTAX_ERROR)
    return authenticate(arguments[1] if len(arguments) == 3 else b"default", arguments[-1], session)


def select(arguments: list[bytes], session: Session) -> bytes | None:
    """SELECT database. In a pool with one database, the default 0 means that database."""
    if not _INTEGER.fullmatch(arguments[1]):
        return error_reply(NOT_AN_INTEGER)
    database = int(arguments[1])
    if session.databases == 1 and database == 0:
        database = session.database
    if database == session.database:
        return OK
    if not 0 <= database < session.databases:
        return error_reply(out_of_range(session))
    if session.client.awaits_replies():
        return None
    profile = profile_of(session.protocol, database, session.scripts, session.pool.config)
    usable = session.pool.can_use(profile, session.client)
    if not usable:
        return None if usable is None else error_reply(DB_REFUSED.format(database=database))
    session.database = database
    return OK


def out_of_range(session: Session) -> str:
    """The error text for a database that the pool does not have."""
    if session.databases == 1:
        return DB_OUT_OF_RANGE.format(database=session.database)
    return DBS_OUT_OF_RANGE.format(databases=session.databases)


def reset(arguments: list[bytes], session: Session) -> bytes | None:
    """RESET."""
    if (session.profile != 0 or session.transaction.server is not None) and session.client.awaits_replies():
        return None
    session.pool.subscriptions.drop(session.client, session.topics)
    session.client.reservations().release(False)
    session.begin()
    return b"+RESET\r\n"


def hello(arguments: list[bytes], session: Session) -> bytes | None:
    """HELLO [protocol [AUTH user password] [SETNAME name]]."""
    protocol = session.protocol
    if len(arguments) > 1:
        if not _INTEGER.fullmatch(arguments[1]):
            return error_reply("ERR Protocol version is not an integer or out of range")
        protocol = int(arguments[1])
        if protocol not in (2, 3):
            return error_reply(NO_PROTOCOL)
    if protocol != session.protocol and session.client.awaits_replies():
        # Earlier requests must be complete before a request goes to another server connection.
        return None
    if protocol == 3 and session.protocol != 3:
        profile = profile_of(3, session.database, session.scripts, session.pool.config)
        usable = session.pool.can_use(profile, session.client)
        if not usable:
            return None if usable is None else error_reply(NO_PROTOCOL)
    name = None
    at = 2
    while at < len(arguments):
        option, left = arguments[at].upper(), len(arguments) - at - 1
        if option == b"AUTH" and left >= 2:
            reply = authenticate(arguments[at + 1], arguments[at + 2], session)
            if reply != OK:
                return reply
            at += 3
        elif option == b"SETNAME" and left >= 1:
            name = arguments[at + 1]
            at += 2
        else:
            shown = arguments[at][:128].decode("utf-8", "replace")
            return error_reply(f"ERR Syntax error in HELLO option '{shown}'")
    if not session.authenticated:
        return error_reply(HELLO_NEEDS_AUTH)
    versions = session.pool.codec.versions
    if not versions.are_known(session):
        return None
    if name is not None and (problem := _set_name(name, session)) != OK:
        return problem
    session.protocol = protocol
    server, version = versions.greeting()
    fields = {
        "server": bulk(server),
        "version": bulk(version),
        "proto": integer(protocol),
        "id": integer(session.client.number()),
        "mode": bulk("standalone"),
        "role": bulk("master"),
        "modules": array(()),
    }
    return mapping(((bulk(name), value) for name, value in fields.items()), protocol)


# --- CLIENT ----------------------------------------------------------------------------------------------------------


def _set_name(name: bytes, session: Session) -> bytes:
    if len(name) > LONGEST_NAME:
        return error_reply(f"ERR Client names have at most {LONGEST_NAME} bytes here.")
    if not _NAME.fullmatch(name):
        return error_reply("ERR Client names cannot contain spaces, newlines or special characters.")
    session.name = name
    return OK


def _setinfo(arguments: list[bytes], session: Session) -> bytes:
    attribute, value = arguments[2].lower(), arguments[3]
    if attribute not in (b"lib-name", b"lib-ver"):
        shown = arguments[2][:128].decode("utf-8", "replace")
        return error_reply(f"ERR Unrecognized option '{shown}'")
    if len(value) > LONGEST_NAME:
        return error_reply(f"ERR {attribute.decode()} has at most {LONGEST_NAME} bytes here.")
    if not _ATTRIBUTE.fullmatch(value) or b" " in value:
        return error_reply(f"ERR {attribute.decode()} cannot contain spaces, newlines or special characters.")
    if len(value) <= _SHARED_LENGTH:
        value = _shared(value)
    if attribute == b"lib-name":
        session.library = value
    else:
        session.library_version = value
    return OK


@lru_cache(maxsize=64)
def _shared(value: bytes) -> bytes:
    """One object for equal values: thousands of clients use the same library."""
    return value


def _reply(arguments: list[bytes], session: Session) -> bytes:
    modes = {b"ON": REPLY_ON, b"OFF": REPLY_OFF, b"SKIP": REPLY_SKIP}
    mode = modes.get(arguments[2].upper())
    if mode is None:
        return error_reply(SYNTAX_ERROR)
    # SKIP has no effect for a client that wants no replies.
    if not (mode == REPLY_SKIP and session.replies == REPLY_OFF):
        session.replies = mode
        session.skips_reply = False
    return OK


def _switch(name: str) -> LocalAnswer:
    def answer(arguments: list[bytes], session: Session) -> bytes:
        if arguments[2].upper() not in (b"ON", b"OFF"):
            return error_reply(SYNTAX_ERROR)
        setattr(session, name, arguments[2].upper() == b"ON")
        return OK

    return answer


_HELP = """\
CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands, for the clients of this pool:
GETNAME
    Return the name of this connection.
ID
    Return the id of this connection.
INFO
    Return what is known of this connection.
KILL <ip:port> | (ID|ADDR|LADDR|TYPE|USER|MAXAGE|SKIPME) <value> [...]
    End connections; others than this one only with permission.
LIST [TYPE <type> | ID <id> [...]]
    Return what is known of all connections.
MAINT_NOTIFICATIONS (ON [MOVING-ENDPOINT-TYPE <type>]|OFF)
    Whether this connection is told when it has to connect again.
NO-EVICT (ON|OFF), NO-TOUCH (ON|OFF)
    Accepted, and shown by nothing: servers' connections are shared.
REPLY (ON|OFF|SKIP)
    Whether this connection gets replies.
SETINFO (LIB-NAME|LIB-VER) <value>
    Say what the client library is.
SETNAME <name>
    Name this connection.
UNBLOCK <client-id> [TIMEOUT|ERROR]
    End what a connection waits for; only with permission.
HELP
    Print this help.
"""

_SUBCOMMANDS: dict[bytes, tuple[int, int, LocalAnswer]] = {
    b"getname": (2, 2, lambda _, session: bulk(session.name) if session.name else null(session.protocol)),
    b"help": (2, 2, lambda _arguments, _session: array(b"+" + line.encode() + b"\r\n" for line in _HELP.splitlines())),
    b"id": (2, 2, lambda _, session: integer(session.client.number())),
    b"maint_notifications": (3, 5, maint_notifications),
    b"no-evict": (3, 3, _switch("no_evict")),
    b"no-touch": (3, 3, _switch("no_touch")),
    b"reply": (3, 3, _reply),
    b"setinfo": (4, 4, _setinfo),
    b"setname": (3, 3, lambda arguments, session: _set_name(arguments[2], session)),
}
"""Sub-commands of CLIENT: fewest and most arguments, and the function; ``client_list`` has the others."""

CLIENT_SUBCOMMANDS: tuple[str, ...] = tuple(
    f"client|{name.decode()}" for name in (*_SUBCOMMANDS, b"info", b"kill", b"list", b"unblock")
)
"""The full names of the sub-commands that the proxy answers."""

_REFUSED = {
    b"caching": "it needs client tracking",
    b"capa": "it changes what servers say on connections that clients share",
    b"getredir": "it needs client tracking",
    b"import-source": "it changes the state of a connection that other clients share",
    b"pause": "it stops every client of a server, ask that server directly",
    b"tracking": "it needs a connection of its own to every server",
    b"trackinginfo": "it needs client tracking",
    b"unpause": "it starts every client of a server, ask that server directly",
}
"""Sub-commands of CLIENT that are not available, and why, a clause about "it"."""


def client(arguments: list[bytes], session: Session) -> bytes | None:
    """CLIENT subcommand ..."""
    name = arguments[1].lower()
    shown = arguments[1][:128].decode("utf-8", "replace")
    if name in _REFUSED:
        return not_available(f"client|{shown.lower()}", _REFUSED[name])
    if name not in _SUBCOMMANDS:
        return error_reply(f"ERR unknown subcommand '{shown}'. Try CLIENT HELP.")
    fewest, most, answer = _SUBCOMMANDS[name]
    if not fewest <= len(arguments) <= most:
        return wrong_arity(f"client|{name.decode()}")
    return answer(arguments, session)
