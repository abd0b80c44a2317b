"""Child processes that are always stopped: each leads its own process group and writes to a log file."""

import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from benchmarks import wire

START_SECONDS = 15.0
STOP_SECONDS = 15.0
"""Longer than a proxy may take to finish its requests in flight."""


PR_SET_PDEATHSIG = 1
"""From Linux's prctl(2): the signal that a process gets when its parent dies."""

_libc = ctypes.CDLL(None)


class StartError(Exception):
    """A child process did not start; the text names it and contains its output."""


def end_with_parent() -> None:
    """Called in a child before its program starts: the child is terminated if the benchmark is killed."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the foreground, which appends its output to ``log``; at the end it is stopped with its group."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process, then kill its whole process group."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_answers(process: subprocess.Popen[bytes], port: int, log: Path, request: bytes, expected: bytes) -> None:
    """Wait until a request gets the expected reply on ``port``; raises ``StartError`` if that takes too long."""
    deadline = time.monotonic() + START_SECONDS
    problem = "it did not answer in time"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            problem = f"it ended with status {process.returncode}"
            break
        try:
            with wire.connect(port, timeout=1.0) as connection:
                wire.ask(connection, request, expected)
            return
        except OSError as error:
            problem = str(error)
            time.sleep(0.02)
    tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise StartError(f"{log.stem} did not start: {problem}\n{tail}".rstrip())


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


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does, so that every child is stopped."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
