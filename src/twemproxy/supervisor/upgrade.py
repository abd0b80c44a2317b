"""The program that is installed now takes the process of the supervisor over.

First the program says, in a process of its own, whether it can take over what this version passes; then this process
executes it. So a program that is broken, too slow or too different changes nothing.
"""

import asyncio
import os
import signal
import sys
from typing import Final, NoReturn

from twemproxy import log
from twemproxy.supervisor.early_worker import INHERITANCE
from twemproxy.supervisor.inheritance import Inheritance, write

CHECK_TIME: Final = 10.0
"""Seconds that the other program has to say that it can take over."""
LONGEST_REASON: Final = 500
"""Characters of its output that are shown when it cannot."""

_DELETED: Final = " (deleted)"

_logger = log.get_logger(__name__)


class UpgradeFailed(Exception):
    """The running version goes on. The text is the reason."""


def program(native: bool) -> tuple[str, list[str]]:
    """Return the path of the program that is installed now, and the command line of this process.

    ``native``: whether this process runs the program of ``twemproxy.launcher``; it may have been replaced by now.
    """
    path = os.readlink("/proc/self/exe").removesuffix(_DELETED) if native else sys.executable
    return path, list(sys.orig_argv)


def check_command(native: bool) -> list[str]:
    """Return the command line that checks an inheritance, without its last word, the number of the descriptor."""
    path, words = program(native)
    if native:
        return [path, "inherit", "--check"]
    # python -m twemproxy, or the path of a script
    count = 3 if words[1] == "-m" else 2
    return [path, *words[1:count], "inherit", "--check"]


async def check(inheritance: Inheritance, native: bool) -> str:
    """Return the version of the installed program, if it can take over. Raises UpgradeFailed."""
    try:
        descriptor = write(inheritance)
    except OSError as error:
        raise UpgradeFailed(f"no memory for what the other version needs: {error.strerror}") from error
    command = check_command(native)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            str(descriptor),
            pass_fds=[descriptor],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise UpgradeFailed(f"'{command[0]}' cannot be executed: {error.strerror}") from error
    finally:
        os.close(descriptor)
    try:
        async with asyncio.timeout(CHECK_TIME):
            output, _ = await process.communicate()
    except TimeoutError:
        raise UpgradeFailed(f"'{command[0]}' has not answered within {CHECK_TIME:.0f} s") from None
    finally:
        if process.returncode is None:
            # With its children, which have the pipe open.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    said = output.decode("utf-8", "replace").strip()
    if process.returncode != 0:
        reason = said[-LONGEST_REASON:] or f"it says nothing, and its status is {process.returncode}"
        raise UpgradeFailed(f"'{command[0]}' cannot take over: {reason}")
    return said


def execute(inheritance: Inheritance, native: bool) -> NoReturn:
    """Execute the installed program in this process. Raises UpgradeFailed if that fails.

    The caller has blocked all signals; the other version unblocks them when it handles them.
    """
    path, words = program(native)
    try:
        descriptor = write(inheritance)
    except OSError as error:
        raise UpgradeFailed(f"no memory for what the other version needs: {error.strerror}") from error
    try:
        for each in (descriptor, *inheritance.descriptors()):
            os.set_inheritable(each, True)
        os.execve(path, words, {**os.environ, INHERITANCE: str(descriptor)})
    except OSError as error:
        for each in inheritance.descriptors():
            os.set_inheritable(each, False)
        os.close(descriptor)
        raise UpgradeFailed(f"'{path}' cannot be executed: {error.strerror}") from error
    raise AssertionError("unreachable")
