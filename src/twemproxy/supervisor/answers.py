"""The answers to sub-commands that leave the configuration, the version and the number of workers as they are."""

from collections.abc import Iterable
from typing import Final

from twemproxy.config.pools import Config, PoolConfig, ServerConfig
from twemproxy.ipc.control import (
    Answer,
    Eject,
    Ejected,
    Inspect,
    Inspections,
    ListServers,
    PoolState,
    Readmit,
    Readmitted,
    Refused,
    Request,
    Servers,
    ServerState,
)
from twemproxy.supervisor.ejections import LONGEST_TIME, refusal
from twemproxy.supervisor.inspection import inspect
from twemproxy.supervisor.served_config import ServedConfig
from twemproxy.supervisor.workers import Workers

LONGEST_REASON: Final = 200
"""Characters of the reason of an ejection."""


class NoServer(Exception):
    """A request names no server, or several. The text says so."""


async def answer(request: Request, served: ServedConfig, workers: Workers) -> Answer:
    """Return the answer to a request. Raises ValueError for a request that is not one of these."""
    try:
        match request:
            case ListServers():
                return _servers(served)
            case Inspect():
                return await _inspections(request.pool, served, workers)
            case Eject():
                return _eject(request, served)
            case Readmit():
                return _readmit(request, served)
    except NoServer as error:
        return Refused((str(error),))
    raise ValueError(f"{type(request).__name__} is for the supervisor")


async def _inspections(pool: str, served: ServedConfig, workers: Workers) -> Answer:
    if pool and pool not in {each.name for each in served.config.pools}:
        return Refused((f"there is no pool '{pool}'",))
    pools = await inspect(workers.slots)
    return Inspections(tuple(each for each in pools if pool in ("", each.pool)))


def _servers(served: ServedConfig) -> Servers:
    snapshot = served.statistics.take()
    pools = []
    for pool in snapshot.pools:
        servers = []
        for server in pool.servers:
            by_hand = served.ejections.of(pool.name, server.name)
            since = server.values["server_ejected_at"] / 1e6 if by_hand is None else by_hand.since
            servers.append(
                ServerState(server.name, server.is_ejected, since if server.is_ejected else 0, by_hand, server.values)
            )
        pools.append(PoolState(pool.name, pool.values, tuple(servers)))
    return Servers(served.config, snapshot.values, tuple(pools))


def _eject(request: Eject, served: ServedConfig) -> Answer:
    pool, server = _find(served.config, request.pool, request.server)
    if not request.reason.isprintable() or len(request.reason) > LONGEST_REASON:
        return Refused((f"a reason has one line of up to {LONGEST_REASON} printable characters",))
    if not 0 <= request.seconds <= LONGEST_TIME:
        return Refused((f"the time of an ejection is a number of seconds up to {LONGEST_TIME}",))
    ejected = _ejected(served, pool.name)
    if problem := refusal(pool, server.name, ejected):
        return Refused((problem,))
    ejection = served.ejections.eject(pool.name, server.name, request.reason, request.seconds)
    return Ejected(ejection, _address(server))


def _readmit(request: Readmit, served: ServedConfig) -> Answer:
    pool, server = _find(served.config, request.pool, request.server)
    if not served.ejections.readmit(pool.name, server.name):
        return Refused((f"server '{server.name}' of pool '{pool.name}' is not ejected",))
    return Readmitted(pool.name, server.name, _address(server))


def _ejected(served: ServedConfig, name: str) -> list[str]:
    """Return the names of the ejected servers of a pool."""
    [pool] = [pool for pool in served.statistics.take().pools if pool.name == name]
    return [server.name for server in pool.servers if server.is_ejected]


def _find(config: Config, pool: str, server: str) -> tuple[PoolConfig, ServerConfig]:
    """Return the server with this name or address. ``pool``: of this pool, empty for any. Raises NoServer."""
    pools = [each for each in config.pools if pool in ("", each.name)]
    if not pools:
        raise NoServer(f"there is no pool '{pool}': the pools are {_listed(config.pools)}")
    found = [(each, one) for each in pools for one in each.servers if server == one.name]
    found = found or [(each, one) for each in pools for one in each.servers if server == _address(one)]
    if not found:
        where = f"pool '{pool}' has" if pool else "no pool has"
        raise NoServer(f"{where} no server '{server}'" if pool else f"{where} a server '{server}'")
    if len(found) > 1:
        if len({each.name for each, _ in found}) > 1:
            raise NoServer(f"server '{server}' is in several pools, name one: {_listed(each for each, _ in found)}")
        names = ", ".join(f"'{one.name}'" for _, one in found)
        raise NoServer(f"several servers have the address '{server}', name one: {names}")
    return found[0]


def _listed(pools: Iterable[PoolConfig]) -> str:
    return ", ".join(dict.fromkeys(f"'{pool.name}'" for pool in pools))


def _address(server: ServerConfig) -> str:
    return server.pname.rpartition(":")[0]
