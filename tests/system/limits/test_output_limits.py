"""Clients that do not read are closed because of unread bytes or after a time; clients that read are not."""

import socket
from contextlib import suppress

import pytest

from harness.connection import Connection
from harness.proxy import redis_pool
from harness.resp import OK, bulk, command, integer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.subscribing import publish, subscribe
from harness.waiting import wait_until

MEGA = 1 << 20
LIMIT = 2 * MEGA
IDLE = 1000


def port_of(client: Connection) -> int:
    """The port at the client's end of the connection."""
    return int(client.sock.getsockname()[1])


def test_a_client_that_leaves_replies_lying_is_closed(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0], client_output_limit=LIMIT)) as proxy:
        lazy, other = proxy.client(), proxy.client()
        assert other.ask("SET", "large", b"v" * MEGA) == OK
        lazy.send(command("GET", "large") * 100)
        proxy.wait_stats(lambda pool: pool["client_err"] == 1, "the client is closed")
        line = next(line for line in proxy.log().splitlines() if "client_output_limit" in line)
        assert " WARN " in line
        assert f"{proxy.served_name()}: client " in line and f"from 127.0.0.1:{port_of(lazy)} is closed: " in line
        assert line.endswith(f"bytes, 'client_output_limit' is {LIMIT}")
        assert int(line.split("it has not read ")[1].split()[0]) > LIMIT
        assert other.ask("STRLEN", "large") == integer(MEGA)


def test_one_reply_may_be_larger_than_the_limit(configured: Configure, servers: list[RedisServer]) -> None:
    value = b"v" * (32 * MEGA)
    with configured(redis_pool(servers[0], client_output_limit=1000)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "large", value) == OK
        client.send(command("GET", "large") + command("PING"))
        proxy.wait_stats(lambda pool: pool["s00"]["responses"] == 2, "the reply is there")
        client.expect(bulk(value) + b"+PONG\r\n")
        assert proxy.pool_stats()["client_err"] == 0


def test_a_slow_reader_within_the_limit_is_only_paused(configured: Configure, servers: list[RedisServer]) -> None:
    value = b"v" * 10_000
    with configured(redis_pool(servers[0], client_output_limit=8 * MEGA)) as proxy:
        lazy, other = proxy.client(), proxy.client()
        assert other.ask("SET", "k", value) == OK
        requests = command("GET", "k") * 3000
        assert lazy.send_until_stalled(requests, 0.1) == len(requests)
        lazy.expect(bulk(value) * 3000)


@pytest.mark.parametrize("limit", [0, 1000])
def test_messages_that_are_not_taken(configured: Configure, servers: list[RedisServer], limit: int) -> None:
    text = b"x" * MEGA
    with configured(redis_pool(servers[0], client_output_limit=limit)) as proxy:
        lazy = subscribe(proxy.client(), "c")
        publisher = proxy.client()
        count = 0
        while proxy.pool_stats()["client_err"] == 0:
            publish(publisher, "c", text)
            count += 1
            assert count < 100, "no client is closed"
        assert count > (32 if limit == 0 else 1)
        assert f"'client_output_limit' is {limit or 32 * MEGA}" in proxy.log()
        lazy.read_to_end()


def test_who_takes_nothing_is_closed_in_time(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0], client_idle_timeout=IDLE // 5)) as proxy:
        # A client of the proxy might be idle for too long between two of its requests.
        direct = servers[0].connect()
        assert direct.ask("SET", "large", b"v" * (20 * MEGA)) == OK
        lazy, subscriber = proxy.client(), subscribe(proxy.client(), "c")
        lazy.send(command("GET", "large"))
        for _ in range(20):
            publish(direct, "c", b"m" * MEGA)
        wait_until(lambda: proxy.pool_stats()["client_connections"] == 0, "all clients are closed")
        assert "client_output_limit" not in proxy.log()
        assert b"$20971520" in lazy.read_to_end()
        subscriber.read_to_end()


def test_who_takes_little_by_little_is_not_idle(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0], client_idle_timeout=IDLE)) as proxy:
        slow, other = proxy.client(), proxy.client()
        assert other.ask("SET", "large", b"v" * (8 * MEGA)) == OK
        # A small buffer, so that the kernel says soon what the client has taken.
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MEGA // 4)
        slow.send(command("GET", "large") * 16)
        total = 16 * len(bulk(b"v" * (8 * MEGA)))
        taken = 0
        for _ in range(2):
            silent = proxy.client()
            assert silent.ask("PING") == b"+PONG\r\n"
            while proxy.pool_stats()["client_connections"] == 3:
                assert other.ask("PING") == b"+PONG\r\n"
                with suppress(BlockingIOError):
                    taken += len(slow.sock.recv(8192))
        assert taken < total // 2, "the client was not slow"
        while taken < total:
            taken += len(wait_until(slow.collect, "the rest arrives"))
        assert taken == total
