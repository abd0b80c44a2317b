"""The processor time of a contender, and the runs in which it is measured."""

import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks import load, wire
from benchmarks.cases import Case
from benchmarks.contenders import Contender
from benchmarks.dialects import exchange_of
from benchmarks.load import Load, LoadError
from benchmarks.machine import Programs
from harness.proc import cpu_nanoseconds, cpu_seconds, machine_seconds, process_tree

PROBE_SECONDS = 0.5
"""A calibration step of this length shows well enough how many requests fill a step."""


class Sample(NamedTuple):
    """One step of one contender."""

    load: Load
    cpu: float
    """Microseconds of processor time per request: user and system time of all processes of the contender."""


class CaseResult(NamedTuple):
    """The measurement of a case: one sample per round, in the same order for every contender."""

    case: Case
    requests: int
    """The number of requests in each step."""
    samples: dict[str, list[Sample]]
    strangers: float
    """The share of the machine's processor time that other programs used or its host stole."""

    def median_of(self, name: str, figure: Callable[[Sample], float]) -> float:
        """A contender's median over the rounds."""
        return median(figure(sample) for sample in self.samples[name])

    def ratios(self, ours: str, theirs: str, figure: Callable[[Sample], float]) -> list[float]:
        """Ours divided by theirs, round by round."""
        pairs = zip(self.samples[ours], self.samples[theirs], strict=True)
        return [figure(one) / figure(other) for one, other in pairs]


def cpu_of(sample: Sample) -> float:
    """Microseconds of processor time per request."""
    return sample.cpu


def throughput_of(sample: Sample) -> float:
    """Requests per second."""
    return sample.load.per_second


def tree_cpu(contender: Contender) -> dict[int, int]:
    """Processor time in nanoseconds of each process of a contender."""
    return {pid: cpu_nanoseconds(pid) for pid in process_tree(contender.process.pid)}


def benchmark_seconds() -> float:
    """Seconds of processor time of this process and all its descendants, including those that have ended."""
    return sum(map(cpu_seconds, process_tree(os.getpid())))


def step(programs: Programs, contender: Contender, case: Case, requests: int) -> Sample:
    """Run one step of load on one contender."""
    if contender.process.poll() is not None:
        raise LoadError(f"{contender.name} is gone (status {contender.process.returncode})")
    before = tree_cpu(contender)
    seen = load.run(programs, contender.address(case), case, requests)
    after = tree_cpu(contender)
    if set(before) - set(after):
        raise LoadError(f"a process of {contender.name} ended during the step")
    used = sum(after.values()) - sum(before.values())
    return Sample(seen, used / 1000 / seen.requests)


def check_reply(contender: Contender, case: Case) -> None:
    """Send the case's request once; a ``LoadError`` unless the contender answers what a server would."""
    try:
        with wire.connect(contender.address(case)) as connection:
            wire.ask(connection, *exchange_of(case))
    except OSError as error:
        raise LoadError(f"{contender.name}: {error}") from error


def least_requests(case: Case) -> int:
    """The smallest number of requests in a step: two pipelines per client, and at least 500."""
    return max(2 * case.clients * case.pipeline, 500)


def calibrate(programs: Programs, contender: Contender, case: Case, seconds: float) -> int:
    """The number of requests that this contender serves in this many seconds, in whole waves of all clients."""
    wave = case.clients * case.pipeline
    requests = least_requests(case)
    while True:
        seen = load.run(programs, contender.address(case), case, requests)
        elapsed = seen.requests / seen.per_second
        if elapsed >= PROBE_SECONDS:
            return max(2, round(seen.per_second * seconds / wave)) * wave
        requests *= min(10, max(2, round(1.5 * PROBE_SECONDS / max(elapsed, 0.001))))


def warm_up(programs: Programs, contenders: Sequence[Contender], case: Case) -> None:
    """Let each contender serve the case for a moment, so that its memory has grown before the first measurement."""
    for contender in contenders:
        try:
            load.run(programs, contender.address(case), case, least_requests(case))
        except LoadError as error:
            raise LoadError(f"{contender.name}: {error}") from error


def alternate(
    programs: Programs, contenders: Sequence[Contender], case: Case, requests: int, rounds: int
) -> CaseResult:
    """Measure every contender in turn, in each round.

    Each round starts with another contender, and every second round is in reverse order, so that no contender always
    follows the same one.
    """
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    began, machine, benchmark = time.monotonic(), machine_seconds(), benchmark_seconds()
    for number in range(rounds):
        first = number % len(contenders)
        order = (*contenders[first:], *contenders[:first])
        for contender in order[:: -1 if number % 2 else 1]:
            try:
                samples[contender.name].append(step(programs, contender, case, requests))
            except LoadError as error:
                raise LoadError(f"{contender.name}: {error}") from error
    available = (time.monotonic() - began) * (os.cpu_count() or 1)
    others = machine_seconds() - machine - (benchmark_seconds() - benchmark)
    return CaseResult(case, requests, samples, strangers=max(0.0, others / available))
