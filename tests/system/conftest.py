"""What the system tests share: three real redis servers and a proxy in front of them."""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import Proxy, redis_pool
from harness.servers import RedisServer, missing_programs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = missing_programs()
    if items and missing:
        pytest.exit(f"the system tests need these programs on the PATH: {', '.join(missing)}", returncode=1)


@pytest.fixture(scope="session")
def running_servers() -> Iterator[list[RedisServer]]:
    with RedisServer() as first, RedisServer() as second, RedisServer() as third:
        yield [first, second, third]


@pytest.fixture
def servers(running_servers: list[RedisServer]) -> list[RedisServer]:
    """Three empty redis servers."""
    for server in running_servers:
        assert server.ask("FLUSHALL") == b"+OK\r\n"
    return running_servers


@pytest.fixture(scope="session")
def shared_proxy(running_servers: list[RedisServer]) -> Iterator[Proxy]:
    with Proxy(redis_pool(*running_servers)) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared_proxy: Proxy, servers: list[RedisServer]) -> Proxy:
    """A proxy with default directives in front of ``servers``, which are empty. Other tests use it too."""
    return shared_proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Connection]:
    """A fresh client of ``proxy``."""
    with proxy.client() as connection:
        yield connection
