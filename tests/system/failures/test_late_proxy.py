"""A proxy that is late itself: a server whose reply is already in the proxy's socket has not timed out."""

import os
import signal
import time

import pytest

from harness.proc import stands_still
from harness.proxy import Proxy, redis_pool
from harness.resp import OK, bulk, command
from harness.servers import RedisServer
from harness.subscribing import subscribe
from harness.waiting import wait_until

TIMEOUT = 300
LARGE = "x" * 100_000
"""More bytes than the proxy reads at a time, and fewer than the server's socket buffers."""


def test_what_has_come_is_read_before_a_request_is_overdue() -> None:
    with RedisServer() as server:
        directives = {"timeout": TIMEOUT, "auto_eject_hosts": True, "server_failure_limit": 1}
        with Proxy(redis_pool(server.path, **directives), "-m", "512") as proxy, proxy.client() as client:
            assert client.ask("SET", "k", LARGE) == OK
            worker = proxy.processes()[1]
            with server.paused():
                client.send(command("GET", "k"))
                proxy.wait_stats(lambda pool: pool["s00"]["out_queue"] == 1, "the request is written")
                os.kill(worker, signal.SIGSTOP)
            try:
                asked = time.monotonic()
                wait_until(lambda: b"cmd=get" in server.ask("CLIENT", "LIST"), "the server has answered")
                wait_until(lambda: time.monotonic() > asked + 2 * TIMEOUT / 1000, "the request is overdue")
            finally:
                os.kill(worker, signal.SIGCONT)
            client.expect(bulk(LARGE))
            stats = proxy.server_stats()
            assert (stats["server_timedout"], proxy.pool_stats()["server_ejects"]) == (0, 0)


def test_who_subscribes_again_when_its_server_is_lost() -> None:
    """The client, which may have missed messages, is closed in the middle of its request."""
    with RedisServer() as server, Proxy(redis_pool(server)) as proxy, proxy.client() as client:
        subscribe(client, "channel")
        worker = proxy.processes()[1]
        os.kill(worker, signal.SIGSTOP)
        wait_until(lambda: stands_still(worker), "the worker is stopped")
        server.kill()
        client.send(command("SUBSCRIBE", "channel"))
        os.kill(worker, signal.SIGCONT)
        client.expect_closed()


@pytest.mark.parametrize("interval", [0, 40], ids=["a request", "health checks"])
def test_a_handshake_that_has_come_is_read_before_a_request_is_overdue(interval: int) -> None:
    """The event loop itself is late: it has waited for longer than it wanted to."""
    with RedisServer("--requirepass", "secret") as server:
        directives = {"timeout": TIMEOUT, "auto_eject_hosts": True, "server_failure_limit": 1, "redis_auth": "secret"}
        with Proxy(redis_pool(server.path, health_check_interval=interval, **directives)) as proxy:
            client, worker = proxy.client(), proxy.processes()[1]
            assert client.ask("AUTH", "secret") == OK
            with server.paused():
                client.send(command("GET", "k"))
                proxy.wait_stats(lambda pool: pool["s00"]["server_connections"] > 0, "the connection opens")
                os.kill(worker, signal.SIGSTOP)
                stopped = time.monotonic()
            try:
                wait_until(lambda: time.monotonic() > stopped + 2 * TIMEOUT / 1000, "the request is overdue")
            finally:
                os.kill(worker, signal.SIGCONT)
            client.expect(b"$-1\r\n")
            assert (proxy.server_stats()["server_timedout"], proxy.pool_stats()["server_ejects"]) == (0, 0)
