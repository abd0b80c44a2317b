"""``make fuzz``: fuzzes every target and the running proxy at the same time, and reports the results.

The targets are fuzzed one after the other, each for an equal part of the time, and the network for all of the time.
"""

import argparse
import json
import os
import re
import resource
import shlex
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from fuzz import guided
from fuzz.targets import TARGETS
from twemproxy.demo.processes import Process, end_on_signals

_ROOT = Path(__file__).parents[2]
_STOPPED_AFTER = 120
"""Seconds that a process may take to end after its time is over."""
_SANITIZED_MEMORY = 768
"""Megabytes for a sanitized proxy, which keeps freed memory to detect its use."""
_SHOWN = 3
"""The number of network findings whose commands are shown; all findings are in the log."""
_EXECUTED = re.compile(r"stat::number_of_executed_units: +(\d+)")
_COVERED = re.compile(r"cov: (\d+) ft: (\d+)")
_FINDING_SEED = re.compile(r"^finding with seed (\d+)$", re.MULTILINE)
_FINDING = re.compile(r"Test unit written to (.+)")


class Outcome(NamedTuple):
    """The result of a process."""

    name: str
    seconds: float
    counts: str
    finding: str
    """How to reproduce the finding; empty if there is none."""


class Job:
    """A process that fuzzes, and its log. The end of the context stops the process."""

    def __init__(self, name: str, seconds: float, folder: Path, *command: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._began = time.monotonic()
        self._end = self._began + seconds + _STOPPED_AFTER
        arguments = [sys.executable, "-m", *command, "--seconds", f"{seconds:.0f}"]
        self._process = Process(arguments, self.log, folder=_ROOT, environment=guided.environment())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    def wait(self) -> tuple[float, bool, str]:
        """Wait for the end; returns how long it took, whether the status is 0, and the output."""
        self._process.wait_ended(max(self._end - time.monotonic(), 0))
        self._process.kill_group()
        return time.monotonic() - self._began, self._process.returncode == 0, self._process.output()


def fuzz_target(name: str, seconds: float, seed: int, folder: Path) -> Outcome:
    """Fuzz a target for ``seconds``; ``folder`` keeps inputs that add coverage, and the input of a finding."""
    options = [name, "--folder", str(folder / name), "--seed", str(seed)]
    with Job(name, seconds, folder, "fuzz.guided", *options) as job:
        took, well, said = job.wait()
    executed = _EXECUTED.findall(said)
    covered = _COVERED.findall(said)
    counts = f"{sum(map(int, executed))} executions"
    if covered:
        counts += f", {covered[-1][0]} branches and {covered[-1][1]} features covered"
    if well:
        return Outcome(name, took, counts, "")
    inputs = _FINDING.findall(said)
    again = f"; again: {_command('fuzz.guided', name, *inputs)}" if inputs else ""
    return Outcome(name, took, counts, f"see {job.log}{again}")


def network_outcome(job: Job) -> Outcome:
    """Wait for the end of the network fuzzer; returns its result."""
    took, well, said = job.wait()
    lines = [line for line in said.splitlines() if line.startswith("{")]
    told = json.loads(lines[-1]) if lines else {"runs": 0}
    counts = ", ".join(f"{count} {name}" for name, count in told.items())
    if well:
        return Outcome(job.name, took, counts, "")
    seeds = [int(found) for found in _FINDING_SEED.findall(said)]
    again = [_command("fuzz.network", *_network_options(found)) for found in seeds]
    return Outcome(job.name, took, counts, "; again: ".join([f"see {job.log}", *again[:_SHOWN]]))


def _network_options(seed: int) -> list[str]:
    sanitized = "asan" in os.environ.get("TWEMPROXY_UNDER_TEST", "")
    return ["--seed", str(seed), *(["--most-memory", str(_SANITIZED_MEMORY)] if sanitized else [])]


def _command(*arguments: str) -> str:
    """A command for a shell, with the variables of this environment that it needs."""
    names = ("PYTHONPATH", "TWEMPROXY_UNDER_TEST")
    variables = [f"{name}={shlex.quote(os.environ[name])}" for name in names if name in os.environ]
    return " ".join([*variables, shlex.join([sys.executable, "-m", *arguments])])


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz everything.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0 for another one each time")
    parser.add_argument("--folder", type=Path, default=_ROOT / "build" / "fuzz", help="for new inputs, logs, findings")
    return parser.parse_args(arguments)


def main() -> int:
    """Fuzz everything; returns 1 if there is a finding."""
    options = parse()
    end_on_signals()
    seed = options.seed or int(time.time()) % 1_000_000
    seconds, folder = options.minutes * 60, options.folder
    folder.mkdir(parents=True, exist_ok=True)
    print(f"fuzzing for {options.minutes:g} minutes with seed {seed}; logs and findings are in {folder}", flush=True)
    outcomes = []
    with Job("network", seconds, folder, "fuzz.network", *_network_options(seed)) as network:
        for name in TARGETS:
            outcomes.append(fuzz_target(name, seconds / len(TARGETS), seed, folder))
            _show(outcomes[-1])
        outcomes.append(network_outcome(network))
        _show(outcomes[-1])
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    findings = sum(bool(outcome.finding) for outcome in outcomes)
    print(f"{findings} findings in {(usage.ru_utime + usage.ru_stime) / 3600:.2f} hours of processor time")
    return int(findings > 0)


def _show(outcome: Outcome) -> None:
    print(f"{outcome.name:18} {outcome.seconds:5.0f} s  {outcome.counts}", flush=True)
    if outcome.finding:
        print(f"    FINDING: {outcome.finding}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
