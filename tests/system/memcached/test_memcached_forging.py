"""Requests that make a memcached send bytes that look like the reply to another client."""

import base64
from collections.abc import Iterator

import pytest

from harness.memcache import END, MN, STORED, store, value
from harness.proxy import ServedPools, memcached_pool
from harness.servers import MemcachedServer
from harness.shared_proxy import Configure
from harness.waiting import wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[MemcachedServer]:
    # Without the LRU maintainer thread, ``stats cachedump`` finds new items.
    with MemcachedServer("-o", "no_lru_maintainer") as server:
        yield server


@pytest.fixture(scope="module")
def single(configured: Configure, server: MemcachedServer) -> Iterator[ServedPools]:
    with configured(memcached_pool(server, allow_commands="stats|cachedump stats|detail")) as proxy:
        yield proxy


FORGED = "x\r\nEND\r\nVALUE victim 0 4\r\nevil\r\nEND\r\n"
FORGING = base64.b64encode(FORGED.encode()).decode()
FORGERIES = {
    "me": (f"ma {FORGING} b N0\r\n", f"me {FORGING} b\r\n"),
    "mg-k": (f"mg {FORGING} b N0\r\n", f"mg {FORGING} b k\r\n"),
    "mg-k-v": (f"ma {FORGING} b N0\r\n", f"mg {FORGING} b k v\r\n"),
    "ma-k": (f"mg {FORGING} b N0\r\n", f"ma {FORGING} b k q\r\n"),
    "md-k": (f"ma {FORGING} b N0\r\n", f"md {FORGING} b k\r\n"),
    "cachedump-of-a-made-item": (f"ma {FORGING} b N0\r\n", "stats cachedump 2 0\r\n"),
    "cachedump-of-a-stored-item": (f"ms {FORGING} 1 b\r\nx\r\n", "stats cachedump 2 0\r\n"),
    "me-of-a-stored-item": (f"ms {FORGING} 1 b\r\nx\r\n", f"me {FORGING} b\r\n"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_key_with_line_ends_forges_no_reply_to_another_client(
    server: MemcachedServer, single: ServedPools, name: str
) -> None:
    """memcached shows the key of an item that ``N`` has created unencoded, with its line ends, instead of in base64."""
    preparation, forgery = FORGERIES[name]
    server.flush()
    with single.client() as forger, single.client() as victim:
        assert victim.ask_text(store("set", "victim", "good")) == STORED
        forger.send(preparation.encode() + b"mn\r\n")
        forger.read_until(MN)
        # The server is paused, so that the victim's requests are in flight when the forgery is answered.
        with server.paused():
            forger.send(forgery.encode())
            forger.wait_consumed()
            victim.send(b"get victim\r\n" * 2)
            wait_until(lambda: server.unread() >= len(b"get victim\r\n" * 2), "the requests have reached the server")
        assert [victim.text_reply(), victim.text_reply()] == [value("victim", "good") + END] * 2


STATISTICS = [
    *("settings", "items", "slabs", "sizes", "conns", "extstore", "reset", "nosuch", "noreply", "items noreply"),
    *("detail", "detail on", "detail off", "detail dump", "cachedump", "cachedump 1 1", "cachedump 300 1"),
    *("sizes_enable", "sizes_disable"),
]


@pytest.mark.parametrize("argument", STATISTICS)
def test_statistics_leave_the_replies_of_another_client_alone(
    server: MemcachedServer, single: ServedPools, argument: str
) -> None:
    """memcached answers some of these without an END, so the END of another client's reply could be taken for it."""
    server.flush()
    with single.client() as asking, single.client() as other:
        assert other.ask_text(store("set", "victim", "good")) == STORED
        asking.send(f"stats {argument}\r\nmn\r\n".encode())
        asking.wait_consumed()
        other.send(b"get nothing\r\nget victim\r\n")
        assert other.text_reply() == END
        assert other.text_reply() == value("victim", "good") + END
        assert asking.read_until(MN).count(END) <= 1
