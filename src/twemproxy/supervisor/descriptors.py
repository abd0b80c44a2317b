"""The division of a worker's file descriptors between clients, servers and other uses."""

from typing import Final, NamedTuple

from twemproxy.config.pools import Config, PoolConfig

PROCESS_FILES: Final = 32
"""Descriptors for the log, the event loop, the interpreter and similar uses; as many as in nutcracker 0.5.0."""
RESERVE_SHARE: Final = 20
"""Divisor: at most 1/20 of all descriptors is reserved for server connections that nutcracker does not have."""
FEW_CLIENTS: Final = 500
"""The log warns if fewer clients than this, or less than half of the descriptors, are left for clients."""


class Division(NamedTuple):
    """The descriptors of one worker, by use."""

    open_files: int
    """The limit on open files; 0: no limit."""
    pools: int
    """For listeners and shared server connections: per pool one, and ``server_connections`` for each server."""
    reserve: int
    """For all other server connections of the worker together."""
    clients: int
    """The rest: the most client connections at a time, of all pools together, at least 1; 0: no limit."""

    def is_small(self) -> bool:
        """Return whether clients get so few descriptors that the log should warn."""
        return self.open_files > 0 and (self.clients < FEW_CLIENTS or self.clients < self.open_files / 2)

    def __str__(self) -> str:
        if self.open_files == 0:
            return "no limit on open files"
        return (
            f"at most {self.clients} clients: of {self.open_files} open files (ulimit -n), {self.pools} are reserved "
            f"for listeners and server connections, {self.reserve} for more server connections, {PROCESS_FILES} for "
            f"the process"
        )


def divide(config: Config, open_files: int) -> Division:
    """Divide the descriptors of each worker. ``open_files``: the result of ``open_files.raise_limit``.

    The formula is that of nutcracker 0.5.0, except for the reserve: clients get the limit on open files less the
    descriptors for the process, the listeners, and ``server_connections`` connections to each server.

    The reserve is for server connections that only some workloads need: connections of the other protocol version,
    connections for clients that run scripts, subscription connections, private connections and probes. The reserve has
    room for all of them together, but is at most ``open_files`` divided by RESERVE_SHARE. Connections of other
    databases are not counted.
    """
    if open_files == 0:
        return Division(0, 0, 0, 0)
    pools = sum(1 + len(pool.servers) * pool.server_connections for pool in config.pools)
    reserve = min(sum(map(_more_connections, config.pools)), open_files // RESERVE_SHARE)
    return Division(open_files, pools, reserve, max(open_files - pools - reserve - PROCESS_FILES, 1))


def _more_connections(pool: PoolConfig) -> int:
    """Return how many server connections a pool may need in addition to the shared ones of its default profile."""
    per_server = 1 if pool.auto_eject_hosts else 0
    if not pool.redis:
        return len(pool.servers) * per_server
    other_profiles = 3 * pool.server_connections
    return len(pool.servers) * (per_server + other_profiles + 1) + pool.blocking_connections
