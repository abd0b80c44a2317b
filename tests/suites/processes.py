"""Runs programs of the suites to their end."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from twemproxy.demo.processes import Process


def output_of(
    command: Sequence[str], folder: Path, deadline: float, log: Path, environment: Mapping[str, str] | None = None
) -> str:
    """The output of a command in that folder, with standard error; after ``deadline`` seconds the command is killed.

    ``log``: the file for the output. ``environment``: additional variables. Processes that the command has left running
    are killed, too.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # No colours in the output.
    variables = {**os.environ, "TERM": "dumb", **(environment or {})}
    with Process(command, log, folder=folder, environment=variables) as process:
        late = not process.wait_ended(deadline)
        process.kill_group()
    return process.output() + f"\n[killed after {deadline:.0f} s]" * late
