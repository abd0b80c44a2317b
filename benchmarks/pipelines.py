"""Many clients that pipeline deeply, all at once: how long they take and what memory, compared with redis alone."""

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
"""How many times as long as redis alone ours may take."""

PEAK_LIMIT = 64 * 1024
"""KB that ours may have in all while it lasts."""

KEPT_LIMIT = 1024
"""KB more than before that still count as given back."""


class PipelinesResult(NamedTuple):
    """Seconds of redis alone and through ours, round by round, and kilobytes of ours."""

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
        """What is still held 30 s later."""
        return self.after_rest - self.before


def exchanges() -> list[Exchange]:
    """For each client all that it sends, sets and gets of 35 and 25 bytes, and the replies."""
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
    """Redis and ours take turns."""
    bank = exchanges()
    direct, through = [], []
    with contender(OURS, programs, servers, folder) as proxy:
        before = tree_resident(proxy)
        whole = tree_peak(proxy)
        for _ in range(ROUNDS):
            direct.append(drive(servers.ports[0], CLIENTS, bank, CLIENTS)[0])
            through.append(drive(proxy.port, CLIENTS, bank, CLIENTS)[0])
        # Highest sizes count shared pages once per process, so only what was added is taken from them.
        peak = before + tree_peak(proxy) - whole
        time.sleep(REST_SECONDS)
        return PipelinesResult(direct, through, before, peak, tree_resident(proxy))
