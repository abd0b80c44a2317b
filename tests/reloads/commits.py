"""How far apart in time the workers serve another configuration: a key moves, and a client of each worker asks for it.

``python -m reloads.commits`` prints the times between the first and the last worker of reloads. The exit status is 1 if
the median is more than MOST. A client sees the change with its next reply, so that of a request is part of it.
"""

import argparse
import statistics
import sys
import time
from threading import Thread
from typing import Final

from harness.connection import Connection
from harness.proxy import Proxy, keys_of, redis_pool
from harness.resp import bulk
from harness.servers import RedisServer
from harness.workers import one_client_each, ready_workers

MOST: Final = 20.0
"""Milliseconds."""
[KEY] = keys_of(1, 2)


class Asking(Thread):
    """A client that asks for KEY again and again until the reply is ``awaited``.

    ``last_at``: when it sent its last request; ``seen_at``: when the reply to that arrived. Both in seconds.
    """

    def __init__(self, client: Connection, awaited: bytes) -> None:
        super().__init__()
        self.client, self.awaited = client, awaited
        self.last_at = self.seen_at = 0.0

    def run(self) -> None:
        reply = b""
        while reply != self.awaited:
            self.last_at = time.monotonic()
            reply = self.client.ask("GET", KEY)
        self.seen_at = time.monotonic()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--reloads", type=int, default=30)
    options = parser.parse_args()
    spreads, requests = [], []
    with RedisServer() as one, RedisServer() as other:
        for server, value in ((one, "one"), (other, "other")):
            server.ask("SET", KEY, value)
        both, single = redis_pool(one, other), redis_pool(one)
        with Proxy(both, "-w", str(options.workers)) as proxy:
            clients = one_client_each(proxy, ready_workers(proxy, options.workers))
            for number in range(options.reloads):
                pool, value = (both, "other") if number % 2 else (single, "one")
                asking = [Asking(client, bulk(value)) for client in clients]
                for thread in asking:
                    thread.start()
                proxy.serve({"alpha": pool})
                for thread in asking:
                    thread.join()
                spreads.append(1000 * (max(each.seen_at for each in asking) - min(each.seen_at for each in asking)))
                requests.append(1000 * statistics.mean(each.seen_at - each.last_at for each in asking))
    spreads.sort()
    print(f"{options.workers} workers, {options.reloads} reloads; milliseconds from the first worker to the last one:")
    middle = statistics.median(spreads)
    print(f"median {middle:.1f}, most {spreads[-1]:.1f}; a request takes {statistics.mean(requests):.1f}")
    return 1 if middle > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
