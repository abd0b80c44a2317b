"""The metrics of the running proxy, for ``stats.exposition``."""

import os
import sys
import time
from array import array
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from twemproxy import __version__
from twemproxy.stats.catalogue import COMMAND_CLASSES, POOL_PHASES, SERVER_METRICS, SERVER_PHASES
from twemproxy.stats.exposition import EDGES, Scope, Subjects, labels, render
from twemproxy.stats.report import PoolFacts, ServerFacts
from twemproxy.stats.slots import OF_POOL, OF_SERVER
from twemproxy.stats.snapshot import (
    ANSWERED_AT_ONCE,
    POOL,
    PROCESS,
    Rows,
    columns,
    find,
    histogram_places,
    is_ejected,
    take_cumulated,
    take_rows,
)
from twemproxy.supervisor.pace import Pace, gather
from twemproxy.supervisor.served_config import ServedConfig
from twemproxy.supervisor.statistics import Statistics
from twemproxy.supervisor.usage import usage_of

_MICROSECONDS: Final = 1_000_000

_TOGETHER: Final = 50
"""Pools or servers whose counters are read in one step."""

_SERVER: Final = columns(SERVER_METRICS, "ejected", "ejected_for")
_PHASES: Final = {phase: histogram_places(OF_SERVER, _SERVER, phase, ANSWERED_AT_ONCE) for phase in SERVER_PHASES}
_CLASSES_AND_PHASES: Final = {
    f"{name}/{phase}": histogram_places(OF_POOL, POOL, phase, (name,))
    for name in COMMAND_CLASSES
    for phase in POOL_PHASES
}


class _Server(NamedTuple):
    pool: str
    slot: int
    facts: ServerFacts


async def scrape(
    served: ServedConfig, facts: Mapping[str, PoolFacts], *, ready: bool, open_metrics: bool, original: bool
) -> tuple[bytes, ...]:
    """The text with current values, in pieces; other work of the event loop goes on meanwhile.

    ``facts``: what the configuration says, by the name of the pool. The others: see ``stats.exposition.render``.
    """
    pace = Pace()
    statistics = served.statistics
    pools: list[tuple[int, PoolFacts]] = []
    servers: list[_Server] = []
    for place in find(statistics.slots, statistics.names):
        # A reload in the meantime has removed a pool or a server that is not here.
        if (pool_facts := facts.get(place.name)) is not None:
            pools.append((place.slot, pool_facts))
            by_name = {each.name: each for each in pool_facts.servers}
            servers += [_Server(place.name, slot, by_name[name]) for name, slot in place.servers if name in by_name]
            await pace.rest()
    subjects: dict[Scope, list[Subjects]] = {
        "process": [_process(served, ready)],
        "worker": [_workers(served)],
        "pool": [],
        "server": [],
    }
    for start in range(0, len(pools), _TOGETHER):
        subjects["pool"].append(_pools(statistics, pools[start : start + _TOGETHER]))
        await pace.rest()
    for start in range(0, len(servers), _TOGETHER):
        subjects["server"].append(_servers(statistics, servers[start : start + _TOGETHER]))
        await pace.rest()
    return await gather(render(subjects, open_metrics=open_metrics, original=original), pace)


def _servers(statistics: Statistics, servers: Sequence[_Server]) -> Subjects:
    # Processes may end between two steps: each time those are read that there are.
    tables = statistics.tables()
    slots = tuple([each.slot for each in servers])
    rows = take_rows(tables, slots, _SERVER)
    for row, slot in enumerate(slots):
        if is_ejected(slot, statistics.shared):
            rows.put(row, "ejected", 1)
            since = rows.column("server_ejected_at")[row]
            rows.put(row, "ejected_for", max(round(time.time() * _MICROSECONDS) - since, 0))
    return Subjects(
        [labels(pool=each.pool, server=each.facts.name).encode() for each in servers],
        rows,
        {"share": [each.facts.share for each in servers]},
        {"address": [each.facts.address for each in servers]},
        {
            phase: take_cumulated(tables, slots, rows, histograms, EDGES["server"])
            for phase, histograms in _PHASES.items()
        },
    )


def _pools(statistics: Statistics, pools: Sequence[tuple[int, PoolFacts]]) -> Subjects:
    tables = statistics.tables()
    slots = tuple([slot for slot, _ in pools])
    rows = take_rows(tables, slots, POOL)
    texts = ("protocol", "listen", "hash", "distribution", "ring_fingerprint")
    return Subjects(
        [labels(pool=facts.name).encode() for _, facts in pools],
        rows,
        texts={name: [getattr(facts, name) for _, facts in pools] for name in texts},
        histograms={
            name: take_cumulated(tables, slots, rows, histograms, EDGES["pool"])
            for name, histograms in _CLASSES_AND_PHASES.items()
        },
    )


def _process(served: ServedConfig, ready: bool) -> Subjects:
    statistics, status = served.statistics, served.status
    usage = usage_of(os.getpid())
    numbers: dict[str, float] = {
        "started_at": time.time() - statistics.uptime(),
        "uptime": int(statistics.uptime()),
        "ready": int(ready),
        "config_generation": status.generation,
        "config_loaded_at": status.since,
        "last_reload_at": status.last_reload_at,
        "last_reload_successful": int(not status.last_reload_failed),
        "resident": 0 if usage is None else usage.resident,
        "cpu": 0 if usage is None else usage.cpu,
    }
    texts = {
        "version": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "file": served.path,
        "fingerprint": str(served.facts().process["config_fingerprint"]),
    }
    return Subjects(
        [b""],
        take_rows(statistics.tables(), (0,), PROCESS),
        {name: [number] for name, number in numbers.items()},
        {name: [text] for name, text in texts.items()},
    )


def _workers(served: ServedConfig) -> Subjects:
    """The workers that run."""
    now = time.monotonic()
    names = []
    words = array("Q")
    numbers: dict[str, list[float]] = {name: [] for name in ("loop_age", "resident", "cpu", "started_at")}
    for slot in served.workers:
        if (found := slot.process()) is None:
            continue
        process, memory = found
        rows = take_rows([memory], (0,), PROCESS)
        turned_at = rows.values()["loop_turned_at"] / _MICROSECONDS
        if (usage := usage_of(process.pid)) is not None and turned_at:
            names.append(labels(worker=str(slot.number)).encode())
            words += rows.words
            for name, number in {"loop_age": max(now - turned_at, 0), **usage._asdict()}.items():
                numbers[name].append(number)
    return Subjects(names, Rows(PROCESS, words), numbers)
