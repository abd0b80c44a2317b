"""What ``nutcracker explain`` says about keys is where a running proxy writes them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from harness.proxy import Proxy, keys_of, redis_pool, run
from harness.resp import OK, command, error
from harness.servers import RedisServer
from twemproxy.hashing import HASHES

KEYS = [f"user:{number}:{{tag{number % 997}}}" for number in range(10_000)]


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RedisServer]]:
    with ExitStack() as made:
        yield [made.enter_context(RedisServer()) for _ in range(3)]


def explained(proxy: Proxy, *arguments: str) -> list[dict[str, Any]]:
    """The places of keys in the only pool."""
    done = run("explain", "-C", str(proxy.control_socket), "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [key["pools"][0] for key in json.loads(done.stdout)["keys"]]


def places(proxy: Proxy, servers: list[RedisServer], keys: list[str]) -> dict[str, str]:
    """Write keys through the proxy; returns the name of the server that has each one."""
    for server in servers:
        assert server.ask("FLUSHALL") == OK
    client = proxy.client()
    client.send(command("MSET", *(word for key in keys for word in (key, ""))))
    client.expect(b"+OK\r\n")
    found = {}
    for number, server in enumerate(servers, 1):
        for line in server.ask("KEYS", "*").split(b"\r\n")[2::2]:
            found[line.decode()] = f"s{number}"
    return found


def test_all_hashes_and_distributions(servers: list[RedisServer]) -> None:
    def pool(number: int, hash: str, distribution: str) -> dict[str, object]:
        directives: dict[str, object] = {"redis": True, "hash": hash, "distribution": distribution}
        if number % 2:
            directives["hash_tag"] = '"{}"'
        entries = [f"{server.address}:{index + number % 3} s{index}" for index, server in enumerate(servers, 1)]
        return {**directives, "servers": entries}

    pools = [
        pool(number, hash, distribution)
        for number, (hash, distribution) in enumerate((h, d) for h in HASHES for d in ("ketama", "modula"))
    ]
    with Proxy(pools[0]) as proxy:
        for number, each in enumerate(pools):
            proxy.reload(each)
            # So each key is in the pools of two hashes.
            keys = KEYS[number % len(HASHES) :: len(HASHES)]
            actual = places(proxy, servers, keys)
            assert sorted(actual) == sorted(keys)
            said = explained(proxy, *keys)
            assert {key: place["now"]["server"] for key, place in zip(keys, said, strict=True)} == actual, each
            proxy.close_clients()


def test_an_ejected_server() -> None:
    with RedisServer() as first, RedisServer() as second, RedisServer() as third:
        pool = redis_pool(
            first, second, third, auto_eject_hosts=True, server_failure_limit=1, server_retry_timeout=60_000
        )
        keys = keys_of(1, 3, 20)
        with Proxy(pool) as proxy:
            assert {place["now"]["server"] for place in explained(proxy, *keys)} == {"s01"}
            expected = [place["if_ejected"]["server"] for place in explained(proxy, *keys)]
            second.kill()
            client = proxy.client()
            assert client.ask("SET", keys[0], "x") == error("ERR Connection refused")
            assert [client.ask("SET", key, "x") for key in keys] == [OK] * len(keys)
            actual = ["s00" if first.ask("EXISTS", key) == b":1\r\n" else "s02" for key in keys]
            said = explained(proxy, *keys)
            assert [place["now"]["server"] for place in said] == actual == expected
            assert {place["place"]["server"] for place in said} == {"s01"}
            assert list(said[0]["ejected"]) == ["s01"]
            done = run("explain", keys[0], "-C", str(proxy.control_socket))
            assert f'"s01" at {second.address}, ejected since 20' in done.stdout
            assert ', because of the ejection of "s01"\n' in done.stdout


def test_a_server_that_keeps_its_keys() -> None:
    with RedisServer() as first, RedisServer() as second:
        ejecting = {"auto_eject_hosts": True, "server_failure_limit": 1, "server_retry_timeout": 60_000}
        with Proxy(redis_pool(first, second, **ejecting, on_server_down="error")) as proxy:
            [key] = keys_of(1, 2)
            second.kill()
            assert proxy.client().ask("SET", key, "x") == error("ERR Connection refused")
            proxy.wait_stats(lambda stats: stats["s01"]["ejected"] == 1, "it is ejected")
            [place] = explained(proxy, key)
            assert (place["place"]["server"], place["now"], place["if_ejected"]) == ("s01", None, None)
            done = run("explain", key, "-C", str(proxy.control_socket))
            assert "now:     the proxy answers in its place (on_server_down error)" in done.stdout
