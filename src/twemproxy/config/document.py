"""The parser for the YAML of nutcracker.yml: from bytes to pools of directives, each text with its position.

The file uses a subset of YAML: one document, a mapping of pool names to mappings of directives. In each pool, exactly
one directive has a list. Flow collections, anchors, aliases, tags, YAML directives and document markers are errors.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

import yaml

_ERROR_NUMBERS: dict[type[yaml.YAMLError], int] = {
    yaml.reader.ReaderError: 2,
    yaml.scanner.ScannerError: 3,
    yaml.parser.ParserError: 4,
}
"""libyaml's number for each kind of error."""

_NO_TOKEN = "found character that cannot start any token"
"""libyaml's error text, for instance for a value that begins with @ or `."""

_REFUSED_TOKENS: dict[type[yaml.Token], tuple[str, int, str]] = {
    yaml.DocumentStartToken: ("document start", 5, "leave the --- out"),
    yaml.DocumentEndToken: ("document end", 6, "leave the ... out"),
    yaml.FlowSequenceStartToken: ("flow sequence start", 10, "begin each item's line with -, or quote the ["),
    yaml.FlowMappingStartToken: ("flow mapping start", 12, "write lines of key: value, or quote the {"),
    yaml.AliasToken: ("alias", 18, "write the value out, or quote the *"),
    yaml.AnchorToken: ("anchor", 19, "leave it out, or quote the &"),
    yaml.TagToken: ("tag", 20, "leave it out, or quote the !"),
}
"""Name, libyaml's number and advice for each token that is not allowed in the file."""

_REFUSED_DIRECTIVES = {
    "YAML": ("version directive", 3, "leave the line out"),
    "TAG": ("tag directive", 4, "leave the line out"),
}
"""The same for YAML directives, by name."""

_SECOND_LIST = "has more than one sequence directive"


class Refusal(Exception):
    """The file cannot be used. The text is the reason; line and column are its position, counted from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class Scalar(NamedTuple):
    """A text of the file, without its quotes. Line and column count from 1."""

    text: str
    line: int
    column: int

    def refusal(self, message: str) -> Refusal:
        """Return a Refusal with the position of this text."""
        return Refusal(message, self.line, self.column)


class Entry(NamedTuple):
    """A directive with its one value, or the values of its list."""

    key: Scalar
    values: list[Scalar]


class PoolEntries(NamedTuple):
    """A pool as written in the file."""

    name: Scalar
    entries: list[Entry]


def parse_document(data: bytes) -> list[PoolEntries]:
    """Return the pools of a file, in file order. Raises Refusal if the file is not YAML or has the wrong structure."""
    events = _parse(data)
    documents = [event for event in events if isinstance(event, yaml.DocumentStartEvent)]
    if len(documents) != 1:
        line, column = _place(documents[1]) if documents else (1, 1)
        raise Refusal(f"must contain only 1 document; found {len(documents)} documents", line, column)
    _refuse_tokens(data)
    return _pools(iter(events))


def _place(item: yaml.Event | yaml.Token) -> tuple[int, int]:
    return _line_and_column(item.start_mark)


def _line_and_column(mark: Any) -> tuple[int, int]:
    """Return line and column, counted from 1. ``mark``: either kind of PyYAML's marks, or None for the beginning."""
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _refuse(item: yaml.Event | yaml.Token, message: str) -> NoReturn:
    raise Refusal(message, *_place(item))


def _parse(data: bytes) -> list[yaml.Event]:
    try:
        return list(yaml.parse(data, Loader=yaml.CBaseLoader))
    except yaml.reader.ReaderError as error:
        before = data[: error.position]
        line = before.count(b"\n") + 1
        column = len(before) - before.rfind(b"\n")
        reason = error.reason
        number = _ERROR_NUMBERS[type(error)]
    except yaml.MarkedYAMLError as error:
        line, column = _line_and_column(error.problem_mark or error.context_mark)
        reason = " ".join(part for part in (error.problem, error.context) if part)
        if error.problem == _NO_TOKEN:
            text = "".join(data.decode("utf-8", "replace").split("\n")[line - 1 : line])[column - 1 :]
            reason += f": quote the {text[0]}" if text.startswith(("@", "`")) else ""
        number = _ERROR_NUMBERS[type(error)]
    raise Refusal(f"failed (err {number}) to get the next yaml document: {reason}", line, column)


def _refuse_tokens(data: bytes) -> None:
    """Raise Refusal for the first token that is not allowed in the file."""
    for token in yaml.scan(data, Loader=yaml.CBaseLoader):
        if isinstance(token, yaml.DirectiveToken):
            refused = _REFUSED_DIRECTIVES.get(token.name)
        else:
            refused = _REFUSED_TOKENS.get(type(token))
        if refused:
            kind, number, advice = refused
            _refuse(token, f"{kind} token ({number}) is disallowed: {advice}")


def _pools(events: Iterator[yaml.Event]) -> list[PoolEntries]:
    root = next(event for event in events if isinstance(event, yaml.NodeEvent))
    if isinstance(root, yaml.ScalarEvent):
        _refuse(root, 'has invalid empty "key:" at depth 0')
    if isinstance(root, yaml.SequenceStartEvent):
        _refuse(root, "has sequence at depth 0 instead of 2")
    pools = []
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if isinstance(event, yaml.MappingStartEvent):
            _refuse(event, 'has more than one "key:value" at depth 1')
        if isinstance(event, yaml.SequenceStartEvent):
            _refuse(event, "has sequence at depth 1 instead of 2")
        name = _scalar(event)
        pools.append(PoolEntries(name, _entries(name, events)))
    return pools


def _entries(name: Scalar, events: Iterator[yaml.Event]) -> list[Entry]:
    """Return the directives of the pool with this name, whose mapping comes next."""
    event = next(events)
    if isinstance(event, yaml.SequenceStartEvent):
        _refuse(event, "has sequence at depth 1 instead of 2")
    if not isinstance(event, yaml.MappingStartEvent):
        raise name.refusal('has invalid mapping "key:" at depth 1: the pool has no directives')
    entries = []
    has_list = False
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if isinstance(event, yaml.SequenceStartEvent):
            _refuse(event, _SECOND_LIST if has_list else 'has invalid "key:value" at depth 2')
        key = _scalar(event)
        event = next(events)
        if not isinstance(event, yaml.SequenceStartEvent):
            entries.append(Entry(key, [_scalar(event)]))
        elif has_list:
            _refuse(event, _SECOND_LIST)
        else:
            has_list = True
            entries.append(Entry(key, _list(events)))
    if not has_list:
        raise name.refusal("missing sequence directive at depth 2: the pool has no list of servers")
    return entries


def _list(events: Iterator[yaml.Event]) -> list[Scalar]:
    """Return the items of a list whose start is already consumed."""
    values = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        if isinstance(event, yaml.SequenceStartEvent):
            _refuse(event, _SECOND_LIST)
        values.append(_scalar(event))
    return values


def _scalar(event: yaml.Event) -> Scalar:
    """Return the text of a scalar. Raises Refusal for a mapping, the only other event, because callers handle lists."""
    if not isinstance(event, yaml.ScalarEvent):
        _refuse(event, "has a depth greater than 2")
    return Scalar(event.value, *_place(event))
