"""The metrics of the running proxy, for ``stats.exposition``."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Final

from twemproxy import __version__
from twemproxy.stats import snapshot
from twemproxy.stats.exposition import SERVER_EDGES, Scope, Subject, cumulated, labels, render
from twemproxy.stats.report import PoolFacts, ServerFacts
from twemproxy.stats.slots import VERDICTS
from twemproxy.supervisor.pace import Pace
from twemproxy.supervisor.served_config import ServedConfig
from twemproxy.supervisor.statistics import Statistics
from twemproxy.supervisor.usage import usage_of

_MICROSECONDS: Final = 1_000_000


async def scrape(
    served: ServedConfig, facts: Mapping[str, PoolFacts], *, ready: bool, open_metrics: bool, original: bool
) -> bytes:
    """The text with current values; other work of the event loop goes on meanwhile.

    ``facts``: what the configuration says, by the name of the pool. The others: see ``stats.exposition.render``.
    """
    pace = Pace()
    statistics = served.statistics
    pools: list[Subject] = []
    servers: list[Subject] = []
    for place in snapshot.find(statistics.slots, statistics.names):
        # A reload in the meantime has removed a pool or a server that is not here.
        if (pool_facts := facts.get(place.name)) is None:
            continue
        by_name = {each.name: each for each in pool_facts.servers}
        for name, slot in place.servers:
            if (server_facts := by_name.get(name)) is not None:
                servers.append(_server(statistics, slot, place.name, server_facts))
                await pace.rest()
        pools.append(_pool(snapshot.take_pool(statistics.tables(), place, ()), pool_facts))
    subjects: dict[Scope, list[Subject]] = {
        "process": [_process(served, ready)],
        "worker": list(_workers(served)),
        "pool": pools,
        "server": servers,
    }
    pieces = []
    for piece in render(subjects, open_metrics=open_metrics, original=original):
        pieces.append(piece)
        await pace.rest()
    return await _joined(pieces, pace)


async def _joined(pieces: list[str], pace: Pace) -> bytes:
    text = bytearray()
    for piece in pieces:
        text += piece.encode()
        await pace.rest()
    return bytes(text)


def _server(statistics: Statistics, slot: int, pool: str, facts: ServerFacts) -> Subject:
    # Processes may end between two servers: each time those are read that there are.
    tables = statistics.tables()
    counters = snapshot.take_metrics_of_server(tables, slot)
    is_ejected = statistics.shared[slot + VERDICTS] % 2 == 1
    values: dict[str, float] = {**counters, "ejected": int(is_ejected), "share": facts.share, "ejected_for": 0}
    if is_ejected:
        values["ejected_for"] = max(time.time() - counters["server_ejected_at"] / _MICROSECONDS, 0)
    phases = snapshot.take_phases(tables, slot, counters, SERVER_EDGES)
    return Subject(labels(pool=pool, server=facts.name), values, {"address": facts.address}, phases)


def _pool(pool: snapshot.PoolSnapshot, facts: PoolFacts) -> Subject:
    texts = {name: getattr(facts, name) for name in ("protocol", "listen", "hash", "distribution", "ring_fingerprint")}
    histograms = {f"{name}/{phase}": cumulated(each) for (name, phase), each in pool.latency.items()}
    return Subject(labels(pool=pool.name), pool.values, texts, histograms)


def _process(served: ServedConfig, ready: bool) -> Subject:
    statistics, status = served.statistics, served.status
    usage = usage_of(os.getpid())
    values: dict[str, float] = {
        **snapshot.take_process(statistics.tables()),
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
    return Subject("", values, texts)


def _workers(served: ServedConfig) -> Iterator[Subject]:
    """The workers that run."""
    now = time.monotonic()
    for slot in served.workers:
        if (found := slot.process()) is None:
            continue
        process, memory = found
        values: dict[str, float] = {**snapshot.take_process([memory])}
        if (usage := usage_of(process.pid)) is not None and values["loop_turned_at"]:
            values["loop_age"] = max(now - values["loop_turned_at"] / _MICROSECONDS, 0)
            yield Subject(labels(worker=str(slot.number)), {**values, **usage._asdict()})
