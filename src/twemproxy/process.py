"""What the system knows of this process: its title, its name, and whether it adopts orphans.

Compiled-only.
"""

import os

import cython
from cython.cimports.libc.stdint import uintptr_t
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.twemproxy.libc.process import PR_SET_CHILD_SUBREAPER, PR_SET_NAME, prctl

# Bytes of a name with its end, see prctl(2).
NAME_SIZE = cython.declare(cython.Py_ssize_t, 16)
# Places of arg_start and arg_end in /proc/PID/stat behind the name, see proc(5).
ARGUMENTS_START = cython.declare(cython.Py_ssize_t, 45)
ARGUMENTS_END = cython.declare(cython.Py_ssize_t, 46)


def set_name(name: bytes) -> None:
    """Set the name of the process (comm); of more than 15 bytes the first 15 count."""
    text = cython.declare(cython.char[16])
    size: cython.Py_ssize_t = min(len(name), NAME_SIZE - 1)
    memset(text, 0, NAME_SIZE)
    memcpy(text, cython.cast(cython.p_char, name), size)
    prctl(PR_SET_NAME, cython.cast(cython.p_char, text))


def set_title(title: bytes) -> None:
    """Replace the command line that other processes see; a title that is longer than the present one is cut.

    ``title``: without a zero byte. Nothing changes if the system does not tell where the command line is.
    """
    with open("/proc/self/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    if len(fields) <= ARGUMENTS_END:
        return
    start: uintptr_t = int(fields[ARGUMENTS_START])
    end: uintptr_t = int(fields[ARGUMENTS_END])
    # A process that may not see the addresses gets zeros.
    if start == 0 or end <= start:
        return
    room: cython.Py_ssize_t = end - start
    size: cython.Py_ssize_t = min(len(title), room - 1)
    arguments: cython.p_char = cython.cast(cython.p_char, start)
    memset(arguments, 0, room)
    memcpy(arguments, cython.cast(cython.p_char, title), size)
    # The kernel shows a command line without the zero byte at its end only up to the first zero byte (setproctitle(3)).
    if size < room - 1:
        arguments[room - 1] = ord(b".")


def adopt_orphans(adopts: bool) -> None:
    """Set whether descendants whose parent ends become children of this process rather than of init.

    Raises OSError.
    """
    if prctl(PR_SET_CHILD_SUBREAPER, cython.cast(cython.ulong, 1 if adopts else 0)) != 0:
        raise OSError(0, os.strerror(0))
