"""Transactions whose keys move to another server, or whose server moves to another address, before EXEC."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from moving_keys import KEYS, key_that_moves, key_that_stays, places, pool

from harness.connection import Connection
from harness.resp import OK, array, bulk, command, error
from harness.scripted_server import ScriptedServer
from harness.servers import RedisServer
from twemproxy.protocol.redis.errors import CROSS_SERVER, EXEC_ABORTED, EXEC_MOVED, KEYS_MOVED
from unit.in_process import InProcess

QUEUED = b"+QUEUED\r\n"
NULL_ARRAY = b"*-1\r\n"
MULTI, EXEC = command("MULTI"), command("EXEC")


@pytest.fixture(scope="module")
def every_server() -> Iterator[dict[str, RedisServer]]:
    with ExitStack() as made:
        yield {name: made.enter_context(RedisServer()) for name in ("one", "two", "three")}


@pytest.fixture
def servers(every_server: dict[str, RedisServer]) -> dict[str, RedisServer]:
    for server in every_server.values():
        server.ask("FLUSHALL")
    return every_server


def works(client: Connection, key: str) -> None:
    """The client's next transaction succeeds."""
    client.send(MULTI + command("SET", key, "next") + EXEC + command("GET", key))
    client.expect(OK + QUEUED + array(OK) + bulk("next"))


@pytest.mark.parametrize("queued", [(), ("GET",), ("GET", "GET")])
def test_nothing_is_executed_where_the_keys_are_not_any_more(
    servers: dict[str, RedisServer], queued: tuple[str, ...]
) -> None:
    """What is queued later gets an error."""
    after = pool(servers, "one", "three")
    with InProcess(**pool(servers, "one", "two")) as proxy:
        client = proxy.client()
        key = key_that_moves(proxy, "two", **after)
        client.send(MULTI + command("SET", key, "1") + command("SET", key, "2"))
        client.expect(OK + QUEUED * 2)
        proxy.replace_settings(**after)
        client.send(b"".join(command(word, key) for word in queued) + EXEC)
        client.expect(error(KEYS_MOVED) * len(queued) + error(EXEC_MOVED))
        for server in servers.values():
            assert server.ask("EXISTS", key) == b":0\r\n"
        works(client, key)


def test_a_key_that_only_the_fast_path_has_seen(servers: dict[str, RedisServer]) -> None:
    """The first key stays, a later one moves."""
    after = pool(servers, "one", "two", "three")
    with InProcess(**pool(servers, "one", "two")) as proxy:
        client = proxy.client()
        moves, stays = key_that_moves(proxy, "two", **after), key_that_stays(proxy, "two", **after)
        for first, second, reply in [(stays, moves, error(EXEC_MOVED)), (stays, stays, array(OK, OK, OK))]:
            client.send(MULTI + command("SET", first, "1"))
            client.expect(OK + QUEUED)
            client.send(command("SET", second, "2") + command("SET", stays, "3"))
            client.expect(QUEUED * 2)
            proxy.replace_settings(**after)
            client.send(EXEC)
            client.expect(reply)
            proxy.replace_settings(**pool(servers, "one", "two"))


def test_a_transaction_goes_on_where_its_keys_stay(servers: dict[str, RedisServer]) -> None:
    after = pool(servers, "one", "two", "three")
    with InProcess(**pool(servers, "one", "two")) as proxy:
        client = proxy.client()
        stays, moves = key_that_stays(proxy, "two", **after), key_that_moves(proxy, "two", **after)
        client.send(command("WATCH", stays) + MULTI + command("SET", stays, "1"))
        client.expect(OK * 2 + QUEUED)
        proxy.replace_settings(**after)
        client.send(command("SET", stays, "2") + EXEC)
        client.expect(QUEUED + array(OK, OK))
        # A key that has moved was not part of the transaction: it gets the usual error.
        client.send(MULTI + command("SET", stays, "3") + command("SET", moves, "1") + EXEC)
        client.expect(OK + QUEUED + error(CROSS_SERVER) + error(EXEC_ABORTED))


@pytest.mark.parametrize("when", ["before MULTI", "after MULTI", "after a queued request"])
@pytest.mark.parametrize("moved", ["a key", "the address", "another distribution"])
def test_after_watch_it_is_as_if_a_key_had_changed(servers: dict[str, RedisServer], when: str, moved: str) -> None:
    after = {
        "a key": pool(servers, "one", "three"),
        "the address": pool(servers, "one", "two=three"),
        "another distribution": pool(servers, "one", "two", distribution="modula", hash="md5"),
    }[moved]
    with InProcess(**pool(servers, "one", "two")) as proxy:
        client = proxy.client()
        find = key_that_stays if moved == "the address" else key_that_moves
        key = find(proxy, "two", **after)
        steps = [command("WATCH", key), MULTI, command("SET", key, "1")]
        replies = [OK, OK, QUEUED]
        n = {"before MULTI": 1, "after MULTI": 2, "after a queued request": 3}[when]
        client.send(b"".join(steps[:n]))
        client.expect(b"".join(replies[:n]))
        proxy.replace_settings(**after)
        client.send(b"".join(steps[n:]) + EXEC)
        client.expect(b"".join(replies[n:]) + NULL_ARRAY)
        for server in servers.values():
            assert server.ask("EXISTS", key) == b":0\r\n"
        works(client, key)


def test_watching_again_after_the_move(servers: dict[str, RedisServer]) -> None:
    """The first watch is lost, so EXEC does nothing; UNWATCH ends that."""
    after = pool(servers, "one", "three")
    with InProcess(**pool(servers, "one", "two")) as proxy:
        client = proxy.client()
        key = key_that_moves(proxy, "two", **after)
        for again in (EXEC, command("UNWATCH")):
            client.send(command("WATCH", key))
            client.expect(OK)
            proxy.replace_settings(**after)
            client.send(command("WATCH", key))
            client.expect(OK)
            if again == EXEC:
                client.send(MULTI + command("SET", key, "1") + EXEC)
                client.expect(OK + QUEUED + NULL_ARRAY)
            else:
                client.send(again)
                client.expect(OK)
            works(client, key)
            proxy.replace_settings(**pool(servers, "one", "two"))


def test_multi_without_a_key_yet_is_not_affected(servers: dict[str, RedisServer]) -> None:
    after = pool(servers, "three")
    with InProcess(**pool(servers, "one", "two")) as proxy:
        client = proxy.client()
        client.send(MULTI + command("PING"))
        client.expect(OK + QUEUED)
        proxy.replace_settings(**after)
        client.send(command("SET", "a", "1") + EXEC)
        client.expect(QUEUED + array(b"+PONG\r\n", OK))


def test_an_only_server(servers: dict[str, RedisServer]) -> None:
    """Its keys are known only if the fast path sends them; with more servers all others count as moved."""
    before, after = pool(servers, "one"), pool(servers, "one", "two")
    with InProcess(**before) as proxy:
        client = proxy.client()
        stays = key_that_stays(proxy, "one", **after)
        for request, settings, reply in [
            (command("SET", stays, "1"), after, array(OK)),
            (command("MSET", stays, "1", stays, "2"), after, error(EXEC_MOVED)),
            (command("MSET", stays, "1", stays, "2"), pool(servers, "one", hash="md5"), array(OK)),
            (command("MSET", stays, "1", stays, "2"), pool(servers, "one=two"), error(EXEC_MOVED)),
            (command("MSET", stays, "1", stays, "2"), pool(servers, "two"), error(EXEC_MOVED)),
        ]:
            client.send(MULTI + request)
            client.expect(OK + QUEUED)
            proxy.replace_settings(**settings)
            client.send(EXEC)
            client.expect(reply)
            proxy.replace_settings(**before)


@pytest.mark.parametrize(
    ("keys", "reply"),
    [
        ([f"{{x}}{number}" for number in range(1000)], array(*[OK] * 1000)),
        ([f"{{x}}{number}" for number in range(1001)], error(EXEC_MOVED)),
        ([f"{{x}}{number:040000}" for number in range(2)], error(EXEC_MOVED)),
    ],
    ids=["known", "too many", "too long"],
)
def test_more_keys_than_are_remembered(servers: dict[str, RedisServer], keys: list[str], reply: bytes) -> None:
    """They count as moved with any change of where keys are, but not with other settings."""
    before, after = (pool(servers, "one", *names, hash_tag="'{}'") for names in (("two",), ("two", "three")))
    with InProcess(**before) as proxy:
        tag = key_that_stays(proxy, "two", **after)
        client = proxy.client()
        client.send(MULTI + b"".join(command("SET", key.replace("x", tag), "1") for key in keys))
        client.expect(OK + QUEUED * len(keys))
        proxy.replace_settings(**before, timeout=5000)
        client.send(command("PING"))
        client.expect(QUEUED)
        client.send(command("DISCARD") + MULTI + b"".join(command("SET", key.replace("x", tag), "1") for key in keys))
        client.expect(OK * 2 + QUEUED * len(keys))
        proxy.replace_settings(**after)
        client.send(EXEC)
        client.expect(reply)


def test_random_servers_have_all_keys(servers: dict[str, RedisServer]) -> None:
    before = pool(servers, "one", "two", distribution="random")
    with InProcess(**before) as proxy:
        client = proxy.client()
        client.send(MULTI + command("SET", "a", "1"))
        client.expect(OK + QUEUED)
        proxy.replace_settings(**pool(servers, "one", "two", "three", distribution="random"))
        client.send(command("SET", "b", "1") + EXEC)
        client.expect(QUEUED + array(OK, OK))
        client.send(MULTI + command("SET", "a", "1"))
        client.expect(OK + QUEUED)
        proxy.replace_settings(**pool(servers, "one=three", "two=three", distribution="random"))
        client.send(EXEC)
        client.expect(error(EXEC_MOVED))


def test_an_exec_that_was_sent_is_not_affected() -> None:
    with ScriptedServer() as one, ScriptedServer() as other:
        both = {"one": one, "other": other}
        with InProcess(**pool(both, "one")) as proxy:
            client = proxy.client()
            client.send(MULTI + command("SET", "a", "1") + EXEC)
            peer = one.accept()
            for request, reply in [([b"MULTI"], OK), ([b"SET", b"a", b"1"], QUEUED)]:
                assert peer.request() == request
                peer.send(reply)
            assert peer.request() == [b"EXEC"]
            proxy.replace_settings(**pool(both, "other"))
            peer.send(array(OK))
            client.expect(OK + QUEUED + array(OK))


def test_keys_that_an_ejected_server_gets_back(servers: dict[str, RedisServer]) -> None:
    """Until then they belong to another server, where the transaction was begun."""
    with InProcess(**pool(servers, "one", "two", auto_eject_hosts=True, server_retry_timeout=3_600_000)) as proxy:
        [alpha] = proxy.data_plane.pools
        two = next(each for each in alpha.servers if each.name == "two")
        key = next(key for key, name in zip(KEYS, places(proxy), strict=True) if name == "two")
        client = proxy.client()
        for change in (lambda: [two.count_failure() for _ in range(2)], lambda: alpha.reinstate(two)):
            client.send(MULTI + command("SET", key, "1"))
            client.expect(OK + QUEUED)
            proxy.call(change)
            client.send(EXEC)
            client.expect(error(EXEC_MOVED))
            works(client, key)


def test_another_address_of_a_name(servers: dict[str, RedisServer]) -> None:
    """The servers are the same, and so are the keys' servers."""
    with InProcess(**pool(servers, "one", "two")) as proxy:
        [alpha] = proxy.data_plane.pools
        client = proxy.client()
        key = KEYS[0]
        server = proxy.call(lambda: alpha.server_of(key.encode()))
        other = next(each for each in alpha.servers if each is not server)
        for moved, reply in [(other, array(OK)), (server, error(EXEC_MOVED))]:
            client.send(MULTI + command("SET", key, "1"))
            client.expect(OK + QUEUED)
            moved.endpoint.addresses.has = lambda _: False
            proxy.call(partial(alpha.addresses_changed, moved))
            client.send(EXEC)
            client.expect(reply)
