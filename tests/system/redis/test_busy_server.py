"""A server that is busy with a script: clients get its BUSY error, and can end the script."""

import re
import time
from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, redis_pool
from harness.resp import OK, bulk, command, error, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until

ENDLESS = "while true do end"
LIBRARY = "#!lua name=test\nredis.register_function('endless', function() while true do end end)"
BUSY = error("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.")
KILLED = b"-ERR Script killed by user"
PONG = b"+PONG\r\n"
STUCK_AFTER = 1.1
"""Seconds after which the proxy takes a connection for that of a script: ``fenced.STUCK_AFTER``, and some more."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that replies BUSY when a script has run for 10 ms."""
    with RedisServer("--busy-reply-threshold", "10") as server:
        yield server


@pytest.fixture
def runner(configured: Configure, server: RedisServer) -> Iterator[tuple[ServedPools, Connection]]:
    """A proxy in front of this server only, and a client of the proxy."""
    with configured(redis_pool(server, allow_commands='"@scripting"')) as proxy, proxy.client() as client:
        yield proxy, client


def run_endless(client: Connection, server: RedisServer) -> None:
    """Let the server run a script that does not end."""
    client.send(command("EVAL", ENDLESS, 0))
    wait_until(lambda: server.ask("PING") == BUSY, "the server is busy")


def is_busy(client: Connection) -> bool:
    """Wait until PING gets BUSY, which takes until the proxy has noticed that its server is silent; returns True."""
    return wait_until(lambda: client.ask("PING").startswith(b"-BUSY "), "PING says that the server is busy")


def test_ping_says_that_the_only_server_is_busy(runner: tuple[ServedPools, Connection], server: RedisServer) -> None:
    proxy, client = runner
    run_endless(client, server)
    with proxy.client() as other:
        assert is_busy(other)
        assert other.ask("PING") == other.ask("PING", "text") == BUSY
        other.send(command("CLIENT", "REPLY", "SKIP") + command("PING") + command("ECHO", "after"))
        other.expect(bulk("after"))
        assert other.ask("SCRIPT", "KILL") == OK
        assert client.reply().startswith(KILLED)
        assert other.ask("PING") == PONG
        assert client.ask("PING", "text") == bulk("text")


@pytest.mark.parametrize("hello", [2, 3])
def test_clients_that_have_run_scripts_get_busy_as_well(configured: Configure, server: RedisServer, hello: int) -> None:
    """Their requests would wait on the connection of the script; the later ones go to other connections."""
    with configured(redis_pool(server, auto_eject_hosts=True, server_failure_limit=1)) as proxy:
        client, before, later = proxy.client(), proxy.client(), proxy.client()
        for each in (client, before, later):
            each.ask("HELLO", hello)
            assert each.ask("EVAL", "return 1", 0) == integer(1)
        assert server.ask("PING") == PONG
        run_endless(client, server)
        before.send(command("GET", "k"))
        stuck_at = time.monotonic() + STUCK_AFTER
        wait_until(lambda: time.monotonic() > stuck_at, "the connection of the script has been silent for long enough")
        for request in (("GET", "k"), ("EVAL", "return 2", 0), ("SET", "k", "v")):
            assert re.match(rb"-(ERR .* failed: )?BUSY Redis is busy", later.ask(*request))
        assert later.ask("SCRIPT", "KILL") == OK
        assert client.reply().startswith(KILLED)
        assert before.reply() == later.ask("GET", "k")
        assert later.ask("EVAL", "return 3", 0) == integer(3)
        assert proxy.pool_stats()["server_ejects"] == 0


def test_a_client_that_waits_for_its_own_script_is_told_nothing_of_it(
    runner: tuple[ServedPools, Connection], server: RedisServer
) -> None:
    proxy, client = runner
    client.send(command("EVAL", ENDLESS, 0) + command("PING"))
    with proxy.client() as other:
        assert is_busy(other)
        assert other.ask("SCRIPT", "KILL") == OK
    assert client.reply().startswith(KILLED)
    client.expect(PONG)


def test_what_runs_can_be_seen_by_clients_that_run_scripts(
    runner: tuple[ServedPools, Connection], server: RedisServer
) -> None:
    proxy, client = runner
    with proxy.client() as other:
        assert other.ask("FUNCTION", "LOAD", LIBRARY) == bulk("test")
        for hello in ((), ("HELLO", 3)):
            if hello:
                other.ask(*hello)
            client.send(command("FCALL", "endless", 0))
            assert is_busy(other)
            assert bulk("endless") in other.ask("FUNCTION", "STATS")
            assert other.ask("FUNCTION", "KILL") == OK
            assert client.reply().startswith(KILLED)
            assert other.ask("FUNCTION", "STATS") == server_stats(server, hello)


def server_stats(server: RedisServer, hello: tuple[str | int, ...]) -> bytes:
    """The server's direct reply to FUNCTION STATS, after the given HELLO."""
    with server.connect() as direct:
        if hello:
            direct.ask(*hello)
        return direct.ask("FUNCTION", "STATS")


def test_ping_is_the_proxys_own_where_the_server_says_nothing(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client, other = proxy.client(), proxy.client()
        client.send(command("EVAL", ENDLESS, 0))
        assert server.accept_scripts().request()[0] == b"EVAL"
        wait_until(lambda: other.ask("PING") == PONG and server.has_connection(), "the server is asked")
        peer = server.accept()
        assert peer.request() == [b"PING"]
        assert other.ask("PING") == PONG
        peer.send(error("LOADING Redis is loading the dataset in memory"))
        assert other.ask("PING") == PONG


def test_ping_is_the_proxys_own_in_a_pool_of_several(configured: Configure, server: RedisServer) -> None:
    with configured(redis_pool(server, server)) as proxy:
        client, other = proxy.client(), proxy.client()
        client.send(command("EVAL", ENDLESS, 1, "k"))
        wait_until(lambda: server.ask("PING") == BUSY, "the server is busy")
        assert other.ask("PING") == PONG
        assert other.ask("SCRIPT", "KILL") == OK
