"""The worker processes of a proxy, and clients of a certain one."""

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.connection import Connection
from harness.proc import stands_still
from harness.proxy import Proxy
from harness.waiting import wait_until

_WORKER = re.compile(r"worker \d+$|worker\.main$")
"""The end of the command line of a worker, whichever program runs it."""
_MOST_CONNECTED = 300
"""Clients after which each worker must have some."""


def worker_processes(proxy: Proxy) -> list[int]:
    """The process ids of the workers of a proxy, those included that are about to end."""
    found = []
    for pid in proxy.processes():
        with suppress(OSError):
            if _WORKER.search(Path(f"/proc/{pid}/cmdline").read_text().strip("\0")):
                found.append(pid)
    return found


def ready_workers(proxy: Proxy, count: int) -> list[int]:
    """The process ids of the workers of a proxy, which has ``count``, all of which accept clients."""
    wait_until(lambda: proxy.stats().get("workers") == count, f"{count} workers accept clients")
    found = worker_processes(proxy)
    assert len(found) == count
    return found


@contextmanager
def stopped(processes: Sequence[int]) -> Iterator[None]:
    """Stop these processes with SIGSTOP, and always let them go on at the end."""
    try:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        wait_until(lambda: all(map(stands_still, processes)), "the processes are stopped")
        yield
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def worker_of(client: Connection, memcached: bool = False) -> int:
    """The process id of the worker that serves a client."""
    if memcached:
        client.send(b"stats proxy\r\n")
        told = client.read_until(b"END\r\n").partition(b"STAT pid ")[2]
    else:
        told = client.ask("INFO", "server").partition(b"process_id:")[2]
    return int(told.partition(b"\r\n")[0])


def one_client_each(
    proxy: Proxy, processes: Sequence[int], pool: str = "", *, memcached: bool = False
) -> list[Connection]:
    """A new client of each of these workers, which are all workers of the proxy. Each client has sent a request."""
    found: dict[int, Connection] = {}
    others = []
    for _ in range(_MOST_CONNECTED):
        client = proxy.client(pool)
        worker = worker_of(client, memcached)
        assert worker in processes
        if found.setdefault(worker, client) is not client:
            # A worker with more clients and requests than others passes new clients on to them.
            others.append(client)
        if len(found) == len(processes):
            break
    for client in others:
        client.close()
    assert len(found) == len(processes), "a worker gets no clients"
    return [found[process] for process in processes]
