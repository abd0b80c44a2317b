"""The configuration as the rest of the house sees it: checked, complete and sorted.

Plain data. ``config.loading`` makes it from a file; the supervisor hands it to its workers.
"""

import msgspec


class Address(msgspec.Struct, frozen=True):
    """Where to listen or connect: a host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Path of a unix stream socket; when it is not empty, host and port mean nothing."""


class ServerConfig(msgspec.Struct, frozen=True):
    """One entry of a pool's ``servers``."""

    name: str
    """What is hashed into the ring and shown in the statistics (contract of nutcracker, 2.4)."""
    pname: str
    """The entry as written, up to its name: what logs and errors show."""
    address: Address
    weight: int


class ListenConfig(msgspec.Struct, frozen=True):
    """A pool's ``listen``."""

    text: str
    """As written in the file."""
    address: Address
    permission: int = 0
    """Mode of a unix socket, 0 to keep what the umask gives."""


class PoolConfig(msgspec.Struct, frozen=True):
    """One server pool. Field names are directive names; ``config.directives`` documents each."""

    name: str
    listen: ListenConfig
    servers: tuple[ServerConfig, ...]
    """Sorted by name, shorter first: the position is the server's index."""
    hash: str = "fnv1a_64"
    hash_tag: str = ""
    """Two characters, or empty when unset."""
    distribution: str = "ketama"
    timeout: int = 0
    """Milliseconds, 0 for none."""
    connect_timeout: int = 0
    """Milliseconds, 0 for as long as ``timeout``."""
    retry_reads: bool = False
    backlog: int = 512
    client_connections: int = 0
    """Most clients at a time, 0 for no limit of the pool's own."""
    redis: bool = False
    tcpkeepalive: bool = False
    tcpkeepalive_idle: int = 0
    """Seconds, 0 for what the system has; so the next one."""
    tcpkeepalive_interval: int = 0
    tcpkeepalive_count: int = 0
    """0 for what the system has."""
    client_idle_timeout: int = 0
    """Milliseconds, 0 for none."""
    max_request_bytes: int = 0
    """0 for no limit of the pool's own."""
    max_pipeline: int = 1024
    """Requests of one client on their way at a time."""
    client_input_limit: int = 64 * 1024 * 1024
    """Bytes, 0 for no limit."""
    client_output_limit: int = 0
    """Bytes, 0 for none of replies and 32 MB of messages."""
    reuseport: bool = False
    redis_auth: str = ""
    redis_db: int = 0
    preconnect: bool = False
    dns_refresh: int = 0
    """Milliseconds, 0 for look-ups only when a connection opens."""
    auto_eject_hosts: bool = False
    server_connections: int = 1
    server_retry_timeout: int = 30000
    """Milliseconds."""
    server_failure_limit: int = 2
    probe_successes: int = 1
    health_check_interval: int = 0
    """Milliseconds, 0 for no checks of servers that are not ejected."""
    on_server_down: str = "rehash"
    partial_reads: str = "error"
    allow_commands: tuple[str, ...] = ()
    """Commands available only with this permission, each once."""
    deny_commands: tuple[str, ...] = ()
    """Commands that are refused although they could be served, each once."""
    databases: int = 16
    """How many databases clients can select, from 0 on; 1 for ``redis_db`` only, as in a file that sets only that."""
    blocking_connections: int = 1000


class Config(msgspec.Struct, frozen=True):
    """A whole configuration file."""

    pools: tuple[PoolConfig, ...]
    """Sorted by name, shorter first."""
