"""Readers that behave badly: clients of the proxy and other readers do not notice them."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from harness.connection import Connection, connect
from harness.http import get
from harness.proxy import Proxy, redis_pool
from harness.resp import OK, bulk
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.waiting import wait_until

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
SERVERS = 400
"""So many servers have metrics of some megabytes with the names below."""
SCRAPES = 1000
READERS = 256
"""docs/limits.md"""


@pytest.fixture(scope="module")
def large(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """A proxy with a pool for clients, and one with many servers, so that answers are larger than socket buffers."""
    with RedisServer() as server, ScriptedServer(listening=False) as dead:
        many = [f"{dead.address}:1 {'n' * 150}{number}" for number in range(SERVERS)]
        with Proxy({"alpha": redis_pool(server), "beta": {**redis_pool(), "servers": many}}) as proxy:
            yield proxy


@pytest.fixture
def client(large: Proxy) -> Iterator[Connection]:
    """A client of the proxy, which is served before and after the test."""
    client = large.client("alpha")
    check_client(client)
    yield client
    check_client(client)
    check_readers(large)


def check_client(client: Connection) -> None:
    assert client.ask("SET", "a", "1") == OK
    assert client.ask("GET", "a") == bulk("1")


def check_readers(proxy: Proxy) -> None:
    assert json.loads(proxy.stats_text())["service"] == "nutcracker"
    assert get(proxy, "/healthz").body == b"ok\n"
    metrics = get(proxy, "/metrics")
    assert metrics.status == 200
    assert metrics.body.count(b"nutcracker_server_requests_total{") == SERVERS + 1


def is_complete(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 200") and f"content-length: {len(body)}\r\n".encode() in head


def test_readers_that_do_not_read(large: Proxy, client: Connection) -> None:
    with ExitStack() as opened:
        for _ in range(20):
            stuck = opened.enter_context(socket.socket())
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect(("127.0.0.1", large.stats_port))
            stuck.sendall(REQUEST)
            check_client(client)
        check_readers(large)


def test_a_thousand_scrapes_at_once(large: Proxy, client: Connection) -> None:
    with ExitStack() as opened:
        scrapes = []
        for number in range(SCRAPES):
            scrapes.append(opened.enter_context(connect("127.0.0.1", large.stats_port)))
            scrapes[-1].send(REQUEST)
            if number % 50 == 0:
                check_client(client)
        answers = [scrape.read_to_end() for scrape in reversed(scrapes)]
        # The limit of readers drops the oldest ones, that of unread bytes those that read too late.
        assert is_complete(answers[0])
        for answer in answers:
            assert is_complete(answer) or not answer or answer.startswith(b"HTTP/1.1 200 OK\r\n")
    check_readers(large)


def test_probes_at_once_all_get_their_answers(large: Proxy, client: Connection) -> None:
    with ExitStack() as opened:
        probes = []
        for _ in range(READERS - 1):
            probes.append(opened.enter_context(connect("127.0.0.1", large.stats_port)))
            probes[-1].send(b"GET /healthz HTTP/1.1\r\n\r\n")
        check_client(client)
        assert all(is_complete(probe.read_to_end()) for probe in probes)


def test_half_requests(large: Proxy, client: Connection) -> None:
    with ExitStack() as opened:
        halves = []
        for number in range(50):
            halves.append(opened.enter_context(connect("127.0.0.1", large.stats_port)))
            halves[-1].send(REQUEST[: -2 - number % 15])
        check_client(client)
        check_readers(large)
        for half in halves:
            assert half.read_to_end().startswith(b"HTTP/1.1 408 ")


def test_a_megabyte_of_headers(large: Proxy, client: Connection) -> None:
    with ExitStack() as opened:
        for ending in (b"", b"\r\n\r\n"):
            for line in (b"x" * 1_000_000, b"name: value\r\n" * 80_000):
                long = opened.enter_context(connect("127.0.0.1", large.stats_port))
                long.send(REQUEST[:-2] + line + ending)
                assert long.read_to_end().startswith(b"HTTP/1.1 431 ")
                check_client(client)


def test_readers_that_leave_at_once(large: Proxy, client: Connection) -> None:
    for _ in range(100):
        with connect("127.0.0.1", large.stats_port) as leaving:
            leaving.send(REQUEST)
            leaving.reset()
    check_client(client)
    wait_until(lambda: get(large, "/ready").status == 200, "readers are served")
