"""SCAN over several servers: one cursor that finds every key and comes to an end."""

import re
from collections.abc import Callable, Iterator
from itertools import groupby

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, ServedPools, keys_of, owner, redis_pool
from harness.redis_replies import tree
from harness.resp import OK, command, error, integer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

INVALID = error("ERR invalid cursor")


@pytest.fixture(scope="module")
def seven(running_servers: list[RedisServer]) -> Iterator[list[RedisServer]]:
    with RedisServer() as fourth, RedisServer() as fifth, RedisServer() as sixth, RedisServer() as seventh:
        yield [*running_servers, fourth, fifth, sixth, seventh]


def step(client: Connection, cursor: bytes, *options: str | int) -> tuple[bytes, list[bytes]]:
    """Send one SCAN and return the next cursor and the keys."""
    kind, found = tree(client.ask("SCAN", cursor, *options))
    assert kind == b"*", found
    assert isinstance(found, list)
    [(_, following), (_, keys)] = found
    return following, [key for _, key in keys]


def walk(client: Connection, *options: str | int, meanwhile: Callable[[int], None] = lambda _: None) -> list[str]:
    """All keys that SCAN returns from start to end; ``meanwhile`` is called after every step except the last."""
    cursor, keys = step(client, b"0", *options)
    steps = 1
    while cursor != b"0":
        assert re.fullmatch(rb"[1-9]\d{0,19}", cursor)
        meanwhile(steps)
        steps += 1
        assert steps < 20_000, "the walk has no end"
        cursor, more = step(client, cursor, *options)
        keys += more
    return [key.decode() for key in keys]


def fill(client: Connection, names: list[str]) -> None:
    """Set all of these keys."""
    client.send(b"".join(command("SET", name, "") for name in names))
    client.expect(OK * len(names))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_key_is_found(
    configured: Configure, seven: list[RedisServer], servers: list[RedisServer], count: int
) -> None:
    for server in seven:
        server.ask("FLUSHALL")
    names = [f"key{number}" for number in range(500)]
    with configured(redis_pool(*seven[:count])) as proxy:
        client = proxy.client()
        assert walk(client) == []
        fill(client, names)
        for version, steps in ((2, 1), (3, 1), (2, 10), (3, 10_000)):
            client.ask("HELLO", version)
            found = walk(client, "COUNT", steps)
            assert set(found) == set(names)
            assert len(found) == len(names), "nothing has changed, so no key is found twice"


def test_options(client: Connection) -> None:
    fill(client, [f"a{number}" for number in range(50)])
    client.send(b"".join(command("RPUSH", f"b{number}", "x") for number in range(50)))
    client.expect(integer(1) * 50)
    assert set(walk(client, "MATCH", "a*")) == {f"a{number}" for number in range(50)}
    assert set(walk(client, "COUNT", 3, "TYPE", "list")) == {f"b{number}" for number in range(50)}
    assert walk(client, "match", "b*", "type", "string", "count", 7) == []
    assert set(walk(client, "MATCH", "?1", "COUNT", 1)) == {"a1", "b1"}


def test_only_one_server_is_asked_at_a_time(client: Connection, servers: list[RedisServer]) -> None:
    """A walk visits one server after the other, and no server twice."""
    names = [key for index in range(3) for key in keys_of(index, 3, 40)]
    fill(client, names)
    found = walk(client, "COUNT", 5)
    assert len([*groupby(owner(key, 3) for key in found)]) == 3
    assert set(found) == set(names)


def test_keys_that_stay_are_found_whatever_comes_and_goes(client: Connection) -> None:
    stay = [f"stay{number}" for number in range(300)]
    fill(client, stay)

    def meanwhile(steps: int) -> None:
        """Make the hash tables of the servers grow and shrink."""
        others = [f"other{number}" for number in range(400)]
        if steps % 2:
            fill(client, others)
        else:
            assert client.ask("DEL", *others) == integer(400)

    found = walk(client, "COUNT", 20, meanwhile=meanwhile)
    assert set(stay) <= set(found)
    assert set(found) <= {*stay, *(f"other{number}" for number in range(400))}


def test_a_walk_ends_while_keys_are_added_all_the_time(client: Connection) -> None:
    fill(client, [f"key{number}" for number in range(100)])
    added = 0

    def meanwhile(steps: int) -> None:
        nonlocal added
        fill(client, [f"new{number}" for number in range(added, added + 20)])
        added += 20

    assert {f"key{number}" for number in range(100)} <= set(walk(client, meanwhile=meanwhile))


def test_two_clients_at_a_time(proxy: ServedPools, client: Connection) -> None:
    names = {f"key{number}" for number in range(200)}
    fill(client, sorted(names))
    other = proxy.client()
    cursor, found = step(other, b"0", "COUNT", 3)

    def meanwhile(steps: int) -> None:
        nonlocal cursor, found
        if cursor != b"0":
            cursor, more = step(other, cursor, "COUNT", 3)
            found += more

    assert set(walk(client, "COUNT", 2, meanwhile=meanwhile)) == names
    while cursor != b"0":
        meanwhile(0)
    assert {key.decode() for key in found} == names


def test_any_client_can_go_on(proxy: ServedPools, client: Connection) -> None:
    """A cursor belongs to no client: a different client can send each step."""
    names = {f"key{number}" for number in range(60)}
    fill(client, sorted(names))
    cursor, found = step(client, b"0")
    while cursor != b"0":
        with proxy.client() as other:
            cursor, more = step(other, cursor)
        found += more
    assert {key.decode() for key in found} == names


@pytest.mark.parametrize("cursor", ["", "x", "-1", "+1", " 1", "1 ", "1.5", "0x1", str(2**64), "9" * 20, "9" * 5000])
def test_what_is_no_cursor(client: Connection, cursor: str) -> None:
    client.send(command("SCAN", cursor) + command("PING"))
    client.expect(INVALID + b"+PONG\r\n")


def test_cursors_that_nobody_gave_out_do_no_harm(client: Connection) -> None:
    names = {f"key{number}" for number in range(100)}
    fill(client, sorted(names))
    for cursor in (1, 2, 3, 4, 12345, 2**31, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 1):
        place, found = step(client, str(cursor).encode())
        while place != b"0":
            place, more = step(client, place)
            found += more
        assert {key.decode() for key in found} <= names


def test_errors_of_servers_are_the_reply(client: Connection, servers: list[RedisServer]) -> None:
    for text in ("SCAN 0 COUNT x", "SCAN 1 COUNT 0", "SCAN 2 MATCH", "SCAN 0 NOSUCH 1", "SCAN 1 COUNT"):
        assert client.ask(*text.split()) == servers[0].ask(*text.split())
    assert client.ask("SCAN") == error("ERR wrong number of arguments for 'scan' command")


def test_another_database(configured: Configure, servers: list[RedisServer]) -> None:
    with configured(redis_pool(*servers, databases=4)) as proxy:
        client, other = proxy.client(), proxy.client()
        assert other.ask("SELECT", 3) == OK
        fill(client, [f"zero{number}" for number in range(50)])
        fill(other, [f"three{number}" for number in range(50)])
        assert set(walk(client)) == {f"zero{number}" for number in range(50)}
        assert set(walk(other)) == {f"three{number}" for number in range(50)}
        assert other.ask("HELLO", 3)[:1] == b"%"
        assert set(walk(other)) == {f"three{number}" for number in range(50)}


def test_a_walk_goes_on_when_a_server_is_back(configured: Configure) -> None:
    with RedisServer() as first, RedisServer() as second, configured(redis_pool(first, second)) as proxy:
        client = proxy.client()
        [left], [right] = keys_of(0, 2), keys_of(1, 2)
        fill(client, [left, right])
        cursor, found = step(client, b"0")
        down, lost = (second, right) if found == [left.encode()] else (first, left)
        down.kill()
        for _ in range(3):
            assert client.ask("SCAN", cursor).startswith(b"-ERR ")
        down.start()
        down.ask("SET", lost, "")
        assert step(client, cursor) == (b"0", [lost.encode()])


CHANGES = {
    "one more": ("012", "0123"),
    "one less": ("0123", "013"),
    "another order": ("0123", "2031"),
    "one instead of three": ("012", "1"),
    "three instead of one": ("1", "012"),
}
"""The servers of a pool before and after a change of its configuration."""


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_no_server_is_left_out_when_servers_come_and_go(
    configured: Configure, seven: list[RedisServer], before: str, after: str
) -> None:
    """A walk that begins with one configuration can continue with the other one, after any number of steps."""
    for index, server in enumerate(seven):
        server.ask("FLUSHALL")
        server.ask("MSET", *[word for number in range(60) for word in (f"{index}:{number}", "")])
    pools = [
        redis_pool(*[seven[int(index)] for index in servers])
        | {"servers": [f"{seven[int(index)].address}:1 server-{index}" for index in servers]}
        for servers in (before, after)
    ]
    stay = {f"{index}:{number}" for index in {*before} & {*after} for number in range(60)}
    with configured(pools[0]) as proxy, Proxy(pools[1]) as changed:
        client, other = proxy.client(), changed.client()
        cursor, seen = step(client, b"0", "COUNT", 25)
        steps = 1
        while cursor != b"0":
            following, found = step(other, cursor, "COUNT", 25)
            while following != b"0":
                following, more = step(other, following, "COUNT", 25)
                found += more
            assert stay <= {key.decode() for key in (*seen, *found)}, f"after {steps} steps"
            cursor, more = step(client, cursor, "COUNT", 25)
            seen += more
            steps += 1
        assert steps > 2
