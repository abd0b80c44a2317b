"""The answers to sub-commands that leave the configuration, the version and the number of workers as they are."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from twemproxy.config.pools import Config, PoolConfig, ServerConfig
from twemproxy.ipc.control import (
    Answer,
    CheckHealth,
    ClientExplained,
    Clients,
    ClientState,
    Eject,
    Ejected,
    ExplainClient,
    Health,
    Inspect,
    Inspections,
    KillClient,
    Killed,
    ListClients,
    ListServers,
    PoolState,
    Readmit,
    Readmitted,
    Refused,
    Report,
    ReportRequest,
    Request,
    Servers,
    ServerState,
)
from twemproxy.ipc.inbox import EXPLAIN_CLIENT, KILL_CLIENTS, LIST_CLIENTS, PoolKey
from twemproxy.ipc.messages import ClientWork, UsedConnection
from twemproxy.supervisor.ejections import LONGEST_TIME, refusal
from twemproxy.supervisor.inspection import inspect
from twemproxy.supervisor.reporting import Reporting
from twemproxy.supervisor.served_config import ServedConfig
from twemproxy.supervisor.worker_slot import Row
from twemproxy.supervisor.workers import Workers

LONGEST_REASON: Final = 200
"""Characters of the reason of an ejection."""


class NotFound(Exception):
    """A request names no pool or server, or several. The text says so."""


_work_decoder: Final = msgspec.json.Decoder(ClientWork)
_connection_decoder: Final = msgspec.json.Decoder(UsedConnection)

_FIELD: Final = re.compile(r"(?:^| )([a-z-]+)=")


async def answer(request: Request, served: ServedConfig, workers: Workers, reporting: Reporting) -> Answer:
    """Return the answer to a request. Raises ValueError for a request that is not one of these."""
    try:
        match request:
            case ListServers():
                return _servers(served)
            case ReportRequest():
                return Report(msgspec.Raw(b"".join(await reporting.report())))
            case Inspect():
                return await _inspections(request.pool, served, workers)
            case Eject():
                return _eject(request, served)
            case Readmit():
                return _readmit(request, served)
            case ListClients():
                return await _clients(_pools(served.config, request.pool), served, workers)
            case KillClient():
                return await _kill(request, served, workers)
            case ExplainClient():
                return await _explain(request, served, workers)
            case CheckHealth():
                slots = [slot for slot in workers.slots if not slot.leaves]
                return Health(tuple(await asyncio.gather(*(slot.turns(request.seconds) for slot in slots))))
    except NotFound as error:
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
            load = served.skew.of(pool.name, server.name)
            since = since if server.is_ejected else 0
            servers.append(ServerState(server.name, server.is_ejected, since, by_hand, server.values, *load))
        pools.append(PoolState(pool.name, tuple(servers)))
    return Servers(served.config, tuple(pools))


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
    """Return the server with this name or address. ``pool``: of this pool, empty for any. Raises NotFound."""
    pools = _pools(config, pool)
    found = [(each, one) for each in pools for one in each.servers if server == one.name]
    found = found or [(each, one) for each in pools for one in each.servers if server == _address(one)]
    if not found:
        where = f"pool '{pool}' has" if pool else "no pool has"
        raise NotFound(f"{where} no server '{server}'" if pool else f"{where} a server '{server}'")
    if len(found) > 1:
        if len({each.name for each, _ in found}) > 1:
            raise NotFound(f"server '{server}' is in several pools, name one: {_listed(each for each, _ in found)}")
        names = ", ".join(f"'{one.name}'" for _, one in found)
        raise NotFound(f"several servers have the address '{server}', name one: {names}")
    return found[0]


def _pools(config: Config, name: str) -> list[PoolConfig]:
    """Return the pool with this name, or all if it is empty. Raises NotFound."""
    pools = [each for each in config.pools if name in ("", each.name)]
    if not pools:
        raise NotFound(f"there is no pool '{name}': the pools are {_listed(config.pools)}")
    return pools


async def _clients(pools: Sequence[PoolConfig], served: ServedConfig, workers: Workers) -> Clients:
    found: list[ClientState] = []
    silent: set[int] = set()
    for pool in pools:
        rows: list[tuple[int, int, bytes]] = []
        for worker, answers in await _inquire(pool, LIST_CLIENTS, (b"",), served, workers):
            if answers is None:
                silent.add(worker)
            else:
                rows += ((number, worker, line) for number, line in answers)
        found += (ClientState(pool.name, pool.redis, worker, _fields(line)) for _, worker, line in sorted(rows))
    return Clients(tuple(found), tuple(sorted(silent)))


async def _kill(request: KillClient, served: ServedConfig, workers: Workers) -> Answer:
    pools = _pools(served.config, request.pool)
    if len(pools) > 1:
        raise NotFound(f"each pool numbers its clients, name the pool: {_listed(pools)}")
    arguments = (b"id", str(request.number).encode())
    answers = await _inquire(pools[0], KILL_CLIENTS, arguments, served, workers)
    if any(count for _, rows in answers for count, _ in rows or ()):
        return Killed()
    silent = ", ".join(str(worker) for worker, rows in answers if rows is None)
    text = f"pool '{pools[0].name}' has no client {request.number}"
    return Refused((f"{text} in the workers that answer; worker {silent} does not" if silent else text,))


async def _explain(request: ExplainClient, served: ServedConfig, workers: Workers) -> Answer:
    [pool] = _pools(served.config, request.pool)
    answers = await _inquire(pool, EXPLAIN_CLIENT, (str(request.number).encode(),), served, workers)
    for _, rows in answers:
        if rows:
            work, *used = (text for _, text in rows)
            connections = sorted(map(_connection_decoder.decode, used), key=lambda each: each.server)
            found = _work_decoder.decode(work)
            return ClientExplained(msgspec.structs.replace(found, connections=tuple(connections)))
    raise NotFound(f"pool '{pool.name}' has no client {request.number} in the workers that answer")


async def _inquire(
    pool: PoolConfig, what: str, arguments: Sequence[bytes], served: ServedConfig, workers: Workers
) -> list[tuple[int, list[Row] | None]]:
    """Return the answer of each worker, by its number, to a question about a pool."""
    key = PoolKey(served.statistics.slots_of(pool).pool, pool.redis, pool.redis_db, pool.databases)
    slots = list(workers.slots)
    answers = await asyncio.gather(*(slot.inquire(key, what, arguments) for slot in slots))
    return [(slot.number, rows) for slot, rows in zip(slots, answers, strict=True)]


def _fields(line: bytes) -> dict[str, str]:
    """Return the fields of a line of CLIENT LIST."""
    _, *parts = _FIELD.split(line.decode(errors="replace").rstrip("\n"))
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _listed(pools: Iterable[PoolConfig]) -> str:
    return ", ".join(dict.fromkeys(f"'{pool.name}'" for pool in pools))


def _address(server: ServerConfig) -> str:
    return server.pname.rpartition(":")[0]
