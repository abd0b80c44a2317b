"""The inputs that are kept, one file per target: a Python bytes literal per line, shortest first."""

import ast
from collections.abc import Iterable
from pathlib import Path

_FOLDER = Path(__file__).parent / "corpus"


def read(target: str) -> list[bytes]:
    """The inputs that are kept for a target."""
    lines = (_FOLDER / f"{target}.txt").read_text("ascii").splitlines()
    return [ast.literal_eval(line) for line in lines]


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Keep these inputs, and no others."""
    ordered = sorted(set(inputs), key=lambda data: (len(data), data))
    (_FOLDER / f"{target}.txt").write_text("".join(f"{data!r}\n" for data in ordered), "ascii")
