"""All keys of a request, compared with the reply of redis to COMMAND GETKEYS."""

from typing import Any

import pytest
from feeding import COLOCATED, REJECT, SCATTER, SLOW_PATH, TO_KEY, Parser, request_meaning
from hypothesis import given
from hypothesis import strategies as st

from harness.flavours import Load
from harness.resp import arguments, command
from harness.servers import RedisServer, ValkeyServer
from twemproxy.protocol.redis.commands import BY_NAME, COMMAND_INFO, COMMANDS, KeySpec, Routing
from twemproxy.protocol.redis.keys import _begin, blocks, keys_of, sort_keys

ANY_NUMBER = 2**31 - 1

EXAMPLES = """
BITOP AND to a | BITOP OR to a b c
COPY a b | COPY a b DB 1 REPLACE
DEL a | DEL a b c
EVAL script 0 | EVAL script 1 a arg | EVAL script 3 a b c d
EVAL_RO script 2 a b c
EVALSHA sha 0 arg | EVALSHA sha 2 a b
EVALSHA_RO sha 2 a b
EXISTS a | EXISTS a a b
FCALL f 0 | FCALL f 2 a b c
FCALL_RO f 2 a b c
GEORADIUS a 1 2 3 km | GEORADIUS a 1 2 3 km WITHCOORD STORE b | GEORADIUS a 1 2 3 km COUNT 3 STOREDIST b
GEORADIUSBYMEMBER a m 3 km | GEORADIUSBYMEMBER a m 3 km ASC STORE b | GEORADIUSBYMEMBER a m 3 km storedist b
GEOSEARCHSTORE to a FROMMEMBER m BYRADIUS 1 km | GEOSEARCHSTORE to a FROMLONLAT 1 2 BYBOX 1 1 km STOREDIST
LCS a b | LCS a b LEN
LMOVE a b LEFT RIGHT
LMOVEM a b LEFT RIGHT COUNT 2
LMPOP 1 a LEFT | LMPOP 2 a b LEFT COUNT 3
MGET a | MGET a b c
MSET a 1 | MSET a 1 b 2
MSETEX 1 a 1 | MSETEX 2 a 1 b 2 NX EX 10
MSETNX a 1 | MSETNX a 1 b 2 c 3
PFCOUNT a | PFCOUNT a b c
PFMERGE to a | PFMERGE to a b
RENAME a b
RENAMENX a b
RPOPLPUSH a b
SDIFF a | SDIFF a b c
SDIFFCARD 1 a | SDIFFCARD 2 a b LIMIT 3
SDIFFSTORE to a | SDIFFSTORE to a b
SINTER a | SINTER a b c
SINTERCARD 1 a | SINTERCARD 2 a b LIMIT 3
SINTERSTORE to a | SINTERSTORE to a b
SMOVE a b member
SORT a | SORT a STORE b | SORT a LIMIT 0 1 ALPHA STORE b DESC
SORT_RO a | SORT_RO a LIMIT 1 2 DESC
SUNION a | SUNION a b c
SUNIONCARD 1 a | SUNIONCARD 2 a b LIMIT 3
SUNIONSTORE to a | SUNIONSTORE to a b
TOUCH a | TOUCH a b
UNLINK a | UNLINK a b
XREAD STREAMS a 0 | XREAD COUNT 2 STREAMS a b c 0 1 2 | XREAD count 1 block 0 streams a b $ $
XREADGROUP GROUP g c STREAMS a > | XREADGROUP GROUP g c COUNT 1 NOACK STREAMS a b > 0
XREADGROUP GROUP STREAMS STREAMS STREAMS a b > 0
ZDIFF 1 a | ZDIFF 2 a b WITHSCORES
ZDIFFSTORE to 1 a | ZDIFFSTORE to 2 a b
ZINTER 1 a | ZINTER 2 a b WEIGHTS 1 2
ZINTERCARD 1 a | ZINTERCARD 2 a b LIMIT 1
ZINTERSTORE to 1 a | ZINTERSTORE to 2 a b AGGREGATE MAX
ZMPOP 1 a MIN | ZMPOP 2 a b MAX COUNT 2
ZRANGESTORE to a 0 -1 | ZRANGESTORE to a 0 -1 REV
ZUNION 1 a | ZUNION 2 a b WITHSCORES
BLMOVE a b LEFT RIGHT 0 | BLMPOP 0 2 a b LEFT | BLPOP a b 0 | BRPOP a 0 | BRPOPLPUSH a b 0
BZMPOP 0 2 a b MIN | BZPOPMAX a b 0 | BZPOPMIN a 0
MIGRATE host 1 a 0 10 | MIGRATE host 1 a 0 10 COPY
BLMOVEM a b LEFT RIGHT 2 0
ZUNIONSTORE to 1 a | ZUNIONSTORE to 2 a b WEIGHTS 1 2
"""
"""Requests of every command that may have several keys."""

REQUESTS = [example.encode().split() for line in EXAMPLES.split("\n") if line for example in line.split("|")]
NEWER = {
    b"BLMOVEM": [b"a", b"b"],
    b"LMOVEM": [b"a", b"b"],
    b"SDIFFCARD": [b"a", b"b"],
    b"SUNIONCARD": [b"a", b"b"],
    b"MSETEX": [b"a", b"b"],
}
"""Commands that the servers in these tests may not know, and the keys of their longest example."""


def found_keys(request: list[bytes]) -> list[bytes]:
    """The keys that this project finds."""
    name = request[0].decode().lower()
    if name in ("sort", "sort_ro"):
        return sort_keys(request)[0]
    return keys_of(COMMAND_INFO[name], request)


def keys_by(server: RedisServer, request: list[bytes]) -> list[bytes] | None:
    """The keys that a server finds; None if it does not know the command, or refuses the request."""
    reply = server.ask("COMMAND", "GETKEYS", *request)
    if reply == b"-ERR The command has no key arguments\r\n":
        return []
    return None if reply.startswith(b"-") else arguments(reply)


def test_no_command_is_forgotten() -> None:
    several = {
        row.name
        for row in COMMANDS
        if row.one_key < ANY_NUMBER or row.numkeys or row.routing in (Routing.SEARCHED_KEYS, Routing.BLOCKING)
    }
    assert {request[0].decode().lower() for request in REQUESTS} == several - {"move", "wait", "waitaof"}


@pytest.mark.parametrize("name", [name for name, info in COMMAND_INFO.items() if len(info.key_specs) > 1])
def test_several_specifications_are_several_keys(name: str) -> None:
    row = COMMANDS[BY_NAME[name]]
    assert row.one_key == 0 or row.routing in (Routing.SEARCHED_KEYS, Routing.BLOCKING, Routing.REFUSED)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: b" ".join(request).decode())
def test_keys_are_those_servers_find(redis: RedisServer, valkey: ValkeyServer, request_: list[bytes]) -> None:
    opinions = [keys_by(redis, request_), keys_by(valkey, request_)]
    known = [keys for keys in opinions if keys is not None]
    if not known and request_[0] in NEWER and b"2" in request_:
        known = [NEWER[request_[0]]]
    assert known or request_[0] in NEWER, "no server knows it"
    for keys in known:
        assert sorted(found_keys(request_)) == sorted(keys)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: b" ".join(request).decode())
def test_requests_with_several_keys_go_to_no_key(flavour: Load, request_: list[bytes]) -> None:
    codec: Any = Parser(flavour("twemproxy.protocol.redis.codec").RedisCodec())
    _, route, *rest = request_meaning(codec, command(*request_))
    keys = found_keys(request_)
    if route == TO_KEY:
        assert rest == keys
    elif len(keys) > 1:
        assert route in (SCATTER, COLOCATED, SLOW_PATH, REJECT)
    if route == COLOCATED:
        assert codec.keys(command(*request_), 3) == keys
        assert codec.found_keys(command(*request_)) in (None, keys)


SEARCHED = ["georadius", "georadiusbymember", "zdiffstore", "zinterstore", "zunionstore"]
"""Commands whose keys are found by ``keys`` only: an option has a key, or framing does not read the count."""
MANY_WORDS = st.lists(st.sampled_from([b"0", b"1", b"2", b"3", b"-1", b"a", b"", b"b" * 300, b"\r\n$1"]), max_size=9)
ONE_ROUTE = [row.name for row in COMMANDS if row.routing in (Routing.KEY, Routing.COUNTED_KEYS)]


@given(name=st.sampled_from(ONE_ROUTE), words=MANY_WORDS)
def test_keys_that_need_no_search_are_the_same(flavour: Load, name: str, words: list[bytes]) -> None:
    codec: Any = Parser(flavour("twemproxy.protocol.redis.codec").RedisCodec(permitted=["*"]))
    data = command(name, *words)
    if request_meaning(codec, data)[1] == COLOCATED:
        found = codec.found_keys(data)
        assert found == (None if name in SEARCHED else codec.keys(data, 3))


WORDS = st.sampled_from([b"STORE", b"streams", b"0", b"1", b"2", b"3", b"-1", b"a", b"b", b"9" * 12])
STRICT = ["zunionstore", "zdiff", "sintercard", "lmpop", "eval", "bitop", "copy", "lcs", "msetnx", "pfmerge", "sunion"]


@given(name=st.sampled_from(STRICT), words=st.lists(WORDS, min_size=1, max_size=8))
def test_any_words(redis: RedisServer, name: str, words: list[bytes]) -> None:
    """Where redis finds keys, this project finds the same keys; redis would not execute the other requests."""
    request = [name.encode(), *words]
    keys = keys_by(redis, request)
    if keys:
        assert found_keys(request) == keys


def test_a_keyword_is_searched_from_either_side() -> None:
    words = [b"name", b"KEYS", b"a", b"keys", b"b", b"KEYS"]
    for start, at in [(1, 2), (2, 4), (5, None), (-2, 4), (-3, 4), (-4, 2)]:
        assert _begin(KeySpec(("keyword", "KEYS", start), ("range", -1, 1, 0)), words) == at
    assert _begin(KeySpec(("unknown",), ("unknown",)), words) is None


# --- SORT, XREAD -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "keys", "by_pattern"),
    [
        ("SORT a", "a", False),
        ("SORT a BY nosort", "a", False),
        ("SORT a BY weight_*", "a", True),
        ("SORT a GET #", "a", False),
        ("SORT a get # GET data_*->field", "a", True),
        ("SORT a LIMIT BY * STORE b", "a b", False),
        ("SORT a STORE b STORE c", "a c", False),
        ("SORT a STORE BY", "a BY", False),
        ("SORT BY BY w* STORE GET", "BY GET", True),
        ("SORT a STORE", "a", False),
        ("SORT a BY", "a", False),
        ("SORT_RO a ALPHA DESC BY x*", "a", True),
    ],
)
def test_sort(text: str, keys: str, by_pattern: bool) -> None:
    assert sort_keys(text.encode().split()) == (keys.encode().split(), by_pattern)


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        ("XREAD STREAMS a 0", False),
        ("XREAD BLOCK 0 STREAMS a 0", True),
        ("XREAD COUNT 1 block 5 STREAMS a 0", True),
        ("XREAD COUNT BLOCK STREAMS a 0", False),
        ("XREAD STREAMS BLOCK 0", False),
        ("XREADGROUP GROUP BLOCK BLOCK STREAMS a >", False),
        ("XREADGROUP GROUP g c NOACK BLOCK 1 STREAMS a >", True),
        ("XREADGROUP GROUP STREAMS STREAMS BLOCK 1 STREAMS a >", True),
        ("XREAD", False),
    ],
)
def test_blocks(text: str, waits: bool) -> None:
    assert blocks(text.encode().split()) == waits
