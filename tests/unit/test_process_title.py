"""The title and the name of a process, as other processes see them, and whose child an orphan becomes."""

import subprocess
import sys

import pytest

from harness.proxy import environment

SHOW = """
import os, sys
from pathlib import Path
from twemproxy.process import set_name, set_title
set_title(os.fsencode(sys.argv[1]))
set_name(os.fsencode(sys.argv[1]))
os.write(1, Path("/proc/self/cmdline").read_bytes() + b"|" + Path("/proc/self/comm").read_bytes())
assert b"NEXT=here" in Path("/proc/self/environ").read_bytes()
assert sys.argv[2] == "second" and os.environ["NEXT"] == "here"
"""


LONG = """
import os
from pathlib import Path
from twemproxy.process import set_title
room = len(Path("/proc/self/cmdline").read_bytes())
for length in (room - 2, room - 1, room, 2 * room):
    set_title(b"n" * length)
    assert Path("/proc/self/cmdline").read_bytes() == b"n" * min(length, room - 1) + b"\\0", length
assert os.environ["NEXT"] == "here"
assert b"NEXT=here" in Path("/proc/self/environ").read_bytes()
"""

ADOPT = """
import os, sys
from twemproxy.process import adopt_orphans
adopt_orphans(True)
adopt_orphans(sys.argv[1] == "adopts")
first = os.getpid()
gone, end = os.pipe()
between = os.fork()
if between == 0:
    if os.fork() == 0:
        os.close(end)
        os.read(gone, 1)
        os.write(1, b"adopts" if os.getppid() == first else b"leaves")
    os._exit(0)
os.waitpid(between, 0)
os.close(end)
"""


def run(code: str, *arguments: str) -> bytes:
    """The standard output of a Python that runs this code, and of all its children."""
    variables = {"NEXT": "here", **environment()}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=variables, stdout=subprocess.PIPE, check=True, timeout=30).stdout


@pytest.mark.parametrize("title", ["nutcracker: worker 2", "", "x"])
def test_a_title_is_the_whole_command_line(title: str) -> None:
    line = title.encode()
    assert run(SHOW, title, "second") == line + b"\0|" + line[:15] + b"\n"


def test_a_title_is_cut_to_the_room_of_the_command_line() -> None:
    run(LONG)


@pytest.mark.parametrize("what", ["adopts", "leaves"])
def test_whose_child_an_orphan_becomes(what: str) -> None:
    assert run(ADOPT, what) == what.encode()
