"""The redis commands: how a request of each finds its server, and why some cannot pass a proxy.

What redis and valkey themselves say about their commands is ``COMMAND_INFO``, data made by
tools/generate_command_info.py. What a proxy must decide on top of it are the tables of this module. The
routing of a command follows from its flags and its first key specification unless a table here names it.
"""

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

_T = TypeVar("_T")


class KeySpec(msgspec.Struct, frozen=True):
    """Where a command has some of its keys, in the terms of redis.io's "Command key specifications"."""

    begin_search: tuple[str | int, ...]
    """("index", position), ("keyword", word, start) or ("unknown",)."""
    find_keys: tuple[str | int, ...]
    """("range", last, step, limit), ("keynum", count's offset, first key's offset, step) or ("unknown",)."""
    flags: tuple[str, ...] = ()
    notes: str = ""


class CommandInfo(msgspec.Struct, frozen=True):
    """A command as servers describe it in their replies to COMMAND INFO and COMMAND DOCS."""

    summary: str
    group: str
    arity: int
    """Number of arguments, the name counted; negative for at least that many."""
    keys: tuple[int, int, int]
    """First key, last key (negative: from the end), step; zeros for none, or none at a fixed position."""
    since: str = ""
    complexity: str = ""
    doc_flags: tuple[str, ...] = ()
    deprecated_since: str = ""
    replaced_by: str = ""
    flags: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    tips: tuple[str, ...] = ()
    key_specs: tuple[KeySpec, ...] = ()
    subcommands: dict[str, "CommandInfo"] = {}
    """By full name, such as ``object|encoding``."""


class Routing(enum.IntEnum):
    """How a request finds its server. Compiled code uses the values."""

    KEY = 0
    """The whole request goes to the server of the key at argument ``first_key``."""
    EACH_KEY_SUM = 1
    """One request per server with that server's keys; the integer replies are added."""
    EACH_KEY_VALUES = 2
    """One request per server with that server's keys; array elements are put back in key order."""
    EACH_PAIR_STATUS = 3
    """One request per server with that server's keys and values; one status for all."""
    COUNTED_KEYS = 4
    """As KEY, but argument ``numkeys`` says how many keys there are: with none, ``first_key`` is no key."""
    ANY_SERVER = 5
    """No key, and any one server can answer."""
    LOCAL = 6
    """The proxy answers."""
    SEARCHED_KEYS = 7
    """The whole request goes to the server of its keys, which have no fixed position."""
    REFUSED = 8
    """Known to redis, not available through the proxy: ``refusal`` says why."""


class Command(NamedTuple):
    """One row of the table."""

    name: str
    """In lower case."""
    arity: int
    """Number of arguments, the name counted; negative for at least that many.

    It is the servers' own, but a container's asks for the key too. So a request that satisfies it has the
    argument ``first_key``; where keys are counted, it has the argument ``numkeys``.
    """
    routing: Routing
    first_key: int
    """Argument index of the key that routes, 0 for none."""
    key_step: int
    """Arguments from one key to the next, 0 for none."""
    numkeys: int
    """Argument index of the number of keys, 0 for none."""
    one_key: int
    """A request of at most so many arguments has one key, or as many as it counts; a longer one may have more."""
    readonly: bool
    summary: str
    since: str
    """Version of redis, or of valkey, that brought the command."""
    group: str
    refusal: str
    """Why the command is REFUSED, a clause about "it"; empty for the others."""


_ROUTING = {
    Routing.EACH_KEY_SUM: "del exists touch unlink",
    Routing.EACH_KEY_VALUES: "mget",
    Routing.EACH_PAIR_STATUS: "mset",
    Routing.LOCAL: "auth client command config echo hello info lolwut ping quit reset select time",
    Routing.SEARCHED_KEYS: "xread xreadgroup",
}
"""Commands whose routing does not follow from their key specifications."""

_CONNECTION_STATE = "it changes the state of a connection that other clients share"
_BLOCKS = "it blocks a connection that other clients share"
_EVERY_SERVER = "it needs every server of the pool"
_ONE_SERVER = "it administers a single server, ask that server directly"
_ONE_DATABASE = "it reaches into another database, and a pool has one"
_NO_KEY = "it names no key that says which server to ask"

_REFUSALS = {
    _CONNECTION_STATE: (
        "asking discard exec himport monitor multi psubscribe psync punsubscribe readonly"
        " readwrite replconf ssubscribe subscribe sunsubscribe sync unsubscribe unwatch watch"
    ),
    _EVERY_SERVER: ("clusterscan dbsize flushall flushdb function keys publish pubsub randomkey scan script spublish"),
    _ONE_SERVER: ("acl backup cluster commandlog hotkeys lastsave latency migrate module restore-asking role slowlog"),
    _ONE_DATABASE: "move swapdb",
}
"""Commands that are refused for a reason their flags do not tell."""

_REFUSED_FLAGS = {"blocking": _BLOCKS, "admin": _ONE_SERVER}
"""Flags, of COMMAND INFO, that refuse a command unless its routing is in a table of this module."""

ANY_NUMBER = 2**31 - 1
"""Of arguments: more than redis takes."""


def _by_name(names: Mapping[_T, str]) -> dict[str, _T]:
    """A table of space-separated names turned over."""
    return {name: value for value, listed in names.items() for name in listed.split()}


_ROUTING_OF = _by_name(_ROUTING)
_REFUSAL_OF = _by_name(_REFUSALS)


def _refusal(name: str, info: CommandInfo) -> str:
    """Why a command is refused, or an empty string."""
    if name in _REFUSAL_OF:
        return _REFUSAL_OF[name]
    if name in _ROUTING_OF:
        return ""
    return next((reason for flag, reason in _REFUSED_FLAGS.items() if flag in info.flags), "")


def _positions(info: CommandInfo) -> tuple[int, int, int]:
    """(first key, step from key to key, argument with the number of keys) by the first key specification.

    A container has the positions of its sub-commands, which agree where they have keys.
    """
    for spec in info.key_specs:
        match spec.begin_search, spec.find_keys:
            case _ if "not_key" in spec.flags:
                continue
            case ("index", int(begin)), ("range", _, int(step), _):
                return begin, step, 0
            case ("index", int(begin)), ("keynum", int(count), int(first), int(step)):
                return begin + first, step, begin + count
    return next((found for sub in info.subcommands.values() if any(found := _positions(sub))), (0, 0, 0))


def _one_key(info: CommandInfo, first_key: int) -> int:
    """``Command.one_key`` of a command whose first key is at this index."""
    if info.subcommands:
        return ANY_NUMBER
    specs = [spec for spec in info.key_specs if "not_key" not in spec.flags]
    if len(specs) > 1:
        return 0
    match specs[0].find_keys:
        case ("range", int(last), _, _) if last != 0:
            return first_key + 1
        case _:
            return ANY_NUMBER


def _command(name: str, info: CommandInfo) -> Command:
    """A command's row."""
    refusal = _refusal(name, info)
    first_key, key_step, numkeys = _positions(info)
    arity = info.arity
    routing = _ROUTING_OF.get(name)
    if refusal:
        routing = Routing.REFUSED
    elif routing is None and not first_key:
        routing, refusal = Routing.REFUSED, _NO_KEY
    elif routing is None:
        routing = Routing.COUNTED_KEYS if numkeys else Routing.KEY
        if info.subcommands:
            arity = min(arity, -1 - first_key)
    if routing in (Routing.ANY_SERVER, Routing.LOCAL, Routing.REFUSED, Routing.SEARCHED_KEYS):
        first_key = key_step = numkeys = 0
    return Command(
        name=name,
        arity=arity,
        routing=routing,
        first_key=first_key,
        key_step=key_step,
        numkeys=numkeys,
        one_key=_one_key(info, first_key) if first_key else ANY_NUMBER,
        readonly="readonly" in info.flags,
        summary=info.summary,
        since=info.since,
        group=info.group,
        refusal=refusal,
    )


COMMAND_INFO: dict[str, CommandInfo] = msgspec.json.decode(
    Path(__file__).with_name("command_info.json").read_bytes(), type=dict[str, CommandInfo]
)
"""What servers say about their commands, by lower-case name, in order of name."""

COMMANDS: tuple[Command, ...] = tuple(_command(name, info) for name, info in sorted(COMMAND_INFO.items()))
"""In order of name. A command's position is its row number in compiled code."""

BY_NAME: dict[str, int] = {command.name: row for row, command in enumerate(COMMANDS)}
"""Row number by lower-case name."""
