"""A proxy in front of scripted memcached servers that serves many tests, one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from harness.connection import Connection
from harness.proxy import ServedPools, memcached_pool
from harness.scripted_server import ScriptedMemcached
from harness.shared_proxy import Configure


class Stage(NamedTuple):
    """A proxy, a client, and two scripted servers without connections."""

    proxy: ServedPools
    client: Connection
    first: ScriptedMemcached
    second: ScriptedMemcached


@contextmanager
def scripted_pool(configured: Configure, **directives: object) -> Iterator[Stage]:
    """A stage for several tests, each of which uses ``as_new``. ``configured``: the fixture."""
    with (
        ScriptedMemcached() as first,
        ScriptedMemcached() as second,
        configured(memcached_pool(first, second, **directives)) as proxy,
    ):
        yield Stage(proxy, proxy.client(), first, second)


@contextmanager
def as_new(stage: Stage) -> Iterator[Stage]:
    """The stage with a new client; afterwards its server connections are closed and its servers reset."""
    with stage.proxy.client() as client:
        yield stage._replace(client=client)
    stage.first.reset()
    stage.second.reset()
    stage.proxy.wait_stats(
        lambda pool: pool["s00"]["server_connections"] == pool["s01"]["server_connections"] == 0,
        "the server connections are closed",
    )
