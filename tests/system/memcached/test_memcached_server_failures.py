"""Failing servers as seen by clients of a memcached pool: refused, lost and silent connections, and wrong replies."""

from pathlib import Path

import pytest

from harness.memcache import (
    DELETED,
    EN,
    END,
    ERROR,
    EXISTS,
    HD,
    MN,
    NF,
    NOT_FOUND,
    NOT_STORED,
    NS,
    OK,
    STORED,
    TOUCHED,
    client_error,
    meta_set,
    meta_value,
    server_error,
    store,
    value,
)
from harness.proxy import keys_of, memcached_pool
from harness.scripted_server import ScriptedMemcached
from harness.servers import MemcachedServer
from harness.shared_proxy import Configure
from harness.stage import Stage

[K, L] = keys_of(0, 2, 2)
INVALID = server_error("Invalid argument")
MARK = b"mn\r\n"

# A request of each kind, replies that it may get, and replies that only other kinds may get.
KINDS = {
    "get": (f"get {K}\r\n".encode(), [value(K, "x") + END, value(K, "") + END, END], [STORED, HD, b"1\r\n", OK, MN]),
    "gets": (f"gets {K}\r\n".encode(), [value(K, "x", 7, 5) + END, END], [NOT_FOUND, EN, meta_value("x")]),
    "gat": (f"gat 0 {K}\r\n".encode(), [value(K, "x") + END, END], [TOUCHED, b"RESET\r\n"]),
    "set": (store("set", K, "x"), [STORED, NOT_STORED], [END, HD, OK, DELETED, b"5\r\n", value(K, "x") + END]),
    "cas": (store("cas", K, "x", 1), [STORED, EXISTS, NOT_FOUND], [NS, TOUCHED, b"VERSION 1.6.18\r\n"]),
    "incr": (f"incr {K} 1\r\n".encode(), [b"0\r\n", b"18446744073709551615\r\n", NOT_FOUND], [STORED, b"-1\r\n", END]),
    "delete": (f"delete {K}\r\n".encode(), [DELETED, NOT_FOUND], [STORED, NF, OK]),
    "touch": (f"touch {K} 0\r\n".encode(), [TOUCHED, NOT_FOUND], [DELETED, HD]),
    "mg": (f"mg {K} v\r\n".encode(), [HD, b"HD s1 t-1\r\n", EN, meta_value("x", "f0")], [END, STORED, NS, MN]),
    "ms": (meta_set(K, "x"), [HD, NS, b"EX\r\n", b"NF kx\r\n"], [STORED, EN, meta_value("x")]),
    "md": (f"md {K}\r\n".encode(), [HD, NF, b"EX\r\n"], [DELETED, NS, EN]),
    "ma": (f"ma {K} v\r\n".encode(), [HD, meta_value("7"), NF, NS, b"EX\r\n"], [EN, b"7\r\n", END]),
    "me": (f"me {K}\r\n".encode(), [EN, f"ME {K} exp=-1 la=0\r\n".encode()], [HD, END]),
    "version": (b"version\r\n", [b"VERSION 1.6.18\r\n", b"VERSION \r\n"], [OK, END, HD]),
}
ERRORS = [
    ERROR,
    client_error("cannot increment or decrement non-numeric value"),
    server_error("out of memory storing object"),
    server_error(""),
]
GARBAGE = {
    "letters": b"hello\r\n",
    "lower-case": b"end\r\n",
    "empty-line": b"\r\n",
    "line-feed-alone": b"END\n",
    "word-runs-on": b"ENDING\r\n",
    "blank-first": b" END\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "redis": b"-ERR unknown command\r\n",
    "zero-bytes": b"\x00\x00\x00\x00\r\n",
    "binary-protocol": b"\x81\x00\x00\x00\x00\x00\x00\x81" + b"\0" * 16 + b"\r\n",
    "endless-line": b"x" * 100_000,
}


@pytest.mark.parametrize("name", KINDS)
def test_every_reply_of_its_kind_passes_as_it_came(memcached_stage: Stage, name: str) -> None:
    request, replies, _ = KINDS[name]
    replies = replies + ERRORS
    memcached_stage.client.send(request * len(replies) + MARK)
    peer = memcached_stage.first.accept()
    assert [peer.text_request() for _ in replies] == [request] * len(replies)
    peer.send(b"".join(replies))
    memcached_stage.client.expect(b"".join(replies) + MN)


@pytest.mark.parametrize(
    ("request_bytes", "wrong"), [(request, wrong) for request, _, others in KINDS.values() for wrong in others]
)
def test_reply_of_another_kind_costs_the_connection_only(
    memcached_stage: Stage, request_bytes: bytes, wrong: bytes
) -> None:
    memcached_stage.client.send(request_bytes + f"get {L}\r\n".encode() + MARK)
    peer = memcached_stage.first.answer(wrong)
    memcached_stage.client.expect(INVALID * 2 + MN)
    peer.read_to_end()
    memcached_stage.client.send(f"get {L}\r\n".encode())
    memcached_stage.first.answer(value(L, "back") + END)
    memcached_stage.client.expect(value(L, "back") + END)


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_costs_the_connection_only(memcached_stage: Stage, name: str) -> None:
    memcached_stage.client.send(f"get {K}\r\n".encode() + store("set", L, "x") + MARK)
    peer = memcached_stage.first.accept()
    peer.text_request()
    peer.send(GARBAGE[name])
    memcached_stage.client.expect(INVALID * 2 + MN)
    peer.read_to_end()
    memcached_stage.client.send(f"get {L}\r\n".encode())
    memcached_stage.first.answer(END)
    memcached_stage.client.expect(END)


@pytest.mark.parametrize("name", KINDS)
def test_refused(memcached_stage: Stage, name: str) -> None:
    memcached_stage.first.refuse()
    memcached_stage.client.send(KINDS[name][0] * 2 + MARK)
    memcached_stage.client.expect(server_error("Connection refused") * 2 + MN)


def test_reconnects_for_the_next_request(memcached_stage: Stage) -> None:
    memcached_stage.first.refuse()
    assert memcached_stage.client.ask_text(f"get {K}\r\n".encode()) == server_error("Connection refused")
    memcached_stage.first.listen()
    memcached_stage.client.send(f"get {K}\r\n".encode())
    memcached_stage.first.answer(END)
    memcached_stage.client.expect(END)


@pytest.mark.parametrize("part", [b"", b"VALU", f"VALUE {K} 0 10\r\nhalf".encode(), value(K, "x"), b"VALUE"])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_closed_with_requests_outstanding(memcached_stage: Stage, part: bytes, ending: str) -> None:
    memcached_stage.client.send(f"get {K}\r\nget {L}\r\n".encode() + store("set", K, "x", "noreply") + MARK)
    peer = memcached_stage.first.accept()
    assert peer.text_request() == f"get {K}\r\n".encode()
    assert peer.text_request() == f"get {L}\r\n".encode()
    assert peer.text_request() == store("set", K, "x")
    peer.send_pieces(part)
    if ending == "close":
        peer.close()
    else:
        peer.reset()
    reason = server_error("unknown" if ending == "close" else "Connection reset by peer")
    memcached_stage.client.expect(reason * 2 + MN)


def test_replies_that_came_before_the_end_are_delivered(memcached_stage: Stage) -> None:
    memcached_stage.client.send(f"get {K}\r\nget {L}\r\n".encode())
    peer = memcached_stage.first.accept()
    assert peer.text_request() == f"get {K}\r\n".encode()
    assert peer.text_request() == f"get {L}\r\n".encode()
    peer.send(value(K, "x") + END)
    peer.close()
    memcached_stage.client.expect(value(K, "x") + END + server_error("unknown"))


def test_stray_reply_costs_the_connection_only(memcached_stage: Stage) -> None:
    memcached_stage.client.send(f"get {K}\r\n".encode())
    peer = memcached_stage.first.answer(END + b"nobody asked\r\n")
    memcached_stage.client.expect(END)
    peer.expect_closed()
    memcached_stage.client.send(f"get {K}\r\n".encode())
    memcached_stage.first.answer(END)
    memcached_stage.client.expect(END)


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"ERROR\r\n", "version failed: ERROR"),
        (b"SERVER_ERROR too many open connections\r\n", "version failed: SERVER_ERROR too many open connections"),
        (b"hello\r\n", "Invalid argument"),
        (END, "Invalid argument"),
    ],
)
def test_server_that_does_not_greet_well_gets_no_request(memcached_stage: Stage, greeting: bytes, reason: str) -> None:
    memcached_stage.client.send(store("set", K, "x") + f"get {L}\r\n".encode() + MARK)
    peer = memcached_stage.first.accept_ungreeted()
    peer.expect(b"version\r\n")
    peer.send(greeting)
    peer.expect_closed()
    replies = [memcached_stage.client.text_reply() for _ in range(3)]
    assert replies[0] == replies[1] and replies[2] == MN
    assert replies[0].decode().startswith(f"SERVER_ERROR {reason}")


def test_nothing_is_sent_before_the_greeting_is_over(memcached_stage: Stage) -> None:
    memcached_stage.client.send(store("set", K, "flush_all"))
    peer = memcached_stage.first.accept_ungreeted()
    peer.expect(b"version\r\n")
    memcached_stage.client.wait_consumed()
    assert peer.collect() == b""
    peer.send(b"VERSION 1.6.18\r\n")
    peer.expect(store("set", K, "flush_all"))


def test_paused_server_times_out_and_serves_again(
    configured: Configure, memcached_servers: list[MemcachedServer]
) -> None:
    with MemcachedServer() as paused, configured(memcached_pool(paused, memcached_servers[1], timeout=300)) as proxy:
        [there] = keys_of(1, 2)
        client = proxy.client()
        assert client.ask_text(store("set", K, "x")) == STORED
        paused.pause()
        client.send(
            f"get {K}\r\n".encode() + store("set", K, "y", "noreply") + f"mg {K} v q\r\nget {there}\r\n".encode()
        )
        client.expect(server_error("Connection timed out") * 2 + END)
        paused.resume()
        assert client.ask_text(f"mg {L} v\r\n".encode()) == EN


def test_silent_server_times_out_in_its_greeting(configured: Configure) -> None:
    with ScriptedMemcached() as server, configured(memcached_pool(server, timeout=200)) as proxy:
        client = proxy.client()
        client.send(b"get a\r\n" + MARK)
        with server.accept_ungreeted() as peer:
            client.expect(server_error("Connection timed out") + MN)
            peer.expect(b"version\r\n")
            peer.expect_closed()


def test_failing_server_is_ejected_and_its_keys_go_elsewhere(
    configured: Configure, memcached_servers: list[MemcachedServer]
) -> None:
    ejecting: dict[str, object] = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 60_000}
    with (
        ScriptedMemcached(listening=False) as dead,
        configured(memcached_pool(dead, memcached_servers[1], **ejecting)) as proxy,
    ):
        client = proxy.client()
        assert client.ask_text(store("set", K, "lost")) == server_error("Connection refused")
        assert client.ask_text(store("set", K, "kept")) == STORED
        assert memcached_servers[1].get(K) == b"kept"
        client.send(f"get {K} {L} {keys_of(1, 2)[0]}\r\n".encode() + MARK)
        client.expect(value(K, "kept") + END + MN)


def test_every_error_line_of_a_server_counts_as_an_answer_and_ejects_nobody(memcached_stage: Stage) -> None:
    memcached_stage.client.send(f"get {K}\r\n".encode() * len(ERRORS))
    peer = memcached_stage.first.accept()
    for error in ERRORS:
        assert peer.text_request() == f"get {K}\r\n".encode()
        peer.send(error)
    memcached_stage.client.expect(b"".join(ERRORS))
    assert memcached_stage.proxy.server_stats()["server_connections"] == 1


def test_replies_byte_by_byte(configured: Configure, tmp_path: Path) -> None:
    paths = [tmp_path / "a.sock", tmp_path / "b.sock"]
    requests = [request for request, _, _ in KINDS.values() if not request.startswith(b"version")]
    replies = [good[0] for request, good, _ in KINDS.values() if not request.startswith(b"version")]
    split = b"get " + b" ".join(b"k%d" % number for number in range(16)) + b"\r\n"
    with (
        ScriptedMemcached(paths[0]) as first,
        ScriptedMemcached(paths[1]) as second,
        configured(memcached_pool(first, second)) as proxy,
    ):
        client = proxy.client()
        client.send(b"".join(requests) + split)
        peers = [first.accept(), second.accept()]
        assert [peers[0].text_request() for _ in requests] == requests
        parts = [peer.text_request().split()[1:] for peer in peers]
        streams = [b"".join(value(key.decode(), key + b"\r\nEND\r\n") for key in keys) + END for keys in parts]
        streams[0] = b"".join(replies) + streams[0]
        for peer, stream in zip(peers, streams, strict=True):
            peer.send_pieces(*(stream[i : i + 1] for i in range(len(stream))))
        merged = b"".join(value(f"k{number}", f"k{number}\r\nEND\r\n") for number in range(16)) + END
        client.expect(b"".join(replies) + merged)
