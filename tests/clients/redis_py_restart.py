"""redis-py with default settings while the proxy behind its address is replaced: no error, no warning, nothing twice.

``redis_py_restart.py HOST PORT 1 asyncio|threads``. It counts until the key ``stop`` exists.
"""

import asyncio
import logging
import sys
import threading
import time

import redis
import redis.asyncio
from job import HOST, PORT

CLIENTS = 4


class Said(logging.Handler):
    """Keeps what the library logs."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record) -> None:
        self.lines.append((record.levelno, record.getMessage()))


def count(client, name: str, failures: list) -> None:
    """Count under this key."""
    counted = 0
    try:
        while not client.exists("stop"):
            counted += 1
            assert client.incr(name) == counted
            if counted == 1:
                client.incr("running")
            time.sleep(0.01)
    except Exception as error:
        failures.append(error)
        raise


def with_threads() -> None:
    """Threads share one client, and so a pool of connections."""
    client, failures = redis.Redis(HOST, PORT), []
    threads = [threading.Thread(target=count, args=(client, f"n{i}", failures)) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


async def with_tasks() -> None:
    """Tasks share one client, and so a pool of connections."""
    client = redis.asyncio.Redis(host=HOST, port=PORT)

    async def count_on(name: str) -> None:
        counted = 0
        while not await client.exists("stop"):
            counted += 1
            assert await client.incr(name) == counted
            if counted == 1:
                await client.incr("running")
            await asyncio.sleep(0.01)

    await asyncio.gather(*(count_on(f"n{i}") for i in range(CLIENTS)))
    await client.aclose()


said = Said()
logging.getLogger("redis").addHandler(said)
logging.getLogger("redis").setLevel(logging.DEBUG)
if sys.argv[4] == "asyncio":
    asyncio.run(with_tasks())
else:
    with_threads()
assert not [text for level, text in said.lines if level >= logging.WARNING], said.lines
assert not [text for _, text in said.lines if text.startswith("Failed")], said.lines
assert [text for _, text in said.lines if "MOVING" in text], said.lines
