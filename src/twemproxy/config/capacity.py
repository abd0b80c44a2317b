"""Whether ``max_backend_connections`` is enough for a number of workers.

Each worker needs ``server_connections`` to every server: without them it could serve nothing.
"""

from twemproxy.config.pools import Config
from twemproxy.config.quoting import quoted


def shortage(most: int, server_connections: int, workers: int) -> str:
    """Return why ``most`` connections to each server, 0 for any number, are too few; empty if they are enough."""
    needed = workers * server_connections
    if not most or most >= needed:
        return ""
    of_workers = f"{workers} workers need" if workers > 1 else "the worker needs"
    return (
        f'"max_backend_connections" is {most}, but {of_workers} {needed}: "server_connections" is {server_connections}'
    )


def shortage_in(config: Config, workers: int) -> str:
    """Return what ``shortage`` says about the first pool that has too few connections; empty if none has."""
    for pool in config.pools:
        if reason := shortage(pool.max_backend_connections, pool.server_connections, workers):
            return f"pool {quoted(pool.name)}: directive {reason}"
    return ""
