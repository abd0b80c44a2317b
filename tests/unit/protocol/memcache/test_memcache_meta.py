"""Requests of memcached's meta commands: their flags, and keys in base64."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from feeding import TO_KEY, TO_NOBODY, messages

Load = Callable[[str], ModuleType]
MODULE = "twemproxy.protocol.memcache.codec"


@pytest.fixture(scope="session")
def codec(flavour: Load) -> Any:
    return flavour(MODULE).MemcacheCodec()


# --- flags of ms -----------------------------------------------------------------------------------------------------

ALL_FLAGS = b"c f h I k l s t u v P L F0 C1 E1 T0 N0 R0 O1 MS b q".split()


def test_more_flags_than_memcached_takes_are_refused_and_the_block_dropped(codec: Any) -> None:
    """memcached refuses them too, but takes the data block for commands."""
    few, many = b" ".join(ALL_FLAGS[:16]), b" ".join(ALL_FLAGS[:17])
    found, _ = messages(codec, b"ms k 7 %s\r\nquit k\n\r\nms k 7 %s\r\nquit k\n\r\nmn\r\n" % (few, many), True)
    assert [message.meaning[1] for message in found][:2] == [TO_KEY, TO_NOBODY]
    assert found[1].meaning[-1] == b"CLIENT_ERROR options flags too long\r\n"
    assert found[2].data == b"mn\r\n"


def test_too_few_arguments_are_refused_in_the_words_of_memcached(codec: Any) -> None:
    for line, text in ((b"ms", b"ERROR"), (b"ms k", b"CLIENT_ERROR bad command line format"), (b"mg", b"ERROR")):
        [message], _ = messages(codec, line + b"\r\n", True)
        assert message.meaning[-1] == text + b"\r\n"
