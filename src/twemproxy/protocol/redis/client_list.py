"""CLIENT LIST, CLIENT INFO, CLIENT KILL and CLIENT UNBLOCK, which process the clients of a pool in steps.

Plain Python. Formats and texts are redis's. If a filter of CLIENT KILL is repeated, the last one counts. Clients of
other workers are found by a question to these, see ``protocol.other_workers``.
"""

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Protocol

from twemproxy.protocol.memcache.commands import COMMANDS as MEMCACHED_COMMANDS
from twemproxy.protocol.other_workers import Rows, rows_of
from twemproxy.protocol.plan import Answer, Ask, Server
from twemproxy.protocol.redis.commands import COMMAND_INFO, COMMANDS
from twemproxy.protocol.redis.errors import NOT_AN_INTEGER, SYNTAX_ERROR, WRONG_ARITY, error_reply
from twemproxy.protocol.redis.inline import count_arguments, decode_some, encode_request
from twemproxy.protocol.redis.resp_encoder import OK, integer, text
from twemproxy.protocol.redis.session import Client, Pool, Session

Work = Generator[bytes | None, None, Answer]

LISTED, KILLED, BLOCKED = "listed clients", "killed clients", "blocked client"
"""The questions to other workers."""


class Named(Protocol):
    """A row of a table of commands."""

    @property
    def name(self) -> str:
        """The name of the command."""


_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_TYPES = ("normal", "master", "replica", "slave", "pubsub")
_ARGUMENTS_A_STEP = 256
_CLIENTS_A_STEP = 20
_MOST_ASKED_FOR = 1000
"""Most numbers of clients in a question; for more of them, it is for all clients."""
_LONGEST_FILTER = 256
"""More bytes than any address of a client has."""

_listing: list[Client] = []
"""Clients that want a CLIENT LIST. One list is made at a time, because its memory is not counted as traffic."""


def line(client: Client, commands: Sequence[Named] = COMMANDS) -> str:
    """The line of a client in CLIENT LIST; empty if its connection was closed between two steps.

    ``commands``: the table of commands of its protocol.
    """
    session: Session | None = client.session
    known = client.description()
    if _is_gone(known):
        return ""
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
        "cmd": _command(int(str(known["command"])), session, commands),
        "user": "default",
        "redir": -1,
        "resp": session.protocol if session else 2,
        "lib-name": session.library.decode() if session else "",
        "lib-ver": session.library_version.decode() if session else "",
    }
    return " ".join(f"{name}={value}" for name, value in fields.items()) + "\n"


def _is_gone(known: dict[str, object]) -> bool:
    """Whether a connection with this description is closed."""
    return int(str(known["fd"])) < 0


def _command(row: int, session: Session | None, commands: Sequence[Named]) -> str:
    """The name of a command by its row, with the sub-command if it was planned."""
    if row < 0:
        return "NULL"
    name = commands[row].name
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


def _by_number(pool: Pool) -> list[Client]:
    return sorted(pool.clients(), key=lambda client: client.number())


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
    numbers: set[int] | None = None
    kind = ""
    match words, count_arguments(request) - 2:
        case [], 0:
            pass
        case [b"TYPE"], 2:
            kind = options[1].decode("utf-8", "replace").lower()
            if kind not in _TYPES:
                return _unknown_type(options[1])
        case [b"ID"], count if count > 1:
            numbers = set()
            some = [options[1]]
            while some:
                if not all(_INTEGER.fullmatch(number) for number in some):
                    return Answer(error_reply("ERR Invalid client ID"))
                numbers.update(map(int, some))
                yield b""
                some, behind = decode_some(request, behind, _ARGUMENTS_A_STEP)
        case _:
            return Answer(error_reply(SYNTAX_ERROR))
    _listing.append(session.client)
    try:
        while _listing[0] is not session.client:
            yield None
        asked_for = () if numbers is None or len(numbers) > _MOST_ASKED_FOR else map(str, numbers)
        arguments = [kind.encode(), *(number.encode() for number in asked_for)]
        question = session.pool.others.ask(LISTED, arguments, session.client)
        rows: list[tuple[int, bytes]] = []
        for more in _lines(session.pool, kind, numbers):
            rows += more
            yield b""
        for number, told in (yield from rows_of(question)):
            if numbers is None or number in numbers:
                rows.append((number, told))
        rows.sort(key=lambda row: row[0])
        return Answer(text(b"".join(told for _, told in rows), session.protocol))
    finally:
        _listing.remove(session.client)
        if _listing:
            _listing[0].wake()


def _lines(pool: Pool, kind: str, numbers: set[int] | None) -> Iterator[Rows]:
    """(number, line) of the clients of this worker, in steps. ``kind``: their TYPE, empty for all types. ``numbers``:
    None for all clients.
    """
    commands: Sequence[Named] = COMMANDS if pool.config.redis else MEMCACHED_COMMANDS
    clients = _by_number(pool)
    if numbers is not None:
        clients = [client for client in clients if client.number() in numbers]
    for at in range(0, len(clients), _CLIENTS_A_STEP):
        some = clients[at : at + _CLIENTS_A_STEP]
        wanted = [client for client in some if not kind or _is_kind(client, kind)]
        lines = [(client.number(), line(client, commands).encode("utf-8", "surrogateescape")) for client in wanted]
        yield [(number, told) for number, told in lines if told]


def tell_listed(arguments: Sequence[bytes], pool: Pool) -> Iterator[Rows]:
    """The answer to LISTED: see ``_lines``. ``arguments``: a TYPE, or empty; numbers, none for all clients."""
    kind, *numbers = arguments
    return _lines(pool, kind.decode(), {int(number) for number in numbers} or None)


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
                self.addresses[field.decode().lower()] = wanted[:_LONGEST_FILTER]
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
            fits = all(known[field] == wanted for field, wanted in self.addresses.items())
            return fits and int(str(known["age"])) >= self.age and not _is_gone(known)
        return True

    def options(self) -> list[bytes]:
        """The filters, as ``take`` gets them."""
        told = [(field, wanted) for field, wanted in self.addresses.items()]
        told += [("type", self.kind)] if self.kind else []
        told += [("id", str(self.number))] if self.number >= 0 else []
        told += [("maxage", str(self.age))] if self.age >= 0 else []
        return [word.encode() for option in told for word in option]

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
        filters.take(b"ADDR", decode_some(request, start, 1)[0][0])
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
    for client in _fitting(filters, session.pool):
        if client is None:
            yield b""
        elif client is not session.client:
            ended += 1
            client.abort(_KILLED)
        elif not filters.skip_me:
            ended += 1
            session.killed = True
    if not filters.names_only(session.client) and not (ended and filters.number >= 0):
        question = session.pool.others.ask(KILLED, filters.options(), session.client)
        for number, _ in (yield from rows_of(question)):
            ended += number
    if count == 1:
        return Answer(OK if ended else error_reply("ERR No such client"), session.killed)
    return Answer(integer(ended), session.killed)


_KILLED = "killed by CLIENT KILL or nutcracker clients"


def _fitting(filters: _Filters, pool: Pool) -> Iterator[Client | None]:
    """The clients of this worker that filters select, in steps, with None at the end of each."""
    for number, client in enumerate(_by_number(pool), 1):
        if filters.fits(client):
            yield client
        if not number % _CLIENTS_A_STEP:
            yield None


def tell_killed(arguments: Sequence[bytes], pool: Pool) -> Iterator[Rows]:
    """The answer to KILLED: how many clients of this worker are closed now, in a row. ``arguments``: ``options``."""
    filters = _Filters()
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        if problem := filters.take(option, value):
            raise ValueError(problem)
    ended = 0
    for client in _fitting(filters, pool):
        if client is None:
            yield ()
        else:
            ended += 1
            client.abort(_KILLED)
    yield [(ended, b"")]


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
    place = _place_of(number, session.pool.clients())
    if place is None:
        question = session.pool.others.ask(BLOCKED, [words[0]], session.client)
        for identity, name in (yield from rows_of(question)):
            server = next((each for each in session.pool.servers if each.name.encode() == name), None)
            place = None if server is None else (server, identity)
    if place is None:
        return Answer(integer(0))
    unblock = encode_request([b"CLIENT", b"UNBLOCK", str(place[1]).encode(), reason])
    return Ask([(place[0], unblock)], lambda replies: replies[0][1])


def _place_of(number: int, clients: Iterable[Client]) -> tuple[Server, int] | None:
    """Where a client waits for a blocking request: the server, and the number of the connection there."""
    client = next((each for each in clients if each.number() == number), None)
    place = client.reservations().blocked_at() if client and client.is_blocked() else None
    if place is None or not place[1].startswith(b":"):
        return None
    return place[0], int(place[1][1:-2])


def tell_blocked(arguments: Sequence[bytes], pool: Pool) -> Iterator[Rows]:
    """The answer to BLOCKED: where a client of this worker waits, in a row: the number of the connection there, and the
    name of the server. ``arguments``: the client's number.
    """
    [number] = map(int, arguments)
    place = _place_of(number, pool.clients())
    if place is not None:
        yield [(place[1], place[0].name.encode())]
