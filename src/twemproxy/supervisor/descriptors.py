"""How the descriptors that a worker may have open are divided between clients, servers and the rest."""

import resource
from typing import Final, NamedTuple

from twemproxy.config.pools import Config, PoolConfig

PROCESS_FILES: Final = 32
"""Set aside for the log, the event loop, the interpreter and the like, as nutcracker does."""
RESERVE_SHARE: Final = 20
"""At most a twentieth of all descriptors is reserved for server connections that nutcracker does not have."""
FEW_CLIENTS: Final = 500
"""A division that leaves fewer clients, or less than half of the descriptors for them, is worth a warning."""


class Division(NamedTuple):
    """The descriptors of one worker, by use."""

    open_files: int
    """All of them: the limit on open files, 0 for none."""
    pools: int
    """Listeners and shared server connections, one and ``server_connections`` per server of each pool."""
    reserve: int
    """For all other server connections of the process together."""
    clients: int
    """What is left: the most client connections at a time, all pools together, at least 1; 0 for no limit."""

    def is_small(self) -> bool:
        """Whether clients get so few descriptors that the log should warn."""
        return self.open_files > 0 and (self.clients < FEW_CLIENTS or self.clients < self.open_files / 2)

    def __str__(self) -> str:
        if self.open_files == 0:
            return "no limit on open files"
        return (
            f"at most {self.clients} clients: of {self.open_files} open files (ulimit -n), {self.pools} are reserved "
            f"for listeners and server connections, {self.reserve} for more server connections, {PROCESS_FILES} for "
            f"the process"
        )


def raise_open_files_limit() -> int:
    """Raise the soft limit on open files (RLIMIT_NOFILE) to the hard one; gives the limit, 0 when there is none.

    Processes that are started later inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # the kernel's own limit (fs.nr_open) has become smaller than the hard one
            pass
    return 0 if soft == resource.RLIM_INFINITY else soft


def divide(config: Config, open_files: int) -> Division:
    """Divide the descriptors of each worker; ``open_files``: as ``raise_open_files_limit`` gives it.

    But for the reserve, the formula is nutcracker's (contract 7.1). The reserve is for what only some workloads need:
    connections of the other protocol version, those for clients that run scripts, those of subscriptions, private ones
    and probes. It is as large as all of them together, and at most ``open_files`` divided by RESERVE_SHARE.
    Connections of other databases are not counted.
    """
    if open_files == 0:
        return Division(0, 0, 0, 0)
    pools = sum(1 + len(pool.servers) * pool.server_connections for pool in config.pools)
    reserve = min(sum(map(_more_connections, config.pools)), open_files // RESERVE_SHARE)
    return Division(open_files, pools, reserve, max(open_files - pools - reserve - PROCESS_FILES, 1))


def _more_connections(pool: PoolConfig) -> int:
    """Server connections that a pool may need beside the shared ones of its default profile."""
    per_server = 1 if pool.auto_eject_hosts else 0
    if not pool.redis:
        return len(pool.servers) * per_server
    other_profiles = 3 * pool.server_connections
    return len(pool.servers) * (per_server + other_profiles + 1) + pool.blocking_connections
