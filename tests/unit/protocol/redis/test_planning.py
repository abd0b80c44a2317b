"""Which requests go to one server, to all servers, or to none: databases, permissions and scripts in plans."""

from typing import Any

import pytest
from feeding import Parser
from redis_peers import Pool, new_session, plan

from harness.resp import array, bulk, error
from twemproxy.protocol.plan import PASS, Answer, Ask, ToPrivate, ToServer
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.commands import COMMANDS, PERMITTED_BY_DIRECTIVE, SUBCOMMANDS, Routing
from twemproxy.protocol.redis.errors import (
    DB_OUT_OF_RANGE,
    DBS_OUT_OF_RANGE,
    DENIED,
    EXEC_LAPSED,
    EXEC_WITHOUT_MULTI,
    NO_ECHO,
    NOT_ALLOWED,
)
from twemproxy.protocol.redis.planning import REJECT
from twemproxy.protocol.redis.scripts import LONGEST
from twemproxy.protocol.redis.session import Session
from unit.fakes import S0, fake_servers

ROWS = {row.name: row for row in COMMANDS} | SUBCOMMANDS
EVERYTHING = Parser(RedisCodec(permitted=PERMITTED_BY_DIRECTIVE))
OK = Answer(b"+OK\r\n")


def planned(text: str, codec: Parser = EVERYTHING, session: Session | None = None, **pool: Any) -> Any:
    """The plan for a request of words separated by blanks; a refusal by the codec becomes an ``Answer``."""
    found = plan(codec, session or new_session(pool=Pool(**pool)), *text.encode().split())
    return Answer(codec.refusal()) if found == PASS and codec.route == REJECT else found


def sample(name: str) -> str:
    """The shortest request of a command, or of a sub-command by its full name."""
    row = ROWS[name]
    return " ".join([*name.split("|"), *["1"] * (abs(row.arity) - 1 - name.count("|"))])


# --- databases -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["5", "9", "16", "999999999"])
@pytest.mark.parametrize(
    "text",
    [
        "MOVE a {0}",
        "COPY a a DB {0}",
        "COPY a a REPLACE db {0}",
        "COPY a a db {0} REPLACE",
        "COPY a a DB 1 DB {0}",
        "COPY a a DB {0} DB 1",
        "COPY DB DB DB {0}",
        "SWAPDB 0 {0}",
        "SWAPDB {0} 1",
    ],
)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_no_request_reaches_a_database_that_the_pool_has_not(text: str, word: str, in_transaction: bool) -> None:
    for databases, reply in [
        (5, DBS_OUT_OF_RANGE.format(databases=5)),
        (1, DB_OUT_OF_RANGE.format(database=0)),
    ]:
        session = new_session(pool=Pool(databases=databases))
        if in_transaction:
            assert planned("MULTI", session=session) == OK
        assert planned(text.format(word), session=session) == Answer(error(reply))


@pytest.mark.parametrize(
    "text", ["MOVE a 4", "COPY a a DB 4", "COPY a a DB 0 DB 4", "COPY a a", "COPY a DB", "MOVE a x"]
)
def test_what_is_not_about_other_databases_passes(text: str) -> None:
    assert planned(text, databases=5) == ToServer(S0)


def test_the_only_database_has_its_own_number() -> None:
    assert planned("MOVE a 7", database=7) == ToServer(S0)
    assert planned("MOVE a 0", database=7) == Answer(error(DB_OUT_OF_RANGE.format(database=7)))


# --- permissions -----------------------------------------------------------------------------------------------------

NEEDY = [name for name, row in ROWS.items() if row.permission]


@pytest.mark.parametrize("name", NEEDY)
def test_what_needs_permission_is_refused_without(name: str) -> None:
    refused = Answer(error(NOT_ALLOWED.format(name=name)))
    assert NOT_ALLOWED.format(name=name).endswith(f"'allow_commands: {name}' in its configuration allows it")
    assert planned(sample(name), Parser(RedisCodec())) == refused
    allowed_by = {name, name.split("|")[0]}
    for permission in allowed_by:
        assert planned(sample(name), Parser(RedisCodec(permitted=[permission]))) != refused
    others = [other for other in PERMITTED_BY_DIRECTIVE if other not in allowed_by and not other.startswith("@")]
    assert planned(sample(name), Parser(RedisCodec(permitted=others))) == refused


@pytest.mark.parametrize(
    "name", ["config|get", "client|kill", "client|list", "command|info", "acl|whoami", "script|load"]
)
def test_what_is_denied_is_refused(name: str) -> None:
    container = name.split("|")[0]
    refused = Answer(error(DENIED.format(name=name)))
    assert planned(sample(name), Parser(RedisCodec(denied=[name]))) == refused
    assert planned(sample(name), Parser(RedisCodec(denied=[name], permitted=PERMITTED_BY_DIRECTIVE))) == refused
    assert planned(sample(name), Parser(RedisCodec(denied=["get"]))) != refused
    assert planned(sample(name), Parser(RedisCodec(denied=[container]))) == Answer(error(DENIED.format(name=container)))


# --- every server ----------------------------------------------------------------------------------------------------

EVERYWHERE = [name for name, row in ROWS.items() if row.routing == Routing.EVERY_SERVER]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_server_gets_the_request_once(name: str) -> None:
    session = new_session(pool=Pool(servers=3, databases=5))
    text = sample(name)
    found = planned(text, session=session)
    assert isinstance(found, Ask)
    assert found.private == name.endswith("|kill")
    if name != "scan":
        assert found.requests == [(server, array(*map(bulk, text.split()))) for server in fake_servers(3)]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_without_arguments_it_is_refused_here(name: str) -> None:
    """No code reads an argument that does not exist."""
    words = name.split("|")
    found = planned(" ".join(words), servers=3)
    arity = ROWS[name].arity
    if arity == len(words) or -arity in (1, len(words)):
        assert isinstance(found, Ask)
    else:
        shown = name if len(words) == 2 else words[0]
        assert found == Answer(error(f"ERR wrong number of arguments for '{shown}' command"))


# --- scripts ---------------------------------------------------------------------------------------------------------

BODY = b"return1"


@pytest.mark.parametrize("servers", [1, 3])
def test_a_script_is_remembered_when_all_servers_have_accepted_it(servers: int) -> None:
    codec = Parser(RedisCodec(permitted=["script|flush"]))
    for replies, known in [
        ([bulk("53f1da8c8a352df2fd0b308664621bc76c9e57cd")] * servers, [BODY]),
        ([bulk("53f1da8c8a352df2fd0b308664621bc76c9e57cd")] * (servers - 1) + [error("ERR no")], []),
        ([error("ERR no")] * servers, []),
    ]:
        found = planned("SCRIPT LOAD return1", codec, servers=servers)
        assert [server for server, _ in found.requests] == list(range(servers))
        assert not codec.scripts._bodies
        assert found.merge([("s", reply) for reply in replies]) == replies[-1]
        assert list(codec.scripts._bodies.values()) == known
        planned("SCRIPT FLUSH", codec)
        assert not codec.scripts._bodies


@pytest.mark.parametrize("text", ["EVAL return1 1 a", "eval_ro return1 1 a"])
def test_an_eval_that_has_run_is_remembered(text: str) -> None:
    codec = Parser(RedisCodec(permitted=["script|flush"]))
    codec.remember_script(array(*map(bulk, text.split())))
    assert list(codec.scripts._bodies.values()) == [BODY]
    session = new_session(pool=Pool())
    planned("MULTI", codec, session)
    assert planned("SCRIPT FLUSH", codec, session) == ToPrivate(S0)
    assert not codec.scripts._bodies


def test_a_long_script_is_not_remembered() -> None:
    codec = Parser(RedisCodec())
    for body in (b"x" * (LONGEST + 1), b"x" * LONGEST):
        codec.remember_script(array(bulk("EVAL"), bulk(body), bulk("0")))
    assert [len(body) for body in codec.scripts._bodies.values()] == [LONGEST]


# --- connections of clients that run scripts -------------------------------------------------------------------------

SHAPING = [
    "EVAL x 1 a",
    "EVAL_RO x 1 a",
    "EVALSHA x 1 a",
    "EVALSHA_RO x 1 a",
    "FCALL f 1 a",
    "FCALL_RO f 1 a",
    "SCRIPT LOAD x",
    "FUNCTION LOAD x",
    "FUNCTION RESTORE x",
    "FUNCTION LIST",
]


@pytest.mark.parametrize("text", SHAPING)
def test_a_client_joins_those_that_run_scripts_for_good(text: str) -> None:
    pool = Pool(databases=16)
    session = new_session(pool=pool)
    session.database = 5
    client: Any = session.client
    client.waiting = True
    assert planned(text, session=session) is None
    assert pool.asked == []
    client.waiting = False
    pool.usable = None
    assert planned(text, session=session) is None
    assert (pool.profile, session.profile) == (22, 20)
    pool.usable = True
    assert planned(text, session=session) is not None
    assert session.profile == 22
    client.waiting = True
    assert planned(text, session=session) is not None, "it has joined them"
    assert planned("GET a", session=session) == PASS
    assert session.profile == 22


@pytest.mark.parametrize("text", ["SCRIPT EXISTS x", "SCRIPT FLUSH", "FUNCTION FLUSH", "FUNCTION KILL", "SCRIPT HELP"])
def test_what_has_fixed_replies_is_no_script(text: str) -> None:
    session = new_session(pool=Pool(usable=False))
    assert not isinstance(planned(text, session=session), Answer)
    assert not session.scripts


@pytest.mark.parametrize("text", SHAPING)
def test_without_echo_there_are_no_scripts(text: str) -> None:
    name = "|".join(text.lower().split()[: 2 if text.startswith(("SCRIPT", "FUNCTION")) else 1])
    refused = Answer(error(NO_ECHO.format(name=name)))
    session = new_session(pool=Pool(usable=False))
    assert planned(text, session=session) == refused
    assert not session.scripts
    assert planned("MULTI", session=session) == OK
    assert planned(text, session=session) == refused
    assert session.transaction.failed


def test_a_script_in_a_transaction_makes_its_connection_doubtful() -> None:
    session = new_session(pool=Pool())
    planned("MULTI", session=session)
    planned("SET a b", session=session)
    assert not session.scripts
    reservations: Any = session.client.reservations()
    assert planned("EVAL x 1 a", session=session) == ToPrivate(S0)
    assert session.scripts
    assert reservations.calls[-1] == ("taint",)


@pytest.mark.parametrize("text", ["GET a", "SCRIPT KILL", "FUNCTION KILL", "FUNCTION STATS", "CONFIG GET x", "DBSIZE"])
def test_who_runs_no_scripts_joins_nobody(text: str) -> None:
    session = new_session(pool=Pool())
    planned(text, session=session)
    assert session.profile == 0


def test_a_script_that_is_refused_is_not_remembered() -> None:
    codec = Parser(RedisCodec(denied=["script|load"]))
    assert planned("SCRIPT LOAD return1", codec) == Answer(error(DENIED.format(name="script|load")))
    session = new_session(pool=Pool(servers=3))
    planned("MULTI", codec, session)
    assert planned("EVAL return1 0", codec, session).reply.startswith(b"-ERR 'eval' without keys ")
    assert not codec.scripts._bodies


# --- transactions of clients that are silent for too long ------------------------------------------------------------


def test_what_was_watched_and_given_up_makes_exec_do_nothing() -> None:
    for version, nothing in ((2, b"*-1\r\n"), (3, b"_\r\n")):
        session = new_session()
        session.protocol = version
        assert planned("WATCH a", session=session) == ToPrivate(S0)
        session.lapsed()
        assert planned("MULTI", session=session) == OK
        assert session.transaction_server is None
        assert planned("SET a 1", session=session) == Answer(b"+QUEUED\r\n")
        assert planned("EXEC", session=session) == Answer(nothing)
        assert not session.needs_planning
        assert planned("WATCH a", session=session) == ToPrivate(S0)
        assert not session.transaction.lapsed


def test_watching_more_does_not_bring_back_what_was_given_up() -> None:
    session = new_session()
    for text in ("WATCH a", "MULTI"):
        planned(text, session=session)
        session.lapsed()
    assert planned("EXEC", session=session) == Answer(b"*-1\r\n")
    planned("WATCH a", session=session)
    session.lapsed()
    assert planned("WATCH b", session=session) == ToPrivate(S0)
    assert planned("MULTI", session=session) == OK
    assert planned("EXEC", session=session) == Answer(b"*-1\r\n")


def test_a_transaction_that_was_given_up_is_an_error() -> None:
    session = new_session()
    planned("MULTI", session=session)
    assert planned("SET a 1", session=session) == ToPrivate(S0)
    session.lapsed()
    assert planned("SET a 2", session=session) == Answer(b"+QUEUED\r\n")
    assert planned("EXEC", session=session) == Answer(error(EXEC_LAPSED))
    assert planned("EXEC", session=session) == Answer(error(EXEC_WITHOUT_MULTI))


def test_unwatch_and_discard_after_it_was_given_up() -> None:
    for words in (("WATCH a", "UNWATCH"), ("MULTI", "DISCARD")):
        session = new_session()
        planned(words[0], session=session)
        session.lapsed()
        assert planned(words[1], session=session) == OK
        assert not session.needs_planning and not session.transaction.lapsed


def test_a_client_in_no_transaction_has_nothing_to_give_up() -> None:
    session, other = new_session(), new_session()
    session.lapsed()
    assert not session.transaction.lapsed and not other.transaction.lapsed
