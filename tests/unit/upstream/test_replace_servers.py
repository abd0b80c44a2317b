"""The servers of a running pool are replaced between two events of the event loop, while they have requests."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from harness.connection import Connection
from harness.resp import NULL, OK, array, bulk, command, error
from harness.scripted_server import ScriptedServer
from harness.servers import MemcachedServer, RedisServer
from harness.waiting import wait_until
from twemproxy.ipc.messages import PoolSlots
from unit.in_process import InProcess, configuration, replace_settings

KEYS = [f"key{number}" for number in range(60)]


@pytest.fixture(scope="module")
def redis_servers() -> Iterator[dict[str, RedisServer]]:
    with ExitStack() as made:
        yield {name: made.enter_context(RedisServer()) for name in ("one", "two", "three")}


@pytest.fixture(scope="module")
def memcached_servers() -> Iterator[dict[str, MemcachedServer]]:
    with ExitStack() as made:
        yield {name: made.enter_context(MemcachedServer()) for name in ("one", "two", "three")}


def entries(servers: dict[str, Any], *names: str, **weights: int) -> list[str]:
    """The ``servers`` of a pool: these names, and those with weights other than 1."""
    return [
        f"{servers[name].address}:{weight} {name}" for name, weight in {**dict.fromkeys(names, 1), **weights}.items()
    ]


def places(proxy: InProcess) -> list[str]:
    """The name of the server of each of KEYS."""
    pool = proxy.data_plane.pools[0]
    return proxy.call(lambda: [pool.server_of(key.encode()).name for key in KEYS])  # type: ignore[no-any-return]


def places_of(**pool: object) -> list[str]:
    """The same in a proxy that starts with this configuration."""
    with InProcess(**pool) as proxy:
        return places(proxy)


def key_on(proxy: InProcess, server: str) -> str:
    return next(key for key, name in zip(KEYS, places(proxy), strict=True) if name == server)


CHANGES: list[tuple[dict[str, int], dict[str, str]]] = [
    ({"one": 1, "two": 1}, {}),
    ({"one": 1, "two": 1, "three": 1}, {}),
    ({"three": 1}, {}),
    ({"one": 1, "three": 1}, {}),
    ({"one": 5, "three": 1}, {}),
    ({"one": 5, "three": 1}, {"hash": "md5"}),
    ({"one": 5, "three": 1}, {"hash": "md5", "distribution": "modula"}),
    ({"two": 1, "three": 1}, {"hash_tag": "'{}'"}),
]


def test_redis_keys_are_where_a_new_proxy_has_them(redis_servers: dict[str, RedisServer]) -> None:
    """Requests are sent before and after each change without waiting for replies; each gets its reply."""
    for server in redis_servers.values():
        server.ask("FLUSHALL")
    wanted = [{"redis": True, "servers": entries(redis_servers, **weights), **more} for weights, more in CHANGES]
    with InProcess(**wanted[0]) as proxy:
        client = proxy.client()
        for number, (before, after) in enumerate(pairwise(wanted)):
            client.send(b"".join(command("SET", key, f"{number} {key}") for key in KEYS) + command("MGET", *KEYS))
            proxy.replace_settings(**after)
            client.send(command("DEL", *KEYS) + command("MSET", *(word for key in KEYS for word in (key, key))))
            client.send(command("MGET", *KEYS))
            client.expect(OK * len(KEYS))
            values = client.reply()
            # A MGET that arrives after the change finds the values of keys that have not moved.
            if values != array(*(bulk(f"{number} {key}") for key in KEYS)):
                assert values.count(b"$-1") < len(KEYS)
            assert client.reply().startswith(b":")
            client.expect(OK + array(*map(bulk, KEYS)))
            assert places(proxy) == places_of(**after), after
            for key, name in zip(KEYS, places(proxy), strict=True):
                assert redis_servers[name].ask("GET", key) == bulk(key)
            assert before != after


def test_memcached_keys_are_where_a_new_proxy_has_them(memcached_servers: dict[str, MemcachedServer]) -> None:
    wanted = [{"servers": entries(memcached_servers, **weights), **more} for weights, more in CHANGES]
    with InProcess(**wanted[0]) as proxy:
        client = proxy.client()
        for after in wanted[1:]:
            client.send(b"".join(b"set %s 0 0 1\r\n1\r\n" % key.encode() for key in KEYS))
            proxy.replace_settings(**after)
            client.expect(b"STORED\r\n" * len(KEYS))
            client.send(b"".join(b"set %s 0 0 1\r\n2\r\n" % key.encode() for key in KEYS))
            client.expect(b"STORED\r\n" * len(KEYS))
            assert places(proxy) == places_of(**after), after
            for key, name in zip(KEYS, places(proxy), strict=True):
                assert memcached_servers[name].get(key) == b"2"


@pytest.fixture
def two() -> Iterator[tuple[ScriptedServer, ScriptedServer]]:
    with ScriptedServer() as one, ScriptedServer() as other:
        yield one, other


def scripted(one: ScriptedServer, other: ScriptedServer | None, **pool: object) -> dict[str, object]:
    """A pool of the servers ``one`` and ``other``, or of ``one`` alone."""
    servers = [f"{one.address}:1 one"] + ([f"{other.address}:1 other"] if other else [])
    return {"redis": True, "servers": servers, **pool}


def test_a_removed_server_replies_to_what_it_has(two: tuple[ScriptedServer, ScriptedServer]) -> None:
    """Also to its part of a split request; then its connection ends."""
    one, other = two
    with InProcess(**scripted(one, other)) as proxy:
        client, late = proxy.client(), proxy.client()
        here, there = key_on(proxy, "one"), key_on(proxy, "other")
        client.send(command("GET", there) + command("MGET", here, there))
        peer, stays = other.accept(), one.accept()
        assert [peer.request(), peer.request()] == [[b"GET", there.encode()], [b"mget", there.encode()]]
        assert stays.request() == [b"mget", here.encode()]
        proxy.replace_settings(**scripted(one, None))
        late.send(command("GET", there))
        assert stays.request() == [b"GET", there.encode()]
        stays.send(array(bulk("1")) + bulk("moved"))
        late.expect(bulk("moved"))
        peer.send(bulk("2") + array(bulk("3")))
        client.expect(bulk("2") + array(bulk("1"), bulk("3")))
        peer.expect_closed()


def test_an_idle_connection_to_a_removed_server_ends(two: tuple[ScriptedServer, ScriptedServer]) -> None:
    one, other = two
    with InProcess(**scripted(one, other)) as proxy:
        client = proxy.client()
        client.send(command("GET", key_on(proxy, "other")))
        peer = other.answer(NULL)
        client.expect(NULL)
        proxy.replace_settings(**scripted(one, None))
        peer.expect_closed()


def test_a_server_that_is_removed_while_it_is_connected_to(two: tuple[ScriptedServer, ScriptedServer]) -> None:
    """The requests that wait for the handshake are sent."""
    one, other = two
    with InProcess(**scripted(one, other, redis_auth="secret")) as proxy:
        client = proxy.client()
        assert client.ask("AUTH", "secret") == OK
        there = key_on(proxy, "other")
        client.send(command("GET", there))
        peer = other.accept()
        assert peer.request() == [b"AUTH", b"secret"]
        proxy.replace_settings(**scripted(one, None, redis_auth="secret"))
        peer.send(OK)
        assert peer.request() == [b"GET", there.encode()]
        peer.send(bulk("v"))
        client.expect(bulk("v"))
        peer.expect_closed()


def test_a_server_at_another_address_keeps_its_keys(two: tuple[ScriptedServer, ScriptedServer]) -> None:
    """Its former address replies to what it has; then the connection is opened to the new one."""
    one, other = two
    with InProcess(**scripted(one, None)) as proxy:
        client = proxy.client()
        client.send(command("GET", "a"))
        peer = one.accept()
        assert peer.request() == [b"GET", b"a"]
        server = proxy.data_plane.pools[0].servers[0]
        proxy.replace_settings(**scripted(other, None))
        assert proxy.data_plane.pools[0].servers[0] is server
        client.send(command("GET", "b"))
        peer.send(bulk("1"))
        client.expect(bulk("1"))
        peer.expect_closed()
        moved = other.accept()
        assert moved.request() == [b"GET", b"b"]
        moved.send(bulk("2"))
        client.expect(bulk("2"))


def test_a_former_address_that_is_silent_delays_requests_for_some_seconds(
    two: tuple[ScriptedServer, ScriptedServer],
) -> None:
    """Also without a timeout; then they go to the new address, and the server is not blamed."""
    one, other = two
    ejecting = {"auto_eject_hosts": True, "server_failure_limit": 1}
    with InProcess(**scripted(one, None, **ejecting)) as proxy:
        early, late = proxy.client(), proxy.client()
        early.send(command("SET", "a", "1"))
        peer = one.accept()
        assert peer.request() == [b"SET", b"a", b"1"]
        proxy.replace_settings(**scripted(other, None, **ejecting))
        late.send(command("GET", "b"))
        proxy.call(lambda: None)
        proxy.advance(5000)
        early.expect(error("ERR Connection timed out"))
        peer.expect_closed()
        moved = other.accept()
        assert moved.request() == [b"GET", b"b"]
        moved.send(bulk("2"))
        late.expect(bulk("2"))
        assert proxy.data_plane.pools[0].servers[0].live


def test_a_removed_server_has_the_present_timeout(two: tuple[ScriptedServer, ScriptedServer]) -> None:
    one, other = two
    with InProcess(**scripted(one, other)) as proxy:
        client = proxy.client()
        there = key_on(proxy, "other")
        client.send(command("GET", there))
        peer = other.accept()
        assert peer.request() == [b"GET", there.encode()]
        proxy.replace_settings(**scripted(one, None))
        proxy.replace_settings(**scripted(one, None, timeout=100))
        proxy.advance(100)
        client.expect(error("ERR Connection timed out"))


def test_settings_with_an_error_change_nothing(
    two: tuple[ScriptedServer, ScriptedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no room for the counters of another server."""
    one, other = two
    with InProcess(**scripted(one, None)) as proxy:
        [server] = proxy.data_plane.pools[0].servers
        config = configuration(scripted(other, one, deny_commands="get"))
        with pytest.raises(IndexError):
            proxy.call(lambda: replace_settings(proxy.data_plane, config, PoolSlots(0, (0, 1 << 40))))
        assert proxy.data_plane.pools[0].servers == (server,)
        client = proxy.client()
        client.send(command("GET", "a"))
        one.answer(bulk("1"))
        client.expect(bulk("1"))


def test_a_removed_server_is_not_probed(two: tuple[ScriptedServer, ScriptedServer]) -> None:
    """When it is added again it is live."""
    one, other = two
    ejecting = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 1000}
    with InProcess(**scripted(one, other, **ejecting)) as proxy:
        client = proxy.client()
        there = key_on(proxy, "other")
        client.send(command("GET", there))
        peer = other.accept()
        assert peer.request() == [b"GET", there.encode()]
        peer.reset()
        assert client.reply().startswith(b"-ERR")
        assert len(proxy.call(lambda: proxy.data_plane.pools[0].live_servers())) == 1
        proxy.replace_settings(**scripted(one, None, **ejecting))
        proxy.advance(3_600_000)
        assert not other.has_connection()
        proxy.replace_settings(**scripted(one, other, **ejecting))
        client.send(command("GET", there))
        other.answer(bulk("v"))
        client.expect(bulk("v"))


def test_a_server_is_removed_in_the_turn_of_its_ejection(two: tuple[ScriptedServer, ScriptedServer]) -> None:
    one, other = two
    ejecting = scripted(one, other, auto_eject_hosts=True, server_failure_limit=1)
    with InProcess(**ejecting) as proxy:
        server = next(each for each in proxy.data_plane.pools[0].servers if each.name == "other")
        config = scripted(one, None, auto_eject_hosts=True, server_failure_limit=1)
        proxy.call(server.count_failure)
        proxy.replace_settings(**config)
        proxy.call(server.count_failure)
        assert server.removed
        assert set(places(proxy)) == {"one"}


def n_connections(server: RedisServer) -> int:
    """The connections of a server, without the one that asks."""
    return server.ask("CLIENT", "LIST").count(b"addr=") - 1


def message(channel: str, text: str) -> bytes:
    return array(bulk("message"), bulk(channel), bulk(text))


def test_subscriptions_move(redis_servers: dict[str, RedisServer]) -> None:
    def pool(*names: str) -> dict[str, object]:
        return {"redis": True, "servers": entries(redis_servers, *names)}

    with InProcess(**pool("one", "two")) as proxy:
        subscriber, publisher = proxy.client(), proxy.client()
        for number, key in enumerate(KEYS, 1):
            subscriber.send(command("SUBSCRIBE", key))
            subscriber.expect(array(bulk("subscribe"), bulk(key), b":%d\r\n" % number))
        before = n_connections(redis_servers["two"])
        proxy.replace_settings(**pool("one", "three"))
        wait_until(lambda: n_connections(redis_servers["two"]) < before, "the end of the link")
        for key in KEYS:
            assert publisher.ask("PUBLISH", key, "news") == b":1\r\n"
            subscriber.expect(message(key, "news"))
        proxy.replace_settings(**pool("three"))
        wait_until(lambda: redis_servers["one"].ask("PUBSUB", "CHANNELS") == array(), "the end of subscriptions")
        for key in KEYS:
            assert publisher.ask("PUBLISH", key, "more") == b":1\r\n"
            subscriber.expect(message(key, "more"))


def test_the_connection_of_a_transaction_at_a_removed_server_ends(redis_servers: dict[str, RedisServer]) -> None:
    """EXEC does nothing there: see ``test_moved_transactions``."""

    def pool(*names: str) -> dict[str, object]:
        return {"redis": True, "servers": entries(redis_servers, *names)}

    with InProcess(**pool("one", "two")) as proxy:
        client = proxy.client()
        there = key_on(proxy, "two")
        queued = b"+QUEUED\r\n"
        client.send(command("MULTI") + command("SET", there, "v"))
        client.expect(OK + queued)
        before = n_connections(redis_servers["two"])
        proxy.replace_settings(**pool("one"))
        client.send(command("EXEC"))
        assert client.reply().startswith(b"-EXECABORT")
        wait_until(lambda: n_connections(redis_servers["two"]) < before, "the end of the private connection")


def scan(client: Connection, keys: set[bytes], cursor: bytes) -> bytes:
    """One SCAN; returns its cursor."""
    reply = client.ask("SCAN", cursor, "COUNT", 5).split(b"\r\n")
    keys.update(word for word in reply if word.startswith(b"key"))
    return reply[2]


def test_scan_goes_on(redis_servers: dict[str, RedisServer]) -> None:
    def pool(*names: str) -> dict[str, object]:
        return {"redis": True, "servers": entries(redis_servers, *names)}

    for server in redis_servers.values():
        server.ask("FLUSHALL")
    with InProcess(**pool("one", "two")) as proxy:
        client = proxy.client()
        client.send(b"".join(command("SET", key, key) for key in KEYS))
        client.expect(OK * len(KEYS))
        stays = {key.encode() for key, name in zip(KEYS, places(proxy), strict=True) if name == "two"}
        found: set[bytes] = set()
        cursor = scan(client, found, b"0")
        proxy.replace_settings(**pool("two", "three"))
        while cursor != b"0":
            cursor = scan(client, found, cursor)
        assert stays <= found
