"""All keys of a request, by what the servers say about their commands.

Source: redis.io's "Command key specifications". Plain Python, for commands that may have several keys, in pools of
several servers; the one key of any other request is found by ``framing``.
"""

import re

from twemproxy.protocol.redis.commands import CommandInfo, KeySpec

_COUNT = re.compile(rb"0|[1-9][0-9]{0,9}")


def keys_of(info: CommandInfo, arguments: list[bytes]) -> list[bytes]:
    """The keys of a request, in the order of the specifications; ``arguments`` begins with the command's name.

    A request that does not fit a specification has none of its keys; the server will say what is wrong with it.
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
            if not _COUNT.fullmatch(count):
                return []
            begin += first
            return arguments[begin : begin + int(count) * step : step]
        case _:
            return []


def _begin(spec: KeySpec, arguments: list[bytes]) -> int | None:
    """Where the search for keys begins, or None when the request has not what the specification looks for."""
    match spec.begin_search:
        case ("index", int(index)):
            return index if index < len(arguments) else None
        case ("keyword", str(word), int(start)):
            places = range(start, len(arguments)) if start > 0 else range(len(arguments) + start, 0, -1)
            found = (at for at in places if arguments[at].upper() == word.encode())
            at = next(found, None)
            return None if at is None or at + 1 >= len(arguments) else at + 1
        case _:
            return None


def sort_keys(arguments: list[bytes]) -> tuple[list[bytes], bool]:
    """The keys of SORT and SORT_RO, and whether others are named by pattern (BY and GET).

    The specifications leave these two open. A pattern without an asterisk names no key, and ``GET #`` is the element
    itself.
    """
    keys = arguments[1:2]
    by_pattern = False
    at = 2
    while at < len(arguments):
        word = arguments[at].upper()
        if word in (b"BY", b"GET", b"STORE") and at + 1 < len(arguments):
            if word == b"STORE":
                keys.append(arguments[at + 1])
            elif b"*" in arguments[at + 1]:
                by_pattern = True
            at += 2
        else:
            at += 3 if word == b"LIMIT" else 1
    return keys, by_pattern


def blocks(arguments: list[bytes]) -> bool:
    """Whether XREAD or XREADGROUP asks to wait: BLOCK stands among its options, which end with STREAMS."""
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


def other_databases(name: str, arguments: list[bytes]) -> list[bytes]:
    """The databases that COPY, MOVE or SWAPDB names, as they are written; of several COPY takes the last."""
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
