"""How evenly workers are loaded: long-lived clients of uneven load, and the requests that each worker gets.

``python -m reloads.balance`` prints the requests of each worker, and how many times the mean the busiest one has. The
exit status is 1 if that is more than MOST.
"""

import argparse
import asyncio
import random
import re
import sys
from collections import Counter
from typing import Final

from harness.proxy import Proxy, redis_pool
from harness.resp import command
from harness.servers import RedisServer
from harness.waiting import wait_until

MOST: Final = 1.3
"""Most times the mean that the busiest worker should have."""
WINDOW: Final = 5.0
"""Seconds at the end for which requests are counted."""


class Client:
    """A client that sends a request after each reply and a pause, in all ``rate`` requests per second at most."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.sent = 0

    async def open(self, port: int) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)

    async def run(self, until: float) -> None:
        """Send requests until this time of the event loop."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            began = loop.time()
            self._writer.write(command("GET", "key"))
            assert await self._reader.readexactly(5) == b"$-1\r\n"
            self.sent += 1
            await asyncio.sleep(max(1 / self.rate - (loop.time() - began), 0))

    async def worker(self) -> int:
        """The process that serves it."""
        self._writer.write(command("INFO", "server"))
        length = int((await self._reader.readline())[1:])
        found = re.search(rb"process_id:(\d+)", await self._reader.readexactly(length + 2))
        assert found is not None
        return int(found[1])

    def close(self) -> None:
        """Disconnect."""
        self._writer.close()


async def measure(proxy: Proxy, clients: list[Client], seconds: float) -> Counter[int]:
    """Requests of each worker in the last WINDOW of a load."""
    loop = asyncio.get_running_loop()
    for client in clients:
        await client.open(proxy.port())
    await asyncio.gather(*(client.run(loop.time() + seconds - WINDOW) for client in clients))
    before = [client.sent for client in clients]
    await asyncio.gather(*(client.run(loop.time() + WINDOW) for client in clients))
    requests: Counter[int] = Counter()
    for client, count in zip(clients, before, strict=True):
        requests[await client.worker()] += client.sent - count
        client.close()
    return requests


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rate", type=float, default=6000, help="requests per second of all clients together")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    choose = random.Random(options.seed)
    # Uneven: the mean is twice the median, and no client has more than a share of 1/30.
    weights = [min(choose.lognormvariate(0, 1.2), 5) for _ in range(options.clients)]
    clients = [Client(options.rate * weight / sum(weights)) for weight in weights]
    with RedisServer() as server, Proxy(redis_pool(server), "-w", str(options.workers)) as proxy:
        wait_until(lambda: proxy.stats()["workers"] == options.workers, "all workers are ready")
        requests = asyncio.run(measure(proxy, clients, options.seconds))
        moved = proxy.stats()["clients_moved"]
    mean = requests.total() / options.workers
    worst = max(requests.values()) / mean
    print(f"requests per worker: {sorted(requests.values(), reverse=True)}")
    print(f"{moved} clients moved; the busiest worker has {worst:.2f} times the mean")
    return 1 if worst > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
