"""Writes the documents that are made of tables: ``python tools/generate_docs.py``.

docs/configuration.md comes from the directives, docs/commands.md and docs/memcached.md from the tables of commands.
With ``--check`` nothing is written; the exit status says whether the files are as they would be.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from twemproxy.config.directives import DIRECTIVES, Directive, default
from twemproxy.config.numbers import NUMBER_MAXIMUM
from twemproxy.protocol.memcache import commands as memcache
from twemproxy.protocol.memcache.commands import Command, Form
from twemproxy.protocol.redis import commands as redis
from twemproxy.protocol.redis.commands import Routing

DOCS = Path(__file__).parents[1] / "docs"

KINDS = {
    "commands": "names of commands",
    "listen": "[address](#listen)",
    "servers": "[list of servers](#servers)",
    "hash tag": "two characters",
    "string": "string",
    "boolean": "`true` or `false`",
}
"""Values by kind, where the kind says it all."""

UNITS = {"ms": "milliseconds", "s": "seconds", "": "number"}
"""Numbers by unit, where the unit is no word to count by."""

BEGINNING = """\
<!-- Written by tools/generate_docs.py from src/twemproxy/config/directives.py: change those. -->

# The configuration file

One YAML document: pool names, and under each the directives of that pool. `nutcracker -t -c FILE` checks a file
without running it; a file that cannot be used is reported once, as `file:line:column: reason`.

```yaml
alpha:
  listen: 127.0.0.1:22121
  redis: true
  servers:
    - 127.0.0.1:6379:1
    - 127.0.0.1:6380:1 second
```

conf/nutcracker.yml is a longer sample.

## Directives

| directive | value | default | meaning |
|---|---|---|---|
"""

END = """
Numbers are decimal digits and nothing else, up to {maximum}. Truth values are `true` or `false`, in lower case.
Quotes make no difference: `timeout: "5"` is a number. No name and no value may be empty, and no directive may stand
twice in a pool.

## listen

| form | listens on |
|---|---|
| `host:port` | the first address of the host; the port is what follows the last colon |
| `/path` | a unix stream socket, with the mode that the umask leaves |
| `/path 0660` | the same with this octal mode, at most `0777`; the mode is what follows the last space |

The path has less than 108 bytes. Two pools may not have the same `listen`.

## servers

| form | name without one given |
|---|---|
| `host:port:weight` | `host:port` as written; the host alone when the port is 11211 |
| `/path:weight` | the path and a colon, `/path:` |
| `host:port:weight name`, `/path:weight name` | |

- The name decides, with the weight, which keys a server gets: a server that keeps its name keeps its keys,
  whatever its address is. Names are unique in a pool.
- The weight is a number above 0, relative to the others of the pool.
- A path has neither colons nor, unless a name follows, spaces. IPv6 addresses have no brackets: `::1:6379:1`.
- The order of the list means nothing. Servers, and pools, are sorted by name: shorter ones first, those of equal
  length by bytes.
- Hosts of servers are not looked up when the file is read.

## YAML that may not be used

Flow collections (`[a]`, `{{a: b}}`), anchors, aliases, tags, directives (`%YAML`) and document markers (`---`, `...`).
Exactly one directive of each pool has a list as its value: `servers`.
"""


def value(directive: Directive) -> str:
    """What the directive takes."""
    if directive.choices:
        return ", ".join(f"`{choice}`" for choice in directive.choices)
    if directive.kind == "number":
        text = UNITS.get(directive.unit, f"number of {directive.unit}")
        if directive.minimum:
            text += f", at least {directive.minimum}"
        return text if directive.maximum == NUMBER_MAXIMUM else f"{text} and at most {directive.maximum}"
    return KINDS[directive.kind]


def shown_default(directive: Directive) -> str:
    """The default as the file would say it."""
    if directive.required:
        return "required"
    given = default(directive)
    if isinstance(given, bool):
        return f"`{str(given).lower()}`"
    return f"`{given}`" if given not in ("", ()) else "unset"


def meaning(directive: Directive) -> str:
    """The help with what it does in the other protocol's pools."""
    notes = {
        "any": "",
        "redis": " Ignored unless the pool speaks redis.",
        "redis only": " Only a pool that speaks redis may have it.",
        "memcached only": " Only a pool that speaks memcached may have it.",
    }
    return directive.help + notes[directive.protocol]


def configuration() -> str:
    """The whole of docs/configuration.md."""
    rows = (
        f"| `{directive.name}` | {value(directive)} | {shown_default(directive)} | {meaning(directive)} |\n"
        for directive in DIRECTIVES
    )
    return BEGINNING + "".join(rows) + END.format(maximum=NUMBER_MAXIMUM)


ARGUMENTS = {
    Form.STORAGE: "`key flags exptime bytes [noreply]`, data block",
    Form.CAS: "`key flags exptime bytes cas [noreply]`, data block",
    Form.RETRIEVAL: "`key ...`",
    Form.RETRIEVAL_TOUCH: "`exptime key ...`",
    Form.ARITHMETIC: "`key delta [noreply]`",
    Form.TOUCH: "`key exptime [noreply]`",
    Form.DELETE: "`key [0] [noreply]`",
    Form.META: "`key flags`",
    Form.META_SET: "`key bytes flags`, data block",
    Form.VERBOSITY: "`level [noreply]`",
    Form.FLUSH_ALL: "`[delay] [noreply]`",
    Form.STATS: "none, `servers`, or any other",
}
"""Arguments by form; the other forms have none."""

DESTINATIONS = {
    Form.RETRIEVAL: "each key's server, the values merged in the order of the keys",
    Form.RETRIEVAL_TOUCH: "each key's server, the values merged in the order of the keys",
    Form.META_NOOP: "the proxy, once everything before it is answered",
    Form.VERSION: "one server",
    Form.VERBOSITY: "every server, one reply",
    Form.FLUSH_ALL: "every server, one reply",
    Form.STATS: "none or `servers`: the proxy; else every server, lines with the server's name in front",
    Form.QUIT: "the proxy",
    Form.REFUSED: "refused: {refusal}",
}
"""Where requests of a form go; those of the others go to the server of their key."""

MEMCACHED_BEGINNING = """\
<!-- Written by tools/generate_docs.py from src/twemproxy/protocol/memcache/commands.py: change those. -->

# Memcached pools

A pool without `redis: true` speaks memcached's text protocol, classic and meta commands, with the semantics of
memcached 1.6. Clients see one memcached. What differs from nutcracker and from memcached itself is in
[differences.md](differences.md).

## Commands

| command | arguments | goes to | what it does |
|---|---|---|---|
"""

MEMCACHED_END = """
Any other command is answered `ERROR`, and the connection goes on.

## Keys, numbers, values

- A key has 1 to {key} bytes, none of them a control character or a blank. With the meta flag `b` it is written in
  base64; the decoded bytes, which may be any but a line feed, decide which server it is on, so `mg Zm9v b` and
  `get foo` ask the same one.
- Numbers are plain decimals: `flags` of 32 bits, `exptime` of 31 and perhaps negative, `delta` and `cas` of 64.
- A value may have up to {value}, and no more than its server takes: a larger one is answered
  `SERVER_ERROR object too large for cache`, as memcached does, and the connection goes on.
- A line has up to {line} bytes, as in memcached, but one of get or gets up to {keys_line}.

## noreply and quiet requests

Every request that reaches a server is answered by it: `noreply` and the flag `q` do not get that far. The proxy drops
what the client does not want: any reply to a `noreply`, errors included, and those of a quiet request that are nominal.

| command | `q` hides |
|---|---|
{quiet}

`mn` is a barrier: its `MN` comes when everything before it is answered, whichever servers that was up to.

## Statistics

`stats` shows the proxy's own figures for the pool, `stats servers` what it knows of each server: whether it is live,
its address, and the counters of the statistics port. Any other argument is passed to every server: each line comes back
with the server's name in front, `STAT server1:curr_items 12`; a server that cannot be asked has one line,
`STAT server1:error Connection refused`.

## Servers

A new connection asks for the version first. Meta commands need memcached 1.6.10 or newer: an older server answers them
otherwise, or takes the data block of `ms` for commands, so it does not get them, and the client gets a `SERVER_ERROR`
that says so. Everything else works with older servers, too, as far as they know it.
"""


def size_text(size: int) -> str:
    """A size in bytes as people write it."""
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return str(size)


def destination(command: Command) -> str:
    """Where a command's requests go."""
    text = DESTINATIONS.get(command.form, "the key's server").format(refusal=command.refusal)
    return f"{text}; only with `allow_commands: {command.name}`" if command.permission else text


def memcached() -> str:
    """The whole of docs/memcached.md."""
    rows = (
        f"| `{command.name}` | {ARGUMENTS.get(command.form, '')} | {destination(command)} | {command.summary} |\n"
        for command in memcache.COMMANDS
    )
    quiet = (
        f"| `{command.name}` | {', '.join(f'`{word}`' for word in nominal.split())} |"
        for command in memcache.COMMANDS
        if command.reply and (nominal := memcache.REPLY_KINDS[command.reply].nominal)
    )
    end = MEMCACHED_END.format(
        key=memcache.MOST_KEY,
        value=size_text(memcache.MOST_ACCEPTED),
        line=memcache.MOST_LINE,
        keys_line=size_text(memcache.MOST_KEYS_LINE),
        quiet="\n".join(quiet),
    )
    return MEMCACHED_BEGINNING + "".join(rows) + end


REDIS_BEGINNING = """\
<!-- Written by tools/generate_docs.py from src/twemproxy/protocol/redis/commands.py: change those. -->

# Redis commands

Every command of redis and valkey, and what becomes of it in a pool with `redis: true`. The table is made of what the
servers say about their commands; `COMMAND` answers from the same one. A command that is not in it, of a module for
instance, is looked up at a server once: if `COMMAND INFO` there knows it, it goes to the server of its keys, else the
answer is `ERR unknown command`. One that was renamed at the servers is what it was, permissions included; of those that
are about the connection there is none by another name. Clients get to read why a command is refused.

- *Key's server*: the request goes to the server of its key, byte for byte.
- *One server*: it has several keys, and all of them must be on one server; otherwise the answer is `-CROSSSLOT Keys in
  request don't hash to the same server (use a hash tag)`. In a pool of one server they always are.
- *Split*: one request per server, the replies merged.
- *Every server*: all are asked, ejected ones too, and the replies become one; a server that fails makes it an error.
- *Private connection*: the client gets a server connection of its own meanwhile, at most `blocking_connections` of the
  pool together, so that nobody else waits.
- *Subscription*: one connection to each server brings what is published to all clients.
- *Proxy*: answered without asking a server.
- *Only with* `allow_commands`: it can destroy or stall what others need, see [configuration.md](configuration.md).

| command | since | goes to |
|---|---|---|
"""

ROUTES = {
    Routing.KEY: "key's server",
    Routing.COUNTED_KEYS: "one server; without keys only in a pool of one server",
    Routing.EACH_KEY_SUM: "split, sum of the replies",
    Routing.EACH_KEY_VALUES: "split, values in the order of the keys",
    Routing.EACH_PAIR_STATUS: "split, one status",
    Routing.ANY_SERVER: "any one server",
    Routing.SEARCHED_KEYS: "one server",
    Routing.ONLY_SERVER: "the server of a pool of one",
    Routing.BLOCKING: "one server, on a private connection",
    Routing.EVERY_SERVER: "every server, {merge}",
    Routing.TRANSACTION: "the server of the keys, on a private connection",
    Routing.SUBSCRIPTION: "subscription",
    Routing.BY_SUBCOMMAND: "by sub-command",
    Routing.LOCAL: "proxy",
    Routing.REFUSED: "refused: {refusal}",
}
"""Where requests go, by routing; KEY with several keys goes to one server."""

MERGED = {
    "sum": "sum of the replies",
    "smallest": "the smallest reply",
    "smallest of each": "the smallest reply, element by element",
    "joined": "the replies one after the other",
    "without repeats": "the replies without repeats",
    "any": "one of the replies",
    "subscribers": "numbers of subscribers, those of this proxy's clients included",
    "one done": "fine when it was for one, on private connections",
    "cursor": "one after the other, the cursor tells where",
    "all alike": "the reply that all give, or the first error",
}
"""What becomes of the replies of every server."""

NOTES = {
    "wait": "every server, the smallest reply, on private connections",
    "waitaof": "every server, the smallest reply element by element, on private connections",
    "publish": "the channel's server",
    "spublish": "the channel's server",
    "xread": "one server; with BLOCK on a private connection",
    "xreadgroup": "one server; with BLOCK on a private connection",
    "sort": "one server; BY and GET patterns only in a pool of one server",
    "sort_ro": "one server; BY and GET patterns only in a pool of one server",
    "copy": "one server; to a database that the pool has",
    "move": "key's server; to a database that the pool has",
    "multi": "the proxy, then the server of the first key, on a private connection",
    "evalsha": "one server; without keys only in a pool of one server; a script that was seen is sent again if need be",
}
"""What the routing of a command does not say."""


def redis_commands() -> str:
    """The whole of docs/commands.md."""
    rows = []
    for command in redis.COMMANDS:
        rows.append(redis_row(command))
        if command.routing == Routing.BY_SUBCOMMAND:
            rows += [redis_row(sub) for name, sub in redis.SUBCOMMANDS.items() if name.split("|")[0] == command.name]
    return REDIS_BEGINNING + "".join(rows)


def redis_row(command: redis.Command) -> str:
    """The row of a command, or of a sub-command."""
    text = ROUTES[command.routing].format(refusal=command.refusal, merge=MERGED.get(command.merge, ""))
    if command.routing == Routing.KEY and command.one_key < redis.ANY_NUMBER:
        text = "one server"
    text = NOTES.get(command.name, text)
    if command.permission:
        text += f"; only with `allow_commands: {command.name}`"
    name = command.name.replace("|", " ")
    return f"| `{name}` | {command.since} | {text.replace('|', chr(92) + '|')} |\n"


DOCUMENTS: dict[str, Callable[[], str]] = {
    "commands.md": redis_commands,
    "configuration.md": configuration,
    "memcached.md": memcached,
}
"""Files in the folder of documents and what writes them."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is stale")
    check: bool = parser.parse_args().check
    stale = 0
    for name, document in DOCUMENTS.items():
        target = DOCS / name
        if not check:
            target.write_text(document())
        elif not target.exists() or target.read_text() != document():
            print(f"{name} is stale: run tools/generate_docs.py", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
