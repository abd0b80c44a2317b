"""Statistics of every server in one reply."""

from collections.abc import Callable
from itertools import product
from types import ModuleType
from typing import Any

import pytest
from feeding import COMPLETE
from hypothesis import given
from hypothesis import strategies as st

from twemproxy.protocol.memcache.commands import KIND_NAMES
from twemproxy.protocol.memcache.local import merge_statistics

FAILED = b"SERVER_ERROR Connection refused\r\n"
FIGURES = b"STAT pid 1\r\nSTAT time 2 3\r\nEND\r\n"


@pytest.fixture(scope="session")
def codec(flavour: Callable[[str], ModuleType]) -> Any:
    return flavour("twemproxy.protocol.memcache.codec").MemcacheCodec()


def named(*replies: bytes) -> list[tuple[str, bytes]]:
    """Replies of servers a, b, c ..."""
    return [(chr(ord("a") + i), reply) for i, reply in enumerate(replies)]


@pytest.mark.parametrize(
    ("replies", "merged"),
    [
        ((FIGURES,), b"STAT a:pid 1\r\nSTAT a:time 2 3\r\nEND\r\n"),
        ((b"STAT x 1\r\nEND\r\n", b"STAT x 2\r\nEND\r\n"), b"STAT a:x 1\r\nSTAT b:x 2\r\nEND\r\n"),
        ((b"END\r\n", b"END\r\n"), b"END\r\n"),
        ((b"END\r\n", b"STAT x 2\r\nEND\r\n"), b"STAT b:x 2\r\nEND\r\n"),
        ((b"ITEM k [1 b; 0 s]\r\nEND\r\n", b"END\r\n"), b"ITEM a:k [1 b; 0 s]\r\nEND\r\n"),
        ((b"PREFIX k get 1\r\nEND\r\n", b"END\r\n"), b"PREFIX a:k get 1\r\nEND\r\n"),
        ((b"STAT x 1\r\nEND\r\n", FAILED), b"STAT a:x 1\r\nSTAT b:error Connection refused\r\nEND\r\n"),
        ((FAILED, FAILED), b"STAT a:error Connection refused\r\nSTAT b:error Connection refused\r\nEND\r\n"),
        ((b"RESET\r\n", b"RESET\r\n"), b"RESET\r\n"),
        ((b"OK\r\n", b"OK\r\n"), b"OK\r\n"),
        ((b"RESET\r\n", FAILED), FAILED),
        ((FAILED, b"ERROR\r\n"), FAILED),
        ((b"RESET\r\n", b"ERROR\r\n"), b"ERROR\r\n"),
        ((b"ERROR\r\n", b"CLIENT_ERROR x\r\n"), b"ERROR\r\n"),
        ((b"ERROR\r\n", b"STAT x 1\r\nEND\r\n"), b"STAT a:error ERROR\r\nSTAT b:x 1\r\nEND\r\n"),
        ((b"STAT pid 1\r\nEND\r\n", b"STAT\r\nEND\r\n"), b"STAT a:pid 1\r\nSTAT b:error STAT\r\nEND\r\n"),
    ],
)
def test_replies_of_all_servers_become_one(codec: Any, replies: tuple[bytes, ...], merged: bytes) -> None:
    assert codec.merge_in_words(named(*replies)) == merged


SAMPLES = [
    FIGURES,
    b"END\r\n",
    b"ITEM k [1 b; 0 s]\r\nEND\r\n",
    b"RESET\r\n",
    b"OK\r\n",
    b"ERROR\r\n",
    b"CLIENT_ERROR bad command line\r\n",
    FAILED,
    b"SERVER_ERROR\r\n",
    b"STAT\r\nEND\r\n",
    b"STAT a 1\r\nSERVER_ERROR out of memory\r\n",
    b"END of it\r\n",
]


@pytest.mark.parametrize("replies", list(product(SAMPLES, repeat=2)))
def test_any_mix_is_one_reply(codec: Any, replies: tuple[bytes, ...]) -> None:
    """A client reads it as one reply, and nothing that a server said is another server's."""
    codec.expected = KIND_NAMES.index("stats")
    assert all(codec.find_reply(reply, 0, len(reply)) == COMPLETE for reply in replies)
    merged = codec.merge_in_words(named(*replies))
    assert codec.find_reply(merged, 0, len(merged)) == COMPLETE
    assert codec.end == len(merged)
    if merged.endswith(b"\r\nEND\r\n") and merged not in replies:
        for line in merged.split(b"\r\n")[:-2]:
            assert line.split(b" ")[1][:2] in (b"a:", b"b:")


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_every_figure_of_every_server_is_there_once(counts: list[int]) -> None:
    replies = [b"".join(b"STAT f%d %d\r\n" % (i, i) for i in range(count)) + b"END\r\n" for count in counts]
    names = [f"10.0.0.{i}:11211" for i in range(len(counts))]
    expected = [f"STAT {name}:f{i} {i}" for name, count in zip(names, counts, strict=True) for i in range(count)]
    assert merge_statistics(list(zip(names, replies, strict=True))).decode().split("\r\n") == [*expected, "END", ""]
