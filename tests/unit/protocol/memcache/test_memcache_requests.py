"""What memcached requests ask for: where they go, what is forwarded of them, and what the proxy refuses."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from feeding import MUTED, TO_ALL, TO_PROXY, request_meaning

Load = Callable[[str], ModuleType]
MODULE = "twemproxy.protocol.memcache.codec"


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return flavour(MODULE).MemcacheCodec(["flush_all"])


# --- blanks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blanks", [b"", b" ", b"   "])
def test_blanks_behind_the_last_argument_change_nothing(codec: Any, blanks: bytes) -> None:
    _, route, expected, forwarded = request_meaning(codec, b"flush_all noreply%s\r\n" % blanks)
    assert (route, expected & MUTED, forwarded) == (TO_ALL, MUTED, b"flush_all%s\r\n" % blanks)
    assert request_meaning(codec, b"stats servers%s\n" % blanks)[1] == TO_PROXY
