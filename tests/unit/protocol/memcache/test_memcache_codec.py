"""How memcached requests are split, how their replies are merged, and which replies the proxy makes itself."""

from collections.abc import Sequence
from typing import Any

import pytest
from feeding import COMPLETE, CUSTOM, SCATTER, SLOW_PATH, STATUS, VALUES, Parser, request_meaning
from hypothesis import example, given
from hypothesis import strategies as st
from memcache_streams import keys

from harness.flavours import Load
from twemproxy.protocol.memcache.commands import KIND_NAMES
from unit.fakes import FakePool

MODULE = "twemproxy.protocol.memcache.codec"
END = b"END\r\n"


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return Parser(flavour(MODULE).MemcacheCodec())


def value(key: bytes, data: bytes, more: bytes = b"") -> bytes:
    """A value in a reply; ``more`` follows its length."""
    return b"VALUE %s 0 %d%s\r\n%s\r\n" % (key, len(data), more, data)


stored = st.dictionaries(
    keys,
    st.tuples(st.binary(max_size=6) | st.sampled_from([b"\r\nEND\r\n", b"END\r\n"]), st.sampled_from([b"", b" 7"])),
)


def answer_of_memcached(store: dict[bytes, tuple[bytes, bytes]], asked: Sequence[bytes]) -> bytes:
    """The reply of one memcached with these values to a request for these keys."""
    return b"".join(value(key, *store[key]) for key in asked if key in store) + END


# --- splitting -------------------------------------------------------------------------------------------------------


@given(
    head=st.sampled_from([b"get", b"gets", b"gat -1", b"gats 2147483647", b"gat 00000000000000000001"]),
    asked=st.lists(keys, min_size=2, max_size=12),
    store=stored,
    gap=st.integers(1, 3),
    data=st.data(),
)
def test_a_split_request_is_answered_as_by_one_server(
    codec: Any, head: bytes, asked: list[bytes], store: dict[bytes, tuple[bytes, bytes]], gap: int, data: st.DataObject
) -> None:
    """Each sub-request asks for the keys of its server, and the merged reply is the reply of a single server."""
    asked += data.draw(st.lists(st.sampled_from(asked), max_size=3))
    for key in data.draw(st.lists(st.sampled_from(asked), max_size=6)):
        store[key] = (key[:3], b"")
    request = head.replace(b" ", b" " * gap) + b"".join(b" " * gap + key for key in asked) + b"\r\n"
    command, route, expected, _, merge, n, items = request_meaning(codec, request)
    assert (route, merge, n, [key for key, _ in items]) == (SCATTER, VALUES, len(asked), asked)
    place = {key: data.draw(st.integers(0, 3)) for key in set(asked)}
    parts: dict[int, list[bytes]] = {}
    for server in sorted(set(place.values())):
        chosen = [i for i in range(n) if place[asked[i]] == server]
        assert codec.find_request(request, 0, len(request)) == COMPLETE
        assert codec.command == command
        before, behind = codec.sub_request(request, len(chosen))
        sub_request = before + b"".join(items[i][1] for i in chosen) + behind
        own = [asked[i] for i in chosen]
        assert sub_request == head + b" " + b" ".join(own) + b"\r\n"
        assert request_meaning(codec, sub_request)[0] == command
        codec.expected = expected
        reply = answer_of_memcached(store, own)
        assert codec.find_reply(reply, 0, len(reply)) == COMPLETE
        parts[server] = codec.mergeable_part(reply, VALUES, own)
        assert parts[server] == [value(key, *store[key]) if key in store else b"" for key in own]
    values = [parts[place[key]].pop(0) for key in asked]
    assert codec.merged(VALUES, n, 0) + b"".join(values) + codec.merged_end() == answer_of_memcached(store, asked)


def test_a_missing_value_is_nothing(codec: Any) -> None:
    assert (codec.merged(VALUES, 9, 0), codec.missing(), codec.merged_end()) == (b"", b"", END)


def test_replies_are_matched_by_key(codec: Any) -> None:
    assert codec.matches_keys


# --- merging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [b"", b" 77", b" 77 more", b" "])
def test_values_end_where_their_blocks_end(codec: Any, more: bytes) -> None:
    values = [value(b"a", b"x\r\nEND\r\n" * 9, more), value(b"b", b"", more), value(b"c", b"yz", more)]
    assert codec.mergeable_part(b"".join(values) + END, VALUES, [b"a", b"b", b"c"]) == values


def test_a_key_is_not_taken_for_one_it_begins_with(codec: Any) -> None:
    a, ab = value(b"a", b"1"), value(b"ab", b"2")
    assert codec.mergeable_part(ab + END, VALUES, [b"a", b"ab", b"abc"]) == [b"", ab, b""]
    assert codec.mergeable_part(a + END, VALUES, [b"ab", b"a"]) == [b"", a]
    assert codec.mergeable_part(a + END, VALUES, [b"ab"]) is None


@given(asked=st.lists(keys, min_size=1, max_size=8), data=st.data())
def test_values_in_another_order_are_matched_by_key(codec: Any, asked: list[bytes], data: st.DataObject) -> None:
    present = data.draw(st.lists(st.sampled_from(range(len(asked))), unique=True))
    values = {i: value(asked[i], asked[i][:4], b" 7") for i in present}
    reply = b"".join(values[i] for i in present) + END
    found = codec.mergeable_part(reply, VALUES, asked)
    assert sorted(found) == sorted([*values.values(), *[b""] * (len(asked) - len(present))])
    for key, part in zip(asked, found, strict=True):
        assert part in (b"", value(key, key[:4], b" 7"))


@given(asked=st.lists(keys, min_size=1, max_size=5), other=keys, data=st.data())
def test_a_value_that_no_key_asked_for_is_not_mergeable(
    codec: Any, asked: list[bytes], other: bytes, data: st.DataObject
) -> None:
    """A value that comes more often than the request asks for it is not mergeable either."""
    many = [*asked, other if other not in asked else asked[0]]
    order = data.draw(st.permutations(many))
    reply = b"".join(value(key, b"x") for key in order) + END
    assert codec.mergeable_part(reply, VALUES, asked) is None


@pytest.mark.parametrize("error", [b"ERROR", b"SERVER_ERROR out of memory", b"SERVER_ERROR at the END", b"ERROR END"])
def test_values_with_an_error_behind_are_not_mergeable(codec: Any, error: bytes) -> None:
    for before in (b"", value(b"a", b"x"), value(b"a", b"END\r\n")):
        assert codec.mergeable_part(before + error + b"\r\n", VALUES, [b"a", b"b"]) is None


@pytest.mark.parametrize(
    "reply", [b"STORED\r\n", b"OK\r\n", b"END x\r\n", b"END \r\n", b"5\r\n", b"HD\r\n", b"VALUE\r\n"]
)
def test_only_values_are_mergeable_as_values(codec: Any, reply: bytes) -> None:
    assert codec.mergeable_part(reply, VALUES, [b"a"]) is None


@pytest.mark.parametrize("reply", [b"OK\r\n", b"OK then\r\n"])
def test_ok_is_the_status_of_all(codec: Any, reply: bytes) -> None:
    assert codec.mergeable_part(reply, STATUS, [b""]) is not None


@pytest.mark.parametrize("reply", [b"ERROR\r\n", b"SERVER_ERROR x\r\n", b"OKAY\r\n", b"RESET\r\n", END])
def test_nothing_else_is_the_status_of_all(codec: Any, reply: bytes) -> None:
    assert codec.mergeable_part(reply, STATUS, [b""]) is None


def test_statistics_are_mergeable_unless_an_error(codec: Any) -> None:
    for reply in (b"STAT a 1\r\nEND\r\n", END, b"RESET\r\n", b"OK\r\n"):
        assert codec.mergeable_part(reply, CUSTOM, [b""]) is not None
    for reply in (b"ERROR\r\n", b"CLIENT_ERROR x\r\n", b"SERVER_ERROR x\r\n"):
        assert codec.mergeable_part(reply, CUSTOM, [b""]) is None


# --- the proxy's errors ----------------------------------------------------------------------------------------------


@given(text=st.text(max_size=30))
@example(text="no\r\nserver")
@example(text="\ud800")
def test_errors_are_lines(codec: Any, text: str) -> None:
    reply = codec.error(text)
    assert reply.endswith(b"\r\n")
    assert reply.count(b"\r") == reply.count(b"\n") == 1
    codec.expected = 0
    assert codec.find_reply(reply, 0, len(reply)) == COMPLETE
    assert codec.kinds(reply)[0]
    assert codec.error("Connection refused") == b"SERVER_ERROR Connection refused\r\n"


# --- the handshake of a server connection ----------------------------------------------------------------------------


def test_handshake_asks_for_the_version(codec: Any) -> None:
    [(step, request)] = codec.handshake.steps(None, 0)
    assert (step, request) == ("version", b"version\r\n")
    assert KIND_NAMES[codec.handshake_expected] == "version"


def test_problems_of_the_handshake(codec: Any) -> None:
    assert codec.handshake.problem("version", b"VERSION 1.6.18\r\n") == ""
    assert codec.handshake.problem("version", b"SERVER_ERROR busy\r\n") == "SERVER_ERROR busy"
    assert codec.handshake.problem("version", b"ERROR\r\n") == "ERROR"
    assert codec.handshake.problem("version", b"CLIENT_ERROR \xff\r\n") == "CLIENT_ERROR \ufffd"


@pytest.mark.parametrize("version", ["1.4.15", "1.5.22", "1.6", "1.6-rc1", "1.6.0", "1.6.9", "0.9.9.9"])
def test_older_servers_do_not_get_ms(codec: Any, version: str) -> None:
    """Before 1.6.10 the length was the flag S; memcached executed the data block of a request without this flag."""
    assert codec.handshake.features("version", f"VERSION {version}\r\n".encode()) == 0
    assert "1.6.10" in codec.handshake.missing_feature_text()


@pytest.mark.parametrize("version", ["1.6.10", "1.6.18", "1.6.41", "1.7.0", "2.0.0", "10.0"])
def test_newer_servers_get_ms(codec: Any, version: str) -> None:
    assert codec.handshake.features("version", f"VERSION {version}\r\n".encode()) == 1


def test_any_version_is_a_version(codec: Any) -> None:
    for version in (b"9" * 5000 + b".1", b"1." + b"9" * 5000, b"", b"1", b"one.two", b"\xff"):
        assert codec.handshake.problem("version", b"VERSION %s\r\n" % version) == ""
        assert codec.handshake.features("version", b"VERSION %s\r\n" % version) == 1


# --- requests that the proxy answers ---------------------------------------------------------------------------------


class Pool(FakePool):
    """A pool with fixed statistics."""

    def statistics(self) -> list[tuple[str, object]]:
        return [("pool", "beta"), ("client_connections", 3)]

    def server_statistics(self) -> list[tuple[str, list[tuple[str, object]]]]:
        return [("one", [("state", "up"), ("requests", 5)]), ("zwei ü", [("state", "ejected")]), ("none", [])]


@pytest.mark.parametrize(
    ("line", "reply", "last"),
    [
        (b"mn", b"MN\r\n", False),
        (b" mn  foo ", b"MN\r\n", False),
        (b"quit", b"", True),
        (b"quit now", b"", True),
        (b"stats proxy", b"STAT pool beta\r\nSTAT client_connections 3\r\nEND\r\n", False),
        (
            b"stats  servers ",
            "STAT one:state up\r\nSTAT one:requests 5\r\nSTAT zwei ü:state ejected\r\nEND\r\n".encode(),
            False,
        ),
    ],
)
def test_what_is_answered(codec: Any, line: bytes, reply: bytes, last: bool) -> None:
    session = codec.session(Pool(), None)
    for end in (b"\r\n", b"\n"):
        assert request_meaning(codec, line + end)[1] == SLOW_PATH
        assert codec.plan(line + end, session) == (reply, last)


def test_nobody_is_attended(codec: Any) -> None:
    session = codec.session(Pool(), None)
    session.on_dispatched()
    session.on_close()
    assert not session.needs_planning and not codec.session(Pool(), None).needs_planning


@pytest.mark.parametrize(
    "request_line",
    ["get k", "get k l", "gets k", "me k", "version"],
)
def test_what_only_reads_can_be_repeated(codec: Any, request_line: str) -> None:
    assert codec.repeats(request_line.encode() + b"\r\n")


@pytest.mark.parametrize(
    "request_line",
    [
        "gat 0 k",
        "gats 0 k",
        "mg k",
        "mg k v t",
        "mg k T0",
        "md k",
        "ma k",
        "touch k 0",
        "incr k 1",
        "delete k",
        "set k 0 0 1\r\n1",
        "ms k 1\r\n1",
        "flush_all",
        "verbosity 1",
        "stats",
        "geta k",
        "nothing",
        "",
    ],
)
def test_what_does_more_cannot(codec: Any, request_line: str) -> None:
    assert not codec.repeats(request_line.encode() + b"\r\n")
