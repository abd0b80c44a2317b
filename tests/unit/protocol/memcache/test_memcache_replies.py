"""Where memcached replies end, and which of them can answer what was asked."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from feeding import COMPLETE, MALFORMED, messages

Load = Callable[[str], ModuleType]
MODULE = "twemproxy.protocol.memcache.codec"
MOST_REPLY_LINE = 64 * 1024


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return flavour(MODULE).MemcacheCodec()


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beyond", [-1, 0, 1, 5000])
def test_overlong_lines_are_the_same_however_cut(codec: Any, beyond: int) -> None:
    codec.expected = 0
    line = b"VERSION ".ljust(MOST_REPLY_LINE - 1 + beyond, b"x") + b"\r\n"
    whole = messages(codec, line, False)
    for ends in ([MOST_REPLY_LINE - 1], [MOST_REPLY_LINE], [MOST_REPLY_LINE + 1], range(0, len(line), 4096)):
        assert messages(codec, line, False, ends) == whole
    assert [message.frame for message in whole[0]] == [COMPLETE if beyond <= 0 else MALFORMED]
