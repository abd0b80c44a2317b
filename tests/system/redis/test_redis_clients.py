"""Common programs as clients: redis-py, redis-cli and redis-benchmark; and valkey servers."""

import asyncio
import subprocess

import pytest
import redis
import redis.asyncio

from harness.proxy import ServedPools, redis_pool
from harness.servers import RedisServer, ValkeyServer
from harness.shared_proxy import Configure


def redis_py(proxy: ServedPools, db: int = 0, username: str | None = None, password: str | None = None) -> redis.Redis:
    """A redis-py client that uses RESP2 and does not send the name of its library."""
    address = ("127.0.0.1", proxy.port(), db, password)
    return redis.Redis(*address, username=username, protocol=2, driver_info=None)


def exercise(client: redis.Redis) -> None:
    """Commands of every kind that a pool of several servers supports."""
    assert client.ping()
    assert client.echo("hello") == b"hello"
    assert client.set("s", "1", ex=100, nx=True)
    assert client.incrby("s", 41) == 42
    assert 0 < client.ttl("s") <= 100
    numbers = {f"n{i}": str(i) for i in range(100)}
    assert client.mset(numbers)
    assert client.mget([*numbers, "absent"]) == [*(value.encode() for value in numbers.values()), None]
    assert client.exists(*numbers, "absent") == 100
    assert client.touch("n1", "n2", "absent") == 2
    assert client.delete(*numbers, "absent") == 100
    assert client.hset("h", mapping={"a": "1", "b": "2"}) == 2
    assert client.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert client.rpush("l", *range(10)) == 10
    assert client.lrange("l", -3, -1) == [b"7", b"8", b"9"]
    assert client.sadd("t", "x", "y") == 2
    assert client.smembers("t") == {b"x", b"y"}
    assert client.zadd("z", {"one": 1, "two": 2}) == 2
    assert client.zrange("z", 0, -1, withscores=True) == [(b"one", 1.0), (b"two", 2.0)]
    assert client.geoadd("g", (13.361389, 38.115556, "Palermo")) == 1
    assert client.pfadd("p", "a", "b", "c") == 1
    assert client.eval("return {KEYS[1], ARGV[1]}", 1, "key", "value") == [b"key", b"value"]
    assert list(client.hscan_iter("h")) == [(b"a", b"1"), (b"b", b"2")]
    with client.pipeline(transaction=False) as pipeline:
        for i in range(200):
            pipeline.set(f"p{i}", i)
            pipeline.get(f"p{i}")
        assert pipeline.execute() == [part for i in range(200) for part in (True, str(i).encode())]
    with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
        client.execute_command("GET")  # type: ignore[no-untyped-call]
    with pytest.raises(redis.ResponseError, match="wrong kind of value"):
        client.get("l")
    assert client.get("s") == b"42"


def test_redis_py(proxy: ServedPools) -> None:
    with redis_py(proxy) as client:
        exercise(client)


def test_redis_py_as_it_comes(proxy: ServedPools) -> None:
    """With default settings, redis-py sends HELLO 3 and the name of its library."""
    with redis.Redis(port=proxy.port()) as client:
        exercise(client)
        assert client.client_info()["resp"] == "3"
        assert client.info("server")["redis_mode"] == "standalone"


def test_asyncio_redis_py_as_it_comes(proxy: ServedPools) -> None:
    async def run() -> None:
        async with redis.asyncio.Redis(port=proxy.port()) as client:
            assert await client.ping()
            assert (await client.client_info())["resp"] == "3"
            numbers = {f"n{i}": str(i) for i in range(100)}
            assert await client.mset(numbers)
            assert await client.mget([*numbers, "absent"]) == [*(value.encode() for value in numbers.values()), None]
            assert await client.hset("h", mapping={"a": "1", "b": "2"}) == 2
            assert await client.hgetall("h") == {b"a": b"1", b"b": b"2"}
            assert await client.zadd("z", {"one": 1}) == 1
            assert await client.zscore("z", "one") == 1.0
            assert sorted(await asyncio.gather(*(client.incr("n1") for _ in range(20)))) == list(range(2, 22))
            async with client.pipeline(transaction=False) as pipeline:
                for i in range(100):
                    pipeline.set(f"p{i}", i)
                    pipeline.get(f"p{i}")
                assert await pipeline.execute() == [part for i in range(100) for part in (True, str(i).encode())]
            assert await client.delete(*numbers) == 100

    asyncio.run(run())


def test_redis_py_with_a_password(configured: Configure, servers: list[RedisServer]) -> None:
    with RedisServer(password="pw") as server, configured(redis_pool(server, redis_auth="pw", redis_db=2)) as proxy:
        for user in (None, "default"):
            with redis_py(proxy, 2, user, "pw") as client:
                assert client.set("a", "1")
        with redis_py(proxy) as client, pytest.raises(redis.AuthenticationError):
            client.get("a")
        assert server.ask("GET", "a", db=2) == b"$1\r\n1\r\n"


def test_valkey_behind(configured: Configure) -> None:
    with (
        ValkeyServer() as first,
        ValkeyServer() as second,
        configured(redis_pool(first, second.path)) as proxy,
        redis_py(proxy) as client,
    ):
        exercise(client)


def test_redis_cli(proxy: ServedPools) -> None:
    def cli(*words: str, typed: str | None = None) -> str:
        command = ["redis-cli", "-p", str(proxy.port()), *words]
        return subprocess.run(command, input=typed, capture_output=True, text=True, check=True, timeout=30).stdout

    assert cli("PING") == "PONG\n"
    assert cli("SET", "a", "1") == "OK\n"
    assert cli(typed="GET a\nMGET a b\n") == "1\n1\n\n"
    assert "unknown command" in cli("NOSUCHCOMMAND")


@pytest.mark.parametrize("pipeline", [1, 16])
def test_redis_benchmark(proxy: ServedPools, servers: list[RedisServer], pipeline: int) -> None:
    tests = ["set", "get", "incr", "lpush", "rpop", "sadd", "hset", "zadd", "mset"]
    arguments = ["-p", str(proxy.port()), "-n", "2000", "-c", "20", "-P", str(pipeline), "-r", "100", "-q"]
    result = subprocess.run(
        ["redis-benchmark", *arguments, "-t", ",".join(tests)], capture_output=True, text=True, timeout=50
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("requests per second") >= len(tests)
    assert "rror" not in result.stdout
    assert sum(int(server.ask("DBSIZE")[1:]) for server in servers) > 100
