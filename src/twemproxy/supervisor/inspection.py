"""Slow requests and hot keys of all workers."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Final, Protocol

from twemproxy.ipc.messages import HotKey, Inspected, Inspection, SlowRequest

ANSWER_TIME: Final = 1.0
"""Seconds that a worker has to answer; without an answer, what it knows is missing."""
SLOW_REQUESTS: Final = 256
"""Slow requests of a pool that are kept of those of all workers."""
HOT_KEYS: Final = 50
"""Hot keys of a pool."""

_numbers = count(1)


class Inspectable(Protocol):
    """A worker."""

    async def inspect(self, number: int) -> Inspected | None:
        """Its answer to ``Inspect``; None if there is none."""


async def inspect(workers: Sequence[Inspectable]) -> tuple[Inspection, ...]:
    """What all workers know, one Inspection per pool: the latest slow requests, and the keys with the most requests."""
    number = next(_numbers)
    answers = await asyncio.gather(*(_ask(worker, number) for worker in workers))
    by_pool: dict[str, list[Inspection]] = {}
    for answer in answers:
        if answer is not None:
            for pool in answer.pools:
                by_pool.setdefault(pool.pool, []).append(pool)
    return tuple(Inspection(name, _slow(pools), _hot(pools)) for name, pools in by_pool.items())


async def _ask(worker: Inspectable, number: int) -> Inspected | None:
    try:
        async with asyncio.timeout(ANSWER_TIME):
            return await worker.inspect(number)
    except (TimeoutError, OSError):
        return None


def _slow(pools: Iterable[Inspection]) -> tuple[SlowRequest, ...]:
    return tuple(sorted((each for pool in pools for each in pool.slow), key=lambda each: each.at)[-SLOW_REQUESTS:])


def _hot(pools: Iterable[Inspection]) -> tuple[HotKey, ...]:
    added: dict[str, HotKey] = {}
    for each in (each for pool in pools for each in pool.hot):
        former = added.get(each.key)
        if former is not None:
            each = HotKey(
                each.key,
                each.server,
                former.requests + each.requests,
                former.error + each.error,
                former.size + each.size,
                max(former.largest, each.largest),
            )
        added[each.key] = each
    return tuple(sorted(added.values(), key=lambda each: each.requests, reverse=True)[:HOT_KEYS])
