"""The report of a soak: the verdict on its samples, a CSV file and a picture."""

import csv
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.picture import NO_MATPLOTLIB
from benchmarks.report import met

WARM_SHARE = 0.1
"""The first part of the run, which is not judged, because memory still grows to what the load needs."""
JUDGED_SHARE = 0.2
"""The first and the last part of the rest, which are compared."""
RSS_GROWTH = 0.05
RSS_SLACK_KB = 1024
FDS_SLACK = 3
LEAST_SAMPLES = 10
"""The least number of samples in each of the two parts."""


class Process(NamedTuple):
    """A process of the proxy."""

    pid: int
    rss_kb: int
    fds: int


class Sample(NamedTuple):
    """One sample; the counts are since the beginning."""

    seconds: float
    processes: Sequence[Process]
    """The supervisor is the first one."""
    answered: int
    errors: int
    violations: int
    p99_ms: float
    """The p99 of whole pipelines since the last sample, including those of servers in trouble."""
    faults: str
    """The present faults, up to one for each protocol; empty if there are none."""


class Finding(NamedTuple):
    """A criterion, and whether it was kept."""

    text: str
    kept: bool


def role(position: int) -> str:
    """The role of the process at this position."""
    return "supervisor" if position == 0 else f"worker {position}"


def findings(samples: Sequence[Sample]) -> list[Finding]:
    """Compare RSS and open files of each process, early and late in the run."""
    judged = samples[int(len(samples) * WARM_SHARE) :]
    part = int(len(judged) * JUDGED_SHARE)
    if part < LEAST_SAMPLES:
        return [Finding(f"too short to be judged: {len(samples)} samples", False)]
    early, late = judged[:part], judged[len(judged) - part :]
    # During a fault connections are closed and opened, and a closed connection takes a moment to disappear.
    rested = [[sample for sample in phase if not sample.faults] or phase for phase in (early, late)]
    found: list[Finding] = []
    for position in range(least_processes(samples)):
        first, last = (median(sample.processes[position].rss_kb for sample in phase) for phase in (early, late))
        most = first + max(first * RSS_GROWTH, RSS_SLACK_KB)
        found.append(Finding(f"RSS of the {role(position)}: {first:,.0f} KB, {last:,.0f} KB at the end", last <= most))
        first, last = (median(sample.processes[position].fds for sample in phase) for phase in rested)
        text = f"open files of the {role(position)}: {first:.0f}, {last:.0f} at the end"
        found.append(Finding(text, last <= first + FDS_SLACK))
    pids = {tuple(process.pid for process in sample.processes) for sample in samples}
    found.append(Finding(f"sets of processes: {len(pids)}", len(pids) == 1))
    return found


def least_processes(samples: Sequence[Sample]) -> int:
    """The smallest number of processes in a sample; a change of the number is a finding of its own."""
    return min(len(sample.processes) for sample in samples)


def criteria() -> str:
    """What ``findings`` compares, as text."""
    return (
        f"The first {WARM_SHARE:.0%} of the run are not judged. Of the rest, the median of the first "
        f"{JUDGED_SHARE:.0%} is compared with that of the last {JUDGED_SHARE:.0%}. Flat: RSS at most {RSS_GROWTH:.0%} "
        f"or {RSS_SLACK_KB} KB more, whichever is more; open files, while no fault goes on, at most {FDS_SLACK} more; "
        "no process replaced."
    )


def verdict(found: Sequence[Finding]) -> str:
    """The findings as a Markdown list."""
    return "\n".join(f"- {finding.text}: {met(finding.kept)}" for finding in found)


def write_csv(samples: Sequence[Sample], path: Path) -> None:
    """Write a line for each sample."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        processes = range(least_processes(samples))
        columns = [f"{role(position)} {what}" for position in processes for what in ("rss KB", "open files")]
        writer.writerow(["seconds", *columns, "answered", "errors", "violations", "p99 ms", "faults"])
        for sample in samples:
            looked = [sample.processes[position] for position in processes]
            figures = [figure for process in looked for figure in (process.rss_kb, process.fds)]
            counts = [sample.answered, sample.errors, sample.violations, f"{sample.p99_ms:.1f}", sample.faults]
            writer.writerow([f"{sample.seconds:.1f}", *figures, *counts])


def draw(samples: Sequence[Sample], path: Path) -> str | None:
    """Write the picture as a PNG; returns None, or why there is no picture."""
    try:
        import_module("matplotlib").use("Agg")
        pyplot = import_module("matplotlib.pyplot")
    except ImportError:
        return NO_MATPLOTLIB
    minutes = [sample.seconds / 60 for sample in samples]
    figure, (memory, files, counts) = pyplot.subplots(3, 1, sharex=True, figsize=(11, 9), layout="constrained")
    for position in range(least_processes(samples)):
        memory.plot(minutes, [one.processes[position].rss_kb / 1024 for one in samples], label=role(position))
        files.plot(minutes, [one.processes[position].fds for one in samples], label=role(position), linewidth=0.8)
    memory.set_title("resident memory, MB")
    files.set_title("open files")
    counts.set_title("since the beginning")
    counts.plot(minutes, [one.answered for one in samples], label="replies")
    counts.plot(minutes, [one.errors for one in samples], label="errors")
    counts.plot(minutes, [one.violations for one in samples], label="wrong, shifted, stale, lost or duplicated")
    counts.set_yscale("symlog")
    counts.set_xlabel("minutes")
    for axis in (memory, files, counts):
        axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.axvspan(0, minutes[-1] * WARM_SHARE, color="grey", alpha=0.15)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=9)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return None
