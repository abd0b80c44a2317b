"""The configuration for the other packages: checked, complete and sorted.

Plain data. ``config.loading`` creates it from a file, and the supervisor sends it to its workers.
"""

import msgspec


class Address(msgspec.Struct, frozen=True):
    """The address of a listener or a server: a host and a port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Path of a unix stream socket. If it is not empty, host and port are not used."""


class ServerConfig(msgspec.Struct, frozen=True):
    """One entry of a pool's ``servers``."""

    name: str
    """The name that is hashed into the ring and shown in the statistics, as in nutcracker 0.5.0."""
    pname: str
    """The entry as written, without the name; logs and errors show it."""
    address: Address
    weight: int


class ListenConfig(msgspec.Struct, frozen=True):
    """The value of a pool's ``listen``."""

    text: str
    """The value as written in the file."""
    address: Address
    permission: int = 0
    """Mode of a unix socket; 0: the mode that the umask leaves."""


class PoolConfig(msgspec.Struct, frozen=True):
    """One server pool. Field names are names of directives, which ``config.directives`` documents."""

    name: str
    listen: ListenConfig
    servers: tuple[ServerConfig, ...]
    """Sorted by name, shorter names first. The position is the server's index."""
    hash: str = "fnv1a_64"
    hash_tag: str = ""
    """Two characters, or empty if not set."""
    distribution: str = "ketama"
    timeout: int = 0
    """Milliseconds; 0: no limit."""
    connect_timeout: int = 0
    """Milliseconds; 0: the value of ``timeout``."""
    retry_reads: bool = False
    backlog: int = 512
    client_connections: int = 0
    """Most clients at a time; 0: no limit for this pool."""
    redis: bool = False
    tcpkeepalive: bool = False
    tcpkeepalive_idle: int = 0
    """Seconds; 0: the system's value. The same for ``tcpkeepalive_interval``."""
    tcpkeepalive_interval: int = 0
    tcpkeepalive_count: int = 0
    """Number of probes; 0: the system's value."""
    client_idle_timeout: int = 0
    """Milliseconds; 0: no limit."""
    max_request_bytes: int = 0
    """Bytes; 0: only the limits of the protocol."""
    max_pipeline: int = 1024
    """Most requests of one client in flight."""
    client_input_limit: int = 64 * 1024 * 1024
    """Bytes; 0: no limit."""
    client_output_limit: int = 0
    """Bytes; 0: no limit for replies, and 32 MB for messages."""
    reuseport: bool = False
    redis_auth: str = ""
    redis_db: int = 0
    preconnect: bool = False
    dns_refresh: int = 0
    """Milliseconds; 0: names are looked up only at start and when a connection opens."""
    auto_eject_hosts: bool = False
    server_connections: int = 1
    max_backend_connections: int = 0
    """Most connections to each server, of all workers together; 0: no limit. See ``config.capacity``."""
    server_retry_timeout: int = 30000
    """Milliseconds."""
    server_failure_limit: int = 2
    probe_successes: int = 1
    health_check_interval: int = 0
    """Milliseconds; 0: no probes of servers that are not ejected."""
    on_server_down: str = "rehash"
    partial_reads: str = "error"
    allow_commands: tuple[str, ...] = ()
    """Commands that are available only with this permission, each once."""
    deny_commands: tuple[str, ...] = ()
    """Commands that are refused although the pool could serve them, each once."""
    databases: int = 16
    """Number of databases that clients can select, from 0 on. 1: ``redis_db`` only, the default with ``redis_db``."""
    blocking_connections: int = 1000
    access_log_sample: float = 0.0
    """The share of the requests that is in the access log, 0 to 1."""
    slowlog_ms: int = 10
    """Milliseconds; 0: no slow log."""


class Config(msgspec.Struct, frozen=True):
    """A whole configuration file."""

    pools: tuple[PoolConfig, ...]
    """Sorted by name, shorter names first."""
