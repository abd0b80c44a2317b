"""Fixtures of the system tests: three real servers of each kind and a proxy in front of them."""

from collections.abc import Iterator

import pytest

from harness.connection import Connection
from harness.proxy import ServedPools, memcached_pool, redis_pool
from harness.servers import MemcachedServer, RedisServer, missing_programs
from harness.shared_proxy import Configure, SharedProxy
from harness.stage import Stage, as_new, scripted_pool


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = missing_programs()
    if items and missing:
        pytest.exit(f"the system tests need these programs on the PATH: {', '.join(missing)}", returncode=1)


@pytest.fixture(scope="session")
def configured() -> Iterator[Configure]:
    """``with configured(pools) as proxy``: a running proxy serves these pools until the end of the context.

    Use it in place of ``Proxy(pools)`` in every test that is not about the process of the proxy.
    """
    shared = SharedProxy()
    try:
        yield shared.configured
    finally:
        shared.stop()


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
def shared_proxy(configured: Configure, running_servers: list[RedisServer]) -> Iterator[ServedPools]:
    with configured(redis_pool(*running_servers, allow_commands="client|kill")) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared_proxy: ServedPools, servers: list[RedisServer]) -> Iterator[ServedPools]:
    """A proxy in front of ``servers``, which are empty; its clients may use CLIENT KILL.

    Other tests use the proxy too: the clients of a test, and their subscriptions, end with the test.
    """
    yield shared_proxy
    shared_proxy.close_clients()


@pytest.fixture
def client(proxy: ServedPools) -> Iterator[Connection]:
    """A new client of ``proxy``."""
    with proxy.client() as connection:
        yield connection


@pytest.fixture(scope="session")
def tagging_proxy(configured: Configure, running_servers: list[RedisServer]) -> Iterator[ServedPools]:
    """A proxy in front of ``running_servers`` whose pool has a hash tag. Other tests use the proxy too."""
    with configured(redis_pool(*running_servers, hash_tag='"{}"')) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def reference() -> Iterator[RedisServer]:
    """A server that belongs to no pool."""
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["one-server", "three-servers"], scope="module")
def every_proxy(
    configured: Configure, request: pytest.FixtureRequest, running_servers: list[RedisServer]
) -> Iterator[ServedPools]:
    """A proxy in front of one server, or a proxy in front of three servers with two connections each."""
    servers, connections = (running_servers[:1], 1) if request.param == "one-server" else (running_servers, 2)
    with configured(redis_pool(*servers, server_connections=connections)) as proxy:
        yield proxy


@pytest.fixture
def any_proxy(every_proxy: ServedPools, servers: list[RedisServer]) -> Iterator[ServedPools]:
    """``every_proxy`` with empty servers; the clients of a test end with the test."""
    yield every_proxy
    every_proxy.close_clients()


@pytest.fixture
def anybody(any_proxy: ServedPools) -> Iterator[Connection]:
    """A client of ``any_proxy``."""
    with any_proxy.client() as client:
        yield client


@pytest.fixture(scope="session")
def running_memcached() -> Iterator[list[MemcachedServer]]:
    with MemcachedServer() as first, MemcachedServer() as second, MemcachedServer() as third:
        yield [first, second, third]


@pytest.fixture
def memcached_servers(running_memcached: list[MemcachedServer]) -> list[MemcachedServer]:
    """Three empty memcached servers."""
    for server in running_memcached:
        server.flush()
    return running_memcached


@pytest.fixture(scope="session")
def shared_memcached_proxy(configured: Configure, running_memcached: list[MemcachedServer]) -> Iterator[ServedPools]:
    with configured(memcached_pool(*running_memcached)) as proxy:
        yield proxy


@pytest.fixture
def memcached_proxy(
    shared_memcached_proxy: ServedPools, memcached_servers: list[MemcachedServer]
) -> Iterator[ServedPools]:
    """A proxy with default directives in front of ``memcached_servers``, which are empty.

    Other tests use the proxy too: the clients of a test end with the test.
    """
    yield shared_memcached_proxy
    shared_memcached_proxy.close_clients()


@pytest.fixture
def memcached_client(memcached_proxy: ServedPools) -> Iterator[Connection]:
    """A new client of ``memcached_proxy``."""
    with memcached_proxy.client() as connection:
        yield connection


@pytest.fixture(scope="session")
def shared_stage(configured: Configure) -> Iterator[Stage]:
    with scripted_pool(configured) as stage:
        yield stage


@pytest.fixture
def memcached_stage(shared_stage: Stage) -> Iterator[Stage]:
    """A proxy with default directives in front of two scripted memcached servers. Other tests use the proxy too."""
    with as_new(shared_stage) as stage:
        yield stage
