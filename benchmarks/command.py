"""The benchmark's command line: which cases, how long, and where the report goes."""

import argparse
import datetime
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import machine, measure, memory, picture, pipelines
from benchmarks.backends import backends
from benchmarks.cases import CASES, SINGLE_KEY, Case, Protocol, select
from benchmarks.contenders import HAPROXY, NUTCRACKER, OURS, RELAYS, Contender, all_contenders, available
from benchmarks.dialects import DIALECTS
from benchmarks.load import TOOLS, LoadError
from benchmarks.machine import Programs
from benchmarks.measure import CaseResult
from benchmarks.processes import StartError, end_on_signals, raise_file_limit
from benchmarks.report import RIVALS, Run, markdown, median_ratio

RESULTS = Path(__file__).resolve().parent / "results"


def main(words: Sequence[str] | None = None) -> int:
    """Measure and report; 0 when all that was asked for was measured, 1 when not, 2 when nothing can be."""
    options = parse(words)
    if options.list:
        for case in CASES:
            print(f"{'  ' if case.by_default else '+ '}{case.name}")
        print("(+ only with --full, or when named by --case)")
        return 0
    chosen = select(options.full, options.case)
    wanted = programs_for(chosen, options.memory)
    programs = machine.find_programs(options.ours, wanted)
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
    gaps += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in missing]
    planned = len(gaps)
    session = Session(programs, options.rounds, options.seconds, gaps)
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
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Compare the proxy with nutcracker and haproxy on this machine, as ratios of one run.",
    )
    parser.add_argument("--full", action="store_true", help="every case of the table (an hour)")
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
        help="command line of our proxy (default: the one of this Python environment)",
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
    """The programs without which no case of that protocol can be measured."""
    return DIALECTS[protocol].server, *TOOLS[protocol].needs


def programs_for(cases: Sequence[Case], with_memory: bool) -> list[str]:
    """The names of the programs that have a part in those cases, and in the measurement of memory if asked for."""
    topologies = [case.topology for case in cases] + ([SINGLE_KEY] if with_memory else [])
    servers_and_tools = [name for topology in topologies for name in required(topology.protocol)]
    return list(dict.fromkeys([NUTCRACKER, HAPROXY, *servers_and_tools]))


def measurable(cases: Sequence[Case], programs: Programs) -> list[Case]:
    """Those of the cases whose servers and tools are installed."""
    return [case for case in cases if programs.found.keys() >= set(required(case.topology.protocol))]


def cannot_start(programs: Programs, chosen: Sequence[Case], cases: Sequence[Case]) -> str | None:
    """Why nothing can be measured, or None; ``cases`` are those chosen that are measurable."""
    if not chosen:
        return "no case has such a name; --list shows them"
    if not cases:
        return "\n".join(programs.missing(programs_for(chosen, with_memory=False)))
    if not machine.version_of([*programs.ours, "-V"]):
        return f"cannot run our proxy: {' '.join(programs.ours)} -V printed nothing"
    return None


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


class Session:
    """One run as it grows: the results so far, and in ``gaps`` what could not be measured."""

    def __init__(self, programs: Programs, rounds: int, seconds: float, gaps: list[str]) -> None:
        self.programs = programs
        self.rounds = rounds
        self.seconds = seconds
        self.gaps = gaps
        self.names = available(programs)
        self.results: list[CaseResult] = []
        self.memory: list[memory.MemoryResult] = []
        self.pipelines: pipelines.PipelinesResult | None = None
        self.file_limit = raise_file_limit(memory.FILES_NEEDED)

    def fail(self, sentence: str) -> None:
        """Note something that could not be measured."""
        self.gaps.append(sentence)
        say(sentence)

    def run_cases(self, cases: Sequence[Case]) -> None:
        """Every case, with fresh servers and contenders for each topology."""
        for topology, group in groupby(cases, key=lambda case: case.topology):
            members = list(group)
            sizes = {case.value_size for case in members}
            with TemporaryDirectory(prefix="benchmark-") as place:
                folder = Path(place)
                try:
                    with (
                        backends(self.programs, topology, sizes, folder) as servers,
                        all_contenders(self.names, self.programs, servers, folder) as contenders,
                    ):
                        for case in members:
                            self.run_case(case, contenders)
                except StartError as error:
                    self.fail(f"{topology.servers} {topology.protocol} servers: {error}")

    def run_case(self, case: Case, contenders: Sequence[Contender]) -> None:
        """Calibrate on nutcracker, measure, and say the ratios."""
        taking_part = [one for one in contenders if not (case.splits and one.name in RELAYS)]
        reference = next((one for one in taking_part if one.name == NUTCRACKER), taking_part[0])
        try:
            for one in taking_part:
                measure.check_reply(one, case)
            requests = measure.calibrate(self.programs, reference, case, self.seconds)
            measure.warm_up(self.programs, [one for one in taking_part if one is not reference], case)
            result = measure.alternate(self.programs, taking_part, case, requests, self.rounds)
        except LoadError as error:
            self.fail(f"{case.name}: {error}")
            return
        self.results.append(result)
        say(f"{case.name}: " + "; ".join(ratio_text(result, rival) for rival in RIVALS if rival in result.samples))

    def run_memory(self) -> None:
        """Memory of every contender in front of the servers of the single-key cases, and ours with deep pipelines."""
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
                    for name in self.names:
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
    """Both median ratios against one rival."""
    cpu, throughput = median_ratio(result, rival, "cpu"), median_ratio(result, rival, "throughput")
    return f"{OURS}/{rival} CPU {cpu:.2f}, throughput {throughput:.2f}"


def write_report(session: Session, folder: Path) -> None:
    """Write table and picture; a partial run never takes the place of a whole one."""
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
    )
    text = markdown(run, None if no_picture else image.name)
    report = folder / f"{stem}.md"
    report.write_text(text)
    print(text)
    say(f"written: {report}")
