"""The memcached commands: how a line of each is read, where it goes, and what it is answered with.

The source of the commands is memcached's doc/protocol.txt; limits and the texts of errors are those of
memcached 1.6.18, taken from its answers. A command's position in ``COMMANDS`` is its row number in compiled code.
"""

import enum
from typing import NamedTuple

from twemproxy.protocol.memcache.errors import Problem


class Form(enum.IntEnum):
    """How the arguments of a line are read. Compiled code uses the values."""

    STORAGE = 0
    """``key flags exptime bytes``, then a data block."""
    CAS = 1
    """``key flags exptime bytes cas``, then a data block."""
    RETRIEVAL = 2
    """One or more keys."""
    RETRIEVAL_TOUCH = 3
    """``exptime``, then one or more keys."""
    ARITHMETIC = 4
    """``key delta``."""
    TOUCH = 5
    """``key exptime``."""
    DELETE = 6
    """``key``, and a 0 that older clients send."""
    META = 7
    """``key``, then flags."""
    META_SET = 8
    """``key bytes``, then flags; then a data block."""
    META_NOOP = 9
    """Nothing; the proxy answers."""
    VERSION = 10
    """Nothing; any server answers."""
    VERBOSITY = 11
    """``level``, for every server."""
    FLUSH_ALL = 12
    """An optional ``delay``, for every server."""
    STATS = 13
    """Nothing or ``servers`` for the proxy, anything else for every server."""
    QUIT = 14
    """Nothing; the connection ends."""
    REFUSED = 15
    """Not available through the proxy."""


class Word(NamedTuple):
    """A word that a line of a server begins with."""

    name: str
    follows: "Follows"


class Follows(enum.IntEnum):
    """What comes behind the word in a line of a server. Compiled code uses the values."""

    NOTHING_MORE = 0
    """The rest of the line, and the reply is complete."""
    BLOCK = 1
    """``key flags bytes``, the rest of the line and a data block; then another line."""
    LAST_BLOCK = 2
    """``bytes``, the rest of the line and a data block; then the reply is complete."""
    LINES = 3
    """The rest of the line, then another line."""


WORDS = (
    Word("ERROR", Follows.NOTHING_MORE),
    Word("CLIENT_ERROR", Follows.NOTHING_MORE),
    Word("SERVER_ERROR", Follows.NOTHING_MORE),
    Word("STORED", Follows.NOTHING_MORE),
    Word("NOT_STORED", Follows.NOTHING_MORE),
    Word("EXISTS", Follows.NOTHING_MORE),
    Word("NOT_FOUND", Follows.NOTHING_MORE),
    Word("END", Follows.NOTHING_MORE),
    Word("VALUE", Follows.BLOCK),
    Word("DELETED", Follows.NOTHING_MORE),
    Word("TOUCHED", Follows.NOTHING_MORE),
    Word("OK", Follows.NOTHING_MORE),
    Word("RESET", Follows.NOTHING_MORE),
    Word("VERSION", Follows.NOTHING_MORE),
    Word("STAT", Follows.LINES),
    Word("ITEM", Follows.LINES),
    Word("PREFIX", Follows.LINES),
    Word("HD", Follows.NOTHING_MORE),
    Word("VA", Follows.LAST_BLOCK),
    Word("EN", Follows.NOTHING_MORE),
    Word("NF", Follows.NOTHING_MORE),
    Word("NS", Follows.NOTHING_MORE),
    Word("EX", Follows.NOTHING_MORE),
    Word("ME", Follows.NOTHING_MORE),
)
"""Every word a reply may have. The three errors come first; a word's position is its bit in a mask."""

NUMBER = len(WORDS)
"""The bit of a line that begins with a digit, in place of a word."""

ERRORS = "ERROR CLIENT_ERROR SERVER_ERROR"


class ReplyKind(NamedTuple):
    """What a request can be answered with, beside errors."""

    words: str
    """Separated by spaces; ``#`` is a number."""
    nominal: str = ""
    """Those that a quiet request does without."""


REPLY_KINDS = {
    "version": ReplyKind("VERSION"),
    "storage": ReplyKind("STORED NOT_STORED EXISTS NOT_FOUND"),
    "retrieval": ReplyKind("VALUE END"),
    "arithmetic": ReplyKind("# NOT_FOUND"),
    "delete": ReplyKind("DELETED NOT_FOUND"),
    "touch": ReplyKind("TOUCHED NOT_FOUND"),
    "ok": ReplyKind("OK"),
    "stats": ReplyKind("STAT ITEM PREFIX END OK RESET"),
    "meta get": ReplyKind("HD VA EN", nominal="EN"),
    "meta set": ReplyKind("HD NS EX NF", nominal="HD"),
    "meta delete": ReplyKind("HD NF EX", nominal="HD"),
    "meta arithmetic": ReplyKind("HD VA NF NS EX", nominal="HD VA"),
    "meta debug": ReplyKind("ME EN"),
}
"""By name. A kind's position is what ``Codec.expected`` holds; the first is that of the greeting."""

KIND_NAMES = tuple(REPLY_KINDS)


def word_mask(words: str) -> int:
    """The bits of these words, separated by spaces, and of ``#`` for a number."""
    names = [word.name for word in WORDS]
    return sum(1 << (NUMBER if word == "#" else names.index(word)) for word in words.split())


class Command(NamedTuple):
    """One row of the table."""

    name: str
    form: Form
    reply: str
    """One of REPLY_KINDS; empty when no server is asked."""
    summary: str
    too_few: Problem = Problem.UNKNOWN
    """The answer to a line with too few arguments."""
    bad_flag: Problem = Problem.UNKNOWN
    """The answer to a flag given twice (meta commands)."""
    bad_key: Problem = Problem.BAD_LINE
    """The answer to a key that is no base64 (meta commands)."""
    only_reads: bool = False
    """It changes nothing on its server; mg unless it has one of META_GET_WRITING_FLAGS."""
    permission: bool = False
    """Only ``allow_commands`` makes it available."""
    refusal: str = ""
    """Why it is REFUSED, a clause about "it"; empty for the others."""


_STORE = "Stores a value under a key"
_ONE_SERVER = "it administers a single server, ask that server directly"

COMMANDS = (
    Command("get", Form.RETRIEVAL, "retrieval", "Values of keys.", only_reads=True),
    Command("gets", Form.RETRIEVAL, "retrieval", "Values of keys, each with its cas unique.", only_reads=True),
    Command("gat", Form.RETRIEVAL_TOUCH, "retrieval", "As get, and sets the time to live."),
    Command("gats", Form.RETRIEVAL_TOUCH, "retrieval", "As gets, and sets the time to live."),
    Command("set", Form.STORAGE, "storage", f"{_STORE}."),
    Command("add", Form.STORAGE, "storage", f"{_STORE} that has none."),
    Command("replace", Form.STORAGE, "storage", f"{_STORE} that has one."),
    Command("append", Form.STORAGE, "storage", "Adds to the end of a value."),
    Command("prepend", Form.STORAGE, "storage", "Adds to the beginning of a value."),
    Command("cas", Form.CAS, "storage", f"{_STORE} whose cas unique is still the given one."),
    Command("incr", Form.ARITHMETIC, "arithmetic", "Adds to a decimal value."),
    Command("decr", Form.ARITHMETIC, "arithmetic", "Subtracts from a decimal value."),
    Command("touch", Form.TOUCH, "touch", "Sets the time to live."),
    Command("delete", Form.DELETE, "delete", "Removes a key."),
    Command(
        "mg",
        Form.META,
        "meta get",
        "Value and metadata of a key.",
        only_reads=True,
        bad_flag=Problem.DUPLICATE_FLAG,
        bad_key=Problem.BAD_BASE64,
    ),
    Command(
        "ms",
        Form.META_SET,
        "meta set",
        f"{_STORE}.",
        bad_flag=Problem.DUPLICATE_FLAG,
        bad_key=Problem.BAD_BASE64,
    ),
    Command(
        "md",
        Form.META,
        "meta delete",
        "Removes a key, or marks it stale.",
        bad_flag=Problem.BAD_OR_DUPLICATE_FLAG,
        bad_key=Problem.BAD_BASE64,
    ),
    Command(
        "ma",
        Form.META,
        "meta arithmetic",
        "Adds to or subtracts from a decimal value.",
        bad_flag=Problem.BAD_OR_DUPLICATE_FLAG,
        bad_key=Problem.BAD_BASE64,
    ),
    Command(
        "me",
        Form.META,
        "meta debug",
        "Internals of a key.",
        only_reads=True,
        too_few=Problem.BAD_LINE,
        bad_flag=Problem.BAD_LINE,
        bad_key=Problem.BAD_LINE,
    ),
    Command("mn", Form.META_NOOP, "", "Answered once everything before it is."),
    Command("version", Form.VERSION, "version", "The version of a server.", only_reads=True),
    Command("verbosity", Form.VERBOSITY, "ok", "How much every server logs."),
    Command("flush_all", Form.FLUSH_ALL, "ok", "Invalidates every key on every server.", permission=True),
    Command("stats", Form.STATS, "stats", "Figures of the proxy, or of every server."),
    Command("quit", Form.QUIT, "", "Ends the connection."),
    *(
        Command(name, Form.REFUSED, "", summary, refusal=_ONE_SERVER)
        for name, summary in (
            ("cache_memlimit", "Changes a server's memory."),
            ("debugtime", "Changes a server's clock."),
            ("extstore", "Tunes a server's external storage."),
            ("lru", "Tunes a server's eviction."),
            ("lru_crawler", "Drives a server's crawler."),
            ("misbehave", "Makes a server misbehave."),
            ("refresh_certs", "Reloads a server's certificates."),
            ("shutdown", "Stops a server."),
            ("slabs", "Moves a server's memory between classes."),
            ("watch", "Streams a server's log."),
        )
    ),
)

PERMITTED_BY_DIRECTIVE = tuple(command.name for command in COMMANDS if command.permission)
"""Names that ``allow_commands`` takes."""


META_GET_WRITING_FLAGS = "NRT"
"""Flags with which mg makes an item, says who is to renew it, or sets its time to live."""

MISSES = {"get": b"END\r\n", "gets": b"END\r\n", "mg": b"EN\r\n", "me": b"EN\r\n"}
"""What a server answers to a read when it has none of the keys."""


class FlagKind(enum.IntEnum):
    """What follows the letter of a meta flag. Compiled code uses the values."""

    UNKNOWN = 0
    """There is no such flag."""
    BARE = 1
    """Nothing; anything is ignored."""
    UNSIGNED_32 = 2
    UNSIGNED_64 = 3
    SIGNED_32 = 4
    OPAQUE = 5
    """Up to 31 bytes."""
    MODE = 6
    """One letter of MODES."""


META_SET_FLAGS = {
    **dict.fromkeys("bcfhIklqstuvPL", FlagKind.BARE),
    "F": FlagKind.UNSIGNED_32,
    "C": FlagKind.UNSIGNED_64,
    "E": FlagKind.UNSIGNED_64,
    "T": FlagKind.SIGNED_32,
    "N": FlagKind.SIGNED_32,
    "R": FlagKind.SIGNED_32,
    "O": FlagKind.OPAQUE,
    "M": FlagKind.MODE,
}
"""The flags of ms. Those of other commands are left to the server; these are not, because a server that does not
like them might take the data block for commands."""

MODES = "EAPRSeaprs"
"""What flag M of ms may say: add, append, prepend, replace, set."""

MOST_KEY = 250
"""Bytes of a key, as it is written."""
MOST_LINE = 2048
"""Bytes of a line, its end included. memcached closes a connection with a longer one."""
MOST_KEYS_LINE = 16 * 1024 * 1024
"""Bytes of a line of get or gets. memcached has no limit."""
MOST_ACCEPTED = 1024 * 1024 * 1024
"""Bytes of a value. memcached cannot be told to take larger ones."""
MOST_DECLARED = 2147483645
"""Bytes of a value that memcached understands, to say that they are too many."""
