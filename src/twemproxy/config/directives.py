"""The table of directives: everything a pool of the configuration file may say.

Loading, validation, spelling suggestions and docs/configuration.md come from this table; defaults are those
of ``config.pools.PoolConfig``.
"""

import difflib
from typing import Final, Literal, NamedTuple

import msgspec

from twemproxy.config.numbers import NUMBER_MAXIMUM
from twemproxy.config.pools import PoolConfig
from twemproxy.hashing import DISTRIBUTIONS, HASHES
from twemproxy.protocol.memcache import commands as memcache
from twemproxy.protocol.redis import commands as redis

Kind = Literal[
    "listen", "servers", "hash", "distribution", "hash tag", "policy", "commands", "string", "boolean", "number"
]


class Directive(NamedTuple):
    """One directive of a server pool."""

    name: str
    kind: Kind
    help: str
    unit: str = ""
    """What a number counts."""
    minimum: int = 0
    """Smallest number accepted."""
    maximum: int = NUMBER_MAXIMUM
    """Largest number accepted."""
    choices: tuple[str, ...] = ()
    """The words accepted, when they are few."""
    required: bool = False
    protocol: Literal["any", "redis", "redis only", "memcached only"] = "any"
    """Pools it is meant for: a memcached pool ignores what is for ``redis``, and none may have what is only for the
    other protocol."""


DIRECTIVES: Final = (
    Directive(
        "listen",
        "listen",
        "Where clients connect: `host:port`, or the absolute path of a unix socket, which an octal mode may "
        "follow after a space (`/run/alpha.sock 0660`). The host is resolved when the file is read. Use "
        "`0.0.0.0` for all IPv4 interfaces; IPv6 addresses are written without brackets (`::1:22121`).",
        required=True,
    ),
    Directive(
        "servers",
        "servers",
        "The servers of the pool, a list of `host:port:weight` or `/path:weight`, each with an optional name "
        "after one space. The name, or without one what stands before the weight, decides which keys the "
        "server gets.",
        required=True,
    ),
    Directive("hash", "hash", "The hash function of keys.", choices=HASHES),
    Directive(
        "hash_tag",
        "hash tag",
        "Two characters, for instance `{}`: when a key has something between the first of the one and the "
        "next of the other, only that part is hashed.",
    ),
    Directive(
        "distribution",
        "distribution",
        "How hashed keys are spread over the servers: `ketama` is consistent hashing, `modula` takes the "
        "hash modulo the weights, `random` disregards keys and weights.",
        choices=DISTRIBUTIONS,
    ),
    Directive(
        "timeout",
        "number",
        "How long a request may wait for a server, connecting included; 0 for ever. Then it fails, alone: the server "
        "connection is only closed when the server has said nothing on it for as long again.",
        unit="ms",
    ),
    Directive(
        "retry_reads",
        "boolean",
        "Send reads of up to 64 KB once more when their server connection broke before it answered them. Requests of "
        "which nothing was written are sent once more in any case, writes that may have run never.",
    ),
    Directive(
        "connect_timeout",
        "number",
        "How long opening a server connection may take, at each of the server's addresses; 0 for as long as `timeout`.",
        unit="ms",
    ),
    Directive(
        "backlog",
        "number",
        "Connections that may wait to be accepted, as listen(2) takes it.",
        unit="connections",
    ),
    Directive(
        "client_connections",
        "number",
        "Most clients connected at a time; 0 for no limit of the pool's own.",
        unit="connections",
    ),
    Directive("redis", "boolean", "Whether the pool speaks redis; otherwise it speaks memcached ASCII."),
    Directive(
        "tcpkeepalive",
        "boolean",
        "Whether TCP keepalive is on for client and server connections, so that a peer that is gone without a word is "
        "noticed.",
    ),
    Directive(
        "tcpkeepalive_idle",
        "number",
        "How long a connection says nothing before TCP asks whether the peer is there; 0 for what the system has. It "
        "needs `tcpkeepalive`, as do the next two.",
        unit="s",
    ),
    Directive(
        "tcpkeepalive_interval",
        "number",
        "How long TCP waits before it asks again; 0 for what the system has.",
        unit="s",
    ),
    Directive(
        "tcpkeepalive_count",
        "number",
        "How many times TCP asks in vain before the connection is broken; 0 for what the system has.",
        unit="times",
    ),
    Directive(
        "client_idle_timeout",
        "number",
        "How long a client may send nothing before it is closed, unless it waits for a reply, in a blocking command or "
        "for what it has subscribed to; then it must not leave lying what there is for it so long. 0 for ever.",
        unit="ms",
    ),
    Directive(
        "max_request_bytes",
        "number",
        "How long a client's request may be, framing included. One that is longer, or says that it will be, gets an "
        "error in its place and is dropped as it comes; the connection goes on. 0 for what the protocol allows.",
        unit="bytes",
    ),
    Directive(
        "max_pipeline",
        "number",
        "Most requests of one client on their way at a time; what it sends beyond that waits unread. They are fewer "
        "while its replies are large.",
        unit="requests",
        minimum=1,
        maximum=65_536,
    ),
    Directive(
        "client_output_limit",
        "number",
        "Bytes of replies and messages that a client has not taken beyond which it is closed; the reply that is on its "
        "way to it does not count, whatever its size. 0 for no limit of replies, and 32 MB of messages that it has "
        "subscribed to.",
        unit="bytes",
    ),
    Directive(
        "reuseport",
        "boolean",
        "Whether the listening socket has SO_REUSEPORT, so that several processes can share its port.",
    ),
    Directive(
        "redis_auth",
        "string",
        "The password that clients must give and that servers get.",
        protocol="redis only",
    ),
    Directive("redis_db", "number", "The database selected on every server.", protocol="redis"),
    Directive(
        "preconnect",
        "boolean",
        "Whether every server is connected to at start instead of at the first request.",
    ),
    Directive(
        "dns_refresh",
        "number",
        "How often the names of servers are looked up. Connections to an address that a name no longer has move to one "
        "that it has, and no request fails for that; only clients that have subscribed to something are closed, as "
        "they may have missed messages. With 0 a name is looked up at start and when a connection opens, and open ones "
        "stay.",
        unit="ms",
    ),
    Directive(
        "auto_eject_hosts",
        "boolean",
        "Whether a server that fails `server_failure_limit` times in a row is taken out of the distribution "
        "until it answers probes again.",
    ),
    Directive(
        "on_server_down",
        "policy",
        "What becomes of the keys of an ejected server: `rehash`, they belong to the servers that are left until it is "
        "back; `error`, requests for them get an error; `miss`, plain reads of them are answered as if they did not "
        "exist, and other requests get an error. Needs `auto_eject_hosts`; with distribution `random` it is always "
        "`rehash`.",
        choices=("rehash", "error", "miss"),
    ),
    Directive(
        "server_connections",
        "number",
        "Connections kept to each server, at most.",
        unit="connections",
        minimum=1,
    ),
    Directive(
        "server_retry_timeout",
        "number",
        "How long an ejected server stays out at least: then it is probed (redis PING, memcached version), and again "
        "after as long while it is not well. One that is ejected again soon waits longer, up to 32 times.",
        unit="ms",
    ),
    Directive("server_failure_limit", "number", "Failures in a row that eject a server; 0 is as 1.", unit="failures"),
    Directive(
        "probe_successes",
        "number",
        "Probes in a row that an ejected server must answer before it gets requests again.",
        unit="probes",
        minimum=1,
    ),
    Directive(
        "health_check_interval",
        "number",
        "How often servers that are not ejected are probed, so that a dead one is found before a request finds it: a "
        "failed probe counts for `server_failure_limit`. 0 for never; needs `auto_eject_hosts`.",
        unit="ms",
    ),
    Directive(
        "partial_reads",
        "policy",
        "What a read of many keys (get, gets, gat, gats; MGET) gives when a server that has some of them fails: "
        "`error`, one error and no value, or `miss`, the values of the other servers, as if the keys of this one did "
        "not exist.",
        choices=("error", "miss"),
    ),
    Directive(
        "allow_commands",
        "commands",
        "Commands that are refused without this permission because they can destroy what the servers of the pool "
        "hold, or stall them: `flushall keys config|set`, for instance. A command with sub-commands stands for all of "
        "them.",
    ),
    Directive(
        "deny_commands",
        "commands",
        "Commands that are refused although the pool could serve them, for instance `eval client|kill`.",
        protocol="redis only",
    ),
    Directive(
        "databases",
        "number",
        "How many databases clients can select, from 0 on; with 1 it is `redis_db` only, which 0 then stands for, too. "
        "Server connections are kept per database that is in use.",
        unit="databases",
        minimum=1,
        maximum=10_000,
        protocol="redis only",
    ),
    Directive(
        "blocking_connections",
        "number",
        "Most server connections at a time that clients have for themselves: each that waits in a blocking command, "
        "or is in a transaction, needs one.",
        unit="connections",
        protocol="redis only",
    ),
)

COMMANDS: Final = {
    ("allow_commands", "memcached"): memcache.PERMITTED_BY_DIRECTIVE,
    ("allow_commands", "redis"): redis.PERMITTED_BY_DIRECTIVE,
    ("deny_commands", "redis"): redis.DENIED_BY_DIRECTIVE,
}
"""The commands that a directive can name, by directive and protocol."""

BY_NAME: Final = {directive.name: directive for directive in DIRECTIVES}

_defaults = {field.name: field.default for field in msgspec.structs.fields(PoolConfig)}


def default(directive: Directive) -> object:
    """The value of a directive that is not given, None when it must be."""
    return None if directive.required else _defaults[directive.name]


def closest(word: str, known: tuple[str, ...]) -> str | None:
    """The known word that a misspelt one was probably meant to be, if there is one."""
    matches = difflib.get_close_matches(word.strip().lower(), known, 1, 0.7)
    return matches[0] if matches else None
