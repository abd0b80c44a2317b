"""Pages of results other than the report of the benchmark: a title, the machine, and the results."""

import argparse
import datetime
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.report import table

RESULTS = Path(__file__).resolve().parent / "results"
PARTIAL = "**This run is partial.**"


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the option for the folder of pages."""
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="FOLDER", help="where to write (default benchmarks/results)"
    )


def stem(kind: str, partial: bool) -> str:
    """The name of a page and its files, without an ending; a partial run never has the name of a complete run."""
    return f"{datetime.date.today().isoformat()}-{machine.host_kind()}-{kind}" + ("-partial" if partial else "")


def write(folder: Path, kind: str, title: str, parts: Sequence[str], *, partial: bool) -> Path:
    """Write the page and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    versions = machine.find_programs(None, ("redis-server", "memcached")).versions()
    rows = [*machine.description().items(), *versions.items()]
    head = [f"# {title}, {datetime.date.today().isoformat()}", PARTIAL if partial else "", table(("machine", ""), rows)]
    path = folder / f"{stem(kind, partial)}.md"
    path.write_text("\n\n".join(part for part in [*head, *parts] if part) + "\n")
    return path
