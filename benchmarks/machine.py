"""The machine and the installed programs with which the figures were taken."""

import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

NUTCRACKER_FOLDERS = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/sbin",
    "/usr/bin",
    "/usr/local/bin",
    "/opt/nutcracker/sbin",
)
NUTCRACKER_VERSION = "nutcracker-0.5.0"
ELF_MAGIC = b"\x7fELF"
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Folders with servers that may not be on the PATH of an ordinary user."""

HOW_TO_INSTALL = {
    "nutcracker": "the C original, version 0.5.0: Debian package nutcracker",
    "haproxy": "Debian package haproxy",
    "redis-server": "Debian package redis-server",
    "redis-benchmark": "Debian package redis-tools",
    "memcached": "Debian package memcached",
    "cc": "Debian package gcc",
}
OPTIONAL = {"predixy": "github.com/joyieldInc/predixy; Debian has no package of it"}
"""Programs without which a run is still complete, and where they are from."""
VERSION_FLAGS = {
    "nutcracker": "-V",
    "haproxy": "-v",
    "redis-server": "--version",
    "redis-benchmark": "--version",
    "memcached": "-V",
    "predixy": "--version",
}
"""In the order of the report."""


class Programs(NamedTuple):
    """The programs that a run needs."""

    ours: list[str]
    """The command line of our proxy, to which nutcracker's options are added."""
    found: dict[str, str]
    """The paths of the needed programs that are installed, by name."""
    before: Sequence[str] = ()
    """The command line of another build of our proxy, to compare with; empty without one."""

    def missing(self, names: Iterable[str]) -> list[str]:
        """A sentence for each of those programs that was not found, the optional ones excepted."""
        return [
            f"{name} is not installed ({HOW_TO_INSTALL[name]})"
            for name in names
            if name not in self.found and name not in OPTIONAL
        ]

    def absent(self, names: Iterable[str]) -> list[str]:
        """A sentence for each of those programs that is optional and was not found."""
        return [
            f"{name} takes no part: it is not on the PATH ({OPTIONAL[name]})."
            for name in names
            if name in OPTIONAL and name not in self.found
        ]

    def versions(self) -> dict[str, str]:
        """The version line of each program, in the order of the report."""
        commands = {"ours": [*self.ours, "-V"]}
        if self.before:
            commands["before"] = [*self.before, "-V"]
        commands |= {name: [self.found[name], flag] for name, flag in VERSION_FLAGS.items() if name in self.found}
        return {name: version_of(command) for name, command in commands.items()}


def find_programs(
    ours: str | None, names: Iterable[str] = tuple(HOW_TO_INSTALL), before: str | None = None
) -> Programs:
    """Find these programs.

    ``ours``: a command line, or None for the program of this source tree; ``before``: the command line of another
    build.
    """
    search = f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_FOLDERS}"
    found = {name: find_original() if name == "nutcracker" else shutil.which(name, path=search) for name in names}
    return Programs(
        ours=shlex.split(ours) if ours else our_command(),
        found={name: path for name, path in found.items() if path},
        before=shlex.split(before or ""),
    )


def our_command() -> list[str]:
    """The program that ``make build`` builds from this source tree."""
    return [str(Path(__file__).resolve().parents[1] / "build" / "bin" / "nutcracker")]


def find_original() -> str | None:
    """The path of the original in C: a machine-code program named nutcracker that reports version 0.5.0."""
    for folder in NUTCRACKER_FOLDERS:
        path = Path(folder) / "nutcracker"
        if not path.is_file():
            continue
        with path.open("rb") as program:
            is_machine_code = program.read(len(ELF_MAGIC)) == ELF_MAGIC
        if is_machine_code and version_of([str(path), "-V"]).endswith(NUTCRACKER_VERSION):
            return str(path)
    return None


def version_of(command: Sequence[str]) -> str:
    """The first line that a program prints, to either stream; empty if it does not run."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return lines[0] if lines else ""


def processor() -> str:
    """The processor's model name."""
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def host_kind() -> str:
    """A short name for this kind of machine, for file names."""
    slug = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    return f"{slug}-{os.cpu_count()}-cores"


def description() -> dict[str, str]:
    """The properties of the machine, as rows of the report."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    virtual = "hypervisor" in Path("/proc/cpuinfo").read_text()
    return {
        "processor": processor() + (" (virtual machine)" if virtual else ""),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
