"""Which requests are for one server, for all, or for nobody: databases, permissions and scripts in their plans."""

from typing import Any

import pytest
from redis_peers import FakePool, new_session, plan

from harness.resp import array, bulk, error
from twemproxy.protocol.plan import PASS, Answer, Ask, ToPrivate, ToServer
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.commands import COMMANDS, PERMITTED_BY_DIRECTIVE, SUBCOMMANDS, Routing
from twemproxy.protocol.redis.errors import DB_OUT_OF_RANGE, DBS_OUT_OF_RANGE, DENIED, NOT_ALLOWED
from twemproxy.protocol.redis.planning import TO_NOBODY
from twemproxy.protocol.redis.session import Session

ROWS = {row.name: row for row in COMMANDS} | SUBCOMMANDS
EVERYTHING = RedisCodec(permitted=PERMITTED_BY_DIRECTIVE)
OK = Answer(b"+OK\r\n")


def planned(text: str, codec: RedisCodec = EVERYTHING, session: Session | None = None, **pool: Any) -> Any:
    """What becomes of words separated by blanks, the codec's own refusal included."""
    found = plan(codec, session or new_session(pool=FakePool(**pool)), *text.encode().split())
    return Answer(codec.refusal(b"")) if found == PASS and codec.route == TO_NOBODY else found


def sample(name: str) -> str:
    """A request of a command, or of a sub-command by its full name, with as many arguments as it needs."""
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
        session = new_session(pool=FakePool(databases=databases))
        if in_transaction:
            assert planned("MULTI", session=session) == OK
        assert planned(text.format(word), session=session) == Answer(error(reply))


@pytest.mark.parametrize(
    "text", ["MOVE a 4", "COPY a a DB 4", "COPY a a DB 0 DB 4", "COPY a a", "COPY a DB", "MOVE a x"]
)
def test_what_is_not_about_other_databases_passes(text: str) -> None:
    assert planned(text, databases=5) == ToServer(0)


def test_the_only_database_has_its_own_number() -> None:
    assert planned("MOVE a 7", database=7) == ToServer(0)
    assert planned("MOVE a 0", database=7) == Answer(error(DB_OUT_OF_RANGE.format(database=7)))


# --- permissions -----------------------------------------------------------------------------------------------------

NEEDY = [name for name, row in ROWS.items() if row.permission]


@pytest.mark.parametrize("name", NEEDY)
def test_what_needs_permission_is_refused_without(name: str) -> None:
    refused = Answer(error(NOT_ALLOWED.format(name=name)))
    assert NOT_ALLOWED.format(name=name).endswith(f"'allow_commands: {name}' in its configuration allows it")
    assert planned(sample(name), RedisCodec()) == refused
    allowed_by = {name, name.split("|")[0]}
    for permission in allowed_by:
        assert planned(sample(name), RedisCodec(permitted=[permission])) != refused
    others = [other for other in PERMITTED_BY_DIRECTIVE if other not in allowed_by]
    assert planned(sample(name), RedisCodec(permitted=others)) == refused


@pytest.mark.parametrize(
    "name", ["config|get", "client|kill", "client|list", "command|info", "acl|whoami", "script|load"]
)
def test_what_is_denied_is_refused(name: str) -> None:
    container = name.split("|")[0]
    refused = Answer(error(DENIED.format(name=name)))
    assert planned(sample(name), RedisCodec(denied=[name])) == refused
    assert planned(sample(name), RedisCodec(denied=[name], permitted=PERMITTED_BY_DIRECTIVE)) == refused
    assert planned(sample(name), RedisCodec(denied=["get"])) != refused
    assert planned(sample(name), RedisCodec(denied=[container])) == Answer(error(DENIED.format(name=container)))


# --- every server ----------------------------------------------------------------------------------------------------

EVERYWHERE = [name for name, row in ROWS.items() if row.routing == Routing.EVERY_SERVER]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_server_gets_the_request_once(name: str) -> None:
    session = new_session(pool=FakePool(servers=3, databases=5))
    text = sample(name)
    found = planned(text, session=session)
    assert isinstance(found, Ask)
    assert found.private == name.endswith("|kill")
    if name != "scan":
        assert found.requests == [(server, array(*map(bulk, text.split()))) for server in range(3)]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_without_arguments_it_is_refused_here(name: str) -> None:
    """Nothing looks for an argument that is not there."""
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


@pytest.mark.parametrize("text", ["SCRIPT LOAD return1", "EVAL return1 1 a", "eval_ro return1 1 a"])
@pytest.mark.parametrize("in_transaction", [False, True])
def test_scripts_are_remembered_wherever_they_are_seen(text: str, in_transaction: bool) -> None:
    codec = RedisCodec()
    session = new_session(pool=FakePool())
    if in_transaction:
        planned("MULTI", codec, session)
        assert planned(text, codec, session) == ToPrivate(0)
    elif text.startswith("SCRIPT"):
        assert planned(text, codec, session) == ToServer(0)
    else:
        codec.note(array(*map(bulk, text.split())))
    assert list(codec.scripts._bodies.values()) == [BODY]
    planned("SCRIPT FLUSH", codec, new_session(pool=session.pool))  # type: ignore[arg-type]
    assert not codec.scripts._bodies


def test_a_script_that_is_refused_is_not_remembered() -> None:
    codec = RedisCodec(denied=["script|load"])
    assert planned("SCRIPT LOAD return1", codec) == Answer(error(DENIED.format(name="script|load")))
    session = new_session(pool=FakePool(servers=3))
    planned("MULTI", codec, session)
    assert planned("EVAL return1 0", codec, session).reply.startswith(b"-ERR 'eval' without keys ")
    assert not codec.scripts._bodies
