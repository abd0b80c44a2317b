"""Finds all keys of a request, by the servers' own descriptions of their commands.

Source: redis.io's "Command key specifications". Plain Python, for commands that may have several keys, in pools of
several servers; ``framing`` finds the keys of any other request.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from twemproxy.protocol.redis.commands import Command, CommandInfo, KeySpec

COUNT = re.compile(rb"0|[1-9][0-9]{0,9}")

MOST_LOOKED_UP = 100_000
"""Most arguments of a request that is decoded as a whole, for example to find its keys: some milliseconds of work."""

_STORE = ("STORE", "STOREDIST")
"""Options of GEORADIUS and GEORADIUSBYMEMBER; servers use the last one of a request, whichever it is."""


def keys_of(info: CommandInfo, arguments: list[bytes]) -> list[bytes]:
    """The keys of a request, in the order of the specifications; ``arguments`` begins with the command's name.

    A request that does not fit a specification has none of its keys; the server will report what is wrong.
    """
    return [key for spec in info.key_specs if "not_key" not in spec.flags for key in keys_of_spec(spec, arguments)]


def keys_of_spec(spec: KeySpec, arguments: list[bytes]) -> list[bytes]:
    """The keys that one specification finds, channels included."""
    begin = _begin(spec, arguments)
    if begin is None:
        return []
    n = len(arguments)
    match spec.find_keys:
        case ("range", int(last), int(step), int(limit)):
            end = begin + last if last >= 0 else n + last
            if last == -1 and limit > 1:
                end = begin + (n - begin) // limit - 1
            return arguments[begin : end + 1 : step]
        case ("keynum", int(count_at), int(first), int(step)):
            count = arguments[begin + count_at] if begin + count_at < n else b""
            if not COUNT.fullmatch(count):
                return []
            begin += first
            keys = arguments[begin : begin + int(count) * step : step]
            return keys if len(keys) == int(count) else []
        case _:
            return []


class Places(NamedTuple):
    """The indices of the keys of a command: from ``first`` to ``last`` in steps of ``step``, and from ``counted`` on as
    many as the request says.

    0 for no ``first`` or ``counted``. A negative ``last`` counts from the end of the request, -1 is its last argument.
    """

    first: int = 0
    last: int = 0
    step: int = 1
    counted: int = 0


def places_of_keys(command: Command, info: CommandInfo) -> Places:
    """Where the keys of a command are, if its arguments need not be searched; otherwise, no places."""
    places = Places()
    for spec in info.key_specs:
        if "not_key" in spec.flags:
            continue
        if spec.begin_search[0] != "index":
            return Places()
        begin = int(spec.begin_search[1])
        match spec.find_keys:
            case ("range", int(last), int(step), int(limit)) if limit <= 1 and not places.first:
                places = places._replace(first=begin, last=begin + last if last >= 0 else last, step=max(step, 1))
            case ("range", int(last), 1, int(limit)) if limit <= 1 and places.last == begin - 1 and places.step == 1:
                places = places._replace(last=begin + last if last >= 0 else last)
            case ("keynum", int(count_at), int(first), 1) if begin + count_at == command.numkeys:
                places = places._replace(counted=begin + first)
            case _:
                return Places()
    return places


def _begin(spec: KeySpec, arguments: list[bytes]) -> int | None:
    """The index at which the search for keys begins, None if the request does not fit the specification."""
    match spec.begin_search:
        case ("index", int(index)):
            return index if index < len(arguments) else None
        case ("keyword", str(word), int(start)):
            places: Iterable[int] = range(start, len(arguments))
            if start < 0:
                places = range(len(arguments) + start, 0, -1)
            if word in _STORE:
                places = _last_store(arguments, start)
            found = (at for at in places if arguments[at].upper() == word.encode())
            at = next(found, None)
            return None if at is None or at + 1 >= len(arguments) else at + 1
        case _:
            return None


def _last_store(arguments: list[bytes], at: int) -> list[int]:
    """The index of the last of the options _STORE from the index ``at`` on, in a list; an empty list without one.

    As in servers, the search skips the key of each option.
    """
    last: list[int] = []
    while at + 1 < len(arguments):
        if arguments[at].upper().decode("latin-1") in _STORE:
            last = [at]
            at += 1
        at += 1
    return last


def sort_keys(arguments: list[bytes]) -> tuple[list[bytes], bool]:
    """The keys of SORT and SORT_RO, and whether BY or GET names other keys by a pattern.

    The specifications do not have these. If STORE is repeated, the last one counts. A pattern without an asterisk names
    no key, and ``GET #`` is the element itself.
    """
    keys = arguments[1:2]
    by_pattern = False
    at = 2
    while at < len(arguments):
        word = arguments[at].upper()
        if word in (b"BY", b"GET", b"STORE") and at + 1 < len(arguments):
            if word == b"STORE":
                keys[1:] = [arguments[at + 1]]
            elif b"*" in arguments[at + 1]:
                by_pattern = True
            at += 2
        else:
            at += 3 if word == b"LIMIT" else 1
    return keys, by_pattern


def blocks(arguments: list[bytes]) -> bool:
    """Whether XREAD or XREADGROUP may block: BLOCK is among its options, which end with STREAMS."""
    at = 1
    while at < len(arguments):
        match arguments[at].upper():
            case b"BLOCK":
                return True
            case b"STREAMS":
                return False
            case b"COUNT":
                at += 2
            case b"GROUP":
                at += 3
            case _:
                at += 1
    return False


NAMES_DATABASES = ("copy", "move", "swapdb")
"""Commands for ``other_databases``; no other command names a database."""


def other_databases(name: str, arguments: list[bytes]) -> list[bytes]:
    """The databases that COPY, MOVE or SWAPDB names, as written; if COPY has several, it uses the last one."""
    if name == "move":
        return arguments[2:3]
    if name == "swapdb":
        return arguments[1:3]
    found = []
    at = 3
    while name == "copy" and at + 1 < len(arguments):
        if arguments[at].upper() == b"DB":
            at += 1
            found.append(arguments[at])
        at += 1
    return found
