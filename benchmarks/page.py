"""Pages of results beside the benchmark's own report: a title, the machine, and whatever was found."""

import argparse
import datetime
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.report import table

RESULTS = Path(__file__).resolve().parent / "results"
PARTIAL = "**This run is partial.**"


def add_output(parser: argparse.ArgumentParser) -> None:
    """The option that says where pages go."""
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="FOLDER", help="where to write (default benchmarks/results)"
    )


def stem(kind: str, partial: bool) -> str:
    """The name of a page and of what belongs to it, without an ending; a partial run's never equals a whole one's."""
    return f"{datetime.date.today().isoformat()}-{machine.host_kind()}-{kind}" + ("-partial" if partial else "")


def write(folder: Path, kind: str, title: str, parts: Sequence[str], *, partial: bool) -> Path:
    """Write the page and give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    versions = machine.find_programs(None, ("redis-server", "memcached")).versions()
    rows = [*machine.description().items(), *versions.items()]
    head = [f"# {title}, {datetime.date.today().isoformat()}", PARTIAL if partial else "", table(("machine", ""), rows)]
    path = folder / f"{stem(kind, partial)}.md"
    path.write_text("\n\n".join(part for part in [*head, *parts] if part) + "\n")
    return path
