"""``make soak``: half an hour of mixed load with random faults; checks memory, open files, and every reply.

Three servers of redis and three of memcached, with every kind of pool in front of them, all in one proxy; clients that
verify every reply; and for each protocol one fault after the other, of a random server for a random time. The seed
determines the faults; their effects depend on the machine.
"""

import argparse
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import page
from benchmarks.faults import SWITCH_SECONDS
from benchmarks.generator import percentile
from benchmarks.soak_report import Finding, Process, Sample, criteria, draw, findings, verdict, write_csv
from faults.arena import SERVERS, Arena, Ejections, Pool
from faults.catalogue import FAULTS, Fault
from faults.client import Client
from faults.dialects import MEMCACHED, REDIS
from faults.load import Load
from faults.tally import Errors, Tally, elsewhere, texts
from harness.names import Names
from harness.proc import descriptors, memory, process_tree
from harness.proxy import Proxy
from twemproxy.demo.processes import end_on_signals

PER_SERVER, ROAMING = 2, 3
PAUSE = 0.4
"""Mean seconds between two pipelines of a client: relays and clients share one Python process."""
CHURN = 0.01
"""The probability that a client reconnects after a pipeline."""
ABORT_PAUSE = 0.1
"""Mean seconds between clients that leave in the middle of a pipeline."""
RESET = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which a close sends a RST."""
FAULT_SECONDS = (0.1, 3.0)
REST_SECONDS = (0.2, 1.5)
MOST_SAMPLES = 900
LEAST_INTERVAL = 0.25
"""The least number of seconds between two samples."""


class Front:
    """One protocol: an arena, clients of each of its pools, and the faults of its servers."""

    def __init__(self, arena: Arena, proxy: Proxy, choose: random.Random) -> None:
        self.arena = arena
        self.faults = [fault for fault in FAULTS if arena.dialect.name in fault.protocols]
        self.now = ""
        """The present fault as text; empty if there is none."""
        self.inflicted = 0
        self.elsewhere: Counter[str] = Counter()
        """Errors of requests that did not concern the server in trouble, and ejections of other servers."""
        self.problem: BaseException | None = None
        """Why the faults ended early."""
        self._choose = choose
        self._ejections = Ejections(proxy)
        self._stack = ExitStack()
        self.loads: dict[Pool, Load] = {}
        for pool in arena.pools.values():
            tally = Tally()
            with proxy.client(pool.name) as connection:
                clients = pool.clients(connection, tally, PER_SERVER, ROAMING)
            connected = [(client, proxy.port(pool.name)) for client in clients]
            self.loads[pool] = self._stack.enter_context(Load(connected, tally, pause=PAUSE, churn=CHURN))

    @property
    def tallies(self) -> list[Tally]:
        """The tally of each pool."""
        return [load.tally for load in self.loads.values()]

    def work(self, over: threading.Event) -> None:
        """Inflict one fault after the other until ``over`` is set or something fails."""
        try:
            for load in self.loads.values():
                load.wait_well()
            self._note_all((), 0)
            while not over.wait(self._choose.uniform(*REST_SECONDS)):
                self._happen(self._choose.choice(self.faults), self._choose.randrange(SERVERS))
        except BaseException as error:
            self.problem = error

    def _happen(self, fault: Fault, index: int) -> None:
        self.now = f"{self.arena.dialect.name} s{index:02d} {fault.name}"
        with self.arena.trouble(index, fault):
            time.sleep(self._choose.uniform(*FAULT_SECONDS))
        touched = self.arena.touched(fault)
        for pool in touched:
            self._wait_well(pool, index)
        self.arena.recovered(index, fault)
        self._note_all(touched, index)
        self.inflicted += 1
        self.now = ""

    def _wait_well(self, pool: Pool, index: int) -> None:
        # Earlier failures may eject a server when its clients are already well again.
        while True:
            self._ejections.wait_back(pool, index)
            self.loads[pool].wait_well()
            if not self._ejections.has(pool, index):
                return

    def _note_all(self, touched: Collection[Pool], index: int) -> None:
        """Record errors and ejections since the last call that the fault of this server does not explain."""
        for pool, load in self.loads.items():
            allowed = [index] if pool in touched else []
            self._note(pool, elsewhere(load.tally.take_errors(), allowed))
            ejected = self._ejections.take(pool).difference(allowed)
            self._note(pool, Counter({(f"server {other} was ejected", frozenset({other})): 1 for other in ejected}))

    def _note(self, pool: Pool, errors: Errors) -> None:
        for text, count in texts(errors).items():
            self.elsewhere[f"{pool.name}, while {self.now or 'all was well'}: {text}"] += count

    def end(self) -> None:
        """Stop the load, and compare the servers' counters with the increments that were sent."""
        self._stack.close()
        for pool, load in self.loads.items():
            pool.audit(load.clients, load.tally)
        self._note_all((), 0)


class Aborting:
    """Clients that leave in the middle of a pipeline, one after the other, in a thread of their own."""

    def __init__(self, proxy: Proxy, fronts: Sequence[Front], choose: random.Random) -> None:
        self.times = 0
        self._choose = choose
        self._clients: list[tuple[Client, int]] = []
        for pool in (pool for front in fronts for pool in front.arena.pools.values()):
            with proxy.client(pool.name) as connection:
                (client,) = pool.more_clients(connection, Tally(), 0, 1)
            self._clients.append((client, proxy.port(pool.name)))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="aborting", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop these clients."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self._choose.expovariate(1 / ABORT_PAUSE)):
            client, port = self._choose.choice(self._clients)
            data = client.pipeline()
            client.lose()
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(data[: self._choose.randint(0, len(data))])
                if self._choose.random() < 0.5:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.times += 1


class Sampler:
    """Takes samples of the proxy and the clients at intervals, in a thread of its own, until it is stopped."""

    def __init__(self, proxy: Proxy, fronts: Sequence[Front], interval: float) -> None:
        self.samples: list[Sample] = []
        self._proxy = proxy
        self._fronts = fronts
        self._interval = interval
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop taking samples."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self._interval):
            self.samples.append(self._sample())

    def _sample(self) -> Sample:
        tallies = [tally for front in self._fronts for tally in front.tallies]
        seconds = sorted(one for tally in tallies for many in tally.take_latencies().values() for one in many)
        return Sample(
            time.monotonic() - self._began,
            [found for pid in process_tree(self._proxy.process.pid) if (found := look_at(pid))],
            sum(tally.answered for tally in tallies),
            sum(tally.failed for tally in tallies),
            sum(tally.violations.total() for tally in tallies),
            1000 * percentile(seconds, 99) if seconds else 0.0,
            "; ".join(front.now for front in self._fronts if front.now),
        )


def look_at(pid: int) -> Process | None:
    """The present state of a process; None if it has ended."""
    files = len(descriptors(pid))
    rss = memory(pid).get("VmRSS")
    return Process(pid, rss // 1024, files) if rss else None


def run(proxy: Proxy, arenas: Sequence[Arena], options: argparse.Namespace) -> tuple[list[Front], int, list[Sample]]:
    """Run the soak; returns the protocols, the number of clients that left in a pipeline, and the samples."""
    fronts = [Front(arena, proxy, random.Random(f"{options.seed} {arena.dialect.name}")) for arena in arenas]
    aborting = Aborting(proxy, fronts, random.Random(f"{options.seed} aborting"))
    sampler = Sampler(proxy, fronts, max(options.seconds / MOST_SAMPLES, LEAST_INTERVAL))
    over = threading.Event()
    threads = [threading.Thread(target=front.work, args=[over]) for front in fronts]
    end = time.monotonic() + options.seconds
    try:
        for thread in threads:
            thread.start()
        while time.monotonic() < end and all(thread.is_alive() for thread in threads):
            time.sleep(LEAST_INTERVAL)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        sampler.stop()
        aborting.stop()
        for front in fronts:
            front.end()
    return fronts, aborting.times, sampler.samples


def judge(fronts: Sequence[Front], samples: Sequence[Sample]) -> list[Finding]:
    """The findings on all criteria."""
    tallies = [tally for front in fronts for tally in front.tallies]
    found = findings(samples)
    found += [Finding(f"{front.arena.dialect.name}: {front.problem}", False) for front in fronts if front.problem]
    for text, count in (
        ("replies wrong, shifted, stale, lost or duplicated", sum(tally.violations.total() for tally in tallies)),
        (
            "errors and ejections that had nothing to do with a fault",
            sum(front.elsewhere.total() for front in fronts),
        ),
    ):
        found.append(Finding(f"{text}: {count}", count == 0))
    return found


def conditions(fronts: Sequence[Front], aborted: int, options: argparse.Namespace) -> str:
    """A paragraph about what was done."""
    clients = sum(len(load.clients) for front in fronts for load in front.loads.values())
    pools = sum(len(front.loads) for front in fronts)
    tallies = [tally for front in fronts for tally in front.tallies]
    answered, failed = sum(tally.answered for tally in tallies), sum(tally.failed for tally in tallies)
    faults = " and ".join(f"{front.inflicted} of {front.arena.dialect.name} servers" for front in fronts)
    return (
        f"{options.seconds:.0f} s, seed {options.seed}: {clients} clients on {pools} pools in front of {SERVERS} "
        f"servers of each protocol, {answered:,} verified replies, {failed:,} of them errors; {aborted:,} clients that "
        f"left in the middle of a pipeline; faults: {faults}."
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run the soak, and print and write the results; returns 1 if a criterion was not kept."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description="Load with random faults, for a long time.")
    parser.add_argument("--seconds", type=float, default=1800.0, help="(default 1800)")
    parser.add_argument("--seed", type=int, default=1, help="of what happens (default 1)")
    page.add_output(parser)
    options = parser.parse_args(words)
    sys.setswitchinterval(SWITCH_SECONDS)
    end_on_signals()
    with TemporaryDirectory(prefix="names-") as folder, ExitStack() as stack:
        names = Names(Path(folder))
        redis, memcached = (
            stack.enter_context(Arena(dialect, random.Random(f"{options.seed} {dialect.name} clients"), names))
            for dialect in (REDIS, MEMCACHED)
        )
        proxy = stack.enter_context(Proxy({**redis.directives, **memcached.directives}, command=names.command()))
        fronts, aborted, samples = run(proxy, [redis, memcached], options)
    found = judge(fronts, samples)
    partial = options.seconds < parser.get_default("seconds")
    options.output.mkdir(parents=True, exist_ok=True)
    stem = page.stem("soak", partial)
    write_csv(samples, options.output / f"{stem}.csv")
    no_picture = draw(samples, options.output / f"{stem}.png")
    parts = [
        conditions(fronts, aborted, options),
        verdict(found),
        criteria(),
        no_picture or f"![Memory, open files and replies]({stem}.png)",
        f"Every sample: [{stem}.csv]({stem}.csv). Shaded: not judged.",
    ]
    path = page.write(options.output, "soak", "Soak", parts, partial=partial)
    print("\n\n".join(parts[:3]))
    for front in fronts:
        for pool, load in front.loads.items():
            if report := load.tally.report():
                print(f"{pool.name}: {report}", file=sys.stderr)
        for text, count in front.elsewhere.most_common():
            print(f"{text} ({count} times)", file=sys.stderr)
    print(f"written: {path}", file=sys.stderr)
    return 0 if all(finding.kept for finding in found) else 1


if __name__ == "__main__":
    sys.exit(main())
