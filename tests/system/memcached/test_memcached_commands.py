"""memcached commands for the whole pool, commands that the proxy answers itself, and error texts."""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of
from harness.scripted_server import ScriptedServer
from harness.servers import MemcachedServer
from harness.shared_proxy import Configure

MODULA = {"hash": "crc32a", "distribution": "modula"}


def pool(*servers: MemcachedServer | ScriptedServer, **directives: object) -> dict[str, object]:
    """A pool whose servers are named s00, s01, ..., as in ``redis_pool``."""
    named = [f"{server.address}:1 s{number:02d}" for number, server in enumerate(servers)]
    return {**MODULA, **directives, "servers": named}


@pytest.fixture(scope="module")
def servers() -> Iterator[list[MemcachedServer]]:
    with MemcachedServer() as first, MemcachedServer() as second, MemcachedServer() as third:
        yield [first, second, third]


@pytest.fixture(scope="module")
def proxy(configured: Configure, servers: list[MemcachedServer]) -> Iterator[ServedPools]:
    with configured(
        pool(*servers, allow_commands="flush_all verbosity stats|cachedump stats|detail stats|reset")
    ) as running:
        yield running


@pytest.fixture
def client(proxy: ServedPools) -> Iterator[Connection]:
    with proxy.client() as connection:
        yield connection


def said(connection: Connection, request: bytes) -> list[bytes]:
    """Send the requests, then mn, and return the lines that come before MN."""
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
    lines = said(client, b"stats proxy\r\n")
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


def figures_of(lines: list[bytes]) -> dict[str, str]:
    """Names and values in a reply to stats."""
    assert lines[-1] == b"END" and lines.count(b"END") == 1
    return dict(line.decode().removeprefix("STAT ").split(" ", 1) for line in lines[:-1])


READ_BY = {
    "collectd": (
        "curr_connections cmd_get cmd_set cmd_flush cmd_touch threads rusage_user rusage_system curr_items bytes"
        " limit_maxbytes get_hits get_misses incr_hits incr_misses decr_hits decr_misses evictions delete_hits"
        " delete_misses bytes_read bytes_written total_connections listen_disabled_num uptime"
    ),
    "memcached_exporter": (
        "version uptime time cas_badval cmd_flush cmd_set cas_misses cas_hits touch_hits touch_misses rusage_user"
        " rusage_system bytes limit_maxbytes curr_items total_items bytes_read bytes_written curr_connections"
        " total_connections rejected_connections conn_yields listen_disabled_num evictions reclaimed store_too_large"
        " store_no_memory lru_crawler_starts direct_reclaims crawler_items_checked crawler_reclaimed moves_to_cold"
        " moves_to_warm moves_within_lru accepting_conns unexpected_napi_ids round_robin_fallback"
    ),
    "phpMemcachedAdmin": (
        "get_hits get_misses cmd_get cmd_set delete_hits delete_misses cas_hits cas_misses cas_badval incr_hits"
        " incr_misses decr_hits decr_misses touch_hits touch_misses cmd_flush curr_connections total_connections"
        " listen_disabled_num curr_items total_items evictions reclaimed expired_unfetched evicted_unfetched"
        " accepting_conns bytes limit_maxbytes uptime version"
    ),
    "Munin": (
        "bytes_read bytes_written limit_maxbytes bytes cmd_get cmd_set get_hits get_misses evictions curr_items"
        " total_items curr_connections cas_hits cas_misses incr_hits decr_hits delete_hits rusage_user rusage_system"
    ),
}


@pytest.mark.parametrize("reader", READ_BY)
def test_statistics_have_what_tools_read(client: Connection, reader: str) -> None:
    assert set(READ_BY[reader].split()) <= figures_of(said(client, b"stats\r\n")).keys()


def test_statistics_are_the_servers_added_up(client: Connection, servers: list[MemcachedServer]) -> None:
    for index in range(3):
        (key,) = keys_of(index, 3)
        client.send(b"set %s 0 0 1\r\nx\r\n" % key.encode())
        client.expect(b"STORED\r\n")
    told = figures_of(said(client, b"stats\r\n"))
    by_server = [server.stats() for server in servers]
    for name in ("curr_items", "bytes", "limit_maxbytes", "cmd_set", "threads", "total_items"):
        assert int(told[name]) == sum(int(server[name]) for server in by_server)
    assert told["version"] == by_server[0]["version"]
    assert told["pid"] not in {server["pid"] for server in by_server}
    items = figures_of(said(client, b"stats items\r\n"))
    slabs = figures_of(said(client, b"stats slabs\r\n"))
    # memcached counts the items of earlier tests, too, until it needs their place.
    assert int(items["items:1:number"]) == sum(int(server.stats("items")["items:1:number"]) for server in servers) >= 3
    assert int(slabs["1:used_chunks"]) == sum(int(server.stats("slabs")["1:used_chunks"]) for server in servers) >= 3
    assert slabs["1:chunk_size"] == "96"
    settings = figures_of(said(client, b"stats settings\r\n"))
    assert settings["maxbytes"] == str(3 * int(servers[0].stats("settings")["maxbytes"]))
    assert settings["item_size_max"] == "1048576"
    assert "inter" not in settings, "the servers have different values"


def test_statistics_of_one_server_are_its_own(configured: Configure, servers: list[MemcachedServer]) -> None:
    with configured(pool(servers[0])) as proxy, proxy.client() as client:
        told = figures_of(said(client, b"stats\r\n"))
        assert list(told) == list(servers[0].stats())
        for kind in ("items", "slabs", "settings", "sizes"):
            assert figures_of(said(client, f"stats {kind}\r\n".encode())) == servers[0].stats(kind)


def test_statistics_are_no_older_than_the_request(client: Connection) -> None:
    before = int(figures_of(said(client, b"stats\r\n"))["cmd_set"])
    for count in range(1, 20):
        lines = said(client, b"set k%d 0 0 1\r\nx\r\nstats\r\n" % count)
        assert lines[0] == b"STORED"
        assert int(figures_of(lines[1:])["cmd_set"]) == before + count


def test_a_server_that_is_down_is_counted_in_the_statistics(configured: Configure) -> None:
    with (
        MemcachedServer() as up,
        ScriptedServer(listening=False) as down,
        configured(pool(up, down, allow_commands="verbosity stats|reset")) as proxy,
        proxy.client() as client,
    ):
        told = figures_of(said(client, b"stats settings\r\n"))
        assert told["servers_failed"] == "1"
        assert told["maxbytes"] == up.stats("settings")["maxbytes"]
        assert said(client, b"verbosity 1\r\nstats reset\r\n") == [b"SERVER_ERROR Connection refused"] * 2
        up.kill()
        assert said(client, b"stats\r\n") == [b"SERVER_ERROR Connection refused"]


NOT_ALLOWED = b"CLIENT_ERROR %s is not allowed in this pool: 'allow_commands: %s' in its configuration allows it"


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (b"stats reset", b"stats|reset"),
        (b"stats detail on", b"stats|detail"),
        (b"stats detail dump", b"stats|detail"),
        (b"stats cachedump 1 0", b"stats|cachedump"),
        (b"stats  cachedump", b"stats|cachedump"),
        (b"verbosity 1", b"verbosity"),
    ],
)
def test_what_others_notice_needs_permission(memcached_client: Connection, request_: bytes, name: bytes) -> None:
    memcached_client.send(request_ + b"\r\nverbosity 1 noreply\r\nmn\r\n")
    memcached_client.expect(NOT_ALLOWED % (name, name) + b"\r\nMN\r\n")


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


def test_refused_server_fails_its_requests_in_their_place(
    configured: Configure, servers: list[MemcachedServer]
) -> None:
    with ScriptedServer(listening=False) as down, configured(pool(servers[0], down)) as proxy, proxy.client() as client:
        (there,), (gone,) = keys_of(0, 2), keys_of(1, 2)
        client.send(b"set %s 0 0 1\r\nx\r\nget %s\r\nget %s\r\n" % (there.encode(), gone.encode(), there.encode()))
        client.expect(b"STORED\r\nSERVER_ERROR Connection refused\r\nVALUE %s 0 1\r\nx\r\nEND\r\n" % there.encode())


def test_hung_server_times_out(configured: Configure, servers: list[MemcachedServer]) -> None:
    with MemcachedServer() as server, configured(pool(server, timeout=200)) as proxy, proxy.client() as client:
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
def test_server_that_ends_or_talks_nonsense_costs_its_connection_only(
    configured: Configure, reply: bytes, text: bytes
) -> None:
    with ScriptedServer() as server, configured(pool(server)) as proxy, proxy.client() as client:
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
