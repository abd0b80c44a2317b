"""The answers to sub-commands that leave the configuration, the version and the number of workers as they are."""

from twemproxy.ipc.control import Answer, ListServers, PoolState, Request, Servers, ServerState
from twemproxy.supervisor.served_config import ServedConfig
from twemproxy.supervisor.workers import Workers


async def answer(request: Request, served: ServedConfig, workers: Workers) -> Answer:
    """Return the answer to a request. Raises ValueError for a request that is not one of these."""
    match request:
        case ListServers():
            return _servers(served)
        case _:
            raise ValueError(f"{type(request).__name__} is for the supervisor")


def _servers(served: ServedConfig) -> Servers:
    snapshot = served.statistics.take()
    pools = []
    for pool in snapshot.pools:
        servers = [
            ServerState(
                server.name,
                server.is_ejected,
                server.values["server_ejected_at"] / 1e6 if server.is_ejected else 0,
                server.values,
            )
            for server in pool.servers
        ]
        pools.append(PoolState(pool.name, pool.values, tuple(servers)))
    return Servers(served.config, snapshot.values, tuple(pools))
