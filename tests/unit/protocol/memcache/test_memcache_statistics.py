"""The statistics of all servers in one reply."""

from collections.abc import Callable
from itertools import product
from types import ModuleType
from typing import Any

import pytest
from feeding import COMPLETE, Parser
from hypothesis import assume, given
from hypothesis import strategies as st

from twemproxy.protocol.memcache import statistics
from twemproxy.protocol.memcache.commands import KIND_NAMES
from twemproxy.upstream.server_poll import Reply
from unit.fakes import fake_servers

FAILED = b"SERVER_ERROR Connection refused\r\n"
FIGURES = b"STAT pid 1\r\nSTAT time 2 3\r\nEND\r\n"


@pytest.fixture(scope="session")
def codec(flavour: Callable[[str], ModuleType]) -> Any:
    return Parser(flavour("twemproxy.protocol.memcache.codec").MemcacheCodec())


def named(*replies: bytes) -> list[tuple[str, bytes]]:
    """(server, reply) for each reply, with servers named a, b, c and so on."""
    return [(chr(ord("a") + i), reply) for i, reply in enumerate(replies)]


@pytest.mark.parametrize(
    ("replies", "merged"),
    [
        ((FIGURES,), FIGURES),
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
    assert codec.merge_replies(named(*replies)) == merged


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
    """The result is one reply for the client, and every line of merged statistics names its server."""
    codec.expected = KIND_NAMES.index("stats")
    assert all(codec.find_reply(reply, 0, len(reply)) == COMPLETE for reply in replies)
    merged = codec.merge_replies(named(*replies))
    assert codec.find_reply(merged, 0, len(merged)) == COMPLETE
    assert codec.end == len(merged)
    if merged.endswith(b"\r\nEND\r\n") and merged not in replies:
        for line in merged.split(b"\r\n")[:-2]:
            assert line.split(b" ")[1][:2] in (b"a:", b"b:")


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_every_figure_of_every_server_is_there_once(counts: list[int]) -> None:
    assume(len(counts) > 1)
    replies = [b"".join(b"STAT f%d %d\r\n" % (i, i) for i in range(count)) + b"END\r\n" for count in counts]
    names = [f"10.0.0.{i}:11211" for i in range(len(counts))]
    expected = [f"STAT {name}:f{i} {i}" for name, count in zip(names, counts, strict=True) for i in range(count)]
    assert statistics.join(list(zip(names, replies, strict=True))).decode().split("\r\n") == [*expected, "END", ""]


def merged(kind: str, *replies: bytes | None) -> bytes:
    """The reply to ``stats`` with this argument when servers send these lines before END; None is a failed server."""
    told = [
        Reply(server, "failed", FAILED) if reply is None else Reply(server, "ok", reply + b"END\r\n")
        for server, reply in zip(fake_servers(len(replies)), replies, strict=True)
    ]
    steps = statistics.merge(kind, told, {"pid": 77})
    while True:
        try:
            assert next(steps) == b""
        except StopIteration as end:
            assert isinstance(end.value, bytes)
            return end.value


@pytest.mark.parametrize(
    ("kind", "replies", "expected"),
    [
        ("", (b"STAT pid 1\r\nSTAT uptime 9\r\n", b"STAT pid 2\r\nSTAT uptime 5\r\n"), "pid 77, uptime 5"),
        ("", (b"STAT version 1.6.9\r\n", b"STAT version 1.6.18\r\n"), "version 1.6.9, pid 77"),
        ("", (b"STAT bytes 7\r\n", b"STAT bytes 8\r\n"), "bytes 15, pid 77"),
        ("", (b"STAT rusage_user 0.25\r\n", b"STAT rusage_user 1.500000\r\n"), "rusage_user 1.750000, pid 77"),
        ("", (b"STAT pointer_size 64\r\n", b"STAT pointer_size 32\r\n"), "pid 77"),
        ("", (b"STAT bytes 7\r\n", None), "bytes 7, pid 77, servers_failed 1"),
        ("", (b"STAT bytes 7\r\n",), "bytes 7, pid 77"),
        ("", (b"STAT bytes x\r\n", b"STAT bytes 7\r\n"), "pid 77"),
        ("items", (b"STAT items:1:age 7\r\n", b"STAT items:1:age 9\r\nSTAT items:2:number 3\r\n"),
         "items:1:age 9, items:2:number 3"),
        ("slabs", (b"STAT 1:chunk_size 96\r\nSTAT 1:used_chunks 2\r\n",
                   b"STAT 1:chunk_size 96\r\nSTAT 1:used_chunks 3\r\n"),
         "1:chunk_size 96, 1:used_chunks 5"),
        ("settings", (b"STAT maxbytes 10\r\nSTAT inter a\r\n", b"STAT maxbytes 10\r\nSTAT inter b\r\n"), "maxbytes 20"),
        ("settings", (b"STAT evictions on\r\n", b"STAT evictions on\r\n"), "evictions on"),
        ("sizes", (b"STAT 64 1\r\n", b"STAT 64 2\r\nSTAT 96 1\r\n"), "64 3, 96 1"),
    ],
)  # fmt: skip
def test_figures_become_those_of_one_server(kind: str, replies: tuple[bytes | None, ...], expected: str) -> None:
    lines = "".join(f"STAT {line}\r\n" for line in expected.split(", "))
    assert merged(kind, *replies) == lines.encode() + b"END\r\n"


def test_no_server_answers() -> None:
    assert merged("", None, None) == FAILED
