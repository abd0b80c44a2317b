"""Passwords and databases: AUTH from clients to the proxy, and AUTH and SELECT from the proxy to the servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

PASSWORD = "sekret word"
NO_AUTH = error("NOAUTH Authentication required")
BAD_PASSWORD = error("ERR invalid password")
NO_PASSWORD_SET = error("ERR Client sent AUTH, but no password is set")
PONG = b"+PONG\r\n"


@pytest.fixture(scope="module")
def protected_server() -> Iterator[RedisServer]:
    with RedisServer(password=PASSWORD) as server:
        yield server


@pytest.fixture(scope="module")
def protected_proxy(configured: Configure, protected_server: RedisServer) -> Iterator[ServedPools]:
    with configured(redis_pool(protected_server, redis_auth=f'"{PASSWORD}"')) as proxy:
        yield proxy


@pytest.fixture
def stranger(protected_proxy: ServedPools) -> Iterator[Connection]:
    """A client that has not authenticated."""
    with protected_proxy.client() as connection:
        yield connection


@pytest.mark.parametrize("words", [(PASSWORD,), ("default", PASSWORD)], ids=["password", "default-user"])
def test_right_password(stranger: Connection, words: tuple[str, ...]) -> None:
    assert stranger.ask("AUTH", *words) == OK
    assert stranger.ask("SET", "k", "v") == OK
    assert stranger.ask("GET", "k") == bulk("v")


@pytest.mark.parametrize("words", [("wrong",), ("",), (PASSWORD + "x",), (PASSWORD[:-1],), ("default", "wrong")])
def test_wrong_password(stranger: Connection, words: tuple[str, ...]) -> None:
    assert stranger.ask("AUTH", *words) == BAD_PASSWORD
    assert stranger.ask("GET", "k") == NO_AUTH


def test_unknown_user(stranger: Connection) -> None:
    answer = stranger.ask("AUTH", "somebody", PASSWORD)
    assert answer == error("WRONGPASS invalid username-password pair or user is disabled.")
    assert stranger.ask("GET", "k") == NO_AUTH


def test_wrong_password_takes_the_right_away(stranger: Connection) -> None:
    stranger.send(command("AUTH", PASSWORD) + command("AUTH", "wrong") + command("GET", "k"))
    stranger.expect(OK + BAD_PASSWORD + NO_AUTH)


@pytest.mark.parametrize(
    "request_bytes",
    [
        command("PING"),
        command("ECHO", "x"),
        command("GET", "k"),
        command("MGET", "a", "b"),
        command("MSET", "a", "1", "b", "2"),
        command("COMMAND"),
        command("SELECT", "0"),
        command("EVAL", "return 1", "1", "k"),
        b"PING\r\n",
    ],
    ids=["ping", "echo", "get", "mget", "mset", "command", "select", "eval", "inline"],
)
def test_nothing_works_before_authentication(stranger: Connection, request_bytes: bytes) -> None:
    stranger.send(request_bytes + request_bytes)
    stranger.expect(NO_AUTH * 2)


def test_quit_works_before_authentication(stranger: Connection) -> None:
    stranger.send(command("QUIT"))
    stranger.expect(OK)
    stranger.expect_closed()


def test_bad_command_before_authentication_costs_one_error(stranger: Connection) -> None:
    stranger.send(command("NOSUCHCOMMAND") + command("AUTH", PASSWORD) + command("PING"))
    assert stranger.reply().startswith((b"-NOAUTH ", b"-ERR unknown command"))
    stranger.expect(OK + PONG)


@pytest.mark.parametrize(
    ("request_bytes", "problem"),
    [
        (b"*11\r\n", "unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nPING\r\n$16385\r\n", "unauthenticated bulk length"),
        (b"*2\r\n$4\r\nPING\r\n$400000000\r\n", "unauthenticated bulk length"),
        (b"*1\r\n$16385\r\n", "unauthenticated bulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
    ],
)
def test_a_stranger_may_send_as_much_as_redis_takes_from_one(
    stranger: Connection, protected_server: RedisServer, request_bytes: bytes, problem: str
) -> None:
    with protected_server.connect() as direct:
        direct.send(request_bytes)
        assert direct.read_to_end() == error(f"ERR Protocol error: {problem}")
    stranger.send(command("PING", "x" * 16384) + request_bytes)
    stranger.expect(NO_AUTH + error(f"ERR Protocol error: {problem}"))
    stranger.expect_closed()


def test_the_limits_of_strangers_end_with_the_password(stranger: Connection) -> None:
    large = command("MSET", *("x" * 20_000 for _ in range(12)))
    stranger.send(command("AUTH", PASSWORD) + large + command("AUTH", "wrong") + large)
    stranger.expect(OK + OK + BAD_PASSWORD + error("ERR Protocol error: unauthenticated multibulk length"))
    stranger.expect_closed()


def test_the_limits_of_strangers_are_no_limits_of_others(stranger: Connection, protected_proxy: ServedPools) -> None:
    with protected_proxy.client() as known:
        assert known.ask("AUTH", PASSWORD) == OK
        pieces = command("SET", "k", "x" * 100_000)
        for at in range(0, len(pieces), 20_000):
            known.send_pieces(pieces[at : at + 20_000])
            assert stranger.ask("PING") == NO_AUTH
        known.expect(OK)


def test_a_line_of_a_stranger_may_have_many_words(stranger: Connection) -> None:
    stranger.send(b"PING " + b"x " * 30 + b"\r\n" + command("AUTH", PASSWORD))
    stranger.expect(NO_AUTH + OK)


def test_wrong_passwords_end_the_connection(configured: Configure, protected_server: RedisServer) -> None:
    with configured(redis_pool(protected_server, redis_auth=f'"{PASSWORD}"')) as proxy:
        for _ in range(3):
            guesser = proxy.client()
            guesser.send(command("AUTH", "wrong") * 9 + command("AUTH", PASSWORD) + command("AUTH", "bob", "x"))
            guesser.expect(
                BAD_PASSWORD * 9 + OK + error("WRONGPASS invalid username-password pair or user is disabled.")
            )
            guesser.send(command("AUTH", "wrong") * 20)
            guesser.expect(BAD_PASSWORD * 9)
            guesser.expect_closed()
        assert proxy.log().count("wrong passwords") == 1
        first = next(line for line in proxy.log().splitlines() if "wrong passwords" in line)
        assert first.endswith(f" of pool {proxy.served_name()} is closed after 10 wrong passwords")
        assert "client 127.0.0.1:" in first


def test_authentication_is_per_connection(protected_proxy: ServedPools) -> None:
    with protected_proxy.client() as first, protected_proxy.client() as second:
        assert first.ask("AUTH", PASSWORD) == OK
        assert second.ask("PING") == NO_AUTH
        assert first.ask("PING") == PONG


def test_nothing_of_a_stranger_is_forwarded(configured: Configure) -> None:
    with ScriptedServer() as server, configured(redis_pool(server, redis_auth="pw")) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1") == NO_AUTH
        assert client.ask("AUTH", "pw") == OK
        client.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"AUTH", b"pw"]
        peer.send(OK)
        assert peer.request() == [b"GET", b"a"]


@pytest.mark.parametrize("words", [("any",), ("default", "any")])
def test_password_for_a_pool_without_one(client: Connection, words: tuple[str, ...]) -> None:
    client.send(command("AUTH", *words) + command("PING"))
    client.expect(NO_PASSWORD_SET + PONG)


def test_auth_with_too_many_words(client: Connection) -> None:
    client.send(command("AUTH", "a", "b", "c") + command("PING"))
    assert client.reply().startswith(b"-ERR ")
    client.expect(PONG)


@pytest.mark.parametrize("transport", ["tcp", "unix"])
@pytest.mark.parametrize("password", ["", PASSWORD], ids=["open", "password"])
def test_data_lands_in_the_database(
    configured: Configure, protected_server: RedisServer, servers: list[RedisServer], transport: str, password: str
) -> None:
    server = protected_server if password else servers[0]
    server.ask("FLUSHALL")
    directives: dict[str, object] = {"redis_db": 7} | ({"redis_auth": f'"{password}"'} if password else {})
    with configured(redis_pool(server.path if transport == "unix" else server, **directives)) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", PASSWORD) == (OK if password else NO_PASSWORD_SET)
        assert client.ask("MSET", "a", "1", "b", "2") == OK
        assert client.ask("GET", "a") == bulk("1")
        assert server.ask("MGET", "a", "b", db=7) == array(bulk("1"), bulk("2"))
        assert server.ask("MGET", "a", "b", db=0) == array(NULL, NULL)


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_auth_then_select_then_request(configured: Configure, tmp_path: Path, transport: str) -> None:
    path = tmp_path / "server.sock" if transport == "unix" else None
    with ScriptedServer(path) as server, configured(redis_pool(server, redis_auth="pw", redis_db=12)) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", "pw") == OK
        client.send(command("GET", "a"))
        peer = server.accept()
        assert peer.request() == [b"AUTH", b"pw"]
        peer.send(OK)
        assert peer.request() == [b"SELECT", b"12"]
        peer.send(OK)
        assert peer.request() == [b"GET", b"a"]
        peer.send(bulk("1"))
        client.expect(bulk("1"))
        client.send(command("GET", "b"))
        assert peer.request() == [b"GET", b"b"]


@pytest.mark.parametrize("step", ["AUTH", "SELECT"])
@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_failed_handshake_is_an_error_and_never_database_0(
    configured: Configure, tmp_path: Path, transport: str, step: str
) -> None:
    path = tmp_path / "server.sock" if transport == "unix" else None
    with ScriptedServer(path) as server, configured(redis_pool(server, redis_auth="pw", redis_db=12)) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", "pw") == OK
        client.send(command("SET", "a", "1") + command("PING"))
        peer = server.accept()
        assert peer.request() == [b"AUTH", b"pw"]
        if step == "AUTH":
            peer.send(error("WRONGPASS invalid username-password pair or user is disabled."))
        else:
            peer.send(OK)
            assert peer.request() == [b"SELECT", b"12"]
            peer.send(error("ERR DB index is out of range"))
        assert client.reply().startswith(b"-")
        client.expect(PONG)
        assert b"SET" not in peer.collect()


def test_failed_handshake_fails_split_commands_once(configured: Configure, protected_server: RedisServer) -> None:
    with configured(redis_pool(protected_server, protected_server, redis_auth="wrong")) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", "wrong") == OK
        for _ in range(3):
            client.send(command("MSET", *(word for i in range(8) for word in (f"k{i}", "v"))) + command("PING"))
            assert client.reply().startswith(b"-")
            client.expect(PONG)
        assert protected_server.ask("EXISTS", *(f"k{i}" for i in range(8))) == b":0\r\n"


def test_wrong_password_of_the_pool(configured: Configure, protected_server: RedisServer) -> None:
    protected_server.ask("FLUSHALL")
    with configured(redis_pool(protected_server, redis_auth="wrong", redis_db=3)) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", "wrong") == OK
        assert client.ask("PING") == PONG
        assert client.ask("SET", "a", "1").startswith(b"-")
        assert client.ask("SET", "a", "1").startswith(b"-")
        assert protected_server.ask("DBSIZE") == protected_server.ask("DBSIZE", db=3) == b":0\r\n"


def test_database_out_of_range(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0], redis_db=1000)) as proxy:
        client = proxy.client()
        assert client.ask("SET", "a", "1").startswith(b"-")
        assert client.ask("MGET", "a", "b").startswith(b"-")
        assert servers[0].ask("DBSIZE") == b":0\r\n"


def test_password_of_the_server_only(configured: Configure, protected_server: RedisServer) -> None:
    with configured(redis_pool(protected_server)) as proxy:
        client = proxy.client()
        assert client.ask("PING") == PONG
        assert client.ask("GET", "a") == error("NOAUTH Authentication required.")


def test_password_the_server_does_not_want(configured: Configure, servers: list[RedisServer]) -> None:
    """As in nutcracker, a server without a password is accepted, because it protects nothing."""
    with configured(redis_pool(servers[0], redis_auth="unwanted", redis_db=5)) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", "unwanted") == OK
        assert client.ask("SET", "a", "1") == OK
        assert servers[0].ask("GET", "a", db=5) == bulk("1")


def test_long_password(configured: Configure) -> None:
    password = "p" * 300
    with RedisServer(password=password) as server, configured(redis_pool(server, redis_auth=password)) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", password) == OK
        assert client.ask("SET", "a", "1") == OK
