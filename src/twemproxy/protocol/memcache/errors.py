"""All error texts of the memcached side of the proxy.

Texts that memcached has are memcached's, so that clients recognise them; other texts say what, where and what to do.
"""

import enum


class Problem(enum.IntEnum):
    """Why a request is not forwarded. Compiled code uses the values; ``TEXTS`` has the texts for clients."""

    NONE = 0
    UNKNOWN = 1
    BAD_LINE = 2
    BAD_EXPTIME = 3
    BAD_DELTA = 4
    BAD_DELETE = 5
    BAD_DATA = 6
    TOO_LARGE = 7
    BAD_FLAG = 8
    DUPLICATE_FLAG = 9
    BAD_OR_DUPLICATE_FLAG = 10
    BAD_TOKEN = 11
    BAD_OPAQUE = 12
    BAD_MODE_LENGTH = 13
    BAD_MODE = 14
    BAD_BASE64 = 15
    NOT_ALLOWED = 16
    NOT_AVAILABLE = 17
    LONG_LINE = 18
    MANY_FLAGS = 19
    LINE_FEED_IN_KEY = 20
    ENDLESS_STATISTICS = 21


TEXTS = {
    Problem.UNKNOWN: "ERROR",
    Problem.BAD_LINE: "CLIENT_ERROR bad command line format",
    Problem.BAD_EXPTIME: "CLIENT_ERROR invalid exptime argument",
    Problem.BAD_DELTA: "CLIENT_ERROR invalid numeric delta argument",
    Problem.BAD_DELETE: "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]",
    Problem.BAD_DATA: "CLIENT_ERROR bad data chunk",
    Problem.TOO_LARGE: "SERVER_ERROR object too large for cache",
    Problem.BAD_FLAG: "CLIENT_ERROR invalid flag",
    Problem.DUPLICATE_FLAG: "CLIENT_ERROR duplicate flag",
    Problem.BAD_OR_DUPLICATE_FLAG: "CLIENT_ERROR invalid or duplicate flag",
    Problem.BAD_TOKEN: "CLIENT_ERROR bad token in command line format",
    Problem.BAD_OPAQUE: "CLIENT_ERROR opaque token too long",
    Problem.BAD_MODE_LENGTH: "CLIENT_ERROR incorrect length for M token",
    Problem.BAD_MODE: "CLIENT_ERROR invalid mode for ms M token",
    Problem.BAD_BASE64: "CLIENT_ERROR error decoding key",
    Problem.NOT_ALLOWED: (
        "CLIENT_ERROR {name} is not allowed in this pool: 'allow_commands: {name}' in its configuration allows it"
    ),
    Problem.NOT_AVAILABLE: "CLIENT_ERROR '{name}' is not available through this proxy: {reason}",
    Problem.LONG_LINE: "CLIENT_ERROR line too long",
    Problem.LINE_FEED_IN_KEY: "CLIENT_ERROR a key may not contain a line feed, not even in base64",
    Problem.ENDLESS_STATISTICS: (
        "CLIENT_ERROR 'stats sizes_enable' and 'stats sizes_disable' are not available through this proxy: memcached"
        " does not mark the end of its reply, ask that server directly"
    ),
    Problem.MANY_FLAGS: "CLIENT_ERROR options flags too long",
}

LIMITED = "{text}: 'max_request_bytes' in the configuration of the pool is {limit}"

META_UNSUPPORTED = (
    "meta commands need memcached 1.6.10 or newer: an older one replies differently, and runs the data block of ms as"
    " commands"
)


def error_line(text: str) -> bytes:
    """A line with this text; control characters in it become blanks."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line.encode("utf-8", "replace") + b"\r\n"


def server_error(text: str) -> bytes:
    """The error line that says why a server did not answer."""
    return error_line("SERVER_ERROR " + text)
