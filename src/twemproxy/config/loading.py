"""Loads nutcracker.yml: from a path to a checked ``Config``, or to all errors.

The checks have nutcracker's order: the form of the document, directives in file order, each pool as a whole,
duplicates. So the first error that is found is nutcracker's. An error in the form of the document ends the checks. Any
other error does not, but nothing is said about what depends on a value that is not valid.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from twemproxy.config.addresses import AddressError, parse_listen, parse_server, resolve_listen
from twemproxy.config.capacity import shortage
from twemproxy.config.directives import BY_NAME, DIRECTIVES, Directive, Kind, closest, commands_of, default
from twemproxy.config.document import PoolEntries, Refusal, Scalar, parse_document
from twemproxy.config.numbers import parse_number
from twemproxy.config.pools import Config, ListenConfig, PoolConfig, ServerConfig
from twemproxy.config.quoting import quoted

T = TypeVar("T")

_HASH_TAG_LENGTH: Final = 2
_SHARE: Final = re.compile(r"0(\.[0-9]{1,15})?|1(\.0{1,15})?", re.ASCII)


class Problem(NamedTuple):
    """An error in the file. Line and column count from 1."""

    message: str
    """The reason, in one line."""
    line: int
    column: int


class ConfigError(Exception):
    """The file cannot be used. The text has a line for each problem: ``file:line:column: reason``."""

    def __init__(self, problems: Sequence[Problem], file: str) -> None:
        """Compose the text. ``problems``: at least one, in the order in which they were found.

        ``message``, ``line`` and ``column`` are those of the problem that was found first, which is the one that
        nutcracker reports; ``problems`` is in the order of the file. If the file could not be read, line and column are
        0, and the text is the message alone.
        """
        self.message, self.line, self.column = problems[0]
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        self.file = file
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return the lines of the text."""
        return [
            f"{self.file}:{problem.line}:{problem.column}: {problem.message}" if problem.line else problem.message
            for problem in self.problems
        ]


class _Pool(NamedTuple):
    """A pool with its parsed directives, and their positions for errors."""

    name: Scalar
    values: dict[str, Any]
    """Value by name, of each given directive except ``servers``."""
    places: dict[str, Scalar]
    """The value of each given directive as written in the file, by name; of ``servers``, the first entry."""
    servers: list[tuple[ServerConfig, Scalar]]
    invalid: set[str]
    """The names of directives with a value that is not valid, or with a misspelt name."""

    @property
    def title(self) -> str:
        """The beginning of the text of an error in this pool."""
        return f"pool {quoted(self.name.text)}:"


def load(path: str, *, resolve: bool = True, workers: int = 1) -> Config:
    """Return the configuration in a file. Raises ConfigError.

    ``resolve``: whether each ``listen`` host is resolved as a check, which may block. ``workers``: how many workers
    serve it, at least 1.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        problem = Problem(f"failed to open configuration '{path}': {error.strerror}", 0, 0)
        raise ConfigError([problem], path) from error
    return loads(data, path, resolve=resolve, workers=workers)


def loads(data: bytes, file: str, *, resolve: bool = True, workers: int = 1) -> Config:
    """Return the configuration in the bytes of a file, as ``load`` does. ``file``: the name of the file in errors."""
    try:
        written = parse_document(data)
    except Refusal as error:
        raise ConfigError([_problem(error)], file) from error
    refusals: list[Refusal] = []
    pools = [_parse_pool(entries, refusals, resolve) for entries in written]
    for pool in pools:
        refusals += _errors_of_pool(pool, workers)
    refusals += _duplicates(pools)
    if refusals:
        raise ConfigError([_problem(refusal) for refusal in refusals], file)
    return Config(pools=tuple(sorted(map(_configured, pools), key=lambda pool: _rank(pool.name))))


def _problem(refusal: Refusal) -> Problem:
    return Problem(str(refusal), refusal.line, refusal.column)


def _rank(name: str) -> tuple[int, bytes]:
    """Return the sort key of pools and servers: shorter names first, then in the order of their bytes."""
    encoded = name.encode()
    return len(encoded), encoded


def _parse_pool(written: PoolEntries, refusals: list[Refusal], resolve: bool) -> _Pool:
    """Parse the directives of a pool, in file order, and append what is wrong to ``refusals``."""
    pool = _Pool(written.name, {}, {}, [], set())
    if not pool.name.text:
        refusals.append(pool.name.refusal("pool name is empty"))
    for key, values in written.entries:
        directive = BY_NAME.get(key.text)
        if directive is None:
            refusals.append(key.refusal(f"{pool.title} {_unknown(key.text)}"))
            pool.invalid.add(closest(key.text, tuple(BY_NAME)) or "")
            continue
        for value in values:
            try:
                _enter(pool, directive, value)
                if resolve and directive.kind == "listen":
                    resolve_listen(pool.values[directive.name].address)
            except ValueError as error:
                pool.invalid.add(directive.name)
                refusals.append(value.refusal(f'{pool.title} directive "{directive.name}" {error}'))
    return pool


def _unknown(name: str) -> str:
    if not name:
        return "directive name is empty"
    return f"directive {quoted(name)} is unknown{_suggestion(name, tuple(BY_NAME))}"


def _suggestion(word: str, known: tuple[str, ...]) -> str:
    meant = closest(word, known)
    return f', did you mean "{meant}"?' if meant else ""


def _enter(pool: _Pool, directive: Directive, value: Scalar) -> None:
    """Parse a value and add it to the pool. Raises ValueError with the reason if the value is not valid."""
    if not value.text:
        raise ValueError("is empty")
    first = pool.places.get(directive.name)
    if first and directive.kind != "servers":
        raise ValueError(f"is a duplicate, first on line {first.line}")
    parsed = _PARSERS[directive.kind](directive, value.text)
    pool.places.setdefault(directive.name, value)
    if directive.kind == "servers":
        pool.servers.append((parsed, value))
    else:
        pool.values[directive.name] = parsed


def _parse_listen(_: Directive, text: str) -> ListenConfig:
    return _with_text(parse_listen, text)


def _parse_server(_: Directive, text: str) -> ServerConfig:
    return _with_text(parse_server, text)


def _with_text(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except AddressError as error:
        raise AddressError(f"{error}: {quoted(text)}") from error


def _parse_choice(directive: Directive, text: str) -> str:
    if text not in directive.choices:
        suggestion = _suggestion(text, directive.choices)
        raise ValueError(f"is not a valid {directive.kind}: {quoted(text)}{suggestion}")
    return text


def _parse_commands(_: Directive, text: str) -> tuple[str, ...]:
    """Return the words, each once. The pool's protocol decides which are valid, see ``_check_commands``."""
    return tuple(dict.fromkeys(text.split()))


_NEEDED = {
    "health_check_interval": "auto_eject_hosts",
    "on_server_down": "auto_eject_hosts",
    "probe_successes": "auto_eject_hosts",
    "tcpkeepalive_count": "tcpkeepalive",
    "tcpkeepalive_idle": "tcpkeepalive",
    "tcpkeepalive_interval": "tcpkeepalive",
}
"""Directives that are refused unless another directive is true, because they have no effect without it."""

_FEW = 10
_MARKED = "docs/commands.md marks the commands that need it"


def _errors_of_commands(pool: _Pool, protocol: str) -> Iterator[Refusal]:
    """Yield the commands that a directive cannot name in a pool of this protocol."""
    for name in ("allow_commands", "deny_commands"):
        words = pool.values.get(name, ())
        known = commands_of(name, protocol) if words else ()
        for word in words:
            if known and word not in known:
                reason = "does not exist"
                if name == "allow_commands":
                    few = f"the commands that need it are: {', '.join(known)}" if len(known) < _FEW else _MARKED
                    reason = f"needs no permission or does not exist; {few}"
                place = pool.places[name]
                text = f"names {quoted(word)}, which {reason}{_suggestion(word, known)}"
                yield place.refusal(f'{pool.title} directive "{name}" {text}')


def _parse_hash_tag(_: Directive, text: str) -> str:
    if len(text.encode()) != _HASH_TAG_LENGTH:
        raise ValueError(f"is not a valid hash tag string with two characters: {quoted(text)}")
    return text


def _parse_boolean(_: Directive, text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f'is not "true" or "false": {quoted(text)}')
    return text == "true"


def _parse_number(directive: Directive, text: str) -> int:
    number = parse_number(text)
    if number is None:
        raise ValueError(f"is not a number: {quoted(text)}")
    if number < directive.minimum:
        raise ValueError(f"cannot be {number}")
    if number > directive.maximum:
        raise ValueError(f"is not a number up to {directive.maximum}: {quoted(text)}")
    return number


def _parse_share(_: Directive, text: str) -> float:
    if _SHARE.fullmatch(text) is None:
        raise ValueError(f"is not a number from 0 to 1, such as 0.01: {quoted(text)}")
    return float(text)


_PARSERS: dict[Kind, Callable[[Directive, str], Any]] = {
    "listen": _parse_listen,
    "servers": _parse_server,
    "hash": _parse_choice,
    "distribution": _parse_choice,
    "hash tag": _parse_hash_tag,
    "policy": _parse_choice,
    "commands": _parse_commands,
    "string": lambda _, text: text,
    "boolean": _parse_boolean,
    "number": _parse_number,
    "share": _parse_share,
}
"""The parser for each kind of directive: it returns the value of a text, or raises ValueError with the reason."""


def _errors_of_pool(pool: _Pool, workers: int) -> Iterator[Refusal]:
    """Yield what a pool lacks, and which of its directives contradict each other, with this number of workers."""
    protocol = "redis" if pool.values.get("redis") else "memcached"
    other = "memcached" if protocol == "redis" else "redis"
    is_protocol_known = "redis" not in pool.invalid
    for directive in DIRECTIVES:
        name = directive.name
        if directive.required and directive.kind != "servers" and name not in pool.places and name not in pool.invalid:
            yield pool.name.refusal(f'{pool.title} directive "{name}" is missing')
        if directive.protocol == f"{other} only" and name in pool.places and is_protocol_known:
            yield pool.places[name].refusal(f'{pool.title} directive "{name}" is only valid for a {other} pool')
    if is_protocol_known:
        yield from _errors_of_commands(pool, protocol)
    if 1 < pool.values.get("databases", 1) <= pool.values.get("redis_db", 0):
        yield pool.places["redis_db"].refusal(
            f'{pool.title} directive "redis_db" is {pool.values["redis_db"]}, but "databases" is'
            f" {pool.values['databases']}: databases are counted from 0"
        )
    if not pool.invalid & {"max_backend_connections", "server_connections"}:
        connections = pool.values.get("server_connections", default(BY_NAME["server_connections"]))
        if reason := shortage(pool.values.get("max_backend_connections", 0), connections, workers):
            yield pool.places["max_backend_connections"].refusal(f"{pool.title} directive {reason}")
    for name, needed in _NEEDED.items():
        if name in pool.places and not pool.values.get(needed) and needed not in pool.invalid:
            yield pool.places[name].refusal(f'{pool.title} directive "{name}" needs "{needed}: true"')
    if not pool.servers and "servers" not in pool.invalid:
        yield pool.name.refusal(f"{pool.title} has no servers")
    first: dict[str, Scalar] = {}
    for server, place in pool.servers:
        earlier = first.setdefault(server.name, place)
        if earlier is not place:
            name = quoted(server.name)
            yield place.refusal(f"{pool.title} has servers with same name {name}, first on line {earlier.line}")


def _configured(pool: _Pool) -> PoolConfig:
    """Return the configuration of a pool without errors."""
    servers = sorted((server for server, _ in pool.servers), key=lambda server: _rank(server.name))
    if "redis_db" in pool.values:
        # Clients of this pool can use only this database, unless the file sets ``databases``.
        pool.values.setdefault("databases", 1)
    return PoolConfig(name=pool.name.text, servers=tuple(servers), **pool.values)


def _duplicates(pools: list[_Pool]) -> Iterator[Refusal]:
    """Yield the pools that have the ``listen`` text of an earlier pool, then those that have its name."""
    by_listen: dict[str, _Pool] = {}
    for pool in pools:
        place = pool.places.get("listen")
        if place is None:
            continue
        other = by_listen.setdefault(place.text, pool)
        if other is not pool:
            names = f"{quoted(other.name.text)} and {quoted(pool.name.text)}"
            line = other.places["listen"].line
            yield place.refusal(
                f"pools {names} have the same listen address {quoted(place.text)}, first on line {line}"
            )
    by_name: dict[str, _Pool] = {}
    for pool in pools:
        other = by_name.setdefault(pool.name.text, pool)
        if other is not pool and pool.name.text:
            name = quoted(pool.name.text)
            yield pool.name.refusal(f"has pools with same name {name}, first on line {other.name.line}")
