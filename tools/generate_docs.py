"""Writes the documents that are generated from tables: ``python tools/generate_docs.py``.

docs/configuration.md comes from the directives, docs/commands.md and docs/memcached.md from the tables of commands,
docs/statistics.md from the catalogue of counters, docs/metrics.md from the table of metrics, docs/command-line.md from
the options and the sub-commands, the tables in docs/logs.md and docs/access-log.md from the levels and fields of the
logs, the diagrams in docs/architecture.md from the tables of states, rows of docs/differences.md from the table of
nutcracker doctor, docs/man/nutcracker.1 and contrib/completion from the tables of the command line.
With ``--check`` nothing is written; the exit status tells whether the files are up to date.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import metrics_page
import statistics_page
from command_line_docs import command_line, fields_of_access_log, fields_of_logs, levels_of_logs
from differences_page import differences
from man_page import man_page
from twemproxy.cli import start_options
from twemproxy.commands.completion_scripts import bash, fish, zsh
from twemproxy.commands.grammar import grammar_of
from twemproxy.config.directives import DIRECTIVES, EFFECTS, Directive, default
from twemproxy.config.numbers import NUMBER_MAXIMUM, share_text
from twemproxy.downstream import client_states
from twemproxy.protocol.memcache import commands as memcache
from twemproxy.protocol.memcache.commands import Command, Form
from twemproxy.protocol.redis import commands as redis
from twemproxy.protocol.redis.commands import Routing
from twemproxy.upstream import connection_states, health_states
from twemproxy.upstream.roles import ROLES, RolePolicy

DOCS = Path(__file__).parents[1] / "docs"

KINDS = {
    "commands": "names of commands",
    "listen": "[address](#listen)",
    "servers": "[list of servers](#servers)",
    "hash tag": "two characters",
    "string": "string",
    "boolean": "`true` or `false`",
    "share": "number from 0 to 1, such as `0.01`",
}
"""The values of a directive by its kind, if the kind determines them."""

UNITS = {"ms": "milliseconds", "s": "seconds", "": "number"}
"""The values of numbers by unit, for units that cannot follow "number of"."""

BEGINNING = """\
<!-- Written by tools/generate_docs.py from src/twemproxy/config/directives.py: change those. -->

# The configuration file

The file is one YAML document: names of pools, and under each name the directives of that pool. `nutcracker -t -c FILE`
checks a file and exits; `nutcracker check FILE` [also](changes.md) does it. Every error in a file is reported as
`file:line:column: reason`.

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

| directive | value | default | meaning | effect of a change |
|---|---|---|---|---|
"""

END = """
The last column says what a running proxy does when the value of a directive changes:

| effect | meaning |
|---|---|
{effects}

[changes.md](changes.md) has the details, and how to see the effects of a change before it is made.

Numbers consist of decimal digits only, up to {maximum}. `true` and `false` are written in lower case. Quotes make no
difference: `timeout: "5"` is a number. Names and values may not be empty, and a pool may not have a directive twice.

## listen

| form | listens on |
|---|---|
| `host:port` | the first address of the host; the port follows the last colon |
| `/path` | a unix stream socket, with the mode that the umask allows |
| `/path 0660` | the same with this octal mode, at most `0777`; the mode follows the last space |

A path has fewer than 108 bytes. Two pools may not have the same `listen`.

## servers

| form | default name |
|---|---|
| `host:port:weight` | `host:port` as written; the host alone when the port is 11211 |
| `/path:weight` | the path and a colon, `/path:` |

A name follows after one space: `host:port:weight name`, `/path:weight name`.

- The name and the weight decide which keys a server gets: a server that keeps its name keeps its keys, whatever its
  address is. Names are unique in a pool.
- The weight is a number above 0, relative to the other weights of the pool.
- A path may not have colons, and may have spaces only when a name follows. IPv6 addresses have no brackets:
  `::1:6379:1`.
- The order of the list has no effect. Servers and pools are sorted by name: shorter names first, names of equal length
  by bytes.
- The names of hosts are not looked up when the file is read.

## Scripts

`allow_commands` and `deny_commands` apply to the commands that clients send. The commands inside a script or a function
do not pass through the proxy, so the proxy cannot refuse them: `EVAL "return redis.call('flushall')" 1 k` empties a
server although FLUSHALL needs permission. Two settings prevent this:

- `deny_commands: "@scripting"` refuses all commands that run, load, list or remove scripts and functions;
  `deny_commands: eval` refuses the commands that run them.
- The servers' ACLs apply inside scripts. The proxy is the user `default` of the servers: after
  `ACL SETUSER default -@dangerous` at a server, no client of the proxy and no script can run the dangerous commands.

Clients may run scripts (EVAL, EVALSHA, FCALL, SCRIPT LOAD) and end scripts that run for too long (SCRIPT KILL, FUNCTION
KILL) without permission. Commands that change the scripts or functions of all clients need permission: FUNCTION LOAD,
FUNCTION DELETE, FUNCTION FLUSH, FUNCTION RESTORE, SCRIPT FLUSH.

## YAML that is not allowed

Flow collections (`[a]`, `{{a: b}}`), anchors, aliases, tags, directives (`%YAML`) and document markers (`---`, `...`)
are errors. Exactly one directive of each pool has a list as its value: `servers`.
"""


def value(directive: Directive) -> str:
    """The values that a directive takes."""
    if directive.choices:
        return ", ".join(f"`{choice}`" for choice in directive.choices)
    if directive.kind == "number":
        text = UNITS.get(directive.unit, f"number of {directive.unit}")
        if directive.minimum:
            text += f", at least {directive.minimum}"
        return text if directive.maximum == NUMBER_MAXIMUM else f"{text} and at most {directive.maximum}"
    return KINDS[directive.kind]


def shown_default(directive: Directive) -> str:
    """The default value, as it is written in the file."""
    if directive.required:
        return "required"
    given = default(directive)
    if isinstance(given, bool):
        return f"`{str(given).lower()}`"
    if isinstance(given, float):
        return f"`{share_text(given)}`"
    return f"`{given}`" if given not in ("", ()) else "unset"


def meaning(directive: Directive) -> str:
    """The help of a directive, with its effect in pools of the other protocol."""
    notes = {
        "any": "",
        "redis": " Memcached pools ignore it.",
        "redis only": " Only for redis pools.",
        "memcached only": " Only for memcached pools.",
    }
    return directive.help.replace("|", r"\|") + notes[directive.protocol]


def configuration() -> str:
    """The text of docs/configuration.md."""
    rows = (
        f"| `{directive.name}` | {value(directive)} | {shown_default(directive)} | {meaning(directive)} "
        f"| {directive.effect} |\n"
        for directive in DIRECTIVES
    )
    effects = "\n".join(f"| {effect} | {text} |" for effect, text in EFFECTS.items())
    return BEGINNING + "".join(rows) + END.format(maximum=NUMBER_MAXIMUM, effects=effects)


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
    Form.STATS: "none, or one of [these](#statistics)",
}
"""Arguments by form; other forms have none."""

DESTINATIONS = {
    Form.RETRIEVAL: "each key's server; the values come in the order of the keys",
    Form.RETRIEVAL_TOUCH: "each key's server; the values come in the order of the keys",
    Form.META_NOOP: "the proxy, after all earlier replies",
    Form.VERSION: "one server",
    Form.VERBOSITY: "every server, one reply",
    Form.FLUSH_ALL: "every server, one reply",
    Form.STATS: "every server, see [Statistics](#statistics); `proxy` and `servers`: the proxy",
    Form.QUIT: "the proxy",
    Form.REFUSED: "refused: {refusal}",
}
"""The destinations of requests by form; requests of other forms go to the server of their key."""

MEMCACHED_BEGINNING = """\
<!-- Written by tools/generate_docs.py from src/twemproxy/protocol/memcache/commands.py: change those. -->

# Memcached pools

A pool without `redis: true` speaks memcached's text protocol, classic and meta commands, with the semantics of
memcached 1.6. Clients see one memcached. [differences.md](differences.md) lists the differences from nutcracker and
from memcached itself.

## Commands

| command | arguments | goes to | what it does |
|---|---|---|---|
"""

MEMCACHED_END = """
Any other command gets `ERROR`, and the connection stays open.

## Keys, numbers, values

- A key has 1 to {key} bytes, without control characters and blanks. With the meta flag `b` a key is written in base64.
  The decoded bytes decide which server has the key, so `mg Zm9v b` and `get foo` ask the same server. They may not
  contain a line feed.
- Numbers are plain decimals: `flags` with 32 bits, `exptime` with 31 bits and an optional minus, `delta` and `cas` with
  64 bits.
- A value has up to {value}, and no more than its server accepts. A larger value gets
  `SERVER_ERROR object too large for cache`, as in memcached, and the connection stays open.
- A line has up to {line} bytes, as in memcached. A line of get or gets has up to {keys_line}.

## noreply and quiet requests

Servers reply to every request: the proxy removes `noreply` and the flag `q` before it forwards a request. It then drops
the replies that the client does not want. For `noreply` these are all replies, errors included; for `q` the
suppressible ones:

| command | `q` hides |
|---|---|
{quiet}

`mn` is a barrier: the client gets `MN` after the replies to all earlier requests, of all servers.

## Statistics

Monitoring tools see one memcached:

| argument of `stats` | reply |
|---|---|
{statistics}
| any other | the lines of every server, each with the server's name: `STAT server1:3:state conn_read` |

Counters, sizes and limits are added up. `uptime` and `accepting_conns` are the smallest, `version` is the oldest, ages
are the largest. A setting that differs between servers is left out. `pid` is the proxy's. In a pool of one server all
other figures are that server's. With several workers the counters and gauges of `proxy` and `servers` are sums over the
processes that run; the rest is what the worker knows that serves the client.

A server that does not reply within a second, or within `timeout`, is left out and counted in `servers_failed`. When no
server replies, the client gets the error. The proxy asks the servers after the client's earlier requests have replies,
and sends one such request at a time for all clients of the pool.

{permission} need permission, for instance `allow_commands: "stats|reset"`.

## Servers

A new server connection sends `version` first. Meta commands need memcached 1.6.10 or newer: an older server replies
differently, or runs the data block of `ms` as commands. Such a server does not get meta commands, and the client gets a
`SERVER_ERROR` with the reason. All other commands work with older servers that know them.
"""


def size_text(size: int) -> str:
    """A size in bytes as text with a unit."""
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return str(size)


def destination(command: Command) -> str:
    """The destination of a command's requests."""
    text = DESTINATIONS.get(command.form, "the key's server").format(refusal=command.refusal)
    return f"{text}; only with `allow_commands: {command.name}`" if command.permission else text


def memcached() -> str:
    """The text of docs/memcached.md."""
    rows = (
        f"| `{command.name}` | {ARGUMENTS.get(command.form, '')} | {destination(command)} | {command.summary} |\n"
        for command in memcache.COMMANDS
    )
    quiet = (
        f"| `{command.name}` | {', '.join(f'`{word}`' for word in suppressible.split())} |"
        for command in memcache.COMMANDS
        if command.reply and (suppressible := memcache.REPLY_KINDS[command.reply].suppressible)
    )
    end = MEMCACHED_END.format(
        key=memcache.MOST_KEY,
        value=size_text(memcache.MOST_ACCEPTED),
        line=memcache.MOST_LINE,
        keys_line=size_text(memcache.MOST_KEYS_LINE),
        quiet="\n".join(quiet),
        statistics="\n".join(
            f"| {f'`{name}`' if name else 'none'} | {text} |" for name, text in memcache.STATISTICS.items()
        ),
        permission=", ".join(f"`stats {name}`" for name in memcache.STATISTICS_WITH_PERMISSION),
    )
    return MEMCACHED_BEGINNING + "".join(rows) + end


REDIS_BEGINNING = """\
<!-- Written by tools/generate_docs.py from src/twemproxy/protocol/redis/commands.py: change those. -->

# Redis commands

This page lists every command of redis and valkey, and where a pool with `redis: true` sends it. The table comes from
the servers' own descriptions of their commands; the reply to `COMMAND` comes from the same table. When a command is
refused, the client gets an error with the reason.

- *Key's server*: the request goes to the server of its key, unchanged.
- *One server*: the request may have several keys, and all of them must be on one server. Otherwise the client gets
  `-CROSSSLOT Keys in request don't hash to the same server (use a hash tag)`.
- *Split*: one request per server; the replies are merged.
- *Every server*: all servers are asked, ejected ones too, and the replies become one. If one server fails, the reply is
  an error.
- *Private connection*: the client has a server connection for itself until the request is done, so that no other client
  waits. A pool has up to `blocking_connections` of these.
- *Subscription*: one connection to each server receives the messages for all clients.
- *Proxy*: the proxy replies without asking a server.
- *Only with* `allow_commands`: the command can destroy data or block a server, see
  [configuration.md](configuration.md#directives). This directive and `deny_commands` do not apply
  [inside scripts](configuration.md#scripts).

A command that is not in the table, of a module for instance, is looked up once with `COMMAND INFO` at a server. If the
server knows the command, the request goes to the server of its keys. Without keys it goes to the server of a pool of
one. It goes to every server when its tips have `request_policy:all_shards` or `all_nodes`, and a `response_policy` of
`agg_sum`, `agg_min`, `all_succeeded` or none. Any other command gets `ERR unknown command`. A command that was renamed
at the servers has its original meaning and needs its original permission. Commands about the connection do not work
under another name.

| command | since | goes to |
|---|---|---|
"""

ROUTES = {
    Routing.CHANNEL: "server of the channel; the reply counts the clients that got the message",
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
"""The destinations of requests by routing; KEY with several keys goes to one server."""

MERGED = {
    "sum": "sum of the replies",
    "smallest": "the smallest reply",
    "smallest of each": "the smallest reply, element by element",
    "joined": "the replies joined",
    "without repeats": "the replies without repeats",
    "any": "one of the replies",
    "subscribers": "numbers of subscribers, clients of this proxy included",
    "one done": "successful if one server succeeds, on private connections",
    "cursor": "one after the other; the cursor names the server",
    "latest": "the latest time and the largest latency of each event",
    "history": "all samples by time, the largest of each second",
    "histogram": "the calls of each command added up, bucket by bucket",
    "all alike": "the common reply, or the first error",
}
"""How the replies of all servers are merged."""

NOTES = {
    "info": "every server, merged, with the proxy's own figures",
    "config|get": "the proxy; with `allow_commands: config|get` every server, the parameters on which all agree",
    "client": "the proxy; CLIENT KILL of other clients and CLIENT UNBLOCK only with `allow_commands: client|kill` and"
    " `client|unblock`; CLIENT MAINT_NOTIFICATIONS as in Redis Software",
    "ping": "proxy; `BUSY` when a script keeps the server of a pool of one busy",
    "function|stats": "the server of a pool of one, on a private connection",
    "wait": "every server, the smallest reply, on private connections",
    "waitaof": "every server, the smallest reply element by element, on private connections",
    "msetex": "split, successful if all servers succeed; with NX or XX one server",
    "xread": "one server; with BLOCK on a private connection",
    "xreadgroup": "one server; with BLOCK on a private connection",
    "sort": "one server; BY and GET patterns only in a pool of one server",
    "sort_ro": "one server; BY and GET patterns only in a pool of one server",
    "copy": "one server; DB must be a database of the pool",
    "move": "key's server; the database must be one of the pool",
    "multi": "the proxy, then the server of the first key, on a private connection",
    "evalsha": "one server; without keys only in a pool of one server; a known script is sent again if it was lost",
}
"""Destinations that the routing of a command does not describe."""


REDIS_END = """
## The tests of redis-py

`make suites` runs redis-py 8.1's own tests, synchronous and asyncio, through a pool of one redis 7.0 that allows every
administrative command: commands, pipelines, pub/sub, locks, scripts, encoding, hashes, functions, keyspace
notifications and connection pools. These pass against the server itself and fail through the proxy:

| tests | reason |
|---|---|
| `test_client_tracking`, `test_client_trackinginfo`, `test_client_getredir` | CLIENT TRACKING is refused: it needs a \
connection of its own to every server |
| `test_client_pause`, `test_client_pause_all`, `test_client_unpause` | CLIENT PAUSE is refused: it would stop every \
client of a server |
| `test_client_kill_filter_by_user`, `test_auth` | they log in as a user of the server, or with a password that they \
have given it; the proxy has the password of the pool, `redis_auth` |
| `test_replicaof` | REPLICAOF is refused: it administers one server |
| `test_watch_exec_no_unwatch`, `test_watch_reset_unwatch` | MONITOR is refused: it would show the \
requests of all clients |

## The tests of redis

`make suites` runs the tests of redis 7.0 in the same way. Of about 1900 tests that pass against the server itself,
these fail through the proxy:

| tests | reason |
|---|---|
| `RESET clears authenticated state`, `Script ACL check` (with EVAL and with FCALL) | they log in as a user of the \
server; the proxy has the password of the pool, `redis_auth` |
| `LATENCY HISTOGRAM sub commands` | it counts CLIENT ID and CLIENT LIST at the server; the proxy answers them |
| `SLOWLOG - max entries is correctly handled` | it fills the log of the server with PING, which the proxy answers |
| `SLOWLOG - logged entry sanity check`, `SLOWLOG - can clean older entries` | they look in the log of the \
server for the name of the client; a server connection is shared by clients and has no name |
| `COMMAND LIST FILTERBY PATTERN - list all commands/subcommands` | it looks for CLUSTER HELP; commands that are \
refused are not listed |

The tests of CLIENT PAUSE, CLIENT TRACKING and MONITOR are not counted, because the proxy refuses these commands. Nor
are those of the buffers of one connection and those that connect as a replica.
"""


def redis_commands() -> str:
    """The text of docs/commands.md."""
    rows = []
    for command in redis.COMMANDS:
        if command.name in redis.REFUSED_CONTAINERS:
            command = command._replace(routing=Routing.REFUSED, refusal=redis.REFUSED_CONTAINERS[command.name])
        rows.append(redis_row(command))
        if command.routing == Routing.BY_SUBCOMMAND:
            rows += [redis_row(sub) for name, sub in redis.SUBCOMMANDS.items() if name.split("|")[0] == command.name]
    return REDIS_BEGINNING + "".join(rows) + REDIS_END


def redis_row(command: redis.Command) -> str:
    """The row of a command, or of a sub-command."""
    refusal = command.refusal.removeprefix("ERR ")
    text = ROUTES[command.routing].format(refusal=refusal, merge=MERGED.get(command.merge, ""))
    if command.routing == Routing.KEY and command.one_key < redis.ANY_NUMBER:
        text = "one server"
    text = NOTES.get(command.name, text)
    if command.permission:
        text += f"; only with `allow_commands: {command.name}`"
    name = command.name.replace("|", " ")
    return f"| `{name}` | {command.since} | {text.replace('|', chr(92) + '|')} |\n"


def logs() -> str:
    """docs/logs.md with its tables of levels and fields replaced."""
    text = replaced((DOCS / "logs.md").read_text(), "levels", levels_of_logs())
    return replaced(text, "fields", fields_of_logs())


STATES: dict[str, Any] = {
    "client": client_states.TABLE,
    "server": health_states.TABLE,
    "connection": connection_states.TABLE,
}
"""The tables of states, by the names of the diagrams in docs/architecture.md."""


def architecture() -> str:
    """docs/architecture.md with its diagrams and its table of roles replaced."""
    text = (DOCS / "architecture.md").read_text()
    for name, table in STATES.items():
        text = replaced(text, f"states of a {name}", f"```mermaid\n{table.diagram()}\n```")
    heads = ["role", *(field.replace("_", " ") for field in RolePolicy._fields)]
    rows = [heads, ["---"] * len(heads)]
    rows += [[role.name, *("yes" if value else "no" for value in policy)] for role, policy in ROLES.items()]
    return replaced(text, "roles", "\n".join(f"| {' | '.join(row)} |" for row in rows))


def replaced(text: str, name: str, part: str) -> str:
    """The text with this part between the two comments with this name."""
    begin, end = f"<!-- {name}: written by tools/generate_docs.py -->\n\n", f"\n\n<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    assert before and after, name
    return before + begin + part + end + after


DOCUMENTS: dict[str, Callable[[], str]] = {
    "../contrib/completion/nutcracker": lambda: bash(grammar_of(start_options())),
    "../contrib/completion/_nutcracker": lambda: zsh(grammar_of(start_options())),
    "../contrib/completion/nutcracker.fish": lambda: fish(grammar_of(start_options())),
    "access-log.md": lambda: replaced((DOCS / "access-log.md").read_text(), "access log", fields_of_access_log()),
    "architecture.md": architecture,
    "command-line.md": command_line,
    "commands.md": redis_commands,
    "configuration.md": configuration,
    "differences.md": lambda: differences((DOCS / "differences.md").read_text()),
    "logs.md": logs,
    "man/nutcracker.1": man_page,
    "memcached.md": memcached,
    "metrics.md": metrics_page.metrics,
    "statistics.md": statistics_page.statistics,
}
"""The files, relative to the folder of documents, and the functions that return their texts."""


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
