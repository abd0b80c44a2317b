"""One browser for all tests of the dashboard: its start takes longer than most of them."""

from collections.abc import Iterator

import pytest

from harness.browser import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser() as running:
        yield running
