"""Redis replies without the parts that may differ between two servers: undefined order, and elapsed time."""

import re
from collections.abc import Callable, Sequence

from harness import resp

Tree = tuple[bytes, object]
"""A reply: its first byte, and its value: a line, the bytes of a string, a list of trees, or None for a null."""

Normaliser = Callable[[bytes], object]
"""Returns the part of a reply that is compared."""

_UNORDERED = frozenset(
    b"smembers sunion sinter sdiff spop srandmember sscan".split()
    + b"hgetall hkeys hvals hrandfield hscan zrandmember zscan keys".split()
)
_TIMES = frozenset(b"ttl pttl expiretime pexpiretime httl hpttl hexpiretime hpexpiretime".split())
_FIXED_TIME = re.compile(rb"-?\d|(9999999999|9888888888)(000)?")
_UNORDERED_DUMPS = (2, 4, *range(15, 16), 19, 21, *range(22, 30))


def tree(reply: bytes) -> Tree:
    """Parse a complete reply of RESP2 or RESP3."""
    found, end = _tree(reply, 0)
    assert end == len(reply)
    return found


def _tree(reply: bytes, at: int) -> tuple[Tree, int]:
    kind = reply[at : at + 1]
    line_end = reply.index(b"\r\n", at)
    line, after = reply[at + 1 : line_end], line_end + 2
    if kind in b"+-:_#,(":
        return (kind, line), after
    if line == b"-1":
        return (kind, None), after
    length = int(line)
    if kind in b"$=!":
        return (kind, reply[after : after + length]), after + length + 2
    elements: list[Tree] = []
    for _ in range(length * (2 if kind in b"%|" else 1)):
        element, after = _tree(reply, after)
        elements.append(element)
    return (kind, elements), after


def _sorted(found: Tree) -> Tree:
    """The reply with the elements of every aggregate sorted."""
    kind, value = found
    if not isinstance(value, list):
        return found
    return kind, sorted(map(_sorted, value), key=repr)


def _masked(found: Tree) -> Tree:
    """The reply with every integer replaced."""
    kind, value = found
    if isinstance(value, list):
        return kind, [_masked(element) for element in value]
    return found if kind != b":" else (kind, b"number")


def _without_times(found: Tree) -> Tree:
    kind, value = found
    if isinstance(value, list):
        return kind, [_without_times(element) for element in value]
    if kind == b":" and isinstance(value, bytes) and not _FIXED_TIME.fullmatch(value):
        return kind, b"time"
    return found


def _pending(found: Tree) -> Tree:
    """The entries of XPENDING without the time since their delivery."""
    kind, value = found
    if not isinstance(value, list):
        return found
    return kind, [(entry, [*part[:2], *part[3:]]) if isinstance(part, list) else (entry, part) for entry, part in value]


def _dump(found: Tree) -> object:
    """A serialised value, or its length if its type has no order. Serialised streams contain times of consumers."""
    kind, value = found
    if not isinstance(value, bytes) or not value:
        return found
    if value[0] in _UNORDERED_DUMPS:
        return kind, value[0], 0 if value[0] in (15, 19, 21) else len(value)
    return found


def _hello(found: Tree) -> object:
    kind, value = found
    if not isinstance(value, list):
        return found
    return kind, value[value.index((b"$", b"proto")) + 1]


def normaliser(words: Sequence[bytes], any_error: bool = False) -> Normaliser:
    """Return the normaliser for replies to this command. With ``any_error`` all errors are equal."""
    change = _change(words)

    def normalise(reply: bytes) -> object:
        if reply.startswith(b"-"):
            return b"-" if any_error else reply
        return reply if change is None else change(tree(reply))

    return normalise


def of_several(parts: Sequence[Normaliser]) -> Normaliser:
    """Return the normaliser for an array of the replies to several commands; other replies stay as they are."""

    def normalise(reply: bytes) -> object:
        if reply[:1] != b"*" or reply == b"*-1\r\n":
            return reply
        at = reply.index(b"\n") + 1
        assert int(reply[1 : at - 2]) == len(parts), reply
        found = []
        for part in parts:
            end = resp.message_end(reply, at)
            found.append(part(reply[at:end]))
            at = end or at
        return found

    return normalise


def _change(words: Sequence[bytes]) -> Callable[[Tree], object] | None:
    name = words[0].lower()
    options = [word.upper() for word in words[1:]]
    if name in _UNORDERED:
        return _sorted
    if name in _TIMES:
        return _without_times
    if name == b"xpending" and len(words) > 3:
        return _pending
    if name == b"xinfo" and (b"CONSUMERS" in options or b"FULL" in options):
        return _masked
    if name == b"dump":
        return _dump
    if name == b"hello":
        return _hello
    if name in (b"eval", b"eval_ro") and b"hgetall" in b"".join(words[1:2]):
        return _sorted
    return None
