"""Subscriptions end with their test."""

from collections.abc import Iterator

import pytest

from harness.servers import RedisServer
from harness.subscribing import wait_for_silence


@pytest.fixture(autouse=True)
def _nothing_is_left(running_servers: list[RedisServer]) -> Iterator[None]:
    """After each test no subscription is left at the servers that tests share."""
    yield
    wait_for_silence(*running_servers)
