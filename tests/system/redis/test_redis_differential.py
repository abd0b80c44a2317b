"""Random streams of commands get exactly the same replies through the proxy as from redis itself.

The environment variable ``TWEMPROXY_EXAMPLES`` sets the number of examples of each test; every run tries different ones
(use it with ``-o timeout=0``). Without the variable each test tries a few examples, which are always the same.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given, settings

from harness.proxy import owner
from harness.redis_comparison import Stand, compare, cut_places, stand, streams
from harness.redis_streams import GROUPS, ONE_SERVER, Command
from harness.servers import RedisServer, ValkeyServer

EXAMPLES = int(os.environ.get("TWEMPROXY_EXAMPLES", "0"))


@pytest.fixture(
    params=[(RedisServer, 1), (RedisServer, 3), (ValkeyServer, 3)],
    ids=["one-redis", "three-redis", "three-valkey"],
    scope="module",
)
def any_pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with ExitStack() as stack:
        kind, count = request.param
        yield stand(stack, kind, count, tmp_path_factory.mktemp("differential") / "proxy.sock")


@pytest.fixture(params=[RedisServer, ValkeyServer], ids=["redis", "valkey"], scope="module")
def pool_of_one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield stand(stack, request.param, 1, tmp_path_factory.mktemp("differential") / "proxy.sock")


def test_keys_are_on_every_server() -> None:
    # Each prefix of a key has one of these as its hash tag.
    assert {owner(key, 3) for key in "abg"} == {0, 1, 2}


@settings(max_examples=EXAMPLES or 60, derandomize=not EXAMPLES)
@given(work=streams(GROUPS), cuts=cut_places)
@pytest.mark.parametrize("version", [2, 3])
def test_any_stream_is_answered_as_by_redis(
    any_pool: Stand, version: int, work: list[list[Command]], cuts: list[int]
) -> None:
    compare(any_pool, version, work, cuts)


@settings(max_examples=EXAMPLES or 40, derandomize=not EXAMPLES)
@given(work=streams(ONE_SERVER | {"generic": GROUPS["generic"], "sets": GROUPS["sets"]}), cuts=cut_places)
@pytest.mark.parametrize("version", [2, 3])
def test_a_pool_of_one_server_answers_as_that_server(
    pool_of_one: Stand, version: int, work: list[list[Command]], cuts: list[int]
) -> None:
    compare(pool_of_one, version, work, cuts)
