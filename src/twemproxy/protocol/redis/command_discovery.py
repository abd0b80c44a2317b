"""Commands that are not in the table, such as those of modules: a server is asked for their descriptions.

Plain Python. Descriptions are kept; that a command does not exist is kept only for a while, because a module may be
loaded.
"""

from collections import OrderedDict

from twemproxy.protocol.redis.commands import CommandInfo, KeySpec
from twemproxy.protocol.redis.inline import encode_request
from twemproxy.protocol.redis.resp_decoder import Value, parse
from twemproxy.protocol.redis.session import Client, Session

MOST_NAMES = 1000
"""Most names that are kept; a client may send any number of them."""

LONGEST_NAME = 64
FORGET_AFTER = 30_000_000
"""Microseconds for which the result that a command does not exist is kept."""

ASK_AGAIN_AFTER = 1_000_000
"""Microseconds for which an error is kept that came instead of a description."""

_NO_COMMAND = b"-ERR unknown command"

Found = CommandInfo | bytes | None
"""The result for a command: its description, None if it does not exist, or an error reply if the server sent one."""


class Lookups:
    """The commands of one pool that servers were asked for."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, Found]] = OrderedDict()
        self._waiting: dict[str, list[Client]] = {}

    def find(self, name: str, session: Session) -> tuple[bool, Found]:
        """(known, result) of a lower-case name; ``known``: whether there is a result; if not, the client is woken
        later.

        A name with a bar is never a command: servers would read it as the name of a sub-command.
        """
        if len(name) > LONGEST_NAME or not name.isascii() or not name.isprintable() or "|" in name:
            return True, None
        now = session.pool.now()
        if name in self._known:
            until, found = self._known[name]
            if isinstance(found, CommandInfo) or now < until:
                return True, found
            del self._known[name]
        waiting = self._waiting.setdefault(name, [])
        waiting.append(session.client)
        if len(waiting) == 1:

            def done(reply: bytes, answered: bool) -> None:
                found = _read(name, reply) if answered else reply
                lasts = ASK_AGAIN_AFTER if isinstance(found, bytes) else FORGET_AFTER
                self._known[name] = (session.pool.now() + lasts, found)
                if len(self._known) > MOST_NAMES:
                    self._known.popitem(last=False)
                for client in self._waiting.pop(name):
                    client.wake()

            session.pool.ask(encode_request([b"COMMAND", b"INFO", name.encode()]), done)
        return False, None


def _read(name: str, reply: bytes) -> Found:
    """The result in a reply to COMMAND INFO; an unexpected reply counts as no such command.

    A server without COMMAND counts as that, too: its own error would make no sense to the client.
    """
    if reply.startswith(b"-"):
        return None if reply.startswith(_NO_COMMAND) else reply
    try:
        match parse(reply):
            case [[*fields]]:
                return _info(fields)
    except (ValueError, IndexError, KeyError, TypeError):
        pass
    return None


def _info(fields: list[Value]) -> CommandInfo:
    """A command's element of COMMAND INFO; the last four fields are new in redis 7."""
    name, arity, flags, first, last, step, *more = fields
    if not all(isinstance(number, int) for number in (arity, first, last, step)):
        raise ValueError("no numbers")
    categories, tips, specs, subcommands = [*more, *([None] * 4)][:4]
    positions: tuple[int, int, int] = (first, last, step)  # type: ignore[assignment]
    key_specs = tuple(_spec(spec) for spec in _list(specs))
    if not key_specs and first:
        key_specs = (KeySpec(("index", positions[0]), ("range", _relative(*positions[:2]), positions[2], 0)),)
    if not all(_can_be(spec) for spec in key_specs):
        raise ValueError("keys are nowhere")
    return CommandInfo(
        summary="",
        group="module",
        arity=arity,  # type: ignore[arg-type]
        keys=positions,
        flags=_words(flags),
        categories=_words(categories),
        tips=_words(tips),
        key_specs=key_specs,
        subcommands={_text(_list(sub)[0]).lower(): _info(_list(sub)) for sub in _list(subcommands)},
        own_name=_text(name).lower(),
    )


def _can_be(spec: KeySpec) -> bool:
    """Whether a key specification can find keys."""
    match spec.begin_search:
        case ("index", int(index)) if index < 1:
            return False
    match spec.find_keys:
        case ("range", _, int(step), _) | ("keynum", _, _, int(step)) if step < 1:
            return False
        case ("keynum", int(count), int(first), _) if count < 0 or first < 0:
            return False
    return True


def _relative(first: int, last: int) -> int:
    """The position of the last key as in a key specification: from the first key, or from the end."""
    return last - first if last >= 0 else last


def _spec(spec: Value) -> KeySpec:
    fields = _fields(spec)
    return KeySpec(_step(fields["begin_search"]), _step(fields["find_keys"]), _words(fields.get("flags")))


_STEP_FIELDS = {
    "index": ("index",),
    "keyword": ("keyword", "startfrom"),
    "range": ("lastkey", "keystep", "limit"),
    "keynum": ("keynumidx", "firstkey", "keystep"),
}


def _step(step: Value) -> tuple[str | int, ...]:
    fields = _fields(step)
    kind = _text(fields["type"])
    if kind not in _STEP_FIELDS:
        return ("unknown",)
    values = _fields(fields["spec"])
    found = [values[name] for name in _STEP_FIELDS[kind]]
    return (kind, *(value if isinstance(value, int) else _text(value) for value in found))


def _list(value: Value) -> list[Value]:
    return value if isinstance(value, list) else []


def _fields(value: Value) -> dict[str, Value]:
    listed = _list(value)
    return {_text(name): field for name, field in zip(listed[::2], listed[1::2], strict=True)}


def _text(value: Value) -> str:
    if not isinstance(value, bytes):
        raise ValueError("no text")
    return value.decode("utf-8", "replace")


def _words(value: Value) -> tuple[str, ...]:
    return tuple(_text(word) for word in _list(value))
