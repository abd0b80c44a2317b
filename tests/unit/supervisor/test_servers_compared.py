"""When the supervisor warns of a server that gets more than its part, and when it does not."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from twemproxy import log
from twemproxy.config.loading import loads
from twemproxy.config.pools import Config
from twemproxy.stats.catalogue import SERVER_METRICS
from twemproxy.stats.slots import VERDICTS
from twemproxy.supervisor.skew import ENOUGH_OF_SERVER, ENOUGH_REQUESTS, SILENCE, STEPS, Load, Skew
from twemproxy.supervisor.statistics import Statistics

REQUESTS = [metric.name for metric in SERVER_METRICS].index("requests")
NAMES = ("a", "b", "c", "d")
EVEN = dict.fromkeys(NAMES, 500)
HOT = {**EVEN, "a": 5000}
"""Server a gets 3.1 times its quarter."""


def config(*lines: str, weights: tuple[int, ...] = (1, 1, 1, 1)) -> Config:
    servers = "".join(f"    - h{name}:1:{weight} {name}\n" for name, weight in zip(NAMES, weights, strict=True))
    values = {"distribution": "modula", **dict(line.split(": ") for line in lines)}
    directives = "".join(f"  {name}: {value}\n" for name, value in values.items())
    return loads(f"alpha:\n  listen: 127.0.0.1:1\n{directives}  servers:\n{servers}".encode(), "my.yml")


class Watched:
    """The servers of a configuration, their counters, and what the log says of them."""

    def __init__(self, records: list[logging.LogRecord], served: Config) -> None:
        self.config = served
        self._records = records
        self.statistics = Statistics(served)
        self.statistics.allocate(served)
        self._memory = self.statistics.new_memory()
        self.skew = Skew(self.statistics, lambda: self.config)
        self.now = 1000.0

    def slot(self, server: str) -> int:
        return self.statistics.slots.of_server("alpha", server)

    async def interval(self, requests: dict[str, int]) -> None:
        """Let an interval end in which servers got as many requests."""
        for name, count in requests.items():
            self._memory[self.slot(name) + REQUESTS] += count
        await self.skew.compare_keys()
        self.now += 30
        await self.skew.compare_requests(self.now)

    async def intervals(self, requests: dict[str, int], number: int = STEPS + 1) -> list[tuple[str, str, float]]:
        """Let intervals end; returns the level, the server and the excess of each line in the log."""
        self._records.clear()
        for _ in range(number):
            await self.interval(requests)
        found = []
        for record in self._records:
            assert isinstance(record.args, dict)
            assert record.args["pool"] == "alpha"
            found.append((record.levelname, record.args["server"], record.args["excess"]))
        return found


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What the module logs from now on."""
    found: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    logger, handler = log.get_logger("twemproxy.supervisor.skew"), Keep()
    logger.addHandler(handler)
    logger.setLevel(log.NOTICE)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


WARNING = ("WARNING", "a", 3.1)
END = ("Level 25", "a", 1.0)


def test_a_warning_and_its_end(records: list[logging.LogRecord]) -> None:
    async def run() -> None:
        watched = Watched(records, config())
        assert await watched.intervals(EVEN) == []
        assert watched.skew.of("alpha", "a") == Load(1.0, False)
        # All of the last intervals count, so it takes some of them.
        assert await watched.intervals(HOT, 2) == []
        assert [line[:2] for line in await watched.intervals(HOT, STEPS)] == [("WARNING", "a")]
        load = watched.skew.of("alpha", "a")
        assert load.is_skewed and load.excess == pytest.approx(5000 / 6500 * 4)
        assert not watched.skew.of("alpha", "b").is_skewed
        [(level, server, excess)] = await watched.intervals(EVEN)
        assert (level, server) == END[:2] and excess <= 1.5
        assert watched.skew.of("alpha", "a") == Load(1.0, False)

    asyncio.run(run())


def test_at_most_one_warning_per_hour(records: list[logging.LogRecord]) -> None:
    async def run() -> None:
        watched = Watched(records, config())
        assert await watched.intervals(HOT) == [WARNING]
        assert await watched.intervals(HOT, int(SILENCE / 30) - 1) == []
        assert await watched.intervals(HOT, 1) == [WARNING]
        assert len(await watched.intervals(EVEN)) == 1
        # Within the hour the next one is not in the log, and neither is its end.
        assert await watched.intervals(HOT) == []
        assert watched.skew.of("alpha", "a").is_skewed
        assert await watched.intervals(EVEN) == []

    asyncio.run(run())


def test_few_requests_say_nothing(records: list[logging.LogRecord]) -> None:
    async def run() -> None:
        watched = Watched(records, config())
        alone = {"a": (ENOUGH_REQUESTS - 1) // STEPS}
        assert await watched.intervals(alone) == []
        assert watched.skew.of("alpha", "a") == Load(None, False)
        # What was found stays while a pool is idle.
        assert [line[:2] for line in await watched.intervals(HOT)] == [WARNING[:2]]
        load = watched.skew.of("alpha", "a")
        assert await watched.intervals({}) == []
        assert watched.skew.of("alpha", "a") == load and load.is_skewed
        assert await watched.intervals(EVEN) == [END]

    asyncio.run(run())


def test_few_requests_of_a_server_are_chance(records: list[logging.LogRecord]) -> None:
    async def run() -> None:
        watched = Watched(records, config(weights=(1, 1000, 1000, 1000)))
        few = {"a": (ENOUGH_OF_SERVER - 1) // STEPS, "b": 500, "c": 500, "d": 500}
        assert await watched.intervals(few) == []
        excess = watched.skew.of("alpha", "a").excess
        assert excess is not None and excess > 10

    asyncio.run(run())


def test_the_share_of_the_keys_counts(records: list[logging.LogRecord]) -> None:
    async def run() -> None:
        watched = Watched(records, config(weights=(10, 1, 1, 1)))
        assert await watched.intervals(HOT) == []
        assert {line[:2] for line in await watched.intervals(EVEN)} == {("WARNING", name) for name in "bcd"}

    asyncio.run(run())


@pytest.mark.parametrize("on_server_down", ["rehash", "error"])
def test_other_servers_have_the_requests_of_an_ejected_one(
    records: list[logging.LogRecord], on_server_down: str
) -> None:
    async def run() -> None:
        watched = Watched(records, config("auto_eject_hosts: true", f"on_server_down: {on_server_down}"))
        assert await watched.intervals(EVEN, STEPS) == []
        for name in ("c", "d"):
            watched.statistics.shared[watched.slot(name) + VERDICTS] += 1
        # What was counted before says nothing about the servers that have the keys now.
        assert await watched.intervals({"a": 900, "b": 100}, STEPS) == []
        assert watched.skew.of("alpha", "a") == watched.skew.of("alpha", "c") == Load(None, False)
        assert await watched.intervals({"a": 900, "b": 100}, 1) == []
        assert watched.skew.of("alpha", "a").excess == pytest.approx(1.8)
        assert watched.skew.of("alpha", "c") == Load(None, False)

    asyncio.run(run())


def test_another_configuration(records: list[logging.LogRecord]) -> None:
    async def run() -> None:
        watched = Watched(records, config())
        assert await watched.intervals(HOT) == [WARNING]
        watched.config = config("timeout: 400")
        assert await watched.intervals(HOT, 2) == []
        assert watched.skew.of("alpha", "a").is_skewed
        watched.config = config(weights=(9, 1, 1, 1))
        assert await watched.intervals(HOT, STEPS) == []
        [(level, server, excess)] = await watched.intervals(HOT, 1)
        assert (level, server) == END[:2] and excess == pytest.approx(1.0, abs=0.1)

    asyncio.run(run())


def test_uneven_shares_of_the_keys(records: list[logging.LogRecord]) -> None:
    async def run() -> None:
        watched = Watched(records, config())
        await watched.skew.compare_keys()
        assert records == []
        watched.config = config("distribution: ketama", "hash: crc32")
        await watched.skew.compare_keys()
        [record] = records
        assert isinstance(record.args, dict)
        assert (record.levelname, record.args["pool"], record.args["share"]) == ("WARNING", "alpha", 1)
        assert record.args["excess"] == 4
        # Once per configuration.
        await watched.skew.compare_keys()
        watched.config = config("distribution: ketama", "hash: crc32", "timeout: 1")
        await watched.skew.compare_keys()
        assert len(records) == 1

    asyncio.run(run())
