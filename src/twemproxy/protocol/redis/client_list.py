"""CLIENT LIST, CLIENT INFO, CLIENT KILL and CLIENT UNBLOCK, which process the clients of a pool in steps.

Plain Python. Formats and texts are redis's. If a filter of CLIENT KILL is repeated, the last one counts.
"""

import re
from collections.abc import Generator, Iterator

from twemproxy.protocol.plan import Answer, Ask
from twemproxy.protocol.redis.commands import COMMAND_INFO, COMMANDS
from twemproxy.protocol.redis.errors import NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_ARITY, error_reply
from twemproxy.protocol.redis.inline import count_arguments, decode_some, encode_request
from twemproxy.protocol.redis.resp_encoder import OK, integer, text
from twemproxy.protocol.redis.session import Client, Session

Work = Generator[bytes | None, None, Answer]

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_TYPES = ("normal", "master", "replica", "slave", "pubsub")
_ARGUMENTS_A_STEP = 256
_CLIENTS_A_STEP = 20

_listing: list[Client] = []
"""Clients that want a CLIENT LIST. One list is made at a time, because its memory is not counted as traffic."""


def line(client: Client) -> str:
    """The line of a client in CLIENT LIST."""
    session: Session | None = client.session
    known = client.description()
    queued = sum(map(len, session.transaction.queued)) if session else 0
    fields: dict[str, object] = {
        "id": client.number(),
        **{name: known[name] for name in ("addr", "laddr", "fd")},
        "name": session.name.decode() if session else "",
        **{name: known[name] for name in ("age", "idle")},
        **_doings(client),
        "qbuf": known["qbuf"],
        "qbuf-free": 0,
        "argv-mem": 0,
        "multi-mem": queued,
        "rbs": 0,
        "rbp": 0,
        "obl": 0,
        **{name: known[name] for name in ("oll", "omem")},
        "tot-mem": int(str(known["qbuf"])) + int(str(known["omem"])) + queued,
        "events": known["events"],
        "cmd": _command(int(str(known["command"])), session),
        "user": "default",
        "redir": -1,
        "resp": session.protocol if session else 2,
        "lib-name": session.library.decode() if session else "",
        "lib-ver": session.library_version.decode() if session else "",
    }
    return " ".join(f"{name}={value}" for name, value in fields.items()) + "\n"


def _command(row: int, session: Session | None) -> str:
    """The name of a command by its row, with the sub-command if it was planned."""
    if row < 0:
        return "NULL"
    name = COMMANDS[row].name
    if session and session.subcommand in COMMAND_INFO[name].subcommands:
        return session.subcommand
    return name


def _doings(client: Client) -> dict[str, object]:
    """The fields about a client's current state."""
    session: Session | None = client.session
    if session is None:
        return {"flags": "N", "db": 0, "sub": 0, "psub": 0, "ssub": 0, "multi": -1}
    flags = (
        ("P" if session.subscribed else "")
        + ("x" if session.transaction.open else "")
        + ("b" if client.is_blocked() else "")
    )
    return {
        "flags": flags or "N",
        "db": session.database if session.databases > 1 else 0,
        "sub": len(session.topics["subscribe"]),
        "psub": len(session.topics["psubscribe"]),
        "ssub": len(session.topics["ssubscribe"]),
        "multi": 0 if session.transaction.open else -1,
    }


def _shown(word: bytes) -> str:
    return word[:128].decode("utf-8", "replace")


def _unknown_type(word: bytes) -> Answer:
    return Answer(error_reply(f"ERR Unknown client type '{_shown(word)}'"))


def _is_kind(client: Client, kind: str) -> bool:
    """Whether a client is of this TYPE; there are no replicas."""
    subscribed = client.session is not None and client.session.subscribed
    return kind == ("pubsub" if subscribed else "normal")


def _arguments(request: bytes, start: int) -> Iterator[list[bytes]]:
    """The arguments from the third on, a few at a time; ``start``: the position of the third."""
    while True:
        arguments, start = decode_some(request, start, _ARGUMENTS_A_STEP)
        if not arguments:
            return
        yield arguments


def _by_number(session: Session) -> list[Client]:
    return sorted(session.pool.clients(), key=lambda client: client.number())


def describe_client(request: bytes, session: Session) -> Work:
    """CLIENT INFO, see ``protocol.plan.Steps``."""
    if count_arguments(request) > 2:
        return Answer(error_reply(WRONG_ARITY.format(name="client|info")))
    yield b""
    return Answer(text(line(session.client), session.protocol))


def list_clients(request: bytes, session: Session) -> Work:
    """CLIENT LIST [TYPE type | ID id ...], see ``protocol.plan.Steps``."""
    _, start = decode_some(request, 0, 2, 0)
    options, behind = decode_some(request, start, 2)
    words = [options[0].upper()] if options else []
    clients = _by_number(session)
    kind = ""
    match words, count_arguments(request) - 2:
        case [], 0:
            pass
        case [b"TYPE"], 2:
            kind = options[1].decode("utf-8", "replace").lower()
            if kind not in _TYPES:
                return _unknown_type(options[1])
        case [b"ID"], count if count > 1:
            there = {client.number(): client for client in clients}
            chosen: dict[int, Client] = {}
            numbers = [options[1]]
            while numbers:
                if not all(_INTEGER.fullmatch(number) for number in numbers):
                    return Answer(error_reply("ERR Invalid client ID"))
                chosen |= {number: there[number] for number in map(int, numbers) if number in there}
                yield b""
                numbers, behind = decode_some(request, behind, _ARGUMENTS_A_STEP)
            clients = [chosen[number] for number in sorted(chosen)]
        case _:
            return Answer(error_reply(SYNTAX_ERROR))
    _listing.append(session.client)
    try:
        while _listing[0] is not session.client:
            yield None
        lines = []
        for number, client in enumerate(clients, 1):
            if not kind or _is_kind(client, kind):
                lines.append(line(client))
            if not number % _CLIENTS_A_STEP:
                yield b""
        return Answer(text("".join(lines), session.protocol))
    finally:
        _listing.remove(session.client)
        if _listing:
            _listing[0].wake()


class _Filters:
    """The filters of CLIENT KILL: the last value of each field, and whether the requesting client is skipped."""

    def __init__(self) -> None:
        self.number = -1
        self.age = -1
        self.addresses: dict[str, str] = {}
        self.kind = ""
        self.skip_me = True

    def take(self, option: bytes, value: bytes) -> str:
        """Take a filter; returns the error text if it is invalid, otherwise ""."""
        wanted = value.decode("utf-8", "replace")
        match option.upper():
            case b"ID":
                if not _INTEGER.fullmatch(value) or int(value) < 1:
                    return "ERR client-id should be greater than 0"
                self.number = int(value)
            case b"ADDR" | b"LADDR" as field:
                self.addresses[field.decode().lower()] = wanted
            case b"TYPE":
                self.kind = wanted.lower()
                if self.kind not in _TYPES:
                    return f"ERR Unknown client type '{wanted[:128]}'"
            case b"USER":
                if wanted != "default":
                    return f"ERR No such user '{wanted[:128]}'"
            case b"MAXAGE":
                if not _INTEGER.fullmatch(value) or int(value) < 1:
                    return "ERR maxage is not an integer or out of range"
                self.age = int(value)
            case b"SKIPME" if wanted.lower() in ("yes", "no"):
                self.skip_me = wanted.lower() == "yes"
            case _:
                return SYNTAX_ERROR
        return ""

    def fits(self, client: Client) -> bool:
        """Whether the filters select a client."""
        if self.number >= 0 and client.number() != self.number:
            return False
        if self.kind and not _is_kind(client, self.kind):
            return False
        if self.addresses or self.age >= 0:
            known = client.description()
            return all(known[field] == wanted for field, wanted in self.addresses.items()) and (
                int(str(known["age"])) >= self.age
            )
        return True

    def names_only(self, client: Client) -> bool:
        """Whether the filters cannot select any other client."""
        return self.number == client.number() or self.addresses.get("addr") == client.description()["addr"]


def kill_clients(request: bytes, session: Session) -> Work:
    """CLIENT KILL address, or CLIENT KILL filter value ..., see ``protocol.plan.Steps``.

    The filters find only clients of the same pool. Without permission clients may close only themselves.
    """
    _, start = decode_some(request, 0, 2, 0)
    count = count_arguments(request) - 2
    if not count:
        return Answer(error_reply(WRONG_ARITY.format(name="client|kill")))
    filters = _Filters()
    if count == 1:
        filters.addresses["addr"] = decode_some(request, start, 1)[0][0].decode("utf-8", "replace")
        filters.skip_me = False
    elif count % 2:
        return Answer(error_reply(SYNTAX_ERROR))
    else:
        for words in _arguments(request, start):
            for option, value in zip(words[::2], words[1::2], strict=True):
                if problem := filters.take(option, value):
                    return Answer(error_reply(problem))
            yield b""
    refusal = session.pool.codec.permission_refusal("client|kill", True)
    if refusal and not filters.names_only(session.client):
        return Answer(error_reply(refusal))
    ended = 0
    for number, client in enumerate(_by_number(session), 1):
        if filters.fits(client) and not (filters.skip_me and client is session.client):
            ended += 1
            if client is session.client:
                session.killed = True
            else:
                client.abort("killed by a client")
        if not number % _CLIENTS_A_STEP:
            yield b""
    if count == 1:
        return Answer(OK if ended else error_reply("ERR No such client"), session.killed)
    return Answer(integer(ended), session.killed)


_NO_REASON = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"


def unblock_client(request: bytes, session: Session) -> Generator[bytes | None, None, Answer | Ask]:
    """CLIENT UNBLOCK number [TIMEOUT | ERROR], see ``protocol.plan.Steps``.

    The server ends the wait, so that nothing is lost that it has already sent to the client.
    """
    _, start = decode_some(request, 0, 2, 0)
    words, _ = decode_some(request, start, 2)
    if not 1 <= count_arguments(request) - 2 <= 2:
        return Answer(error_reply(WRONG_ARITY.format(name="client|unblock")))
    reason = words[1].upper() if len(words) == 2 else b"TIMEOUT"
    if reason not in (b"TIMEOUT", b"ERROR"):
        return Answer(error_reply(_NO_REASON))
    if not _INTEGER.fullmatch(words[0]):
        return Answer(error_reply(NOT_AN_INTEGER))
    yield b""
    number = int(words[0])
    client = next((each for each in session.pool.clients() if each.number() == number), None)
    place = client.reservations().blocked_at() if client and client.is_blocked() else None
    if place is None or not place[1].startswith(b":"):
        return Answer(integer(0))
    server, identity = place
    unblock = encode_request([b"CLIENT", b"UNBLOCK", identity[1:-2], reason])
    return Ask([(server, unblock)], lambda replies: replies[0][1])
