"""Fuzzes one target in this process, for a number of executions or a time, and prints the result.

See ``python -m fuzz.guided --help``; ``environment`` is the environment that it needs. Without atheris, which exists
for Linux on x86-64, inputs are made in the same way, but not chosen by coverage.
"""

import argparse
import importlib
import json
import os
import random
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.machinery import SourceFileLoader
from itertools import chain
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from fuzz import corpus
from fuzz.mutation import Mutator
from fuzz.targets import TARGETS, Target
from harness.flavours import interpreted

_TESTS = Path(__file__).parents[1]

_MOST_SECONDS = 20
"""Seconds; an input that takes longer is a finding."""
_MOST_MEGABYTES = 2048


def environment() -> dict[str, str]:
    """The environment of a process that runs this module."""
    return {**os.environ, "PYTHONPATH": f"{_TESTS.parent / 'src'}{os.pathsep}{_TESTS}"}


def guide() -> Any:
    """The module atheris, or None if it is not installed."""
    try:
        return importlib.import_module("atheris")
    except ModuleNotFoundError:
        return None


def load_instrumented(atheris: Any) -> Callable[[str], ModuleType]:
    """A function that loads our modules from their sources, instrumented for atheris."""

    class Loader(SourceFileLoader):
        def get_code(self, fullname: str) -> CodeType | None:
            code = super().get_code(fullname)
            return code and atheris.patch_code(code, True)

    return lambda name: interpreted(name, Loader)


def unpack(target: str, folder: Path) -> None:
    """Write the inputs that are kept for a target into a folder, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(corpus.read(target)):
        (folder / f"kept-{number:04d}").write_bytes(data)


def run_guided(atheris: Any, target: Target, options: argparse.Namespace) -> None:
    """Run libFuzzer, which ends the process; a status such as 77 is a finding, whose input is in ``folder``."""
    check = target.check(load_instrumented(atheris))
    mutator = Mutator(target.message, target.tokens)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        source = random.Random(seed)
        if source.random() < 0.3:
            mutated: bytes = atheris.Mutate(data, most)
            return mutated
        return mutator.mutate(data, source)[:most]

    folder: Path = options.folder
    arguments = [
        *(f"-seed={options.seed}", f"-max_len={target.longest}", f"-timeout={_MOST_SECONDS}", "-len_control=0"),
        *(f"-rss_limit_mb={_MOST_MEGABYTES}", f"-artifact_prefix={folder}/", "-print_final_stats=1"),
        *([f"-runs={options.runs}"] if options.runs else []),
        *([f"-max_total_time={options.seconds}"] if options.seconds else []),
    ]
    atheris.Setup([sys.argv[0], *arguments, str(folder / "corpus")], check, custom_mutator=mutate)
    atheris.Fuzz()


def new_inputs(target: Target, kept: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Endless inputs made from ``kept``; they depend on the seed only."""
    mutator = Mutator(target.message, target.tokens)
    source = random.Random(seed)
    while True:
        yield mutator.mutate(source.choice(kept), source)[: target.longest]


def run_blind(target: Target, options: argparse.Namespace) -> None:
    """Fuzz without coverage; a finding ends the process and is reported as by libFuzzer."""
    check = target.check(interpreted)
    kept = [path.read_bytes() for path in sorted((options.folder / "corpus").iterdir())] or [b""]
    end = time.monotonic() + (options.seconds or float("inf"))
    done = 0
    for data in chain(kept, new_inputs(target, kept, options.seed)):
        if time.monotonic() >= end or done == options.runs > 0:
            break
        done += 1
        try:
            check(data)
        except Exception:
            finding = options.folder / f"crash-{zlib.crc32(data):08x}"
            finding.write_bytes(data)
            print(f"Test unit written to {finding}", file=sys.stderr)
            raise
    print(f"stat::number_of_executed_units: {done}", file=sys.stderr)


def replay(target: Target, files: Iterable[Path]) -> None:
    """Check the contents of files; the exception of the first finding is raised."""
    check = target.check(interpreted)
    for file in files:
        check(file.read_bytes())


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.guided", description="Fuzz a target.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("files", type=Path, nargs="*", help="do not fuzz, check what is in these files")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz/here"), help="for the corpus and the findings")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=0, help="executions, 0 for no limit")
    parser.add_argument("--seconds", type=int, default=0, help="0 for no limit")
    return parser.parse_args(arguments)


def main() -> None:
    """Execute the command line."""
    options = parse()
    target = TARGETS[options.target]
    if options.files:
        replay(target, options.files)
        print(json.dumps({"checked": len(options.files)}))
        return
    unpack(options.target, options.folder / "corpus")
    atheris = guide()
    if atheris:
        run_guided(atheris, target, options)
    else:
        run_blind(target, options)


if __name__ == "__main__":
    main()
