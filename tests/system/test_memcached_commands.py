"""Commands of memcached that are for the whole pool, what the proxy answers itself, and texts of failures."""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, keys_of
from harness.scripted_server import ScriptedServer
from harness.servers import MemcachedServer

MODULA = {"hash": "crc32a", "distribution": "modula"}


def pool(*servers: MemcachedServer | ScriptedServer, **directives: object) -> dict[str, object]:
    """Servers named s00, s01, ... as in a pool of ``redis_pool``."""
    named = [f"{server.address}:1 s{number:02d}" for number, server in enumerate(servers)]
    return {**MODULA, **directives, "servers": named}


@pytest.fixture(scope="module")
def servers() -> Iterator[list[MemcachedServer]]:
    with MemcachedServer() as first, MemcachedServer() as second, MemcachedServer() as third:
        yield [first, second, third]


@pytest.fixture(scope="module")
def proxy(servers: list[MemcachedServer]) -> Iterator[Proxy]:
    with Proxy(pool(*servers, allow_commands="flush_all")) as running:
        yield running


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Connection]:
    with proxy.client() as connection:
        yield connection


def said(connection: Connection, request: bytes) -> list[bytes]:
    """The lines that come before MN."""
    connection.send(request + b"mn\r\n")
    return connection.read_until(b"MN\r\n").split(b"\r\n")[:-2]


def test_flush_all_empties_every_server_and_has_one_reply(client: Connection, servers: list[MemcachedServer]) -> None:
    for index in range(3):
        (key,) = keys_of(index, 3)
        client.send(b"set %s 0 0 1\r\nx\r\n" % key.encode())
        client.expect(b"STORED\r\n")
    assert said(client, b"flush_all\r\n") == [b"OK"]
    for server in servers:
        direct = server.connect()
        for key in ("k0", "k1", "k2", "k3", "k4"):
            direct.send(b"get %s\r\n" % key.encode())
            direct.expect(b"END\r\n")
    assert said(client, b"flush_all 0\r\nflush_all noreply\r\nflush_all 10 noreply\r\nflush_all 0 \r\n") == [b"OK"] * 2
    assert said(client, b"flush_all x\r\nflush_all 1 2 3\r\n") == [b"CLIENT_ERROR invalid exptime argument", b"ERROR"]


def test_statistics_of_the_proxy(client: Connection) -> None:
    lines = said(client, b"stats\r\n")
    figures = dict(line.removeprefix(b"STAT ").split(b" ", 1) for line in lines[:-1])
    assert lines[-1] == b"END" and all(line.startswith(b"STAT ") for line in lines[:-1])
    assert figures[b"servers"] == figures[b"servers_live"] == b"3"
    assert {b"pid", b"uptime", b"time", b"version", b"curr_connections", b"client_connections"} <= figures.keys()


def test_statistics_of_the_servers_state(client: Connection, servers: list[MemcachedServer]) -> None:
    lines = said(client, b"stats servers\r\n")
    for index, server in enumerate(servers):
        assert b"STAT s%02d:state live" % index in lines
        assert b"STAT s%02d:address %s:1" % (index, server.address.encode()) in lines
    assert lines[-1] == b"END" and lines.count(b"END") == 1


@pytest.mark.parametrize("argument", [b"settings", b"slabs", b"items"])
def test_other_statistics_come_from_every_server(client: Connection, argument: bytes) -> None:
    for index in range(3):
        (key,) = keys_of(index, 3)
        client.send(b"set %s 0 0 1\r\nx\r\n" % key.encode())
        client.expect(b"STORED\r\n")
    lines = said(client, b"stats %s\r\n" % argument)
    assert {line.split(b":")[0] for line in lines[:-1]} == {b"STAT s00", b"STAT s01", b"STAT s02"}
    assert lines.count(b"END") == 1


def test_a_server_that_is_down_has_a_line_in_the_statistics() -> None:
    with (
        MemcachedServer() as up,
        ScriptedServer(listening=False) as down,
        Proxy(pool(up, down)) as proxy,
        proxy.client() as client,
    ):
        lines = said(client, b"stats settings\r\n")
        assert lines.count(b"STAT s01:error Connection refused") == 1
        assert any(line.startswith(b"STAT s00:maxbytes ") for line in lines)
        assert said(client, b"verbosity 1\r\nstats reset\r\n") == [b"SERVER_ERROR Connection refused"] * 2


def test_one_reply_for_what_every_server_agrees_on(client: Connection) -> None:
    requests = b"stats reset\r\nstats detail on\r\nstats detail off\r\nverbosity 0\r\nverbosity 1 noreply\r\n"
    assert said(client, requests) == [b"RESET", b"OK", b"OK", b"OK"]
    assert said(client, b"stats bogus\r\nverbosity\r\nverbosity x\r\n") == [
        b"ERROR",
        b"ERROR",
        b"CLIENT_ERROR bad command line format",
    ]


def test_version_and_what_does_not_exist(client: Connection) -> None:
    lines = said(client, b"version\r\nversion x\r\nGET a\r\n\r\n \r\nget\r\nnonsense\r\n")
    assert [line.split(b" ")[0] for line in lines] == [b"VERSION"] * 2 + [b"ERROR"] * 5


@pytest.mark.parametrize(
    "name", [b"shutdown", b"cache_memlimit 64", b"slabs automove 1", b"watch", b"lru_crawler crawl all"]
)
def test_administration_of_one_server_is_refused(client: Connection, name: bytes) -> None:
    word = name.split()[0]
    assert said(client, name + b"\r\n") == [
        b"CLIENT_ERROR '%s' is not available through this proxy: it administers a single server, ask that server"
        b" directly" % word
    ]


def test_quit_ends_the_connection_after_earlier_replies(client: Connection) -> None:
    client.send(b"get nothing\r\nversion\r\nquit\r\nget nothing\r\n")
    client.expect(b"END\r\nVERSION ")
    assert client.read_to_end().count(b"\r\n") == 1


def test_refused_server_fails_its_requests_in_their_place(servers: list[MemcachedServer]) -> None:
    with ScriptedServer(listening=False) as down, Proxy(pool(servers[0], down)) as proxy, proxy.client() as client:
        (there,), (gone,) = keys_of(0, 2), keys_of(1, 2)
        client.send(b"set %s 0 0 1\r\nx\r\nget %s\r\nget %s\r\n" % (there.encode(), gone.encode(), there.encode()))
        client.expect(b"STORED\r\nSERVER_ERROR Connection refused\r\nVALUE %s 0 1\r\nx\r\nEND\r\n" % there.encode())


def test_hung_server_times_out(servers: list[MemcachedServer]) -> None:
    with MemcachedServer() as server, Proxy(pool(server, timeout=200)) as proxy, proxy.client() as client:
        client.send(b"get k\r\n")
        client.expect(b"END\r\n")
        server.pause()
        client.send(b"get k\r\nset k 0 0 1 noreply\r\nx\r\n")
        client.expect(b"SERVER_ERROR Connection timed out\r\n")
        server.resume()
        assert said(client, b"get nothing\r\n") == [b"END"]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (b"", b"unknown"),
        (b"HELLO\r\n", b"Invalid argument"),
        (b"STORED\r\n", b"Invalid argument"),
        (b"VALUE k 0 1\r\nxx\r\nEND\r\n", b"Invalid argument"),
        (b"VALUE k 0 99999999999\r\n", b"Invalid argument"),
    ],
)
def test_server_that_ends_or_talks_nonsense_costs_its_connection_only(reply: bytes, text: bytes) -> None:
    with ScriptedServer() as server, Proxy(pool(server)) as proxy, proxy.client() as client:
        client.send(b"get k\r\n")
        with server.accept() as connection:
            connection.expect(b"version\r\n")
            connection.send(b"VERSION 1.6.18\r\n")
            connection.expect(b"get k\r\n")
            connection.send(reply)
            if not reply:
                connection.half_close()
            client.expect(b"SERVER_ERROR %s\r\n" % text)
        client.send(b"get k\r\n")
        again = server.accept()
        again.expect(b"version\r\n")
        again.send(b"VERSION 1.6.18\r\n")
        again.expect(b"get k\r\n")
        again.send(b"END\r\n")
        client.expect(b"END\r\n")
