"""Random redis commands for streams, by feature group: valid and broken, on keys of every type.

A group is a list of *pieces*; a piece is one or more commands that belong together. Most groups are tables of patterns
(``PATTERNS``), from which ``redis_patterns`` makes commands: a new group is a row there, or a function that makes a
piece.

These commands are left out, because the proxy deliberately answers them differently from redis (docs/differences.md),
or because redis's own answers vary:

- commands that the proxy refuses (docs/commands.md), and keys of several servers in a command that is not split;
- in pools of several servers: SORT with a pattern, and commands without keys (``ONE_SERVER``);
- the proxy's information about itself: INFO, CONFIG, COMMAND, TIME, LOLWUT, CLIENT LIST, errors of CLIENT, HELLO,
  SELECT and AUTH; SELECT of databases other than 0; for HELLO only the version is compared;
- the raw byte 0xff in an inline command, which valkey 9.1 drops, and NUL, with which redis accepts no line;
- blank lines after CLIENT REPLY SKIP: redis counts them as the command that gets no reply;
- the texts of some errors that the proxy finds without asking a server: wrong numbers of keys, for which redis has a
  text per command; a wrong number of arguments, which the proxy reports before an unknown sub-command (of OBJECT, XINFO
  and XGROUP), before a command that this server does not know, and after keys of several servers (MSETNX);
- EVALSHA of a script that EVAL has sent to one server and not to the others;
- subscriptions and invalidations, which are push messages;
- RANDOMKEY and random members, except for none and all; auto ids of streams; MEMORY USAGE, OBJECT IDLETIME and FREQ;
- elapsed seconds: times are in the past or years ahead, remaining times are masked, and relative times are not compared
  with each other (GT, LT);
- lexicographic ranges of sorted sets with several scores, which depend on random levels;
- the order of sets and hashes, and of values derived from them, including serialised values.
"""

import random
import re
from collections.abc import Callable
from typing import NamedTuple

from harness import resp
from harness.redis_patterns import Count, Fixed, expand
from harness.redis_replies import Normaliser, normaliser, of_several

ODD_ARGUMENTS = [
    *(b"", b"-1", b"x", b"1.5", b"+1", b" 1", b"01", b"nan", b"inf", b"-0", b"0x10", b"\r\n", b"\x00\xff", b"*", b"{}"),
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"1" * 40, b"x" * 300),
]
ODD_COUNTS = [b"-1", b"x", b"", b"1.5", b"01", b"+1", b"99", b"9223372036854775808", b"-0"]
NOISE = [b"\r\n", b"\n", b" \t \r\n", b"*0\r\n", b"*-1\r\n"]
"""Bytes that redis skips before a request."""

_UNPREDICTABLE = {b"spop", b"srandmember", b"hrandfield", b"zrandmember", b"sscan", b"hscan", b"zscan"}
"""With changed arguments these commands answer at random, or in parts."""
_OWN_ERRORS = {b"client", b"hello", b"select"}
_TIMED = {b"blpop", b"brpop", b"bzpopmin", b"bzpopmax"}
"""An additional argument turns their timeout into a key."""
_OWN_ARITY = {b"object", b"xinfo", b"xgroup", b"msetnx"}
"""For a wrong number of arguments the proxy reports another mistake than redis."""
_PLAIN = re.compile(rb"[!#-&(-\[\]-~]+")
_LONGEST_INLINE = 1000


class Command(NamedTuple):
    """A command as words and as the bytes that are sent."""

    words: tuple[bytes, ...]
    request: bytes
    any_error: bool = False
    """Whether all errors count as equal."""
    silent: bool = False
    """Whether the command gets no reply."""
    queued: tuple["Command", ...] = ()
    """The commands that EXEC executes."""

    def __repr__(self) -> str:
        """The shortened words, for the output of a failing example."""
        return " ".join(repr(word[:40])[1:] for word in self.words)

    @property
    def normalise(self) -> Normaliser:
        """Returns the part of the reply that is compared."""
        if self.queued:
            return of_several([command.normalise for command in self.queued])
        return normaliser(self.words, any_error=self.any_error)


Piece = tuple[Command, ...]
"""Commands that belong together and are sent in this order."""

Maker = Callable[[random.Random], Piece]


def quoted(source: random.Random, word: bytes) -> bytes:
    """Encode a word of an inline request in one of the possible ways."""
    if _PLAIN.fullmatch(word) and source.random() < 0.7:
        return word
    if source.random() < 0.3 and not set(word) & set(b"\0\n\\\xff"):
        return b"'%s'" % word.replace(b"'", b"\\'")
    written = bytearray(b'"')
    for byte in word:
        if byte in b'"\\':
            written += b"\\" + bytes([byte])
        elif byte in b"\n\r\t\b\a" and source.random() < 0.5:
            written += b"\\" + b"nrtba"[b"\n\r\t\b\a".index(byte) :][:1]
        elif 32 <= byte < 127:
            written.append(byte)
        else:
            written += b"\\x%02x" % byte
    return bytes(written) + b'"'


def request(source: random.Random, words: list[bytes]) -> bytes:
    """Encode the words: usually as an array, sometimes as a line, or with noise before the request."""
    noise = source.choice(NOISE) if source.random() < 0.03 else b""
    if source.random() < 0.1 and sum(map(len, words)) < _LONGEST_INLINE:
        blank = source.choice([b" ", b" ", b"  ", b"\t"])
        return noise + blank.join(quoted(source, word) for word in words) + source.choice([b"\r\n", b"\n", b" \r\n"])
    return noise + resp.command(*words)


def command(source: random.Random, *words: bytes | str) -> Command:
    """Make a command of these words."""
    written = [word.encode() if isinstance(word, str) else word for word in words]
    return Command(tuple(written), request(source, written))


def _broken(source: random.Random, words: list[bytes]) -> tuple[list[bytes], bool]:
    """Make one mistake: leave out arguments, add one, or replace one; also returns whether their number is wrong."""
    kind = source.randrange(4)
    if kind == 0 and len(words) > 1:
        return words[: -source.choice([1, 1, 2])] or words[:1], True
    if kind == 1:
        return [*words, words[-1]], True
    places = [at for at, word in enumerate(words) if at and not isinstance(word, Fixed)]
    if places:
        words[source.choice(places)] = source.choice(ODD_ARGUMENTS)
    return words, False


def from_patterns(patterns: str, newer: bool = False) -> Maker:
    """Return a maker of commands from patterns, one pattern per line.

    ``newer``: some servers do not know the commands, and the proxy may report a wrong number of arguments first.
    """
    lines = lines_of(patterns)
    return lambda source: (random_command(source, source.choice(lines), newer=newer),)


def lines_of(patterns: str) -> list[str]:
    """The lines with patterns, without surrounding white space."""
    return [line.strip() for line in patterns.splitlines() if line.strip()]


def random_command(
    source: random.Random, pattern: str, newer: bool = False, home: list[bytes] | None = None, mistakes: float = 0.1
) -> Command:
    """Make a command of this pattern; ``mistakes`` is the probability of a mistake. See also ``expand``."""
    words = expand(source, pattern, home)
    name = words[0].lower()
    any_error = False
    if source.random() < mistakes and name not in _UNPREDICTABLE | _OWN_ERRORS | _TIMED:
        words, misnumbered = _broken(source, words)
        counted = any(isinstance(word, Count) for word in words)
        any_error = misnumbered and (newer or counted or name in _OWN_ARITY)
    counts = [at for at, word in enumerate(words) if isinstance(word, Count)]
    if counts and source.random() < mistakes:
        words[counts[0]] = source.choice(ODD_COUNTS)
        any_error = True
    if source.random() < 0.2:
        words[0] = source.choice([words[0].lower(), words[0].title(), words[0].swapcase()])
    return Command(tuple(words), request(source, words), any_error)


def _skipped(source: random.Random) -> Piece:
    """A command that gets no reply."""
    [skipped] = from_patterns("SET <s> <v>\nGET <s>\nINCR <n>\nDEL (<*any>)+\nLPUSH <l> <v>\nPING\nMGET (<*s>)+")(
        source
    )
    skip = command(source, "CLIENT", "REPLY", "SKIP")
    sent = resp.command(*skipped.words)
    return skip._replace(silent=True), skipped._replace(request=sent, silent=True)


def _any_of(makers: list[Maker]) -> Maker:
    return lambda source: source.choice(makers)(source)


PATTERNS = {
    "strings": """
        SET <s> <v>
        SET <s> <v> [NX|XX] [GET] [EX <seconds> / PX <seconds>000 / EXAT <when> / PXAT <when>000 / KEEPTTL / EX 0]
        SET <n> <i>
        GET <s>
        GETDEL <s>
        GETSET <s> <v>
        GETEX <s> [EX <seconds> / PXAT <when>000 / PERSIST / EXAT 1]
        SETEX <s> <seconds> <v>
        PSETEX <s> <seconds>000 <v>
        SETNX <s> <v>
        APPEND <s> <v>
        STRLEN <s>
        GETRANGE <s> <i> <i>
        SUBSTR <s> <i> <i>
        SETRANGE <s> <offset> <v>
        INCR <n>
        DECR <n>
        INCRBY <n> <i>
        DECRBY <n> <i>
        INCRBYFLOAT <n> <f>
        SET <w> <word>
        LCS <w> <w> [LEN / IDX / IDX MINMATCHLEN 2 WITHMATCHLEN / IDX LEN]
    """,
    "bits": """
        SETBIT <s> <offset> 0|1
        GETBIT <s> <offset>
        BITCOUNT <s> [<i> <i> / <i> <i> BYTE|BIT]
        BITPOS <s> 0|1 [<i> / <i> <i> / <i> <i> BIT]
        BITOP AND|OR|XOR <s> (<s>)+
        BITOP NOT <s> <s>
        BITFIELD <s> [GET u8 <offset>] [SET i16 #1 <i>] [OVERFLOW SAT|WRAP|FAIL INCRBY u4 <offset> <i>]
        BITFIELD_RO <s> [GET u8 <offset> / GET i64 #0 GET u63 0]
        SET <s> <v>
        GET <s>
    """,
    "hashes": """
        HSET <h> (<field> <v>)+
        HMSET <h> (<field> <v>)+
        HSETNX <h> <field> <v>
        HGET <h> <field>
        HMGET <h> (<field>)+
        HGETALL <h>
        HKEYS <h>
        HVALS <h>
        HLEN <h>
        HDEL <h> (<field>)+
        HEXISTS <h> <field>
        HSTRLEN <h> <field>
        HINCRBY <h> counter|<field> <i>
        HINCRBYFLOAT <h> counter|<field> <f>
        HRANDFIELD <h> 1000|0 [WITHVALUES]
        HSCAN <h> 0 COUNT 1000 [MATCH f*]
    """,
    "field expiry": """
        HSET <h> (<field> <v>)+
        HEXPIRE <h> <seconds> [NX|XX] FIELDS 2 <field> <field>
        HPEXPIRE <h> <seconds>000 FIELDS 1 <field>
        HEXPIREAT <h> <when> [NX|XX|GT|LT] FIELDS 2 <field> <field>
        HPEXPIREAT <h> <when>000 FIELDS 1|2 <field>
        HTTL <h> FIELDS 2 <field> <field>
        HPTTL <h> FIELDS 1 <field>
        HEXPIRETIME <h> FIELDS 2 <field> <field>
        HPEXPIRETIME <h> FIELDS 2 <field> <field>
        HPERSIST <h> FIELDS 2 <field> <field>
        HGETEX <h> [EX <seconds> / PXAT <when>000 / PERSIST] FIELDS 2 <field> <field>
        HSETEX <h> [FNX|FXX] [EX <seconds> / EXAT <when> / KEEPTTL] FIELDS 2 <field> <v> <field> <v>
        HGETDEL <h> FIELDS 2 <field> <field>
        HGETALL <h>
    """,
    "lists": """
        LPUSH|RPUSH <l> (<v>)+
        LPUSHX|RPUSHX <l> (<v>)+
        LPOP|RPOP <l> [0|1|3]
        LLEN <l>
        LRANGE <l> <i> <i>
        LRANGE <l> 0 -1
        LINDEX <l> <i>
        LSET <l> <i> <v>
        LINSERT <l> BEFORE|AFTER <v> <v>
        LREM <l> <i> <v>
        LTRIM <l> <i> <i>
        LTRIM <l> 0 20
        LPOS <l> <v> [RANK 1|-1|2] [COUNT 0|1|2] [MAXLEN 0|5]
        LMOVE <l> <l> LEFT|RIGHT LEFT|RIGHT
        RPOPLPUSH <l> <l>
        LMPOP <ls> LEFT|RIGHT [COUNT 1|2|9]
    """,
    "sets": """
        SADD <t> (<member>)+
        SADD <t> (<i>)+
        SREM <t> (<member>)+
        SISMEMBER <t> <member>
        SMISMEMBER <t> (<member>)+
        SCARD <t>
        SMEMBERS <t>
        SMOVE <t> <t> <member>
        SUNION|SINTER|SDIFF (<t>)+
        SUNIONSTORE|SINTERSTORE|SDIFFSTORE <t> (<t>)+
        SINTERCARD <ts> [LIMIT 0|1|2]
        SPOP <t> 0|1000
        SRANDMEMBER <t> 0|1000
        SSCAN <t> 0 COUNT 1000
    """,
    "sorted sets": """
        ZADD <z> [NX / XX / GT / XX LT / NX GT] [CH] (<score> <member>)+
        ZADD <z> [NX|XX] INCR <score> <member>
        ZADD <q> (<zero> <member>)+ <zero> b
        ZREM|ZSCORE <q> <member>
        ZREM <z> (<member>)+
        ZCARD <z>
        ZCOUNT <z> <bound> <bound>
        ZINCRBY <z> <score> <member>
        ZSCORE <z> <member>
        ZMSCORE <z> (<member>)+
        ZRANK|ZREVRANK <z> <member> [WITHSCORE]
        ZRANGE <z> <i> <i> [REV] [WITHSCORES]
        ZRANGE <z> <bound> <bound> BYSCORE [REV] [LIMIT 0|1 2|-1] [WITHSCORES]
        ZRANGE <q> <lex> <lex> BYLEX [REV] [LIMIT 0|1 2|-1]
        ZREVRANGE <z> <i> <i> [WITHSCORES]
        ZRANGEBYSCORE|ZREVRANGEBYSCORE <z> <bound> <bound> [WITHSCORES] [LIMIT 0|1 2|-1]
        ZRANGEBYLEX|ZREVRANGEBYLEX <q> <lex> <lex> [LIMIT 0|1 2|-1]
        ZLEXCOUNT <q> <lex> <lex>
        ZREMRANGEBYLEX <q> <lex> <lex>
        ZREMRANGEBYRANK <z> <i> <i>
        ZREMRANGEBYSCORE <z> <bound> <bound>
        ZPOPMIN|ZPOPMAX <z> [0|1|2]
        ZRANGESTORE <z> <z> <i> <i> [REV]
        ZUNION|ZINTER <zs> [WEIGHTS 2 -1.5] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
        ZDIFF <zs> [WITHSCORES]
        ZUNIONSTORE|ZINTERSTORE <z> <zs> [WEIGHTS 2 -1.5] [AGGREGATE SUM|MIN|MAX]
        ZDIFFSTORE <z> <zs>
        ZINTERCARD <zs> [LIMIT 0|1]
        ZMPOP <zs> MIN|MAX [COUNT 1|2|9]
        ZRANDMEMBER <z> 0|1000 [WITHSCORES]
        ZSCAN <z> 0 COUNT 1000
    """,
    "streams": """
        XADD <x> [NOMKSTREAM] [MAXLEN 5 / MAXLEN ~ 5 / MAXLEN = 3 / MINID <id>] <id> (<field> <v>)+
        XADD <x> <next> (<field> <v>)+
        XADD <x> <next> (<field> <v>)+
        XLEN <x>
        XRANGE <x> -|<id>|(<id> +|<id> [COUNT 0|1|9]
        XREVRANGE <x> +|<id> -|<id>|(<id> [COUNT 0|1|9]
        XDEL <x> (<id>)+
        XTRIM <x> MAXLEN|MINID [=|~] 1|3|9 [LIMIT 0|9]
        XSETID <x> <id> [ENTRIESADDED 9 MAXDELETEDID 1-1]
        XREAD [COUNT 0|1|9] STREAMS <x> 0|$|<id>
        XREAD [COUNT 0|1|9] STREAMS <x> <x> <x> 0|$|<id> 0|<id> 0|<id>
        XGROUP CREATE <x> <group> 0|$|<id> [MKSTREAM] [ENTRIESREAD 2]
        XGROUP CREATE <x> <group> 0 MKSTREAM
        XGROUP DESTROY <x> <group>
        XGROUP SETID <x> <group> 0|$|<id>
        XGROUP CREATECONSUMER|DELCONSUMER <x> <group> <consumer>
        XREADGROUP GROUP <group> <consumer> [COUNT 1|9] [NOACK] STREAMS <x> >|0|<id>
        XREADGROUP GROUP <group> <consumer> [COUNT 1|9] [NOACK] STREAMS <x> <x> >|0 >|<id>
        XACK <x> <group> (<id>)+
        XPENDING <x> <group>
        XPENDING <x> <group> [IDLE 0] - + 9 [<consumer>]
        XCLAIM <x> <group> <consumer> 0|99999999999 (<id>)+ [IDLE 0|9 / TIME 1] [RETRYCOUNT 3] [FORCE] [JUSTID]
        XAUTOCLAIM <x> <group> <consumer> 0|99999999999 0|<id> [COUNT 1|9] [JUSTID]
        XINFO STREAM <x> [FULL / FULL COUNT 1]
        XINFO GROUPS <x>
        XINFO CONSUMERS <x> <group>
    """,
    "geo": """
        GEOADD <g> [NX|XX] [CH] (<place> <member>)+
        GEODIST <g> <member> <member> [m|km|ft|mi|x]
        GEOHASH|GEOPOS <g> (<member>)+
        GEOSEARCH <g> FROMLONLAT <place> BYRADIUS 3000 km [ASC|DESC] [COUNT 1|3 / COUNT 2 ANY] [WITHCOORD] [WITHDIST]
        GEOSEARCH <g> FROMMEMBER <member> BYBOX 4000 2000 km ASC|DESC [WITHDIST] [WITHHASH]
        GEOSEARCHSTORE <g> <g> FROMLONLAT <place> BYRADIUS 5000 km [ASC] [COUNT 2] [STOREDIST]
        GEORADIUS <g> <place> 3000 km [ASC|DESC] [COUNT 2] [WITHDIST / WITHCOORD WITHHASH / STORE <g> / STOREDIST <g>]
        GEORADIUSBYMEMBER <g> <member> 3000 km [ASC|DESC] [WITHDIST / STORE <g> / STORE <g> STOREDIST <g>]
        GEORADIUS_RO <g> <place> 3000 km [ASC] [STORE <g>]
        GEORADIUSBYMEMBER_RO <g> <member> 3000 km [ASC]
        ZRANGE <g> 0 -1 WITHSCORES
    """,
    "hyperloglog": """
        PFADD <p> (<member>)+
        PFADD <p>
        PFCOUNT (<p>)+
        PFMERGE <p> (<p>)+
        PFMERGE <p>
        GET <p>
        SET <p> <v>
    """,
    "generic": """
        TYPE <any>
        RENAME|RENAMENX <same> <same>
        COPY <same> <same> [REPLACE] [DB 0]
        EXPIRE <any> <seconds>|-1|0 [NX|XX]
        PEXPIRE <any> <seconds>000 [NX|XX]
        EXPIREAT <any> <when>|1 [NX|XX|GT|LT]
        PEXPIREAT <any> <when>000|1 [NX|XX|GT|LT]
        PERSIST|TTL|PTTL|EXPIRETIME|PEXPIRETIME <any>
        OBJECT ENCODING|REFCOUNT <any>
        OBJECT NOSUCH <any>
        DUMP <any>
        RESTORE <any> 0|<seconds>000 <payload> [REPLACE] [IDLETIME 9 / FREQ 9]
        RESTORE <any> <when>000 <payload> [REPLACE] ABSTTL
        SORT <l>|<t>|<z> [LIMIT 0|1 2|-1] [ASC|DESC] [ALPHA]
        SORT <l>|<t> ALPHA [DESC] [GET #] [STORE <l>] [BY <l> STORE <l>]
        SORT_RO <l>|<t>|<z> [LIMIT 0|1 2|-1] [DESC] [ALPHA]
    """,
    "several keys": """
        MGET (<*s>)+ (<*any>)+
        MGET (<*any>)+
        MSET (<*s> <v>)+
        MSET (<*s> <v>)+ (<*w> <word>)+
        MSETNX (<s> <v>)+
        DEL|UNLINK (<*s>)+
        EXISTS|TOUCH|DEL|UNLINK|EXISTS|TOUCH (<*any>)+
        SET <s> <v>
        GET <s>
    """,
    "scripts": """
        EVAL <script> <any>
        EVAL|EVAL_RO <script> @1 <any> (<v>)+
        EVAL|EVAL_RO <script> @2 <s> <any> <v>
        EVAL|EVAL_RO <script> @2 <l> <l> <i>
        EVALSHA|EVALSHA_RO 0123456789abcdef0123456789abcdef01234567 @1 <any>
        FCALL|FCALL_RO nosuch @1 <any> <v>
        GET <s>
        LRANGE <l> 0 -1
    """,
    "connection": """
        PING [<v>]
        ECHO <v>
        SELECT 0
        CLIENT SETNAME name|other
        CLIENT GETNAME
        HELLO 2|3 [SETNAME hello]
        HELLO
        SMISMEMBER <t> <member>
        HGETALL <h>
        ZRANGE <z> 0 -1 WITHSCORES
        MGET (<*s>)+
    """,
    "unknown": """
        NOSUCH (<v>)+
        NOSUCH
        <v>
        GETS <s>
        SET\u00e9 <s> <v>
        LATENCYX <word>
        DELEX <s>
        DIGEST <s>
        INCREX <n>
        VADD <any> VALUES 2 1 2 <member>
        VCARD|VDIM <any>
        ARSET <any> 0 <v>
        DELIFEQ <s> <v>
        XACKDEL <x> <group> IDS 1 <id>
    """,
}
"""The groups that consist of patterns only; any pool answers them like a single server."""

_ONE_SERVER_PATTERNS = """
    SORT <j> BY <pattern> [GET <pattern> / GET <pattern> GET #] [ALPHA] [LIMIT 0 2]
    SORT <j> BY nosort GET <pattern> STORE <l>
    LPUSH|RPUSH <j> (<i>)+
    LPOP <j>
    SORT_RO <j> ALPHA BY <pattern> GET #
    EVAL return{1,{2,ARGV[1]}} @0 <v>
    EVAL_RO return|x @0
    FCALL nosuch @0
    ZUNION|ZINTER|ZDIFF @0 <z>
    ZUNIONSTORE <z> @0
    LMPOP @0 <l> LEFT
    SINTERCARD @0 <t>
    SUNION|SDIFF (<*t>)+
    SINTERSTORE|SUNIONSTORE <*t> (<*t>)+
    RENAME|RENAMENX|COPY <*s> <*s>
    RPOPLPUSH <*l> <*l>
    MSETNX (<*s> <v>)+
    PFCOUNT (<*p>)+
    BITOP OR <*s> (<*s>)+
    XREAD STREAMS <*x> <*x> 0 0
    EVAL <script> @2 <*s> <*any> <v>
"""

_NEWER = ("field expiry", "unknown")
GROUPS: dict[str, Maker] = {name: from_patterns(made_of, name in _NEWER) for name, made_of in PATTERNS.items()}
GROUPS["connection"] = _any_of([*[GROUPS["connection"]] * 4, _skipped])
ONE_SERVER: dict[str, Maker] = {"one server": from_patterns(_ONE_SERVER_PATTERNS)}
"""The group that only a pool of one server answers like a single server."""

FURNISHING = """
    SET <s> <v>
    SET <n> <i>
    SET <w> <word>
    RPUSH <l> (<v>)+ (<i>)+
    RPUSH <j> (<i>)+ (<i>)+
    HSET <h> (<field> <v>)+ (<field> <v>)+
    SADD <t> (<member>)+ (<member>)+
    SADD <t> (<i>)+ (<i>)+
    ZADD <z> (<score> <member>)+ (<score> <member>)+
    ZADD <q> (<zero> <member>)+ <zero> b
    XADD <x> 1-1 (<field> <v>)+
    XADD <x> <next> (<field> <v>)+
    XGROUP CREATE <x> <group> 0 MKSTREAM
    XGROUP CREATE <x> <group> $ MKSTREAM
    GEOADD <g> (<place> <member>)+ (<place> <member>)+
    PFADD <p> (<member>)+
"""


def pieces(make: Maker, count: int, seed: str = "") -> list[Piece]:
    """Return ``count`` random pieces; the result is always the same for a seed."""
    source = random.Random(f"pieces{seed}")
    return [make(source) for _ in range(count)]


def furnishing(seed: str = "") -> list[Command]:
    """Commands that create keys of every type; the result is always the same for a seed."""
    make = from_patterns(FURNISHING)
    return [made for piece in pieces(make, 120, seed) for made in piece]
