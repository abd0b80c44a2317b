"""``make faults``: what a fault of one server costs the clients of the other servers.

For each protocol and fault, on a pool of three servers: the number of requests with errors, and the p99 before, during
and after the fault, for clients of healthy servers and for clients of the affected server. Every reply is verified. The
load is paced, so that a client that waits does not change the load of other clients.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks import page
from benchmarks.generator import percentile
from benchmarks.report import met, table
from faults.arena import SERVERS, Arena, Ejections
from faults.catalogue import FAILURE_LIMIT, FAULTS, TIMEOUT, Fault
from faults.dialects import MEMCACHED, REDIS, Dialect
from faults.load import Load
from faults.tally import Latencies, Tally, elsewhere
from harness.names import Names
from harness.proxy import Proxy
from twemproxy.demo.processes import end_on_signals

VICTIM = 1
HEALTHY = (0, 2)
PER_SERVER, ROAMING = 6, 2
PAUSE = 0.04
"""Mean seconds between two pipelines of a client."""

MOST = 2.0
"""The limit for the ratio of the p99 of healthy servers' clients, during the fault to before."""

SWITCH_SECONDS = 0.0005
"""Seconds after which a thread yields to another thread: the load should not wait for the relay."""

HEAD = (
    *("fault", "errors", "of one client, each time", "elsewhere", "violations"),
    *("healthy p99 ms: before, during, after", "ratio", "affected p99 ms", "verdict"),
)


class Outcome(NamedTuple):
    """One fault: the p99 in milliseconds before, during and after it, and other results."""

    healthy: Sequence[float]
    affected: Sequence[float]
    errors: int
    failures: float
    """The largest number of failed round trips of a client, divided by how often the fault happened."""
    errors_elsewhere: int
    violations: str

    @property
    def ratio(self) -> float:
        """The ratio of the p99 of healthy servers' clients, during the fault to before."""
        return self.healthy[1] / self.healthy[0]


def measure(arena: Arena, proxy: Proxy, fault: Fault, seconds: float) -> Outcome:
    """Inflict the fault once, with this many seconds before, during and after it."""
    tally = Tally()
    pool, relay = arena.pools[fault.pool], arena.relays[VICTIM]
    with proxy.client(pool.name) as connection:
        clients = pool.clients(connection, tally, PER_SERVER, ROAMING)
    with Load([(client, proxy.port(pool.name)) for client in clients], tally, pause=PAUSE) as load:
        load.wait_round()
        tally.take_latencies()
        time.sleep(seconds)
        phases = [tally.take_latencies()]
        happened = relay.happened
        with arena.trouble(VICTIM, fault):
            time.sleep(seconds)
            phases.append(tally.take_latencies())
        if pool.setup.ejects:
            Ejections(proxy).wait_back(pool, VICTIM)
        load.wait_well()
        arena.recovered(VICTIM, fault)
        times = max(relay.happened - happened, 1)
        errors = tally.take_errors()
        tally.take_latencies()
        time.sleep(seconds)
        phases.append(tally.take_latencies())
    pool.audit(clients, tally)
    return Outcome(
        [p99(phase, HEALTHY) for phase in phases],
        [p99(phase, (VICTIM,)) for phase in phases],
        errors.total(),
        max(client.failures for client in clients) / times,
        elsewhere(errors, [VICTIM]).total() + tally.take_errors().total(),
        tally.report(),
    )


def p99(latencies: Latencies, homes: Sequence[int]) -> float:
    """The 99th percentile, in milliseconds, of the pipelines of clients with these homes."""
    seconds = sorted(second for home in homes for second in latencies.get(home, []))
    return 1000 * percentile(seconds, 99) if seconds else float("nan")


def keeps(fault: Fault, outcomes: Sequence[Outcome]) -> bool:
    """Whether every bound is kept: that of errors in each round, and that of the p99 in the median of the rounds."""
    if median(outcome.ratio for outcome in outcomes) > MOST:
        return False
    if any(outcome.violations or outcome.errors_elsewhere for outcome in outcomes):
        return False
    return fault.most is None or max(outcome.failures for outcome in outcomes) <= fault.most


def row(dialect: Dialect, fault: Fault, outcomes: Sequence[Outcome]) -> list[str]:
    """The row of a fault in the table."""
    failures = max(outcome.failures for outcome in outcomes)
    bound = f"{failures:.1f} (≤ {fault.most})" if fault.most is not None else f"{failures:.0f}"
    return [
        f"{dialect.name}: {fault.name}",
        " ".join(str(outcome.errors) for outcome in outcomes),
        bound,
        str(sum(outcome.errors_elsewhere for outcome in outcomes)),
        str(sum(outcome.violations != "" for outcome in outcomes)),
        medians([outcome.healthy for outcome in outcomes]),
        f"{median(outcome.ratio for outcome in outcomes):.2f}",
        medians([outcome.affected for outcome in outcomes]),
        met(keeps(fault, outcomes)),
    ]


def medians(rounds: Sequence[Sequence[float]]) -> str:
    """The medians over the rounds, before, during and after the fault."""
    return ", ".join(f"{median(figures):.1f}" for figures in zip(*rounds, strict=True))


def conditions(options: argparse.Namespace) -> str:
    """A paragraph about how the figures were taken."""
    clients = SERVERS * PER_SERVER + ROAMING
    return (
        f"Pools of {SERVERS} servers with {clients} clients, a pipeline of up to 17 requests from each every "
        f"{1000 * PAUSE:.0f} ms (mean), every reply verified. {options.rounds} rounds of {options.seconds:g} s before, "
        f"during and after each fault of one server; p99 is of whole pipelines, in ms, the median of the rounds. "
        f"`timeout` is {TIMEOUT} ms where a server may hang, `server_failure_limit` {FAILURE_LIMIT}. "
        "*errors*: replies, round by round. *of one client, each time*: its round trips with an error, the worst "
        "client, divided by how often the fault happened; without a bound where the server is simply away. "
        "*elsewhere*: errors of requests for other servers, or after the fault. *violations*: rounds in which a reply "
        f"was wrong, shifted, stale, lost or duplicated. The bound of the ratio is {MOST:g}."
    )


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print and write the table; returns 1 if a bound was not kept."""
    parser = argparse.ArgumentParser(prog="benchmarks.faults", description="Measure what faults cost healthy servers.")
    parser.add_argument("--seconds", type=float, default=3.0, help="before, during and after each fault (default 3)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="times each fault happens (default 3)")
    parser.add_argument("--fault", default="", metavar="TEXT", help="only faults whose name contains TEXT")
    page.add_output(parser)
    options = parser.parse_args(words)
    sys.setswitchinterval(SWITCH_SECONDS)
    end_on_signals()
    rows: list[list[str]] = []
    kept = True
    print(table(HEAD, []), flush=True)
    for dialect in (REDIS, MEMCACHED):
        faults = [fault for fault in FAULTS if dialect.name in fault.protocols and options.fault in fault.name]
        with (
            TemporaryDirectory(prefix="names-") as folder,
            Arena(dialect, random.Random(dialect.name), Names(Path(folder))) as arena,
            Proxy(arena.directives, command=arena.names.command()) as proxy,
        ):
            for fault in faults:
                outcomes = [measure(arena, proxy, fault, options.seconds) for _ in range(options.rounds)]
                rows.append(row(dialect, fault, outcomes))
                print(table(rows[-1], []).splitlines()[0], flush=True)
                for outcome in outcomes:
                    print(outcome.violations, end="\n" * bool(outcome.violations), file=sys.stderr, flush=True)
                kept &= keeps(fault, outcomes)
    parts = [conditions(options), table(HEAD, rows)]
    path = page.write(options.output, "faults", "Faults under load", parts, partial=bool(options.fault))
    print(f"written: {path}", file=sys.stderr)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
