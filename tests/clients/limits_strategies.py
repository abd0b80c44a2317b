"""limits with default settings: each strategy has its own scripts."""

import asyncio

from job import SERVERS, URL
from limits import aio, parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

RATE = parse("3/year")
USERS = [f"user:{number}" for number in range(10)]


def main() -> None:
    for scheme in ("redis", "valkey"):
        storage = storage_from_string(URL.replace("redis", scheme, 1))
        assert storage.check()
        for strategy in (FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter):
            limiter = strategy(storage)
            for user in USERS:
                hits = [limiter.hit(RATE, scheme, strategy.__name__, user) for _ in range(4)]
                assert hits == [True, True, True, False], (strategy, user, hits)
                assert not limiter.test(RATE, scheme, strategy.__name__, user)
                assert limiter.get_window_stats(RATE, scheme, strategy.__name__, user).remaining == 0
            limiter.clear(RATE, scheme, strategy.__name__, USERS[0])
            assert limiter.test(RATE, scheme, strategy.__name__, USERS[0])
        # reset is a script that lists the keys itself, so it reaches the keys of one server only.
        assert SERVERS > 1 or storage.reset() >= 3 * (len(USERS) - 1)


async def main_asyncio() -> None:
    storage = aio.storage.RedisStorage(f"async+{URL}", implementation="redispy")
    limiter = aio.strategies.MovingWindowRateLimiter(storage)
    assert [await limiter.hit(RATE, "asyncio", USERS[0]) for _ in range(4)] == [True, True, True, False]


main()
asyncio.run(main_asyncio())
