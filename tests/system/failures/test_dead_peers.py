"""Peers that vanish without closing their connections, and idle clients."""

import pytest

from harness.proc import tcp_rows
from harness.proxy import redis_pool
from harness.resp import OK, array, bulk, command, integer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

IDLE = 300


KEEPALIVE = "02:"
"""The keepalive timer in the kernel's table of connections; its time in hundredths of a second follows."""


def timers(port: int, *, of_server: bool) -> list[str]:
    """The timers of the connections with this port at the server's end, or at the proxy's own end."""
    end = 2 if of_server else 1
    return [row[5] for row in tcp_rows() if row[end].endswith(f":{port:04X}") and row[3] == "01"]


def is_keepalive(timer: str) -> bool:
    """Whether this is a keepalive timer of nearly ten minutes."""
    return timer.startswith(KEEPALIVE) and 59000 < int(timer[3:], 16) <= 60000


@pytest.mark.parametrize("keepalive", [True, False])
def test_keepalive_is_on_for_clients_and_servers(
    configured: Configure, servers: list[RedisServer], keepalive: bool
) -> None:
    directives = {"tcpkeepalive": True, "tcpkeepalive_idle": 600, "tcpkeepalive_interval": 10, "tcpkeepalive_count": 3}
    with configured(redis_pool(servers[0], **(directives if keepalive else {}))) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == OK
        [own] = timers(proxy.port(), of_server=False)
        assert is_keepalive(own) == keepalive
        port = int(servers[0].address.split(":")[1])
        assert any(is_keepalive(timer) for timer in timers(port, of_server=True)) == keepalive


def test_an_idle_client_is_closed(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0], client_idle_timeout=IDLE)) as proxy:
        silent, speaking = proxy.client(), proxy.client()
        assert speaking.ask("SET", "a", "1") == OK

        def has_gone() -> bool:
            assert speaking.ask("GET", "a") == bulk("1")
            return bool(proxy.pool_stats()["client_connections"] == 1)

        wait_until(has_gone, "the silent client is closed")
        silent.expect_closed()
        speaking.expect_closed()
        assert proxy.pool_stats()["client_eof"] == 2


def test_clients_that_wait_are_not_idle(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0], client_idle_timeout=IDLE)) as proxy:
        blocked, subscribed, waiting, silent = (proxy.client() for _ in range(4))
        blocked.send(command("BLPOP", "q", "0"))
        assert subscribed.ask("SUBSCRIBE", "c") == array(bulk("subscribe"), bulk("c"), integer(1))
        waiting.send(
            command("EVAL", "local t = redis.call('TIME')[1] + 2; while redis.call('TIME')[1] + 0 < t do end", 0)
        )
        silent.expect_closed()
        assert waiting.reply() == b"$-1\r\n"
        pusher = proxy.client()
        assert pusher.ask("RPUSH", "q", "x") == integer(1)
        assert blocked.reply() == array(bulk("q"), bulk("x"))
        assert pusher.ask("PUBLISH", "c", "m") == integer(1)
        assert subscribed.reply() == array(bulk("message"), bulk("c"), bulk("m"))
