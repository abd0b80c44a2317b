"""Requests that would be long work for the proxy: how many arguments it reads, and which requests it refuses."""

from typing import Any

import pytest
from feeding import SLOW_PATH, Parser, request_meaning
from hypothesis import given
from hypothesis import strategies as st
from redis_peers import Pool, ask, finished, new_session, plan

from harness.flavours import Load
from harness.resp import array, bulk, error, integer
from twemproxy.protocol.plan import Answer, ToServer
from twemproxy.protocol.redis import builtin_commands
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.commands import COMMANDS, PERMITTED_BY_DIRECTIVE, Routing, carries_no_value
from twemproxy.protocol.redis.errors import LONG_TOPIC, MANY_ARGUMENTS, REFUSALS, SYNTAX_ERROR
from twemproxy.protocol.redis.fan_out_commands import MOST_MERGED
from twemproxy.protocol.redis.inline import bulk_elements
from twemproxy.protocol.redis.keys import MOST_LOOKED_UP
from twemproxy.protocol.redis.planning import REJECT
from twemproxy.protocol.redis.pubsub_commands import LONGEST_TOPIC
from twemproxy.protocol.redis.resp_decoder import elements, parse
from unit.fakes import S0

CODEC = Parser(RedisCodec(permitted=PERMITTED_BY_DIRECTIVE))
LARGEST = 4 * 1024 * 1024
ONE = b"$1\r\nx\r\n"


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return Parser(flavour("twemproxy.protocol.redis.codec").RedisCodec(permitted=PERMITTED_BY_DIRECTIVE))


def long_request(*words: str, count: int) -> bytes:
    """A request that begins with these words and has this number of arguments."""
    head = b"*%d\r\n" % count + b"".join(bulk(word) for word in words)
    return head + ONE * (count - len(words))


def many(name: str, most: int = MOST_LOOKED_UP) -> Answer:
    """The error reply to a request with too many arguments."""
    return Answer(error(MANY_ARGUMENTS.format(name=name, most=most)))


def planned(request: bytes, servers: int = 3, session: Any = None) -> Any:
    """The plan for a complete request."""
    assert request_meaning(CODEC, request)[1] == SLOW_PATH or session is not None
    return CODEC.plan(request, session or new_session(pool=Pool(servers=servers)))


# --- requests that the proxy answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", builtin_commands.ANSWERS)
def test_few_arguments_of_what_the_proxy_answers_are_looked_at(name: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy reads MOST_ARGUMENTS arguments, more than any of these commands takes, so the reply stays the same."""
    answer, looked_at = builtin_commands.ANSWERS[name], []

    def noted(arguments: list[bytes], session: Any) -> bytes | None:
        looked_at.append(len(arguments))
        return answer(arguments, session)

    monkeypatch.setitem(builtin_commands.ANSWERS, name, noted)
    for word in ("x", "whoami", "getname", "reply", "setinfo", "count", "list"):
        replies = set()
        for count in (builtin_commands.MOST_ARGUMENTS + 1, 50_000):
            request = long_request(name.decode(), word, count=count)
            if request_meaning(CODEC, request)[1] == SLOW_PATH:
                replies.add(finished(CODEC.plan(request, new_session())))
        assert len(replies) <= 1
    assert all(count == builtin_commands.MOST_ARGUMENTS for count in looked_at)


def test_containers_have_short_arguments_but_for_functions() -> None:
    containers = {row.name for row in COMMANDS if row.routing == Routing.BY_SUBCOMMAND}
    assert {row.name for row in COMMANDS if carries_no_value(row)} & containers == containers - {"function"}


def test_hello_has_few_options() -> None:
    session = new_session()
    options = [b"SETNAME", b"x"] * 15
    assert ask(CODEC, session, b"HELLO", b"3", *options).startswith(b"%")
    assert ask(CODEC, session, b"HELLO", b"3", *options, b"SETNAME") == error(SYNTAX_ERROR)


@pytest.mark.parametrize("row", {row.routing: row for row in COMMANDS}.values(), ids=lambda row: row.name)
def test_large_requests_are_for_commands_with_values(codec: Any, row: Any) -> None:
    """A request of more than LARGEST bytes is refused if its command carries no value."""
    count = max(abs(row.arity), 3)
    words = [row.name.encode(), *[b"1"] * (count - 2)]
    head = b"*%d\r\n" % count + b"".join(map(bulk, words))
    for size in (LARGEST, LARGEST + 1):
        value = size - len(head) - len(b"$0000000\r\n\r\n")
        request = head + b"$%07d\r\n" % value + bytes(value) + b"\r\n"
        assert len(request) == size
        if request_meaning(codec, request)[1] == REJECT:
            refusal = codec.refusal() == error(REFUSALS[7].format(name=row.name))
            assert refusal == (size > LARGEST and carries_no_value(row))
        else:
            assert size == LARGEST or not carries_no_value(row)


# --- planned requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "watch",
        "blpop",
        "xread streams",
        "sort k",
        "copy a a",
        "bzmpop 1 99999",
        "script exists",
        "pubsub numsub",
        "scan 0",
    ],
)
def test_many_arguments_are_not_looked_at(text: str) -> None:
    name = text.replace(" exists", "|exists").replace(" numsub", "|numsub").split()[0]
    assert planned(long_request(*text.split(), count=MOST_LOOKED_UP + 1)) == many(name)
    assert planned(long_request(*text.split(), count=MOST_LOOKED_UP)) != many(name)


@pytest.mark.parametrize(("servers", "right"), [(1, False), (3, True)])
def test_where_there_is_one_server_keys_are_not_looked_up(servers: int, right: bool) -> None:
    session = new_session(pool=Pool(servers=servers))
    assert plan(CODEC, session, b"MULTI") == Answer(b"+OK\r\n")
    request = long_request("mset", count=MOST_LOOKED_UP + 1)
    request_meaning(CODEC, request)
    assert (planned(request, session=session) == many("mset")) == right


def test_few_arguments_of_an_unknown_command_are_shown() -> None:
    pool = Pool()
    session = new_session(pool=pool)
    request = long_request("nosuch", count=MOST_LOOKED_UP + 1)
    assert planned(request, session=session) is None
    pool.asked[-1][1](b"*1\r\n$-1\r\n", True)
    request_meaning(CODEC, request)
    shown = "'x' " * 32
    assert planned(request, session=session) == Answer(
        error(f"ERR unknown command 'nosuch', with args beginning with: {shown}")
    )


@pytest.mark.parametrize(
    ("words", "most"),
    [(("script", "exists"), MOST_MERGED), (("pubsub", "numsub"), MOST_MERGED), (("latency", "histogram"), 250)],
)
def test_what_has_to_be_merged_is_bounded(words: tuple[str, ...], most: int) -> None:
    assert planned(long_request(*words, count=most + 1)) == many("|".join(words), most)
    assert not isinstance(planned(long_request(*words, count=most)), Answer)
    if words[0] != "pubsub":
        assert planned(long_request(*words, count=most + 1), servers=1) == ToServer(S0)


def test_long_topics_are_refused() -> None:
    session = new_session()
    subscribed = finished(plan(CODEC, session, b"SUBSCRIBE", b"a", b"c" * LONGEST_TOPIC))
    assert subscribed is not None
    assert subscribed.reply.endswith(integer(2))
    refused = finished(plan(CODEC, session, b"PSUBSCRIBE", b"b", b"c" * (LONGEST_TOPIC + 1)))
    assert refused == Answer(error(LONG_TOPIC.format(name="psubscribe", most=LONGEST_TOPIC)))


# --- elements --------------------------------------------------------------------------------------------------------

pieces = st.sampled_from([b"*", b"$", b"-", b":", b"0", b"1", b"2", b"9", b"\r", b"\n", b"\r\n", b"a", b"$1\r\na\r\n"])


@given(values=st.lists(st.binary(max_size=5), max_size=5))
def test_elements_of_arrays_of_strings(flavour: Load, values: list[bytes]) -> None:
    assert flavour("twemproxy.protocol.redis.inline").bulk_elements(array(*map(bulk, values))) == [*map(bulk, values)]


@given(data=st.lists(pieces, max_size=12).map(b"".join))
def test_anything_else_is_no_array_of_strings(flavour: Load, data: bytes) -> None:
    """An error is raised, or every element that is found is part of the bytes."""
    try:
        found = flavour("twemproxy.protocol.redis.inline").bulk_elements(data)
    except (ValueError, IndexError):
        return
    assert data.endswith(b"".join(found))
    assert all(part.startswith(b"$") for part in found)


@pytest.mark.parametrize("reply", [array(), array(integer(1)), array(array(bulk("a"))), b"~1\r\n" + bulk("a")])
def test_elements_of_other_replies(reply: bytes) -> None:
    whole = parse(reply)
    assert isinstance(whole, list)
    assert [parse(part) for part in elements(reply)] == whole
    if whole:
        with pytest.raises(ValueError, match="no "):
            bulk_elements(reply)
