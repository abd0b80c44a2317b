"""Tables of memcached requests and their treatment, for tests of the codec and of a real memcached."""

from typing import NamedTuple

from feeding import BROADCAST, NOREPLY, QUIET, REST_OF_LINE, SLOW_PATH, TO_ANY, TO_KEY

ERROR = "ERROR"
FORMAT = "CLIENT_ERROR bad command line format"
EXPTIME = "CLIENT_ERROR invalid exptime argument"
DELTA = "CLIENT_ERROR invalid numeric delta argument"
USAGE = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]"
CHUNK = "CLIENT_ERROR bad data chunk"
TOO_LARGE = "SERVER_ERROR object too large for cache"
FLAG = "CLIENT_ERROR invalid flag"
DUPLICATE = "CLIENT_ERROR duplicate flag"
INVALID_OR_DUPLICATE = "CLIENT_ERROR invalid or duplicate flag"
TOKEN = "CLIENT_ERROR bad token in command line format"
BASE64 = "CLIENT_ERROR error decoding key"
LONG_LINE = "CLIENT_ERROR line too long"

LONG = b"k" * 251


class Forwarded(NamedTuple):
    """A request that goes to one server or to all servers."""

    request: bytes
    kind: str
    """The kind of the expected reply."""
    unwanted: int = 0
    """QUIET, NOREPLY or 0."""
    forwarded: bytes = b""
    """The bytes that a server gets; empty if they are the request itself."""
    key: bytes = b"k"
    route: int = TO_KEY


FORWARDED = [
    Forwarded(b"get k\r\n", "retrieval"),
    Forwarded(b"  get   k  \n", "retrieval"),
    Forwarded(b"gets k\r\n", "retrieval"),
    Forwarded(b"get \xff\x80\r\n", "retrieval", key=b"\xff\x80"),
    Forwarded(b"get noreply\r\n", "retrieval", key=b"noreply"),
    Forwarded(b"gat 0 k\r\n", "retrieval"),
    Forwarded(b"gats -1 k\r\n", "retrieval"),
    Forwarded(b"set k 0 0 2\r\nab\r\n", "storage"),
    Forwarded(b"set k 0 0 2\n\r\n\r\n", "storage"),
    Forwarded(b"set k 0 0 0\r\n\r\n", "storage"),
    Forwarded(b"set k 0 0 002\r\nab\r\n", "storage"),
    Forwarded(b"set k 0 0 2 noreply\r\nab\r\n", "storage", NOREPLY, b"set k 0 0 2\r\nab\r\n"),
    Forwarded(b"set k 0 0 2  noreply \nab\r\n", "storage", NOREPLY, b"set k 0 0 2 \nab\r\n"),
    Forwarded(b"set k 0 0 2 foo\r\nab\r\n", "storage", 0, b"set k 0 0 2\r\nab\r\n"),
    Forwarded(b"set k 0 0 2 n\0oreply\r\nab\r\n", "storage", 0, b"set k 0 0 2\r\nab\r\n"),
    Forwarded(b"set k 0 0 2 NOREPLY\r\nab\r\n", "storage", 0, b"set k 0 0 2\r\nab\r\n"),
    Forwarded(b"set noreply 0 0 2\r\nab\r\n", "storage", key=b"noreply"),
    Forwarded(b"add k 1 2 1\r\na\r\n", "storage"),
    Forwarded(b"replace k 1 -2 1 noreply\r\na\r\n", "storage", NOREPLY, b"replace k 1 -2 1\r\na\r\n"),
    Forwarded(b"append k 1 2 1\r\n\0\r\n", "storage"),
    Forwarded(b"prepend k 1 2 1 noreply\r\na\r\n", "storage", NOREPLY, b"prepend k 1 2 1\r\na\r\n"),
    Forwarded(b"cas k 1 2 1 7\r\na\r\n", "storage"),
    Forwarded(b"cas k 1 2 1 7 noreply\r\na\r\n", "storage", NOREPLY, b"cas k 1 2 1 7\r\na\r\n"),
    Forwarded(b"cas k 1 2 1 7 foo\r\na\r\n", "storage", 0, b"cas k 1 2 1 7\r\na\r\n"),
    Forwarded(b"incr k 1\r\n", "arithmetic"),
    Forwarded(b"decr k 1 noreply\r\n", "arithmetic", NOREPLY, b"decr k 1\r\n"),
    Forwarded(b"incr k 1 foo\n", "arithmetic", 0, b"incr k 1\n"),
    Forwarded(b"touch k -1\r\n", "touch"),
    Forwarded(b"touch k 1 noreply\r\n", "touch", NOREPLY, b"touch k 1\r\n"),
    Forwarded(b"touch noreply 1 foo\r\n", "touch", 0, b"touch noreply 1\r\n", b"noreply"),
    Forwarded(b"delete k\r\n", "delete"),
    Forwarded(b"delete k 0\r\n", "delete", 0, b"delete k\r\n"),
    Forwarded(b"delete k noreply\r\n", "delete", NOREPLY, b"delete k\r\n"),
    Forwarded(b"delete k 0 noreply\r\n", "delete", NOREPLY, b"delete k\r\n"),
    Forwarded(b"delete noreply\r\n", "delete", key=b"noreply"),
    Forwarded(b"delete noreply noreply\r\n", "delete", NOREPLY, b"delete noreply\r\n", b"noreply"),
    Forwarded(b"mg k\r\n", "meta get"),
    Forwarded(b"mg k v t O1 ? \xff c c\n", "meta get"),
    Forwarded(b"mg k v q k\r\n", "meta get", QUIET, b"mg k v k\r\n"),
    Forwarded(b"mg q  q\r\n", "meta get", QUIET, b"mg q \r\n", b"q"),
    Forwarded(b"mg k qfoo v\n", "meta get", QUIET, b"mg k v\n"),
    Forwarded(b"mg k Oq vq\r\n", "meta get"),
    Forwarded(b"mg k noreply\r\n", "meta get"),
    Forwarded(b"ms k 2\r\nab\r\n", "meta set"),
    Forwarded(b"ms k 2 q T0\nab\r\n", "meta set", QUIET, b"ms k 2 T0\nab\r\n"),
    Forwarded(b"ms k 2 T0 q\r\nab\r\n", "meta set", QUIET, b"ms k 2 T0\r\nab\r\n"),
    Forwarded(b"ms k 0\r\n\r\n", "meta set"),
    Forwarded(b"md k\r\n", "meta delete"),
    Forwarded(b"md k q I\r\n", "meta delete", QUIET, b"md k I\r\n"),
    Forwarded(b"ma k\r\n", "meta arithmetic"),
    Forwarded(b"ma k q D5\r\n", "meta arithmetic", QUIET, b"ma k D5\r\n"),
    Forwarded(b"me k\r\n", "meta debug"),
    Forwarded(b"me k q\r\n", "meta debug", QUIET, b"me k\r\n"),
    Forwarded(b"version\r\n", "version", key=b"", route=TO_ANY),
    Forwarded(b" version foo bar\n", "version", 0, b" version\n", b"", TO_ANY),
    Forwarded(b"version noreply\r\n", "version", 0, b"version\r\n", b"", TO_ANY),
    Forwarded(b"verbosity 1\r\n", "ok", key=b"", route=BROADCAST),
    Forwarded(b"verbosity 1 noreply\r\n", "ok", NOREPLY, b"verbosity 1\r\n", b"", BROADCAST),
    Forwarded(b"verbosity 1 foo\r\n", "ok", 0, b"verbosity 1\r\n", b"", BROADCAST),
    Forwarded(b"flush_all\r\n", "ok", key=b"", route=BROADCAST),
    Forwarded(b"flush_all 5\n", "ok", key=b"", route=BROADCAST),
    Forwarded(b"flush_all -5 foo\n", "ok", 0, b"flush_all -5\n", b"", BROADCAST),
    Forwarded(b"flush_all noreply\r\n", "ok", NOREPLY, b"flush_all\r\n", b"", BROADCAST),
    Forwarded(b"flush_all 5 noreply\r\n", "ok", NOREPLY, b"flush_all 5\r\n", b"", BROADCAST),
    Forwarded(b"stats items\r\n", "stats", key=b"", route=SLOW_PATH),
    Forwarded(b"stats servers now\r\n", "stats", key=b"", route=SLOW_PATH),
    Forwarded(b"stats noreply\r\n", "stats", key=b"", route=SLOW_PATH),
]


class Refused(NamedTuple):
    """A line that is refused with an error reply."""

    line: bytes
    text: str
    block: bytes = b""
    """The part of the request after the line, which is discarded."""
    muted: bool = False
    like_memcached: bool = True
    """Whether memcached replies with the same error."""


AB = b"ab\r\n"
REFUSED = [
    *(Refused(line, ERROR) for line in (b"", b"  ", b"foo", b"GET k", b"get", b"gets ", b"gat", b"incr k", b"decr")),
    *(Refused(line, ERROR) for line in (b"touch k", b"delete", b"verbosity", b"set", b"set k", b"set k 0 0", b"cas k")),
    *(
        Refused(line, ERROR)
        for line in (b"mg", b"ms", b"md", b"ma", b"incr k 1 2 3", b"touch k 1 2 3", b"delete k 0 0 0")
    ),
    *(Refused(line, ERROR) for line in (b"verbosity 1 2 3", b"flush_all 1 2 3", b"decr k 1 2 noreply", b"get\tk")),
    *(
        Refused(line, ERROR, like_memcached=False)
        for line in (b"gat 0", b"gats 0", b"quit\0", b"get\0 k", b"version\t")
    ),
    Refused(b"set k 0 0 2 a b", ERROR, AB),
    Refused(b"set k 0 0 2 a noreply", ERROR, AB),
    Refused(b"cas k 0 0 2", ERROR, AB),
    Refused(b"cas k 0 0 2 1 a b", ERROR, AB),
    *(
        Refused(b"%s %s" % (name, LONG), FORMAT)
        for name in (b"get", b"gets", b"gat 0", b"get k", b"mg", b"md", b"ma", b"me")
    ),
    *(Refused(line % LONG, FORMAT) for line in (b"incr %s 1", b"touch %s 1", b"delete %s")),
    *(
        Refused(b"%s k%c" % (name, byte), FORMAT, like_memcached=False)
        for name in (b"get", b"md")
        for byte in (1, 9, 13, 127)
    ),
    Refused(b"get a\0b", FORMAT, like_memcached=False),
    Refused(b"mg k v\t", FORMAT, like_memcached=False),
    Refused(b"stats items\t", FORMAT, like_memcached=False),
    Refused(b"set %s 0 0 2" % LONG, FORMAT, AB),
    Refused(b"set k\t 0 0 2", FORMAT, AB, like_memcached=False),
    Refused(b"set k x 0 2", FORMAT, AB),
    Refused(b"set k 0 x 2", FORMAT, AB),
    Refused(b"set k -1 0 2", FORMAT, AB),
    Refused(b"cas k 0 0 2 x", FORMAT, AB),
    Refused(b"cas k 0 0 2 -1", FORMAT, AB, like_memcached=False),
    Refused(b"cas k 0 0 2 noreply", FORMAT, AB, muted=True, like_memcached=False),
    Refused(b"set k x 0 2 noreply", FORMAT, AB, muted=True, like_memcached=False),
    Refused(b"add k 0 0 noreply", FORMAT, muted=True, like_memcached=False),
    *(Refused(b"replace k 0 0 " + length, FORMAT) for length in (b"x", b"-1", b"5x", b"0x1", b"1.0")),
    Refused(b"verbosity x", FORMAT),
    Refused(b"verbosity noreply", FORMAT, muted=True, like_memcached=False),
    Refused(b"verbosity x noreply", FORMAT, muted=True, like_memcached=False),
    *(
        Refused(line, EXPTIME)
        for line in (b"touch k x", b"gat x k", b"gats x k", b"flush_all x", b"flush_all noreply 5")
    ),
    Refused(b"touch k noreply", EXPTIME, muted=True, like_memcached=False),
    Refused(b"touch k x noreply", EXPTIME, muted=True, like_memcached=False),
    Refused(b"flush_all x noreply", EXPTIME, muted=True, like_memcached=False),
    *(Refused(line, DELTA) for line in (b"incr k x", b"decr k -1", b"incr k 18446744073709551616", b"incr k x foo")),
    Refused(b"incr k noreply", DELTA, muted=True, like_memcached=False),
    *(Refused(line, USAGE) for line in (b"delete k 1", b"delete k foo", b"delete k 0 0", b"delete k 0 foo")),
    Refused(b"delete k 1 noreply", USAGE, muted=True, like_memcached=False),
    Refused(b"me", FORMAT),
    Refused(b"ms k", FORMAT),
    Refused(b"ms k x", FORMAT),
    Refused(b"ms k -1 T0", FORMAT),
    Refused(b"ms %s 2" % LONG, FORMAT, AB),
    Refused(b"ms k 2 c c", DUPLICATE, AB),
    Refused(b"ms k 2 q q", DUPLICATE, AB),
    *(Refused(b"ms k 2 " + flag, FLAG, AB) for flag in (b"%", b"S2", b"2", b"z", b"d", b"[")),
    *(Refused(b"ms k 2 " + flag, FLAG, AB, like_memcached=False) for flag in (b"c\t", b"\t", b"O\1", b"q\0", b"\xff")),
    *(Refused(b"ms k 2 " + flag, FORMAT, AB) for flag in (b"F", b"Fx")),
    *(Refused(b"ms k 2 " + flag, TOKEN, AB) for flag in (b"C", b"Cx", b"C-1", b"T", b"Tx", b"T-")),
    *(Refused(b"ms k 2 " + flag, TOKEN, AB, like_memcached=False) for flag in (b"E", b"Ex", b"N", b"Nx", b"R", b"R1x")),
    Refused(b"ms k 2 O" + b"o" * 32, "CLIENT_ERROR opaque token too long", AB),
    *(Refused(b"ms k 2 " + flag, "CLIENT_ERROR incorrect length for M token", AB) for flag in (b"M", b"MSS")),
    Refused(b"ms k 2 MX", "CLIENT_ERROR invalid mode for ms M token", AB),
    Refused(b"ms k_ 2 b", BASE64, AB),
    Refused(b"mg k_ b", BASE64),
    *(Refused(name + b" k_ b", BASE64, like_memcached=False) for name in (b"md", b"ma")),
    Refused(b"me k_ b", FORMAT),
    Refused(b"mg k q q", DUPLICATE),
    *(Refused(name + b" k q q", INVALID_OR_DUPLICATE) for name in (b"md", b"ma")),
    Refused(b"me k q q", FORMAT, like_memcached=False),
]

ADMINISTRATION = ["cache_memlimit", "debugtime", "extstore", "lru", "lru_crawler", "misbehave", "refresh_certs"]
ADMINISTRATION += ["shutdown", "slabs", "watch"]


class Block(NamedTuple):
    """A data block that does not end where its storage request declares."""

    data: bytes
    """All bytes after the command line, which declares five bytes."""
    end: int
    """The number of bytes of ``data`` that are part of the request."""
    discard: int


BAD_BLOCKS = [
    Block(b"hello!\n", 7, 0),
    Block(b"hello\n\n", 7, 0),
    Block(b"hello\r!\r\n", 7, REST_OF_LINE),
    Block(b"hello\r\r\n", 7, REST_OF_LINE),
    Block(b"hello!!\r\n", 7, REST_OF_LINE),
    Block(b"hello\nget a b c\r\n", 7, REST_OF_LINE),
    Block(b"he\r\nget k\r\n", 7, REST_OF_LINE),
    Block(b"\r\n\r\n\r\n\r\n", 7, REST_OF_LINE),
]
