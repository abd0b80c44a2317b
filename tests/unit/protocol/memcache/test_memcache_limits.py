"""Limits of memcached requests, and that it makes no difference how requests arrive."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from feeding import COMPLETE, MALFORMED, messages

Load = Callable[[str], ModuleType]
MODULE = "twemproxy.protocol.memcache.codec"
MOST_LINE = 2048


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return flavour(MODULE).MemcacheCodec()


# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("blanks", "frame"), [(100, COMPLETE), (101, MALFORMED), (2046, MALFORMED), (5000, MALFORMED)])
def test_long_lines_have_few_leading_blanks(codec: Any, blanks: int, frame: int) -> None:
    """memcached closes the connection otherwise, which clients share."""
    line = b" " * blanks + b"get " + b"k " * 2000 + b"\r\n"
    whole = messages(codec, line, True)
    assert whole[0][0].frame == frame
    for ends in ([blanks + 2], [MOST_LINE - 1], [MOST_LINE], [MOST_LINE + 1], range(0, len(line), 100)):
        assert messages(codec, line, True, ends) == whole
