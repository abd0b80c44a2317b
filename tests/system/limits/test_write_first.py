"""Clients that write a whole pipeline before they read: no client waits for ever, and memory stays within its limit."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, redis_pool
from harness.resp import OK, array, bulk, command, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

MEGA = 1 << 20
VALUE = b"v" * 500
KEY = "k" * 240
COUNT = 80_000
"""Requests of 20 MB with replies of 40 MB: more than the sockets and a proxy that stops reading can buffer."""
WRITES_ON = (
    b"-ERR more than 1048576 bytes of requests arrived while the client read no replies, and none of them is"
    b" executed: read replies earlier, or raise 'client_input_limit' in the configuration of the pool\r\n"
)


def send_all(client: Connection, requests: bytes) -> None:
    """Send everything without reading; the proxy must accept all of it."""
    assert client.send_until_stalled(requests, 5.0) == len(requests), "the proxy has stopped reading"


@pytest.fixture(scope="module")
def deep(configured: Configure, running_servers: list[RedisServer]) -> Iterator[ServedPools]:
    """A proxy in front of three servers."""
    with configured(redis_pool(*running_servers)) as proxy:
        yield proxy


def test_a_pipeline_of_gets_is_written_before_it_is_read(deep: ServedPools, servers: list[RedisServer]) -> None:
    client = deep.client()
    assert client.ask("SET", KEY, VALUE) == OK
    send_all(client, command("GET", KEY) * COUNT)
    client.expect(bulk(VALUE) * COUNT)
    assert client.ask("PING") == b"+PONG\r\n"


def test_the_same_with_memcached(memcached_client: Connection) -> None:
    assert memcached_client.ask_text(b"set %s 0 0 500\r\n%s\r\n" % (KEY.encode(), VALUE)) == b"STORED\r\n"
    send_all(memcached_client, b"get %s\r\n" % KEY.encode() * COUNT)
    memcached_client.expect(b"VALUE %s 0 500\r\n%s\r\nEND\r\n" % (KEY.encode(), VALUE) * COUNT)


def test_every_request_of_a_mixed_pipeline_is_answered_in_its_place(
    deep: ServedPools, servers: list[RedisServer]
) -> None:
    """Requests of all sizes, so that many requests are split between two blocks of input that was read ahead."""
    source = random.Random(12)
    client = deep.client()
    requests, replies = [], []
    for number in range(4000):
        key, value = f"k{number % 60}", source.randbytes(int(2 ** source.uniform(0, 15)))
        requests += [command("SET", key, value), b"GET %s\r\n" % key.encode(), command("MGET", key, "none", key)]
        replies += [OK, bulk(value), array(bulk(value), b"$-1\r\n", bulk(value))]
    send_all(client, b"".join(requests))
    client.expect(b"".join(replies))


def test_a_client_that_ends_its_side_gets_every_reply(deep: ServedPools, servers: list[RedisServer]) -> None:
    client = deep.client()
    assert client.ask("SET", KEY, VALUE) == OK
    send_all(client, command("GET", KEY) * COUNT)
    client.half_close()
    client.expect(bulk(VALUE) * COUNT)
    client.expect_closed()


def test_more_than_may_wait_is_an_error_and_an_end(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, client_input_limit=MEGA)) as proxy:
        client, other = proxy.client(), proxy.client()
        assert other.ask("SET", KEY, VALUE) == OK
        send_all(client, command("GET", KEY) * COUNT)
        came = client.read_to_end()
        taken, error, rest = came.partition(b"-ERR ")
        assert taken == bulk(VALUE) * (len(taken) // len(bulk(VALUE)))
        assert error + rest == WRITES_ON
        [line] = [line for line in proxy.log().splitlines() if "client_input_limit" in line]
        assert re.search(
            rf"{proxy.served_name()}: client \d+ from 127\.0\.0\.1:\d+ is closed: it sent \d+ bytes without reading"
            r" replies, 'client_input_limit' is 1048576$",
            line,
        )
        assert other.ask("GET", KEY) == bulk(VALUE)


def test_more_than_may_wait_behind_a_reply_that_is_made_in_steps(
    configured: Configure, servers: list[RedisServer], tmp_path: Path
) -> None:
    """The client has got a part of the reply, so it gets no error, which would be inside the reply."""
    with configured(redis_pool(*servers, listen=tmp_path / "proxy", client_input_limit=MEGA)) as proxy:
        client = proxy.client()
        reply = array(*[client.ask("COMMAND", "INFO", "xgroup").removeprefix(b"*1\r\n")] * 3000)
        came = write_on(client, command("COMMAND", "INFO", *["xgroup"] * 3000))
        assert reply.startswith(came)
        assert 0 < len(came) < len(reply)


def test_more_than_may_wait_behind_confirmations(
    configured: Configure, servers: list[RedisServer], tmp_path: Path
) -> None:
    """The error comes after a whole confirmation, and nothing comes after the error."""
    with configured(redis_pool(*servers, listen=tmp_path / "proxy", client_input_limit=MEGA)) as proxy:
        confirmation = array(bulk("subscribe"), bulk("channel"), integer(1))
        came = write_on(proxy.client(), command("SUBSCRIBE", *["channel"] * 100_000))
        taken, error, rest = came.partition(b"-ERR ")
        assert 0 < len(taken) < len(confirmation) * 100_000
        assert taken == confirmation * (len(taken) // len(confirmation))
        assert error + rest == WRITES_ON


def write_on(client: Connection, request: bytes) -> bytes:
    """Send a request and more than may wait behind it, without reading; returns what came up to the end.

    The client's socket is a unix socket, so that most of a reply of some megabytes stays in the proxy.
    """
    client.send(request + b"x")
    client.wait_consumed()
    send_all(client, b"x" * (MEGA + 1))
    client.wait_consumed()
    return client.read_to_end()


def test_max_memory_counts_what_waits(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers), "--max-memory=8mb") as proxy:
        client, other = proxy.client(), proxy.client()
        assert other.ask("SET", KEY, VALUE) == OK
        before = proxy.memory()
        # More than the sockets and twice the limit can buffer, however slow the proxy is.
        send_all(client, command("GET", KEY) * 2 * COUNT)
        assert proxy.memory() - before < 32 * MEGA
        assert other.ask("GET", KEY) == bulk(VALUE)
        came = client.read_to_end()
        assert came.startswith(bulk(VALUE))
        assert came.endswith(b"-ERR out of memory: the request is dropped, '--max-memory' leaves no room for it\r\n")
        assert "'--max-memory' is 8388608" in proxy.log()


def test_a_client_that_takes_its_replies_is_not_read_ahead() -> None:
    """Requests for a slow server wait in the kernel and not in the proxy."""
    requests = command("SET", "k", b"v" * 1000) * 40_000
    with ScriptedServer() as server, Proxy(redis_pool(server)) as proxy:
        client = proxy.client()
        before = proxy.memory()
        assert client.send_until_stalled(requests, 0.5) < len(requests)
        assert proxy.memory() - before < 16 * MEGA


def test_a_fresh_client_gets_few_replies_at_once_until_their_size_is_known(
    configured: Configure, servers: list[RedisServer]
) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("GET", "k") * 400)
        peer = server.accept()
        for window in (16, 64, 256):
            assert [peer.request() for _ in range(window)] == [[b"GET", b"k"]] * window
            client.wait_consumed()
            assert peer.collect() == b""
            peer.send(bulk("small") * window)
            client.expect(bulk("small") * window)


def test_large_replies_to_a_fresh_client_take_little_memory(servers: list[RedisServer]) -> None:
    with Proxy(redis_pool(*servers)) as proxy:
        lazy, other = proxy.client(), proxy.client()
        assert other.ask("SET", "large", b"v" * MEGA) == OK
        before = proxy.memory()
        lazy.send(command("GET", "large") * 200)
        requests = proxy.server_stats()["requests"]
        while (now := proxy.server_stats()["requests"]) > requests:
            requests = now
        assert proxy.memory() - before < 32 * MEGA
