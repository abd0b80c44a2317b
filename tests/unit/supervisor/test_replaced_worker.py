"""A worker that another process replaces: what both are told, and what is left when that does not succeed."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from supervised import GRACE, WORKER, configure

from harness.ports import free_port
from harness.proc import is_alive, process_tree
from twemproxy.config.loading import load
from twemproxy.config.options import Options
from twemproxy.ipc.messages import SetLogLevel
from twemproxy.supervisor.early_worker import WorkerProgram
from twemproxy.supervisor.resolver import Resolver
from twemproxy.supervisor.served_config import ServedConfig
from twemproxy.supervisor.service_manager import ServiceManager
from twemproxy.supervisor.worker_slot import WorkerSlot

PROGRAM = WorkerProgram(sys.executable, (sys.executable, str(WORKER), "serve"))


@asynccontextmanager
async def running_slot(folder: Path) -> AsyncIterator[WorkerSlot]:
    """A slot whose worker is ready; its listening sockets are closed and its worker has ended after the context."""
    configure(folder, f"127.0.0.1:{free_port()}")
    config = load(str(folder / "nutcracker.yml"))
    served = ServedConfig(config, Options(str(folder / "nutcracker.yml")), ServiceManager({}))
    served.listeners.open(config)
    slot = WorkerSlot(PROGRAM, 1, served.statistics, served.start, Resolver())
    run = asyncio.create_task(slot.run())
    try:
        async with asyncio.timeout(GRACE):
            await slot.ready.wait()
            yield slot
            slot.drain(0, 0)
            await run
    finally:
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run
        slot.close_inbox()
        served.listeners.close_all()


def pid(slot: WorkerSlot) -> int:
    found = slot.process()
    assert found is not None
    return found[0].pid


def test_a_process_that_starts_to_replace_another_one_is_told_the_same(tmp_path: Path) -> None:
    async def check() -> None:
        async with running_slot(tmp_path) as slot:
            before = pid(slot)
            replace = asyncio.create_task(slot.replace(GRACE))
            await asyncio.sleep(0)
            # The scripted worker is ready when it gets this.
            slot.send(SetLogLevel(11))
            assert await replace == ""
            assert pid(slot) != before

    asyncio.run(check())


def test_a_replacement_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    async def check() -> None:
        async with running_slot(tmp_path) as slot:
            before = process_tree(os.getpid())
            worker = pid(slot)
            replace = asyncio.create_task(slot.replace(GRACE))
            await asyncio.sleep(0)
            [other] = [each for each in process_tree(os.getpid()) if each not in before]
            replace.cancel()
            while is_alive(other):
                await asyncio.sleep(0.002)
            assert pid(slot) == worker

    asyncio.run(check())


def test_a_replacement_without_memory_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(size: int) -> None:
        raise OSError(12, "Cannot allocate memory")

    async def check() -> None:
        async with running_slot(tmp_path) as slot:
            before = pid(slot)
            monkeypatch.setattr("twemproxy.supervisor.counter_memory.CounterMemory.allocate", fail)
            assert await slot.replace(GRACE) == "no memory for the counters of another worker: Cannot allocate memory"
            assert pid(slot) == before

    asyncio.run(check())
