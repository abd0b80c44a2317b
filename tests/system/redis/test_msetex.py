"""MSETEX of valkey 9.1 and redis 8.4: split over servers, unless it has a condition."""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, keys_of, redis_pool
from harness.resp import NULL, OK, array, bulk, command, error, integer
from harness.servers import RedisServer, ValkeyServer
from harness.shared_proxy import Configure

[A1, A2], [B1, B2] = keys_of(0, 2, 2), keys_of(1, 2, 2)
CROSS_SERVER = error("CROSSSLOT Keys in request don't hash to the same server (use a hash tag)")


@pytest.fixture(scope="module")
def valkeys() -> Iterator[list[ValkeyServer]]:
    with ValkeyServer() as first, ValkeyServer() as second:
        yield [first, second]


@pytest.fixture(scope="module")
def valkey_proxy(configured: Configure, valkeys: list[ValkeyServer]) -> Iterator[ServedPools]:
    with configured(redis_pool(*valkeys)) as proxy:
        yield proxy


@pytest.fixture
def pair(valkey_proxy: ServedPools, valkeys: list[ValkeyServer]) -> Iterator[Connection]:
    """A client in front of two empty servers."""
    for server in valkeys:
        assert server.ask("FLUSHALL") == OK
    with valkey_proxy.client() as client:
        yield client


def test_keys_of_several_servers(pair: Connection, valkeys: list[ValkeyServer]) -> None:
    assert pair.ask("MSETEX", 3, A1, "a", B1, "b", A2, "c") == integer(1)
    assert pair.ask("MGET", A1, B1, A2) == array(bulk("a"), bulk("b"), bulk("c"))
    assert (valkeys[0].ask("DBSIZE"), valkeys[1].ask("DBSIZE")) == (integer(2), integer(1))


def test_options_are_for_every_server(pair: Connection) -> None:
    assert pair.ask("MSETEX", 2, A1, "a", B1, "b", "EX", 1000) == integer(1)
    for key in (A1, B1):
        assert int(pair.ask("TTL", key)[1:-2]) > 990
    assert pair.ask("msetex", 2, A1, "x", B1, "y", "keepttl") == integer(1)
    for key in (A1, B1):
        assert int(pair.ask("TTL", key)[1:-2]) > 990
    assert pair.ask("MGET", A1, B1) == array(bulk("x"), bulk("y"))


@pytest.mark.parametrize("condition", ["NX", "xx"])
def test_a_condition_is_about_all_keys_of_one_server(pair: Connection, condition: str) -> None:
    assert pair.ask("MSETEX", 2, A1, "a", B1, "b", condition) == CROSS_SERVER
    assert pair.ask("MGET", A1, B1) == array(NULL, NULL)
    done = condition == "NX"
    assert pair.ask("MSETEX", 2, A1, "a", A2, "b", condition) == integer(done)
    assert pair.ask("MSETEX", 2, B1, "NX", B2, "xx") == integer(1), "values are not options"


@pytest.mark.parametrize(
    "text", ["0 a b", "x a b", "-1 a b", "9 a b c d", "2 a b", "01 a b", "2 a 1 b 2 EX", "1 a b NO"]
)
def test_errors_are_those_of_the_server(pair: Connection, valkeys: list[ValkeyServer], text: str) -> None:
    pair.send(command("MSETEX", *text.split()) + command("PING"))
    pair.expect(valkeys[0].ask("MSETEX", *text.split()) + b"+PONG\r\n")


def test_many_keys_in_order_with_other_requests(pair: Connection, valkeys: list[ValkeyServer]) -> None:
    words = [word for number in range(20_000) for word in (f"many:{number}", number)]
    pair.send(command("SET", A1, "x") + command("MSETEX", 20_000, *words) + command("GET", A1) + command("DBSIZE"))
    pair.expect(OK + integer(1) + bulk("x") + integer(20_001))


def test_a_server_that_does_not_know_it(
    configured: Configure, servers: list[RedisServer], valkeys: list[ValkeyServer]
) -> None:
    with configured(redis_pool(servers[0], valkeys[1])) as proxy:
        client = proxy.client()
        assert client.ask("MSETEX", 2, A1, "a", B1, "b").startswith(b"-ERR unknown command 'MSETEX'")
        assert client.ask("PING") == b"+PONG\r\n"


def test_in_a_transaction(pair: Connection) -> None:
    pair.send(command("MULTI") + command("MSETEX", 2, A1, "a", A2, "b") + command("EXEC"))
    pair.expect(OK + b"+QUEUED\r\n" + array(integer(1)))
    pair.send(command("MULTI") + command("SET", A1, "x") + command("MSETEX", 2, A1, "a", B1, "b") + command("EXEC"))
    assert [reply[:9] for reply in pair.replies(4)][1:3] == [b"+QUEUED\r\n", b"-CROSSSLO"]
