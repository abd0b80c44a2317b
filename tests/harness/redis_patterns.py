"""Patterns of redis commands, and random commands made from them.

A pattern is a command in the notation of redis's own manual: ``a|b`` one of these words, ``[x / y]`` one of these or
nothing, ``(x)+`` several times, and ``<...>`` a random argument (``_ARGUMENTS``) or a key:

- ``<s>``: a key of the type with this letter (``KINDS``), sometimes of another type. All keys of a command are on one
  server; a command's only key may be on any server;
- ``<*s>``: a key on any server, whatever other keys the command has;
- ``<any>``, ``<*any>``: a key of any type; ``<same>``: a key of the same type as the command's other ``<same>`` keys;
- ``<ls>``, ``<ts>``, ``<zs>``: a number of keys, then the keys. ``@2`` is a number of keys that the pattern itself
  lists.
"""

import random
import re
from collections.abc import Callable

PLACES = [[b"{a}", b"{a}", b"\x00\r\n{a}"], [b"{b}", b"{b}", b"{b}{a}"], [b"{g}", b"{g}", b"x{g}y}"]]
"""Prefixes of keys in three groups, one for each of three servers when the hash tag is ``{}``."""

LONELY = [b"", b"", b"{}", b"{a", b"}a{", b"\xff\xfe ", b"*1\r\n$4\r\nPING\r\n"]
"""Prefixes of keys whose server depends on the whole key."""

_ANY_KINDS = "snwhltzxgp"
KINDS = _ANY_KINDS + "qj"
"""Strings, numbers, words, hashes, lists, sets, sorted sets, streams, geo, hyperloglogs.

Keys of two types never change their type: q are sorted sets with one score, j are lists.
"""

_OTHER_KINDS = "nhltx"

WORDS = ["ohmytext", "mynewtext", "", "text", "aaaabbbb"]
VALUES = [
    *(b"0", b"1", b"10", b"-7", b"3.5", b"text", b"text", b"another text", b"", b"\r\n", b"\x00", b"$-1\r\n"),
    *(b"*1\r\n$4\r\nPING\r\n", b"+OK\r\n", b"-ERR forged\r\n", "clé".encode(), bytes(range(256)), b"'quoted\" \\x41"),
]
LARGE_VALUES = [b"x" * 100, b"y" * 600, b"z\r\n" * 1700, b"w" * 20000]
PAYLOADS = [
    b"\x00\x05hello\n\x00cr\xdfve4 \n",
    b"\x12\x01\x02\x10\x10\x00\x00\x00\x03\x00\x81a\x02\x81b\x02\x81c\x02\xff\n\x00\xc8\x18\xb9\x0c\x953R\x9e",
    b"\x11\x11\x11\x00\x00\x00\x04\x00\x81a\x02\x01\x01\x81b\x02\x02\x01\xff\n\x00\xba\x07\xf2$\xa9\xd2\x8fU",
    b"\x0b\x0e\x02\x00\x00\x00\x03\x00\x00\x00\x01\x00\x02\x00\x03\x00\n\x00\xa5\x02\\\xe2mnM\x1b",
    b"\x10\r\r\x00\x00\x00\x02\x00\x81f\x02\x81v\x02\xff\n\x00 \xf1=D#T\x08\x9d",
    b"\x00\x05hello\n\x00cr\xdfve4 \x00",
    b"",
]
"""Replies to DUMP by redis 7.0 for a string, a list, a sorted set, a set and a hash; and two broken payloads."""

SCRIPTS = [
    "return 1",
    "return KEYS[1]",
    "return {KEYS[1],ARGV[1],{1,2,{3}},false,true,3.99,'x'}",
    "return redis.call('type',KEYS[1])",
    "return redis.call('set',KEYS[1],ARGV[1])",
    "return redis.pcall('get',KEYS[1])",
    "return redis.call('get',KEYS[1])",
    "return redis.call('lrange',KEYS[1],0,-1)",
    "return redis.call('rpoplpush',KEYS[1],KEYS[2])",
    "return redis.status_reply('FINE')",
    "return redis.error_reply('MY error')",
    "return redis.error_reply('no line\\r\\nends')",
    "redis.setresp(3); return redis.call('hgetall',KEYS[1])",
    "redis.setresp(3); return {double=3.5}",
    "redis.setresp(3); return {map={a=1}}",
    "redis.setresp(3); return {redis.call('zscore',KEYS[1],'m1'),true,false}",
    "return redis.call('nosuch',KEYS[1])",
    "error('out')",
    "return tonumber(ARGV[1])",
    "return",
    "this is no lua",
    "#!lua flags=no-writes\nreturn redis.call('del',KEYS[1])",
    "return string.rep('x',9000)",
]


class Fixed(bytes):
    """An argument that is never replaced by a broken one."""


class Key(Fixed):
    """A key, which must not move to another server."""


class Count(Fixed):
    """An argument with the number of keys that follow."""


_Words = Callable[[random.Random], bytes | list[bytes]]

_ARGUMENTS: dict[str, _Words] = {
    "v": lambda source: source.choice(LARGE_VALUES if source.random() < 0.1 else VALUES),
    "word": lambda source: source.choice(WORDS).encode(),
    "i": lambda source: b"%d" % source.choice([0, 0, 1, 1, 2, 3, 5, 9, -1, -1, -2, -3, 99]),
    "f": lambda source: source.choice([b"0.1", b"1.5", b"-2.25", b"3", b"5e3", b"1e400"]),
    "offset": lambda source: source.choice([b"0", b"1", b"7", b"8", b"33", b"999"]),
    "wait": lambda source: Fixed(source.choice([b"0.01", b"0.01", b"0.01", b"0.001", b"-1", b"x"])),
    "channel": lambda source: source.choice([b"news", b"news", b"sport", b"{a}", b"", b"\x00\r\n"]),
    "glob": lambda source: source.choice([b"n*", b"*", b"s?ort", b"nosuch*"]),
    "zero": lambda source: Fixed(b"0"),
    "seconds": lambda source: source.choice([b"100000", b"200000"]),
    "when": lambda source: source.choice([b"9999999999", b"9999999999", b"9888888888"]),
    "field": lambda source: source.choice([b"f0", b"f1", b"f2", b"f3", b"", b"\r\n", b"\x00\xff", b"g" * 100]),
    "member": lambda source: source.choice([b"m0", b"m1", b"m2", b"m3", b"7", b"", b"\r\n", b"\xff\x00", b"n" * 100]),
    "score": lambda source: source.choice([b"0", b"1", b"2", b"-1.5", b"1e5", b"inf", b"-inf", b"0.1"]),
    "bound": lambda source: source.choice([b"-inf", b"+inf", b"0", b"(1", b"2", b"(-1.5", b"1e3"]),
    "lex": lambda source: source.choice([b"-", b"+", b"[a", b"(b", b"[m1", b"(\xff"]),
    "id": lambda source: b"%d-%d" % (source.randrange(1, 12), source.randrange(3)),
    "next": lambda source: b"%d-*" % source.randrange(5, 15),
    "group": lambda source: source.choice([b"g0", b"g0", b"g0", b"g1", b"\r\n"]),
    "consumer": lambda source: source.choice([b"c0", b"c0", b"c1", b"c\r\n"]),
    "place": lambda source: source.choice(
        [[b"13.361389", b"38.115556"], [b"15.087269", b"37.502669"], [b"2.3", b"48.8"]]
    ),
    "payload": lambda source: source.choice(PAYLOADS),
    "script": lambda source: source.choice(SCRIPTS).encode(),
    "pattern": lambda source: source.choice([b"{a}h0->f*", b"{a}n*", b"n*", b"*", b"#", b"{b}s*", b"nosuch"]),
}
_REPEATED = re.compile(r"\(([^()]*)\)\+")
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_ARGUMENT = re.compile(r"<([^>]+)>")


def _choose(source: random.Random, word: str) -> str:
    return source.choice(word.split("|"))


def _structure(source: random.Random, pattern: str) -> list[str]:
    """The words of a pattern after its repetitions, options and alternatives have been chosen."""
    pattern = _REPEATED.sub(lambda found: " ".join([found[1]] * source.choice([1, 1, 2, 3, 5])), pattern)
    pattern = _OPTIONAL.sub(lambda found: source.choice(found[1].split(" / ")) * (source.random() < 0.5), pattern)
    return [_choose(source, word) for word in pattern.split()]


def _key(source: random.Random, kind: str, beginnings: list[bytes]) -> Key:
    if kind == "any":
        kind = source.choice(_ANY_KINDS)
    elif kind != "j" and source.random() < 0.06:
        kind = source.choice(_OTHER_KINDS)
    return Key(source.choice(beginnings) + kind.encode() + source.choice([b"0", b"0", b"1"]))


def _is_key(name: str) -> bool:
    return name.removeprefix("*") in KINDS or name in ("any", "*any", "same")


def expand(source: random.Random, pattern: str, home: list[bytes] | None = None) -> list[bytes]:
    """The words of a random command of this pattern. ``home``: the entry of PLACES from which all keys are taken."""
    written = _structure(source, pattern)
    names = [found[1] for word in written if (found := _ARGUMENT.search(word))]
    alone = sum(_is_key(name) or name in ("ls", "ts", "zs") for name in names) == 1
    place = home or source.choice(PLACES)
    anywhere = home or [beginning for beginnings in [*PLACES, LONELY] for beginning in beginnings]
    same = source.choice("shltzx")
    words: list[bytes] = []
    for word in written:
        found = _ARGUMENT.search(word)
        if word.startswith("@"):
            words.append(Count(word[1:].encode()))
        elif found is None:
            words.append(word.encode())
        elif found[1].startswith("*"):
            words.append(_key(source, found[1][1:], anywhere if source.random() < 0.5 else place))
        elif found[1] == "same":
            words.append(_key(source, same, place))
        elif _is_key(found[1]):
            words.append(_key(source, found[1], anywhere if alone and source.random() < 0.4 else place))
        elif found[1] in ("ls", "ts", "zs"):
            count = source.choice([1, 2, 2, 3])
            words.append(Count(b"%d" % count))
            words += [_key(source, found[1][0], place) for _ in range(count)]
        else:
            made = _ARGUMENTS[found[1]](source)
            before, after = word[: found.start()].encode(), word[found.end() :].encode()
            if isinstance(made, list):
                words += made
            else:
                words.append(made if word == found[0] else before + made + after)
    return words
