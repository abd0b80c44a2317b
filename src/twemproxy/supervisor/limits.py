"""How many clients the limit on open files leaves room for."""

import resource
from typing import Final

from twemproxy.config.pools import Config

RESERVED_FILES: Final = 32
"""Descriptors kept for the log, the event loop, the interpreter and the like."""


def open_files_limit() -> int:
    """The soft limit on open files (RLIMIT_NOFILE) as the operator set it, 0 when there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else soft


def client_limit(config: Config, open_files: int) -> int:
    """Most client connections of a worker at a time, at least 1; 0 for no limit.

    ``open_files``: what ``open_files_limit`` gave. The formula is nutcracker's (contract 7.1): a listener and
    all server connections of every pool, and RESERVED_FILES, are set aside. Each worker has its own limit.
    """
    if open_files == 0:
        return 0
    pools = sum(len(pool.servers) * pool.server_connections + 1 for pool in config.pools)
    return max(open_files - pools - RESERVED_FILES, 1)
