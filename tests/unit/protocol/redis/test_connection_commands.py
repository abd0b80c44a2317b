"""HELLO, CLIENT, RESET, LOLWUT, CONFIG GET and TIME: requests and their replies."""

import pytest
import redis_peers
from redis_peers import Client, Pool, new_session

from harness.resp import array, bulk, command, error, integer
from harness.servers import RedisServer
from twemproxy.protocol.plan import Answer, Steps
from twemproxy.protocol.redis import builtin_commands, errors
from twemproxy.protocol.redis.codec import RedisCodec
from twemproxy.protocol.redis.session import REPLY_OFF, REPLY_ON, REPLY_SKIP, Session

OK = b"+OK\r\n"
NULL = b"$-1\r\n"


def answer(arguments: list[bytes], session: Session) -> Answer | None:
    """The proxy's own answer to a request."""
    planned = redis_peers.finished(redis_peers.plan(RedisCodec(), session, *arguments))
    assert planned is None or isinstance(planned, Answer), planned
    return planned


def ask(session: Session, text: str) -> bytes:
    """The reply to a request of words separated by blanks; the connection must stay open."""
    return redis_peers.ask(RedisCodec(), session, *text.encode().split())


def greeting(version: int, number: int = 1) -> bytes:
    """The reply to HELLO."""
    parts = [bulk("server"), bulk("redis"), bulk("version"), bulk("7.0.15"), bulk("proto"), integer(version)]
    parts += [bulk("id"), integer(number), bulk("mode"), bulk("standalone"), bulk("role"), bulk("master")]
    parts += [bulk("modules"), array()]
    return (b"*14\r\n" if version == 2 else b"%7\r\n") + b"".join(parts)


# --- HELLO, RESET ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_hello_switches_the_version(version: int) -> None:
    session = new_session()
    assert ask(session, "HELLO") == greeting(2)
    assert ask(session, f"hello {version}") == greeting(version)
    assert ask(session, "HELLO") == greeting(version)
    assert session.profile == (1 if version == 3 else 0)
    assert ask(session, "HELLO 2 setname me") == greeting(2)
    assert ask(session, "CLIENT GETNAME") == bulk("me")
    assert session.profile == 0


@pytest.mark.parametrize(
    "text",
    [
        "HELLO x",
        "HELLO 03",
        "HELLO 1",
        "HELLO 4",
        "HELLO -3",
        "HELLO 2 FOO",
        "HELLO 2 AUTH a",
        "HELLO 2 SETNAME",
        "HELLO 2 AUTH bob pw SETNAME x",
        "HELLO 3 SETNAME aéb",
    ],
)
def test_errors_of_hello_are_those_of_redis(redis: RedisServer, text: str) -> None:
    session = new_session("pw" if "bob" in text else "")
    reply = ask(session, text)
    assert reply.startswith(b"-")
    assert reply == redis.ask(*text.encode().split())
    assert (session.protocol, session.name) == (2, b"")


def test_servers_are_asked_once() -> None:
    pool = Pool(usable=False)
    session = new_session(pool=pool)
    assert ask(session, "HELLO 2") == greeting(2)
    assert pool.asked == []
    assert ask(session, "HELLO 3") == error(errors.NO_PROTOCOL)
    assert (session.protocol, session.profile) == (2, 0)
    pool.usable = True
    assert ask(session, "HELLO 3") == ask(session, "HELLO 3") == greeting(3)
    assert pool.asked == [session.client] * 2


@pytest.mark.parametrize("replies", [REPLY_ON, REPLY_OFF, REPLY_SKIP])
def test_while_servers_are_asked_nothing_changes(replies: int) -> None:
    pool = Pool("pw", usable=None)
    session = new_session(pool=pool)
    session.replies = replies
    for _ in range(3):
        assert answer([b"HELLO", b"3", b"AUTH", b"default", b"pw", b"SETNAME", b"x"], session) is None
        assert (session.authenticated, session.name, session.protocol, session.replies) == (False, b"", 2, replies)
    pool.usable = True
    assert ask(session, "HELLO 3 AUTH default pw SETNAME x") == (greeting(3) if replies == REPLY_ON else b"")
    assert (session.authenticated, session.name, session.protocol) == (True, b"x", 3)


def test_hello_with_a_password() -> None:
    session = new_session("pw")
    for text in ("HELLO", "HELLO 2", "HELLO 3", "HELLO 3 SETNAME x"):
        assert ask(session, text) == error(errors.HELLO_NEEDS_AUTH)
    assert ask(session, "HELLO 3 AUTH default no") == error(errors.BAD_PASSWORD)
    assert ask(session, "HELLO 3 AUTH bob pw") == error(errors.UNKNOWN_USER)
    assert (session.protocol, session.name, session.authenticated) == (2, b"", False)
    assert ask(session, "HELLO 3 AUTH default pw") == greeting(3)
    assert session.authenticated
    assert ask(session, "HELLO 2") == greeting(2)


def test_reset_is_a_new_beginning() -> None:
    session = new_session("pw")
    ask(session, "HELLO 3 AUTH default pw SETNAME x")
    ask(session, "CLIENT SETINFO lib-name lib")
    ask(session, "CLIENT REPLY OFF")
    assert ask(session, "RESET") == b"+RESET\r\n"
    assert (session.protocol, session.name, session.replies, session.authenticated) == (2, b"", REPLY_ON, False)
    assert session.library == b"lib"


# --- CLIENT ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "FOO",
        "SETNAME",
        "SETNAME a b",
        "GETNAME x",
        "ID x",
        "INFO x",
        "REPLY",
        "REPLY FOO",
        "NO-EVICT FOO",
        "NO-EVICT",
        "LIST FOO",
        "LIST TYPE",
        "LIST TYPE foo",
        "LIST ID",
        "LIST ID x",
        "KILL",
        "KILL a",
        "KILL ID 0",
        "KILL ID x",
        "KILL TYPE foo",
        "KILL USER bob",
        "KILL FOO bar",
        "KILL ID 1 ADDR",
        "KILL SKIPME maybe",
        "SETNAME aé",
    ],
)
def test_errors_of_client_are_those_of_redis(redis: RedisServer, text: str) -> None:
    session = new_session()
    reply = ask(session, f"CLIENT {text}")
    assert reply.startswith(b"-")
    assert reply == redis.ask("CLIENT", *text.encode().split())
    assert session.client.ended == ""  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name", ["caching", "capa", "getredir", "import-source", "pause", "tracking", "trackinginfo", "unpause"]
)
def test_what_is_not_available_is_refused_with_a_reason(name: str) -> None:
    reply = ask(new_session(), f"CLIENT {name.upper()} x")
    assert reply.startswith(f"-ERR 'client|{name}' is not available through this proxy: ".encode())
    assert len(reply) > 70


def test_names_and_switches() -> None:
    session = new_session()
    assert ask(session, "CLIENT GETNAME") == NULL
    assert ask(session, "CLIENT SETNAME me") == OK
    assert ask(session, "client getname") == bulk("me")
    assert ask(session, "CLIENT ID") == integer(1)
    assert ask(session, "CLIENT NO-EVICT on") == ask(session, "CLIENT NO-TOUCH ON") == OK
    assert session.no_evict and session.no_touch
    assert answer([b"CLIENT", b"SETNAME", b""], session) == (OK, False)
    session.protocol = 3
    assert ask(session, "CLIENT GETNAME") == b"_\r\n"
    assert ask(session, "CLIENT HELP").startswith(b"*25\r\n+CLIENT <subcommand> ")


def test_library() -> None:
    session = new_session()
    assert ask(session, "CLIENT SETINFO LIB-NAME lib(x_v1)") == ask(session, "CLIENT SETINFO lib-ver 1.2") == OK
    assert ask(session, "CLIENT INFO").endswith(b" lib-name=lib(x_v1) lib-ver=1.2\n\r\n")
    assert ask(session, "CLIENT SETINFO foo 1") == error("ERR Unrecognized option 'foo'")
    refused = error("ERR lib-name cannot contain spaces, newlines or special characters.")
    for value in (b"a b", b"a\n", b"\xe9"):
        assert answer([b"CLIENT", b"SETINFO", b"lib-name", value], session) == (refused, False)


def test_list() -> None:
    pool = Pool()
    sessions = [new_session(pool=pool) for _ in range(3)]
    silent = Client(pool)
    sessions[1].name = b"two"
    sessions[2].protocol = 3
    rows = [
        f"id={n} addr=10.0.0.1:{n} laddr=10.0.0.2:22121 fd=7 name={'two' if n == 2 else ''} age={n} idle=0 flags=N db=0"
        " sub=0 psub=0 ssub=0 multi=-1 qbuf=5 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=1 omem=20"
        f" tot-mem=25 events=rw cmd={'client|list' if n == 1 else 'client'} user=default redir=-1"
        f" resp={3 if n == 3 else 2} lib-name= lib-ver=\n"
        for n in (1, 2, 3, silent.id)
    ]
    assert ask(sessions[0], "CLIENT LIST") == ask(sessions[0], "CLIENT LIST TYPE normal") == bulk("".join(rows))
    assert ask(sessions[0], "CLIENT LIST ID 2 9 1") == bulk(rows[0] + rows[1])
    assert ask(sessions[0], "CLIENT LIST TYPE pubsub") == bulk("")
    assert ask(sessions[0], "CLIENT INFO") == bulk(rows[0].replace("|list", "|info"))
    third = rows[2].replace("cmd=client", "cmd=client|info").encode()
    assert ask(sessions[2], "CLIENT INFO") == b"=%d\r\ntxt:%s\r\n" % (len(third) + 4, third)


@pytest.mark.parametrize(
    ("text", "reply", "killed"),
    [
        ("ID 2", integer(1), {2}),
        ("ID 9", integer(0), set()),
        ("ID 1", integer(0), set()),
        ("ID 1 SKIPME no", integer(1), {1}),
        ("ADDR 10.0.0.1:3", integer(1), {3}),
        ("LADDR 10.0.0.2:22121", integer(2), {2, 3}),
        ("LADDR 10.0.0.2:22121 SKIPME NO", integer(3), {1, 2, 3}),
        ("TYPE normal USER default MAXAGE 3", integer(1), {3}),
        ("TYPE pubsub", integer(0), set()),
        ("10.0.0.1:2", OK, {2}),
        ("10.0.0.1:1", OK, {1}),
    ],
)
def test_kill(text: str, reply: bytes, killed: set[int]) -> None:
    pool = Pool()
    session = new_session(pool=pool)
    others = [Client(pool), Client(pool)]
    assert answer([b"CLIENT", b"KILL", *text.encode().split()], session) == (reply, 1 in killed)
    assert {client.id for client in others if client.ended} == killed - {1}
    assert not pool.connected[0].ended, "it ends after its reply"


def test_a_client_that_is_gone_is_neither_listed_nor_killed() -> None:
    """It was closed between two steps of the request."""
    pool = Pool()
    session = new_session(pool=pool)
    gone = Client(pool)
    gone.fd = -1
    for filters in ("MAXAGE 1", "LADDR 10.0.0.2:22121", f"ADDR 10.0.0.1:{gone.id}"):
        assert ask(session, f"CLIENT KILL {filters}") == integer(0)
    assert not gone.ended
    assert ask(session, "CLIENT LIST").count(b" fd=") == 1


# --- CONFIG, TIME ----------------------------------------------------------------------------------------------------


def test_config(redis: RedisServer) -> None:
    session = new_session()
    assert ask(session, "CONFIG GET Port") == array(bulk("port"), bulk("22121"))
    assert ask(session, "CONFIG GET save appendonly") == redis.ask("CONFIG", "GET", "appendonly").replace(
        b"*2", b"*4"
    ) + bulk("save") + bulk("")
    assert ask(session, "CONFIG GET nosuch") == array()
    assert ask(session, "CONFIG GET max[cm]*[^y]") == array(
        *(bulk("maxclients"), bulk("1000"), bulk("maxmemory-policy"), bulk("noeviction"))[:2]
    )
    assert ask(session, "CONFIG GET *").startswith(b"*26\r\n")
    assert ask(session, "CONFIG GET") == redis.ask("CONFIG", "GET")
    assert ask(session, "CONFIG SET save x").startswith(b"-ERR 'config|set' is not allowed in this pool: ")
    assert ask(session, "CONFIG FOO") == redis.ask("CONFIG", "FOO")
    session.protocol = 3
    assert ask(session, "CONFIG GET port") == b"%1\r\n" + bulk("port") + bulk("22121")


def test_version_of_lolwut() -> None:
    session = new_session()
    assert ask(session, "LOLWUT").endswith(b"\n\nRedis ver. 7.0.15\n\r\n")


def test_kill_without_permission_ends_oneself_only() -> None:
    pool = Pool()
    pool.codec.permission_refusal = lambda *_: "ERR not allowed"
    session = new_session(pool=pool)
    other = Client(pool)
    for words in ("ID 2", "TYPE normal", "ADDR 10.0.0.1:2", "LADDR 10.0.0.2:22121", "10.0.0.1:2", "MAXAGE 1 SKIPME no"):
        assert answer([b"CLIENT", b"KILL", *words.encode().split()], session) == (error("ERR not allowed"), False)
    assert answer([b"CLIENT", b"KILL", b"ID", b"1"], session) == (integer(0), False)
    assert answer([b"CLIENT", b"KILL", b"ID", b"1", b"SKIPME", b"no"], session) == (integer(1), True)
    assert answer([b"CLIENT", b"KILL", b"10.0.0.1:1"], session) == (OK, True)
    assert not other.ended


def test_names_have_an_end() -> None:
    session = new_session()
    longest = "n" * 256
    assert ask(session, f"CLIENT SETNAME {longest}") == OK
    assert ask(session, f"CLIENT SETNAME {longest}n") == error("ERR Client names have at most 256 bytes here.")
    assert ask(session, f"CLIENT SETINFO lib-name {longest}n") == error("ERR lib-name has at most 256 bytes here.")
    assert ask(session, f"HELLO 2 SETNAME {longest}n") == error("ERR Client names have at most 256 bytes here.")
    assert session.name == longest.encode()


def test_one_list_is_made_at_a_time() -> None:
    pool = Pool()
    first, second = new_session(pool=pool), new_session(pool=pool)
    for _ in range(50):
        Client(pool)
    request = command("CLIENT", "LIST")
    making, waiting = builtin_commands.plan(request, first), builtin_commands.plan(request, second)
    assert isinstance(making, Steps)
    assert isinstance(waiting, Steps)
    assert next(making.work) == b""
    assert next(waiting.work) is None
    making.work.close()
    assert pool.connected[1].woken == 1
    assert redis_peers.finished(waiting).reply.count(b"\n") == 54


def test_time(redis: RedisServer) -> None:
    before, now, after = redis.ask("TIME"), ask(new_session(), "TIME"), redis.ask("TIME")
    moments = [tuple(int(part) for part in reply.split(b"\r\n")[2:5:2]) for reply in (before, now, after)]
    assert moments == sorted(moments)


def test_version_changes_only_when_nothing_is_on_its_way() -> None:
    """Earlier requests must be done before the client uses another server connection."""
    session = new_session()
    session.client.waiting = True  # type: ignore[attr-defined]
    assert answer([b"HELLO", b"3"], session) is None
    assert session.protocol == 2
    assert answer([b"HELLO", b"2"], session) is not None
    session.client.waiting = False  # type: ignore[attr-defined]
    assert ask(session, "HELLO 3").startswith(b"%7")
    session.client.waiting = True  # type: ignore[attr-defined]
    assert answer([b"RESET"], session) is None
    assert answer([b"HELLO", b"2"], session) is None
    assert session.protocol == 3
