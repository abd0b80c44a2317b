"""Servers that tests may kill."""

from collections.abc import Iterator

import pytest

from harness.proxy import Proxy, redis_pool
from harness.servers import RedisServer


@pytest.fixture(scope="module")
def mortal() -> Iterator[tuple[Proxy, list[RedisServer]]]:
    """A proxy in front of three real servers, which tests may kill."""
    with (
        RedisServer() as first,
        RedisServer() as second,
        RedisServer() as third,
        Proxy(redis_pool(first, second, third, allow_commands="client|kill")) as proxy,
    ):
        yield proxy, [first, second, third]
