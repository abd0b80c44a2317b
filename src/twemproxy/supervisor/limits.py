"""How many clients the limit on open files leaves room for."""

import resource
from typing import Final

from twemproxy.config.pools import Config, PoolConfig

RESERVED_FILES: Final = 32
"""Descriptors kept for the log, the event loop, the interpreter and the like."""
PRIVATE_SHARE: Final = 8
"""An eighth of all descriptors at most is set aside for the private server connections of a pool."""


def open_files_limit() -> int:
    """The soft limit on open files (RLIMIT_NOFILE) as the operator set it, 0 when there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else soft


def client_limit(config: Config, open_files: int) -> int:
    """Most client connections of a worker at a time, at least 1; 0 for no limit.

    ``open_files``: what ``open_files_limit`` gave. The formula is nutcracker's (contract 7.1): a listener and
    all server connections of every pool, and RESERVED_FILES, are set aside. Each worker has its own limit.

    A redis pool may also need connections in the other version of the protocol, those for subscriptions and private
    ones; those of other databases are not counted, because nobody knows which will be in use.
    """
    if open_files == 0:
        return 0
    pools = sum(_files_of(pool, open_files) + 1 for pool in config.pools)
    return max(open_files - pools - RESERVED_FILES, 1)


def _files_of(pool: PoolConfig, open_files: int) -> int:
    """Server connections of a pool, as far as room is kept for them."""
    per_server = pool.server_connections
    private = 0
    if pool.redis:
        per_server = 2 * pool.server_connections + 1
        private = min(pool.blocking_connections, open_files // PRIVATE_SHARE)
    if pool.auto_eject_hosts:
        per_server += 1
    return len(pool.servers) * per_server + private
