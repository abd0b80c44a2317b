"""get, gets, gat and gats with keys on several servers: one line for each server, one reply in request order."""

import pytest

from harness.connection import Connection
from harness.memcache import END, MN, STORED, store, value
from harness.proxy import keys_of, memcached_pool, owner
from harness.scripted_server import ScriptedMemcached
from harness.servers import MemcachedServer
from harness.shared_proxy import Configure
from harness.stage import Stage

[A1, A2] = keys_of(0, 3, 2)
[B1, B2] = keys_of(1, 3, 2)
[C1, C2] = keys_of(2, 3, 2)

RETRIEVALS = ["get", "gets", "gat 100", "gats 100"]


def line(*words: str) -> bytes:
    """A request without a data block."""
    return " ".join(words).encode() + b"\r\n"


def fill(client: Connection, *keys: str) -> None:
    """Store each key with its name as the value and the length of its name as the flags."""
    for key in keys:
        assert client.ask_text(store("set", key, key, flags=len(key))) == STORED


def filled(key: str, cas: int | None = None) -> bytes:
    """The value of a key of ``fill`` in the reply to a retrieval."""
    return value(key, key, len(key), cas)


def unique(server: MemcachedServer, key: str) -> int:
    """The cas unique of a key; the server is asked directly."""
    return int(server.ask(line("gets", key)).split()[4])


@pytest.mark.parametrize("verb", RETRIEVALS)
def test_each_server_gets_one_line_with_its_keys_in_request_order(memcached_stage: Stage, verb: str) -> None:
    [a, also_a], [b, also_b] = keys_of(0, 2, 2), keys_of(1, 2, 2)
    memcached_stage.client.send(line(verb, also_b, also_a, b, a, also_a))
    memcached_stage.first.accept().expect(line(verb, also_a, a, also_a))
    memcached_stage.second.accept().expect(line(verb, also_b, b))


def test_servers_are_asked_in_index_order(configured: Configure) -> None:
    with ScriptedMemcached() as server, configured(memcached_pool(server, server, server)) as proxy:
        # Three servers with one address: the order of their connections is the order of sending.
        proxy.client().send(line("get", C1, B1, A1))
        peers = [server.accept() for _ in range(3)]
        assert [peer.text_request() for peer in peers] == [line("get", key) for key in (A1, B1, C1)]


@pytest.mark.parametrize("verb", RETRIEVALS)
def test_keys_of_one_server_go_as_the_client_wrote_them(memcached_stage: Stage, verb: str) -> None:
    [a, also_a] = keys_of(0, 2, 2)
    memcached_stage.client.send(line(verb, a) + line(verb, also_a, a, also_a))
    memcached_stage.first.accept().expect(line(verb, a) + line(verb, also_a, a, also_a))
    assert not memcached_stage.second.has_connection()


@pytest.mark.parametrize("verb", ["get", "gat 100"])
def test_values_come_in_request_order_without_those_that_miss(memcached_client: Connection, verb: str) -> None:
    fill(memcached_client, A1, A2, B1, C1)
    memcached_client.send(line(verb, C1, A2, B2, "absent", B1, A1, C2) + line("mn"))
    memcached_client.expect(b"".join(filled(key) for key in (C1, A2, B1, A1)) + END + MN)


@pytest.mark.parametrize("verb", ["gets", "gats 100"])
def test_values_come_with_the_uniques_of_their_servers(
    memcached_client: Connection, memcached_servers: list[MemcachedServer], verb: str
) -> None:
    keys = [C1, A2, B1, A1]
    fill(memcached_client, *keys)
    memcached_client.send(line(verb, *keys))
    # gat and gats do not change the cas unique.
    uniques = [unique(memcached_servers[owner(key, 3)], key) for key in keys]
    memcached_client.expect(b"".join(filled(key, cas) for key, cas in zip(keys, uniques, strict=True)) + END)


def test_cas_uniques_of_a_split_gets_are_good_for_cas(memcached_client: Connection) -> None:
    fill(memcached_client, A1, B1, C1)
    words = memcached_client.ask_text(line("gets", C1, A1, B1)).split()
    for position, key in enumerate((C1, A1, B1)):
        cas = int(words[position * 6 + 4])
        assert memcached_client.ask_text(store("cas", key, "new", cas)) == STORED


def test_gat_touches_its_keys_on_every_server(
    memcached_client: Connection, memcached_servers: list[MemcachedServer]
) -> None:
    fill(memcached_client, A1, B1, C1)
    memcached_client.send(line("gat", "1000", A1, B1, C1, C2))
    memcached_client.expect(b"".join(map(filled, (A1, B1, C1))) + END)
    for server, key in zip(memcached_servers, (A1, B1, C1), strict=True):
        seconds = int(server.ask(line("mg", key, "t")).split()[1][1:])
        assert 900 < seconds <= 1000


@pytest.mark.parametrize("verb", ["get", "gat 0"])
def test_all_misses_are_one_end(memcached_client: Connection, verb: str) -> None:
    memcached_client.send(line(verb, A1, B1, C1) + line("mn"))
    memcached_client.expect(END + MN)


@pytest.mark.parametrize("keys", [[A1] * 500, [A1, B1, A1, C1, B1, A1] * 80], ids=["one-server", "three-servers"])
def test_a_key_asked_for_again_is_answered_again(memcached_client: Connection, keys: list[str]) -> None:
    fill(memcached_client, A1, B1)
    memcached_client.send(line("get", *keys))
    memcached_client.expect(b"".join(filled(key) for key in keys if key != C1) + END)


@pytest.mark.parametrize("count", [1000, 20000])
def test_thousands_of_keys(memcached_client: Connection, count: int) -> None:
    names = [f"many:{number}" for number in range(count)]
    memcached_client.send(b"".join(store("set", name, name + "!") for name in names if not name.endswith("7")))
    memcached_client.expect(STORED * (count * 9 // 10))
    memcached_client.send(line("get", *names))
    memcached_client.expect(b"".join(value(name, name + "!") for name in names if not name.endswith("7")) + END)


def test_values_may_look_like_the_protocol(memcached_client: Connection) -> None:
    tricky = [b"", b"\r\n", b"END\r\n", b"VALUE k0 0 1\r\nx\r\nEND\r\n", bytes(range(256)), b"x" * 100_000]
    names = [key for index in range(3) for key in keys_of(index, 3, 2, "tricky:")]
    for name, data in zip(names, tricky, strict=True):
        assert memcached_client.ask_text(store("set", name, data)) == STORED
    memcached_client.send(line("get", *names))
    memcached_client.expect(b"".join(map(value, names, tricky)) + END)


def test_pipelined_splits_keep_their_order(memcached_client: Connection) -> None:
    fill(memcached_client, A1, B1, C1)
    requests, replies = [], []
    for number in range(300):
        keys = [(A1, B1, C1, A2, B2)[(number + i * 2) % 5] for i in range(number % 4 + 1)]
        requests += [line("get", *keys), store("set", A2, str(number)), line("get", A2, C1), line("mn")]
        before = "" if number == 0 else str(number - 1)
        shown = {key: filled(key) for key in (A1, B1, C1)} | {A2: value(A2, before) if before else b"", B2: b""}
        replies += [*(shown[key] for key in keys), END, STORED, value(A2, str(number)), filled(C1), END, MN]
    memcached_client.send(b"".join(requests))
    memcached_client.expect(b"".join(replies))


def test_hash_tags_keep_keys_together(configured: Configure, memcached_servers: list[MemcachedServer]) -> None:
    with configured(memcached_pool(*memcached_servers, hash_tag='"{}"')) as proxy:
        names = [f"{{{B1}}}:{number}" for number in range(20)]
        client = proxy.client()
        fill(client, *names)
        client.send(line("get", *names))
        client.expect(b"".join(map(filled, names)) + END)
        assert [memcached_servers[1].get(name) for name in names] == [name.encode() for name in names]


def test_a_split_is_counted_as_its_fragments(configured: Configure, memcached_servers: list[MemcachedServer]) -> None:
    with configured(memcached_pool(*memcached_servers)) as proxy:
        client = proxy.client()
        assert client.ask_text(line("get", A1, B1, C1, A2)) == END
        assert client.ask_text(line("get", A1, A2)) == END
        pool = proxy.pool_stats()
        assert pool["fragments"] == 3
        assert [pool[name]["requests"] for name in ("s00", "s01", "s02")] == [2, 1, 1]
