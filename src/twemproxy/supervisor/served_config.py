"""The configuration that the workers serve, and its replacement while they serve it (reload)."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from twemproxy import log
from twemproxy.config.changes import Line, changes, former_names
from twemproxy.config.fingerprint import config_fingerprint, pool_fingerprint
from twemproxy.config.loading import ConfigError, load
from twemproxy.config.options import Options
from twemproxy.config.pools import Config
from twemproxy.ipc.messages import Abandon, ConfigStatus, LogSettings, Prepare, SetConfigStatus, Start
from twemproxy.stats.document import ConfigFacts
from twemproxy.stats.slots import SlotsFull
from twemproxy.supervisor.access_log import AccessLog, AccessLogError
from twemproxy.supervisor.descriptors import Division, divide
from twemproxy.supervisor.ejections import Ejections
from twemproxy.supervisor.errors import StartError
from twemproxy.supervisor.inheritance import Inheritance
from twemproxy.supervisor.listeners import PoolListeners
from twemproxy.supervisor.open_files import raise_limit
from twemproxy.supervisor.service_manager import ServiceManager, passed_sockets
from twemproxy.supervisor.skew import Skew
from twemproxy.supervisor.statistics import Statistics
from twemproxy.supervisor.threads import in_thread
from twemproxy.supervisor.worker_slot import WorkerSlot

PREPARE_TIME: Final = 5.0
"""Seconds that the workers have to prepare a configuration; then the reload fails."""

MOST_SHOWN: Final = 5
"""Differences that statistics and INFO show of a reload; the log has all of them."""

UNCHANGED: Final = "nothing differs from the configuration that is served"

_logger = log.get_logger(__name__)


class ReloadFailed(Exception):
    """A configuration cannot be served; the former one still is."""

    def __init__(self, *reasons: str) -> None:
        """``reasons``: one line each."""
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def _summary(lines: Sequence[str]) -> str:
    """One line for the statistics."""
    more = len(lines) - MOST_SHOWN
    return "; ".join([*lines[:MOST_SHOWN], f"and {more} more, see the log"] if more > 0 else lines)


class ServedConfig:
    """The configuration in use, with its listening sockets and its part of the statistics."""

    def __init__(
        self,
        config: Config,
        options: Options,
        manager: ServiceManager,
        inheritance: Inheritance | None = None,
    ) -> None:
        """``manager``: is told about reloads. ``inheritance``: of another version of the
        program. Raises ``stats.slots.SlotsFull``, StartError without the access log, or OSError without memory.
        """
        self._manager = manager
        self.config = config
        self.path = os.path.abspath(options.conf_file)
        """The path of the configuration file."""
        self.workers: list[WorkerSlot] = []
        """The workers, a list that the owner sets and changes."""
        self.listeners = PoolListeners(passed_sockets() if inheritance is None else ())
        """The owner opens them for the first configuration."""
        self.statistics = Statistics(config)
        self.status = ConfigStatus(1, "", time.time())
        """Its fingerprint is set by ``identify``."""
        self._options = options
        self._open_files = raise_limit()
        self._division = self._divide(config, None)
        self._rings = self._ring_fingerprints(config)
        self.places: tuple[Mapping[int, int], Mapping[int, int]] | tuple[()] = ()
        """Where the counters and histograms of workers of another version are, see ``CounterMemory``."""
        if inheritance is not None:
            self.status = inheritance.status
            self.listeners.take_over(inheritance)
            places = self.statistics.take_over(inheritance)
            self.places = () if places is None else (places.counters, places.histograms)
        inherited = () if inheritance is None else inheritance.ejections
        self.ejections = Ejections(self.statistics, lambda: self.config, inherited)
        self.skew = Skew(self.statistics, lambda: self.config)
        pipe = None if inheritance is None else inheritance.access_log
        try:
            self.access_log = AccessLog(options.access_log, pipe, partial(self.statistics.count, "access_log_dropped"))
        except AccessLogError as error:
            raise StartError(str(error)) from error
        self.changing = asyncio.Lock()
        """Held during a reload and an upgrade."""

    def start(self) -> tuple[Start, list[int]]:
        """The first message for a new worker, the descriptor of the pipe of the access log, and those of the listening
        sockets, in pool order.
        """
        config = self.config
        start = Start(
            config,
            self.status,
            self.statistics.allocate(config),
            self._options.mbuf_size,
            LogSettings(log.current_level(), self._options.log_path, self._options.log_format),
            self._division.clients,
            self._options.max_memory,
        )
        self.access_log.begin()
        listeners = self.listeners.descriptors([pool.listen.address for pool in config.pools])
        return start, [self.access_log.pipe[1], *listeners]

    def facts(self) -> ConfigFacts:
        """What the statistics say about the configuration."""
        if not self.status.fingerprint:
            self.identify()
        return ConfigFacts(
            self.status.facts(),
            {pool.name: {"ring_fingerprint": self._rings[pool.name]} for pool in self.config.pools},
        )

    def identify(self) -> None:
        """Compute the fingerprint of the first configuration, which takes some time, and tell the workers.

        Called when somebody asks for it, at the latest when the proxy is ready.
        """
        self._set_status(fingerprint=config_fingerprint(self.config))

    def _set_status(self, **fields: object) -> None:
        """Change fields of the status, and tell the workers."""
        self.status = msgspec.structs.replace(self.status, **fields)
        for worker in self.workers:
            worker.send(SetConfigStatus(self.status))

    async def reload(self, fingerprint: str = "") -> list[str]:
        """Read the configuration file anew and serve it; returns what has changed, one line per difference.

        ``fingerprint``: if it is not empty, what the file must have. Raises ReloadFailed, and then nothing has changed.
        Another call waits until the first has ended.
        """
        async with self.changing:
            self._manager.reloading()
            try:
                config = await self._load()
                if fingerprint and config_fingerprint(config) != fingerprint:
                    raise ReloadFailed("the configuration file was changed while it was checked: try again")
                changed_lines = await self._replace(config)
                lines = [line.text for line in changed_lines]
            except ReloadFailed as error:
                verdict = f"failed: {_summary(error.reasons)}"
                self._set_status(last_reload=verdict, last_reload_at=time.time(), last_reload_failed=True)
                self.statistics.events.add("reload", verdict)
                for reason in error.reasons:
                    _logger.error(
                        "reload failed, the former configuration stays in use: %(reason)s", {"reason": reason}
                    )
                raise
            finally:
                self._manager.ready()
            now = time.time()
            changed: dict[str, object] = {
                "last_reload": _summary(lines) if lines else UNCHANGED,
                "last_reload_at": now,
                "last_reload_failed": False,
            }
            if lines:
                changed["generation"] = self.status.generation + 1
                changed["fingerprint"] = config_fingerprint(config)
                changed["since"] = now
            self._set_status(**changed)
            self.statistics.events.add("reload", self.status.last_reload)
            generation = self.status.generation
            _logger.log(
                log.NOTICE,
                "reload: generation %(generation)d, fingerprint %(fingerprint)s",
                {"generation": generation, "fingerprint": self.status.fingerprint},
            )
            for change in changed_lines or [Line(UNCHANGED)]:
                fields = {name: value for name, value in (("pool", change.pool), ("server", change.server)) if value}
                _logger.log(log.NOTICE, "reload: %(change)s", {**fields, "change": change.text})
            return lines

    async def _load(self) -> Config:
        try:
            # Looking up the host of a listener may take long.
            return await in_thread(partial(load, workers=len(self.workers)), self.path)
        except ConfigError as error:
            raise ReloadFailed(*error.lines()) from error

    async def _replace(self, config: Config) -> list[Line]:
        """Have all workers serve this configuration; returns what has changed. Raises ReloadFailed."""
        lines = changes(self.config, config).described()
        if not lines:
            return []
        former = former_names(self.config, config)
        try:
            opened = self.listeners.open(config)
        except StartError as error:
            raise ReloadFailed(str(error)) from error
        try:
            division = self._divide(config, self._division)
            slots = self.statistics.allocate(config, former)
            prepare = Prepare(config, slots, division.clients, tuple(opened), time.monotonic_ns())
            await self._prepare(prepare, self.listeners.descriptors(opened))
        except BaseException as error:
            for worker in self.workers:
                worker.send(Abandon())
            self.listeners.close(opened)
            if isinstance(error, SlotsFull):
                raise ReloadFailed(str(error)) from error
            raise
        # From here on nothing can fail: a worker that cannot go on is replaced by one with the new configuration.
        self.config, self._division, self._rings = config, division, self._ring_fingerprints(config)
        self.statistics.rename(former)
        self.statistics.show(config)
        self.ejections.follow(former)
        self.skew.follow()
        async with asyncio.TaskGroup() as group:
            for worker in self.workers:
                group.create_task(worker.commit())
        self.statistics.end_verdicts()
        self.listeners.keep(config)
        return lines

    async def _prepare(self, prepare: Prepare, listeners: Sequence[int]) -> None:
        try:
            async with asyncio.timeout(PREPARE_TIME), asyncio.TaskGroup() as group:
                answers = [group.create_task(worker.prepare(prepare, listeners)) for worker in self.workers]
        except TimeoutError:
            raise ReloadFailed(f"a worker has not prepared it within {PREPARE_TIME:.0f} s") from None
        for answer in answers:
            if problem := answer.result():
                raise ReloadFailed(problem)

    @staticmethod
    def _ring_fingerprints(config: Config) -> dict[str, str]:
        return {pool.name: pool_fingerprint(pool) for pool in config.pools}

    def _divide(self, config: Config, former: Division | None) -> Division:
        """Divide the descriptors; logged if that differs from the ``former`` division."""
        division = divide(config, self._open_files)
        if division != former:
            level = log.WARN if division.is_small() else log.INFO
            _logger.log(level, "%(reason)s", {"reason": division, "limit": division.clients})
        return division
