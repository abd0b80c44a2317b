"""Random redis commands for streams about more than single keys: transactions, databases, the whole pool.

Each piece leaves the connection as it was: in database 0, outside a transaction, without watched keys. Everything that
``redis_streams`` leaves out is left out here too, and also:

- in transactions: keys of several servers, the proxy's own answers except those to PING and ECHO, and mistakes for
  which the proxy's error text differs from redis's, because redis finds some of them only in EXEC;
- MULTI and WATCH in a transaction: redis 7.0 returns an error and continues, valkey then also refuses EXEC;
- SCRIPT EXISTS and EVALSHA of scripts that were not loaded with SCRIPT LOAD, and SCRIPT FLUSH: the scripts that a pool
  knows outlive the examples;
- the error texts of SELECT, and commands that name a second database;
- blocking for ever, unless there is an element; the order in which several waiting clients are served.
"""

import hashlib
import random

from harness.redis_patterns import PLACES, SCRIPTS
from harness.redis_streams import PATTERNS, Command, Maker, Piece, command, from_patterns, lines_of, random_command

DATABASES = 4
DIRECTIVES = {"allow_commands": "flushall flushdb keys", "databases": DATABASES}
"""The directives that a pool needs for these groups."""

_SCRIPTS = [f"{script} -- by its sum" for script in SCRIPTS if "\n" not in script and "no lua" not in script]
"""These scripts differ from those of other groups, which are on one server only."""
_SUMS = [hashlib.sha1(script.encode()).hexdigest() for script in _SCRIPTS]

_BLOCKING = """
    BLPOP|BRPOP <l> <wait>
    BLPOP|BRPOP <l> <l> <l> <wait>
    BLMOVE <l> <l> LEFT|RIGHT LEFT|RIGHT <wait>
    BRPOPLPUSH <l> <l> <wait>
    BLMPOP <wait> <ls> LEFT|RIGHT [COUNT 2]
    BZPOPMIN|BZPOPMAX <z> <z> <wait>
    BZMPOP <wait> <zs> MIN|MAX [COUNT 2]
    XREAD COUNT 1 BLOCK 5 STREAMS <x> <x> 0 $
    XREAD BLOCK 5|x STREAMS <x> $
    XREADGROUP GROUP <group> <consumer> BLOCK 5 STREAMS <x> >
"""
_FILLING = """
    RPUSH <l> (<v>)+
    RPUSH <l> (<v>)+
    ZADD <z> (<score> <member>)+
    XADD <x> <next> (<field> <v>)+
"""
_TRANSACTIONAL = """
    PING
    ECHO <v>
    BLPOP <l> <wait>
    XREAD BLOCK 5 STREAMS <x> $
    UNWATCH
    EVAL <script> @1 <any> <v>
"""
_QUEUED = [
    line
    for name in ("strings", "hashes", "lists", "sets", "sorted sets", "streams", "generic", "several keys")
    for line in lines_of(PATTERNS[name])
] + lines_of(_TRANSACTIONAL) * 5


def _commands(source: random.Random, patterns: list[str], count: int, home: list[bytes]) -> list[Command]:
    """Return up to ``count`` random commands with their keys at ``home``."""
    made = (random_command(source, source.choice(patterns), home=home, mistakes=0.03) for _ in range(count))
    return [command for command in made if not command.any_error]


def _transaction(source: random.Random) -> Piece:
    """Optionally WATCH and a change, then MULTI, a few commands, and EXEC or DISCARD."""
    home = source.choice(PLACES)
    piece: list[Command] = []
    if source.random() < 0.4:
        piece.append(random_command(source, "WATCH (<any>)+", home=home, mistakes=0.0))
        piece += _commands(source, _QUEUED, source.choice([0, 0, 1, 2]), home)
        if source.random() < 0.15:
            return (*piece, command(source, source.choice(["UNWATCH", "EXEC", "DISCARD"])), command(source, "UNWATCH"))
    queued = _commands(source, _QUEUED, source.choice([0, 1, 2, 3, 8]), home)
    piece += [command(source, "MULTI"), *queued]
    if source.random() < 0.1:
        refused = random_command(source, source.choice(["NOSUCH", "GET", "SET <s>"]), home=home, mistakes=0.0)
        piece.insert(source.randint(len(piece) - len(queued), len(piece)), refused)
    end = command(source, "DISCARD" if source.random() < 0.15 else "EXEC")
    return (*piece, end._replace(queued=tuple(queued)))


def _stray(source: random.Random) -> Piece:
    """EXEC, DISCARD or UNWATCH outside a transaction."""
    return (command(source, source.choice(["EXEC", "DISCARD", "UNWATCH"])),)


def _elsewhere(source: random.Random) -> Piece:
    """A few commands in another database, or a SELECT of a database that does not exist."""
    if source.random() < 0.1:
        number = source.choice(["99", "-1", "x", "", "1x", "4294967296"])
        return (command(source, "SELECT", number)._replace(any_error=True),)
    patterns = [*_QUEUED, "FLUSHDB", "DBSIZE", "KEYS *"]
    inside = _commands(source, patterns, source.choice([1, 3, 6]), source.choice(PLACES))
    return (command(source, "SELECT", str(source.randrange(DATABASES))), *inside, command(source, "SELECT", "0"))


def _blocking(source: random.Random) -> Piece:
    return (random_command(source, source.choice(lines_of(_BLOCKING)), mistakes=0.0),)


def _at_once(source: random.Random) -> Piece:
    """A blocking command gets an existing element at once, whatever its timeout."""
    key = random_command(source, "LLEN <l>", mistakes=0.0).words[1]
    wait = source.choice(["0", "0.5", "100"])
    return command(source, "RPUSH", key, "a", "b"), command(source, source.choice(["BLPOP", "BRPOP"]), key, wait)


def _by_sum(source: random.Random) -> Piece:
    number = source.randrange(len(_SCRIPTS))
    unknown = f"{source.randrange(3):040x}"
    match source.randrange(6):
        case 0:
            return (command(source, "SCRIPT", "LOAD", _SCRIPTS[number]),)
        case 1:
            return (command(source, "SCRIPT", "EXISTS", *source.sample([*_SUMS, unknown, "x"], source.choice([1, 3]))),)
        case 2:
            return (command(source, "SCRIPT", "LOAD", "this is no lua"),)
        case _:
            sha = source.choice([_SUMS[number], _SUMS[number], _SUMS[number].upper(), unknown, "short"])
            patterns = [f"EVALSHA {sha} @1 <any> <v>", f"EVALSHA_RO {sha} @2 <l> <l> <i>", f"EVALSHA {sha} @1 <*s> <v>"]
            return (random_command(source, source.choice(patterns), mistakes=0.03),)


def _choice(*makers: Maker) -> Maker:
    return lambda source: source.choice(makers)(source)


POOL_GROUPS: dict[str, Maker] = {
    "transactions": _choice(*[_transaction] * 9, _stray),
    "whole pool": from_patterns("""
        DBSIZE
        KEYS *|{a}*|*s0|*[lt]?|nosuch|\\*
        KEYS
        FLUSHDB [SYNC|ASYNC]
        FLUSHALL [SYNC|ASYNC]
        FLUSHDB SYNC SYNC
        SET <s> <v>
        MSET (<*s> <v>)+
        DEL (<*any>)+
        SADD <t> (<member>)+
        RESTORE <any> 0 <payload>
    """),
    "scripts by sum": _choice(*[_by_sum] * 5, from_patterns(PATTERNS["scripts"])),
    "databases": _elsewhere,
    "blocking": _choice(_blocking, _blocking, _at_once, from_patterns(_FILLING), from_patterns(_FILLING)),
}
"""The groups; a pool with DIRECTIVES answers them like a single server."""

LOADING = [command(random.Random(script), "SCRIPT", "LOAD", script) for script in _SCRIPTS]
"""Commands that must be sent first."""
