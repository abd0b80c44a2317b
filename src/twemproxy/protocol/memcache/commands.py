"""The memcached commands: how a line of each is read, its route, and its replies.

The source of the commands is memcached's doc/protocol.txt; limits and error texts are those of memcached 1.6.18, taken
from its replies. A command's position in ``COMMANDS`` is its row number in compiled code.
"""

import enum
from typing import NamedTuple

from twemproxy.protocol.command_classes import CommandClass
from twemproxy.protocol.memcache.errors import Problem


class Form(enum.IntEnum):
    """The arguments of a line. Compiled code uses the values."""

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
    """None; the proxy replies."""
    VERSION = 10
    """None; any server replies."""
    VERBOSITY = 11
    """``level``, for every server."""
    FLUSH_ALL = 12
    """An optional ``delay``, for every server."""
    STATS = 13
    """See ``STATISTICS``; any other argument for every server."""
    QUIT = 14
    """None; the connection closes."""
    REFUSED = 15
    """Not available through the proxy."""


class Word(NamedTuple):
    """The first word of a server's line."""

    name: str
    follows: "Follows"


class Follows(enum.IntEnum):
    """What follows the word in a server's line. Compiled code uses the values."""

    NOTHING_MORE = 0
    """The rest of the line, which ends the reply."""
    BLOCK = 1
    """``key flags bytes``, the rest of the line and a data block; then another line."""
    LAST_BLOCK = 2
    """``bytes``, the rest of the line and a data block, which ends the reply."""
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
"""All words of replies. The three errors come first; a word's position is its bit in a mask."""

NUMBER = len(WORDS)
"""The bit of a line that begins with a number instead of a word."""

ERRORS = "ERROR CLIENT_ERROR SERVER_ERROR"


class ReplyKind(NamedTuple):
    """The possible replies to a request, besides errors."""

    words: str
    """Separated by blanks; ``#`` is a number."""
    suppressible: str = ""
    """The words that a quiet request suppresses."""


REPLY_KINDS = {
    "version": ReplyKind("VERSION"),
    "storage": ReplyKind("STORED NOT_STORED EXISTS NOT_FOUND"),
    "retrieval": ReplyKind("VALUE END"),
    "arithmetic": ReplyKind("# NOT_FOUND"),
    "delete": ReplyKind("DELETED NOT_FOUND"),
    "touch": ReplyKind("TOUCHED NOT_FOUND"),
    "ok": ReplyKind("OK"),
    "stats": ReplyKind("STAT ITEM PREFIX END OK RESET"),
    "meta get": ReplyKind("HD VA EN", suppressible="EN"),
    "meta set": ReplyKind("HD NS EX NF", suppressible="HD"),
    "meta delete": ReplyKind("HD NF EX", suppressible="HD"),
    "meta arithmetic": ReplyKind("HD VA NF NS EX", suppressible="HD VA"),
    "meta debug": ReplyKind("ME EN"),
}
"""By name. A kind's position is its value in ``Request.expected``; the first kind is that of the handshake."""

KIND_NAMES = tuple(REPLY_KINDS)


def word_mask(words: str) -> int:
    """The mask of these words, separated by blanks; ``#`` is a number."""
    names = [word.name for word in WORDS]
    return sum(1 << (NUMBER if word == "#" else names.index(word)) for word in words.split())


class Command(NamedTuple):
    """One row of the table."""

    name: str
    form: Form
    reply: str
    """A name in REPLY_KINDS; empty if no server gets the request."""
    summary: str
    too_few: Problem = Problem.UNKNOWN
    """The error for a line with too few arguments."""
    bad_flag: Problem = Problem.UNKNOWN
    """The error for a flag that is given twice (meta commands)."""
    bad_key: Problem = Problem.BAD_LINE
    """The error for a key that is not base64 (meta commands)."""
    only_reads: bool = False
    """It changes nothing on its server. mg may: the first mg that finds a stale item gets the right to renew it."""
    permission: bool = False
    """Available only with ``allow_commands``."""
    refusal: str = ""
    """Why it is REFUSED, a clause about "it"; empty for other commands."""


_STORE = "Stores a value under a key"
_ONE_SERVER = "it administers a single server, ask that server directly"

COMMANDS = (
    Command("get", Form.RETRIEVAL, "retrieval", "Values of keys.", only_reads=True),
    Command("gets", Form.RETRIEVAL, "retrieval", "Values of keys, each with its cas unique.", only_reads=True),
    Command("gat", Form.RETRIEVAL_TOUCH, "retrieval", "Values of keys; also sets their time to live."),
    Command(
        "gats",
        Form.RETRIEVAL_TOUCH,
        "retrieval",
        "Values of keys, each with its cas unique; also sets their time to live.",
    ),
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
        "Removes a key, or marks it as stale.",
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
    Command("mn", Form.META_NOOP, "", "Replies after all earlier requests have replies."),
    Command("version", Form.VERSION, "version", "The version of a server.", only_reads=True),
    Command("verbosity", Form.VERBOSITY, "ok", "Sets how much every server logs.", permission=True),
    Command("flush_all", Form.FLUSH_ALL, "ok", "Invalidates every key on every server.", permission=True),
    Command("stats", Form.STATS, "stats", "Figures of the servers, added up, or of the proxy."),
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

_KEYLESS = (Form.META_NOOP, Form.VERSION, Form.VERBOSITY, Form.FLUSH_ALL, Form.STATS, Form.QUIT, Form.REFUSED)


def class_of(command: Command) -> CommandClass:
    """The class of a command."""
    if command.form in _KEYLESS:
        return CommandClass.OTHER
    return CommandClass.READ if command.only_reads or command.name in MISSES else CommandClass.WRITE


STATISTICS = {
    "": "figures of the servers, added up",
    "items": "figures of the servers' items, added up by slab class",
    "slabs": "figures of the servers' memory, added up by slab class",
    "sizes": "numbers of items by size, added up",
    "settings": "settings on which all servers agree; limits are added up",
    "proxy": "figures of the proxy for the pool",
    "servers": "the proxy's figures for each server",
}
"""The kinds of statistics that the proxy makes, by the argument of stats, and their descriptions."""

STATISTICS_WITH_PERMISSION = ("cachedump", "detail", "reset")
"""Arguments of stats that show other clients' keys, or have an effect on all clients."""

PERMITTED_BY_DIRECTIVE = tuple(
    sorted(
        [
            *(command.name for command in COMMANDS if command.permission),
            *(f"stats|{argument}" for argument in STATISTICS_WITH_PERMISSION),
        ]
    )
)
"""Names that ``allow_commands`` takes."""

META_GET_WRITING_FLAGS = b"NRT"
"""Flags with which mg changes something even if the key is missing, or its reply is about a key that it makes."""

MISSES = {"get": b"END\r\n", "gets": b"END\r\n", "mg": b"EN\r\n", "me": b"EN\r\n"}
"""The reply of a server to a read if it has none of the keys."""


class FlagKind(enum.IntEnum):
    """The argument after the letter of a meta flag. Compiled code uses the values."""

    UNKNOWN = 0
    """There is no such flag."""
    BARE = 1
    """None; other bytes are ignored."""
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
"""The flags of ms. Flags of other commands are left to the server; those of ms are not, because a server that rejects
a flag might read the data block as commands."""

MODES = "EAPRSeaprs"
"""Values of flag M of ms: add, append, prepend, replace, set."""

MOST_KEY = 250
"""Most bytes of a key, as it is written."""
MOST_LINE = 2048
"""Most bytes of a line with its end. memcached closes a connection with a longer one."""
MOST_KEYS_LINE = 16 * 1024 * 1024
"""Most bytes of a line of get or gets. memcached has no limit."""
MOST_ACCEPTED = 1024 * 1024 * 1024
"""Most bytes of a value. memcached cannot be configured to accept larger ones."""
MOST_DECLARED = 2147483645
"""The largest length of a value that memcached parses, so that it can reject the value as too large."""
