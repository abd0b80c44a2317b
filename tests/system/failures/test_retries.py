"""Requests that are sent once more on another connection, and requests that never are."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.connection import Connection
from harness.memcache import END, STORED, meta_set, server_error, store, value
from harness.proxy import keys_of, memcached_pool, redis_pool
from harness.resp import OK, array, bulk, command, error
from harness.scripted_server import ScriptedMemcached, ScriptedServer, take_most
from harness.shared_proxy import Configure

ENDED = error("ERR unknown")
"""The error of a request whose server closed the connection, as in nutcracker."""
RESET = error("ERR Connection reset by peer")
REFUSED = error("ERR Connection refused")
MEBIBYTE = 1024 * 1024


def greeted(server: ScriptedServer) -> Connection:
    """The next connection to a server of a pool with ``redis_db: 3``, after its handshake."""
    peer = server.accept()
    assert peer.request() == [b"SELECT", b"3"]
    peer.send(OK)
    return peer


def test_what_reached_no_server_is_sent_on_a_fresh_connection(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, redis_db=3)) as proxy:
        first, second = proxy.client(), proxy.client()
        first.send(command("SET", "a", "1") + command("GET", "a"))
        second.send(command("INCR", "b"))
        peer = server.accept()
        assert peer.request() == [b"SELECT", b"3"]
        proxy.wait_stats(lambda pool: pool["s00"]["in_queue"] == 3, "all requests wait")
        peer.reset()
        peer = greeted(server)
        requests = [peer.request() for _ in range(3)]
        assert sorted(requests) == [[b"GET", b"a"], [b"INCR", b"b"], [b"SET", b"a", b"1"]]
        assert requests.index([b"SET", b"a", b"1"]) < requests.index([b"GET", b"a"])
        peer.send(b"".join({b"SET": OK, b"GET": bulk("1"), b"INCR": b":1\r\n"}[request[0]] for request in requests))
        first.expect(OK + bulk("1"))
        second.expect(b":1\r\n")
        assert "0 requests failed, 3 are sent again" in proxy.log()
        pool = proxy.pool_stats()
        assert (pool["forward_error"], pool["s00"]["requests"], pool["s00"]["requests_resent"]) == (0, 3, 3)


def test_memcached_requests_that_reached_no_server_too(configured: Configure) -> None:
    with ScriptedMemcached() as server, configured(memcached_pool(server)) as proxy:
        client = proxy.client()
        client.send(store("set", "a", "1") + meta_set("b", "2"))
        peer = server.accept_ungreeted()
        peer.expect(b"version\r\n")
        peer.close()
        peer = server.accept()
        assert [peer.text_request(), peer.text_request()] == [store("set", "a", "1"), meta_set("b", "2")]
        peer.send(STORED + b"HD\r\n")
        client.expect(STORED + b"HD\r\n")


@pytest.mark.parametrize(
    ("directives", "request_words", "seen"),
    [
        ({"redis_db": 3}, ("SET", "a", "1"), [b"SELECT", b"3"]),
        ({"retry_reads": True}, ("GET", "a"), [b"GET", b"a"]),
    ],
    ids=["what reached no server", "a read"],
)
def test_nothing_is_sent_a_third_time(
    configured: Configure, directives: dict[str, object], request_words: tuple[str, ...], seen: list[bytes]
) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, **directives)) as proxy:
        client = proxy.client()
        client.send(command(*request_words))
        for _ in range(2):
            peer = server.accept()
            assert peer.request() == seen
            peer.close()
        client.expect(ENDED)
        assert not server.has_connection()


def test_a_refused_connection_is_tried_twice(configured: Configure) -> None:
    with ScriptedServer(listening=False) as server, configured(redis_pool(server)) as proxy:
        assert proxy.client().ask("SET", "a", "1") == REFUSED
        assert proxy.server_stats()["server_err"] == 2


def test_what_was_written_in_part_is_not_sent_again(configured: Configure) -> None:
    big = "x" * (32 * MEBIBYTE)
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        first, second = proxy.client(), proxy.client()
        first.send(command("SET", "big", big))
        peer = server.accept()
        take_most(peer, proxy)
        second.send(command("SET", "small", "1"))
        proxy.wait_stats(lambda pool: pool["s00"]["in_queue"] == 2, "both requests wait")
        peer.reset()
        first.expect(RESET)
        peer = server.accept()
        assert peer.request() == [b"SET", b"small", b"1"]
        peer.send(OK)
        second.expect(OK)


def test_reads_that_were_written_fail_without_permission(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        peer.close()
        client.expect(ENDED)
        assert not server.has_connection()


def test_reads_are_repeated_with_permission_and_writes_are_not(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, retry_reads=True)) as proxy:
        reader, writer = proxy.client(), proxy.client()
        reader.send(command("GET", "a") + command("STRLEN", "b"))
        peer = server.accept()
        assert [peer.request(), peer.request()] == [[b"GET", b"a"], [b"STRLEN", b"b"]]
        writer.send(command("INCR", "a"))
        assert peer.request() == [b"INCR", b"a"]
        peer.send(b"$5\r\nha")
        peer.reset()
        peer = server.accept()
        assert [peer.request(), peer.request()] == [[b"GET", b"a"], [b"STRLEN", b"b"]]
        peer.send(bulk("a") + b":1\r\n")
        reader.expect(bulk("a") + b":1\r\n")
        writer.expect(RESET)
        assert "1 requests failed, 2 are sent again" in proxy.log()
        assert proxy.server_stats()["requests_resent"] == 2


def test_a_read_does_not_see_what_its_client_wrote_behind_it(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, retry_reads=True)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a") + command("SET", "a", "2") + command("GET", "a"))
        peer = server.accept()
        assert [len(peer.request()) for _ in range(3)] == [2, 3, 2]
        peer.close()
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        peer.send(bulk("2"))
        client.expect(ENDED * 2 + bulk("2"))


def test_reads_are_repeated_in_front_of_what_was_not_sent_yet(configured: Configure) -> None:
    big = "x" * (32 * MEBIBYTE)
    with ScriptedServer() as server, configured(redis_pool(server, retry_reads=True)) as proxy:
        reader, writer = proxy.client(), proxy.client()
        reader.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"GET", b"a"]
        writer.send(command("SET", "big", big))
        take_most(peer, proxy)
        reader.send(command("SET", "a", "2"))
        proxy.wait_stats(lambda pool: pool["s00"]["in_queue"] == 2, "the second write waits")
        peer.reset()
        writer.expect(RESET)
        peer = server.accept()
        assert [peer.request(), peer.request()] == [[b"GET", b"a"], [b"SET", b"a", b"2"]]
        peer.send(bulk("1") + OK)
        reader.expect(bulk("1") + OK)


def test_parts_of_a_split_read_are_repeated(configured: Configure) -> None:
    with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        configured(redis_pool(first, second, retry_reads=True)) as proxy,
    ):
        [a], [b] = keys_of(0, 2), keys_of(1, 2)
        client = proxy.client()
        client.send(command("MGET", a, b))
        first.answer(array(bulk("a")))
        peer = second.accept()
        assert peer.request() == [b"mget", b.encode()]
        peer.reset()
        peer = second.accept()
        assert peer.request() == [b"mget", b.encode()]
        peer.send(array(bulk("b")))
        client.expect(array(bulk("a"), bulk("b")))


@contextmanager
def lost_with(configured: Configure, request: bytes) -> Iterator[tuple[ScriptedMemcached, Connection]]:
    """A server that closed the connection after it had read this request, and the client that waits for the reply."""
    with ScriptedMemcached() as server, configured(memcached_pool(server, retry_reads=True)) as proxy:
        client = proxy.client()
        client.send(request)
        peer = server.accept()
        assert peer.text_request() == request
        peer.close()
        yield server, client


@pytest.mark.parametrize(
    ("request_line", "reply"),
    [("get a", value("a", "1") + END), ("gets a", value("a", "1", 0, 7) + END)],
)
def test_memcached_reads_are_repeated(configured: Configure, request_line: str, reply: bytes) -> None:
    request = request_line.encode() + b"\r\n"
    with lost_with(configured, request) as (server, client):
        peer = server.accept()
        assert peer.text_request() == request
        peer.send(reply)
        client.expect(reply)


@pytest.mark.parametrize("request_line", ["gat 60 a", "mg a v t", "mg a v T60", "touch a 60", "incr a 1", "md a"])
def test_memcached_requests_that_change_something_are_not(configured: Configure, request_line: str) -> None:
    with lost_with(configured, request_line.encode() + b"\r\n") as (server, client):
        client.expect(server_error("unknown"))
        assert not server.has_connection()
