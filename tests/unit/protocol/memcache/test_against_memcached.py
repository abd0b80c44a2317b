"""The tables of these tests, and the codec's treatment of requests and replies, compared with a real memcached."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from feeding import BROADCAST, COMPLETE, NOREPLY, QUIET, SCATTER, TO_ANY, TO_KEY, Parser
from hypothesis import given
from memcache_streams import requests
from memcache_tables import AB, BAD_BLOCKS, CHUNK, FORWARDED, LONG, REFUSED, Block, Forwarded, Refused

from harness.servers import MemcachedServer
from twemproxy.protocol.memcache.commands import KIND_NAMES, REPLY_KINDS

# Sent after a request: its reply marks the end of the replies to the request.
NOOP, NOOP_REPLY = b"mn\r\n", b"MN\r\n"


@pytest.fixture(scope="module")
def keeping() -> Iterator[MemcachedServer]:
    """A memcached that gets no ``flush_all`` with a delay, so it keeps its items."""
    with MemcachedServer() as server:
        yield server


@pytest.fixture(scope="session")
def codec(flavour: Callable[[str], ModuleType]) -> Any:
    return Parser(flavour("twemproxy.protocol.memcache.codec").MemcacheCodec(["flush_all"]))


def told(memcached: MemcachedServer, data: bytes) -> bytes:
    """All bytes that memcached sends in reply to ``data``."""
    with memcached.connect() as connection:
        connection.send(data)
        connection.half_close()
        return connection.read_to_end()


def the_reply(memcached: MemcachedServer, request: bytes) -> bytes:
    """The reply of memcached to a request; memcached must have read exactly this request."""
    answer = told(memcached, request + NOOP)
    assert answer.endswith(NOOP_REPLY), (request, answer)
    return answer.removesuffix(NOOP_REPLY)


# --- refused requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in REFUSED if row.like_memcached], ids=lambda row: repr(row.line))
def test_refusals_are_in_the_words_of_memcached(memcached: MemcachedServer, row: Refused) -> None:
    assert told(memcached, row.line + b"\r\n" + row.block).split(b"\r\n")[0] == row.text.encode()


@pytest.mark.parametrize("row", BAD_BLOCKS)
def test_bad_blocks_are_refused_in_the_words_of_memcached(memcached: MemcachedServer, row: Block) -> None:
    assert told(memcached, b"set k 0 0 5\r\n" + row.data).startswith(CHUNK.encode() + b"\r\n")


def test_memcached_takes_the_block_for_commands_where_it_is_dropped_here(memcached: MemcachedServer) -> None:
    """Lines that memcached refuses must not be forwarded with their data block: memcached executes the block."""
    many = b"c f h I k l s t u v P L F0 C1 E1 T0 N0"
    for line in (b"set %s 0 0 2" % LONG, b"set k x 0 2", b"ms %s 2" % LONG, b"ms k 2 " + many):
        assert told(memcached, line + b"\r\n" + AB).endswith(b"\r\nERROR\r\n")
    few = many.rpartition(b" ")[0]
    assert the_reply(memcached, b"ms k 2 " + few + b"\r\n" + AB).count(b"\r\n") == 1


@pytest.mark.parametrize("length", [b"+2", b"\t2", b"2\t", b"2\0", b"2\0x", b"0" * 20 + b"2"])
def test_memcached_understands_odd_lengths(memcached: MemcachedServer, length: bytes) -> None:
    assert the_reply(memcached, b"set k 0 0 " + length + b"\r\n" + AB) == b"STORED\r\n"


def test_memcached_closes_where_a_long_line_has_leading_blanks(memcached: MemcachedServer) -> None:
    for blanks, reply in ((100, b"END\r\n"), (101, b"")):
        with memcached.connect() as connection:
            connection.send(b" " * blanks + b"get " + b"missing " * 1000)
            if reply:
                connection.wait_consumed()
                connection.send(b"\r\n")
                connection.expect(reply)
            else:
                connection.expect_closed()


# --- forwarded requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", FORWARDED, ids=lambda row: repr(row.request))
def test_what_is_forwarded_has_one_reply_of_its_kind(codec: Any, memcached: MemcachedServer, row: Forwarded) -> None:
    reply = the_reply(memcached, row.forwarded or row.request)
    codec.expected = KIND_NAMES.index(row.kind)
    assert codec.find_reply(reply, 0, len(reply)) == COMPLETE
    assert codec.end == len(reply)


@given(request=requests)
def test_whatever_is_forwarded_has_one_reply(codec: Any, memcached: MemcachedServer, request: bytes) -> None:
    if codec.find_request(request, 0, len(request)) != COMPLETE:
        return
    if codec.route in (TO_KEY, TO_ANY, SCATTER, BROADCAST):
        request = request[: codec.end]
        expected = codec.expected & ~(QUIET | NOREPLY)
        reply = the_reply(memcached, request[: codec.strip_start] + request[codec.strip_end :])
        codec.expected = expected
        assert codec.find_reply(reply, 0, len(reply)) == COMPLETE
        assert codec.end == len(reply)


# --- replies ---------------------------------------------------------------------------------------------------------

SET = b"set k 0 0 1\r\n5\r\n"
REPLIES = [
    ("version", b"", b"version", b"VERSION"),
    ("storage", b"", b"set k 0 0 1\r\na", b"STORED"),
    ("storage", SET, b"add k 0 0 1\r\na", b"NOT_STORED"),
    ("storage", SET, b"cas k 0 0 1 99999\r\na", b"EXISTS"),
    ("storage", b"", b"cas k 0 0 1 1\r\na", b"NOT_FOUND"),
    ("storage", b"", b"append k 0 0 1\r\na", b"NOT_STORED"),
    ("storage", b"", b"set k 0 0 2000000\r\n" + b"x" * 2000000, b"SERVER_ERROR"),
    ("retrieval", SET, b"get k", b"VALUE"),
    ("retrieval", SET, b"gats 0 k k", b"VALUE"),
    ("retrieval", b"", b"gets k", b"END"),
    ("arithmetic", SET, b"incr k 1", b"6"),
    ("arithmetic", b"", b"decr k 1", b"NOT_FOUND"),
    ("arithmetic", b"set k 0 0 1\r\na\r\n", b"incr k 1", b"CLIENT_ERROR"),
    ("delete", SET, b"delete k", b"DELETED"),
    ("delete", b"", b"delete k", b"NOT_FOUND"),
    ("touch", SET, b"touch k 0", b"TOUCHED"),
    ("touch", b"", b"touch k 0", b"NOT_FOUND"),
    ("ok", b"", b"verbosity 0", b"OK"),
    ("ok", b"", b"flush_all", b"OK"),
    ("stats", b"", b"stats settings", b"STAT"),
    ("stats", b"lru mode flat\r\n" + SET, b"stats cachedump 1 1", b"ITEM"),
    ("stats", b"stats detail on\r\nget a:b\r\n", b"stats detail dump", b"PREFIX"),
    ("stats", b"", b"stats detail off", b"OK"),
    ("stats", b"", b"stats reset", b"RESET"),
    ("stats", b"", b"stats cachedump 9 9", b"END"),
    ("stats", b"", b"stats nonsense", b"ERROR"),
    ("meta get", SET, b"mg k", b"HD"),
    ("meta get", SET, b"mg k v t f", b"VA"),
    ("meta get", b"", b"mg k v", b"EN"),
    ("meta get", b"", b"mg k v v", b"CLIENT_ERROR"),
    ("meta set", b"", b"ms k 1 c\r\na", b"HD"),
    ("meta set", SET, b"ms k 1 ME\r\na", b"NS"),
    ("meta set", SET, b"ms k 1 C99999\r\na", b"EX"),
    ("meta set", b"", b"ms k 1 C1\r\na", b"NF"),
    ("meta set", b"", b"ms k 2000000\r\n" + b"x" * 2000000, b"SERVER_ERROR"),
    ("meta delete", SET, b"md k", b"HD"),
    ("meta delete", b"", b"md k", b"NF"),
    ("meta delete", SET, b"md k C99999", b"EX"),
    ("meta arithmetic", SET, b"ma k", b"HD"),
    ("meta arithmetic", SET, b"ma k v", b"VA"),
    ("meta arithmetic", b"", b"ma k", b"NF"),
    ("meta arithmetic", SET, b"ma k C99999", b"EX"),
    ("meta arithmetic", b"set k 0 0 1\r\na\r\n", b"ma k", b"CLIENT_ERROR"),
    ("meta debug", SET, b"me k", b"ME"),
    ("meta debug", b"", b"me k", b"EN"),
]


def asked(memcached: MemcachedServer, before: bytes, request: bytes) -> bytes:
    """The reply to ``request`` after memcached has deleted the key k and executed ``before``."""
    told(memcached, b"stats detail off\r\ndelete k\r\n" + before)
    return the_reply(memcached, request + b"\r\n")


@pytest.mark.parametrize(("kind", "before", "request_line", "word"), REPLIES)
def test_replies_are_of_the_kind_expected(
    codec: Any, keeping: MemcachedServer, kind: str, before: bytes, request_line: bytes, word: bytes
) -> None:
    assert codec.find_request(request_line + b"\r\n", 0, len(request_line) + 2) == COMPLETE
    assert codec.expected == KIND_NAMES.index(kind)
    reply = asked(keeping, before, request_line)
    assert reply.split()[0] == word
    assert codec.find_reply(reply, 0, len(reply)) == COMPLETE
    assert codec.end == len(reply)
    assert codec.kinds(reply)[0] == (b"ERROR" in word)


def test_words_that_a_memcached_does_not_say_are_few() -> None:
    seen: dict[str, set[str]] = {kind: set() for kind in REPLY_KINDS}
    for kind, _, _, word in REPLIES:
        seen[kind].add("#" if word.isdigit() else word.decode())
    never = {(kind, word) for kind, row in REPLY_KINDS.items() for word in row.words.split() if word not in seen[kind]}
    assert never == {("meta arithmetic", "NS")}


@pytest.mark.parametrize(
    ("kind", "before", "request_line", "word"),
    [row for row in REPLIES if row[0].startswith("meta ") and row[3] != b"ME"],
)
def test_what_a_quiet_request_does_without_is_what_memcached_leaves_out(
    codec: Any, keeping: MemcachedServer, kind: str, before: bytes, request_line: bytes, word: bytes
) -> None:
    reply = asked(keeping, before, request_line)
    head, line_end, block = request_line.partition(b"\r\n")
    quiet = asked(keeping, before, head + b" q" + line_end + block)
    codec.expected = KIND_NAMES.index(kind) | QUIET
    assert codec.is_unwanted(reply) == (quiet == b"")
    assert quiet in (b"", reply)
