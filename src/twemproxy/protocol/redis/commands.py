"""The redis commands: how a request of each finds its server, and why the proxy refuses some.

``COMMAND_INFO`` is the servers' own description of their commands, made by tools/generate_command_info.py. The tables
of this module have the decisions of the proxy. The routing of a command follows from its flags and its first key
specification unless a table here has the command.
"""

import enum
import os
from array import array
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from twemproxy.protocol.command_classes import CommandClass
from twemproxy.protocol.redis.errors import CLUSTER_DISABLED

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
    """Number of arguments with the name; negative for a minimum."""
    keys: tuple[int, int, int]
    """First key, last key (negative: from the end), step; zeros without a key at a fixed position."""
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
    """The server's own name for the command, which differs from the requested one if it has been renamed there."""


class Routing(enum.IntEnum):
    """How a request finds its server. Compiled code uses the values; LOCAL to BY_SUBCOMMAND are planned."""

    KEY = 0
    """The whole request goes to the server of the key at argument ``first_key``."""
    EACH_KEY_SUM = 1
    """One request per server with that server's keys; the integer replies are added."""
    EACH_KEY_VALUES = 2
    """One request per server with that server's keys; array elements are put back in key order."""
    EACH_PAIR_STATUS = 3
    """One request per server with that server's keys and values; one status for all."""
    COUNTED_KEYS = 4
    """As KEY, but argument ``numkeys`` is the number of keys: if it is 0, ``first_key`` is not a key."""
    ANY_SERVER = 5
    """No key; any server can answer."""
    ONLY_SERVER = 6
    """About a single server, so it is available in pools of one server only."""
    REFUSED = 7
    """Known to redis, but not available through the proxy: ``refusal`` says why."""
    LOCAL = 8
    """The proxy answers."""
    SEARCHED_KEYS = 9
    """The whole request goes to the server of its keys, after other arguments have been checked."""
    BLOCKING = 10
    """To the server of its keys, on a private connection."""
    EVERY_SERVER = 11
    """To every server of the pool; ``merge`` says how the replies are merged."""
    TRANSACTION = 12
    """Begins or ends a transaction, or belongs to one: on a private connection."""
    SUBSCRIPTION = 13
    """Subscribes or unsubscribes; the proxy has one connection to each server for the subscriptions of all clients."""
    BY_SUBCOMMAND = 14
    """A container whose sub-commands have rows of their own in ``SUBCOMMANDS``."""
    CHANNEL = 15
    """To the server of the channel at argument ``first_key``; channels are spread over the servers as keys are."""


class Command(NamedTuple):
    """One row of the table."""

    name: str
    """In lower case."""
    arity: int
    """Number of arguments with the name; negative for a minimum.

    The arity is the servers' own, except that a container's includes the key. So a request with this arity has the
    argument ``first_key``, and if keys are counted, the argument ``numkeys``.
    """
    routing: Routing
    first_key: int
    """Argument index of the key that routes, 0 for none."""
    key_step: int
    """Arguments from one key to the next, 0 for none."""
    numkeys: int
    """Argument index of the number of keys, 0 for none."""
    one_key: int
    """Largest number of arguments at which a request is known to have one key, or as many as it counts."""
    readonly: bool
    summary: str
    since: str
    """The version of redis or valkey in which the command is new."""
    group: str
    refusal: str
    """Why the command is REFUSED, for ``errors.not_available``; empty for other commands."""
    merge: str = ""
    """How the replies of EVERY_SERVER are merged, a name in ``fan_out_commands.MERGES``."""
    permission: bool = False
    """Available only with ``allow_commands``."""
    behind_keys: int = 0
    """Number of arguments that must follow counted keys."""


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
        " latency|graph memory|doctor memory|malloc-stats memory|stats pfdebug"
    ),
    Routing.LOCAL: (
        "acl|whoami auth client command config|get echo hello info lolwut ping quit reset role select"
        " slowlog|get slowlog|len slowlog|reset time"
    ),
    Routing.SEARCHED_KEYS: "copy move msetex sort sort_ro xread xreadgroup",
    Routing.BLOCKING: "migrate",
    Routing.TRANSACTION: "discard exec multi unwatch watch",
    Routing.CHANNEL: "publish spublish",
    Routing.SUBSCRIPTION: "psubscribe punsubscribe ssubscribe subscribe sunsubscribe unsubscribe",
    Routing.BY_SUBCOMMAND: "acl cluster commandlog config function latency memory module pubsub script slowlog",
}
"""Commands and sub-commands whose routing does not follow from their key specifications."""

_MERGES = {
    "sum": "dbsize latency|reset",
    "smallest": "lastsave wait",
    "smallest of each": "script|exists waitaof",
    "joined": "keys",
    "without repeats": "pubsub|channels pubsub|shardchannels",
    "any": "randomkey",
    "subscribers": "pubsub|numpat pubsub|numsub pubsub|shardnumsub",
    "one done": "function|kill script|kill",
    "cursor": "scan",
    "latest": "latency|latest",
    "history": "latency|history",
    "histogram": "latency|histogram",
    "all alike": (
        "acl|deluser acl|load acl|save acl|setuser bgrewriteaof bgsave commandlog|reset config|resetstat config|rewrite"
        " config|set debug flushall flushdb function|delete function|flush function|load function|restore"
        " memory|purge module|load module|loadex module|unload pfselftest save script|flush script|load shutdown"
        " swapdb"
    ),
}
"""Commands that go to every server, by the name of the merge of their replies."""

_PERMISSIONS = (
    "acl|deluser acl|dryrun acl|getuser acl|list acl|load acl|log acl|save acl|setuser acl|users bgrewriteaof bgsave"
    " client|unblock commandlog|reset config|resetstat config|rewrite config|set debug flushall flushdb"
    " function|delete function|flush function|load function|restore keys latency|reset memory|purge migrate"
    " module|load module|loadex module|unload pfdebug pfselftest save script|flush shutdown slowlog|reset swapdb"
)
"""Commands that can destroy or block what all clients of a server use."""

_DIRECTED = "blmpop bzmpop lmpop zmpop"
"""Commands whose counted keys are followed by a direction."""

_CONNECTION_STATE = "it changes the state of a connection that other clients share"
_ONE_SERVER = "it administers a single server, ask that server directly"
_NO_KEY = "it names no key that says which server to ask"

_REFUSALS = {
    _CONNECTION_STATE: "himport monitor psync replconf script|debug sync",
    _ONE_SERVER: "backup failover hotkeys replicaof restore-asking slaveof",
    CLUSTER_DISABLED: "asking readonly readwrite",
    "it needs a cluster, which this pool is not: SCAN goes through the keys of all its servers": "clusterscan",
}
"""Commands that are refused for a reason that their flags do not show."""

REFUSED_CONTAINERS = {"cluster": CLUSTER_DISABLED}
"""Containers whose sub-commands are all refused, and why."""

_REFUSED_FLAGS = {"admin": _ONE_SERVER}
"""Flags, of COMMAND INFO, with which a command is refused unless its routing is in a table of this module."""

ANY_NUMBER = 2**31 - 1
"""More arguments than redis accepts."""


def _by_name(names: Mapping[_T, str]) -> dict[str, _T]:
    """The inverse of a table of space-separated names."""
    return {name: value for value, listed in names.items() for name in listed.split()}


_ROUTING_OF = _by_name(_ROUTING)
_MERGE_OF = _by_name(_MERGES)
_REFUSAL_OF = _by_name(_REFUSALS)


def _container_refusal(name: str) -> str:
    """Why the container of this sub-command refuses all of them; empty for a command, or if it does not."""
    container, bar, _ = name.partition("|")
    return REFUSED_CONTAINERS.get(container, "") if bar else ""


def _routing(name: str, info: CommandInfo) -> Routing | None:
    """The routing of a command by the tables of this module, or by its flags; None if its keys decide."""
    if name in _REFUSAL_OF or _container_refusal(name):
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
    if reason := _REFUSAL_OF.get(name) or _container_refusal(name):
        return reason
    return next((reason for flag, reason in _REFUSED_FLAGS.items() if flag in info.flags), _NO_KEY)


def _positions(info: CommandInfo) -> tuple[int, int, int]:
    """(first key, step from key to key, argument with the number of keys) by the first key specification.

    A container has the positions of its sub-commands, which all have their keys in the same place.
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
    routing = _routing(name, info)
    first_key, key_step, numkeys = (1, 0, 0) if routing == Routing.CHANNEL else _positions(info)
    arity = info.arity
    if routing is None and not first_key:
        routing = Routing.REFUSED
    elif routing is None:
        routing = Routing.COUNTED_KEYS if numkeys else Routing.KEY
        if info.subcommands:
            arity = min(arity, -1 - first_key)
    if routing not in (Routing.KEY, Routing.COUNTED_KEYS, Routing.CHANNEL, *_SPLIT):
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
        behind_keys=1 if name in _DIRECTED.split() else 0,
    )


_KEYLESS = (
    Routing.REFUSED,
    Routing.LOCAL,
    Routing.TRANSACTION,
    Routing.SUBSCRIPTION,
    Routing.BY_SUBCOMMAND,
    Routing.ANY_SERVER,
    Routing.ONLY_SERVER,
)
"""Routings of commands that neither read nor write keys, or of which only their sub-commands do."""


def class_of(command: Command) -> CommandClass:
    """The class of a command."""
    if command.routing == Routing.BLOCKING:
        return CommandClass.BLOCKING
    if command.group == "scripting":
        return CommandClass.SCRIPT
    if command.routing in _KEYLESS:
        return CommandClass.OTHER
    return CommandClass.READ if command.readonly else CommandClass.WRITE


_SPLIT = (Routing.EACH_KEY_SUM, Routing.EACH_KEY_VALUES, Routing.EACH_PAIR_STATUS)


_WITHOUT_VALUES = (
    *(Routing.LOCAL, Routing.BLOCKING, Routing.EVERY_SERVER, Routing.TRANSACTION, Routing.SUBSCRIPTION),
    Routing.BY_SUBCOMMAND,
)


def carries_no_value(command: Command) -> bool:
    """Whether the proxy decodes all of a command's arguments, none of which needs to be large.

    FUNCTION is the only container with an argument that may be large, that of FUNCTION RESTORE.
    """
    return command.routing in _WITHOUT_VALUES and command.name != "function"


def routing_table() -> "array[int]":
    """The routing of each command, by row, for compiled code.

    Commands that the proxy decodes as a whole are LOCAL; ``planning`` distinguishes them.
    """
    return array("i", [Routing.LOCAL if carries_no_value(command) else command.routing for command in COMMANDS])


def fits_arity(arity: int, arguments: int) -> bool:
    """Whether a command with this arity accepts this number of arguments with the name."""
    return arguments == arity if arity > 0 else arguments >= -arity


# Not with pathlib: its import takes longer than reading the file.
with open(os.path.join(os.path.dirname(__file__), "command_info.json"), "rb") as _file:
    COMMAND_INFO: dict[str, CommandInfo] = msgspec.json.decode(_file.read(), type=dict[str, CommandInfo])
"""The servers' own descriptions of their commands, by lower-case name, in order of name."""

COMMANDS: tuple[Command, ...] = tuple(command_row(name, info) for name, info in sorted(COMMAND_INFO.items()))
"""In order of name. A command's position is its row number in compiled code."""

BY_NAME: dict[str, int] = {command.name: row for row, command in enumerate(COMMANDS)}
"""Row number by lower-case name."""

SUBCOMMANDS: dict[str, Command] = {
    name: command_row(name, info)
    for container in sorted(COMMAND_INFO)
    for name, info in sorted(COMMAND_INFO[container].subcommands.items())
}
"""Rows of sub-commands by full name, such as ``object|encoding``; used if the container is BY_SUBCOMMAND."""

_RUN_SCRIPTS = "eval eval_ro evalsha evalsha_ro fcall fcall_ro"
"""Commands that run a script or a function; denying ``eval`` denies all of them, because each can run any script."""

_DENIABLE_CONTAINERS = ("client", "command", *_ROUTING[Routing.BY_SUBCOMMAND].split())
"""Containers whose sub-commands can be denied one by one."""


def _categories() -> dict[str, set[str]]:
    """Names by category, such as ``@scripting``; a container replaces sub-commands that cannot be denied alone."""
    members: dict[str, set[str]] = {}
    for container, info in COMMAND_INFO.items():
        for category in info.categories if container not in _ROUTING[Routing.BY_SUBCOMMAND].split() else ():
            members.setdefault(category, set()).add(container)
        for name, sub in info.subcommands.items():
            for category in sub.categories:
                members.setdefault(category, set()).add(name if container in _DENIABLE_CONTAINERS else container)
    return members


CATEGORIES: dict[str, frozenset[str]] = {name: frozenset(names) for name, names in sorted(_categories().items())}
"""The commands and sub-commands of each of the servers' own ACL categories."""


_FIXED_REPLIES = (
    "function|flush function|help function|kill function|stats script|exists script|flush script|help script|kill"
)
"""Commands about scripts with which a client cannot decide the text of their replies."""

SHAPES_REPLIES: frozenset[str] = CATEGORIES["@scripting"].difference(_FIXED_REPLIES.split())
"""Commands with which a client may decide the text of replies, line ends included; commands of modules may, too.

Scripts do. Of the others, FUNCTION LOAD, FUNCTION LIST and SCRIPT LOAD do, on redis 7.0 or valkey 9.
"""


def with_categories(names: Iterable[str]) -> frozenset[str]:
    """These names, and the names of the commands in these categories."""
    return frozenset(names).union(*(CATEGORIES.get(name, ()) for name in names))


def denied_commands(names: Iterable[str]) -> frozenset[str]:
    """All names that these names of ``deny_commands`` deny."""
    denied = with_categories(names)
    return denied.union(_RUN_SCRIPTS.split()) if "eval" in names else denied


_MORE_WITH_PERMISSION = ("client|kill", "config|get")
"""Commands that do more with permission: CLIENT KILL closes other clients, and CONFIG GET asks the servers."""

_with_permission = (*_PERMISSIONS.split(), *_MORE_WITH_PERMISSION)
_needing_permission = {*_with_permission, *(name.split("|")[0] for name in _with_permission)}

PERMITTED_BY_DIRECTIVE: tuple[str, ...] = tuple(
    sorted(
        {
            *_needing_permission,
            *(name for name, members in CATEGORIES.items() if not members.isdisjoint(_needing_permission)),
        }
    )
)
"""Names for ``allow_commands``: of commands that need permission, their containers and their categories."""

DENIED_BY_DIRECTIVE: tuple[str, ...] = tuple(
    sorted({*BY_NAME, *CATEGORIES, *(name for name in SUBCOMMANDS if name.split("|")[0] in _DENIABLE_CONTAINERS)})
)
"""Names for ``deny_commands``."""
