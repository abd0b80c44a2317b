"""Large and unusual sizes: values, keys, pipelines, mbufs, and a client that sends single bytes."""

from pathlib import Path

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, redis_pool
from harness.resp import OK, array, bulk, command, integer
from harness.servers import RedisServer
from harness.shared_proxy import Configure

KILO, MEGA = 1 << 10, 1 << 20


@pytest.mark.parametrize("size", [0, 1, 16335, 16336, 16384, 65535, 65536, 65537, 262144, MEGA, 10 * MEGA])
def test_value_of_any_size(client: Connection, size: int) -> None:
    value = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    client.send(command("SET", "a", value) + command("STRLEN", "a") + command("GET", "a") + command("PING"))
    client.expect(OK + integer(size) + bulk(value) + b"+PONG\r\n")


def test_value_of_100_megabytes(client: Connection) -> None:
    value = bytes(range(256)) * (100 * MEGA // 256)
    assert client.ask("SET", "huge", value) == OK
    client.send(command("GET", "huge"))
    client.expect(bulk(value))
    assert client.ask("DEL", "huge") == integer(1)


@pytest.mark.parametrize("size", [1, 463, 464, 512, 16335, 16336, 16400, 100 * KILO])
def test_key_of_any_size(client: Connection, servers: list[RedisServer], size: int) -> None:
    key = "k" * size
    assert client.ask("SET", key, "v") == OK
    assert client.ask("GET", key) == bulk("v")
    assert client.ask("MGET", key, "other", key) == array(bulk("v"), b"$-1\r\n", bulk("v"))
    assert client.ask("DEL", key, "other") == integer(1)


def test_empty_key(client: Connection) -> None:
    assert client.ask("SET", "", "v") == OK
    assert client.ask("MGET", "", "absent") == array(bulk("v"), b"$-1\r\n")


@pytest.mark.parametrize("mbuf_size", [512, 513, 16777216])
def test_mbuf_size_limits_nothing(servers: list[RedisServer], mbuf_size: int) -> None:
    with Proxy(redis_pool(*servers), "-m", str(mbuf_size)) as proxy:
        client = proxy.client()
        key, value = "k" * 2000, b"v" * MEGA
        assert client.ask("SET", key, value) == OK
        assert client.ask("MGET", key, "absent") == array(bulk(value), b"$-1\r\n")
        for length in range(400, 500):
            assert client.ask("EVAL", "return 1" + " " * length, "1", key) == integer(1)


def test_many_large_values_in_one_mget(client: Connection) -> None:
    values = {f"large:{i}": b"%d" % i * (200 * KILO) for i in range(30)}
    assert client.ask("MSET", *(part for pair in values.items() for part in pair)) == OK
    assert client.ask("MGET", *values) == array(*map(bulk, values.values()))


def test_small_and_large_alternate(client: Connection) -> None:
    stream, expected = [], []
    for i in range(60):
        value = b"x" * (300 * KILO if i % 3 == 0 else 10)
        stream += [command("SET", f"mixed:{i}", value), command("GET", f"mixed:{i}"), command("PING")]
        expected += [OK, bulk(value), b"+PONG\r\n"]
    client.send(b"".join(stream))
    client.expect(b"".join(expected))


def test_client_that_sends_byte_by_byte(configured: Configure, servers: list[RedisServer], tmp_path: Path) -> None:
    with configured(redis_pool(*servers, listen=tmp_path / "proxy.sock")) as proxy:
        client = proxy.client()
        stream = command("SET", "slow", "v" * 50) + command("MGET", "slow", "none") + command("DEL", "slow", "none")
        client.send_pieces(*(stream[i : i + 1] for i in range(len(stream))))
        client.expect(OK + array(bulk("v" * 50), b"$-1\r\n") + integer(1))


def test_deep_pipeline_of_one_client(client: Connection) -> None:
    count = 50_000
    client.send(b"".join(command("SET", f"p{i % 997}", i) for i in range(count)))
    client.expect(OK * count)
    client.send(b"".join(command("GET", f"p{i % 997}") for i in range(count)))
    last = {i % 997: i for i in range(count)}
    client.expect(b"".join(bulk(last[i % 997]) for i in range(count)))


def test_requests_with_many_arguments(client: Connection) -> None:
    members = [f"member:{i}" for i in range(100_000)]
    assert client.ask("SADD", "set", *members) == integer(100_000)
    assert client.ask("SCARD", "set") == integer(100_000)
    assert client.ask("RPUSH", "list", *members) == integer(100_000)
    assert client.ask("LRANGE", "list", "0", "-1") == array(*map(bulk, members))
