"""HELLO, CLIENT, AUTH, RESET and the like: what a client says about its connection, and asks about it.

Shapes and texts are redis's. The proxy answers for the clients of one pool.
"""

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
)
from twemproxy.protocol.redis.replies import OK, array, bulk, integer, mapping, null, text
from twemproxy.protocol.redis.session import REPLY_OFF, REPLY_ON, REPLY_SKIP, Client, Session, profile_of

SPOKEN_VERSION = "7.4.0"
"""The redis whose behaviour the proxy's own answers follow; what clients take for the server's version."""

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,9}")
_NAME = re.compile(rb"[!-~]*")
_ATTRIBUTE = re.compile(rb"[ -~]*")
_SHARED_LENGTH = 64
"""What libraries say about themselves is mostly shorter."""


LocalAnswer = Callable[[list[bytes], Session], bytes | None]
"""From arguments and session to the reply, or None when it cannot be told yet."""


def wrong_arity(name: str) -> bytes:
    """The error for too few or too many arguments."""
    return error_reply(WRONG_ARITY.format(name=name))


def authenticate(user: bytes, password: bytes, session: Session) -> bytes:
    """The reply to a user name and password."""
    if not session.password:
        return error_reply(NO_PASSWORD_SET)
    if user != b"default":
        session.authenticated = False
        return error_reply(UNKNOWN_USER)
    session.authenticated = password == session.password
    return OK if session.authenticated else error_reply(BAD_PASSWORD)


def auth(arguments: list[bytes], session: Session) -> bytes:
    """AUTH [user] password."""
    if len(arguments) > 3:
        return error_reply(SYNTAX_ERROR)
    return authenticate(arguments[1] if len(arguments) == 3 else b"default", arguments[-1], session)


def select(arguments: list[bytes], session: Session) -> bytes | None:
    """SELECT database. Where a pool has one, clients that select the default 0 mean just that one."""
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
    usable = session.pool.can_use(profile_of(session.protocol, database, session.pool.config), session.client)
    if not usable:
        return None if usable is None else error_reply(DB_REFUSED.format(database=database))
    session.database = database
    return OK


def out_of_range(session: Session) -> str:
    """The text of the error for a database that the pool does not have."""
    if session.databases == 1:
        return DB_OUT_OF_RANGE.format(database=session.database)
    return DBS_OUT_OF_RANGE.format(databases=session.databases)


def reset(arguments: list[bytes], session: Session) -> bytes | None:
    """RESET."""
    if (session.profile != 0 or session.transaction.server is not None) and session.client.awaits_replies():
        return None
    session.pool.subscriptions.drop(session.client)
    session.client.reservations().give_back(False)
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
        # What was sent before must be done before anything travels on another server connection.
        return None
    if protocol == 3 and session.protocol != 3:
        usable = session.pool.can_use(profile_of(3, session.database, session.pool.config), session.client)
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
    if name is not None and (problem := _set_name(name, session)) != OK:
        return problem
    session.protocol = protocol
    fields = {
        "server": bulk("redis"),
        "version": bulk(SPOKEN_VERSION),
        "proto": integer(protocol),
        "id": integer(session.client.number()),
        "mode": bulk("standalone"),
        "role": bulk("master"),
        "modules": array(()),
    }
    return mapping(((bulk(name), value) for name, value in fields.items()), protocol)


# --- CLIENT ----------------------------------------------------------------------------------------------------------


def _set_name(name: bytes, session: Session) -> bytes:
    if not _NAME.fullmatch(name):
        return error_reply("ERR Client names cannot contain spaces, newlines or special characters.")
    session.name = name
    return OK


def _setinfo(arguments: list[bytes], session: Session) -> bytes:
    attribute, value = arguments[2].lower(), arguments[3]
    if attribute not in (b"lib-name", b"lib-ver"):
        shown = arguments[2][:128].decode("utf-8", "replace")
        return error_reply(f"ERR Unrecognized option '{shown}'")
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
    """The same bytes for all who say the same: thousands of clients have the same library."""
    return value


def _line(client: Client) -> str:
    """What CLIENT LIST says about a client."""
    session: Session | None = client.session
    known = client.description()
    fields: dict[str, object] = {
        "id": client.number(),
        **known,
        "name": session.name.decode() if session else "",
        **_doings(session),
        "user": "default",
        "resp": session.protocol if session else 2,
        "lib-name": session.library.decode() if session else "",
        "lib-ver": session.library_version.decode() if session else "",
    }
    return " ".join(f"{name}={value}" for name, value in fields.items()) + "\n"


def _doings(session: Session | None) -> dict[str, object]:
    """Fields about what a client is in the middle of."""
    if session is None:
        return {"flags": "N", "db": 0, "sub": 0, "psub": 0, "ssub": 0, "multi": -1}
    flags = ("P" if session.subscribed else "") + ("x" if session.transaction.open else "")
    return {
        "flags": flags or "N",
        "db": session.database if session.databases > 1 else 0,
        "sub": len(session.topics["subscribe"]),
        "psub": len(session.topics["psubscribe"]),
        "ssub": len(session.topics["ssubscribe"]),
        "multi": 0 if session.transaction.open else -1,
    }


def _list(arguments: list[bytes], session: Session) -> bytes:
    clients = session.pool.clients()
    match [argument.upper() for argument in arguments[2:]]:
        case []:
            pass
        case [b"TYPE", kind]:
            if kind not in (b"NORMAL", b"MASTER", b"REPLICA", b"SLAVE", b"PUBSUB"):
                return error_reply(f"ERR Unknown client type '{arguments[3][:128].decode('utf-8', 'replace')}'")
            clients = [client for client in clients if _is_kind(client, kind.decode().lower())]
        case [b"ID", _, *_]:
            if not all(_INTEGER.fullmatch(number) for number in arguments[3:]):
                return error_reply("ERR Invalid client ID")
            wanted = {int(number) for number in arguments[3:]}
            clients = [client for client in clients if client.number() in wanted]
        case _:
            return error_reply(SYNTAX_ERROR)
    clients.sort(key=lambda client: client.number())
    return text("".join(_line(client) for client in clients), session.protocol)


def _is_kind(client: Client, kind: str) -> bool:
    """Whether a client is of a TYPE; there are no replicas."""
    subscribed = client.session is not None and client.session.subscribed
    return kind == ("pubsub" if subscribed else "normal")


def _kill(arguments: list[bytes], session: Session) -> bytes:
    """CLIENT KILL address, or CLIENT KILL filter value ...; only clients of the same pool are found."""
    chosen = session.pool.clients()
    if len(arguments) == 3:
        chosen = [
            client for client in chosen if client.description()["addr"] == arguments[2].decode("utf-8", "replace")
        ]
        if not chosen:
            return error_reply("ERR No such client")
        _end(chosen, session)
        return OK
    if len(arguments) % 2:
        return error_reply(SYNTAX_ERROR)
    skip_me = True
    for option, value in zip(arguments[2::2], arguments[3::2], strict=True):
        wanted = value.decode("utf-8", "replace")
        match option.upper():
            case b"ID":
                if not _INTEGER.fullmatch(value) or int(value) < 1:
                    return error_reply("ERR client-id should be greater than 0")
                chosen = [client for client in chosen if client.number() == int(value)]
            case b"ADDR" | b"LADDR" as field:
                chosen = [client for client in chosen if client.description()[field.decode().lower()] == wanted]
            case b"TYPE":
                if wanted.lower() not in ("normal", "master", "replica", "slave", "pubsub"):
                    return error_reply(f"ERR Unknown client type '{wanted[:128]}'")
                chosen = [client for client in chosen if _is_kind(client, wanted.lower())]
            case b"USER":
                if wanted != "default":
                    return error_reply(f"ERR No such user '{wanted[:128]}'")
            case b"MAXAGE":
                if not _INTEGER.fullmatch(value) or int(value) < 1:
                    return error_reply("ERR maxage is not an integer or out of range")
                chosen = [client for client in chosen if int(str(client.description()["age"])) >= int(value)]
            case b"SKIPME" if wanted.lower() in ("yes", "no"):
                skip_me = wanted.lower() == "yes"
            case _:
                return error_reply(SYNTAX_ERROR)
    if skip_me:
        chosen = [client for client in chosen if client is not session.client]
    return integer(_end(chosen, session))


def _end(clients: list[Client], session: Session) -> int:
    """Cut these clients off, the one who asks only after the reply; gives how many there were."""
    for client in clients:
        if client is not session.client:
            client.cut_off("killed by a client")
    if any(client is session.client for client in clients):
        session.killed = True
    return len(clients)


def _reply(arguments: list[bytes], session: Session) -> bytes:
    modes = {b"ON": REPLY_ON, b"OFF": REPLY_OFF, b"SKIP": REPLY_SKIP}
    mode = modes.get(arguments[2].upper())
    if mode is None:
        return error_reply(SYNTAX_ERROR)
    # Skipping once changes nothing for a client that wants no replies at all.
    if not (mode == REPLY_SKIP and session.replies == REPLY_OFF):
        session.replies = mode
        session.skipping = False
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
    End connections.
LIST [TYPE <type> | ID <id> [...]]
    Return what is known of all connections.
NO-EVICT (ON|OFF), NO-TOUCH (ON|OFF)
    Accepted, and shown by nothing: servers' connections are shared.
REPLY (ON|OFF|SKIP)
    Whether this connection gets replies.
SETINFO (LIB-NAME|LIB-VER) <value>
    Say what the client library is.
SETNAME <name>
    Name this connection.
HELP
    Print this help.
"""

_SUBCOMMANDS: dict[bytes, tuple[int, int, LocalAnswer]] = {
    b"getname": (2, 2, lambda _, session: bulk(session.name) if session.name else null(session.protocol)),
    b"help": (2, 2, lambda _arguments, _session: array(b"+" + line.encode() + b"\r\n" for line in _HELP.splitlines())),
    b"id": (2, 2, lambda _, session: integer(session.client.number())),
    b"info": (2, 2, lambda _, session: text(_line(session.client), session.protocol)),
    b"kill": (3, 2**31, _kill),
    b"list": (2, 2**31, _list),
    b"no-evict": (3, 3, _switch("no_evict")),
    b"no-touch": (3, 3, _switch("no_touch")),
    b"reply": (3, 3, _reply),
    b"setinfo": (4, 4, _setinfo),
    b"setname": (3, 3, lambda arguments, session: _set_name(arguments[2], session)),
}
"""Sub-commands of CLIENT: fewest and most arguments, and what answers."""

_REFUSED = {
    b"caching": "it needs client tracking",
    b"capa": "it changes what servers say on connections that clients share",
    b"getredir": "it needs client tracking",
    b"import-source": "it changes the state of a connection that other clients share",
    b"pause": "it stops every client of a server, ask that server directly",
    b"tracking": "it needs a connection of its own to every server",
    b"trackinginfo": "it needs client tracking",
    b"unblock": "what a client waits for is not known to be undone, CLIENT KILL ends the client",
    b"unpause": "it starts every client of a server, ask that server directly",
}
"""Sub-commands of CLIENT that are not available, and why, a clause about "it"."""


def client(arguments: list[bytes], session: Session) -> bytes | None:
    """CLIENT subcommand ..."""
    name = arguments[1].lower()
    shown = arguments[1][:128].decode("utf-8", "replace")
    if name in _REFUSED:
        return error_reply(f"ERR 'client|{shown.lower()}' is not available through this proxy: {_REFUSED[name]}")
    if name not in _SUBCOMMANDS:
        return error_reply(f"ERR unknown subcommand '{shown}'. Try CLIENT HELP.")
    fewest, most, answer = _SUBCOMMANDS[name]
    if not fewest <= len(arguments) <= most:
        return wrong_arity(f"client|{name.decode()}")
    return answer(arguments, session)
