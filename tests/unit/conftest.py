"""Real servers, with which tests compare what our code finds in requests and replies."""

from collections.abc import Iterator

import pytest

from harness.servers import MemcachedServer, RedisServer, ValkeyServer


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="module")
def memcached() -> Iterator[MemcachedServer]:
    with MemcachedServer() as server:
        yield server
