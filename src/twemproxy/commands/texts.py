"""How sub-commands write times, states and tables for people."""

import os
import sys
import time
from collections.abc import Sequence
from typing import Final, Literal

from twemproxy.config.quoting import quoted
from twemproxy.ipc.control import ServerState

_COLOURS: Final = {"red": "31", "yellow": "33", "bold": "1"}

Cell = str | int | float
"""A cell of a table."""

Colour = Literal["", "red", "yellow", "bold"]


def time_text(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as local date and time with the offset from UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def ejection_text(server: ServerState) -> str:
    """Return since when an ejected server is ejected; and if that was by hand, until when and why."""
    text = f"ejected since {time_text(server.since)}"
    if server.by_hand is not None:
        until = f"until {time_text(server.by_hand.until)}" if server.by_hand.until else "until it is readmitted"
        text += f" by hand {until}"
        if server.by_hand.reason:
            text += f": {quoted(server.by_hand.reason)}"
    return text


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], colours: Sequence[Colour] = ()) -> str:
    """Return a table for people: numbers are aligned to the right, and the last column is as wide as its texts.

    A float has one decimal. ``colours``: of the rows, on a terminal only.
    """
    written = [list(head), *([f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in written) for column in range(len(head))]
    numeric = [all(isinstance(row[column], int | float) for row in rows) for column in range(len(head))]
    lines = []
    for row in written:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    painted = ["bold" if _is_terminal() else "", *(colours or [""] * len(rows))]
    return "\n".join(_paint(line, colour) for line, colour in zip(lines, painted, strict=True))


def _is_terminal() -> bool:
    """Whether standard output is a terminal whose user wants colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _paint(line: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{line}\x1b[0m" if colour and _is_terminal() else line
