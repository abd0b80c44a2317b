"""Servers and proxies that are ready when they answer a request, and the limit on open files."""

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import wire
from harness.ports import free_port
from twemproxy.demo.processes import Process, StartError, start


@contextmanager
def answering(
    command: Callable[[int], Sequence[str]], request: bytes, expected: bytes, *logs: Path
) -> Iterator[tuple[Process, int]]:
    """A process and the free port on which it gives the expected reply to the request; at the end it is stopped.

    ``command``: returns the command line for a port. ``logs``: as for ``Process``. Raises StartError.
    """
    port = 0
    problem = ""

    def launch(_: int) -> Process:
        nonlocal port
        port = free_port()
        return Process(command(port), *logs)

    def answers() -> bool:
        nonlocal problem
        try:
            with wire.connect(port, timeout=1.0) as connection:
                wire.ask(connection, request, expected)
        except OSError as error:
            problem = str(error)
            return False
        return True

    try:
        process = start(launch, answers)
    except StartError as error:
        raise StartError(f"{error}\n{problem}".rstrip()) from error
    with process:
        yield process, port


def raise_file_limit(wanted: int) -> int:
    """Allow this process and its children ``wanted`` open files, or as many as possible; returns the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        limits = (wanted, hard)
    elif os.geteuid() == 0:
        limits = (wanted, wanted)
    else:
        limits = (hard, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    return limits[0]


def file_limit() -> int:
    """The number of files that a child may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft
