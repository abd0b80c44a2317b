"""Commands for every server: how replies are merged, and the cursor of SCAN."""

import random
from collections.abc import Callable, Iterator

import pytest
from feeding import Parser
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_peers import Pool, new_session, plan

from harness.resp import NULL, OK, array, bulk, command, error, integer
from twemproxy.protocol.plan import Answer, Ask, ToServer
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.commands import COMMANDS, PERMITTED_BY_DIRECTIVE, SUBCOMMANDS, Routing
from twemproxy.protocol.redis.errors import INVALID_CURSOR, MISFIT
from twemproxy.protocol.redis.fan_out_commands import MERGES
from twemproxy.protocol.redis.scanning import PLACE_BITS, order_of
from unit.fakes import S0

CODEC = Parser(RedisCodec(permitted=PERMITTED_BY_DIRECTIVE))
NIL = b"_\r\n"
NAMES = {
    merge: row.name
    for row in (*COMMANDS, *SUBCOMMANDS.values())
    if row.routing == Routing.EVERY_SERVER and row.name != "script|load"
    for merge in (row.merge,)
}
"""One command for each way to merge."""


def asked(text: str, servers: int = 3) -> Ask:
    """The plan for a request of words separated by blanks, in a pool with this number of servers."""
    found = plan(CODEC, new_session(pool=Pool(servers=servers)), *text.encode().split())
    assert isinstance(found, Ask)
    return found


def merged(text: str, *replies: bytes) -> bytes:
    """The client's reply when servers send these replies."""
    return asked(text, len(replies)).merge([(f"s{i:02d}", reply) for i, reply in enumerate(replies)])


def misfit(name: str) -> bytes:
    """The error reply when the replies of servers do not fit together."""
    return error(MISFIT.format(name=name))


def row(event: str, *figures: int) -> bytes:
    """An event in a reply to LATENCY LATEST: last time, last and largest latency, and figures of newer servers."""
    return array(bulk(event), *map(integer, figures))


def sample(time: int, latency: int) -> bytes:
    """A sample in a reply to LATENCY HISTORY."""
    return array(integer(time), integer(latency))


def histogram(version: int, name: str, *buckets: tuple[int, int], times: int = 1) -> bytes:
    """A command in a reply to LATENCY HISTOGRAM, ``times`` times; a bucket is (microseconds, number of calls)."""
    heads = [b"*%d\r\n" % (2 * n) if version == 2 else b"%%%d\r\n" % n for n in (times, 2, len(buckets))]
    counts = heads[2] + b"".join(integer(number) for bucket in buckets for number in bucket)
    of_command = heads[1] + bulk("calls") + integer(buckets[-1][1]) + bulk("histogram_usec") + counts
    return heads[0] + (bulk(name) + of_command) * times


def test_every_merge_has_a_command() -> None:
    assert set(NAMES) | {"smallest"} == set(MERGES)


@pytest.mark.parametrize(
    ("text", "replies", "reply"),
    [
        ("DBSIZE", [integer(1), integer(2), integer(0)], integer(3)),
        ("DBSIZE", [integer(2**62), integer(2**62)], integer(2**63)),
        ("LATENCY RESET", [integer(1), integer(2)], integer(3)),
        ("LASTSAVE", [integer(9), integer(7), integer(8)], integer(7)),
        ("SCRIPT EXISTS a b c", [array(*map(integer, row)) for row in ([1, 1, 0], [1, 0, 0])], None),
        ("KEYS *", [array(bulk("a"), bulk("b")), array(), array(bulk("c"))], array(*map(bulk, "abc"))),
        ("KEYS *", [array(), array()], array()),
        ("PUBSUB CHANNELS", [array(*map(bulk, "ab")), array(*map(bulk, "bc"))], array(*map(bulk, "abc"))),
        ("PUBSUB CHANNELS", [b"~1\r\n" + bulk("a"), array(bulk("a"))], array(bulk("a"))),
        ("FLUSHALL", [OK, OK], OK),
        ("SCRIPT LOAD x", [bulk("d"), bulk("d")], bulk("d")),
        ("RANDOMKEY", [NULL, NULL], NULL),
        ("RANDOMKEY", [NIL, NIL], NIL),
        ("RANDOMKEY", [NULL, bulk("k"), NULL], bulk("k")),
        ("SCRIPT KILL", [error("NOTBUSY"), OK, error("NOTBUSY")], OK),
        ("FUNCTION KILL", [error("NOTBUSY 0"), error("NOTBUSY 1")], error("NOTBUSY 0")),
        ("PUBSUB NUMPAT", [integer(1), integer(4), integer(2)], integer(4)),
        ("PUBSUB NUMSUB", [array(), array()], array()),
        ("LATENCY LATEST", [array(), array()], array()),
        (
            "LATENCY LATEST",
            [array(row("command", 7, 5, 20), row("fork", 1, 2, 3)), array(row("command", 9, 4, 6)), array()],
            array(row("command", 9, 4, 20), row("fork", 1, 2, 3)),
        ),
        (
            "LATENCY LATEST",
            [array(row("command", 7, 5, 20, 25, 2)), array(row("command", 7, 6, 6, 6, 1))],
            array(row("command", 7, 6, 20, 31, 3)),
        ),
        ("LATENCY LATEST", [array(row("e", 7, 5, 20)), array(row("e", 8, 6, 6, 6, 1))], array(row("e", 8, 6, 20))),
        (
            "LATENCY HISTORY e",
            [array(sample(1, 4), sample(5, 2)), array(), array(sample(3, 9), sample(5, 7))],
            array(sample(1, 4), sample(3, 9), sample(5, 7)),
        ),
        ("LATENCY HISTOGRAM", [array(), array()], array()),
        ("LATENCY HISTOGRAM", [b"%0\r\n", b"%0\r\n"], b"%0\r\n"),
        (
            "LATENCY HISTOGRAM",
            [histogram(2, "get", (1, 2), (4, 5)), histogram(2, "get", (2, 10), (4, 11), (8, 12)), array()],
            histogram(2, "get", (1, 2), (2, 12), (4, 16), (8, 17)),
        ),
        (
            "LATENCY HISTOGRAM get get",
            [histogram(3, "get", (1, 2), times=2), histogram(3, "set", (1, 1), (8, 3))],
            b"%2\r\n" + histogram(3, "get", (1, 2))[4:] + histogram(3, "set", (1, 1), (8, 3))[4:],
        ),
    ],
)
def test_replies_become_one(text: str, replies: list[bytes], reply: bytes | None) -> None:
    assert merged(text, *replies) == (reply or array(integer(1), integer(0), integer(0)))


def test_any_key_may_be_the_random_one() -> None:
    replies = [bulk("a"), NULL, bulk("b"), bulk("c")]
    assert {merged("RANDOMKEY", *replies) for _ in range(10)} == {bulk("a"), bulk("b"), bulk("c")}


def test_subscribers_of_the_proxy_are_counted_one_by_one() -> None:
    """Servers count one subscriber for the proxy's connection; three clients of the proxy have subscribed."""
    replies = [array(bulk("t"), integer(5)), array(bulk("t"), integer(1))]
    assert merged("PUBSUB NUMSUB t", *replies) == array(bulk("t"), integer(8))


@pytest.mark.parametrize("name", [name for merge, name in NAMES.items() if merge not in ("one done", "cursor")])
@pytest.mark.parametrize("first", [error("ERR one"), b"!7\r\nERR one\r\n"])
def test_the_first_error_is_the_reply(name: str, first: bytes) -> None:
    good = {"sum": integer(1), "all alike": OK}.get(next(m for m, n in NAMES.items() if n == name), array())
    assert merged(_filled(name), good, first, error("ERR two")) == first


def _filled(name: str) -> str:
    row = SUBCOMMANDS.get(name) or next(row for row in COMMANDS if row.name == name)
    return " ".join([*name.split("|"), *["0"] * (abs(row.arity) - 1 - name.count("|"))])


NONSENSE = [
    b"+OK\r\n",
    b":1\r\n",
    b":x\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"*1\r\n*1\r\n*0\r\n",
    b"%1\r\n:1\r\n:2\r\n",
    b"|1\r\n:1\r\n:2\r\n:3\r\n",
    b"(99999999999999999999999\r\n",
    b"*1\r\n" * 5000 + b":1\r\n",
    b":" + b"9" * 5000 + b"\r\n",
    b"*2\r\n$1\r\nx\r\n*0\r\n",
    b"*2\r\n$2\r\n-5\r\n*0\r\n",
    b"*3\r\n$1\r\n0\r\n*0\r\n*0\r\n",
    b"*2\r\n*0\r\n*0\r\n",
    b"*1\r\n$1\r\n0\r\n",
    b"*2\r\n$1\r\nt\r\n$1\r\nt\r\n",
]


@pytest.mark.parametrize(
    "text", ["DBSIZE", "LASTSAVE", "SCRIPT EXISTS a", "KEYS *", "PUBSUB CHANNELS", "RANDOMKEY", "LATENCY LATEST"]
)
@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda data: repr(data[:12]))
def test_nonsense_becomes_one_reply(text: str, nonsense: bytes) -> None:
    """Whatever a server replies, the merged reply is one complete reply."""
    good = {"SCRIPT": array(integer(1)), "KEYS": array(), "PUBSUB": array(), "RANDOMKEY": NULL, "LATENCY": array()}
    reply = merged(text, good.get(text.split()[0], integer(1)), nonsense)
    assert CODEC.find_reply(reply, 0, len(reply)) == 1
    assert CODEC.end == len(reply)


@pytest.mark.parametrize(
    ("text", "replies"),
    [
        ("DBSIZE", [integer(1), OK]),
        ("DBSIZE", [integer(1), b":x\r\n"]),
        ("LASTSAVE", [array(), integer(1)]),
        ("SCRIPT EXISTS a", [array(integer(1)), array()]),
        ("SCRIPT EXISTS a", [array(integer(1)), array(bulk("1"))]),
        ("KEYS *", [array(), bulk("a")]),
        ("FLUSHALL", [OK, b"+YES\r\n"]),
        ("SCRIPT LOAD x", [bulk("a"), bulk("b")]),
        ("PUBSUB NUMSUB t", [array(bulk("t"), integer(5)), array(bulk("u"), integer(1))]),
        ("PUBSUB NUMSUB t", [array(bulk("t"), integer(5)), array()]),
        ("PUBSUB NUMPAT", [integer(1), OK]),
        ("LATENCY LATEST", [array(), array(row("e", 1, 2))]),
        ("LATENCY LATEST", [array(), array(array(integer(1), integer(2), integer(3), integer(4)))]),
        ("LATENCY LATEST", [array(), array(array(bulk("e"), bulk("2"), integer(3), integer(4)))]),
        ("LATENCY HISTORY e", [array(sample(1, 2)), array(integer(1))]),
        ("LATENCY HISTORY e", [array(), array(array(integer(1), integer(2), integer(3)))]),
        ("LATENCY HISTOGRAM", [array(), array(bulk("get"))]),
        ("LATENCY HISTOGRAM", [array(), array(bulk("get"), array())]),
        ("LATENCY HISTOGRAM", [array(), array(array(), array())]),
    ],
)
def test_replies_that_do_not_fit_are_an_error(text: str, replies: list[bytes]) -> None:
    words = text.lower().split()
    name = words[0] if words[0] in {row.name for row in COMMANDS if row.merge} else "|".join(words[:2])
    assert merged(text, *replies) == misfit(name)


def test_a_pool_of_one_server_needs_no_merging() -> None:
    for merge, name in NAMES.items():
        if merge not in ("subscribers", "one done"):
            words = _filled(name).encode().split()
            assert plan(CODEC, new_session(pool=Pool(databases=5)), *words) == ToServer(S0)


@pytest.mark.parametrize(
    ("text", "reply"), [("WAIT 1 0", integer(1)), ("WAITAOF 0 1 0", array(integer(0), integer(1)))]
)
def test_wait_is_for_the_worst_of_all_servers(text: str, reply: bytes) -> None:
    replies = (
        [integer(2), integer(1)]
        if text.startswith("WAIT ")
        else [array(*map(integer, row)) for row in ([1, 1], [0, 2])]
    )
    found = asked(text, 2)
    assert found.private
    assert found.merge([("s00", replies[0]), ("s01", replies[1])]) == reply


# --- SCAN ------------------------------------------------------------------------------------------------------------


class Keyspace:
    """A server's keys in buckets; a cursor is ``scale`` times the index of the next bucket."""

    def __init__(self, buckets: list[list[bytes]], scale: int = 1) -> None:
        self.buckets = buckets
        self.scale = scale

    def scan(self, request: bytes) -> bytes:
        """The reply to a SCAN request."""
        cursor = int(request.split(b"\r\n")[4])
        place = cursor // self.scale
        keys = self.buckets[place] if place < len(self.buckets) else []
        following = (place + 1) * self.scale if place + 1 < len(self.buckets) else 0
        return array(bulk(following), array(*map(bulk, keys)))


def walk(spaces: list[Keyspace], meanwhile: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """All keys that a client finds until the cursor is 0 again; ``meanwhile`` is called between two requests."""
    cursor = b"0"
    while True:
        found = plan(CODEC, new_session(pool=Pool(servers=len(spaces))), b"SCAN", cursor, b"COUNT", b"7")
        assert isinstance(found, Ask)
        [(server, request)] = found.requests
        assert request.endswith(command("COUNT", 7)[4:])
        reply = found.merge([("s", spaces[server.position].scan(request))])
        _, _, cursor, _, *rest = reply.split(b"\r\n")
        yield from rest[1::2]
        if cursor == b"0":
            return
        meanwhile()


keys = (
    st.binary(
        min_size=1,
        max_size=4,
    )
    .map(bytes.hex)
    .map(str.encode)
)
spaces = st.lists(st.lists(keys, max_size=3), min_size=1, max_size=5)


@settings(max_examples=50)
@given(st.lists(spaces, min_size=2, max_size=7), st.sampled_from([1, 3, 2**24, 2**31]))
def test_every_key_is_found_once_and_the_walk_ends(servers: list[list[list[bytes]]], scale: int) -> None:
    found = list(walk([Keyspace(buckets, scale) for buckets in servers]))
    assert sorted(found) == sorted(key for buckets in servers for bucket in buckets for key in bucket)


@settings(max_examples=50)
@given(st.lists(spaces, min_size=2, max_size=4), st.integers())
def test_keys_that_stay_are_found_whatever_comes_and_goes(servers: list[list[list[bytes]]], seed: int) -> None:
    source = random.Random(seed)
    everything = [Keyspace(buckets) for buckets in servers]
    stay = {key for buckets in servers for bucket in buckets for key in bucket}

    def meanwhile() -> None:
        space = source.choice(everything)
        bucket = source.choice(space.buckets)
        bucket[:] = [key for key in bucket if key in stay] + [b"new%d" % source.randrange(10)] * source.randrange(2)

    assert stay <= set(walk(everything, meanwhile))


@pytest.mark.parametrize(
    "cursor",
    [
        *(b"", b"x", b"-1", b"+1", b" 1", b"1 ", b"1.5", b"0x10", b"1e3", b"\xd9\xa1"),
        *(b"%d" % 2**64, b"9" * 20, b"9" * 21, b"1" * 100_000),
    ],
    ids=lambda cursor: repr(cursor[:22]),
)
def test_what_is_no_cursor(cursor: bytes) -> None:
    session = new_session(pool=Pool(servers=3))
    assert plan(CODEC, session, b"SCAN", cursor) == Answer(error(INVALID_CURSOR))


def test_zeros_in_front_are_disregarded() -> None:
    cursor = order_of(("s00", "s01", "s02"))[1][0] << PLACE_BITS | 7
    assert asked(f"SCAN 0{cursor}").requests == asked(f"SCAN {cursor}").requests


def test_the_rest_of_the_request_is_kept() -> None:
    found = asked("sCaN 0 match a* count 10 type string")
    assert found.requests[0][1] == command("sCaN", 0, "match", "a*", "count", "10", "type", "string")


@pytest.mark.parametrize("reply", [error("ERR syntax error"), b"!5\r\nERR x\r\n"])
def test_an_error_of_a_server_is_the_reply(reply: bytes) -> None:
    assert asked("SCAN 0").merge([("s00", reply)]) == reply


@pytest.mark.parametrize("nonsense", NONSENSE, ids=lambda data: repr(data[:12]))
def test_what_is_no_reply_to_scan(nonsense: bytes) -> None:
    assert asked("SCAN 0").merge([("s00", nonsense)]) == misfit("scan")
