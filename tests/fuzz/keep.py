"""Adds to the corpus of a target: ``python -m fuzz.keep TARGET FILE_OR_FOLDER...``.

A file is added as it is. From a folder, such as build/fuzz/TARGET/corpus, an input is added if it takes a way through
our code that no kept input takes, shortest first.
"""

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz import corpus
from fuzz.checking import Check
from fuzz.targets import TARGETS
from harness.flavours import SOURCES, interpreted

Way = tuple[object, int, int, int]
"""A step from one line of a function to another, and how often it is taken: once, twice, or more."""


def ways(check: Check, data: bytes) -> set[Way]:
    """The ways that an input takes through our code."""
    steps: Counter[tuple[object, int, int]] = Counter()
    ours = str(SOURCES)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(ours):
            return None
        last = frame.f_lineno

        def step(frame: FrameType, event: str, _: object) -> Any:
            nonlocal last
            if event == "line":
                steps[(frame.f_code, last, frame.f_lineno)] += 1
                last = frame.f_lineno
            return step

        return step

    sys.settrace(trace)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return {(*step, min(count, 3)) for step, count in steps.items()}


def main() -> None:
    """Add the inputs that the command line names."""
    target, *names = sys.argv[1:]
    check = TARGETS[target].check(interpreted)
    paths = [Path(name) for name in names]
    kept = [*corpus.read(target), *(path.read_bytes() for path in paths if path.is_file())]
    known: set[Way] = set().union(*(ways(check, data) for data in kept))
    found = {file.read_bytes() for path in paths if path.is_dir() for file in path.iterdir()}
    for data in sorted(found, key=len):
        taken = ways(check, data)
        if not taken <= known:
            known |= taken
            kept.append(data)
    print(f"{target}: {len(kept)} inputs, {sum(map(len, kept))} bytes")
    corpus.write(target, kept)


if __name__ == "__main__":
    main()
