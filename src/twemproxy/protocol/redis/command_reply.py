"""The replies to COMMAND and its sub-commands, about the commands that are available through the proxy.

Formats and error texts are redis's. Left out are refused commands, a container's sub-commands without keys, and the
arguments in COMMAND DOCS.
"""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from fnmatch import translate
from functools import cache, partial
from typing import NamedTuple

from twemproxy.protocol.plan import Answer
from twemproxy.protocol.redis.commands import COMMAND_INFO, SUBCOMMANDS, CommandInfo, KeySpec, Routing, fits_arity
from twemproxy.protocol.redis.connection_commands import CLIENT_SUBCOMMANDS
from twemproxy.protocol.redis.errors import WRONG_ARITY, error_reply
from twemproxy.protocol.redis.inline import count_arguments, decode_some
from twemproxy.protocol.redis.keys import keys_of_spec, sort_keys
from twemproxy.protocol.redis.resp_encoder import array, bulk, integer, mapping, null, status

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
"""The names of the values in a key specification's step, by kind of step."""

_NAMES_A_STEP = 32

_LONGEST_PATTERN = 128
"""Most characters of a pattern; patterns are compiled and cached, so they must not be of any size."""


_ARGUMENTS_PER_STEP, _KEYS_PER_STEP = 500, 100
"""For GETKEYS: arguments that a step decodes, and keys that a step writes."""


class Available(NamedTuple):
    """The commands that clients of a pool can use, by name. ``without``: refused sub-commands, by full name.

    ``version``: the version of the protocol for the reply.
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
    """The available sub-commands: of CLIENT and COMMAND those that the proxy answers, of others those not refused."""
    return {
        name: sub
        for name, sub in info.subcommands.items()
        if name not in available.without and (SUBCOMMANDS[name].routing != Routing.REFUSED or name in _ANSWERED)
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


@cache
def _all_documentation(available: Available) -> bytes:
    return _fields({name: _docs(COMMAND_INFO[name], available) for name in available.commands}, available.version)


@cache
def _encoded(available: Available, encode: Callable[[str, CommandInfo, Available], bytes]) -> dict[bytes, bytes]:
    """A cache of the results of ``encode``, by lower-case name; at most one per available command."""
    return {}


def _told(
    name: bytes, encode: Callable[[str, CommandInfo, Available], bytes], known: dict[bytes, bytes], available: Available
) -> bytes | None:
    """The encoded description of the command with this lower-case name; None without such a command."""
    if name not in known:
        word = name.decode("utf-8", "surrogateescape")
        if word not in COMMAND_INFO and word not in SUBCOMMANDS:
            return None
        info = _find(word, available)
        known[name] = b"" if info is None else encode(word, info, available)
    return known[name] or None


def _names(request: bytes) -> Iterator[list[bytes]]:
    """The arguments of COMMAND INFO or COMMAND DOCS, in lower case, a few at a time."""
    _, at = decode_some(request, 0, 2, 0)
    while True:
        names, at = decode_some(request, at, _NAMES_A_STEP)
        if not names:
            return
        yield [name.lower() for name in names]


def _details(request: bytes, available: Available) -> Generator[bytes | None, None, Answer]:
    """COMMAND INFO [name ...]."""
    count = count_arguments(request) - 2
    if not count:
        return Answer(_all_details(available))
    known, unknown = _encoded(available, _info), null(available.version)
    yield b"*%d\r\n" % count
    for names in _names(request):
        yield b"".join([_told(name, _info, known, available) or unknown for name in names])
    return Answer(b"")


def _documentation(request: bytes, available: Available) -> Generator[bytes | None, None, Answer]:
    """COMMAND DOCS [name ...]."""
    if count_arguments(request) == 2:
        return Answer(_all_documentation(available))
    known = _encoded(available, _named_docs)
    found: dict[bytes, bytes] = {}
    for names in _names(request):
        for name in names:
            if told := _told(name, _named_docs, known, available):
                found[name] = told
        yield b""
    return Answer(mapping(((bulk(name), told) for name, told in found.items()), available.version))


def _named_docs(name: str, info: CommandInfo, available: Available) -> bytes:
    return _docs(info, available)


def _with_subcommands(available: Available) -> Iterator[tuple[str, CommandInfo]]:
    """All available commands by name, and their sub-commands by full name."""
    for name in available.commands:
        info = COMMAND_INFO[name]
        yield name, info
        yield from _subcommands(info, available).items()


def _list(arguments: Sequence[str], available: Available) -> bytes:
    every = _with_subcommands(available)
    match [argument.lower() for argument in arguments]:
        case []:
            names = [name for name, _ in every]
        case ["filterby", "module", _]:
            names = []
        case ["filterby", "aclcat", category]:
            names = [name for name, info in every if f"@{category}" in info.categories]
        case ["filterby", "pattern", pattern] if len(pattern) <= _LONGEST_PATTERN:
            matches = re.compile(translate(pattern)).match
            names = [name for name, _ in every if matches(name)]
        case _:
            return error_reply("ERR syntax error")
    return array(map(bulk, names))


def _keys(request: bytes, available: Available, with_flags: bool = False) -> Generator[bytes | None, None, Answer]:
    """The keys of a request; for GETKEYSANDFLAGS each with the flags of its key specification."""
    arguments: list[bytes] = []
    at = 0
    while True:
        words, at = decode_some(request, at, _ARGUMENTS_PER_STEP)
        if not words:
            break
        arguments += words
        yield b""
    arguments = arguments[2:]
    own_name = "command|getkeysandflags" if with_flags else "command|getkeys"
    if len(arguments) + 2 < -COMMAND_INFO["command"].subcommands[own_name].arity:
        return Answer(error_reply(WRONG_ARITY.format(name=own_name)))
    first = [word.decode("utf-8", "surrogateescape").lower() for word in arguments[:2]]
    info = _find(first[0], available)
    subcommand = "|".join(first)
    if info is None or subcommand in available.without:
        return Answer(error_reply("ERR Invalid command specified"))
    info = info.subcommands.get(subcommand, info)
    if all("not_key" in spec.flags for spec in info.key_specs):
        return Answer(error_reply("ERR The command has no key arguments"))
    if not fits_arity(info.arity, len(arguments)):
        return Answer(error_reply("ERR Invalid number of arguments specified for command"))
    found = _found_keys(first[0], info, arguments)
    total = sum(len(keys) for keys, _ in found)
    lacks_keys = not total or any(
        spec.find_keys[0] == "keynum" and not keys_of_spec(spec, arguments) for spec in info.key_specs
    )
    if lacks_keys and "no_mandatory_keys" not in info.flags:
        return Answer(error_reply("ERR Invalid arguments specified for command"))
    yield b"*%d\r\n" % total
    for keys, flags in found:
        told = _statuses(flags, available.version)
        for at in range(0, len(keys), _KEYS_PER_STEP):
            piece = map(bulk, keys[at : at + _KEYS_PER_STEP])
            yield b"".join([array((key, told)) for key in piece] if with_flags else piece)
    return Answer(b"")


def _found_keys(name: str, info: CommandInfo, arguments: list[bytes]) -> list[tuple[list[bytes], tuple[str, ...]]]:
    """The keys of each key specification, with its flags."""
    if name == "sort":
        keys, _ = sort_keys(arguments)
        return [(keys[:1], ("RO", "access")), (keys[1:], ("OW", "update"))]
    if name in ("set", "bitfield"):
        return [(arguments[1:2], _set_flags(arguments) if name == "set" else _bitfield_flags(arguments))]
    specs = [spec for spec in info.key_specs if "not_key" not in spec.flags]
    return [(keys_of_spec(spec, arguments), spec.flags) for spec in specs]


def _set_flags(arguments: list[bytes]) -> tuple[str, ...]:
    """The flags of the key of SET, which depend on its options."""
    reads = any(option.lower() == b"get" for option in arguments[3:])
    return ("RW", "access", "update") if reads else ("OW", "update")


def _bitfield_flags(arguments: list[bytes]) -> tuple[str, ...]:
    """The flags of the key of BITFIELD, which depend on its operations."""
    at = 2
    while at < len(arguments):
        length = {b"get": 3, b"overflow": 2}.get(arguments[at].lower(), 0)
        if not length or at + length > len(arguments):
            return ("RW", "access", "update")
        at += length
    return ("RO", "access")


_SUBCOMMANDS: dict[str, Callable[[Sequence[str], Available], bytes]] = {
    "count": _count,
    "help": _help,
    "list": _list,
}


IN_STEPS: dict[str, Callable[[bytes, Available], Generator[bytes | None, None, Answer]]] = {
    "docs": _documentation,
    "getkeys": _keys,
    "getkeysandflags": partial(_keys, with_flags=True),
    "info": _details,
}
"""Sub-commands that can take long, and their functions for whole requests; see ``protocol.plan.Steps``."""

_ANSWERED = frozenset((*CLIENT_SUBCOMMANDS, *(f"command|{name}" for name in (*_SUBCOMMANDS, *IN_STEPS))))
"""Full names of sub-commands that the proxy answers."""


def command_reply(arguments: Sequence[bytes], available: Available) -> bytes:
    """The reply to COMMAND with these arguments, without the name; not for sub-commands in IN_STEPS."""
    words = [argument.decode("utf-8", "surrogateescape") for argument in arguments]
    if not words:
        return _all_details(available)
    answer = _SUBCOMMANDS.get(words[0].lower())
    if answer is None:
        return error_reply(f"ERR unknown subcommand '{words[0][:128]}'. Try COMMAND HELP.")
    return answer(words[1:], available)
