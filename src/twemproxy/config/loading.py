"""Loads nutcracker.yml: from a path to a checked ``Config``, or to the first error.

The checks have nutcracker's order: the form of the document, directives in file order, each pool as a whole,
duplicates. Loading stops at the first error.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from twemproxy.config.addresses import AddressError, parse_listen, parse_server, resolve_listen
from twemproxy.config.directives import BY_NAME, DIRECTIVES, Directive, Kind, closest, commands_of
from twemproxy.config.document import PoolEntries, Refusal, Scalar, parse_document
from twemproxy.config.numbers import parse_number
from twemproxy.config.pools import Config, ListenConfig, PoolConfig, ServerConfig
from twemproxy.config.quoting import quoted

T = TypeVar("T")

_HASH_TAG_LENGTH: Final = 2


class ConfigError(Exception):
    """The file cannot be used. The text is one line: ``file:line:column: reason``."""

    def __init__(self, message: str, line: int, column: int, file: str) -> None:
        """Compose the text. ``line`` and ``column`` count from 1.

        If the file could not be read, both are 0, and the text is ``message`` alone.
        """
        super().__init__(f"{file}:{line}:{column}: {message}" if line else message)
        self.message = message
        self.line = line
        self.column = column
        self.file = file


class _Pool(NamedTuple):
    """A pool with its parsed directives, and their positions for errors."""

    name: Scalar
    values: dict[str, Any]
    """Value by name, of each given directive except ``servers``."""
    places: dict[str, Scalar]
    """The value of each given directive as written in the file, by name; of ``servers``, the first entry."""
    servers: list[tuple[ServerConfig, Scalar]]

    @property
    def title(self) -> str:
        """The beginning of the text of an error in this pool."""
        return f"pool {quoted(self.name.text)}:"


def load(path: str) -> Config:
    """Return the configuration in a file. Raises ConfigError.

    Each ``listen`` host is resolved as a check, which may block.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ConfigError(f"failed to open configuration '{path}': {error.strerror}", 0, 0, path) from error
    return loads(data, path)


def loads(data: bytes, file: str) -> Config:
    """Return the configuration in the bytes of a file, as ``load`` does. ``file``: the name of the file in errors."""
    try:
        pools = [_parse_pool(entries) for entries in parse_document(data)]
        configs = [_check_pool(pool) for pool in pools]
        _refuse_duplicates(pools)
    except Refusal as error:
        raise ConfigError(str(error), error.line, error.column, file) from error
    return Config(pools=tuple(sorted(configs, key=lambda pool: _rank(pool.name))))


def _rank(name: str) -> tuple[int, bytes]:
    """Return the sort key of pools and servers: shorter names first, then in the order of their bytes."""
    encoded = name.encode()
    return len(encoded), encoded


def _parse_pool(written: PoolEntries) -> _Pool:
    """Parse the directives of a pool, in file order. Raises Refusal."""
    pool = _Pool(written.name, {}, {}, [])
    if not pool.name.text:
        pool.name.refuse("pool name is empty")
    for key, values in written.entries:
        directive = BY_NAME.get(key.text)
        if directive is None:
            key.refuse(f"{pool.title} {_unknown(key.text)}")
        for value in values:
            try:
                _enter(pool, directive, value)
            except ValueError as error:
                value.refuse(f'{pool.title} directive "{directive.name}" {error}')
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
    listen = _with_text(parse_listen, text)
    resolve_listen(listen.address)
    return listen


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


def _check_commands(pool: _Pool, protocol: str) -> None:
    """Raise Refusal for a command that a directive cannot name in a pool of this protocol."""
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
                place.refuse(f'{pool.title} directive "{name}" {text}')


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
}
"""The parser for each kind of directive: it returns the value of a text, or raises ValueError with the reason."""


def _check_pool(pool: _Pool) -> PoolConfig:
    """Return the configuration of a pool, if it is complete and consistent; otherwise raise Refusal."""
    for directive in DIRECTIVES:
        if directive.required and directive.kind != "servers" and directive.name not in pool.places:
            pool.name.refuse(f'{pool.title} directive "{directive.name}" is missing')
        other = "memcached" if pool.values.get("redis") else "redis"
        if directive.protocol == f"{other} only" and directive.name in pool.places:
            pool.places[directive.name].refuse(
                f'{pool.title} directive "{directive.name}" is only valid for a {other} pool'
            )
    _check_commands(pool, "redis" if pool.values.get("redis") else "memcached")
    if 1 < pool.values.get("databases", 1) <= pool.values.get("redis_db", 0):
        pool.places["redis_db"].refuse(
            f'{pool.title} directive "redis_db" is {pool.values["redis_db"]}, but "databases" is'
            f" {pool.values['databases']}: databases are counted from 0"
        )
    for name, needed in _NEEDED.items():
        if name in pool.places and not pool.values.get(needed):
            pool.places[name].refuse(f'{pool.title} directive "{name}" needs "{needed}: true"')
    if not pool.servers:
        pool.name.refuse(f"{pool.title} has no servers")
    first: dict[str, Scalar] = {}
    for server, place in pool.servers:
        if server.name in first:
            name = quoted(server.name)
            place.refuse(f"{pool.title} has servers with same name {name}, first on line {first[server.name].line}")
        first[server.name] = place
    servers = sorted((server for server, _ in pool.servers), key=lambda server: _rank(server.name))
    if "redis_db" in pool.values:
        # Clients of this pool can use only this database, unless the file sets ``databases``.
        pool.values.setdefault("databases", 1)
    return PoolConfig(name=pool.name.text, servers=tuple(servers), **pool.values)


def _refuse_duplicates(pools: list[_Pool]) -> None:
    """Raise Refusal if two pools have the same ``listen`` text, then if two pools have the same name."""
    by_listen: dict[str, _Pool] = {}
    for pool in pools:
        place = pool.places["listen"]
        other = by_listen.setdefault(place.text, pool)
        if other is not pool:
            names = f"{quoted(other.name.text)} and {quoted(pool.name.text)}"
            line = other.places["listen"].line
            place.refuse(f"pools {names} have the same listen address {quoted(place.text)}, first on line {line}")
    by_name: dict[str, _Pool] = {}
    for pool in pools:
        other = by_name.setdefault(pool.name.text, pool)
        if other is not pool:
            name = quoted(pool.name.text)
            pool.name.refuse(f"has pools with same name {name}, first on line {other.name.line}")
