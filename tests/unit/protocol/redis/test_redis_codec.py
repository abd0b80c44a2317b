"""How requests are routed and split, how their replies are merged, and the proxy's error replies."""

from typing import Any

import pytest
from feeding import (
    COLOCATED,
    COMPLETE,
    MALFORMED,
    NEED_MORE,
    REJECT,
    SCATTER,
    SINGLE_SERVER,
    SLOW_PATH,
    STATUS,
    SUM,
    TO_ANY,
    TO_CHANNEL,
    TO_KEY,
    VALUES,
    Parser,
    messages,
    request_meaning,
)
from hypothesis import example, given
from hypothesis import strategies as st
from resp_streams import COUNTED, in_any_case, replies, scalars

from harness.flavours import Load
from harness.resp import array, bulk, command, integer
from harness.servers import RedisServer
from twemproxy.protocol.redis.commands import BY_NAME, COMMANDS, Command, Routing
from twemproxy.protocol.redis.errors import (
    NOT_ALLOWED,
    REFUSALS,
    count_errors,
    error_reply,
    not_available,
    unknown_command,
)
from twemproxy.protocol.redis.inline import decode_request

MODULE = "twemproxy.protocol.redis.codec"
INT64 = st.integers(-(2**63), 2**63 - 1)

SUMS = ["del", "exists", "touch", "unlink"]
KEY = [b"key"]
"""Values in redis replies have no names: the keys of the request do not matter, only their number."""
KEYS = st.lists(st.binary(max_size=8), min_size=1, max_size=20)


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return Parser(flavour(MODULE).RedisCodec())


def refusal(position: int, **words: str) -> bytes:
    """An error reply from the table."""
    return b"-" + REFUSALS[position].format(**words).encode() + b"\r\n"


def count_refusal(name: str, mistake: str) -> bytes:
    """The error reply to a wrong number of keys."""
    return error_reply(getattr(count_errors(name), mistake).format(name=name))


# --- routing ---------------------------------------------------------------------------------------------------------


def expected_meaning(row: Command, arguments: list[bytes]) -> tuple[Any, ...]:
    """The expected meaning of a request of this command; each of its arguments could be a count of keys."""
    n = len(arguments)
    short = n < -row.arity if row.arity < 0 else n != row.arity
    if short and n > 1 and row.name in ("object", "xgroup", "xinfo"):
        return (SLOW_PATH,)
    if short or (row.name == "mset" and n % 2 == 0):
        return (REJECT, refusal(2, name=row.name))
    match row.routing:
        case Routing.REFUSED:
            return (REJECT, not_available(row.name, row.refusal))
        case Routing.ONLY_SERVER:
            return (
                (REJECT, f"-{NOT_ALLOWED.format(name=row.name)}\r\n".encode()) if row.permission else (SINGLE_SERVER,)
            )
        case Routing.BLOCKING | Routing.BY_SUBCOMMAND | Routing.EVERY_SERVER | Routing.LOCAL | Routing.SEARCHED_KEYS:
            permitted = not row.permission
            return (SLOW_PATH,) if permitted else (REJECT, f"-{NOT_ALLOWED.format(name=row.name)}\r\n".encode())
        case Routing.TRANSACTION | Routing.SUBSCRIPTION:
            return (SLOW_PATH,)
        case Routing.ANY_SERVER:
            return (TO_ANY,)
        case Routing.CHANNEL:
            return (TO_CHANNEL, arguments[1])
        case Routing.KEY:
            return (TO_KEY, arguments[row.first_key]) if n <= row.one_key else (COLOCATED,)
        case Routing.COUNTED_KEYS:
            count = int(arguments[row.numkeys])
            if count > n - 1 - row.numkeys - row.behind_keys:
                return (REJECT, count_refusal(row.name, "too_many"))
            if count > 1:
                return (COLOCATED,)
            return (TO_KEY, arguments[row.first_key]) if count else (SINGLE_SERVER,)
    if n - 1 == row.key_step:
        return (TO_KEY, arguments[1])
    merge = {Routing.EACH_KEY_SUM: SUM, Routing.EACH_KEY_VALUES: VALUES, Routing.EACH_PAIR_STATUS: STATUS}[row.routing]
    starts = range(1, n, row.key_step)
    items = tuple((arguments[at], b"".join(map(bulk, arguments[at : at + row.key_step]))) for at in starts)
    return (SCATTER, merge, len(items), items)


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_row_of_the_table_is_routed(codec: Any, row: Command) -> None:
    for name in (row.name.encode(), row.name.upper().encode(), row.name.title().encode()):
        for first in (b"0", b"1", b"2", b"9"):
            for n in range(9):
                arguments = [name, *[first, b"1", b"2", b"3", b"4", b"5", b"6", b"7"][:n]]
                expected = (BY_NAME[row.name], *expected_meaning(row, arguments))
                assert request_meaning(codec, command(*arguments)) == expected


@given(name=st.sampled_from([row.name for row in COMMANDS]), data=st.data())
def test_only_whole_names_are_names(codec: Any, name: str, data: st.DataObject) -> None:
    on_rejected = data.draw(
        st.one_of(
            st.just(name.encode()[:-1]),
            st.binary(min_size=1, max_size=2).map(lambda more: name.encode() + more),
            st.tuples(st.integers(0, len(name) - 1), st.binary(min_size=1, max_size=1)).map(
                lambda change: name.encode()[: change[0]] + change[1] + name.encode()[change[0] + 1 :]
            ),
        )
    )
    row, *_ = request_meaning(codec, command(on_rejected, "a", "b"))
    assert row == BY_NAME.get(on_rejected.decode("latin-1").lower() if on_rejected.isascii() else "", -1)


@given(name=st.sampled_from([row.name.encode() for row in COMMANDS]).flatmap(in_any_case))
def test_names_are_known_in_any_case(codec: Any, name: bytes) -> None:
    assert request_meaning(codec, command(name))[0] == BY_NAME[name.decode().lower()]


# --- counts of keys --------------------------------------------------------------------------------------------------

NO_NUMBERS = [b"", b"a", b"-", b"+", b" ", b"/", b":", b"1a", b"a1", b"-a", b"+1", b" 1", b"1 ", b"01", b"-0", b"-01"]
NO_NUMBERS += [b"00", b"1.0", b"0x1", b"\x00", b"9" * 11, b"9" * 25, b"-" + b"9" * 10, b"\xb2"]


def counted(name: bytes, count: bytes, *keys: bytes) -> bytes:
    """A request of a command that has a count of keys."""
    row = COMMANDS[BY_NAME[name.decode()]]
    return command(name, *["x"] * (row.numkeys - 1), count, *keys)


@pytest.mark.parametrize("count", NO_NUMBERS)
def test_what_is_no_number_of_keys_is_refused(codec: Any, count: bytes) -> None:
    for name in COUNTED:
        request = counted(name, count, b"key", b"more", b"m")
        assert request_meaning(codec, request)[1:] == (REJECT, count_refusal(name.decode(), "no_integer"))


@given(name=st.sampled_from(COUNTED), count=st.integers(1 - 10**9, 10**10 - 1) | st.integers(-2, 6), data=st.data())
def test_number_of_keys(codec: Any, name: bytes, count: int, data: st.DataObject) -> None:
    row = COMMANDS[BY_NAME[name.decode()]]
    arguments = data.draw(st.lists(st.binary(max_size=4), min_size=-row.arity, max_size=7))
    found = request_meaning(codec, counted(name, b"%d" % count, *arguments))[1:]
    if count < 0:
        assert found == (REJECT, count_refusal(row.name, "negative"))
    elif count > len(arguments) - row.behind_keys:
        assert found == (REJECT, count_refusal(row.name, "too_many"))
    else:
        one_key = (TO_KEY, arguments[0]) if arguments else ()
        assert found == ((SINGLE_SERVER,), one_key, (COLOCATED,))[min(count, 2)]


@pytest.mark.parametrize("name", COUNTED)
def test_too_few_arguments_are_the_first_thing_said(codec: Any, redis: RedisServer, name: bytes) -> None:
    row = COMMANDS[BY_NAME[name.decode()]]
    expected = refusal(2, name=row.name)
    for count in (b"a", b"-1", b"5", b"0", b""):
        request = counted(name, count)
        too_few = len(decode_request(request)) < -row.arity
        assert (request_meaning(codec, request)[1:] == (REJECT, expected)) == too_few
        if too_few:
            answer = redis.ask(*decode_request(request))
            assert answer == expected or answer.startswith(b"-ERR unknown command")


@pytest.mark.parametrize("count", [count for count in NO_NUMBERS if len(count) < 11])
def test_redis_takes_it_for_no_number_of_keys_either(redis: RedisServer, count: bytes) -> None:
    assert redis.ask(*decode_request(counted(b"eval", count, b"key", b"more"))) == refusal(4)
    for name in (b"zunion", b"sintercard", b"lmpop"):
        assert redis.ask(*decode_request(counted(name, count, b"key", b"more"))).startswith(b"-ERR ")


# --- splitting -------------------------------------------------------------------------------------------------------


@given(name=st.sampled_from(["mget", "mset", *SUMS]).map(str.encode).flatmap(in_any_case), keys=KEYS, data=st.data())
def test_sub_requests_hold_every_item_once(codec: Any, name: bytes, keys: list[bytes], data: st.DataObject) -> None:
    """Each sub-request is a complete request for the keys of its server, in their original order."""
    pairs = name.lower() == b"mset"
    words = [[key, data.draw(st.binary(max_size=6))] if pairs else [key] for key in keys]
    request = command(name, *(word for item in words for word in item))
    row, route, *rest = request_meaning(codec, request)
    if len(keys) == 1:
        assert (route, *rest) == (TO_KEY, keys[0])
        return
    _, n, items = rest
    assert (route, n, [key for key, _ in items]) == (SCATTER, len(keys), keys)
    servers = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    for server in set(servers):
        chosen = [i for i in range(n) if servers[i] == server]
        assert request_meaning(codec, request)[0] == row
        head, tail = codec.sub_request(request, len(chosen))
        sub_request = head + b"".join(items[i][1] for i in chosen) + tail
        assert sub_request == command(name.lower(), *(word for i in chosen for word in words[i]))
        assert request_meaning(codec, sub_request)[0] == row


@pytest.mark.parametrize("items", [1, 2, 9, 10, 99, 100, 2**31 - 2, 2**30])
@pytest.mark.parametrize("name", ["mget", "mset", *SUMS])
def test_head_of_a_sub_request(codec: Any, name: str, items: int) -> None:
    arguments = items * (2 if name == "mset" else 1) + 1
    head = b"*%d\r\n" % arguments + bulk(name)
    request = command(name, *range(4))
    assert request_meaning(codec, request)[1] == SCATTER
    assert codec.sub_request(request, items) == (head, b"")
    assert len(head) <= 128


def test_any_name_fits_a_sub_request(codec: Any) -> None:
    for row in range(len(COMMANDS)):
        request = command(COMMANDS[row].name)
        assert codec.find_request(request, 0, len(request)) == COMPLETE
        assert codec.command == row
        assert codec.sub_request(request, 2**31 - 2)[0].endswith(bulk(COMMANDS[row].name))


# --- merging ---------------------------------------------------------------------------------------------------------


@given(values=st.lists(replies.filter(lambda reply: reply[:1] != b">"), min_size=1, max_size=12), data=st.data())
def test_values_come_back_in_the_order_of_keys(codec: Any, values: list[bytes], data: st.DataObject) -> None:
    servers = data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)))
    parts = {}
    for server in set(servers):
        own = [value for value, at in zip(values, servers, strict=True) if at == server]
        parts[server] = codec.mergeable_part(array(*own), VALUES, KEY * len(own))
        assert parts[server] == own
    merged = codec.merged(VALUES, len(values), 0) + b"".join(parts[server].pop(0) for server in servers)
    assert merged + codec.merged_end() == array(*values)


def test_missing_value_is_a_null(codec: Any) -> None:
    assert codec.missing() == b"$-1\r\n"


def test_values_are_found_whatever_was_looked_at_before(codec: Any) -> None:
    unfinished = array(bulk("a"), bulk("b"))[:-3]
    assert codec.find_reply(unfinished, 0, len(unfinished)) == NEED_MORE
    assert codec.at > 0
    assert codec.mergeable_part(array(integer(1), integer(2)), VALUES, KEY * 2) == [integer(1), integer(2)]


@given(numbers=st.lists(st.integers(0, 10**10 - 1), min_size=1, max_size=8))
def test_integers_are_added(codec: Any, numbers: list[int]) -> None:
    parts = [codec.mergeable_part(integer(number), SUM, KEY * 3) for number in numbers]
    assert parts == numbers
    assert codec.merged(SUM, 8, sum(parts)) == integer(sum(numbers))


@given(number=INT64)
@example(number=-(2**63))
@example(number=2**63 - 1)
@example(number=0)
def test_any_64_bit_number_is_written(codec: Any, number: int) -> None:
    assert codec.merged(SUM, 1, number) == b":%d\r\n" % number


@pytest.mark.parametrize(
    "number", [b"", b"-1", b"+1", b"x", b"1x", b"1.5", b"1" * 11, b"9223372036854775808", b"9" * 500]
)
def test_only_a_number_of_keys_is_added(codec: Any, number: bytes) -> None:
    """A number that cannot be a count of keys is not added: a server that sends such a number is broken."""
    assert codec.mergeable_part(b":%s\r\n" % number, SUM, KEY) is None


def test_any_status_is_fine(codec: Any) -> None:
    assert codec.mergeable_part(b"+OK\r\n", STATUS, KEY * 4) is not None


@given(reply=scalars | replies, items=st.integers(1, 4))
def test_only_what_the_request_is_answered_with_is_mergeable(codec: Any, reply: bytes, items: int) -> None:
    kind = reply[:1]
    is_count = kind == b":" and 0 < len(reply[1:-2]) <= 10 and reply[1:-2].isdigit()
    assert (codec.mergeable_part(reply, SUM, KEY * items) is not None) == is_count
    assert (codec.mergeable_part(reply, STATUS, KEY * items) is not None) == (kind == b"+")
    is_array = kind == b"*" and reply.startswith(b"*%d\r\n" % items)
    assert (codec.mergeable_part(reply, VALUES, KEY * items) is not None) == is_array


@pytest.mark.parametrize(
    "reply", [b"*-1\r\n", b"*0\r\n", b"*1\r\n:1\r\n", b"~2\r\n:1\r\n:2\r\n", b"%1\r\n:1\r\n:2\r\n"]
)
def test_arrays_of_another_length_are_not_mergeable(codec: Any, reply: bytes) -> None:
    assert codec.mergeable_part(reply, VALUES, KEY * 2) is None


# --- refusals, compared with the errors of redis ---------------------------------------------------------------------

TEXTS = st.one_of(
    st.binary(max_size=40), st.text(max_size=40).map(str.encode), st.sampled_from(["é".encode() * 70, b"x" * 127])
)


@given(name=TEXTS, arguments=st.lists(TEXTS, max_size=8))
@example(name=b"x" * 300, arguments=[b"y" * 300])
@example(name="é".encode() * 64 + b"x", arguments=["é".encode() * 60, b"y" * 100])
@example(name=b"a\r\nb", arguments=[b"\n", b"\r\n"])
@example(name=b"", arguments=[b"", b"'"])
@example(name=b"a\0b", arguments=[b"\0", b"c\0" + b"x" * 300, b"y" * 300])
def test_unknown_command_is_refused_in_the_words_of_redis(
    codec: Any, redis: RedisServer, name: bytes, arguments: list[bytes]
) -> None:
    name = b"_" + name
    assert request_meaning(codec, command(name, *arguments)) == (-1, SLOW_PATH)
    assert unknown_command([name, *arguments]) == redis.ask(name, *arguments)


def test_other_kind_of_argument_is_shown_as_redis_shows_it(codec: Any, redis: RedisServer) -> None:
    for found in sorted(set(range(1, 256)) - set(b"$\r\n")):
        data = b"*1\r\n" + bytes([found]) + b"1\r\n"
        with redis.connect() as direct:
            direct.send(data)
            expected = direct.read_to_end()
        [message] = messages(codec, data, True)[0]
        assert (message.frame, message.meaning) == (MALFORMED, (expected,))


@pytest.mark.parametrize("found", [b"\r", b"\n", b"\0"])
def test_any_kind_of_argument_makes_one_line(codec: Any, found: bytes) -> None:
    data = b"*1\r\n" + found + b"\r\n"
    [message] = messages(codec, data, True)[0]
    assert message.meaning[0].startswith(b"-ERR Protocol error: expected '$', got '")
    assert message.meaning[0].count(b"\r") == message.meaning[0].count(b"\n") == 1


def test_keyless_request_in_a_pool_of_several_servers(codec: Any) -> None:
    request = command("EVAL", "return 1", "0")
    assert request_meaning(codec, request)[1] == SINGLE_SERVER
    answer = codec.only_refusal(3)
    assert answer.startswith(b"-ERR 'eval' without keys")
    assert b" 3 servers" in answer
    assert answer.endswith(b"\r\n")


def test_errors_are_lines(codec: Any) -> None:
    assert codec.error("no\r\nserver") == b"-ERR no  server\r\n"


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_commands_that_redis_calls_readonly_can_be_repeated(codec: Any, row: Command) -> None:
    for name in (row.name, row.name.upper()):
        assert codec.repeats(command(name, "a", "b")) == row.readonly
    assert not codec.repeats(command(row.name + "x", "a"))


def test_known_reads_and_writes_are_told_apart(codec: Any) -> None:
    assert all(codec.repeats(command(*words)) for words in (["GET", "a"], ["mget", "a", "b"], ["hgetall", "a"]))
    assert not any(codec.repeats(command(*words)) for words in (["SET", "a", "1"], ["INCR", "a"], ["GETDEL", "a"]))


@pytest.mark.parametrize(
    "data", [b"", b"*", b"*1\r\n", b"*1\r\n$3", b"*1\r\n$3\r\n", b"*1\r\n$3\r\nGET", b"$\n", b"GET a\r\n"]
)
def test_parts_of_requests_cannot_be_repeated(codec: Any, data: bytes) -> None:
    assert not codec.repeats(data)
