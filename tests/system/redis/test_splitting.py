"""Commands with keys on several servers: the request that each server gets, and how the replies are merged."""

import pytest

from harness.connection import Connection
from harness.proxy import keys_of, owner, redis_pool
from harness.resp import NULL, OK, array, bulk, command, integer
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

[A1, A2] = keys_of(0, 3, 2)
[B1, B2] = keys_of(1, 3, 2)
[C1, C2] = keys_of(2, 3, 2)


@pytest.mark.parametrize("name", ["mget", "del", "unlink", "touch", "exists"])
def test_each_server_gets_one_request_with_its_keys_in_request_order(configured: Configure, name: str) -> None:
    with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        ScriptedServer() as third,
        configured(redis_pool(first, second, third)) as proxy,
    ):
        proxy.client().send(command(name.upper(), C1, A2, B1, A1, A2))
        first.accept().expect(command(name, A2, A1, A2))
        second.accept().expect(command(name, B1))
        third.accept().expect(command(name, C1))


def test_mset_sends_each_server_its_pairs(configured: Configure) -> None:
    with ScriptedServer() as first, ScriptedServer() as second, configured(redis_pool(first, second)) as proxy:
        [a, also_a], [b] = keys_of(0, 2, 2), keys_of(1, 2)
        client = proxy.client()
        client.send(command("MSet", a, "1", b, "two\r\n", also_a, "", a, "again"))
        behind_first, behind_second = first.accept(), second.accept()
        behind_first.expect(command("mset", a, "1", also_a, "", a, "again"))
        behind_second.expect(command("mset", b, "two\r\n"))
        behind_second.send(OK)
        behind_first.send(OK)
        client.expect(OK)


def test_servers_are_asked_in_index_order(configured: Configure) -> None:
    with ScriptedServer() as server:
        # Three servers with one address: the order of their connections is the order of sending.
        pool = redis_pool(server, server, server)
        with configured(pool) as proxy:
            proxy.client().send(command("DEL", C1, B1, A1))
            peers = [server.accept() for _ in range(3)]
            assert [peer.request() for peer in peers] == [[b"del", key.encode()] for key in (A1, B1, C1)]


@pytest.mark.parametrize(
    "request_bytes",
    [
        command("MGet", A1),
        command("DEL", A1),
        command("mset", A1, "v"),
        command("ExIsTs", A1),
        command("GET", A1),
        command("SeT", A1, "", "eX", "10"),
    ],
)
def test_a_single_key_goes_as_the_client_wrote_it(configured: Configure, request_bytes: bytes) -> None:
    with ScriptedServer() as server, configured(redis_pool(server)) as proxy:
        proxy.client().send(request_bytes)
        server.accept().expect(request_bytes)


def test_mget_puts_values_back_in_request_order(client: Connection) -> None:
    client.ask("MSET", A1, "a1", B1, "b1", C1, "c1", A2, "a2")
    assert client.ask("MGET", C1, A2, "absent", B1, A1, A2, C2) == array(
        *(bulk("c1"), bulk("a2"), NULL, bulk("b1"), bulk("a1"), bulk("a2"), NULL)
    )


def test_mset_lands_on_the_owners(client: Connection, servers: list[RedisServer]) -> None:
    pairs = {f"key:{i}": f"value:{i}" for i in range(50)}
    assert client.ask("MSET", *(part for pair in pairs.items() for part in pair)) == OK
    for key, value in pairs.items():
        for index, server in enumerate(servers):
            assert server.ask("GET", key) == (bulk(value) if index == owner(key, 3) else NULL)


def test_integer_replies_are_added(client: Connection) -> None:
    client.ask("MSET", A1, "1", B1, "1", C1, "1", C2, "1")
    assert client.ask("EXISTS", A1, B1, C1, A1, B2) == integer(4)
    assert client.ask("TOUCH", A1, B1, C1, C1) == integer(4)
    assert client.ask("UNLINK", A1, A1, B2) == integer(1)
    assert client.ask("DEL", A1, B1, C1, C2) == integer(3)
    assert client.ask("EXISTS", A1, B1, C1, C2) == integer(0)


def test_sums_do_not_wrap(configured: Configure) -> None:
    with ScriptedServer() as first, ScriptedServer() as second, configured(redis_pool(first, second)) as proxy:
        [a], [b] = keys_of(0, 2), keys_of(1, 2)
        client = proxy.client()
        client.send(command("DEL", a, b))
        first.answer(integer(2147483648))
        second.answer(integer(5000000000))
        client.expect(integer(7147483648))


def test_values_that_are_not_strings_are_null_in_mget(client: Connection) -> None:
    client.ask("RPUSH", A1, "element")
    client.ask("SET", B1, "b")
    assert client.ask("MGET", A1, B1) == array(NULL, bulk("b"))


def test_same_key_many_times(client: Connection) -> None:
    client.ask("SET", A1, "v")
    assert client.ask("MGET", *[A1] * 500) == array(*[bulk("v")] * 500)
    assert client.ask("EXISTS", *[A1] * 500) == integer(500)


@pytest.mark.parametrize("count", [1000, 20000])
def test_thousands_of_keys(client: Connection, count: int) -> None:
    names = [f"many:{i}" for i in range(count)]
    assert client.ask("MSET", *(part for name in names for part in (name, f"{name}!"))) == OK
    assert client.ask("MGET", *names) == array(*(bulk(f"{name}!") for name in names))
    assert client.ask("EXISTS", *names, "absent") == integer(count)
    assert client.ask("DEL", *names) == integer(count)


def test_ten_servers(configured: Configure, servers: list[RedisServer]) -> None:
    addresses = [server.address for server in (servers * 4)[:10]]
    with configured(redis_pool(*addresses)) as proxy:
        client = proxy.client()
        names = [f"ten:{i}" for i in range(100)]
        assert client.ask("MSET", *(part for name in names for part in (name, name))) == OK
        assert client.ask("MGET", *reversed(names)) == array(*(bulk(name) for name in reversed(names)))


def test_pool_of_one_server(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(servers[0])) as proxy:
        client = proxy.client()
        assert client.ask("MSET", "a", "1", "b", "2") == OK
        assert client.ask("MGET", "b", "none", "a") == array(bulk("2"), NULL, bulk("1"))
        assert client.ask("DEL", "a", "b", "none") == integer(2)


@pytest.mark.parametrize("name", ["zunion", "zinter", "zdiff"])
def test_counted_keys_of_one_server_are_combined_there(client: Connection, name: str) -> None:
    [x, y] = keys_of(2, 3, 2, "z")
    client.ask("ZADD", x, "1", "m", "2", "n")
    client.ask("ZADD", y, "1", "m")
    expected = {"zunion": array(bulk("m"), bulk("n")), "zinter": array(bulk("m")), "zdiff": array(bulk("n"))}[name]
    reply = client.ask(name, "2", x, y)
    if name == "zunion":
        assert sorted(reply.split(b"\r\n")) == sorted(expected.split(b"\r\n"))
    else:
        assert reply == expected


def test_hash_tags_keep_keys_together(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, hash_tag='"{}"')) as proxy:
        client = proxy.client()
        names = [f"{{{A1}}}:{i}" for i in range(20)]
        assert client.ask("MSET", *(part for name in names for part in (name, "v"))) == OK
        assert servers[0].ask("EXISTS", *names) == integer(20)
        assert client.ask("SUNION", f"{{{A1}}}:s", f"{{{A1}}}:t") == array()
