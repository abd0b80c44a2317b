"""Commands that the table does not know: the question to a server, the use of its reply, and how long it is valid."""

from typing import Any

import pytest
from redis_peers import Pool, ask, new_session, plan

from harness.resp import NULL, OK, array, bulk, command, error, integer
from twemproxy.protocol.plan import Answer, Ask, ToPrivate, ToServer
from twemproxy.protocol.redis import command_discovery
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.errors import CROSS_SERVER, KEYLESS, ONE_SERVER_ONLY
from twemproxy.protocol.redis.session import Session
from unit.fakes import S0, S1, S2, fake_servers

NONE = array(NULL)
UNKNOWN = "ERR unknown command 'module.do', with args beginning with: 'a' "
NAME = "module.do"


def words(*names: str) -> bytes:
    """An array of status lines."""
    return array(*(b"+" + name.encode() + b"\r\n" for name in names))


def fields(name: str, arity: int, flags: bytes, *more: bytes) -> bytes:
    """The element of a command in a reply to COMMAND INFO."""
    return array(bulk(name), integer(arity), flags, *more)


def keyed(first: int, last: int, step: int, flags: bytes = words("write")) -> bytes:
    """The reply of a redis before version 7 to COMMAND INFO."""
    return array(fields(NAME, -2, flags, integer(first), integer(last), integer(step), words("@write")))


def mapping(**items: bytes) -> bytes:
    """A map in RESP2."""
    return array(*(part for name, value in items.items() for part in (bulk(name), value)))


def step(kind: str, **items: int | str) -> bytes:
    """A step of a key specification."""
    return mapping(type=bulk(kind), spec=mapping(**{name: _value(value) for name, value in items.items()}))


def _value(value: int | str) -> bytes:
    return integer(value) if isinstance(value, int) else bulk(value)


def spec(begin: bytes, find: bytes, *flags: str) -> bytes:
    """A key specification."""
    return mapping(flags=words(*flags), begin_search=begin, find_keys=find)


AT_1 = step("index", index=1)
ONE = step("range", lastkey=0, keystep=1, limit=0)


def described(
    *specs: bytes,
    flags: bytes = words("write"),
    subcommands: bytes = b"*0\r\n",
    name: str = NAME,
    tips: tuple[str, ...] = (),
    category: str = "@write",
) -> bytes:
    """The reply of redis 7 to COMMAND INFO."""
    about = (words(category), array(*map(bulk, tips)), array(*specs), subcommands)
    element = fields(name, -2, flags, *[integer(0)] * 3, *about)
    return array(element)


def subcommand(name: str, *specs: bytes, flags: bytes = words("write")) -> bytes:
    """The element of a sub-command in a reply to COMMAND INFO."""
    return fields(name, -2, flags, *[integer(0)] * 3, words("@write"), words(), array(*specs), words())


class Asking:
    """A client of a pool with this number of servers; ``answers``: their replies to lookups, in order."""

    def __init__(self, *answers: bytes, servers: int = 3, answered: bool = True) -> None:
        self.pool = Pool(servers=servers)
        self.codec = RedisCodec()
        self.session = new_session(pool=self.pool)
        self.answers = list(answers)
        self.answered = answered

    def plan(self, text: str, session: Session | None = None) -> Any:
        """The plan for a request; if it needs a lookup, the server replies with the next of ``answers``."""
        planned = plan(self.codec, session or self.session, *text.encode().split())
        if planned is None:
            self.answer(self.answers.pop(0))
            planned = plan(self.codec, session or self.session, *text.encode().split())
        return planned

    def answer(self, reply: bytes) -> None:
        """Let the server answer the last question."""
        _, done = self.pool.asked[-1]
        done(reply, self.answered)

    def questions(self) -> list[bytes]:
        """The requests of all lookups."""
        return [asked[0] for asked in self.pool.asked if isinstance(asked, tuple)]


def refused(text: str) -> Answer:
    """The plan for a request that is refused with this error."""
    return Answer(error(text))


# --- lookups ---------------------------------------------------------------------------------------------------------


def test_a_server_is_asked_once() -> None:
    asking = Asking(keyed(1, 1, 1))
    assert asking.plan("Module.DO a") == ToServer(S1)
    for _ in range(3):
        assert asking.plan("module.do b") == ToServer(S2)
    assert asking.questions() == [array(bulk("COMMAND"), bulk("INFO"), bulk("module.do"))]


def test_clients_that_wait_for_the_same_answer_are_all_woken() -> None:
    asking = Asking()
    sessions = [new_session(pool=asking.pool) for _ in range(50)]
    for session in sessions:
        assert plan(asking.codec, session, b"module.do", b"a") is None
    assert len(asking.questions()) == 1
    asking.answer(keyed(1, 1, 1))
    assert [session.client.woken for session in sessions] == [1] * 50  # type: ignore[attr-defined]
    assert {plan(asking.codec, session, b"module.do", b"a") for session in sessions} == {ToServer(S1)}
    assert len(asking.questions()) == 1


def test_different_names_are_asked_for_at_the_same_time() -> None:
    asking = Asking()
    assert plan(asking.codec, asking.session, b"module.do", b"a") is None
    assert plan(asking.codec, new_session(pool=asking.pool), b"module.other", b"a") is None
    assert len(asking.questions()) == 2


def test_that_there_is_none_is_believed_for_a_while() -> None:
    asking = Asking(NONE, keyed(1, 1, 1))
    assert asking.plan("module.do a") == refused(UNKNOWN)
    asking.pool.time += command_discovery.FORGET_AFTER - 1
    assert asking.plan("module.do a") == refused(UNKNOWN)
    assert len(asking.questions()) == 1
    asking.pool.time += 1
    assert asking.plan("module.do a") == ToServer(S1)
    asking.pool.time += 100 * command_discovery.FORGET_AFTER
    assert asking.plan("module.do a") == ToServer(S1), "a known command stays known"
    assert len(asking.questions()) == 2


@pytest.mark.parametrize("answered", [True, False])
def test_an_error_is_believed_for_a_second(answered: bool) -> None:
    asking = Asking(error("LOADING it starts"), error("LOADING still"), answered=answered)
    assert asking.plan("module.do a") == refused("LOADING it starts")
    asking.pool.time += command_discovery.ASK_AGAIN_AFTER - 1
    assert asking.plan("module.do a") == refused("LOADING it starts")
    asking.pool.time += 1
    assert asking.plan("module.do a") == refused("LOADING still")


def test_servers_without_command_know_no_command() -> None:
    """The error of such a server names COMMAND, which the client has not sent."""
    asking = Asking(error("ERR unknown command 'COMMAND', with args beginning with: 'INFO' 'module.do' "))
    assert asking.plan("module.do a") == refused(UNKNOWN)


@pytest.mark.parametrize(
    "name",
    [
        b"x" * (command_discovery.LONGEST_NAME + 1),
        b"x" * 100_000,
        b"\x00",
        b"a\r\nb",
        b"caf\xc3\xa9",
        b"\xff\xfe",
        b"\xe2\x84\xaaeys",
        b"config|get",
        b"acl|whoami",
        b"script|load",
        b"object|encoding",
        b"|",
    ],
    ids=lambda name: repr(name[:12]),
)
def test_names_that_no_command_has_are_not_asked_for(name: bytes) -> None:
    asking = Asking()
    reply = ask(asking.codec, asking.session, name)
    assert reply.startswith(b"-ERR unknown command '")
    assert asking.questions() == []


def test_thousands_of_names_are_not_all_remembered() -> None:
    asking = Asking()
    for number in range(3 * command_discovery.MOST_NAMES):
        asking.answers = [NONE]
        assert asking.plan(f"name{number}") == refused(
            f"ERR unknown command 'name{number}', with args beginning with: "
        )
    assert len(asking.codec.lookups._known) == command_discovery.MOST_NAMES
    assert asking.codec.lookups._waiting == {}


# --- replies of servers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "text", "planned"),
    [
        (keyed(1, 1, 1), "module.do a b", ToServer(S1)),
        (keyed(2, 2, 1), "module.do a b", ToServer(S2)),
        (keyed(1, -1, 1), "module.do a d g", ToServer(S1)),
        (keyed(1, -1, 1), "module.do a b", refused(CROSS_SERVER)),
        (keyed(1, -1, 2), "module.do a x d x", ToServer(S1)),
        (keyed(1, -2, 1), "module.do a d x", ToServer(S1)),
        (keyed(2, 3, 1), "module.do x a b", refused(CROSS_SERVER)),
        (keyed(2, 3, 1), "module.do x a d", ToServer(S1)),
        (keyed(0, 0, 0), "module.do a", refused(ONE_SERVER_ONLY.format(name=NAME, servers=3))),
        (
            keyed(1, 1, 1, words("admin")),
            "module.do a",
            refused(
                "ERR 'module.do' is not available through this proxy: it administers a single server, ask that"
                " server directly"
            ),
        ),
        (keyed(1, 1, 1, words("write", "blocking")), "module.do b", ToPrivate(S2, last=True)),
        (described(spec(AT_1, ONE, "RW")), "module.do b", ToServer(S2)),
        (described(spec(AT_1, ONE, "RW"), spec(step("index", index=2), ONE)), "module.do a b", refused(CROSS_SERVER)),
        (described(spec(step("keyword", keyword="KEYS", startfrom=1), ONE)), "module.do x keys b", None),
        (
            described(spec(AT_1, step("range", lastkey=-1, keystep=2, limit=0))),
            "module.do a x d",
            ToServer(S1),
        ),
        (
            described(spec(AT_1, step("keynum", keynumidx=0, firstkey=1, keystep=1))),
            "module.do 2 a d x",
            ToServer(S1),
        ),
        (
            described(spec(AT_1, step("keynum", keynumidx=0, firstkey=1, keystep=1))),
            "module.do 1 b a",
            ToServer(S2),
        ),
        (
            described(spec(AT_1, step("keynum", keynumidx=0, firstkey=1, keystep=1))),
            "module.do 0 a",
            refused(KEYLESS.format(name=NAME, servers=3)),
        ),
        (described(), "module.do a", refused(ONE_SERVER_ONLY.format(name=NAME, servers=3))),
        (described(spec(step("unknown"), step("unknown"))), "module.do a", None),
    ],
)
def test_the_server_of_the_keys(info: bytes, text: str, planned: object) -> None:
    if planned is None:
        # The proxy does not find the server of keys whose positions vary.
        planned = refused(ONE_SERVER_ONLY.format(name=NAME, servers=3))
    assert Asking(info).plan(text) == planned


SHARDS, NODES = "request_policy:all_shards", "request_policy:all_nodes"


@pytest.mark.parametrize(
    ("tips", "replies", "answer"),
    [
        ((SHARDS,), [array(bulk("a")), array(), array(bulk("b"))], array(bulk("a"), bulk("b"))),
        ((NODES, "response_policy:agg_sum"), [integer(1), integer(2), integer(4)], integer(7)),
        ((SHARDS, "response_policy:agg_min"), [integer(3), integer(2), integer(4)], integer(2)),
        ((SHARDS, "response_policy:all_succeeded"), [OK, OK, OK], OK),
        ((SHARDS, "response_policy:all_succeeded"), [OK, error("ERR no"), OK], error("ERR no")),
    ],
)
def test_tips_send_it_to_every_server(tips: tuple[str, ...], replies: list[bytes], answer: bytes) -> None:
    planned = Asking(described(tips=("nondeterministic_output", *tips))).plan("module.do a")
    assert isinstance(planned, Ask)
    assert planned.requests == [(server, command("module.do", "a")) for server in fake_servers(3)]
    assert planned.merge([(f"s{server:02d}", reply) for server, reply in enumerate(replies)]) == answer


@pytest.mark.parametrize("tips", [(SHARDS, "response_policy:special"), ("request_policy:special",), ("odd",), ()])
def test_other_tips_tell_nothing(tips: tuple[str, ...]) -> None:
    assert Asking(described(tips=tips)).plan("module.do a") == refused(ONE_SERVER_ONLY.format(name=NAME, servers=3))


def test_what_is_dangerous_does_not_go_to_every_server() -> None:
    dangerous = described(tips=(SHARDS,), category="@dangerous")
    assert Asking(dangerous).plan("module.do a") == refused(ONE_SERVER_ONLY.format(name=NAME, servers=3))


def test_a_command_that_blocks_and_has_no_key_is_for_a_pool_of_one_server() -> None:
    blocking = described(flags=words("blocking"))
    assert Asking(blocking).plan("module.do a") == refused(ONE_SERVER_ONLY.format(name=NAME, servers=3))
    assert Asking(blocking, servers=1).plan("module.do a") == ToPrivate(S0, last=True)


@pytest.mark.parametrize("info", [keyed(0, 0, 0), described()])
def test_without_keys_it_is_for_a_pool_of_one_server(info: bytes) -> None:
    assert Asking(info, servers=1).plan("module.do a") == ToServer(S0)


@pytest.mark.parametrize(
    ("text", "planned"),
    [
        ("module.do first a b", ToServer(S1)),
        ("module.do SECOND a b", ToServer(S2)),
        ("module.do none a", refused(ONE_SERVER_ONLY.format(name="module.do|none", servers=3))),
        (
            "module.do rule",
            refused(
                "ERR 'module.do|rule' is not available through this proxy: it administers a single server, ask that"
                " server directly"
            ),
        ),
        ("module.do other a", refused("ERR unknown subcommand 'other'. Try MODULE.DO HELP.")),
        ("module.do", refused("ERR wrong number of arguments for 'module.do' command")),
    ],
)
def test_subcommands_have_keys_of_their_own(text: str, planned: object) -> None:
    container = described(
        subcommands=array(
            subcommand("module.do|first", spec(step("index", index=2), ONE)),
            subcommand("module.do|second", spec(step("index", index=3), ONE)),
            subcommand("module.do|none"),
            subcommand("module.do|rule", flags=words("admin")),
        )
    )
    assert Asking(container).plan(text) == planned


BAD_SPEC = mapping(flags=words(), begin_search=AT_1)


@pytest.mark.parametrize(
    "info",
    [
        keyed(1, 1, 0),
        keyed(1, -1, -1),
        keyed(-1, -1, 1),
        array(),
        array(integer(1)),
        array(array()),
        array(fields(NAME, 1, words())),
        array(array(integer(1), integer(1), words(), integer(1), integer(1), integer(1))),
        array(fields(NAME, 1, integer(1), integer(1), bulk("x"), integer(1))),
        array(fields(NAME, 1, array(integer(1)), integer(1), integer(1), integer(1))),
        described(BAD_SPEC),
        described(array(bulk("flags"))),
        described(spec(mapping(type=bulk("index")), ONE)),
        described(spec(AT_1, step("range", lastkey=0))),
        described(spec(AT_1, step("range", lastkey=0, keystep=0, limit=0))),
        described(spec(step("index", index=-1), ONE)),
        described(spec(AT_1, step("keynum", keynumidx=-1, firstkey=1, keystep=1))),
        described(spec(AT_1, step("keynum", keynumidx=0, firstkey=1, keystep=0))),
        described(subcommands=array(array())),
        described(subcommands=array(array(bulk("module.do|x")))),
        b"+OK\r\n",
        b":1\r\n",
        NULL,
        b"*-1\r\n",
        b"*1\r\n" * 100_000 + b":1\r\n",
    ],
)
def test_whatever_else_a_server_says_means_that_there_is_none(info: bytes) -> None:
    asking = Asking(info)
    assert asking.plan("module.do a") == refused(UNKNOWN)
    assert asking.codec.lookups._waiting == {}


# --- renamed commands ------------------------------------------------------------------------------------------------


def renamed(name: str, codec: RedisCodec | None = None, servers: int = 3, text: str = "hidden a b") -> Any:
    """The plan for ``hidden``, the servers' name for the command ``name``, which servers describe without keys."""
    asking = Asking(described(name=name), servers=servers)
    asking.codec = codec or RedisCodec()
    return asking.plan(text)


@pytest.mark.parametrize(
    ("name", "planned"),
    [
        ("set", ToServer(S1)),
        ("mget", refused(CROSS_SERVER)),
        ("xgroup", ToServer(S2)),
        ("publish", ToServer(S1)),
        ("GET", refused("ERR wrong number of arguments for 'hidden' command")),
        ("move", refused("ERR DB index is out of range: this pool serves database 0 only, 'databases' in its")),
        ("keys", refused("ERR 'keys' is not allowed in this pool: 'allow_commands: keys' in its")),
        ("flushall", refused("ERR 'flushall' is not allowed in this pool: 'allow_commands: flushall' in its")),
        ("config", refused("ERR unknown subcommand 'a'. Try CONFIG HELP.")),
    ],
)
def test_a_renamed_command_is_treated_as_what_it_is(name: str, planned: Any) -> None:
    found = renamed(name, text="hidden a 5" if name == "move" else "hidden a b")
    if isinstance(planned, Answer):
        assert found.reply.startswith(planned.reply.removesuffix(b"\r\n"))
    else:
        assert found == planned


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("text", ["multi", "select 1", "subscribe a", "client reply off", "auth a", "quit", "watch a"])
def test_a_renamed_command_about_the_connection_is_refused(servers: int, text: str) -> None:
    """A server would apply such a command to all clients that share the connection."""
    name, *arguments = text.split()
    reason = error(f"ERR 'hidden' is not available through this proxy: it is another name for '{name}'")
    assert renamed(name, servers=servers, text=" ".join(["hidden", *arguments])) == Answer(reason)


def test_permissions_are_for_every_name_of_a_command() -> None:
    denied = renamed("config", RedisCodec(permitted=["config|set"], denied=["config|get"]), text="hidden get x")
    assert denied == refused(
        "ERR 'config|get' is not available in this pool: 'deny_commands' in its configuration refuses it"
    )
    allowed = renamed("config", RedisCodec(permitted=["config|set"]), text="hidden set x y")
    request = array(bulk("hidden"), bulk("set"), bulk("x"), bulk("y"))
    assert allowed.requests == [(server, request) for server in range(3)]


# --- in a transaction, and without replies ---------------------------------------------------------------------------


def test_in_a_transaction() -> None:
    asking = Asking(keyed(1, 1, 1), NONE)
    assert asking.plan("MULTI") == Answer(b"+OK\r\n")
    assert asking.plan("module.do a") == ToPrivate(S1)
    assert asking.plan("module.do b") == refused(CROSS_SERVER)
    assert asking.plan("nosuch b") == refused("ERR unknown command 'nosuch', with args beginning with: 'b' ")


def test_a_client_that_wants_no_replies_gets_none() -> None:
    asking = Asking(NONE)
    assert asking.plan("CLIENT REPLY OFF") == Answer(b"")
    assert asking.plan("module.do a") == Answer(b"")
