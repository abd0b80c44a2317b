"""``make idle``: what 10,000 idle clients cost: the memory of each, and the latency of 500 active clients.

The memory of each kind of idle client is measured on a new proxy. Then two proxies in front of the same servers, one
with idle clients and one without, take turns under the same load.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, mkdtemp
from typing import NamedTuple

from benchmarks import load, machine, page, wire
from benchmarks.backends import Backends, backends
from benchmarks.cases import CASES, Case, Protocol
from benchmarks.contenders import OURS, Contender, contender
from benchmarks.dialects import SPARE_FILES, Exchange
from benchmarks.load import LoadError
from benchmarks.machine import Programs
from benchmarks.memory import tree_resident
from benchmarks.processes import raise_file_limit
from benchmarks.report import met, table
from twemproxy.demo.processes import StartError, end_on_signals

ACTIVE_CASES = ("GET 3 B, pipeline 1, 500 clients", "memcached get 3 B, pipeline 1, 500 clients")
WARM_CLIENTS = 500
"""The number of idle clients that come first and are not counted, because the first clients cost more."""

MOST_ACTIVE = 1000
"""Open files that the load of the active clients may need; the proxy reserves another eighth for servers."""

MEMORY_LIMIT = 1.0
"""The most KB that an idle client may cost."""

LATENCY_LIMIT = 1.25
"""The limit for the ratio of the p99 with idle clients to without; it exceeds the differences between rounds."""


class Kind(NamedTuple):
    """A kind of idle client, by the requests that it sends before it is idle."""

    name: str
    exchanges: Sequence[Exchange]


_GET = Exchange(wire.encode([b"GET", b"idle"]), b"$-1\r\n")

KINDS: dict[Protocol, Sequence[Kind]] = {
    "redis": (
        Kind("one GET", [_GET]),
        Kind(
            "what redis-py says at first, and one GET",
            [
                Exchange(wire.encode([b"CLIENT", b"SETINFO", b"LIB-NAME", b"redis-py"]), b"+OK\r\n"),
                Exchange(wire.encode([b"CLIENT", b"SETINFO", b"LIB-VER", b"8.0.0"]), b"+OK\r\n"),
                _GET,
            ],
        ),
    ),
    "memcached": (Kind("one get", [Exchange(b"get idle\r\n", b"END\r\n")]),),
}
"""The last kind stays connected while latencies are measured."""


class Outcome(NamedTuple):
    """The results for one protocol."""

    protocol: Protocol
    case: str
    """The load of the active clients."""
    kilobytes: dict[str, float]
    """KB per idle client of each kind."""
    without: list[float]
    crowded: list[float]
    """The p99 in ms of the active clients, round by round, without idle clients and with them."""

    @property
    def ratio(self) -> float:
        """The ratio of the medians, with idle clients to without."""
        return median(self.crowded) / median(self.without)


def connect_idle(proxy: Contender, kind: Kind, count: int, stack: ExitStack) -> None:
    """Connect clients of this kind until the stack ends."""
    for _ in range(count):
        connection = stack.enter_context(wire.connect(proxy.port))
        for exchange in kind.exchanges:
            wire.ask(connection, *exchange)


def idle_memory(proxy: Contender, kind: Kind, count: int, stack: ExitStack) -> float:
    """KB per idle client; the clients stay connected."""
    connect_idle(proxy, kind, WARM_CLIENTS, stack)
    before = tree_resident(proxy)
    connect_idle(proxy, kind, count, stack)
    return (tree_resident(proxy) - before) / count


def run_case(programs: Programs, case: Case, options: argparse.Namespace, folder: Path) -> Outcome:
    """Measure one protocol, with the case as the load of the active clients."""
    kinds = KINDS[case.topology.protocol]
    outcome = Outcome(case.topology.protocol, case.name, {}, [], [])
    with ExitStack() as stack:
        servers = stack.enter_context(backends(programs, case.topology, {case.contents}, folder))
        for kind in kinds[:-1]:
            with started(programs, servers, folder) as proxy, ExitStack() as clients:
                outcome.kilobytes[kind.name] = idle_memory(proxy, kind, options.clients, clients)
        alone = stack.enter_context(started(programs, servers, folder))
        crowded = stack.enter_context(started(programs, servers, folder))
        outcome.kilobytes[kinds[-1].name] = idle_memory(crowded, kinds[-1], options.clients, stack)
        for proxy in (alone, crowded):
            load.run(programs, proxy.port, case, options.requests // 4)
        for _ in range(options.rounds):
            for proxy, figures in ((alone, outcome.without), (crowded, outcome.crowded)):
                figures.append(load.run(programs, proxy.port, case, options.requests).p99)
    return outcome


def started(programs: Programs, servers: Backends, folder: Path) -> AbstractContextManager[Contender]:
    """Our proxy, in a new folder."""
    return contender(OURS, programs, servers, Path(mkdtemp(dir=folder)))


def parts(outcomes: Sequence[Outcome], options: argparse.Namespace) -> list[str]:
    """The parts of the page."""
    conditions = (
        f"{options.clients:,} idle clients, after {WARM_CLIENTS} that are not counted; resident memory of all "
        "processes, a page that n processes share counts as an n-th, without the kernel's socket buffers. Then "
        f"{options.rounds} rounds of {options.requests:,} requests of the active clients, on a proxy without idle "
        "clients and on one with them in turn."
    )
    memory = [
        [f"{outcome.protocol}: {kind}", f"{size:.2f}", met(size <= MEMORY_LIMIT)]
        for outcome in outcomes
        for kind, size in outcome.kilobytes.items()
    ]
    latency = [
        [
            outcome.case,
            *map(rounds, (outcome.without, outcome.crowded)),
            f"{outcome.ratio:.2f}",
            met(is_unharmed(outcome)),
        ]
        for outcome in outcomes
    ]
    return [
        conditions,
        table(("idle clients, after", "KB each", f"at most {MEMORY_LIMIT:g}"), memory),
        table(("active", "p99 ms without", "p99 ms with", "ratio", f"at most {LATENCY_LIMIT:g}"), latency),
    ]


def rounds(milliseconds: Sequence[float]) -> str:
    """The median and the range, as text."""
    return f"{median(milliseconds):.2f} ({min(milliseconds):.2f} to {max(milliseconds):.2f})"


def is_unharmed(outcome: Outcome) -> bool:
    """Whether the p99 of the active clients is within its bound."""
    return outcome.ratio <= LATENCY_LIMIT


def main(words: Sequence[str] | None = None) -> int:
    """Print the figures and write them; returns 1 if a bound was not kept, 2 if nothing can be measured."""
    parser = argparse.ArgumentParser(prog="benchmarks.idle", description="Measure what idle clients cost.")
    parser.add_argument("--clients", type=int, default=10_000, metavar="N", help="idle clients (default 10000)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds per case (default 5)")
    parser.add_argument("--requests", type=int, default=100_000, metavar="N", help="in each step (default 100000)")
    page.add_output(parser)
    options = parser.parse_args(words)
    files = (options.clients + WARM_CLIENTS + MOST_ACTIVE + SPARE_FILES) * 8 // 7
    allowed = raise_file_limit(files)
    if allowed < files:
        print(
            f"{options.clients} clients need {files} open files, {allowed} are allowed: raise the limit "
            f"(ulimit -n {files} as root, or LimitNOFILE), or measure fewer (--clients)",
            file=sys.stderr,
        )
        return 2
    programs = machine.find_programs(None)
    end_on_signals()
    outcomes = []
    for case in (case for case in CASES if case.name in ACTIVE_CASES):
        with TemporaryDirectory(prefix="benchmark-") as folder:
            try:
                outcomes.append(run_case(programs, case, options, Path(folder)))
            except (LoadError, StartError, OSError) as error:
                print(f"{case.name}: {error}", file=sys.stderr)
                return 2
    found = parts(outcomes, options)
    partial = options.clients < parser.get_default("clients")
    path = page.write(options.output, "idle", "Idle clients", found, partial=partial)
    print("\n\n".join(found))
    print(f"written: {path}", file=sys.stderr)
    return 0 if all(max(one.kilobytes.values()) <= MEMORY_LIMIT and is_unharmed(one) for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
