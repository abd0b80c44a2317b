"""What the proxy says of itself: the documents and pages of the statistics port, and the report for sub-commands."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from twemproxy import __version__, ui
from twemproxy.admin import http
from twemproxy.admin.http import Request, Response
from twemproxy.admin.stats_port import Pages
from twemproxy.config.directives import DIRECTIVES, default
from twemproxy.config.key_space import shares_of
from twemproxy.config.pools import Address, Config, PoolConfig
from twemproxy.ipc.control import Ejection
from twemproxy.ipc.messages import Inspection
from twemproxy.stats import report, snapshot
from twemproxy.stats.document import ConfigFacts
from twemproxy.stats.report import PoolFacts, ServerFacts
from twemproxy.stats.slots import OF_POOL, OF_SERVER
from twemproxy.supervisor.inspection import inspect
from twemproxy.supervisor.pace import Pace, gather
from twemproxy.supervisor.scrape import scrape
from twemproxy.supervisor.served_config import ServedConfig
from twemproxy.supervisor.threads import in_thread

SLOW_REQUESTS: Final = 50
"""Slow requests of each pool in the report."""

STALE: Final = 5.0
"""Seconds for which the event loop of a worker may stand still before the proxy is not healthy."""

JSON: Final = "application/json"
OPEN_METRICS: Final = "application/openmetrics-text"
TEXT_FORMAT: Final = "text/plain; version=0.0.4; charset=utf-8"

HIDDEN: Final = "hidden"
"""What is shown in place of the value of a secret."""

_DASHBOARD_HEADERS: Final = (
    ("content-security-policy", ui.CONTENT_SECURITY_POLICY),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
)

_OWN_MEMBERS: Final = ("listen", "servers", "hash", "distribution", "hash_tag", "redis")
"""Directives that the report shows outside of ``settings``."""


class Reporting:
    """The reports of a running proxy."""

    def __init__(self, served: ServedConfig, why_not_ready: Callable[[], str], original_metrics: bool) -> None:
        """``why_not_ready``: returns why the proxy is not ready, empty if it is. ``original_metrics``: see
        ``stats.exposition.render``.
        """
        self._served = served
        self._original_metrics = original_metrics
        self._why_not_ready = why_not_ready
        self._facts: tuple[Config, dict[str, PoolFacts]] | None = None

    def pages(self) -> Pages:
        """The pages of the statistics port."""
        return {
            "/metrics": self._metrics,
            "/stats.json": self._stats_json,
            "/healthz": self._healthz,
            "/ready": self._ready,
            "/ui/report.json": self._report_json,
            **dict.fromkeys(ui.FILES, _dashboard),
        }

    async def document(self, full: bool) -> tuple[bytes, ...]:
        """The document with current values, in pieces: the ``full`` one or nutcracker's."""
        return await self._served.statistics.document(self._served.facts() if full else None)

    async def report(self) -> tuple[bytes, ...]:
        """The report, see ``stats.report``, in pieces."""
        served, pace = self._served, Pace()
        statistics, events = served.statistics, served.statistics.events
        facts = await self._pool_facts()
        known = {each.pool: each for each in await inspect(served.workers)}
        pools = []
        for place in snapshot.find(statistics.slots, statistics.names):
            # A reload in the meantime has removed a pool or a server that is not here.
            if (pool_facts := facts.get(place.name)) is None:
                continue
            slots = dict(place.servers)
            parts = []
            for each in pool_facts.servers:
                if (slot := slots.get(each.name)) is not None:
                    by_hand = served.ejections.of(place.name, each.name)
                    why = _by_hand(by_hand) if by_hand is not None else events.why_ejected(place.name, each.name)
                    # Processes may end meanwhile: each step reads those that there are.
                    tables = statistics.tables()
                    row = snapshot.take_rows(tables, (slot,), snapshot.SERVER)
                    is_ejected = snapshot.is_ejected(slot, statistics.shared)
                    latency = snapshot.take_latency(tables, slot, OF_SERVER, row)
                    load = served.skew.of(place.name, each.name)
                    parts.append(report.server_part(each, row, is_ejected, latency, why, load.excess, load.is_skewed))
                    await pace.rest()
            inspection = known.get(place.name, Inspection(place.name, (), ()))
            hot = [key.document() for key in inspection.hot]
            slow = [each.document() for each in inspection.slow[-SLOW_REQUESTS:]]
            tables = statistics.tables()
            row = snapshot.take_rows(tables, (place.slot,), snapshot.POOL)
            latency = snapshot.take_latency(tables, place.slot, OF_POOL, row)
            pools.append(report.pool_part(pool_facts, row.values(), latency, parts, hot, slow))
            await pace.rest()
        now = time.time()
        process = report.ProcessFacts(
            version=__version__,
            hostname=statistics.source,
            pid=os.getpid(),
            now=now,
            started_at=now - statistics.uptime(),
            ready=not self._why_not_ready(),
            config=self._config_part(),
            process=snapshot.take_process(statistics.tables()),
            workers=list(self._workers()),
        )
        return await gather(report.document(process, pools, events.all()), pace)

    def _config_part(self) -> dict[str, Any]:
        # It computes the fingerprint if that was not done yet.
        self._served.facts()
        status = self._served.status
        last = {"at": status.last_reload_at, "failed": status.last_reload_failed, "text": status.last_reload}
        return {
            "file": self._served.path,
            "generation": status.generation,
            "fingerprint": status.fingerprint,
            "loaded_at": status.since,
            "last_reload": last if status.last_reload_at else None,
        }

    def _workers(self) -> Iterator[dict[str, int]]:
        """The number, the process id and the figures of each worker that runs."""
        for slot in self._served.workers:
            if (found := slot.process()) is not None:
                process, memory = found
                yield {"number": slot.number, "pid": process.pid, **snapshot.take_process([memory])}

    async def _pool_facts(self) -> dict[str, PoolFacts]:
        """What the configuration says, by the name of the pool."""
        config = self._served.config
        if self._facts is None or self._facts[0] is not config:
            self._facts = (config, await in_thread(_facts_of, config, self._served.facts()))
        return self._facts[1]

    # --- pages -----------------------------------------------------------------------------------------------

    async def _metrics(self, request: Request) -> Response:
        open_metrics = request.prefers(OPEN_METRICS, "text/plain")
        text = await scrape(
            self._served,
            await self._pool_facts(),
            ready=not self._why_not_ready(),
            open_metrics=open_metrics,
            original=self._original_metrics,
        )
        return Response(200, f"{OPEN_METRICS}; version=1.0.0; charset=utf-8" if open_metrics else TEXT_FORMAT, text)

    async def _stats_json(self, request: Request) -> Response:
        return Response(200, JSON, await self.document(True))

    async def _report_json(self, request: Request) -> Response:
        return Response(200, JSON, await self.report())

    async def _ready(self, request: Request) -> Response:
        why = self._why_not_ready()
        return http.text(503, why) if why else http.text(200, "ready")

    async def _healthz(self, request: Request) -> Response:
        """Healthy while this loop turns, and those of the workers do, whatever the servers do."""
        now = time.monotonic()
        for slot in self._served.workers:
            turned_at = snapshot.take_process([slot.memory])["loop_turned_at"] / 1_000_000
            if slot.ready.is_set() and turned_at and now - turned_at > STALE:
                why = f"the event loop of worker {slot.number} has not turned for {now - turned_at:.0f} s"
                return http.text(503, why)
        return http.text(200, "ok")


async def _dashboard(request: Request) -> Response:
    name, content_type = ui.FILES[request.path]
    return Response(200, content_type, (ui.read(name),), _DASHBOARD_HEADERS)


def _facts_of(config: Config, facts: ConfigFacts) -> dict[str, PoolFacts]:
    return {pool.name: _pool_facts(pool, str(facts.pools[pool.name]["ring_fingerprint"])) for pool in config.pools}


def _place(address: Address) -> str:
    return address.path or f"{address.host}:{address.port}"


def _pool_facts(pool: PoolConfig, ring_fingerprint: str) -> PoolFacts:
    settings: dict[str, Any] = {}
    changed = []
    for directive in DIRECTIVES:
        value = getattr(pool, directive.name)
        if not directive.required and value != default(directive):
            changed.append(directive.name)
        if directive.name not in _OWN_MEMBERS:
            settings[directive.name] = HIDDEN if directive.is_secret and value else value
    servers = tuple(
        ServerFacts(server.name, _place(server.address), server.weight, share)
        for server, share in zip(pool.servers, shares_of(pool), strict=True)
    )
    return PoolFacts(
        name=pool.name,
        protocol="redis" if pool.redis else "memcached",
        listen=pool.listen.text,
        hash=pool.hash,
        distribution=pool.distribution,
        hash_tag=pool.hash_tag,
        ring_fingerprint=ring_fingerprint,
        settings=settings,
        changed=tuple(changed),
        servers=servers,
    )


def _by_hand(ejection: Ejection) -> str:
    """Why a server was ejected by hand."""
    return f"by hand: {ejection.reason}" if ejection.reason else "by hand"
