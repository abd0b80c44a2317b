"""Runs programs of the suites to their end."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


def output_of(
    command: Sequence[str], folder: Path, deadline: float, log: Path, environment: Mapping[str, str] | None = None
) -> str:
    """The output of a command in that folder, with standard error; after ``deadline`` seconds the command is killed.

    ``log``: the file for the output. ``environment``: additional variables. Processes that the command has left running
    are killed, too.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            # No colours in the output.
            env={**os.environ, "TERM": "dumb", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(deadline)
        except subprocess.TimeoutExpired:
            print(f"\n[killed after {deadline:.0f} s]", file=output)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return log.read_text(errors="backslashreplace")
