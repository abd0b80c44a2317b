"""In which pool a client goes on that another worker has handed over."""

import os
from types import SimpleNamespace
from typing import Any

import pytest

from twemproxy.ipc.inbox import Handed
from twemproxy.worker.handing import Taker

NUMBER = 1


class FakeDataPlane:
    """``adopted``: the names of the pools that got clients."""

    def __init__(self, **slots: int) -> None:
        """``slots``: of each pool, by its name."""
        self.pools = [pool_of(name, slot) for name, slot in slots.items()]
        self.retired: list[Any] = []
        self.adopted: list[str] = []

    def adopt(self, pool: Any, fd: int, state: dict[str, Any]) -> None:
        self.adopted.append(pool.config.name)
        os.close(fd)


def pool_of(name: str, slot: int) -> Any:
    config = SimpleNamespace(name=name, redis=True)
    return SimpleNamespace(config=config, slot=slot, has_database=lambda database: database == 0)


def hand(taker: Taker, pool: str, slot: int, worker: int) -> None:
    """Have a client handed over; its descriptor is closed then."""
    reading, writing = os.pipe()
    os.close(writing)
    taker.take_handed(Handed(worker, slot, pool, True, {"session": None}), [reading])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)


def test_a_client_of_another_worker_goes_by_the_slot() -> None:
    data_plane = FakeDataPlane(alpha=10, beta=20)
    hand(Taker(data_plane, NUMBER), "former name", 20, worker=2)
    assert data_plane.adopted == ["beta"]


def test_a_client_of_the_former_process_goes_by_the_name() -> None:
    data_plane = FakeDataPlane(alpha=10, beta=20)
    taker = Taker(data_plane, NUMBER)
    taker.expect_former()
    hand(taker, "alpha", 20, worker=NUMBER)
    hand(taker, "gamma", 20, worker=NUMBER)
    assert data_plane.adopted == ["alpha"]


def test_a_client_comes_back_from_a_worker_that_has_left() -> None:
    """This worker has handed it to one that left before it had read it: the supervisor gives it to another one."""
    data_plane = FakeDataPlane(alpha=10, beta=20)
    hand(Taker(data_plane, NUMBER), "beta", 20, worker=NUMBER)
    assert data_plane.adopted == ["beta"]


def test_a_client_of_no_pool_is_closed() -> None:
    data_plane = FakeDataPlane(alpha=10)
    hand(Taker(data_plane, NUMBER), "alpha", 30, worker=2)
    assert data_plane.adopted == []
