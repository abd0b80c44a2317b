"""How much memory a contender needs for idle clients, and whether it releases the memory of a burst."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks import wire
from benchmarks.backends import Backends
from benchmarks.contenders import Contender, contender
from benchmarks.dialects import MAX_CLIENTS, SPARE_FILES
from benchmarks.load import LoadError
from benchmarks.machine import Programs
from harness.proc import memory, process_tree, proportional_memory
from twemproxy.demo.processes import StartError

IDLE_CLIENTS = (1000, 5000)
"""Two numbers of clients: the difference leaves out the extra cost of the first clients."""

BURST_CLIENTS = 48
BURST_VALUE = 4 * 1024 * 1024
REST_SECONDS = 30.0

IDLE_LIMIT = 1000.0
"""The most KB that 1000 idle clients may cost our proxy: 1 KB each."""

GIVEN_BACK_LIMIT = BURST_CLIENTS * BURST_VALUE // 1024 // 20
"""KB above the memory before the burst that still count as released: a twentieth of the burst."""

FILES_NEEDED = 2 * MAX_CLIENTS + SPARE_FILES
"""Open files of a relay: two connections per client."""


class MemoryResult(NamedTuple):
    """The memory of one contender, with all its processes, in kilobytes."""

    name: str
    per_1000_idle: float
    before_burst: int
    peak: int
    """The largest resident memory; pages that processes share count once for each process."""
    after_burst: int
    """After the last reply, with the clients of the burst still connected."""
    after_rest: int
    """The same, 30 s later."""

    @property
    def kept(self) -> int:
        """The memory of the burst that is still in use 30 s later."""
        return self.after_rest - self.before_burst


def tree_resident(proxy: Contender) -> int:
    """Resident memory of all processes of a contender in KB; a page that n processes share counts as an n-th."""
    return _tree_total(proxy, proportional_memory)


def tree_peak(proxy: Contender) -> int:
    """The sum of the highest resident sizes of a contender's processes in KB."""
    return _tree_total(proxy, lambda pid: memory(pid).get("VmHWM", 0))


def _tree_total(proxy: Contender, size_of: Callable[[int], int]) -> int:
    sizes = [size_of(pid) for pid in process_tree(proxy.process.pid)]
    if 0 in sizes:
        raise LoadError(f"a process of {proxy.name} ended, or the kernel does not report its memory")
    return sum(sizes) // 1024


def measure(name: str, programs: Programs, servers: Backends, folder: Path) -> MemoryResult:
    """Both measurements, each with a new contender."""
    for purpose in ("idle", "burst"):
        (folder / purpose).mkdir(exist_ok=True)
    try:
        with contender(name, programs, servers, folder / "idle") as proxy:
            per_1000_idle = idle_clients(proxy)
        with contender(name, programs, servers, folder / "burst") as proxy:
            before, peak, after, rested = burst(proxy)
    except (OSError, StartError, threading.BrokenBarrierError) as error:
        raise LoadError(f"{name}: {error}") from error
    return MemoryResult(name, per_1000_idle, before, peak, after, rested)


def idle_clients(proxy: Contender) -> float:
    """KB per 1000 clients that are connected, have received one reply, and send nothing more."""
    few, many = IDLE_CLIENTS
    sizes = []
    with ExitStack() as stack:
        for target in (range(few), range(few, many)):
            for number in target:
                connection = stack.enter_context(wire.connect(proxy.port))
                key = b"idle:%d" % number
                wire.ask(connection, wire.encode([b"GET", key]), b"$-1\r\n")
            sizes.append(tree_resident(proxy))
    return (sizes[1] - sizes[0]) * 1000 / (many - few)


def burst(proxy: Contender) -> tuple[int, int, int, int]:
    """KB before, at the peak of, after, and long after a burst of clients that set and then get a large value."""
    before = tree_resident(proxy)
    together = threading.Barrier(BURST_CLIENTS)
    failures: list[Exception] = []
    value = b"v" * BURST_VALUE
    reply = b"$%d\r\n%s\r\n" % (BURST_VALUE, value)

    def exchange(connection: socket.socket, number: int) -> None:
        key = b"burst:%d" % number
        try:
            together.wait(60)
            wire.ask(connection, wire.encode([b"SET", key, value]), b"+OK\r\n")
            together.wait(60)
            wire.ask(connection, wire.encode([b"GET", key]), reply)
        except (OSError, threading.BrokenBarrierError) as error:
            failures.append(error)
            together.abort()

    with ExitStack() as stack:
        connections = [stack.enter_context(wire.connect(proxy.port, timeout=60)) for _ in range(BURST_CLIENTS)]
        threads = [
            threading.Thread(target=exchange, args=(connection, number), daemon=True)
            for number, connection in enumerate(connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        after = tree_resident(proxy)
        peak = tree_peak(proxy)
        time.sleep(REST_SECONDS)
        return before, peak, after, tree_resident(proxy)
