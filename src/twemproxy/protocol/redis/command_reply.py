"""The replies to COMMAND and its sub-commands, about the commands that are available through the proxy.

Shapes and error texts are redis's. Left out of what redis tells: refused commands, the sub-commands
of a container that name no key, and the arguments in COMMAND DOCS.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from functools import cache, partial
from typing import NamedTuple

from twemproxy.protocol.redis.commands import COMMAND_INFO, SUBCOMMANDS, CommandInfo, KeySpec, Routing, fits_arity
from twemproxy.protocol.redis.errors import WRONG_ARITY, error_reply
from twemproxy.protocol.redis.keys import keys_of_spec, sort_keys
from twemproxy.protocol.redis.replies import array, bulk, integer, mapping, null, status

_HELP = """\
COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
(no subcommand)
    Return details about all commands.
COUNT
    Return the number of commands.
DOCS [<command-name> ...]
    Return documentation of these commands, or of all.
GETKEYS <full-command>, GETKEYSANDFLAGS <full-command>
    Return the keys of a full command, or each with its access flags.
HELP
    Print this help.
INFO [<command-name> ...]
    Return details about these commands, or about all.
LIST [FILTERBY (MODULE <module>|ACLCAT <category>|PATTERN <pattern>)]
    Return the names of the commands that match, or of all.
"""

_SPEC_FIELDS = {
    "index": ("index",),
    "keyword": ("keyword", "startfrom"),
    "range": ("lastkey", "keystep", "limit"),
    "keynum": ("keynumidx", "firstkey", "keystep"),
    "unknown": (),
}
"""What the values of a key specification's step are called, by kind of step."""

_LONGEST_PATTERN = 128
"""Characters; patterns are compiled and cached, so a client may not send one of any size."""


class Available(NamedTuple):
    """What the clients of a pool can use: commands by name, and what is refused of their sub-commands by full name.

    ``version``: of the protocol in which they are told.
    """

    commands: tuple[str, ...]
    without: frozenset[str] = frozenset()
    version: int = 2


def _set(parts: Iterable[bytes], version: int) -> bytes:
    """A set of replies; in version 2 an array."""
    listed = array(parts)
    return b"~" + listed[1:] if version == 3 else listed


def _statuses(words: Iterable[str], version: int) -> bytes:
    """A set of statuses."""
    return _set(map(status, words), version)


def _fields(fields: dict[str, bytes], version: int) -> bytes:
    """A map of names to replies."""
    return mapping(((bulk(name), value) for name, value in fields.items()), version)


def _step(step: tuple[str | int, ...], version: int) -> bytes:
    """One of the two steps of a key specification."""
    kind, values = str(step[0]), step[1:]
    encoded = [integer(value) if isinstance(value, int) else bulk(value) for value in values]
    spec = _fields(dict(zip(_SPEC_FIELDS[kind], encoded, strict=True)), version)
    return _fields({"type": bulk(kind), "spec": spec}, version)


def _key_spec(spec: KeySpec, version: int) -> bytes:
    notes = {"notes": bulk(spec.notes)} if spec.notes else {}
    steps = {"begin_search": _step(spec.begin_search, version), "find_keys": _step(spec.find_keys, version)}
    return _fields({**notes, "flags": _statuses(spec.flags, version), **steps}, version)


def _subcommands(info: CommandInfo, available: Available) -> dict[str, CommandInfo]:
    """Those available: of COMMAND the ones answered here, of another container the ones that are not refused."""
    return {
        name: sub
        for name, sub in info.subcommands.items()
        if name not in available.without
        and (SUBCOMMANDS[name].routing != Routing.REFUSED or name.removeprefix("command|") in _SUBCOMMANDS)
    }


def _find(name: str, available: Available) -> CommandInfo | None:
    """An available command, or sub-command by its full name such as ``object|encoding``."""
    container, bar, _ = name.partition("|")
    if container not in available.commands:
        return None
    info = COMMAND_INFO[container]
    return _subcommands(info, available).get(name) if bar else info


def _info(name: str, info: CommandInfo, available: Available) -> bytes:
    """An element of the reply to COMMAND INFO."""
    version = available.version
    return array(
        (
            bulk(name),
            integer(info.arity),
            _statuses(info.flags, version),
            *map(integer, info.keys),
            _statuses(info.categories, version),
            _set(map(bulk, info.tips), version),
            _set((_key_spec(spec, version) for spec in info.key_specs), version),
            array(_info(sub, details, available) for sub, details in _subcommands(info, available).items()),
        )
    )


def _docs(info: CommandInfo, available: Available) -> bytes:
    """The value of a command in the reply to COMMAND DOCS."""
    texts = {
        "summary": info.summary,
        "since": info.since,
        "group": info.group,
        "complexity": info.complexity,
    }
    fields = {field: bulk(text) for field, text in texts.items() if text}
    if info.doc_flags:
        fields["doc_flags"] = _statuses(info.doc_flags, available.version)
    if info.deprecated_since:
        fields["deprecated_since"] = bulk(info.deprecated_since)
    if info.replaced_by:
        fields["replaced_by"] = bulk(info.replaced_by)
    if subcommands := _subcommands(info, available):
        details = {sub: _docs(sub_info, available) for sub, sub_info in subcommands.items()}
        fields["subcommands"] = _fields(details, available.version)
    return _fields(fields, available.version)


def _count(arguments: Sequence[str], available: Available) -> bytes:
    if arguments:
        return error_reply(WRONG_ARITY.format(name="command|count"))
    return integer(len(available.commands))


def _help(arguments: Sequence[str], available: Available) -> bytes:
    if arguments:
        return error_reply(WRONG_ARITY.format(name="command|help"))
    return array(map(status, _HELP.splitlines()))


@cache
def _all_details(available: Available) -> bytes:
    return array(_info(name, COMMAND_INFO[name], available) for name in available.commands)


def _details(arguments: Sequence[str], available: Available) -> bytes:
    if not arguments:
        return _all_details(available)
    found = ((name, _find(name, available)) for name in map(str.lower, arguments))
    return array(null(available.version) if info is None else _info(name, info, available) for name, info in found)


@cache
def _all_documentation(available: Available) -> bytes:
    return _fields({name: _docs(COMMAND_INFO[name], available) for name in available.commands}, available.version)


def _documentation(arguments: Sequence[str], available: Available) -> bytes:
    if not arguments:
        return _all_documentation(available)
    found = {name: _find(name, available) for name in map(str.lower, arguments)}
    told = {name: _docs(info, available) for name, info in found.items() if info is not None}
    return _fields(told, available.version)


def _list(arguments: Sequence[str], available: Available) -> bytes:
    names: Iterable[str] = available.commands
    match [argument.lower() for argument in arguments]:
        case []:
            pass
        case ["filterby", "module", _]:
            names = ()
        case ["filterby", "aclcat", category]:
            names = (name for name in available.commands if f"@{category}" in COMMAND_INFO[name].categories)
        case ["filterby", "pattern", pattern] if len(pattern) <= _LONGEST_PATTERN:
            names = filter(re.compile(translate(pattern)).match, available.commands)
        case _:
            return error_reply("ERR syntax error")
    return array(map(bulk, names))


def _keys(arguments: Sequence[str], available: Available, with_flags: bool = False) -> bytes:
    """The keys of a request, for GETKEYSANDFLAGS each with the flags of the specification that finds it."""
    own_name = "command|getkeysandflags" if with_flags else "command|getkeys"
    if len(arguments) + 2 < -COMMAND_INFO["command"].subcommands[own_name].arity:
        return error_reply(WRONG_ARITY.format(name=own_name))
    info = _find(arguments[0].lower(), available)
    if info is None:
        return error_reply("ERR Invalid command specified")
    if not fits_arity(info.arity, len(arguments)):
        return error_reply("ERR Invalid number of arguments specified for command")
    subcommand = "|".join(arguments[:2]).lower()
    if subcommand in available.without:
        return error_reply("ERR Invalid command specified")
    info = info.subcommands.get(subcommand, info)
    request = [argument.encode("utf-8", "surrogateescape") for argument in arguments]
    found: list[tuple[bytes, tuple[str, ...]]]
    if arguments[0].lower() in ("sort", "sort_ro"):
        found = [(key, ("RO", "access") if i == 0 else ("OW", "update")) for i, key in enumerate(sort_keys(request)[0])]
    else:
        found = [(key, spec.flags) for spec in info.key_specs for key in keys_of_spec(spec, request)]
    if not found:
        return error_reply("ERR The command has no key arguments")
    if with_flags:
        return array(array((bulk(key), _statuses(flags, available.version))) for key, flags in found)
    return array(bulk(key) for key, _ in found)


_SUBCOMMANDS: dict[str, Callable[[Sequence[str], Available], bytes]] = {
    "count": _count,
    "docs": _documentation,
    "getkeys": _keys,
    "getkeysandflags": partial(_keys, with_flags=True),
    "help": _help,
    "info": _details,
    "list": _list,
}


def command_reply(arguments: Sequence[bytes], available: Available) -> bytes:
    """The reply to COMMAND with these arguments, the name itself not among them."""
    words = [argument.decode("utf-8", "surrogateescape") for argument in arguments]
    if not words:
        return _details((), available)
    answer = _SUBCOMMANDS.get(words[0].lower())
    if answer is None:
        return error_reply(f"ERR unknown subcommand '{words[0][:128]}'. Try COMMAND HELP.")
    return answer(words[1:], available)
