"""Requests that want no reply: whatever a server replies to them, every other client gets its own replies.

nutcracker 0.5.0 forwards ``noreply`` and expects no reply, so a server's error becomes the reply to the next client.
Some tests run the same requests through nutcracker, which must fail: this shows that the tests can find the fault.
"""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.memcache import (
    EN,
    END,
    ERROR,
    EXISTS,
    HD,
    MN,
    NOT_FOUND,
    NOT_STORED,
    STORED,
    meta_set,
    server_error,
    store,
    value,
)
from harness.proxy import Proxy, ServedPools, keys_of, memcached_pool
from harness.scripted_server import ScriptedServer
from harness.servers import MemcachedServer, installed
from harness.shared_proxy import Configure
from harness.stage import Stage
from harness.waiting import wait_until

LONG_KEY = "k" * 251
TOO_LARGE = b"x" * 1_048_577
OFFENCES = {
    "value-too-large": store("set", "large", TOO_LARGE, "noreply"),
    "add-too-large": store("add", "large", TOO_LARGE, "noreply"),
    "incr-on-text": b"incr text 1 noreply\r\n",
    "decr-on-text": b"decr text 1 noreply\r\n",
    "incr-by-letters": b"incr text x noreply\r\n",
    "incr-by-more-than-64-bits": b"incr text 18446744073709551616 noreply\r\n",
    "incr-of-nothing": b"incr nothing 1 noreply\r\n",
    "delete-of-nothing": b"delete nothing noreply\r\n",
    "touch-of-nothing": b"touch nothing 0 noreply\r\n",
    "touch-for-letters": b"touch text x noreply\r\n",
    "add-of-something": store("add", "text", "x", "noreply"),
    "replace-of-nothing": store("replace", "nothing", "x", "noreply"),
    "append-to-nothing": store("append", "nothing", "x", "noreply"),
    "cas-of-nothing": store("cas", "nothing", "x", 1, "noreply"),
    "cas-of-another": store("cas", "text", "x", 1, "noreply"),
    "cas-unique-letters": store("cas", "text", "x", "x", "noreply"),
    "cas-unique-over-64-bits": store("cas", "text", "x", 10**23, "noreply"),
    "flags-letters": b"set text x 0 1 noreply\r\nx\r\n",
    "flags-over-32-bits": store("set", "text", "x", "noreply", flags=1 << 32),
    "flags-over-64-bits": store("set", "text", "x", "noreply", flags=10**23),
    "exptime-letters": b"set text 0 x 1 noreply\r\nx\r\n",
    "exptime-over-64-bits": store("set", "text", "x", "noreply", exptime=10**23),
    "key-too-long": store("set", LONG_KEY, "x", "noreply"),
    "key-with-a-control-byte": store("set", "a\x01b", "x", "noreply"),
    "incr-key-too-long": f"incr {LONG_KEY} 1 noreply\r\n".encode(),
    "delete-key-too-long": f"delete {LONG_KEY} noreply\r\n".encode(),
    "data-block-too-long": b"set text 0 0 1 noreply\r\nxyz\r\n",
    "verbosity-letters": b"verbosity x noreply\r\n",
    "flush-refused": b"flush_all noreply\r\n",
    "flush-with-delay-refused": b"flush_all 10 noreply\r\n",
}
SHIFTS_NUTCRACKER = ["cas-unique-over-64-bits", "flags-over-64-bits", "exptime-over-64-bits"]
"""memcached replies to these in spite of noreply, because it executes their data blocks as commands."""


def replies(client: Connection, count: int) -> list[bytes]:
    """The next ``count`` replies, or fewer if the connection ends."""
    came: list[bytes] = []
    try:
        while len(came) < count:
            came.append(client.text_reply())
    except AssertionError as error:
        assert "the connection ended" in str(error)
    return came


@pytest.fixture(scope="module")
def server() -> Iterator[MemcachedServer]:
    with MemcachedServer() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(configured: Configure, server: MemcachedServer) -> Iterator[ServedPools]:
    with configured(memcached_pool(server)) as proxy:
        yield proxy


KEYS = [f"bystander:{number}" for number in range(20)]
EXPECTED = [value(key, key) + END for key in KEYS]


def bystander_replies(server: MemcachedServer, proxy: ServedPools, offence: bytes, forwarded: int) -> list[bytes]:
    """The replies that a client gets for KEYS while another client sends the offence on the same server connection.

    ``forwarded``: the number of bytes of the offence that the proxy sends to the server.
    """
    server.flush()
    assert server.ask(store("set", "text", "abc")) == STORED
    requests = b"".join(f"get {key}\r\n".encode() for key in KEYS)
    with proxy.client() as offender, proxy.client() as bystander:
        for key in KEYS:
            assert bystander.ask_text(store("set", key, key)) == STORED
        # The server is paused until all requests have reached it, so that no reply comes before the next request.
        with server.paused():
            offender.send(offence)
            offender.wait_consumed()
            bystander.send(requests)
            wait_until(lambda: server.unread() >= len(requests) + forwarded, "the requests have reached the server")
        return replies(bystander, len(KEYS))


@pytest.mark.parametrize("name", OFFENCES)
def test_error_of_a_real_server_reaches_nobody(server: MemcachedServer, proxy: ServedPools, name: str) -> None:
    assert bystander_replies(server, proxy, OFFENCES[name], 0) == EXPECTED
    assert server.get("text") == b"abc"


@pytest.mark.parametrize("name", OFFENCES)
def test_offender_hears_nothing_but_the_replies_of_its_other_requests(
    server: MemcachedServer, proxy: ServedPools, name: str
) -> None:
    server.flush()
    with proxy.client() as client:
        client.send(store("set", "text", "abc") + OFFENCES[name] + b"mn\r\nget text\r\n")
        client.expect(STORED + MN + value("text", "abc") + END)


@pytest.mark.parametrize("name", SHIFTS_NUTCRACKER)
def test_error_of_a_real_server_shifts_the_replies_of_nutcracker(server: MemcachedServer, name: str) -> None:
    with Proxy(memcached_pool(server), command=[installed("nutcracker")]) as original:
        came = bystander_replies(server, original, OFFENCES[name], len(OFFENCES[name]))
    assert came[:2] == [ERROR, EXPECTED[0]]


SERVER_REPLIES = {
    "out-of-memory": server_error("out of memory storing object"),
    "too-large": server_error("object too large for cache"),
    "error": ERROR,
    "bad-data-chunk": b"CLIENT_ERROR bad data chunk\r\n",
    "not-stored": NOT_STORED,
    "stored": STORED,
    "exists": EXISTS,
    "not-found": NOT_FOUND,
}


def reply_to_bystander(reply: bytes, server: ScriptedServer, proxy: ServedPools) -> bytes:
    """The reply to a client's ``get`` after the server has sent ``reply`` to another client's cas with noreply."""
    [theirs, hers] = keys_of(0, 2, 2)
    with proxy.client() as offender, proxy.client() as bystander:
        offender.send(store("cas", theirs, "x", 1, "noreply"))
        peer = server.accept()
        assert peer.text_request().startswith(f"cas {theirs} 0 0 1 1".encode())
        bystander.send(f"get {hers}\r\n".encode())
        assert peer.text_request() == f"get {hers}\r\n".encode()
        peer.send(reply + value(hers, "hers") + END)
        return bystander.text_reply()


HERS = value(keys_of(0, 2, 2)[1], "hers") + END


@pytest.mark.parametrize("name", SERVER_REPLIES)
def test_reply_of_a_server_reaches_nobody(memcached_stage: Stage, name: str) -> None:
    assert reply_to_bystander(SERVER_REPLIES[name], memcached_stage.first, memcached_stage.proxy) == HERS


@pytest.mark.parametrize("name", SERVER_REPLIES)
def test_reply_of_a_server_shifts_the_replies_of_nutcracker(name: str) -> None:
    with (
        ScriptedServer() as server,
        Proxy(memcached_pool(server), command=[installed("nutcracker")]) as original,
    ):
        assert reply_to_bystander(SERVER_REPLIES[name], server, original) == SERVER_REPLIES[name]


[K] = keys_of(0, 2)
FORWARDED = {
    "set": (store("set", K, "x", "noreply"), store("set", K, "x")),
    "cas": (store("cas", K, "x", 7, "noreply"), store("cas", K, "x", 7)),
    "append": (store("append", K, "", "noreply", flags=5, exptime=-1), store("append", K, "", flags=5, exptime=-1)),
    "incr": (f"incr {K} 5 noreply\r\n".encode(), f"incr {K} 5\r\n".encode()),
    "decr": (f"decr {K} 5 noreply\r\n".encode(), f"decr {K} 5\r\n".encode()),
    "touch": (f"touch {K} 10 noreply\r\n".encode(), f"touch {K} 10\r\n".encode()),
    "delete": (f"delete {K} noreply\r\n".encode(), f"delete {K}\r\n".encode()),
    "delete-with-time": (f"delete {K} 0 noreply\r\n".encode(), f"delete {K}\r\n".encode()),
    "mg": (f"mg {K} v q t\r\n".encode(), f"mg {K} v t\r\n".encode()),
    "mg-quiet-first": (f"mg {K} q v Oq\r\n".encode(), f"mg {K} v Oq\r\n".encode()),
    "ms": (meta_set(K, "x", "T5", "q", "F3"), meta_set(K, "x", "T5", "F3")),
    "md": (f"md {K} q\r\n".encode(), f"md {K}\r\n".encode()),
    "ma": (f"ma {K} D5 q v\r\n".encode(), f"ma {K} D5 v\r\n".encode()),
}


@pytest.mark.parametrize("name", FORWARDED)
def test_servers_are_always_asked_to_reply(memcached_stage: Stage, name: str) -> None:
    request, forwarded = FORWARDED[name]
    memcached_stage.client.send(request + f"get {K}\r\n".encode())
    peer = memcached_stage.first.accept()
    assert peer.text_request().split() == forwarded.split()
    assert peer.text_request() == f"get {K}\r\n".encode()


@pytest.mark.parametrize("name", ["set", "cas", "incr", "touch", "delete"])
def test_failing_server_is_not_mentioned(memcached_stage: Stage, name: str) -> None:
    memcached_stage.first.refuse()
    memcached_stage.client.send(FORWARDED[name][0] + b"mn\r\n")
    memcached_stage.client.expect(MN)


@pytest.mark.parametrize("name", ["set", "incr", "mg", "ms", "md", "ma"])
def test_later_replies_wait_for_what_is_not_answered(memcached_stage: Stage, name: str) -> None:
    [on_second] = keys_of(1, 2)
    client = memcached_stage.client
    client.send(FORWARDED[name][0] + f"get {on_second}\r\nmn\r\n".encode())
    behind_first = memcached_stage.first.accept()
    behind_first.text_request()
    memcached_stage.second.answer(END).wait_consumed()
    client.wait_consumed()
    assert client.collect() == b""
    behind_first.send({"set": STORED, "incr": b"2\r\n", "mg": EN}.get(name, HD))
    client.expect(END + MN)


def test_writes_before_a_barrier_are_done(
    memcached_client: Connection, memcached_servers: list[MemcachedServer]
) -> None:
    names = [key for index in range(3) for key in keys_of(index, 3, 200)]
    memcached_client.send(b"".join(store("set", name, name, "noreply") for name in names) + b"mn\r\n")
    memcached_client.expect(MN)
    assert [server.present(names) for server in memcached_servers] == [names[:200], names[200:400], names[400:]]


def test_writes_before_quit_are_done(memcached_client: Connection, memcached_servers: list[MemcachedServer]) -> None:
    names = [key for index in range(3) for key in keys_of(index, 3, 200)]
    memcached_client.send(b"".join(store("set", name, name, "noreply") for name in names) + b"quit\r\n")
    memcached_client.expect_closed()
    assert [server.present(names) for server in memcached_servers] == [names[:200], names[200:400], names[400:]]


def test_writes_of_a_client_that_has_said_all_are_done(
    memcached_client: Connection, memcached_servers: list[MemcachedServer]
) -> None:
    names = [key for index in range(3) for key in keys_of(index, 3, 200)]
    memcached_client.send(b"".join(store("set", name, name, "noreply") for name in names))
    memcached_client.half_close()
    memcached_client.expect_closed()
    assert [server.present(names) for server in memcached_servers] == [names[:200], names[200:400], names[400:]]


def test_replies_and_silence_interleave(memcached_client: Connection) -> None:
    requests, expected = [], []
    for number in range(500):
        requests += [
            store("set", f"k{number}", "1", "noreply"),
            f"incr k{number} {number} noreply\r\n".encode(),
            f"get k{number}\r\n".encode(),
            f"delete k{number} noreply\r\n".encode(),
            f"get k{number} k{number - 1}\r\n".encode(),
        ]
        expected += [value(f"k{number}", str(number + 1)) + END, END]
    memcached_client.send(b"".join(requests))
    memcached_client.expect(b"".join(expected))
