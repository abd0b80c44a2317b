"""Random memcached commands for streams: valid and broken, classic and meta, on a few keys.

These commands are left out, because the proxy deliberately answers them differently from memcached
(docs/differences.md), or because memcached's own answers vary:

- storage lines that are refused although their length is valid, and data blocks that do not fit their length:
  memcached executes the data block as commands, the proxy drops it;
- numbers with a plus sign, and flags or times of more than 32 bits, which memcached accepts; lengths of 2 GB and more;
- control bytes in keys, other than the line end;
- lines longer than 2048 bytes, which memcached refuses or not, depending on how they arrive;
- retrievals of a key that is too long: with this error memcached drops the replies to earlier requests;
- values of white space only, and numbers of 2^63 and more: when memcached increments them, it also reads the memory
  after them;
- arithmetic after retrievals in the same write: memcached pads a number that gets shorter with spaces, unless an unsent
  reply still needs the old number, so a stream has either retrievals or arithmetic;
- gat and gats without a key, which memcached answers with END;
- errors of requests with noreply, of which memcached reports some;
- ms with a wrong mode and another mistake: the proxy's error names the mode, memcached's names the other mistake;
- ma with the flags q and N: memcached suppresses its HD or VA, but not when it has created the item, and HD does not
  say whether it has;
- stats, quit and administration.
"""

import base64
import random
import re
from collections.abc import Sequence
from typing import NamedTuple

KEYS = ["k0", "k1", "k2", "k3", "clé", "x" * 250]
"""Each of three servers has some of these keys."""

UNIQUE = "<unique>"
"""Stands for the current cas unique of a command's key."""

LONG_KEYS = ["k" * 251, "y" * 400]
BAD_NUMBERS = ["x", "1x", "0x10", "1.5", "-", "18446744073709551616", "99999999999999999999"]
DELTAS = ["1", "1", "0", "7", "007", "4294967296"]
UNIQUES = [UNIQUE, UNIQUE, UNIQUE, "1", "0", "18446744073709551615"]
FLAGS = ["0", "0", "7", "00", "4294967295"]
EXPTIMES = ["0"] * 6 + ["1000", "1000", "2147483647", "-1", "2592001", "-2147483648"]
BLOCKS = [
    *(b"0", b"10", b"41", b"99", b"0", b"9", b"199", b"007", b"1000000000000", b"5 ", b"-1", b"text", b"text", b""),
    *(
        b"\r\n.",
        b"END\r\n",
        b"get k0\r\n",
        b"VALUE k0 0 1\r\nx\r\nEND\r\n",
        b"MN\r\n",
        b"7" + b" " * 40,
        bytes(range(256)),
    ),
    *(b"x" * 600, b"y" * 5000, b"z" * 12000, b"9" * 25),
]
META_FLAGS = {
    "mg": ["v", "v", "v", "k", "s", "f", "c", "t", "h", "l", "q", "O1", "Oopaque", "T1000", "N1000", "R60"],
    "ms": ["F5", "T1000", "T0", "T-1", "I", f"C{UNIQUE}", f"C{UNIQUE}", "C1", "q", "k", "c", "O1"],
    "md": ["q", "k", "O1", f"C{UNIQUE}", "C1", "I", "T30"],
    "ma": ["q", "v", "v", "k", "t", "c", "O1", "D5", "D0", "N0", "N1000", "J15", "T1000", f"C{UNIQUE}", "C1"],
}
MODES = {"ms": ["ME", "MA", "MP", "MR", "MS", "Madd", "MX"], "ma": ["MI", "MD", "M+", "M-", "Mdecr", "MX"]}
BAD_FLAGS = {
    "mg": ["Z", "Tx", "Nx", "Rx", "O" + "o" * 40],
    "ms": ["Z", "Tx", "Fx", "Cx"],
    "md": ["Z", "Tx", "Cx"],
    "ma": ["Z", "Dx", "Nx", "Jx", "D-1"],
}
ODD_LINES = [
    *("", "nosuch", "GET k0", "Set k0 0 0 1", "getx k0", "mga k0", "mg", "ms", "md", "ma", "me", "k0"),
    *("get", "gets", "gat", "set", "set k0", "set k0 0", "add k0 0 0", "cas k0 0 0", "incr", "incr k0", "touch"),
    *("touch k0", "delete", "version", "version surplus", "verbosity", "verbosity 0", "verbosity 0 surplus"),
    *("verbosity x", "verbosity noreply", "verbosity 0 noreply", "flush_all x", "flush_all 0 0 0"),
    *("flush_all", "flush_all 0", "flush_all 0 surplus", "flush_all -1", "flush_all noreply", "flush_all 0 noreply"),
]


class Command(NamedTuple):
    """A request as bytes, in which UNIQUE stands for the cas unique of ``key``."""

    request: bytes
    key: str = ""


def _line(source: random.Random, words: Sequence[str]) -> bytes:
    """Encode the words as a line: usually plain, otherwise with extra spaces or without the CR."""
    if source.random() < 0.7:
        return " ".join(words).encode() + b"\r\n"
    text = source.choice(["", " ", "  "]) + words[0]
    for word in words[1:]:
        text += source.choice([" ", " ", "  ", "   "]) + word
    return text.encode() + source.choice([b"\r\n", b"\n", b" \r\n", b"  \n"])


def _storage(source: random.Random) -> Command:
    name = source.choice(["set", "set", "set", "set", "add", "replace", "append", "prepend", "cas", "cas"])
    key, block = source.choice(KEYS), source.choice(BLOCKS)
    words = [name, key, source.choice(FLAGS), source.choice(EXPTIMES), str(len(block))]
    if name == "cas":
        words.append(source.choice(UNIQUES))
    words += source.choice([[], [], [], ["noreply"], ["surplus"]])
    return Command(_line(source, words) + block + b"\r\n", key)


def _storage_without_length(source: random.Random) -> Command:
    """A storage line with a bad length and without a data block: memcached reads the next line as a command."""
    name = source.choice(["set", "add", "cas", "append"])
    words = [name, source.choice(KEYS), "0", "0", source.choice(["x", "1x", "-1", "0x1", "1.5"])]
    return Command(_line(source, [*words, "1"] if name == "cas" else words))


def _retrieval(source: random.Random) -> Command:
    words = [source.choice(["get", "gets", "get", "gets", "gat", "gats"])]
    if words[0].startswith("gat"):
        words.append(source.choice([*EXPTIMES, *BAD_NUMBERS[:3]]))
    names = [*KEYS, *KEYS, "absent", "noreply", "0"]
    words += source.choices(names, k=source.choice([1, 1, 2, 3, 6, 12]))
    return Command(_line(source, words))


def _delete_or_touch(source: random.Random) -> Command:
    name = source.choice(["delete", "touch"])
    words = [name, source.choice([*KEYS, *KEYS, "absent", *LONG_KEYS])]
    if name == "delete":
        words += source.choice([[], [], [], ["0"], ["noreply"], ["0", "noreply"], ["1"], ["b"], ["b", "c"], ["0"] * 3])
    else:
        words += [source.choice([*EXPTIMES, *BAD_NUMBERS[:3]])]
        words += source.choice([[], [], ["surplus"], ["a", "b"]] + [["noreply"]] * words[2].isdigit())
    return Command(_line(source, words))


def _arithmetic(source: random.Random) -> Command:
    words = [source.choice(["incr", "incr", "decr"]), source.choice([*KEYS, *KEYS, *KEYS, "absent", *LONG_KEYS])]
    words += [source.choice([*DELTAS, *DELTAS, "-1", *BAD_NUMBERS])]
    words += source.choice([[], [], [], ["surplus"], ["a", "b"]] + [["noreply"]] * (words[2] in DELTAS))
    return Command(_line(source, words))


def _meta_name(source: random.Random, names: Sequence[str]) -> Command:
    """A meta command whose key is plain or in base64; some keys can only be written in base64."""
    name = source.choice(names)
    key = source.choice(KEYS if name == "ms" else [*KEYS, *KEYS, "absent", *LONG_KEYS])
    flags: list[str] = []
    if name in META_FLAGS:
        by_letter = {flag[0]: flag for flag in source.choices(META_FLAGS[name], k=source.randrange(6))}
        if name == "ma" and "N" in by_letter:
            by_letter.pop("q", None)
        flags = list(by_letter.values())
        if name in MODES and source.random() < 0.5:
            flags.append(source.choice(MODES[name]))
        elif source.random() < 0.12:
            flags.append(source.choice([*BAD_FLAGS[name], *flags]))
    written = key
    if len(key) < 150 and source.random() < 0.25:
        written = base64.b64encode(key.encode()).decode()
        if source.random() < 0.25:
            key, written = "", source.choice(["AAEC/w==", "YSBi"])
        flags.insert(source.randrange(len(flags) + 1), "b")
    if name != "ms":
        return Command(_line(source, [name, written, *flags]), key)
    block = source.choice(BLOCKS)
    return Command(_line(source, [name, written, str(len(block)), *flags]) + block + b"\r\n", key)


def _meta(source: random.Random) -> Command:
    return _meta_name(source, ["ms", "ms", "md", "me"])


def _meta_get(source: random.Random) -> Command:
    return _meta_name(source, ["mg"])


def _meta_arithmetic(source: random.Random) -> Command:
    return _meta_name(source, ["ma"])


def _odd(source: random.Random) -> Command:
    return Command(_line(source, source.choice(ODD_LINES).split(" ")))


_ANYWHERE = [*[_storage] * 5, *[_meta] * 4, *[_delete_or_touch] * 3, _storage_without_length, _odd]
_RETRIEVING = [*_ANYWHERE, *[_retrieval] * 4, *[_meta_get] * 4]
_CALCULATING = [*_ANYWHERE, *[_arithmetic] * 4, *[_meta_arithmetic] * 4]


def retrieving(count: int) -> list[Command]:
    """Return ``count`` random commands without arithmetic; the result is always the same."""
    source = random.Random(1)
    return [source.choice(_RETRIEVING)(source) for _ in range(count)]


def calculating(count: int) -> list[Command]:
    """Return ``count`` random commands without retrievals; the result is always the same."""
    source = random.Random(2)
    return [source.choice(_CALCULATING)(source) for _ in range(count)]


_UNIQUE_OF_VALUE = re.compile(rb"^(VALUE \S+ \d+ \d+) \d+\r\n", re.M)
_META_LINE = re.compile(rb"^(?:HD|VA \d+|EN|NF|NS|EX)( [^\r\n]*)\r\n", re.M)
_NUMBERS = re.compile(rb"(?<= )([ctl])\d+")
_DEBUG_LINE = re.compile(rb"^(ME [^\r\n]+) exp=-?\d+ la=\d+ cas=\d+ ", re.M)


def normalised(reply: bytes) -> bytes:
    """The reply without values that may differ between two servers: cas uniques, seconds to live and since access."""
    reply = _UNIQUE_OF_VALUE.sub(rb"\1 <unique>\r\n", reply)
    reply = _META_LINE.sub(lambda match: _NUMBERS.sub(rb"\1<number>", match[0]), reply)
    return _DEBUG_LINE.sub(rb"\1 exp, la and cas ", reply)
