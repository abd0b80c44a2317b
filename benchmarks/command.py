"""The command line of the benchmark: the cases, the duration, and the place of the report."""

import argparse
import datetime
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import machine, measure, memory, picture, pipelines
from benchmarks.backends import backends
from benchmarks.cases import CASES, SINGLE_KEY, Case, Protocol, select
from benchmarks.contenders import (
    BEFORE,
    COMPILER,
    FLOOR,
    HAPROXY,
    NUTCRACKER,
    OURS,
    PREDIXY,
    Contender,
    all_contenders,
    available,
    floor,
    serves,
)
from benchmarks.dialects import DIALECTS
from benchmarks.load import TOOLS, LoadError
from benchmarks.machine import Programs
from benchmarks.measure import CaseResult
from benchmarks.processes import raise_file_limit
from benchmarks.report import RIVALS, Run, markdown, median_ratio
from twemproxy.demo.processes import StartError, end_on_signals

RESULTS = Path(__file__).resolve().parent / "results"


def main(words: Sequence[str] | None = None) -> int:
    """Measure and report; returns 0 if everything requested was measured, 1 if not, 2 if nothing can be."""
    options = parse(words)
    if options.list:
        for case in CASES:
            print(f"{'  ' if case.by_default else '+ '}{case.name}")
        print("(+ only with --full, or when named by --case)")
        return 0
    chosen = select(options.full, options.case)
    wanted = [name for name in programs_for(chosen, options.memory) if name not in options.without]
    programs = machine.find_programs(options.ours, wanted, options.before)
    missing = programs.missing(wanted)
    cases = measurable(chosen, programs)
    problem = cannot_start(programs, chosen, cases)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    end_on_signals()
    for sentence in missing:
        say(sentence)
    gaps = [f"Not every case: {len(chosen)} of {len(CASES)}, chosen by --case."] if options.case else []
    gaps += [f"Without {name}, as asked for." for name in options.without]
    gaps += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in missing]
    planned = len(gaps)
    session = Session(programs, options.rounds, options.seconds, gaps)
    session.notes += programs.absent(wanted)
    if len(cases) < len(chosen):
        session.fail(f"{len(chosen) - len(cases)} of {len(chosen)} cases need a program that is not installed.")
    try:
        session.run_cases(cases)
        if options.memory:
            session.run_memory()
    except KeyboardInterrupt:
        gaps.append("Interrupted before the end.")
    write_report(session, options.output)
    return 1 if len(gaps) > planned else 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse and check the options."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Compare the proxy with nutcracker and haproxy on this machine, as ratios of one run.",
    )
    parser.add_argument("--full", action="store_true", help="every case of the table (two hours)")
    parser.add_argument(
        "--case",
        action="append",
        default=[],
        metavar="TEXT",
        help="only cases whose name contains TEXT; repeatable",
    )
    parser.add_argument("--list", action="store_true", help="show the table of cases and end")
    parser.add_argument(
        "--memory", action="store_true", help="also memory: idle clients, a burst, deep pipelines (3 minutes more)"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds per case (default 5)")
    parser.add_argument(
        "--seconds", type=float, default=2.5, metavar="S", help="length of a step of nutcracker (default 2.5)"
    )
    parser.add_argument(
        "--ours",
        metavar="COMMAND",
        help="command line of our proxy (default: build/bin/nutcracker)",
    )
    parser.add_argument(
        "--before",
        metavar="COMMAND",
        help="command line of another build of our proxy, which takes part as well",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=(NUTCRACKER, PREDIXY, HAPROXY, FLOOR),
        help="leave it out; repeatable",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="where to write (default benchmarks/results)",
    )
    options = parser.parse_args(words)
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    return options


def required(protocol: Protocol) -> tuple[str, ...]:
    """The programs that every case of this protocol needs."""
    return DIALECTS[protocol].server, *TOOLS[protocol].needs


def programs_for(cases: Sequence[Case], with_memory: bool) -> list[str]:
    """The names of the programs that these cases need, and the measurement of memory if requested."""
    topologies = [case.topology for case in cases] + ([SINGLE_KEY] if with_memory else [])
    servers_and_tools = [name for topology in topologies for name in required(topology.protocol)]
    return list(dict.fromkeys([NUTCRACKER, PREDIXY, HAPROXY, COMPILER, *servers_and_tools]))


def measurable(cases: Sequence[Case], programs: Programs) -> list[Case]:
    """The cases whose servers and tools are installed."""
    return [case for case in cases if programs.found.keys() >= set(required(case.topology.protocol))]


def cannot_start(programs: Programs, chosen: Sequence[Case], cases: Sequence[Case]) -> str | None:
    """Why nothing can be measured, or None; ``cases``: the measurable part of ``chosen``."""
    if not chosen:
        return "no case has such a name; --list shows them"
    if not cases:
        return "\n".join(programs.missing(programs_for(chosen, with_memory=False)))
    for command in filter(None, (programs.ours, programs.before)):
        if not machine.version_of([*command, "-V"]):
            return f"cannot run our proxy: {' '.join(command)} -V printed nothing"
    return None


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


class Session:
    """One run as it grows: the results so far.

    ``gaps``: what could not be measured. ``notes``: the rivals that took no part, and why.
    """

    def __init__(self, programs: Programs, rounds: int, seconds: float, gaps: list[str]) -> None:
        self.programs = programs
        self.rounds = rounds
        self.seconds = seconds
        self.gaps = gaps
        self.notes: list[str] = []
        self.names = available(programs)
        self.results: list[CaseResult] = []
        self.memory: list[memory.MemoryResult] = []
        self.pipelines: pipelines.PipelinesResult | None = None
        self.file_limit = raise_file_limit(memory.FILES_NEEDED)

    def fail(self, sentence: str) -> None:
        """Record something that could not be measured."""
        self.gaps.append(sentence)
        say(sentence)

    def run_cases(self, cases: Sequence[Case]) -> None:
        """Run all cases, with new servers and contenders for each topology."""
        for topology, group in groupby(cases, key=lambda case: case.topology):
            members = list(group)
            contents = {case.contents for case in members}
            with TemporaryDirectory(prefix="benchmark-") as place:
                folder = Path(place)
                try:
                    with (
                        backends(self.programs, topology, contents, folder) as servers,
                        all_contenders(self.names, self.programs, servers, folder) as contenders,
                    ):
                        for case in members:
                            self.run_case(case, contenders, folder)
                except StartError as error:
                    self.fail(f"{topology.servers} {topology.protocol} servers: {error}")

    def run_case(self, case: Case, contenders: Sequence[Contender], folder: Path) -> None:
        """Measure a case with the contenders that serve it, and with the floor."""
        everybody = [*contenders]
        try:
            with ExitStack() as stack:
                if FLOOR in self.names and serves(FLOOR, case):
                    everybody.append(stack.enter_context(floor(self.programs, case, folder)))
                result = self.measure_case(case, [one for one in everybody if self.takes_part(one, case)])
        except (LoadError, StartError) as error:
            self.fail(f"{case.name}: {error}")
            return
        self.results.append(result)
        say(f"{case.name}: " + "; ".join(ratio_text(result, rival) for rival in RIVALS if rival in result.samples))

    def takes_part(self, contender: Contender, case: Case) -> bool:
        """Whether a contender serves a case; a rival that does not is noted. Raises ``LoadError`` for ours."""
        if not serves(contender.name, case):
            return False
        try:
            measure.check_reply(contender, case)
        except LoadError as error:
            if contender.name in (OURS, BEFORE):
                raise
            self.notes.append(f"{case.name} is not served: {error}.")
            say(self.notes[-1])
            return False
        return True

    def measure_case(self, case: Case, taking_part: Sequence[Contender]) -> CaseResult:
        """Calibrate on nutcracker, or on the first contender without it, and measure."""
        reference = next((one for one in taking_part if one.name == NUTCRACKER), taking_part[0])
        requests = measure.calibrate(self.programs, reference, case, self.seconds)
        measure.warm_up(self.programs, [one for one in taking_part if one is not reference], case)
        return measure.alternate(self.programs, taking_part, case, requests, self.rounds)

    def run_memory(self) -> None:
        """Measure the memory of every contender, and of our proxy with deep pipelines."""
        if self.file_limit < memory.FILES_NEEDED:
            self.fail(f"memory: needs {memory.FILES_NEEDED} open files, {self.file_limit} are allowed (ulimit -n)")
            return
        if DIALECTS[SINGLE_KEY.protocol].server not in self.programs.found:
            self.fail("memory: needs the servers of the redis cases")
            return
        with TemporaryDirectory(prefix="benchmark-") as place:
            folder = Path(place)
            try:
                with backends(self.programs, SINGLE_KEY, (), folder) as servers:
                    for name in (name for name in self.names if name != FLOOR):
                        say(f"memory of {name}")
                        try:
                            self.memory.append(memory.measure(name, self.programs, servers, folder))
                        except LoadError as error:
                            self.fail(f"memory, {error}")
                    say("deep pipelines")
                    try:
                        self.pipelines = pipelines.measure(self.programs, servers, folder)
                    except LoadError as error:
                        self.fail(f"deep pipelines: {error}")
            except StartError as error:
                self.fail(f"memory: {error}")


def ratio_text(result: CaseResult, rival: str) -> str:
    """Both median ratios against one rival, as text."""
    cpu, throughput = median_ratio(result, rival, "cpu"), median_ratio(result, rival, "throughput")
    return f"{OURS}/{rival} CPU {cpu:.2f}, throughput {throughput:.2f}"


def write_report(session: Session, folder: Path) -> None:
    """Write the report and the picture; a partial run never replaces the report of a complete run."""
    folder.mkdir(parents=True, exist_ok=True)
    date = datetime.date.today().isoformat()
    stem = f"{date}-{machine.host_kind()}" + ("-partial" if session.gaps else "")
    image = folder / f"{stem}.png"
    no_picture = picture.draw(session.results, image)
    if no_picture:
        say(no_picture)
    run = Run(
        date=date,
        machine=machine.description(),
        versions=session.programs.versions(),
        rounds=session.rounds,
        seconds=session.seconds,
        results=session.results,
        memory=session.memory,
        pipelines=session.pipelines,
        gaps=session.gaps,
        notes=session.notes,
    )
    text = markdown(run, None if no_picture else image.name)
    report = folder / f"{stem}.md"
    report.write_text(text)
    print(text)
    say(f"written: {report}")
