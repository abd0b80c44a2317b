"""The report of a run as Markdown."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.cases import COMMAND_LIMIT, NAME_PREFIX, NOT_BEHIND, ONE_SERVER, REDUCED, Target, size_text, what_text
from benchmarks.contenders import BEFORE, FLOOR, HAPROXY, NUTCRACKER, OURS, PREDIXY
from benchmarks.dialects import SAME_KEY_TWICE
from benchmarks.load import tool_of
from benchmarks.measure import CaseResult, cpu_of, throughput_of
from benchmarks.memory import BURST_CLIENTS, BURST_VALUE, GIVEN_BACK_LIMIT, IDLE_LIMIT, MemoryResult
from benchmarks.pipelines import CLIENTS, KEPT_LIMIT, PEAK_LIMIT, REQUESTS, TIME_LIMIT, PipelinesResult

RIVALS = (NUTCRACKER, BEFORE, PREDIXY, HAPROXY, FLOOR)
"""Whom ours is compared with, in the order of the report."""

NOTES = {
    BEFORE: "An earlier build of this repository.",
    PREDIXY: "Another proxy for redis, with one thread.",
    HAPROXY: "A plain relay to one server: the price of moving the bytes without looking at them.",
    FLOOR: "One recv and one send per ready client, without parsing and without servers: what the clients alone cost.",
}
"""Notes of the report on rivals."""


class Run(NamedTuple):
    """The contents of a report."""

    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    rounds: int
    seconds: float
    results: list[CaseResult]
    memory: list[MemoryResult]
    pipelines: PipelinesResult | None
    gaps: list[str]
    """Why the run is partial, a sentence each; empty for a whole run."""
    notes: Sequence[str] = ()
    """Which contenders took no part in what, and why."""


def markdown(run: Run, picture: str | None) -> str:
    """The whole document; ``picture``: the file name of its picture."""
    parts = [
        f"# Benchmark of {run.date}",
        "**This run is partial.**\n\n" + bullets(run.gaps) if run.gaps else "",
        table(("machine", ""), [*run.machine.items(), *run.versions.items()]),
        conditions(run),
        bullets(run.notes),
        f"![Ratios of processor time and throughput]({picture})" if picture else "",
        *(comparison(run, rival) for rival in RIVALS),
        against_get(run),
        figures(run),
        memory(run),
        pipelines(run.pipelines),
        rounds(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def conditions(run: Run) -> str:
    """How the figures were taken, in a paragraph."""
    users: dict[str, dict[str, None]] = {}
    for one in run.results:
        protocol, operation = one.case.topology.protocol, one.case.operation
        users.setdefault(tool_of(one.case).name, {})[operation if operation in SAME_KEY_TWICE else protocol] = None
    tools = "".join(f"; {tool} for {', '.join(names)}" for tool, names in users.items())
    sentences = [
        f"{run.rounds} rounds; in each, every contender in turn gets the same number of requests, chosen so "
        f"that a step of nutcracker takes about {run.seconds:g} s.",
        f"Load: random keys{tools}.",
        "Processor time: user and system of all processes of the contender.",
        "A ratio is ours divided by theirs in one round; below 1 is better for processor time, above 1 for throughput.",
    ]
    shapes = {one.case.shape for one in run.results}
    sentences += [
        f"{NAME_PREFIX[shape.protocol]}{what_text(shape.keys, shape.value_size)} at pipeline {shape.pipeline} "
        f"runs with {used} clients instead of {shape.clients}, because {reason}."
        for shape, (used, reason) in REDUCED.items()
        if shape._replace(clients=used) in shapes
    ]
    if run.results:
        shares = [one.strangers for one in run.results]
        sentences.append(
            f"Programs outside the benchmark had {median(shares):.0%} of the machine's processor time "
            f"(median of the cases; {max(shares):.0%} at worst): the more, the less a single ratio says."
        )
    return " ".join(sentences)


def comparison(run: Run, rival: str) -> str:
    """Median ratios against one rival; against nutcracker with targets and a verdict."""
    results = [result for result in run.results if {OURS, rival} <= result.samples.keys()]
    if not results:
        return ""
    judged = rival == NUTCRACKER
    rows = []
    for result in results:
        cpu, throughput = result.ratios(OURS, rival, cpu_of), result.ratios(OURS, rival, throughput_of)
        row = [result.case.name, middle(cpu), middle(throughput)]
        if judged:
            target = result.case.target
            row += [f"≤ {target.cpu:.2f}", f"≥ {target.throughput:.2f}", verdict(result, target)]
        rows.append(row)
    limits = ("CPU target", "throughput target", "verdict") if judged else ()
    notes = f"{NOTES[rival]}\n\n" if rival in NOTES else ""
    head = table(("case", f"CPU, ours/{rival}", f"throughput, ours/{rival}", *limits), rows)
    return f"## Ours against {rival}\n\n{notes}{head}{tally(results) if judged else ''}"


def against_get(run: Run) -> str:
    """Our processor time of other commands against that of a GET with the same servers, clients and pipeline."""
    costs = {result.case: result.median_of(OURS, cpu_of) for result in run.results}
    rows = []
    for case, cost in costs.items():
        get = case._replace(operation="GET")
        if not case.whole_pool or case == get or get not in costs:
            continue
        ratio = cost / costs[get]
        limited = case.topology == ONE_SERVER
        limit = (f"≤ {COMMAND_LIMIT:.2f}", met(ratio <= COMMAND_LIMIT)) if limited else ("", "")
        rows.append([case.name, f"{ratio:.2f}", *limit])
    if not rows:
        return ""
    note = "Our processor time per request, divided by that of a GET in the same pool: medians, not of the same rounds."
    return "\n\n".join(["## Commands against GET", note, table(("case", "CPU, to GET", "target", "verdict"), rows)])


def verdict(result: CaseResult, target: Target) -> str:
    """``met``, or the targets that were missed."""
    missed = []
    if median_ratio(result, NUTCRACKER, "cpu") > target.cpu:
        missed.append("CPU")
    if median_ratio(result, NUTCRACKER, "throughput") < target.throughput:
        missed.append("throughput")
    return f"**missed: {' and '.join(missed)}**" if missed else "met"


def median_ratio(result: CaseResult, rival: str, figure: str) -> float:
    """The median over the rounds of ours/theirs, of ``cpu`` or ``throughput``."""
    ratios = result.ratios(OURS, rival, cpu_of if figure == "cpu" else throughput_of)
    return median(ratios)


def tally(results: Sequence[CaseResult]) -> str:
    """The number of targets that were met, as text."""
    met = sum(verdict(result, result.case.target) == "met" for result in results)
    own = [result for result in results if result.case.target != NOT_BEHIND]
    own_met = sum(verdict(result, result.case.target) == "met" for result in own)
    return f"\n\nMet: {met} of {len(results)} cases; of the {len(own)} with a target of their own, {own_met}."


def middle(ratios: Sequence[float]) -> str:
    """A median with the range of the rounds, as text."""
    return f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


def figures(run: Run) -> str:
    """The figures of each contender in each case, as medians over the rounds."""
    if not run.results:
        return ""
    rows = [
        [
            result.case.name if position == 0 else "",
            name,
            f"{result.median_of(name, throughput_of):,.0f}",
            *(
                f"{result.median_of(name, latency):.3f}"
                for latency in (lambda s: s.load.p50, lambda s: s.load.p99, lambda s: s.load.p999)
            ),
            f"{result.median_of(name, cpu_of):.2f}",
        ]
        for result in run.results
        for position, name in enumerate(result.samples)
    ]
    head = ("case", "contender", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs/request")
    note = "Medians over the rounds. Latency at pipeline n is that of a batch of n requests."
    return f"## Figures\n\n{note}\n\n{table(head, rows)}"


def rounds(run: Run) -> str:
    """The ratios of every round."""
    rows = [
        [
            result.case.name,
            rival,
            *(
                " ".join(f"{ratio:.3f}" for ratio in result.ratios(OURS, rival, figure))
                for figure in (cpu_of, throughput_of)
            ),
        ]
        for result in run.results
        for rival in RIVALS
        if {OURS, rival} <= result.samples.keys()
    ]
    head = ("case", "against", "CPU ratio, round by round", "throughput ratio, round by round")
    return f"## Round by round\n\n{table(head, rows)}" if rows else ""


def memory(run: Run) -> str:
    """Memory per idle client and in a burst, with two verdicts on our proxy."""
    if not run.memory:
        return ""
    head = (
        "contender",
        "KB per 1000 idle clients",
        "before burst",
        "peak",
        "after burst",
        "30 s later",
        "kept",
    )
    rows = [[one.name, f"{one.per_1000_idle:,.0f}", *(megabytes(size) for size in sizes_of(one))] for one in run.memory]
    verdicts = [
        f"At most {IDLE_LIMIT:,.0f} KB per 1000 idle clients: {met(one.per_1000_idle <= IDLE_LIMIT)}. "
        f"Burst given back within 30 s (at most {megabytes(GIVEN_BACK_LIMIT)} kept): "
        f"{met(one.kept <= GIVEN_BACK_LIMIT)}."
        for one in run.memory
        if one.name == OURS
    ]
    note = (
        "Resident memory of all processes of a contender just started; a page that n processes share counts "
        f"as an n-th (not in the peak). Burst: {BURST_CLIENTS} clients at once set, then get "
        f"{size_text(BURST_VALUE)} each, and stay connected. The kernel's socket buffers are not in it."
    )
    return "\n\n".join(["## Memory", note, table(head, rows), *verdicts])


def pipelines(result: PipelinesResult | None) -> str:
    """Time and memory of our proxy with deep pipelines, with verdicts."""
    if result is None:
        return ""
    note = (
        f"{CLIENTS} clients send {REQUESTS} small requests each, all at once; redis alone and ours take turns. "
        "nutcracker is not measured: it takes gigabytes for this."
    )
    head = ("redis alone, s", "ours, s", "ours/redis", "before", "peak", "30 s later", "kept")
    row = (
        *(f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})" for seconds in result[:2]),
        f"{result.ratio:.2f}",
        *(megabytes(size) for size in (result.before, result.peak, result.after_rest, result.kept)),
    )
    verdicts = (
        f"At most {TIME_LIMIT:g} times as long as redis: {met(result.ratio <= TIME_LIMIT)}. "
        f"At most {megabytes(PEAK_LIMIT)} in all: {met(result.peak <= PEAK_LIMIT)}. "
        f"Given back within 30 s (at most {megabytes(KEPT_LIMIT)} kept): {met(result.kept <= KEPT_LIMIT)}."
    )
    return "\n\n".join(["## Deep pipelines", note, table(head, [row]), verdicts])


def sizes_of(one: MemoryResult) -> tuple[int, ...]:
    """The columns of the burst, in KB."""
    return one.before_burst, one.peak, one.after_burst, one.after_rest, one.kept


def met(condition: bool) -> str:
    """The verdict on a target."""
    return "met" if condition else "**missed**"


def megabytes(size: int) -> str:
    """A number of KB as text in MB."""
    return f"{size / 1024:.1f} MB"


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
