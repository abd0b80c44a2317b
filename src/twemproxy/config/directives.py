"""The table of the directives that a pool of the configuration file can have.

Loading, validation, spelling suggestions and docs/configuration.md use this table. The defaults are those of
``config.pools.PoolConfig``.
"""

import difflib
from typing import Final, Literal, NamedTuple

import msgspec

from twemproxy.config.numbers import NUMBER_MAXIMUM
from twemproxy.config.pools import PoolConfig
from twemproxy.hashing import DISTRIBUTIONS, HASHES

Kind = Literal[
    "listen",
    "servers",
    "hash",
    "distribution",
    "hash tag",
    "policy",
    "commands",
    "string",
    "boolean",
    "number",
    "share",
]


Effect = Literal["at once", "new connections", "new clients", "listen"]

EFFECTS: Final[dict[Effect, str]] = {
    "at once": "applies at once, also to open connections; no client is closed for it",
    "new connections": "applies to connections that are opened later; open connections stay as they are",
    "new clients": "a new pool takes over the address and all clients that connect later; connected clients stay with "
    "the former pool, which ends when they have left",
    "listen": "the new address is opened before the former one is closed; connected clients stay",
}
"""What a running proxy does when the value of a directive changes."""


class Directive(NamedTuple):
    """One directive of a server pool."""

    name: str
    kind: Kind
    help: str
    unit: str = ""
    """The unit of a number."""
    minimum: int = 0
    """Smallest valid number."""
    maximum: int = NUMBER_MAXIMUM
    """Largest valid number."""
    choices: tuple[str, ...] = ()
    """The valid words, if the directive has a fixed set of them."""
    required: bool = False
    protocol: Literal["any", "redis", "redis only", "memcached only"] = "any"
    """The protocol of the pools that can use the directive. A memcached pool ignores a directive for ``redis``. A
    directive for one protocol only is an error in a pool of the other protocol."""
    effect: Effect = "at once"
    """What happens in a running proxy when the value changes."""
    is_secret: bool = False
    """Whether the value may not be shown."""


DIRECTIVES: Final = (
    Directive(
        "listen",
        "listen",
        "Where clients connect: `host:port`, or the absolute path of a unix socket. An octal mode may follow the path "
        "after a space (`/run/alpha.sock 0660`). The host is resolved when the file is read. Use `0.0.0.0` for all "
        "IPv4 interfaces. IPv6 addresses have no brackets (`::1:22121`).",
        required=True,
        effect="listen",
    ),
    Directive(
        "servers",
        "servers",
        "The servers of the pool, a list of `host:port:weight` or `/path:weight`, each with an optional name after one"
        " space. The name decides which keys the server gets; without a name, the text before the weight does.",
        required=True,
    ),
    Directive("hash", "hash", "The hash function of keys.", choices=HASHES),
    Directive(
        "hash_tag",
        "hash tag",
        "Two characters, for instance `{}`. When a key has text between the first character and the next occurrence of"
        " the second one, only that text is hashed.",
    ),
    Directive(
        "distribution",
        "distribution",
        "How hashed keys are spread over the servers: `ketama` is consistent hashing, `modula` takes the hash modulo "
        "the sum of the weights, `random` ignores keys and weights.",
        choices=DISTRIBUTIONS,
    ),
    Directive(
        "timeout",
        "number",
        "How long a request may wait for a server, connecting included; 0 for no limit. Then this request fails. The "
        "server connection is closed only if the server sends nothing on it for a second `timeout`.",
        unit="ms",
    ),
    Directive(
        "retry_reads",
        "boolean",
        "Whether reads of up to 64 KB are sent once more when their server connection fails before the reply. "
        "Unwritten requests are always sent once more, and writes that may have run never.",
    ),
    Directive(
        "connect_timeout",
        "number",
        "How long opening a server connection may take at each address of the server; 0 for the value of `timeout`.",
        unit="ms",
    ),
    Directive(
        "backlog",
        "number",
        "How many connections may wait to be accepted, the backlog of listen(2).",
        unit="connections",
    ),
    Directive(
        "client_connections",
        "number",
        "How many clients of the pool may be connected at a time, to all workers together; 0 for no limit of the pool.",
        unit="connections",
    ),
    Directive(
        "redis", "boolean", "Whether the pool speaks redis; otherwise it speaks memcached ASCII.", effect="new clients"
    ),
    Directive(
        "tcpkeepalive",
        "boolean",
        "Whether TCP keepalive is on for client and server connections. It detects a peer that disappears without "
        "closing the connection.",
        effect="new connections",
    ),
    Directive(
        "tcpkeepalive_idle",
        "number",
        "How long a connection is idle before TCP probes the peer; 0 for the system's value. Needs `tcpkeepalive`, as "
        "the next two directives do.",
        unit="s",
        effect="new connections",
    ),
    Directive(
        "tcpkeepalive_interval",
        "number",
        "How long TCP waits between two probes; 0 for the system's value.",
        unit="s",
        effect="new connections",
    ),
    Directive(
        "tcpkeepalive_count",
        "number",
        "How many probes without a reply close the connection; 0 for the system's value.",
        unit="times",
        effect="new connections",
    ),
    Directive(
        "client_idle_timeout",
        "number",
        "How long a client may send nothing before it is closed; 0 for no limit. A client that waits for a reply, in "
        "a blocking command or for messages is not idle, unless it has read none of its pending output for that long.",
        unit="ms",
    ),
    Directive(
        "max_request_bytes",
        "number",
        "How long a client's request may be, framing included; 0 for the limits of the protocol. A longer request gets"
        " an error in its place as soon as its length is known, and its bytes are dropped as they arrive. The "
        "connection stays open.",
        unit="bytes",
    ),
    Directive(
        "max_pipeline",
        "number",
        "How many requests of one client may be in flight. Then the proxy stops reading from the client until half of"
        " them have replies. The number is smaller while replies are large.",
        unit="requests",
        minimum=1,
        maximum=65_536,
    ),
    Directive(
        "client_input_limit",
        "number",
        "How many bytes of requests a client may send while it does not read replies, for instance while it writes a "
        "whole pipeline; 0 for no limit. Above the limit the client gets an error in place of these requests and is "
        "closed.",
        unit="bytes",
    ),
    Directive(
        "client_output_limit",
        "number",
        "A client with more unread bytes of replies and messages is closed. The reply that is being sent does not "
        "count, whatever its size. 0 for no limit on replies, and 32 MB of messages.",
        unit="bytes",
    ),
    Directive(
        "slowlog_ms",
        "number",
        "How long a request must take to be in the slow log (`SLOWLOG GET`, `nutcracker slowlog`), from reading the "
        "request to writing its reply; 0 for no slow log. Commands that wait for keys are never in it.",
        unit="ms",
    ),
    Directive(
        "access_log_sample",
        "share",
        "The share of the requests of clients that is in the access log ([access-log.md](access-log.md)): each request "
        "is chosen at random with this probability. 0 for none, 1 for all of them.",
    ),
    Directive(
        "reuseport",
        "boolean",
        "Whether the listening socket has SO_REUSEPORT, so that several processes can share its port.",
    ),
    Directive(
        "redis_auth",
        "string",
        "The password that clients must send and that the proxy sends to servers.",
        protocol="redis only",
        effect="new connections",
        is_secret=True,
    ),
    Directive(
        "redis_db",
        "number",
        "The database that the proxy selects on every server.",
        protocol="redis",
        effect="new clients",
    ),
    Directive(
        "preconnect",
        "boolean",
        "Whether the proxy connects to every server at start, and not at the first request.",
    ),
    Directive(
        "dns_refresh",
        "number",
        "How often the names of servers are looked up. When a name no longer has an address, its connections move to "
        "another address of the name. A request fails only if the former address does not answer it within `timeout`, "
        "or within 5 s if that is 0. Subscriptions move, too. With 0, names are looked up at start and when a "
        "connection opens, and open connections stay.",
        unit="ms",
    ),
    Directive(
        "auto_eject_hosts",
        "boolean",
        "Whether a server that fails `server_failure_limit` times in a row is ejected, that is, gets no requests until"
        " it answers probes.",
    ),
    Directive(
        "on_server_down",
        "policy",
        "What happens to the keys of an ejected server. `rehash`: they belong to the remaining servers until the "
        "server is back. `error`: requests for them get an error. `miss`: plain reads get the reply for a missing key,"
        " and other requests get an error. Needs `auto_eject_hosts`; with distribution `random` it is always `rehash`.",
        choices=("rehash", "error", "miss"),
    ),
    Directive(
        "server_connections",
        "number",
        "How many connections to each server are kept at most.",
        unit="connections",
        minimum=1,
    ),
    Directive(
        "max_backend_connections",
        "number",
        "How many connections to each server there are at most, of all workers together; 0 for no limit. Each worker "
        "has `server_connections` of them for itself, so a value that is too small for all workers is an error. The "
        "others are for transactions, blocking commands, subscriptions, RESP3, other databases and scripts, which get "
        "an error when there are too many ([limits.md](limits.md#connections-to-a-server)). Open connections stay when "
        "the value becomes smaller.",
        unit="connections",
    ),
    Directive(
        "server_retry_timeout",
        "number",
        "How long an ejected server gets no requests at least. Then it is probed (redis PING, memcached version), and "
        "again at this interval until it answers. A server that is soon ejected again waits longer, up to 32 times.",
        unit="ms",
    ),
    Directive(
        "server_failure_limit",
        "number",
        "How many failures in a row eject a server; 0 means 1. Each worker counts those that it finds.",
        unit="failures",
    ),
    Directive(
        "probe_successes",
        "number",
        "How many probes in a row an ejected server must answer before it gets requests again.",
        unit="probes",
        minimum=1,
    ),
    Directive(
        "health_check_interval",
        "number",
        "How often servers that are not ejected are probed, so that a failure is found before a request finds it; 0 "
        "for never. A failed probe counts for `server_failure_limit`. Needs `auto_eject_hosts`.",
        unit="ms",
    ),
    Directive(
        "partial_reads",
        "policy",
        "The reply to a read of many keys (get, gets, gat, gats; MGET) when a server with some of them fails. `error`:"
        " one error and no value. `miss`: the values of the other servers, as if the failed server's keys did not "
        "exist.",
        choices=("error", "miss"),
    ),
    Directive(
        "allow_commands",
        "commands",
        "Commands that need this permission because they can destroy the data of the pool or block its servers, for "
        "instance `flushall keys config|set`. A command with sub-commands permits all of them. In a redis pool "
        '`"@admin"` or another ACL category of the servers permits the commands in it. `client|kill` lets clients '
        "close other clients; with `config|get` CONFIG GET asks the servers. It does not apply inside scripts: see "
        "[Scripts](#scripts).",
    ),
    Directive(
        "deny_commands",
        "commands",
        "Commands that are refused although the pool could serve them, for instance `eval client|kill`. `eval` means "
        "all commands that run scripts: EVAL, EVAL_RO, EVALSHA, EVALSHA_RO, FCALL, FCALL_RO. An ACL category of the "
        'servers means the commands in it, also those of modules: `"@scripting"` (in quotes, because no YAML value '
        "begins with @).",
        protocol="redis only",
    ),
    Directive(
        "databases",
        "number",
        "How many databases clients can select, counted from 0. The default is 1 when `redis_db` is set. With 1, "
        "clients can select `redis_db` only, and 0 means `redis_db`, too. The proxy keeps server connections for each "
        "database in use, up to a limit ([limits.md](limits.md#a-server)).",
        unit="databases",
        minimum=1,
        maximum=10_000,
        protocol="redis only",
        effect="new clients",
    ),
    Directive(
        "blocking_connections",
        "number",
        "How many server connections of the pool may belong to single clients, in all workers together: each blocking "
        "command and each transaction needs one. Clients of one address get three quarters of those that other "
        "addresses do not use; with several workers, see [limits.md](limits.md#several-workers).",
        unit="connections",
        protocol="redis only",
    ),
)

BY_NAME: Final = {directive.name: directive for directive in DIRECTIVES}

_defaults = {field.name: field.default for field in msgspec.structs.fields(PoolConfig)}


def default(directive: Directive) -> object:
    """Return the value of a directive that is not given, None for a required directive."""
    return None if directive.required else _defaults[directive.name]


def commands_of(directive: str, protocol: str) -> tuple[str, ...]:
    """Return the commands that a directive can name in a pool of this protocol, "redis" or "memcached".

    The tables of commands are imported here, because few files name commands, and the import would take most of the
    start time.
    """
    match directive, protocol:
        case "allow_commands", "memcached":
            from twemproxy.protocol.memcache import commands as memcache

            return memcache.PERMITTED_BY_DIRECTIVE
        case "allow_commands", "redis":
            from twemproxy.protocol.redis import commands as redis

            return redis.PERMITTED_BY_DIRECTIVE
        case "deny_commands", "redis":
            from twemproxy.protocol.redis import commands as redis

            return redis.DENIED_BY_DIRECTIVE
    return ()


def closest(word: str, known: tuple[str, ...]) -> str | None:
    """Return the known word that is most similar to the misspelt ``word``, None if no known word is similar."""
    matches = difflib.get_close_matches(word.strip().lower(), known, 1, 0.7)
    return matches[0] if matches else None
