"""What the kernel tells in /proc about processes and sockets: descendants, states, memory, processor time, ports.

A process that does not exist has no descendants and no memory. Sizes are in bytes.
"""

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

_LISTEN, _ESTABLISHED = "0A", "01"
_UNIX_LISTEN = "00010000"


def process_tree(pid: int) -> list[int]:
    """A process and its present descendants."""
    tree = [pid]
    for parent in tree:
        # A process that has ended in the meantime has no threads, and a thread has no children.
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                with suppress(OSError):
                    tree += [int(child) for child in task.read_text().split()]
    return tree


def state(pid: int) -> str:
    """The state of a process: R, S, D, T (stopped), Z (ended, but its parent has not noticed); empty if it is gone."""
    fields = _stat(Path(f"/proc/{pid}"))
    return fields[0] if fields else ""


def is_alive(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    return state(pid) not in ("", "Z")


def stands_still(pid: int) -> bool:
    """Whether SIGSTOP has reached every thread of a process; threads on other processors notice it a little later."""
    return all(fields[0] == "T" for task in Path(f"/proc/{pid}/task").iterdir() if (fields := _stat(task)))


def cpu_nanoseconds(pid: int) -> int:
    """The processor time that a process has used, user and system.

    The scheduler counts nanoseconds, but only for living threads. If the kernel does not report that, the time of the
    process is used, which counts ticks of 10 ms. Raises OSError if the process does not exist.
    """
    tasks = Path(f"/proc/{pid}/task")
    try:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())
    except FileNotFoundError:
        fields = (tasks.parent / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """The processor time of a process and of those of its descendants that have ended, in ticks of 10 ms."""
    return sum(map(int, _stat(Path(f"/proc/{pid}"))[11:15])) / os.sysconf("SC_CLK_TCK")


def machine_seconds() -> float:
    """Seconds of processor time that the whole machine has used, or that its host has stolen."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> dict[str, int]:
    """The sizes in the status of a process, by the kernel's names: VmRSS, VmHWM, VmSize, RssAnon, RssFile, ..."""
    return _sizes(Path(f"/proc/{pid}/status"))


def anonymous_memory(pid: int) -> int:
    """Resident memory without that of files and without shared memory."""
    return memory(pid).get("RssAnon", 0)


def peak_memory(pid: int) -> int:
    """The peak of resident memory, without the present memory of files and shared memory."""
    sizes = memory(pid)
    return sizes.get("VmHWM", 0) - sizes.get("RssFile", 0) - sizes.get("RssShmem", 0)


def proportional_memory(pid: int) -> int:
    """Resident memory; a page that n processes share counts as an n-th if the kernel reports that."""
    return _sizes(Path(f"/proc/{pid}/smaps_rollup")).get("Pss") or memory(pid).get("VmRSS", 0)


def descriptors(pid: int) -> list[str]:
    """The targets of the open descriptors of a process, in the order of the descriptors."""
    folder = Path(f"/proc/{pid}/fd")
    found = []
    with suppress(OSError):
        for number in sorted(map(int, os.listdir(folder))):
            # It may have been closed in the meantime.
            with suppress(OSError):
                found.append(os.readlink(folder / str(number)))
    return found


def tcp_rows() -> list[list[str]]:
    """The kernel's table of IPv4 connections and listeners, a list of columns per row."""
    with open("/proc/net/tcp") as table:
        return [line.split() for line in table.readlines()[1:]]


def proc_address(address: tuple[str, int]) -> str:
    """An address as the kernel's table writes it."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def is_listening(port: int, host: str = "") -> bool:
    """Whether an IPv4 socket listens on the port (of that address); asks the kernel and makes no connection."""
    end = f":{port:04X}" if not host else proc_address((host, port))
    return any(row[1].endswith(end) and row[3] == _LISTEN for row in tcp_rows())


def is_listening_on_path(path: str) -> bool:
    """Whether a unix socket listens at the path; makes no connection."""
    with open("/proc/net/unix") as table:
        rows = (line.split(maxsplit=7) for line in table.readlines()[1:])
        return any(row[3] == _UNIX_LISTEN and row[7:] == [f"{path}\n"] for row in rows)


def unread(host: str, port: int) -> int:
    """Bytes that have arrived on all connections of a server at this address and that the server has not read."""
    here = proc_address((host, port))
    return sum(int(row[4].split(":")[1], 16) for row in tcp_rows() if row[1] == here and row[3] == _ESTABLISHED)


def _stat(folder: Path) -> list[str]:
    """The fields of a process or thread after its name; empty if it does not exist."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _sizes(path: Path) -> dict[str, int]:
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if row[-1] == "kB"}
