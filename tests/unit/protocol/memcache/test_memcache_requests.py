"""How memcached requests are routed, which of their bytes are forwarded, and which requests the proxy refuses."""

from typing import Any

import pytest
from feeding import (
    BROADCAST,
    COMPLETE,
    MALFORMED,
    NOREPLY,
    QUIET,
    REJECT,
    REST_OF_LINE,
    SCATTER,
    SLOW_PATH,
    STATUS,
    TO_KEY,
    VALUES,
    Parser,
    messages,
    request_meaning,
)
from memcache_tables import ADMINISTRATION, BAD_BLOCKS, CHUNK, FORWARDED, REFUSED, Block, Forwarded, Refused

from harness.flavours import Load
from twemproxy.protocol.memcache.commands import COMMANDS, KIND_NAMES, Form
from twemproxy.protocol.memcache.errors import TEXTS, Problem

MODULE = "twemproxy.protocol.memcache.codec"
ROWS = {command.name.encode(): row for row, command in enumerate(COMMANDS)}
META_KNOWN = 1


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return Parser(flavour(MODULE).MemcacheCodec(["flush_all", "verbosity"]))


@pytest.fixture(scope="session")
def strict(flavour: Load) -> Any:
    """The codec of a pool without permissions."""
    return Parser(flavour(MODULE).MemcacheCodec())


def line(text: str) -> bytes:
    return text.encode() + b"\r\n"


def found_key(codec: Any, request: bytes) -> bytes:
    key = codec.decoded_key() if codec.key_decoded else request[codec.key_start : codec.key_end]
    assert isinstance(key, bytes)
    return key


# --- the table of commands -------------------------------------------------------------------------------------------


def test_values_of_enumerations_are_those_of_compiled_code() -> None:
    assert [form.value for form in Form] == list(range(16))
    assert [problem.value for problem in Problem] == list(range(22))
    assert set(TEXTS) == set(Problem) - {Problem.NONE}


def test_every_command_is_in_a_table_of_these_tests() -> None:
    known = {row.request.split()[0].decode() for row in FORWARDED} | {*ADMINISTRATION, "mn", "quit"}
    assert known == {command.name for command in COMMANDS}


# --- forwarded requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", FORWARDED, ids=lambda row: repr(row.request))
def test_what_is_forwarded_and_expected(codec: Any, row: Forwarded) -> None:
    request = row.request
    assert codec.find_request(request, 0, len(request)) == COMPLETE
    assert codec.end == len(request)
    assert codec.command == ROWS[request.split()[0]]
    assert codec.route == row.route
    if row.route == TO_KEY:
        assert found_key(codec, request) == row.key
    forwarded = request[: codec.strip_start] + request[codec.strip_end :]
    assert forwarded == (row.forwarded or request)
    assert codec.expected == KIND_NAMES.index(row.kind) | row.unwanted
    assert codec.required_features == (META_KNOWN if request.startswith((b"mg", b"ms", b"md", b"ma", b"me")) else 0)
    assert codec.discard == 0


@pytest.mark.parametrize("request_line", [b"verbosity 1", b"flush_all"])
def test_how_replies_of_all_servers_become_one(codec: Any, request_line: bytes) -> None:
    assert request_meaning(codec, request_line + b"\r\n")[1] == BROADCAST
    assert codec.merge == STATUS


@pytest.mark.parametrize("head", [b"get", b"gets", b"gat 0", b"gats -1"])
def test_several_keys_are_for_each_server(codec: Any, head: bytes) -> None:
    request = head + b"  a b   a \n"
    _, route, expected, forwarded, merge, n, items = request_meaning(codec, request)
    assert (route, merge, n, forwarded) == (SCATTER, VALUES, 3, request)
    assert expected == KIND_NAMES.index("retrieval")
    assert items == ((b"a", b" a"), (b"b", b" b"), (b"a", b" a"))


@pytest.mark.parametrize(
    "request_line", [b"mn", b"mn foo", b" mn ", b"quit", b"quit foo", b"stats", b"stats servers", b"stats x"]
)
def test_what_the_proxy_answers(codec: Any, request_line: bytes) -> None:
    for end in (b"\r\n", b"\n", b" \r\n"):
        assert request_meaning(codec, request_line + end)[1] == SLOW_PATH


# --- refused requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: repr(row.line))
def test_what_is_refused_and_dropped(codec: Any, row: Refused) -> None:
    for end in (b"\r\n", b"\n", b" \r\n"):
        if row.line.endswith(b"\r") and end == b"\n":
            continue
        request = row.line + end
        assert codec.find_request(request, 0, len(request)) == COMPLETE
        assert (codec.end, codec.route, codec.discard) == (len(request), REJECT, len(row.block))
        assert codec.refusal() == line(row.text)
        assert bool(codec.expected & NOREPLY) == row.muted
        found, _ = messages(codec, request + row.block + b"mn\r\n", True)
        assert [message.data for message in found] == [request, b"mn\r\n"]


@pytest.mark.parametrize("name", ADMINISTRATION)
def test_administration_is_refused_with_the_reason(codec: Any, name: str) -> None:
    for arguments in ("", " x y", " noreply"):
        [message], _ = messages(codec, f"{name}{arguments}\r\n".encode(), True)
        text = message.meaning[-1].decode()
        assert message.meaning[1] == REJECT
        assert text.startswith(f"CLIENT_ERROR '{name}' is not available through this proxy: ")
        assert text.endswith("\r\n")


@pytest.mark.parametrize("arguments", [b"", b" 5", b" noreply", b" 5 noreply", b" x"])
def test_flush_all_needs_permission(strict: Any, codec: Any, arguments: bytes) -> None:
    request = b"flush_all" + arguments + b"\r\n"
    assert request_meaning(strict, request)[1] == REJECT
    muted = b"noreply" in arguments
    assert bool(strict.expected & NOREPLY) == muted
    assert strict.refusal() == (
        b"CLIENT_ERROR flush_all is not allowed in this pool: 'allow_commands: flush_all' in its configuration "
        b"allows it\r\n"
    )
    assert (request_meaning(codec, request)[1] == BROADCAST) == (arguments != b" x")


def test_permission_for_one_is_for_none_else(flavour: Load) -> None:
    allowed = Parser(flavour(MODULE).MemcacheCodec([command.name for command in COMMANDS]))
    for name in ADMINISTRATION:
        assert request_meaning(allowed, name.encode() + b"\r\n")[1] == REJECT


@pytest.mark.parametrize("name", sorted(ROWS))
def test_only_whole_names_in_lower_case_are_names(codec: Any, name: bytes) -> None:
    for other in (name[:-1], name + b"x", name.upper(), name.title(), b"x" + name, name[:-1] + b"\0"):
        if other not in ROWS:
            found, _ = messages(codec, other + b" k 1\r\n", True)
            assert [message.meaning for message in found] == [(-1, REJECT, b"ERROR\r\n")]


# --- data blocks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", BAD_BLOCKS)
@pytest.mark.parametrize("head", [b"set k 0 0 5", b"cas k 0 0 5 1", b"ms k 5 T0", b"append k 0 0 5 noreply"])
def test_a_block_that_ends_wrong_is_refused_and_its_line_dropped(codec: Any, head: bytes, row: Block) -> None:
    request = head + b"\r\n" + row.data
    assert codec.find_request(request, 0, len(request)) == COMPLETE
    assert (codec.end, codec.route, codec.discard) == (len(head) + 2 + row.end, REJECT, row.discard)
    assert codec.refusal() == line(CHUNK)
    assert bool(codec.expected & NOREPLY) == head.endswith(b"noreply")
    rest = request[codec.end :]
    if row.discard == REST_OF_LINE:
        rest = rest[rest.index(b"\n") + 1 :]
    found, _ = messages(codec, request, True)
    assert b"".join(message.data for message in found[1:]) == rest


def test_the_block_of_a_refused_line_is_never_commands(codec: Any) -> None:
    block = b"mn\r\n" * 50
    for head in (b"set %s 0 0 %d", b"ms %s %d T0", b"set %s 0 0 %d noreply"):
        request = head % (b"k" * 251, len(block)) + b"\r\n" + block + b"\r\n"
        found, _ = messages(codec, request + b"mn foo\n", True, range(0, len(request), 7))
        assert [message.data for message in found[1:]] == [b"mn foo\n"]


def test_endless_lengths_end_the_connection(codec: Any) -> None:
    for head in (b"set k 0 0 %s", b"cas k 0 0 %s 1", b"ms k %s", b"set k 0 0 %s noreply", b"set k x 0 %s a b"):
        for length in (
            b"2147483646",
            b"+2147483646",
            b"0" * 30 + b"2147483646",
            b"9" * 300,
            b"2147483646\t",
            b"9" * 20,
        ):
            found, _ = messages(codec, head % length + b"\r\nmn\r\n", True)
            assert [message.frame for message in found] == [MALFORMED]
            assert found[0].meaning == (b"CLIENT_ERROR bad command line format\r\n",)


# --- blanks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blanks", [b"", b" ", b"   "])
def test_blanks_behind_the_last_argument_change_nothing(codec: Any, blanks: bytes) -> None:
    _, route, expected, forwarded = request_meaning(codec, b"flush_all noreply%s\r\n" % blanks)
    assert (route, expected & NOREPLY, forwarded) == (BROADCAST, NOREPLY, b"flush_all%s\r\n" % blanks)
    assert request_meaning(codec, b"stats servers%s\n" % blanks)[1] == SLOW_PATH


@pytest.mark.parametrize("row", FORWARDED, ids=lambda row: repr(row.request))
def test_blanks_between_arguments_change_nothing(codec: Any, row: Forwarded) -> None:
    head, end, block = row.request.partition(b"\n")
    spread = b"  " + head.replace(b" ", b"   ").removesuffix(b"\r") + b"  \r" + end + block
    assert request_meaning(codec, spread)[1] == row.route
    if row.route == TO_KEY:
        assert found_key(codec, spread) == row.key
    assert codec.expected & (QUIET | NOREPLY) == row.unwanted
    forwarded = spread[: codec.strip_start] + spread[codec.strip_end :]
    assert forwarded.split(b"\n")[0].split() == (row.forwarded or row.request).split(b"\n")[0].split()
