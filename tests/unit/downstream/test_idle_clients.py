"""When a client with unread output is idle; the clock of the data plane jumps, so that no test waits."""

import socket

from harness.resp import bulk, command
from harness.servers import RedisServer
from harness.waiting import wait_until
from unit.in_process import InProcess

IDLE = 10_000
"""Milliseconds of ``client_idle_timeout``."""
STEP = 2000
"""Milliseconds: six of them are longer than IDLE."""
LARGE = 4 << 20
TAKEN = 128 << 10
"""Bytes that a client takes per STEP: eight times that is not yet a third of what the socket of the proxy holds."""
REPLY = len(bulk("v" * LARGE))


def test_a_client_is_not_idle_while_it_takes_what_the_socket_holds(redis: RedisServer) -> None:
    assert redis.ask("SET", "large", b"v" * LARGE) == b"+OK\r\n"
    with InProcess(redis=True, servers=[f"{redis.address}:1 one"], client_idle_timeout=IDLE) as proxy:
        client = proxy.client()
        # A small buffer, so that the kernel says soon what the client has taken.
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * TAKEN)
        client.send(command("GET", "large") * 8)

        def output() -> int:
            """Bytes of replies that the proxy cannot write."""
            return sum(each.description()["omem"] for each in proxy.call(proxy.data_plane.clients))

        wait_until(lambda: output() > LARGE, "the socket is full")
        taken = 0
        while taken < 8 * TAKEN:
            proxy.advance(STEP)
            taken += len(client.sock.recv(TAKEN))
        assert proxy.call(lambda: len(proxy.data_plane.clients())) == 1
        while taken < 8 * REPLY:
            taken += len(wait_until(client.collect, "the rest arrives"))
        assert taken == 8 * REPLY


def test_a_client_that_takes_nothing_is_idle(redis: RedisServer) -> None:
    assert redis.ask("SET", "large", b"v" * LARGE) == b"+OK\r\n"
    with InProcess(redis=True, servers=[f"{redis.address}:1 one"], client_idle_timeout=IDLE) as proxy:
        client = proxy.client()
        client.send(command("GET", "large") * 8)
        wait_until(
            lambda: sum(each.description()["omem"] for each in proxy.call(proxy.data_plane.clients)) > LARGE,
            "the socket is full",
        )
        # The kernel of the client may still have taken some at first.
        for _ in range(12):
            proxy.advance(STEP)
        assert proxy.call(lambda: len(proxy.data_plane.clients())) == 0
        assert proxy.snapshot().values["client_eof"] == 1
