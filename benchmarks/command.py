"""The benchmark's command line: which cases, how long, and where the report goes."""

import argparse
import datetime
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import machine, measure, memory, picture
from benchmarks.backends import backends
from benchmarks.cases import CASES, SINGLE_KEY, Case, select
from benchmarks.contenders import NUTCRACKER, OURS, RELAYS, Contender, all_contenders, available
from benchmarks.load import LoadError
from benchmarks.machine import HOW_TO_INSTALL, REQUIRED, Programs
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
    programs = machine.find_programs(options.ours)
    cases = select(options.full, options.case)
    problem = cannot_start(programs, cases)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    end_on_signals()
    for sentence in programs.missing():
        say(sentence)
    gaps = [f"Not every case: {len(cases)} of {len(CASES)}, chosen by --case."] if options.case else []
    gaps += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in programs.missing()]
    planned = len(gaps)
    session = Session(programs, options.rounds, options.seconds, gaps)
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
    parser.add_argument("--full", action="store_true", help="every case of the table (40 minutes)")
    parser.add_argument(
        "--case",
        action="append",
        default=[],
        metavar="TEXT",
        help="only cases whose name contains TEXT; repeatable",
    )
    parser.add_argument("--list", action="store_true", help="show the table of cases and end")
    parser.add_argument("--memory", action="store_true", help="also memory: idle clients and a burst (2 minutes more)")
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


def cannot_start(programs: Programs, cases: Sequence[Case]) -> str | None:
    """Why nothing can be measured, or None."""
    absent = [f"{name} is needed ({HOW_TO_INSTALL[name]})" for name in REQUIRED if name not in programs.found]
    if absent:
        return "\n".join(absent)
    if not cases:
        return "no case has such a name; --list shows them"
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
                        backends(self.programs.found["redis-server"], topology, sizes, folder) as servers,
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
        tool = self.programs.found["redis-benchmark"]
        try:
            for one in taking_part:
                measure.check_reply(one, case)
            requests = measure.calibrate(tool, reference, case, self.seconds)
            result = measure.alternate(tool, taking_part, case, requests, self.rounds)
        except LoadError as error:
            self.fail(f"{case.name}: {error}")
            return
        self.results.append(result)
        say(f"{case.name}: " + "; ".join(ratio_text(result, rival) for rival in RIVALS if rival in result.samples))

    def run_memory(self) -> None:
        """Memory of every contender in front of the servers of the single-key cases."""
        if self.file_limit < memory.FILES_NEEDED:
            self.fail(f"memory: needs {memory.FILES_NEEDED} open files, {self.file_limit} are allowed (ulimit -n)")
            return
        with TemporaryDirectory(prefix="benchmark-") as place:
            folder = Path(place)
            try:
                with backends(self.programs.found["redis-server"], SINGLE_KEY, (), folder) as servers:
                    for name in self.names:
                        say(f"memory of {name}")
                        try:
                            self.memory.append(memory.measure(name, self.programs, servers, folder))
                        except LoadError as error:
                            self.fail(f"memory, {error}")
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
        gaps=session.gaps,
    )
    text = markdown(run, None if no_picture else image.name)
    report = folder / f"{stem}.md"
    report.write_text(text)
    print(text)
    say(f"written: {report}")
