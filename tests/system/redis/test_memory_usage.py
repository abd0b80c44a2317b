"""MEMORY USAGE gets the reply of the server that has the key."""

from contextlib import ExitStack

import pytest

from harness.proxy import owner, redis_pool
from harness.resp import NULL
from harness.servers import RedisServer, ValkeyServer
from harness.shared_proxy import Configure

FURNITURE: tuple[tuple[str | int, ...], ...] = (
    *(("SET", "text", "x" * 5000), ("SET", "number", 12345), ("SET", "\r\n", ""), ("SETBIT", "bits", 8_000_000, 1)),
    *(("RPUSH", "list", *range(2000)), ("SADD", "set", *range(2000), "y" * 100), ("SADD", "numbers", 1, 2, 3)),
    *(("HSET", "hash", *range(2000), "z" * 300, ""), ("HSET", "small", "f", "v"), ("ZADD", "sorted", *range(4000))),
    *(("XADD", "stream", "1-1", "f", "v"), ("PFADD", "hyper", *range(500)), ("GEOADD", "geo", 1, 1, "here")),
)
OPTIONS: tuple[tuple[str | int, ...], ...] = (
    *((), ("SAMPLES", 0), ("samples", 3), ("SAMPLES", 1_000_000), ("SAMPLES", 1, "SAMPLES", 7)),
    *(("SAMPLES",), ("SAMPLES", -1), ("SAMPLES", "x"), ("SAMPLE", 1), ("SAMPLES", 1, "more")),
)


@pytest.mark.parametrize(("kind", "count"), [(RedisServer, 1), (RedisServer, 3), (ValkeyServer, 3)])
def test_memory_usage_is_that_of_the_keys_server(configured: Configure, kind: type[RedisServer], count: int) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(kind()) for _ in range(count)]
        client = stack.enter_context(configured(redis_pool(*servers))).client()
        for words in FURNITURE:
            assert client.ask(*words)[:1] in b"+:$"
        told = set()
        for key in [str(words[1]) for words in FURNITURE]:
            for options in OPTIONS:
                right = servers[owner(key, count)].ask("MEMORY", "USAGE", key, *options)
                assert client.ask("MEMORY", "USAGE", key, *options) == right
                told.add(right)
        assert len(told) > len(FURNITURE)
        assert client.ask("MEMORY", "USAGE", "nosuch") == NULL
        assert client.ask("MEMORY", "USAGE") == servers[0].ask("MEMORY", "USAGE")
