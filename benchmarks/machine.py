"""What the figures were taken on: the programs that are installed and the machine."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
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
"""Where servers are installed that the PATH of an ordinary user may not show."""

HOW_TO_INSTALL = {
    "nutcracker": "the C original, version 0.5.0: Debian package nutcracker",
    "haproxy": "Debian package haproxy",
    "redis-server": "Debian package redis-server",
    "redis-benchmark": "Debian package redis-tools",
    "memcached": "Debian package memcached",
}
VERSION_FLAGS = {
    "nutcracker": "-V",
    "haproxy": "-v",
    "redis-server": "--version",
    "redis-benchmark": "--version",
    "memcached": "-V",
}
"""In the order of the report."""


class Programs(NamedTuple):
    """Where the programs are that a run needs."""

    ours: list[str]
    """The command line of our proxy, to which nutcracker's options are added."""
    found: dict[str, str]
    """Paths by program name, for those that are needed and installed."""

    def missing(self, names: Iterable[str]) -> list[str]:
        """A sentence for each of those programs that was not found."""
        return [f"{name} is not installed ({HOW_TO_INSTALL[name]})" for name in names if name not in self.found]

    def versions(self) -> dict[str, str]:
        """What each program says of its version, in the order of the report."""
        commands = {"ours": [*self.ours, "-V"]}
        commands |= {name: [self.found[name], flag] for name, flag in VERSION_FLAGS.items() if name in self.found}
        return {name: version_of(command) for name, command in commands.items()}


def find_programs(ours: str | None, names: Iterable[str] = tuple(HOW_TO_INSTALL)) -> Programs:
    """Look for those programs; ``ours`` is a command line, or None for the one that belongs to this Python."""
    search = f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_FOLDERS}"
    found = {name: find_original() if name == "nutcracker" else shutil.which(name, path=search) for name in names}
    return Programs(
        ours=shlex.split(ours) if ours else our_command(),
        found={name: path for name, path in found.items() if path},
    )


def our_command() -> list[str]:
    """The proxy of this environment: its command if there is one, else the package itself."""
    script = Path(sys.prefix) / "bin" / "nutcracker"
    if sys.prefix != sys.base_prefix and script.exists():
        return [str(script)]
    return [sys.executable, "-m", "twemproxy"]


def find_original() -> str | None:
    """The path of the C original: a machine-code program of that name that calls itself 0.5.0."""
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
    """A short name for this kind of machine, fit for a file name."""
    slug = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    return f"{slug}-{os.cpu_count()}-cores"


def description() -> dict[str, str]:
    """The machine, as rows of the report."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    virtual = "hypervisor" in Path("/proc/cpuinfo").read_text()
    return {
        "processor": processor() + (" (virtual machine)" if virtual else ""),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
