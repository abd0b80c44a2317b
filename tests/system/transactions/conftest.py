"""Servers that tests may kill."""

from collections.abc import Iterator

import pytest

from harness.proxy import ServedPools, redis_pool
from harness.servers import RedisServer
from harness.shared_proxy import Configure


@pytest.fixture(scope="module")
def mortal(configured: Configure) -> Iterator[tuple[ServedPools, list[RedisServer]]]:
    """A proxy in front of three real servers, which tests may kill."""
    with (
        RedisServer() as first,
        RedisServer() as second,
        RedisServer() as third,
        configured(redis_pool(first, second, third, allow_commands="client|kill")) as proxy,
    ):
        yield proxy, [first, second, third]
