"""Clients with default settings while the proxy behind their address is replaced, as by a rolling restart.

A relay plays the load balancer.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from faults.relay import Relay
from harness.jobs import Job, run
from harness.proxy import Proxy, redis_pool
from harness.servers import RedisServer
from harness.waiting import wait_until

MOVING = [
    (Job("redis-py, threads", "redis_py_restart.py", ["redis-8"], ["threads"]), 4),
    (Job("redis-py, asyncio", "redis_py_restart.py", ["redis-8"], ["asyncio"]), 4),
    (Job("redis-py, hiredis", "redis_py_restart.py", ["hiredis", "redis-8"], ["threads"]), 4),
    (Job("node-redis, none", "node_redis_restart.js", arguments=["none"]), 1),
]
"""Jobs whose clients connect again when they are told to, each with the number of threads or tasks that count."""


@contextmanager
def running(job: Job, relay: Relay, proxy: Proxy, server: RedisServer, counting: int) -> Iterator[Future[None]]:
    """A job whose clients come through the relay; it is told to end with the context, and must succeed.

    ``counting``: how many of its threads or tasks count.
    """
    server.ask("FLUSHALL")
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(run, job, proxy, 1, port=int(relay.address.rpartition(":")[2]))
        try:
            wait_until(
                lambda: running.done() or server.ask("GET", "running") == b"$1\r\n%d\r\n" % counting, "all count"
            )
            yield running
        finally:
            server.ask("SET", "stop", 1)
        running.result()


@pytest.mark.parametrize(("job", "counting"), MOVING, ids=[job.name for job, _ in MOVING])
def test_a_rolling_restart(job: Job, counting: int, servers: list[RedisServer]) -> None:
    pool, delay = redis_pool(servers[0]), ("--drain-delay", "4")
    with (
        Proxy(pool, *delay) as old,
        Proxy(pool) as new,
        Relay(old.port()) as relay,
        running(job, relay, old, servers[0], counting) as ends,
    ):
        assert old.pool_stats()["client_connections"] >= 1
        old.process.send_signal(signal.SIGTERM)
        relay.lead_to(new.port())
        # The statistics end with the delay: until then all clients must have gone by themselves.
        old.wait_stats(lambda stats: stats["client_connections"] == 0, "all clients have left")
        assert old.wait() == 0
        new.wait_stats(lambda stats: stats["client_connections"] >= 1, "clients have come")
        before = new.pool_stats()["s00"]["requests"]
        new.wait_stats(lambda stats: stats["s00"]["requests"] > before + 100, "clients go on")
        assert not ends.done()


def test_node_redis_is_not_told_what_would_end_it(servers: list[RedisServer]) -> None:
    pool = redis_pool(servers[0])
    job = Job("node-redis", "node_redis_restart.js")
    with (
        Proxy(pool, "--drain-delay", "1") as old,
        Proxy(pool) as new,
        Relay(old.port()) as relay,
        running(job, relay, old, servers[0], 1) as ends,
    ):
        relay.lead_to(new.port())
        assert old.terminate() == 0
        new.wait_stats(lambda stats: stats["s00"]["requests"] > 100, "the client goes on")
        assert not ends.done()
