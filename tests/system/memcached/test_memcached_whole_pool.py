"""Commands for every server of a memcached pool: the requests to the servers, and how their replies are merged."""

from collections.abc import Iterator

import pytest

from harness.memcache import END, ERROR, MN, OK, client_error, server_error, store
from harness.proxy import ServedPools, keys_of, memcached_pool
from harness.servers import MemcachedServer
from harness.shared_proxy import Configure
from harness.stage import Stage, as_new, scripted_pool

MARK = b"mn\r\n"
REFUSED = server_error("Connection refused")
NOT_ALLOWED = client_error(
    "flush_all is not allowed in this pool: 'allow_commands: flush_all' in its configuration allows it"
)


@pytest.fixture(scope="module")
def shared_permitting_stage(configured: Configure) -> Iterator[Stage]:
    with scripted_pool(
        configured, allow_commands="flush_all verbosity stats|cachedump stats|detail stats|reset"
    ) as stage:
        yield stage


@pytest.fixture
def stage(shared_permitting_stage: Stage) -> Iterator[Stage]:
    """A stage whose pool allows flush_all and other commands that need permission."""
    with as_new(shared_permitting_stage) as stage:
        yield stage


EVERYWHERE = {
    "flush": (b"flush_all\r\n", b"flush_all\r\n"),
    "flush-now": (b"  flush_all   0\n", b"flush_all 0\r\n"),
    "flush-later": (b"flush_all 10\r\n", b"flush_all 10\r\n"),
    "flush-long-ago": (b"flush_all -1\r\n", b"flush_all -1\r\n"),
    "flush-with-surplus": (b"flush_all 0 surplus\r\n", b"flush_all 0\r\n"),
    "verbosity": (b"verbosity 2\r\n", b"verbosity 2\r\n"),
    "verbosity-with-surplus": (b"verbosity 2 3\r\n", b"verbosity 2\r\n"),
}
IN_SILENCE = {
    "flush": (b"flush_all noreply\r\n", b"flush_all\r\n"),
    "flush-later": (b"flush_all 10 noreply\r\n", b"flush_all 10\r\n"),
    "verbosity": (b"verbosity 2 noreply\r\n", b"verbosity 2\r\n"),
}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_server_is_asked_and_one_ok_is_the_reply(stage: Stage, name: str) -> None:
    request, forwarded = EVERYWHERE[name]
    stage.client.send(request + MARK)
    peers = [stage.first.accept(), stage.second.accept()]
    assert [peer.text_request().split() for peer in peers] == [forwarded.split()] * 2
    peers[1].send(OK)
    peers[1].wait_consumed()
    assert stage.client.collect() == b""
    peers[0].send(OK)
    stage.client.expect(OK + MN)


@pytest.mark.parametrize("name", IN_SILENCE)
def test_every_server_is_asked_in_silence(stage: Stage, name: str) -> None:
    request, forwarded = IN_SILENCE[name]
    stage.client.send(request + MARK)
    for peer, reply in (stage.first.accept(), OK), (stage.second.accept(), server_error("busy")):
        assert peer.text_request().split() == forwarded.split()
        assert stage.client.collect() == b""
        peer.send(reply)
    stage.client.expect(MN)


@pytest.mark.parametrize("request_bytes", [b"flush_all\r\n", b"verbosity 2\r\n"])
def test_error_of_the_lowest_server_wins(stage: Stage, request_bytes: bytes) -> None:
    stage.client.send(request_bytes + MARK)
    behind_first, behind_second = stage.first.accept(), stage.second.accept()
    assert behind_first.text_request() == behind_second.text_request() == request_bytes
    behind_second.send(server_error("second"))
    behind_second.wait_consumed()
    behind_first.send(ERROR)
    stage.client.expect(ERROR + MN)


@pytest.mark.parametrize("request_bytes", [b"flush_all\r\n", b"verbosity 2\r\n"])
def test_one_server_that_fails_is_the_reply(stage: Stage, request_bytes: bytes) -> None:
    stage.second.refuse()
    stage.client.send(request_bytes + MARK)
    stage.first.answer(OK)
    stage.client.expect(REFUSED + MN)


def test_flush_is_refused_unless_the_pool_allows_it(
    memcached_proxy: ServedPools, memcached_servers: list[MemcachedServer]
) -> None:
    [key] = keys_of(2, 3)
    with memcached_proxy.client() as client:
        client.send(store("set", key, "kept") + b"flush_all\r\nflush_all 0\r\n")
        client.send(b"flush_all noreply\r\nflush_all 10 noreply\r\n" + MARK)
        client.expect(b"STORED\r\n" + NOT_ALLOWED * 2 + MN)
        assert memcached_servers[2].get(key) == b"kept"


def test_flush_forgets_what_every_real_server_has(
    configured: Configure, memcached_servers: list[MemcachedServer]
) -> None:
    names = [key for index in range(3) for key in keys_of(index, 3, 5)]
    with configured(
        memcached_pool(
            *memcached_servers, allow_commands="flush_all verbosity stats|cachedump stats|detail stats|reset"
        )
    ) as proxy:
        client = proxy.client()
        client.send(b"".join(store("set", name, name) for name in names) + b"flush_all\r\n" + MARK)
        client.expect(b"STORED\r\n" * 15 + OK + MN)
        assert [server.present(names) for server in memcached_servers] == [[], [], []]


def test_statistics_of_servers_have_their_names_in_front(stage: Stage) -> None:
    stage.client.send(b"stats anything at all\r\n" + MARK)
    behind_first, behind_second = stage.first.accept(), stage.second.accept()
    assert behind_first.text_request() == behind_second.text_request() == b"stats anything at all\r\n"
    behind_second.send(b"STAT b 2\r\nITEM key [4 b; 0 s]\r\nPREFIX p get 1\r\nEND\r\n")
    behind_first.send(b"STAT a:c 1 and more  words\r\nSTAT empty \r\nEND\r\n")
    stage.client.expect(
        b"STAT s00:a:c 1 and more  words\r\nSTAT s00:empty \r\n"
        b"STAT s01:b 2\r\nITEM s01:key [4 b; 0 s]\r\nPREFIX s01:p get 1\r\nEND\r\n" + MN
    )


def test_server_that_fails_is_an_error_among_the_statistics(stage: Stage) -> None:
    stage.first.refuse()
    stage.client.send(b"stats conns\r\n" + MARK)
    stage.second.answer(b"STAT a 1\r\nEND\r\n")
    stage.client.expect(b"STAT s00:error Connection refused\r\nSTAT s01:a 1\r\nEND\r\n" + MN)


def test_server_that_closes_is_an_error_among_the_statistics(stage: Stage) -> None:
    stage.client.send(b"stats conns\r\n" + MARK)
    stage.first.answer(b"STAT a 1\r\n").close()
    stage.second.answer(b"STAT b 2\r\nEND\r\n")
    stage.client.expect(b"STAT s00:error unknown\r\nSTAT s01:b 2\r\nEND\r\n" + MN)


def test_server_that_times_out_is_an_error_among_the_statistics(
    configured: Configure, memcached_servers: list[MemcachedServer]
) -> None:
    with MemcachedServer() as paused, configured(memcached_pool(paused, memcached_servers[1], timeout=300)) as proxy:
        client = proxy.client()
        assert client.ask_text(b"stats conns\r\n").endswith(END)
        paused.pause()
        lines = client.ask_text(b"stats conns\r\n").split(b"\r\n")
        assert [line for line in lines if line.startswith(b"STAT s00:")] == [b"STAT s00:error Connection timed out"]
        assert any(line.startswith(b"STAT s01:") for line in lines)
        paused.resume()


def test_nothing_but_failures_are_statistics_too(stage: Stage) -> None:
    stage.first.refuse()
    stage.second.refuse()
    stage.client.send(b"stats conns\r\n" + MARK)
    stage.client.expect(b"STAT s00:error Connection refused\r\nSTAT s01:error Connection refused\r\nEND\r\n" + MN)


@pytest.mark.parametrize("reply", [b"RESET\r\n", OK, ERROR, client_error("usage: stats detail on|off|dump")])
def test_line_that_every_server_says_instead_of_statistics_is_the_reply(stage: Stage, reply: bytes) -> None:
    stage.client.send(b"stats reset\r\n" + MARK)
    stage.first.answer(reply)
    stage.second.answer(reply)
    stage.client.expect(reply + MN)


def test_reset_that_one_server_refuses_is_an_error(stage: Stage) -> None:
    stage.second.refuse()
    stage.client.send(b"stats reset\r\n" + MARK)
    stage.first.answer(b"RESET\r\n")
    stage.client.expect(REFUSED + MN)


def test_statistics_of_the_proxy_ask_no_server(memcached_stage: Stage) -> None:
    memcached_stage.client.send(b"stats proxy\r\nstats servers\r\n" + MARK)
    figures, servers = memcached_stage.client.text_reply(), memcached_stage.client.text_reply()
    memcached_stage.client.expect(MN)
    assert b"STAT servers 2\r\n" in figures and figures.endswith(END)
    assert b"STAT s00:state live\r\n" in servers and b"STAT s01:state live\r\n" in servers
    assert not memcached_stage.first.has_connection() and not memcached_stage.second.has_connection()


def test_statistics_of_the_proxy_count(memcached_stage: Stage) -> None:
    def figure(name: str) -> int:
        lines = memcached_stage.client.ask_text(b"stats proxy\r\n").decode().splitlines()
        return int(dict(line.split(" ", 2)[1:] for line in lines[:-1])[name])

    [key] = keys_of(0, 2)
    requests, answered = figure("requests"), figure("responses")
    memcached_stage.client.send(f"get {key}\r\nget {key}\r\n".encode())
    peer = memcached_stage.first.accept()
    assert peer.text_request() == peer.text_request() == f"get {key}\r\n".encode()
    peer.send(END * 2)
    memcached_stage.client.expect(END * 2)
    assert (figure("requests"), figure("responses")) == (requests + 2, answered + 2)
    assert figure("server_connections") == 1


def test_ejected_server_is_shown_as_ejected(configured: Configure, memcached_servers: list[MemcachedServer]) -> None:
    ejecting: dict[str, object] = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 60_000}
    with MemcachedServer() as killed, configured(memcached_pool(killed, memcached_servers[1], **ejecting)) as proxy:
        client = proxy.client()
        killed.kill()
        assert client.ask_text(f"get {keys_of(0, 2)[0]}\r\n".encode()) == REFUSED
        state = client.ask_text(b"stats servers\r\n")
        assert b"STAT s00:state ejected\r\n" in state and b"STAT s01:state live\r\n" in state


@pytest.mark.parametrize("request_bytes", [b"version\r\n", b"version surplus\r\n", b"  version  noreply \n"])
def test_version_comes_from_the_server_of_the_key_placeholder(stage: Stage, request_bytes: bytes) -> None:
    stage.client.send(request_bytes + MARK)
    stage.first.answer(b"VERSION 1.5.6-of-my-own\r\n")
    stage.client.expect(b"VERSION 1.5.6-of-my-own\r\n" + MN)
    assert not stage.second.has_connection()


def test_quit_answers_what_came_before_and_nothing_after(stage: Stage) -> None:
    [key] = keys_of(0, 2)
    stage.client.send(f"get {key}\r\nquit surplus\r\nget {key}\r\nflush_all\r\n".encode())
    peer = stage.first.accept()
    assert peer.text_request() == f"get {key}\r\n".encode()
    stage.client.wait_consumed()
    peer.send(END)
    stage.client.expect(END)
    stage.client.expect_closed()
    assert peer.collect() == b""
    assert not stage.second.has_connection()
