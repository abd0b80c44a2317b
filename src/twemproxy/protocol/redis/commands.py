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
    own_name: str = ""
    """What a server that was asked for it calls it itself, which is another name when it has been renamed there."""


class Routing(enum.IntEnum):
    """How a request finds its server. Compiled code uses the values; from LOCAL on, requests are planned."""

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
    ONLY_SERVER = 6
    """About a single server, so only a pool of one can answer."""
    REFUSED = 7
    """Known to redis, not available through the proxy: ``refusal`` says why."""
    LOCAL = 8
    """The proxy answers."""
    SEARCHED_KEYS = 9
    """The whole request goes to the server of its keys, once something else in it has been looked at."""
    BLOCKING = 10
    """To the server of its keys, on a connection of the client's own."""
    EVERY_SERVER = 11
    """To every server of the pool; ``merge`` says what becomes of the replies."""
    TRANSACTION = 12
    """It begins or ends a transaction, or belongs to one: on a connection of the client's own."""
    SUBSCRIPTION = 13
    """What clients subscribe to, or end: one connection to each server brings it for all of them."""
    BY_SUBCOMMAND = 14
    """A container whose sub-commands have rows of their own in ``SUBCOMMANDS``."""


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
    merge: str = ""
    """How the replies of EVERY_SERVER become one, a name in ``whole_pool.MERGES``."""
    permission: bool = False
    """Only ``allow_commands`` makes it available."""


_ROUTING = {
    Routing.EACH_KEY_SUM: "del exists touch unlink",
    Routing.EACH_KEY_VALUES: "mget",
    Routing.EACH_PAIR_STATUS: "mset",
    Routing.ANY_SERVER: (
        "acl|cat acl|genpass acl|help commandlog|help config|help function|dump function|help function|list"
        " latency|help memory|help module|help module|list object|help pubsub|help script|help script|show slowlog|help"
        " xgroup|help xinfo|help"
    ),
    Routing.ONLY_SERVER: (
        "acl|dryrun acl|getuser acl|list acl|log acl|users commandlog|get commandlog|len function|stats latency|doctor"
        " latency|graph latency|histogram latency|history latency|latest memory|doctor memory|malloc-stats memory|stats"
    ),
    Routing.LOCAL: (
        "acl|whoami auth client command config|get echo hello info lolwut ping quit reset role select time"
    ),
    Routing.SEARCHED_KEYS: "copy move sort sort_ro xread xreadgroup",
    Routing.BLOCKING: "migrate",
    Routing.TRANSACTION: "discard exec multi unwatch watch",
    Routing.SUBSCRIPTION: "psubscribe punsubscribe ssubscribe subscribe sunsubscribe unsubscribe",
    Routing.BY_SUBCOMMAND: "acl commandlog config function latency memory module pubsub script slowlog",
}
"""Commands, and sub-commands, whose routing does not follow from their key specifications."""

_MERGES = {
    "sum": "dbsize latency|reset slowlog|len",
    "smallest": "lastsave wait",
    "smallest of each": "script|exists waitaof",
    "joined": "keys slowlog|get",
    "without repeats": "pubsub|channels pubsub|shardchannels",
    "any": "randomkey",
    "subscribers": "pubsub|numpat pubsub|numsub pubsub|shardnumsub",
    "one done": "function|kill script|kill",
    "cursor": "scan",
    "all alike": (
        "acl|deluser acl|load acl|save acl|setuser bgrewriteaof bgsave commandlog|reset config|resetstat config|rewrite"
        " config|set debug flushall flushdb function|delete function|flush function|load function|restore"
        " memory|purge module|load module|loadex module|unload save script|flush script|load shutdown slowlog|reset"
        " swapdb"
    ),
}
"""What goes to every server, by how the replies become one."""

_PERMISSIONS = (
    "acl|deluser acl|dryrun acl|getuser acl|list acl|load acl|log acl|save acl|setuser acl|users bgrewriteaof bgsave"
    " commandlog|reset config|resetstat config|rewrite config|set debug flushall flushdb function|flush function|kill"
    " function|restore keys latency|reset memory|purge migrate module|load module|loadex module|unload save script|kill"
    " shutdown slowlog|reset swapdb"
)
"""What can destroy or stall what every client of a server needs."""

_CHANNELS = "publish spublish"
"""Commands the first argument of which is a channel; channels are spread over the servers as keys are."""

_CONNECTION_STATE = "it changes the state of a connection that other clients share"
_ONE_SERVER = "it administers a single server, ask that server directly"
_NO_KEY = "it names no key that says which server to ask"

_REFUSALS = {
    _CONNECTION_STATE: "asking himport monitor psync readonly readwrite replconf script|debug sync",
    _ONE_SERVER: "backup cluster clusterscan failover hotkeys replicaof restore-asking slaveof",
}
"""Commands that are refused for a reason their flags do not tell."""

_REFUSED_FLAGS = {"admin": _ONE_SERVER}
"""Flags, of COMMAND INFO, that refuse a command unless its routing is in a table of this module."""

ANY_NUMBER = 2**31 - 1
"""Of arguments: more than redis takes."""


def _by_name(names: Mapping[_T, str]) -> dict[str, _T]:
    """A table of space-separated names turned over."""
    return {name: value for value, listed in names.items() for name in listed.split()}


_ROUTING_OF = _by_name(_ROUTING)
_MERGE_OF = _by_name(_MERGES)
_REFUSAL_OF = _by_name(_REFUSALS)


def _routing(name: str, info: CommandInfo) -> Routing | None:
    """The routing of a command by the tables of this module, or by its flags; None when its keys decide."""
    if name in _REFUSAL_OF:
        return Routing.REFUSED
    if name in _ROUTING_OF:
        return _ROUTING_OF[name]
    if "blocking" in info.flags:
        return Routing.BLOCKING
    if name in _MERGE_OF:
        return Routing.EVERY_SERVER
    return Routing.REFUSED if any(flag in info.flags for flag in _REFUSED_FLAGS) else None


def _refusal(name: str, info: CommandInfo) -> str:
    """Why a command is refused."""
    if name in _REFUSAL_OF:
        return _REFUSAL_OF[name]
    return next((reason for flag, reason in _REFUSED_FLAGS.items() if flag in info.flags), _NO_KEY)


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
    if not specs:
        return ANY_NUMBER
    if len(specs) > 1:
        return 0
    match specs[0].find_keys:
        case ("range", int(last), _, _) if last != 0:
            return first_key + 1
        case _:
            return ANY_NUMBER


def command_row(name: str, info: CommandInfo) -> Command:
    """The row of a command, or of a sub-command by its full name."""
    first_key, key_step, numkeys = (1, 0, 0) if name in _CHANNELS.split() else _positions(info)
    arity = info.arity
    routing = _routing(name, info)
    if routing is None and not first_key:
        routing = Routing.REFUSED
    elif routing is None:
        routing = Routing.COUNTED_KEYS if numkeys else Routing.KEY
        if info.subcommands:
            arity = min(arity, -1 - first_key)
    if routing not in (Routing.KEY, Routing.COUNTED_KEYS, *_SPLIT):
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
        refusal=_refusal(name, info) if routing == Routing.REFUSED else "",
        merge=_MERGE_OF.get(name, ""),
        permission=name in _PERMISSIONS.split(),
    )


_SPLIT = (Routing.EACH_KEY_SUM, Routing.EACH_KEY_VALUES, Routing.EACH_PAIR_STATUS)


def fits_arity(arity: int, arguments: int) -> bool:
    """Whether so many arguments, the name counted, are what a command with this arity takes."""
    return arguments == arity if arity > 0 else arguments >= -arity


COMMAND_INFO: dict[str, CommandInfo] = msgspec.json.decode(
    Path(__file__).with_name("command_info.json").read_bytes(), type=dict[str, CommandInfo]
)
"""What servers say about their commands, by lower-case name, in order of name."""

COMMANDS: tuple[Command, ...] = tuple(command_row(name, info) for name, info in sorted(COMMAND_INFO.items()))
"""In order of name. A command's position is its row number in compiled code."""

BY_NAME: dict[str, int] = {command.name: row for row, command in enumerate(COMMANDS)}
"""Row number by lower-case name."""

SUBCOMMANDS: dict[str, Command] = {
    name: command_row(name, info)
    for container in sorted(COMMAND_INFO)
    for name, info in sorted(COMMAND_INFO[container].subcommands.items())
}
"""Rows of sub-commands by full name, such as ``object|encoding``; they count where the container is BY_SUBCOMMAND."""

PERMITTED_BY_DIRECTIVE: tuple[str, ...] = tuple(
    sorted({*_PERMISSIONS.split(), *(name.split("|")[0] for name in _PERMISSIONS.split())})
)
"""Names that ``allow_commands`` takes: of commands, and of commands whose sub-commands need permission."""

_DENIABLE_CONTAINERS = ("client", "command", *_ROUTING[Routing.BY_SUBCOMMAND].split())

DENIED_BY_DIRECTIVE: tuple[str, ...] = tuple(
    sorted({*BY_NAME, *(name for name in SUBCOMMANDS if name.split("|")[0] in _DENIABLE_CONTAINERS)})
)
"""Names that ``deny_commands`` takes."""
