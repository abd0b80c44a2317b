"""Many clients with deep pipelines at the same time: time and memory of our proxy, compared with redis alone."""

import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import wire
from benchmarks.backends import Backends
from benchmarks.contenders import OURS, contender
from benchmarks.dialects import Exchange
from benchmarks.generator import drive
from benchmarks.machine import Programs
from benchmarks.memory import REST_SECONDS, tree_peak, tree_resident

CLIENTS = 200
REQUESTS = 2000
ROUNDS = 5

TIME_LIMIT = 2.0
"""The limit for the time of our proxy, as a multiple of the time of redis alone."""

PEAK_LIMIT = 64 * 1024
"""The most KB of our proxy in total during the load."""

KEPT_LIMIT = 1024
"""KB above the memory before the load that still count as released."""


class PipelinesResult(NamedTuple):
    """Seconds of redis alone and through our proxy, round by round, and the proxy's memory in kilobytes."""

    direct: list[float]
    through: list[float]
    before: int
    peak: int
    after_rest: int

    @property
    def ratio(self) -> float:
        """The median over the rounds of ours/redis."""
        return median(ours / alone for ours, alone in zip(self.through, self.direct, strict=True))

    @property
    def kept(self) -> int:
        """The memory of the load that is still in use 30 s later."""
        return self.after_rest - self.before


def exchanges() -> list[Exchange]:
    """For each client all its requests, sets and gets of 35 and 25 bytes, and the replies."""
    bank = []
    for client in range(CLIENTS):
        requests, replies = [], []
        for number in range(REQUESTS // 2):
            key = b"p%06d" % (client * REQUESTS + number)
            requests += [wire.encode([b"SET", key, b"val"]), wire.encode([b"GET", key])]
            replies += [b"+OK\r\n", b"$3\r\nval\r\n"]
        bank.append(Exchange(b"".join(requests), b"".join(replies)))
    return bank


def measure(programs: Programs, servers: Backends, folder: Path) -> PipelinesResult:
    """Measure redis alone and our proxy in turn."""
    bank = exchanges()
    direct, through = [], []
    with contender(OURS, programs, servers, folder) as proxy:
        before = tree_resident(proxy)
        whole = tree_peak(proxy)
        for _ in range(ROUNDS):
            direct.append(drive(servers.ports[0], CLIENTS, bank, CLIENTS)[0])
            through.append(drive(proxy.port, CLIENTS, bank, CLIENTS)[0])
        # Peaks count shared pages once per process, so only the increase of the peak is used.
        peak = before + tree_peak(proxy) - whole
        time.sleep(REST_SECONDS)
        return PipelinesResult(direct, through, before, peak, tree_resident(proxy))
